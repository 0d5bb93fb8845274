//! The head: every series that reports now, its newest samples, and the index over them. All in memory; the log and the
//! blocks make it durable.

use crate::chunk::Chunk;
use crate::postings::Postings;
use crate::wal::{self, Replay};
use crate::{Appended, Labels, Rejected, Sample, SeriesRef, StoreError, TimeRange};
use ahash::{AHashMap, AHashSet, RandomState};
use hashbrown::HashTable;
use std::sync::Arc;

/// Names and values of one series together; longer ones are payloads that slipped into a label.
pub const MAX_LABEL_BYTES: usize = 64 << 10;
/// So much of a label set is shown where it is refused for its length.
const SHOWN_CHARS: usize = 120;
/// Series that left the head whose newest times are remembered, and for how long where they are more.
const MAX_TAILS: usize = 1_000_000;
const KEPT_TAILS_MS: [i64; 3] = [24 * 3_600_000, 2 * 3_600_000, 600_000];
/// Buffers of requests larger than this are not kept for the next one.
pub const KEPT_BUFFER_BYTES: usize = 4 << 20;

/// Bounds an append is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub now_ms: i64,
    /// Samples older than this are refused.
    pub oldest_ms: i64,
    /// Samples later than this are refused: one wrong clock would shut a series off for good.
    pub newest_ms: i64,
}

/// One series of the head.
#[derive(Debug)]
pub struct HeadSeries {
    pub labels: Labels,
    pub fingerprint: u64,
    /// Counts up when the slot is given to another series, so that a stale reference is noticed.
    generation: u32,
    /// Log segment that holds the description of this series.
    described_in: u32,
    /// Wall-clock second of the last append.
    touched_s: u32,
    last_t_ms: i64,
    /// Bits of the newest value; `None` after a restart if the sample is in a block already.
    last_bits: Option<u64>,
    pub open: Chunk,
    /// Being written into a block; still served from here until the block is.
    pub frozen: Option<Arc<Chunk>>,
}

impl HeadSeries {
    /// Samples in the range, ascending, appended to `out`.
    pub fn read(&self, range: TimeRange, out: &mut Vec<Sample>) {
        for chunk in self.frozen.as_deref().into_iter().chain([&self.open]) {
            if overlaps(chunk, range) {
                out.extend(
                    chunk.iter().skip_while(|sample| sample.t_ms < range.from_ms).take_while(|sample| sample.t_ms <= range.to_ms),
                );
            }
        }
    }

    /// Whether a sample may lie in the range (chunk bounds, then the samples themselves).
    pub fn has_samples(&self, range: TimeRange) -> bool {
        self.frozen.as_deref().into_iter().chain([&self.open]).any(|chunk| {
            overlaps(chunk, range)
                && ((chunk.first_t_ms() >= range.from_ms && chunk.first_t_ms() <= range.to_ms)
                    || (chunk.last_t_ms() >= range.from_ms && chunk.last_t_ms() <= range.to_ms)
                    || chunk.iter().any(|sample| sample.t_ms >= range.from_ms && sample.t_ms <= range.to_ms))
        })
    }
}

fn overlaps(chunk: &Chunk, range: TimeRange) -> bool {
    !chunk.is_empty() && chunk.first_t_ms() <= range.to_ms && chunk.last_t_ms() >= range.from_ms
}

/// Counters of the head's life.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    pub appended: u64,
    pub duplicates: u64,
    pub rejected: u64,
    pub refused_series: u64,
    pub expired_series: u64,
}

pub struct Head {
    slots: Vec<Option<HeadSeries>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    by_labels: HashTable<u32>,
    hasher: RandomState,
    strings: AHashSet<Arc<str>>,
    pub postings: Postings,
    /// Newest time of series that have samples in blocks but not (or no longer) in the head, by fingerprint: what keeps
    /// times ascending over a restart.
    pub block_tails: AHashMap<u64, i64>,
    /// Series of which nothing is known any more may have ended as late as this.
    forgotten_ms: i64,
    /// Samples in open chunks: what the next block will hold.
    pub open_samples: u64,
    /// Newest time that was ever appended.
    pub newest_ms: i64,
    pub max_series: usize,
    /// Number of the log segment being written; 0 without a log.
    pub segment: u32,
    pub counters: Counters,
    /// Counts up when samples leave the head or slots change hands: who reads in parts begins anew.
    pub turn: u64,
    /// Samples of one append on their way to the log.
    batch: Vec<wal::LoggedSample>,
}

impl Head {
    pub fn new(max_series: usize, hasher: RandomState) -> Self {
        Self {
            slots: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            by_labels: HashTable::new(),
            hasher,
            strings: AHashSet::new(),
            postings: Postings::default(),
            block_tails: AHashMap::new(),
            forgotten_ms: i64::MIN,
            open_samples: 0,
            newest_ms: i64::MIN,
            max_series,
            segment: 0,
            counters: Counters::default(),
            turn: 0,
            batch: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.by_labels.len()
    }

    pub fn get(&self, slot: u32) -> Option<&HeadSeries> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub fn iter(&self) -> impl Iterator<Item = &HeadSeries> {
        self.slots.iter().flatten()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut HeadSeries> {
        self.slots.iter_mut().flatten()
    }

    pub fn fingerprint(&self, labels: &Labels) -> u64 {
        fingerprint(&self.hasher, labels.iter())
    }

    /// The reference of a known series.
    pub fn find(&self, labels: &Labels) -> Option<SeriesRef> {
        let hash = self.fingerprint(labels);
        let slot = *self.by_labels.find(hash, |&slot| self.get(slot).is_some_and(|series| series.labels == *labels))?;
        Some(reference(slot, self.generations[slot as usize]))
    }

    /// Finds or creates a series.
    pub fn resolve(&mut self, labels: &Labels) -> Result<SeriesRef, StoreError> {
        if let Some(known) = self.find(labels) {
            return Ok(known);
        }
        if labels.0.is_empty() {
            return Err(StoreError::BadRequest("a series needs at least one label with a value; give it a __name__".into()));
        }
        if self.len() >= self.max_series {
            self.counters.refused_series += 1;
            return Err(StoreError::BadRequest(format!(
                "series {labels} refused: the store already holds its cap of {} series; raise max_series or send fewer label values",
                self.max_series
            )));
        }
        let bytes: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > MAX_LABEL_BYTES {
            self.counters.refused_series += 1;
            let shown: String = labels.to_string().chars().take(SHOWN_CHARS).collect();
            return Err(StoreError::BadRequest(format!(
                "series {shown}... refused: its labels take {bytes} bytes, more than the {MAX_LABEL_BYTES} taken; send shorter label values"
            )));
        }
        Ok(self.add(labels, self.forgotten_ms))
    }

    /// Creates a series that is not known yet; it begins after `after_ms` where no newest time of it is remembered.
    fn add(&mut self, labels: &Labels, after_ms: i64) -> SeriesRef {
        let labels = Labels(labels.0.iter().map(|(name, value)| (self.intern(name), self.intern(value))).collect());
        let fingerprint = self.fingerprint(&labels);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // Generations outlive their slots, so that no reference ever means another series.
            if self.generations.len() < self.slots.len() {
                self.generations.push(0);
            }
            (self.slots.len() - 1) as u32
        });
        let generation = self.generations[slot as usize];
        self.postings.insert(slot, labels.0.iter());
        let last_t_ms = self.block_tails.get(&fingerprint).copied().unwrap_or(after_ms);
        self.slots[slot as usize] = Some(HeadSeries {
            labels,
            fingerprint,
            generation,
            described_in: 0,
            touched_s: seconds(crate::store::now_ms()),
            last_t_ms,
            last_bits: None,
            open: Chunk::default(),
            frozen: None,
        });
        let slots = &self.slots;
        self.by_labels
            .insert_unique(fingerprint, slot, |&other| slots[other as usize].as_ref().map_or(0, |series| series.fingerprint));
        reference(slot, generation)
    }

    fn intern(&mut self, text: &Arc<str>) -> Arc<str> {
        match self.strings.get(text) {
            Some(known) => known.clone(),
            None => {
                // A fresh copy: the caller's may be a slice of something larger kept alive.
                let own: Arc<str> = Arc::from(&**text);
                self.strings.insert(own.clone());
                own
            }
        }
    }

    /// Appends what the rules allow and writes the same to `log`, descriptions of series first.
    pub fn append(&mut self, samples: &[(SeriesRef, i64, f64)], bounds: Bounds, log: Option<&mut Vec<u8>>) -> Appended {
        let mut appended = Appended::default();
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        let mut log = log;
        let touched_s = seconds(bounds.now_ms);
        for &(series_ref, t_ms, value) in samples {
            let (slot, generation) = split(series_ref);
            let Some(series) =
                self.slots.get_mut(slot as usize).and_then(Option::as_mut).filter(|series| series.generation == generation)
            else {
                appended.rejected.add(1, || Rejected {
                    labels: Labels(Arc::from([])),
                    t_ms,
                    reason: "the series reference has expired because the series was silent for long; resolve it again".into(),
                });
                continue;
            };
            if t_ms <= series.last_t_ms || t_ms < bounds.oldest_ms || t_ms > bounds.newest_ms {
                if t_ms == series.last_t_ms && series.last_bits.is_none_or(|bits| bits == value.to_bits()) {
                    self.counters.duplicates += 1;
                    appended.samples += 1;
                } else {
                    appended.rejected.add(1, || reject(series, t_ms, value, bounds));
                }
                continue;
            }
            series.last_t_ms = t_ms;
            self.newest_ms = self.newest_ms.max(t_ms);
            series.last_bits = Some(value.to_bits());
            series.touched_s = touched_s;
            series.open.push(t_ms, value);
            self.open_samples += 1;
            if let Some(log) = log.as_deref_mut() {
                if series.described_in != self.segment {
                    series.described_in = self.segment;
                    wal::put_series(log, slot, &series.labels);
                }
                batch.push((slot, t_ms, value.to_bits()));
            }
            self.counters.appended += 1;
            appended.samples += 1;
        }
        if let Some(log) = log {
            batch.chunks(wal::MAX_RECORD_SAMPLES).for_each(|part| wal::put_samples(log, part));
        }
        self.batch = kept_buffer(batch);
        self.counters.rejected += appended.rejected.len() as u64;
        appended
    }

    /// Moves all open chunks aside for the next block. Nothing may be frozen already.
    pub fn freeze(&mut self) {
        for series in self.slots.iter_mut().flatten() {
            if !series.open.is_empty() {
                series.frozen = Some(Arc::new(std::mem::take(&mut series.open)));
            }
        }
        self.open_samples = 0;
    }

    /// Lets go of frozen chunks once a block serves them.
    pub fn thaw(&mut self) {
        self.turn += 1;
        self.iter_mut().for_each(|series| series.frozen = None);
    }

    /// Series that were not written to since `since_ms` by the wall clock.
    pub fn silent(&self, since_ms: i64) -> usize {
        let since_s = seconds(since_ms);
        self.iter().filter(|series| series.touched_s < since_s).count()
    }

    /// Forgets series without samples in the head that were not written to since `silent_since_ms` by the wall clock.
    /// Their newest time is kept so that it goes on ascending if they return.
    pub fn expire(&mut self, silent_since_ms: i64) {
        let silent_since_s = seconds(silent_since_ms);
        let silent: Vec<u32> = (0..self.slots.len() as u32)
            .filter(|&slot| {
                self.get(slot)
                    .is_some_and(|series| series.open.is_empty() && series.frozen.is_none() && series.touched_s < silent_since_s)
            })
            .collect();
        self.turn += 1;
        for slot in silent {
            let Some(series) = self.slots[slot as usize].take() else { continue };
            if let Ok(entry) = self.by_labels.find_entry(series.fingerprint, |&other| other == slot) {
                entry.remove();
            }
            self.postings.remove(slot, series.labels.0.iter());
            if series.last_t_ms > i64::MIN {
                self.block_tails.insert(series.fingerprint, series.last_t_ms);
            }
            self.generations[slot as usize] = self.generations[slot as usize].wrapping_add(1);
            self.free.push(slot);
            self.counters.expired_series += 1;
        }
        self.strings.retain(|text| Arc::strong_count(text) > 1);
        self.give_back_room();
    }

    /// After a crowd has gone its room goes too: slots at the end are dropped, and the lowest free ones are taken first so
    /// that the end empties.
    fn give_back_room(&mut self) {
        while self.slots.last().is_some_and(Option::is_none) {
            self.slots.pop();
        }
        let (slots, series) = (self.slots.len(), self.by_labels.len());
        self.free.retain(|&slot| (slot as usize) < slots);
        self.free.sort_unstable_by_key(|&slot| std::cmp::Reverse(slot));
        self.free.shrink_to(self.free.len() * 2);
        self.slots.shrink_to(slots + slots / 4);
        let slots = &self.slots;
        self.by_labels.shrink_to(series * 2, |&slot| slots[slot as usize].as_ref().map_or(0, |series| series.fingerprint));
        let strings = self.strings.len();
        self.strings.shrink_to(strings * 2);
    }

    /// Forgets the newest times of series that left the head long ago, if too many are remembered.
    pub fn bound_tails(&mut self, now_ms: i64) {
        for kept_ms in KEPT_TAILS_MS {
            self.forget_tails(now_ms - kept_ms, MAX_TAILS);
        }
    }

    /// Forgets, if more than `most` are remembered, those from before `before_ms`; no series may begin before it then, so
    /// that times still ascend.
    fn forget_tails(&mut self, before_ms: i64, most: usize) {
        if self.block_tails.len() > most {
            self.block_tails.retain(|_, newest| *newest >= before_ms);
            self.forgotten_ms = self.forgotten_ms.max(before_ms);
        }
    }

    /// Oldest and newest time in memory.
    pub fn range(&self) -> Option<(i64, i64)> {
        self.iter()
            .flat_map(|series| series.frozen.as_deref().into_iter().chain([&series.open]))
            .filter(|chunk| !chunk.is_empty())
            .map(|chunk| (chunk.first_t_ms(), chunk.last_t_ms()))
            .reduce(|left, right| (left.0.min(right.0), left.1.max(right.1)))
    }
}

/// A buffer to be used again, unless one large request made it so big that it is better given back.
pub fn kept_buffer<T>(buffer: Vec<T>) -> Vec<T> {
    if buffer.capacity() * size_of::<T>() > KEPT_BUFFER_BYTES { Vec::new() } else { buffer }
}

fn seconds(wall_ms: i64) -> u32 {
    u32::try_from(wall_ms / 1000).unwrap_or(0)
}

fn reject(series: &HeadSeries, t_ms: i64, value: f64, bounds: Bounds) -> Rejected {
    let labels = &series.labels;
    let reason = if t_ms < bounds.oldest_ms {
        format!("series {labels}: sample at {t_ms} ms is older than the retention, which begins at {} ms", bounds.oldest_ms)
    } else if t_ms > bounds.newest_ms {
        format!(
            "series {labels}: sample at {t_ms} ms lies in the future (at most {} ms is taken); check the sender's clock",
            bounds.newest_ms
        )
    } else if t_ms == series.last_t_ms {
        let stored = f64::from_bits(series.last_bits.unwrap_or(0));
        format!("series {labels}: duplicate sample at {t_ms} ms: {value} differs from the stored {stored}")
    } else {
        format!(
            "series {labels}: out of order sample at {t_ms} ms, the newest stored one is at {} ms; send each series in ascending time",
            series.last_t_ms
        )
    };
    Rejected { labels: labels.clone(), t_ms, reason }
}

/// Hash of a label set from the hashes of its strings, so that an index can hash each distinct string once.
pub fn fingerprint<'a>(hasher: &RandomState, labels: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    labels.fold(0, |hash, (name, value)| mix(mix(hash, hasher.hash_one(name)), hasher.hash_one(value)))
}

pub fn mix(hash: u64, next: u64) -> u64 {
    (hash ^ next).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

fn reference(slot: u32, generation: u32) -> SeriesRef {
    u64::from(generation) << 32 | u64::from(slot)
}

fn split(series: SeriesRef) -> (u32, u32) {
    (series as u32, (series >> 32) as u32)
}

/// Rebuilds the head from a log segment.
pub struct HeadReplay<'a> {
    pub head: &'a mut Head,
    slots: AHashMap<u32, u32>,
    dense: Vec<u32>,
    /// Samples whose series was described in damaged bytes.
    pub orphans: u64,
    pub samples: u64,
}

const UNKNOWN: u32 = u32::MAX;

impl<'a> HeadReplay<'a> {
    pub fn new(head: &'a mut Head) -> Self {
        Self { head, slots: AHashMap::new(), dense: Vec::new(), orphans: 0, samples: 0 }
    }
}

impl Replay for HeadReplay<'_> {
    fn series(&mut self, slot: u32, labels: Labels) {
        // No cap here: one lowered since must not lose what was acknowledged.
        let resolved = match self.head.find(&labels) {
            Some(known) => known as u32,
            // What the log holds was taken when its time still ascended, whatever was forgotten since.
            None => self.head.add(&labels, i64::MIN) as u32,
        };
        if (slot as usize) < 4 * self.dense.len() + 1024 {
            if self.dense.len() <= slot as usize {
                self.dense.resize(slot as usize + 1, UNKNOWN);
            }
            self.dense[slot as usize] = resolved;
        } else {
            self.slots.insert(slot, resolved);
        }
    }

    fn sample(&mut self, slot: u32, t_ms: i64, value: f64) {
        let target = match self.dense.get(slot as usize) {
            Some(&known) if known != UNKNOWN => known,
            _ => self.slots.get(&slot).copied().unwrap_or(UNKNOWN),
        };
        let Some(series) = self.head.slots.get_mut(target as usize).and_then(Option::as_mut) else {
            self.orphans += 1;
            return;
        };
        if t_ms > series.last_t_ms {
            series.last_t_ms = t_ms;
            self.head.newest_ms = self.head.newest_ms.max(t_ms);
            series.last_bits = Some(value.to_bits());
            series.open.push(t_ms, value);
            self.head.open_samples += 1;
            self.samples += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_times_beyond_the_bound_go_and_no_series_begins_before_them() {
        let mut head = Head::new(10, RandomState::new());
        (0..10).for_each(|series| assert!(head.block_tails.insert(series, series as i64 * 10).is_none()));
        head.forget_tails(50, 20);
        assert_eq!(head.block_tails.len(), 10, "few enough to be kept");
        head.forget_tails(50, 5);
        assert_eq!(head.block_tails.len(), 5);
        let bounds = Bounds { now_ms: 0, oldest_ms: i64::MIN, newest_ms: i64::MAX };
        let series = head.resolve(&Labels::new([("__name__", "up")])).unwrap();
        assert_eq!(head.append(&[(series, 40, 1.0), (series, 60, 1.0)], bounds, None).samples, 1);
    }

    #[test]
    fn what_the_log_holds_is_kept_though_newest_times_were_forgotten() {
        let mut head = Head::new(10, RandomState::new());
        (0..10).for_each(|series| assert!(head.block_tails.insert(series, series as i64 * 10).is_none()));
        head.forget_tails(50, 5);
        let mut replay = HeadReplay::new(&mut head);
        replay.series(0, Labels::new([("__name__", "up")]));
        replay.sample(0, 40, 1.0);
        assert_eq!(replay.samples, 1);
    }

    #[test]
    fn the_room_of_a_crowd_that_left_is_given_back_and_its_references_mean_nothing() {
        let mut head = Head::new(10_000, RandomState::new());
        let labels = |number: usize| Labels::new([("__name__", "up"), ("tgid", number.to_string().as_str())]);
        let references: Vec<SeriesRef> = (0..5_000).map(|number| head.resolve(&labels(number)).unwrap()).collect();
        let now = crate::store::now_ms();
        // One in the middle and the first few still report.
        let bounds = Bounds { now_ms: now + 100_000, oldest_ms: i64::MIN, newest_ms: i64::MAX };
        let stay: Vec<_> = [0, 1, 2, 100].map(|number| (references[number], now, 1.0)).into();
        assert_eq!(head.append(&stay, bounds, None).samples, 4);
        head.freeze();
        head.thaw();
        head.expire(now + 50_000);
        assert_eq!((head.len(), head.slots.len()), (4, 101));
        assert!(head.slots.capacity() < 200 && head.by_labels.capacity() < 200, "{}", head.by_labels.capacity());
        assert_eq!(head.find(&labels(100)), Some(references[100]));
        let again: Vec<SeriesRef> = (0..5_000).map(|number| head.resolve(&labels(number)).unwrap()).collect();
        assert_eq!((head.len(), again[3] as u32), (5_000, 3), "the lowest place is taken first");
        let gone: Vec<_> = references.iter().filter(|known| !again.contains(known)).map(|&known| (known, now + 1, 1.0)).collect();
        assert_eq!(gone.len(), 4_996);
        assert_eq!(head.append(&gone, bounds, None).rejected.len(), 4_996);
    }
}
