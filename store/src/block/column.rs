//! Columns of integers and doubles in a few bits a number.
//!
//! A column is predicted (a line, the last value plus a mean step, or the last step again: whichever leaves the smallest
//! rest), divided by what all its steps have in common, and each rest split as hybrid integer coders do: a token of
//! four to five leading bits, and raw low bits. Tokens of many columns are compressed together later; the raw bits are
//! incompressible and stay as they are. A shift per column (`k`) moves noise into the raw bits, so tokens of a fast and a
//! slow counter look alike and share one entropy table.
//!
//! Doubles become integers by the smallest power of ten that gives them back bit for bit; if there is none, their bit
//! patterns in numeric order are the integers. NaN payloads, infinities and -0.0 among decimals are listed as exceptions.

use crate::varint::{self, Reader, unzigzag, zigzag};

const PREDICT_LINE: u8 = 0;
const PREDICT_STEP: u8 = 1;
const PREDICT_STEP_AGAIN: u8 = 2;
const PREDICT_MASK: u8 = 3;
/// All rests are zero: no tokens follow.
const FLAG_EXACT: u8 = 4;
const FLAG_EXCEPTIONS: u8 = 8;
/// Integers are the ordered bit patterns of doubles.
const FLAG_BIT_PATTERNS: u8 = 16;
const FLAG_DIVISOR: u8 = 32;
/// Integers are doubles times a power of ten (absent for integer columns and plain whole numbers).
const FLAG_DECIMAL: u8 = 64;

/// Tokens below this are the number itself.
const DIRECT: u64 = 16;
const MAX_EXPONENT: u8 = 15;
/// Whole numbers a double holds exactly.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Raw low bits, written from the least significant end.
struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    window: u128,
    held: u32,
}

impl<'a> BitWriter<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, window: 0, held: 0 }
    }

    #[inline]
    fn put(&mut self, value: u64, bits: u32) {
        self.window |= u128::from(value) << self.held;
        self.held += bits;
        if self.held >= 64 {
            self.out.extend_from_slice(&(self.window as u64).to_le_bytes());
            self.window >>= 64;
            self.held -= 64;
        }
    }

    fn finish(self) {
        let bytes = self.held.div_ceil(8) as usize;
        self.out.extend_from_slice(&(self.window as u64).to_le_bytes()[..bytes]);
    }
}

struct BitReader<'a> {
    bytes: &'a [u8],
    bit: usize,
}

impl BitReader<'_> {
    /// At most 64 bits; beyond the end zeros are read, and the caller compares `bit` with the length afterwards.
    #[inline]
    fn take(&mut self, bits: u32) -> u64 {
        if bits == 0 {
            return 0;
        }
        let at = self.bit / 8;
        let shift = (self.bit % 8) as u32;
        let window = match self.bytes.get(at..at + 16) {
            Some(word) => u128::from_le_bytes(word.try_into().unwrap_or([0; 16])),
            None => {
                let mut word = [0; 16];
                let rest = self.bytes.get(at..).unwrap_or(&[]);
                let count = rest.len().min(16);
                word[..count].copy_from_slice(&rest[..count]);
                u128::from_le_bytes(word)
            }
        };
        self.bit += bits as usize;
        (window >> shift) as u64 & (u64::MAX >> (64 - bits))
    }
}

/// Buffers reused from column to column.
#[derive(Default)]
pub struct Scratch {
    integers: Vec<i64>,
    rests: Vec<u64>,
    ranked: Vec<u64>,
}

/// Appends a column of doubles: header and tokens to `tokens`, raw bits to `bits`.
pub fn encode_doubles(values: &[f64], scratch: &mut Scratch, tokens: &mut Vec<u8>, bits: &mut Vec<u8>) {
    let mut integers = std::mem::take(&mut scratch.integers);
    let mut exceptions = Vec::new();
    match to_decimals(values, &mut integers, &mut exceptions) {
        Some(exponent) => encode(&integers, (exponent > 0).then_some(exponent), 0, &exceptions, scratch, tokens, bits),
        None => {
            integers.clear();
            integers.extend(values.iter().map(|value| order_bits(value.to_bits())));
            encode(&integers, None, FLAG_BIT_PATTERNS, &[], scratch, tokens, bits);
        }
    }
    scratch.integers = integers;
}

/// Appends a column of integers.
pub fn encode_integers(values: &[i64], scratch: &mut Scratch, tokens: &mut Vec<u8>, bits: &mut Vec<u8>) {
    encode(values, None, 0, &[], scratch, tokens, bits);
}

/// Bit patterns as integers in the order of the numbers, so that near values have near integers.
fn order_bits(bits: u64) -> i64 {
    let signed = bits as i64;
    signed ^ ((signed >> 63) as u64 >> 1) as i64
}

fn unorder_bits(integer: i64) -> u64 {
    (integer ^ ((integer >> 63) as u64 >> 1) as i64) as u64
}

/// The smallest exponent whose power of ten makes whole numbers of all values, those numbers, and what does not fit.
fn to_decimals(values: &[f64], integers: &mut Vec<i64>, exceptions: &mut Vec<(usize, u64)>) -> Option<u8> {
    let mut exponent = 0u8;
    'exponent: loop {
        let power = POWERS[usize::from(exponent)];
        integers.clear();
        exceptions.clear();
        let mut last = 0i64;
        for (index, &value) in values.iter().enumerate() {
            let scaled = value * power;
            if !scaled.is_finite() || (value == 0.0 && value.is_sign_negative()) {
                if value.is_finite() && value != 0.0 {
                    return None;
                }
                exceptions.push((index, value.to_bits()));
                if exceptions.len() > 8 + values.len() / 4 {
                    return None;
                }
                integers.push(last);
                continue;
            }
            let whole = scaled.round_ties_even();
            if whole.abs() > MAX_EXACT {
                return None;
            }
            if (whole / power).to_bits() != value.to_bits() && !(whole == 0.0 && value == 0.0) {
                exponent += 1;
                if exponent > MAX_EXPONENT {
                    return None;
                }
                continue 'exponent;
            }
            last = whole as i64;
            integers.push(last);
        }
        return Some(exponent);
    }
}

fn bit_length(value: u64) -> u32 {
    64 - value.leading_zeros()
}

fn greatest_common_divisor(mut left: u64, mut right: u64) -> u64 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

/// How far all steps have a common factor.
fn common_step(integers: &[i64]) -> i64 {
    let mut divisor = 0u64;
    let first = integers.first().copied().unwrap_or(0);
    for &integer in integers {
        // What does not fit is no number to divide; such columns are left alone.
        let Some(distance) = integer.checked_sub(first) else { return 1 };
        divisor = greatest_common_divisor(distance.unsigned_abs(), divisor);
        if divisor == 1 {
            return 1;
        }
    }
    i64::try_from(divisor).map_or(1, |divisor| divisor.max(1))
}

struct Prediction {
    kind: u8,
    step: i64,
    offset: i64,
}

/// Chooses the predictor whose rests need the fewest bits. `integers[0]` is 0.
fn choose(integers: &[i64]) -> Prediction {
    let count = integers.len() as i128;
    let last = integers.last().copied().unwrap_or(0);
    let step = if count > 1 { (i128::from(last) / (count - 1)) as i64 } else { 0 };
    let flat_mean = (integers.iter().map(|&value| i128::from(value)).sum::<i128>() / count.max(1)) as i64;
    let line_mean = {
        let rests =
            integers.iter().enumerate().map(|(index, &value)| i128::from(value.wrapping_sub(step.wrapping_mul(index as i64))));
        (rests.sum::<i128>() / count.max(1)) as i64
    };
    let mut cost = [0u64; 5];
    let (mut previous, mut previous_step, mut line) = (0i64, 0i64, line_mean);
    for &value in integers {
        let this_step = value.wrapping_sub(previous);
        let rests = [
            value.wrapping_sub(flat_mean),
            value.wrapping_sub(line),
            this_step,
            this_step.wrapping_sub(step),
            this_step.wrapping_sub(previous_step),
        ];
        for (sum, rest) in cost.iter_mut().zip(rests) {
            *sum += u64::from(bit_length(zigzag(rest)));
        }
        (previous, previous_step) = (value, this_step);
        line = line.wrapping_add(step);
    }
    let best = (0..cost.len()).min_by_key(|&index| (cost[index], index)).unwrap_or(2);
    match best {
        0 => Prediction { kind: PREDICT_LINE, step: 0, offset: flat_mean },
        1 => Prediction { kind: PREDICT_LINE, step, offset: line_mean },
        2 => Prediction { kind: PREDICT_STEP, step: 0, offset: 0 },
        3 => Prediction { kind: PREDICT_STEP, step, offset: 0 },
        _ => Prediction { kind: PREDICT_STEP_AGAIN, step: 0, offset: 0 },
    }
}

fn encode(
    integers: &[i64],
    exponent: Option<u8>,
    kind_flags: u8,
    exceptions: &[(usize, u64)],
    scratch: &mut Scratch,
    tokens: &mut Vec<u8>,
    bits: &mut Vec<u8>,
) {
    let first = integers.first().copied().unwrap_or(0);
    let divisor = common_step(integers);
    // With divisor 1 differences may wrap; they wrap back when read.
    let reduced = |value: i64| if divisor == 1 { value.wrapping_sub(first) } else { (value - first) / divisor };
    let mut values = std::mem::take(&mut scratch.rests);
    values.clear();
    values.extend(integers.iter().map(|&value| reduced(value) as u64));
    let as_signed: Vec<i64> = values.iter().map(|&value| value as i64).collect();
    let prediction = choose(&as_signed);
    let (mut previous, mut previous_step, mut line) = (0i64, 0i64, prediction.offset);
    for (rest, &value) in values.iter_mut().zip(&as_signed) {
        let this_step = value.wrapping_sub(previous);
        *rest = zigzag(match prediction.kind {
            PREDICT_LINE => value.wrapping_sub(line),
            PREDICT_STEP => this_step.wrapping_sub(prediction.step),
            _ => this_step.wrapping_sub(previous_step),
        });
        (previous, previous_step) = (value, this_step);
        line = line.wrapping_add(prediction.step);
    }
    if prediction.kind == PREDICT_STEP
        && let Some(rest) = values.first_mut()
    {
        // The first value is in the header; its "step" is none.
        *rest = 0;
    }
    let exact = values.iter().all(|&rest| rest == 0);
    let mut flags = prediction.kind | kind_flags;
    flags |= if exact { FLAG_EXACT } else { 0 };
    flags |= if exceptions.is_empty() { 0 } else { FLAG_EXCEPTIONS };
    flags |= if divisor == 1 { 0 } else { FLAG_DIVISOR };
    flags |= if exponent.is_some() { FLAG_DECIMAL } else { 0 };
    tokens.push(flags);
    if let Some(exponent) = exponent {
        tokens.push(exponent);
    }
    varint::put_signed(tokens, first);
    if divisor != 1 {
        varint::put(tokens, divisor as u64);
    }
    if prediction.kind != PREDICT_STEP_AGAIN {
        varint::put_signed(tokens, prediction.step);
    }
    if prediction.kind == PREDICT_LINE {
        varint::put_signed(tokens, prediction.offset);
    }
    if !exceptions.is_empty() {
        varint::put(tokens, exceptions.len() as u64);
        for &(index, pattern) in exceptions {
            varint::put(tokens, index as u64);
            tokens.extend_from_slice(&pattern.to_le_bytes());
        }
    }
    if !exact {
        put_rests(&values, &mut scratch.ranked, tokens, bits);
    }
    scratch.rests = values;
}

fn put_rests(rests: &[u64], ranked: &mut Vec<u64>, tokens: &mut Vec<u8>, bits: &mut Vec<u8>) {
    ranked.clear();
    ranked.extend_from_slice(rests);
    let middle = ranked.len() / 2;
    let median = *ranked.select_nth_unstable(middle).1;
    // Keeps the median in four to seven: few enough tokens to be cheap, enough to follow the distribution.
    let shift = bit_length(median).saturating_sub(3);
    tokens.push(shift as u8);
    let length_at = tokens.len();
    let start = bits.len();
    let mut scratch_tokens = Vec::with_capacity(rests.len());
    let mut writer = BitWriter::new(bits);
    for &rest in rests {
        writer.put(rest & !(u64::MAX << shift), shift);
        let high = rest >> shift;
        if high < DIRECT {
            scratch_tokens.push(high as u8);
        } else {
            let length = bit_length(high);
            let second = (high >> (length - 2)) & 1;
            scratch_tokens.push((DIRECT as u32 + (length - 5) * 2) as u8 + second as u8);
            writer.put(high & !(u64::MAX << (length - 2)), length - 2);
        }
    }
    writer.finish();
    debug_assert_eq!(length_at, tokens.len());
    varint::put(tokens, (bits.len() - start) as u64);
    tokens.extend_from_slice(&scratch_tokens);
}

/// The parts of one encoded column, found by reading its header.
pub struct Column<'a> {
    flags: u8,
    exponent: u8,
    first: i64,
    divisor: i64,
    step: i64,
    offset: i64,
    exceptions: Vec<(usize, u64)>,
    shift: u32,
    tokens: &'a [u8],
    count: usize,
    /// Length of the raw bits in bytes.
    pub bit_bytes: usize,
}

impl<'a> Column<'a> {
    /// Reads the header of a column of `count` numbers and steps over its tokens. `None`: malformed.
    pub fn parse(reader: &mut Reader<'a>, count: usize) -> Option<Self> {
        let flags = reader.u8()?;
        let exponent = if flags & FLAG_DECIMAL != 0 { reader.u8()?.min(MAX_EXPONENT) } else { 0 };
        let first = reader.signed()?;
        let divisor = if flags & FLAG_DIVISOR != 0 { reader.varint()? as i64 } else { 1 };
        let kind = flags & PREDICT_MASK;
        let step = if kind != PREDICT_STEP_AGAIN { reader.signed()? } else { 0 };
        let offset = if kind == PREDICT_LINE { reader.signed()? } else { 0 };
        let mut exceptions = Vec::new();
        if flags & FLAG_EXCEPTIONS != 0 {
            for _ in 0..reader.count()? {
                let index = usize::try_from(reader.varint()?).ok().filter(|&index| index < count)?;
                exceptions.push((index, reader.u64_le()?));
            }
        }
        let (mut shift, mut bit_bytes, mut tokens): (u32, usize, &[u8]) = (0, 0, &[]);
        if flags & FLAG_EXACT == 0 {
            shift = u32::from(reader.u8()?);
            bit_bytes = usize::try_from(reader.varint()?).ok()?;
            tokens = reader.take(count)?;
        }
        (shift < 64).then_some(Self {
            flags,
            exponent,
            first,
            divisor,
            step,
            offset,
            exceptions,
            shift,
            tokens,
            count,
            bit_bytes,
        })
    }

    /// Appends the numbers as integers.
    pub fn integers(&self, bits: &[u8], out: &mut Vec<i64>) -> Option<()> {
        out.reserve(self.count);
        let mut reader = BitReader { bytes: bits, bit: 0 };
        let kind = self.flags & PREDICT_MASK;
        let exact = self.flags & FLAG_EXACT != 0;
        let (mut previous, mut previous_step, mut line) = (0i64, 0i64, self.offset);
        for index in 0..self.count {
            let rest = if exact { 0 } else { unzigzag(self.rest(self.tokens[index], &mut reader)?) };
            let value = match kind {
                PREDICT_LINE => line.wrapping_add(rest),
                PREDICT_STEP if index == 0 => 0,
                PREDICT_STEP => previous.wrapping_add(self.step).wrapping_add(rest),
                _ => previous.wrapping_add(previous_step).wrapping_add(rest),
            };
            (previous, previous_step) = (value, value.wrapping_sub(previous));
            line = line.wrapping_add(self.step);
            out.push(value.wrapping_mul(self.divisor).wrapping_add(self.first));
        }
        (reader.bit <= bits.len() * 8).then_some(())
    }

    #[inline]
    fn rest(&self, token: u8, reader: &mut BitReader<'_>) -> Option<u64> {
        let low = reader.take(self.shift);
        let high = if u64::from(token) < DIRECT {
            u64::from(token)
        } else {
            let over = u32::from(token) - DIRECT as u32;
            let length = over / 2 + 5;
            if length > 64 {
                return None;
            }
            let second = u64::from(over & 1);
            (2 | second) << (length - 2) | reader.take(length - 2)
        };
        Some(high << self.shift | low)
    }

    /// Appends the numbers as doubles.
    pub fn doubles(&self, bits: &[u8], integers: &mut Vec<i64>, out: &mut Vec<f64>) -> Option<()> {
        integers.clear();
        self.integers(bits, integers)?;
        let start = out.len();
        if self.flags & FLAG_BIT_PATTERNS != 0 {
            out.extend(integers.iter().map(|&integer| f64::from_bits(unorder_bits(integer))));
        } else if self.exponent == 0 {
            out.extend(integers.iter().map(|&integer| integer as f64));
        } else {
            let power = POWERS[usize::from(self.exponent)];
            out.extend(integers.iter().map(|&integer| integer as f64 / power));
        }
        for &(index, pattern) in &self.exceptions {
            *out.get_mut(start + index)? = f64::from_bits(pattern);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::STALE_NAN_BITS;
    use proptest::prelude::*;

    fn round_trip(values: &[f64]) -> usize {
        let (mut tokens, mut bits) = (Vec::new(), vec![0xaa]);
        encode_doubles(values, &mut Scratch::default(), &mut tokens, &mut bits);
        let mut reader = Reader::new(&tokens);
        let column = Column::parse(&mut reader, values.len()).unwrap();
        assert!(reader.is_empty());
        assert_eq!(column.bit_bytes, bits.len() - 1);
        let mut back = Vec::new();
        column.doubles(&bits[1..], &mut Vec::new(), &mut back).unwrap();
        let patterns = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(patterns(&back), patterns(values));
        tokens.len() + bits.len() - 1
    }

    #[test]
    fn whole_numbers_decimals_and_markers_come_back_bit_for_bit() {
        round_trip(&[]);
        round_trip(&[0.0]);
        round_trip(&[-0.0, 0.0, 1.5, f64::INFINITY, f64::NAN, f64::from_bits(STALE_NAN_BITS), 0.1, 1e15, -3.25]);
        round_trip(&[0.1, 0.2, 0.30000000000000004]);
        round_trip(&[f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, -5e-324]);
        round_trip(&[9_007_199_254_740_992.0, -9_007_199_254_740_992.0, 9_007_199_254_740_994.0]);
        round_trip(&[1e300, 0.0, 1e-300]);
    }

    #[test]
    fn a_steady_counter_costs_a_header_only() {
        let values: Vec<f64> = (0..1440).map(|index| 1e9 + f64::from(index) * 4096.0).collect();
        assert!(round_trip(&values) < 16);
        let constant = vec![0.25; 1440];
        assert!(round_trip(&constant) < 8);
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (-1000i32..1000).prop_map(f64::from),
            4 => any::<i32>().prop_map(|value| f64::from(value) / 1000.0),
            1 => any::<u64>().prop_map(f64::from_bits),
            1 => (0u64..1 << 60).prop_map(|value| value as f64),
            1 => Just(f64::from_bits(STALE_NAN_BITS)),
        ]
    }

    proptest! {
        #[test]
        fn any_doubles_come_back(values in prop::collection::vec(value(), 0..300)) {
            round_trip(&values);
        }

        #[test]
        fn any_bit_patterns_come_back(values in prop::collection::vec(any::<u64>().prop_map(f64::from_bits), 0..50)) {
            round_trip(&values);
        }

        #[test]
        fn any_integers_come_back(values in prop::collection::vec(any::<i64>(), 0..100)) {
            let (mut tokens, mut bits) = (Vec::new(), Vec::new());
            encode_integers(&values, &mut Scratch::default(), &mut tokens, &mut bits);
            let mut back = Vec::new();
            Column::parse(&mut Reader::new(&tokens), values.len()).unwrap().integers(&bits, &mut back).unwrap();
            prop_assert_eq!(back, values);
        }

        #[test]
        fn damaged_columns_are_refused_or_read_but_never_trip_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0usize..300) {
            if let Some(column) = Column::parse(&mut Reader::new(&bytes), count) {
                let _ = column.doubles(&bytes, &mut Vec::new(), &mut Vec::new());
            }
        }
    }
}
