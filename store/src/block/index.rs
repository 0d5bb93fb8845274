//! The index of a block: label strings, series, columns, groups. Compressed as one piece on disk, decoded when first
//! asked and kept in a bounded cache. It is scanned, not inverted: matching a few thousand series costs less than
//! reading an inverted index would.

use crate::head::mix;
use crate::postings::{self, Wanted};
use crate::varint::{self, Reader};
use crate::{Labels, Matcher, TimeRange};
use ahash::RandomState;
use roaring::RoaringBitmap;
use std::ops::Range;
use std::sync::Arc;

/// A run of columns compressed together: a zstd frame of tokens, then raw bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    pub offset: u64,
    pub frame_bytes: u32,
    pub token_bytes: u32,
    pub bit_bytes: u32,
    pub crc: u32,
    /// Number of its first column among the columns of its kind.
    pub first_column: u32,
}

/// Times many columns of values share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeColumn {
    pub count: u32,
    pub min_t_ms: i64,
    pub max_t_ms: i64,
}

/// Everything but the samples.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct BlockIndex {
    pub time_groups: Vec<Group>,
    pub value_groups: Vec<Group>,
    pub time_columns: Vec<TimeColumn>,
    /// Time column of each value column, in series order.
    pub column_times: Vec<u32>,
    /// First value column of each series, and the end.
    pub series_columns: Vec<u32>,
    text: String,
    /// End of each symbol in `text`.
    symbol_ends: Vec<u32>,
    pairs: Vec<(u32, u32)>,
    /// First pair of each series, and the end.
    series_pairs: Vec<u32>,
    fingerprints: Vec<u64>,
}

fn put_groups(out: &mut Vec<u8>, groups: &[Group]) {
    varint::put(out, groups.len() as u64);
    for group in groups {
        varint::put(out, group.offset);
        varint::put(out, u64::from(group.frame_bytes));
        varint::put(out, u64::from(group.token_bytes));
        varint::put(out, u64::from(group.bit_bytes));
        varint::put(out, u64::from(group.first_column));
        out.extend_from_slice(&group.crc.to_le_bytes());
    }
}

fn read_groups(reader: &mut Reader<'_>) -> Option<Vec<Group>> {
    (0..reader.count()?)
        .map(|_| {
            Some(Group {
                offset: reader.varint()?,
                frame_bytes: small(reader)?,
                token_bytes: small(reader)?,
                bit_bytes: small(reader)?,
                first_column: small(reader)?,
                crc: u32::from_le_bytes(reader.take(4)?.try_into().ok()?),
            })
        })
        .collect()
}

fn small(reader: &mut Reader<'_>) -> Option<u32> {
    u32::try_from(reader.varint()?).ok()
}

impl BlockIndex {
    pub fn series_count(&self) -> usize {
        self.series_columns.len().saturating_sub(1)
    }

    /// Heap bytes, roughly: what the cache counts.
    pub fn heap_bytes(&self) -> usize {
        self.text.len()
            + 4 * (self.symbol_ends.len() + self.series_pairs.len() + self.series_columns.len() + self.column_times.len())
            + 8 * (self.pairs.len() + self.fingerprints.len())
            + 24 * self.time_columns.len()
            + 32 * (self.time_groups.len() + self.value_groups.len())
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_groups(&mut out, &self.time_groups);
        put_groups(&mut out, &self.value_groups);
        varint::put(&mut out, self.time_columns.len() as u64);
        self.time_columns.iter().for_each(|column| varint::put(&mut out, u64::from(column.count)));
        let mut previous = 0;
        for column in &self.time_columns {
            varint::put_signed(&mut out, column.min_t_ms.wrapping_sub(previous));
            previous = column.min_t_ms;
        }
        self.time_columns.iter().for_each(|column| varint::put_signed(&mut out, column.max_t_ms.wrapping_sub(column.min_t_ms)));
        let symbol_count = self.symbol_ends.len();
        varint::put(&mut out, symbol_count as u64);
        let mut start = 0;
        for &end in &self.symbol_ends {
            varint::put(&mut out, u64::from(end - start));
            start = end;
        }
        varint::put_bytes(&mut out, self.text.as_bytes());
        let series = self.series_count();
        varint::put(&mut out, series as u64);
        for bounds in self.series_pairs.windows(2) {
            varint::put(&mut out, u64::from(bounds[1] - bounds[0]));
        }
        self.pairs.iter().for_each(|pair| varint::put(&mut out, u64::from(pair.0)));
        self.pairs.iter().for_each(|pair| varint::put(&mut out, u64::from(pair.1)));
        for bounds in self.series_columns.windows(2) {
            varint::put(&mut out, u64::from(bounds[1] - bounds[0]));
        }
        let mut previous = 0;
        for &column in &self.column_times {
            varint::put_signed(&mut out, i64::from(column) - previous);
            previous = i64::from(column);
        }
        out
    }

    /// `None` if the bytes are not an index that is consistent in itself.
    pub fn decode(bytes: &[u8], hasher: &RandomState) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let mut index =
            Self { time_groups: read_groups(&mut reader)?, value_groups: read_groups(&mut reader)?, ..Self::default() };
        let times = reader.count()?;
        let counts = (0..times).map(|_| small(&mut reader)).collect::<Option<Vec<_>>>()?;
        let mut previous = 0i64;
        let mut starts = Vec::with_capacity(times);
        for _ in 0..times {
            previous = previous.wrapping_add(reader.signed()?);
            starts.push(previous);
        }
        for (count, min_t_ms) in counts.into_iter().zip(starts) {
            if count as usize > super::MAX_COLUMN {
                return None;
            }
            index.time_columns.push(TimeColumn { count, min_t_ms, max_t_ms: min_t_ms.wrapping_add(reader.signed()?) });
        }
        let symbols = reader.count()?;
        let mut end = 0u32;
        for _ in 0..symbols {
            end = end.checked_add(small(&mut reader)?)?;
            index.symbol_ends.push(end);
        }
        index.text = reader.str()?.to_owned();
        if end as usize != index.text.len() || !index.symbol_ends.iter().all(|&end| index.text.is_char_boundary(end as usize)) {
            return None;
        }
        let series = reader.count()?;
        index.series_pairs = read_starts(&mut reader, series)?;
        let pair_count = *index.series_pairs.last()? as usize;
        if pair_count > reader.remaining() {
            return None;
        }
        let mut symbol = |_| small(&mut reader).filter(|&symbol| (symbol as usize) < symbols);
        let names = (0..pair_count).map(&mut symbol).collect::<Option<Vec<_>>>()?;
        let values = (0..pair_count).map(&mut symbol).collect::<Option<Vec<_>>>()?;
        index.pairs = names.into_iter().zip(values).collect();
        index.series_columns = read_starts(&mut reader, series)?;
        let columns = *index.series_columns.last()? as usize;
        if columns > reader.remaining() {
            return None;
        }
        let mut previous = 0i64;
        for _ in 0..columns {
            previous = previous.checked_add(reader.signed()?)?;
            index.column_times.push(u32::try_from(previous).ok().filter(|&time| (time as usize) < times)?);
        }
        let hashes: Vec<u64> = (0..symbols as u32).map(|symbol| hasher.hash_one(index.symbol(symbol))).collect();
        index.fingerprints = (0..series)
            .map(|id| {
                let pairs = &index.pairs[index.series_pairs[id] as usize..index.series_pairs[id + 1] as usize];
                pairs.iter().fold(0, |hash, pair| mix(mix(hash, hashes[pair.0 as usize]), hashes[pair.1 as usize]))
            })
            .collect();
        reader.is_empty().then_some(index)
    }

    fn symbol(&self, symbol: u32) -> &str {
        let symbol = symbol as usize;
        let start = symbol.checked_sub(1).map_or(0, |before| self.symbol_ends[before]);
        &self.text[start as usize..self.symbol_ends[symbol] as usize]
    }

    fn pairs(&self, series: u32) -> &[(u32, u32)] {
        let series = series as usize;
        &self.pairs[self.series_pairs[series] as usize..self.series_pairs[series + 1] as usize]
    }

    /// Hash of the labels, as the head computes it.
    pub fn fingerprint(&self, series: u32) -> u64 {
        self.fingerprints[series as usize]
    }

    pub fn label_pairs(&self, series: u32) -> impl Iterator<Item = (&str, &str)> {
        self.pairs(series).iter().map(|pair| (self.symbol(pair.0), self.symbol(pair.1)))
    }

    pub fn labels(&self, series: u32) -> Labels {
        Labels(self.label_pairs(series).map(|(name, value)| (Arc::from(name), Arc::from(value))).collect())
    }

    pub fn has_labels(&self, series: u32, labels: &Labels) -> bool {
        self.pairs(series).len() == labels.0.len() && self.label_pairs(series).eq(labels.iter())
    }

    /// Value columns of a series.
    pub fn columns(&self, series: u32) -> Range<u32> {
        self.series_columns[series as usize]..self.series_columns[series as usize + 1]
    }

    pub fn time_of(&self, column: u32) -> (u32, TimeColumn) {
        let time = self.column_times[column as usize];
        (time, self.time_columns[time as usize])
    }

    /// Whether a series may have samples in the range, by the bounds of its columns.
    pub fn touches(&self, series: u32, range: TimeRange) -> bool {
        self.columns(series).any(|column| {
            let bounds = self.time_of(column).1;
            range.from_ms <= range.to_ms && bounds.min_t_ms <= range.to_ms && bounds.max_t_ms >= range.from_ms
        })
    }

    /// Names that the labels of some series have, each once.
    pub fn label_names(&self, series: impl Iterator<Item = u32>) -> impl Iterator<Item = &str> {
        let mut is_used = vec![false; self.symbol_ends.len()];
        series.for_each(|series| self.pairs(series).iter().for_each(|pair| is_used[pair.0 as usize] = true));
        self.used(is_used)
    }

    /// Values that a label has in some series, each once.
    pub fn label_values(&self, name: &str, series: impl Iterator<Item = u32>) -> impl Iterator<Item = &str> {
        let name = (0..self.symbol_ends.len() as u32).find(|&symbol| self.symbol(symbol) == name);
        let mut is_used = vec![false; self.symbol_ends.len()];
        if let Some(name) = name {
            let value_of = |series| self.pairs(series).iter().find(|pair| pair.0 == name).map(|pair| pair.1);
            series.filter_map(value_of).for_each(|value| is_used[value as usize] = true);
        }
        self.used(is_used)
    }

    fn used(&self, is_used: Vec<bool>) -> impl Iterator<Item = &str> {
        is_used.into_iter().enumerate().filter(|(_, is_used)| *is_used).map(|(symbol, _)| self.symbol(symbol as u32))
    }

    /// Newest time of a series.
    pub fn last_t_ms(&self, series: u32) -> Option<i64> {
        self.columns(series).last().map(|column| self.time_of(column).1.max_t_ms)
    }

    /// Series that satisfy every matcher.
    pub fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let all: RoaringBitmap = (0..self.series_count() as u32).collect();
        postings::select(matchers, &all, |name, wanted| self.lookup(name, wanted))
    }

    fn lookup(&self, name: &str, wanted: Wanted<'_>) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        let Some(name) = (0..self.symbol_ends.len() as u32).find(|&symbol| self.symbol(symbol) == name) else { return found };
        // Each distinct value is judged once.
        let mut verdicts: Vec<Option<bool>> = vec![None; self.symbol_ends.len()];
        for series in 0..self.series_count() as u32 {
            let Some(pair) = self.pairs(series).iter().find(|pair| pair.0 == name) else { continue };
            let verdict = verdicts[pair.1 as usize].get_or_insert_with(|| {
                let value = self.symbol(pair.1);
                match &wanted {
                    Wanted::Exactly(exact) => value == *exact,
                    Wanted::Where(predicate) => predicate(value),
                }
            });
            if *verdict {
                found.insert(series);
            }
        }
        found
    }
}

fn read_starts(reader: &mut Reader<'_>, count: usize) -> Option<Vec<u32>> {
    let mut starts = Vec::with_capacity(count + 1);
    let mut end = 0u32;
    starts.push(0);
    for _ in 0..count {
        end = end.checked_add(small(reader)?)?;
        starts.push(end);
    }
    Some(starts)
}

/// Collects an index while a block is written.
pub struct IndexBuilder {
    pub index: BlockIndex,
    symbols: ahash::AHashMap<Arc<str>, u32>,
}

impl IndexBuilder {
    pub fn new() -> Self {
        let index = BlockIndex { series_pairs: vec![0], series_columns: vec![0], ..BlockIndex::default() };
        Self { index, symbols: ahash::AHashMap::new() }
    }

    fn symbol(&mut self, text: &Arc<str>) -> u32 {
        if let Some(&known) = self.symbols.get(text) {
            return known;
        }
        let symbol = self.symbols.len() as u32;
        self.index.text.push_str(text);
        self.index.symbol_ends.push(self.index.text.len() as u32);
        self.symbols.insert(text.clone(), symbol);
        symbol
    }

    /// Ends a series whose columns were pushed to `column_times`.
    pub fn end_series(&mut self, labels: &Labels) {
        for (name, value) in labels.0.iter() {
            let pair = (self.symbol(name), self.symbol(value));
            self.index.pairs.push(pair);
        }
        self.index.series_pairs.push(self.index.pairs.len() as u32);
        self.index.series_columns.push(self.index.column_times.len() as u32);
    }
}
