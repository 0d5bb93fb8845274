//! Samples of one series while they are still in memory: a byte-aligned code that costs a few nanoseconds a sample.
//!
//! The first sample is stored whole (16 bytes). Each later one starts with a control byte: the upper three bits say how
//! the change of the time step is stored, the lower five how the value differs from the one before:
//!
//! ```text
//! time   0 same step as before   1, 2, 3, 4  change of the step in 1, 2, 4, 8 bytes
//! value  0 same bits   1..=6 integer difference in n bytes   7..=14 XOR, upper n-6 bytes   15..=21 XOR, lower n-14 bytes
//! ```
//!
//! Values come back bit for bit: NaN payloads and staleness markers included.

use crate::Sample;
use crate::varint::{unzigzag, zigzag};

/// Integers beyond this magnitude are not exact in a double.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A record takes at most 17 bytes; it is written as three words.
const RECORD_ROOM: usize = 24;

/// An open, append-only run of samples with ascending times.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    count: u32,
    first_t_ms: i64,
    last_t_ms: i64,
    last_bits: u64,
    step_ms: i64,
}

impl Chunk {
    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn first_t_ms(&self) -> i64 {
        self.first_t_ms
    }

    pub fn last_t_ms(&self) -> i64 {
        self.last_t_ms
    }

    /// `t_ms` must be later than the last one; the caller has checked.
    #[inline]
    pub fn push(&mut self, t_ms: i64, value: f64) {
        let bits = value.to_bits();
        let free = self.bytes.capacity() - self.bytes.len();
        if free < RECORD_ROOM {
            // Doubling would waste half the memory of the head; growing by half keeps copies rare enough.
            self.bytes.reserve_exact((self.bytes.len() / 2).max(24));
        }
        if self.count == 0 {
            self.first_t_ms = t_ms;
            self.bytes.extend_from_slice(&t_ms.to_le_bytes());
            self.bytes.extend_from_slice(&bits.to_le_bytes());
        } else {
            let step = t_ms.wrapping_sub(self.last_t_ms);
            let change = zigzag(step.wrapping_sub(self.step_ms));
            self.step_ms = step;
            let mut scratch = [0u8; RECORD_ROOM];
            let (time_code, time_bytes) = match change {
                0 => (0u8, 0),
                1..=0xff => (1, 1),
                0x100..=0xffff => (2, 2),
                0x1_0000..=0xffff_ffff => (3, 4),
                _ => (4, 8),
            };
            scratch[1..9].copy_from_slice(&change.to_le_bytes());
            let at = 1 + time_bytes;
            let (value_code, value_bytes, word) = encode_value(self.last_bits, bits);
            scratch[at..at + 8].copy_from_slice(&word);
            scratch[0] = time_code << 5 | value_code;
            // A copy of fixed length is a few moves; one of variable length is a call.
            let end = self.bytes.len() + at + value_bytes;
            self.bytes.extend_from_slice(&scratch);
            self.bytes.truncate(end);
        }
        self.last_t_ms = t_ms;
        self.last_bits = bits;
        self.count += 1;
    }

    pub fn iter(&self) -> Iter<'_> {
        Iter { bytes: &self.bytes, left: self.count, first: true, t_ms: 0, bits: 0, step_ms: 0 }
    }
}

#[inline]
fn encode_value(previous: u64, bits: u64) -> (u8, usize, [u8; 8]) {
    if previous == bits {
        return (0, 0, [0; 8]);
    }
    let (old, new) = (f64::from_bits(previous), f64::from_bits(bits));
    let xor = previous ^ bits;
    if old.abs() <= MAX_EXACT && new.abs() <= MAX_EXACT {
        let (old_integer, new_integer) = (old as i64, new as i64);
        // Bits, not values: -0.0 and fractions must not pass.
        if (old_integer as f64).to_bits() == previous && (new_integer as f64).to_bits() == bits {
            let difference = zigzag(new_integer - old_integer);
            let count = significant_bytes(difference);
            if count <= 6 {
                return (count as u8, count, difference.to_le_bytes());
            }
        }
    }
    let upper = 8 - xor.trailing_zeros() as usize / 8;
    let lower = significant_bytes(xor);
    if lower < upper { (14 + lower as u8, lower, xor.to_le_bytes()) } else { (6 + upper as u8, upper, xor.to_be_bytes()) }
}

#[inline]
fn significant_bytes(value: u64) -> usize {
    8 - value.leading_zeros() as usize / 8
}

#[inline]
fn read_le(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// Samples in the order they came.
pub struct Iter<'a> {
    bytes: &'a [u8],
    left: u32,
    first: bool,
    t_ms: i64,
    bits: u64,
    step_ms: i64,
}

impl Iter<'_> {
    #[inline]
    fn take(&mut self, count: usize) -> &[u8] {
        let (head, rest) = self.bytes.split_at(count);
        self.bytes = rest;
        head
    }
}

impl Iterator for Iter<'_> {
    type Item = Sample;

    #[inline]
    fn next(&mut self) -> Option<Sample> {
        self.left = self.left.checked_sub(1)?;
        if self.first {
            self.first = false;
            self.t_ms = read_le(self.take(8)) as i64;
            self.bits = read_le(self.take(8));
        } else {
            let control = self.take(1)[0];
            let time_bytes = [0usize, 1, 2, 4, 8, 0, 0, 0][usize::from(control >> 5)];
            let change = unzigzag(read_le(self.take(time_bytes)));
            self.step_ms = self.step_ms.wrapping_add(change);
            self.t_ms = self.t_ms.wrapping_add(self.step_ms);
            match control & 31 {
                0 => {}
                count @ 1..=6 => {
                    let difference = unzigzag(read_le(self.take(usize::from(count))));
                    self.bits = ((f64::from_bits(self.bits) as i64 + difference) as f64).to_bits();
                }
                code @ 7..=14 => {
                    let mut word = [0; 8];
                    let count = usize::from(code - 6);
                    word[..count].copy_from_slice(self.take(count));
                    self.bits ^= u64::from_be_bytes(word);
                }
                code => self.bits ^= read_le(self.take(usize::from(code - 14))),
            }
        }
        Some(Sample { t_ms: self.t_ms, value: f64::from_bits(self.bits) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::STALE_NAN_BITS;
    use proptest::prelude::*;

    fn round_trip(samples: &[(i64, u64)]) {
        let mut chunk = Chunk::default();
        for &(t_ms, bits) in samples {
            chunk.push(t_ms, f64::from_bits(bits));
        }
        let back: Vec<(i64, u64)> = chunk.iter().map(|sample| (sample.t_ms, sample.value.to_bits())).collect();
        assert_eq!(back, samples);
        assert_eq!(chunk.len(), samples.len());
    }

    fn value() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            any::<i32>().prop_map(|value| f64::from(value).to_bits()),
            (0u64..1 << 54).prop_map(|value| (value as f64).to_bits()),
            any::<i16>().prop_map(|value| (f64::from(value) / 100.0).to_bits()),
            Just(STALE_NAN_BITS),
            Just((-0.0f64).to_bits()),
            Just(0),
        ]
    }

    proptest! {
        #[test]
        fn every_bit_pattern_and_step_comes_back(start in any::<i32>(), steps in prop::collection::vec((prop_oneof![Just(5_000i64), 1i64..1 << 40], value()), 0..200)) {
            let mut t_ms = i64::from(start);
            let samples: Vec<_> = steps.into_iter().map(|(step, bits)| { t_ms += step; (t_ms, bits) }).collect();
            round_trip(&samples);
        }
    }

    #[test]
    fn a_repeated_value_at_a_steady_pace_costs_one_byte() {
        let mut chunk = Chunk::default();
        (0..1000).for_each(|index| chunk.push(index * 5000, 0.1));
        assert!(chunk.bytes.len() <= 16 + 999 + 8, "{} bytes", chunk.bytes.len());
    }
}
