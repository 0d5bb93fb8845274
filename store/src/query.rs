//! Reading: the head and the blocks together.

use crate::block::{Block, BlockIndex, BlockReader, ReadError};
use crate::open::set_aside;
use crate::store::Damage;
use crate::{Cardinality, Labels, Matcher, Sample, Series, SeriesRead, Store, StoreError, TimeRange};
use ahash::AHashMap;
use parking_lot::RwLockReadGuard;
use std::sync::Arc;

/// Heap bytes of decoded block indexes kept between queries.
const INDEX_CACHE_BYTES: usize = 16 << 20;
/// Series of the head read between two looks whether somebody waits to write: some hundred microseconds.
const SERIES_AT_ONCE: usize = 32;

/// A series being gathered; samples of blocks come before those of the head.
pub(crate) struct Gathered {
    pub labels: Labels,
    samples: Vec<Sample>,
    from_head: Vec<Sample>,
}

#[derive(Default)]
pub(crate) struct Gathering {
    pub series: Vec<Gathered>,
    by_fingerprint: AHashMap<u64, Vec<u32>>,
    total: usize,
}

impl Gathering {
    fn entry(&mut self, fingerprint: u64, is_same: impl Fn(&Labels) -> bool, labels: impl FnOnce() -> Labels) -> usize {
        let candidates = self.by_fingerprint.entry(fingerprint).or_default();
        if let Some(&known) = candidates.iter().find(|&&candidate| is_same(&self.series[candidate as usize].labels)) {
            return known as usize;
        }
        candidates.push(self.series.len() as u32);
        self.series.push(Gathered { labels: labels(), samples: Vec::new(), from_head: Vec::new() });
        self.series.len() - 1
    }
}

impl Store {
    /// Head part of a query, and the blocks that belong to exactly that state of the head. Who waits to write is let in
    /// between series, for everybody who wants to read waits behind him; what he writes that is newer than all there was is
    /// left out, so that a report is seen of all series or of none. The range that is left goes to `visit`.
    pub(crate) fn gather_head(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        gathering: &mut Gathering,
        mut visit: impl FnMut(&mut Gathering, usize, &crate::head::HeadSeries, TimeRange) -> Result<(), StoreError>,
    ) -> Result<Vec<Arc<Block>>, StoreError> {
        let mut head = self.head.read();
        'anew: loop {
            let turn = head.turn;
            let within = TimeRange { to_ms: range.to_ms.min(head.newest_ms), ..range };
            for (count, slot) in head.postings.select(matchers).into_iter().enumerate() {
                if count % SERIES_AT_ONCE == SERIES_AT_ONCE - 1 {
                    RwLockReadGuard::bump(&mut head);
                    if head.turn != turn {
                        // What was read may be in a block by now.
                        *gathering = Gathering::default();
                        continue 'anew;
                    }
                }
                let Some(series) = head.get(slot).filter(|series| series.has_samples(within)) else { continue };
                let index = gathering.entry(series.fingerprint, |labels| *labels == series.labels, || series.labels.clone());
                visit(gathering, index, series, within)?;
            }
            let blocks = self.blocks.read().clone();
            return Ok(blocks.iter().filter(|block| block.overlaps(range)).cloned().collect());
        }
    }

    pub(crate) fn index_of(&self, block: &Block) -> Option<Arc<BlockIndex>> {
        block.index(&self.hasher).inspect_err(|error| self.report_damage(block, error)).ok()
    }

    /// Names a damaged part of a block once and keeps a copy of its bytes, if there are any and it may write. What could only
    /// not be read now is no damage.
    pub(crate) fn report_damage(&self, block: &Block, error: &ReadError) {
        let file = block.path.file_name().map(|name| format!("blocks/{}", name.to_string_lossy())).unwrap_or_default();
        if error.io.is_some() {
            self.note_failed_read(&format!("{file} at byte {}: {}", error.offset, error.reason));
            return;
        }
        if block.is_news(error.offset) {
            let (offset, bytes, reason) = (error.offset, error.bytes, error.reason.clone());
            let damage = match self.wal.is_some() {
                true => set_aside(&self.options.dir, &file, offset, &block.raw(offset, bytes), reason),
                false => Damage { file, offset, bytes, reason, set_aside: None },
            };
            self.damage.lock().push(damage);
        }
    }

    pub(crate) fn trim_index_cache(&self) {
        let blocks = self.blocks.read().clone();
        let mut kept: usize = blocks.iter().map(|block| block.index_heap_bytes()).sum();
        // Oldest first: dashboards ask for the newest.
        for block in blocks.iter() {
            if kept <= INDEX_CACHE_BYTES {
                break;
            }
            kept -= block.index_heap_bytes();
            block.forget_index();
        }
    }
}

impl SeriesRead for Store {
    fn select(&self, matchers: &[Matcher], range: TimeRange, max_samples: usize) -> Result<Vec<Series>, StoreError> {
        self.select_while(matchers, range, max_samples, &|| true).map(Option::unwrap_or_default)
    }

    fn select_while(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        max_samples: usize,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<Series>>, StoreError> {
        let mut gathering = Gathering::default();
        let too_many = || StoreError::TooManySamples { limit: max_samples };
        let mut is_stopped = false;
        let gathered = self.gather_head(matchers, range, &mut gathering, |gathering, index, series, range| {
            is_stopped = !go_on();
            series.read(range, &mut gathering.series[index].from_head);
            gathering.total += gathering.series[index].from_head.len();
            if is_stopped || gathering.total > max_samples { Err(too_many()) } else { Ok(()) }
        });
        if is_stopped {
            return Ok(None);
        }
        let blocks = gathered?;
        for block in &blocks {
            let Some(index) = self.index_of(block) else { continue };
            let mut reader = BlockReader::new(block, &index);
            for series in index.select(matchers) {
                if !go_on() {
                    return Ok(None);
                }
                let mut target = None;
                for column in index.columns(series) {
                    let bounds = index.time_of(column).1;
                    if bounds.min_t_ms > range.to_ms || bounds.max_t_ms < range.from_ms {
                        continue;
                    }
                    let target = *target.get_or_insert_with(|| {
                        gathering.entry(
                            index.fingerprint(series),
                            |labels| index.has_labels(series, labels),
                            || index.labels(series),
                        )
                    });
                    let samples = &mut gathering.series[target].samples;
                    let before = samples.len();
                    if let Err(error) = reader.column(column, range, samples) {
                        self.report_damage(block, &error);
                    }
                    gathering.total += samples.len() - before;
                    if gathering.total > max_samples {
                        return Err(too_many());
                    }
                }
            }
            self.trim_index_cache();
        }
        let mut found: Vec<Series> = gathering
            .series
            .into_iter()
            .map(|mut series| {
                series.samples.append(&mut series.from_head);
                Series { labels: series.labels, samples: series.samples }
            })
            .filter(|series| !series.samples.is_empty())
            .collect();
        found.sort_by(|left, right| left.labels.cmp(&right.labels));
        Ok(Some(found))
    }

    fn series(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>, StoreError> {
        let mut gathering = Gathering::default();
        let blocks = self.gather_head(matchers, range, &mut gathering, |_, _, _, _| Ok(()))?;
        for block in &blocks {
            let Some(index) = self.index_of(block) else { continue };
            for series in index.select(matchers) {
                if index.touches(series, range) {
                    gathering.entry(
                        index.fingerprint(series),
                        |labels| index.has_labels(series, labels),
                        || index.labels(series),
                    );
                }
            }
            self.trim_index_cache();
        }
        let mut found: Vec<Labels> = gathering.series.into_iter().map(|series| series.labels).collect();
        found.sort();
        Ok(found)
    }

    fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, StoreError> {
        self.find_label_names(matchers, range)
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, StoreError> {
        self.find_label_values(name, matchers, range)
    }

    fn cardinality(&self, top: usize) -> Result<Cardinality, StoreError> {
        Ok(self.count_labels(top))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SeriesWrite, StoreOptions};

    const SERIES: usize = 200;
    const ALL: TimeRange = TimeRange { from_ms: 0, to_ms: i64::MAX };

    fn labels(number: usize) -> Labels {
        Labels::new([("__name__", "m"), ("n", &format!("{number:03}"))])
    }

    /// How many samples one read of all series finds while somebody writes from its first series on, how many there were when
    /// it came to each, and how many series it looked at.
    fn read_while(write: impl Fn(&Store) + Send + Sync) -> (usize, usize, usize) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions::new(dir.path())).unwrap();
        let now = crate::store::now_ms();
        let rows: Vec<_> = (0..SERIES).map(|number| (store.resolve(&labels(number)).unwrap(), now - 1000, 1.0)).collect();
        assert_eq!(store.append(&rows).unwrap().samples as usize, SERIES);
        let (mut gathering, mut looked_at, mut there) = (Gathering::default(), 0, Vec::new());
        std::thread::scope(|scope| {
            let (store, write) = (&store, &write);
            store
                .gather_head(&[], ALL, &mut gathering, |gathering, index, series, range| {
                    if looked_at == 0 {
                        scope.spawn(move || write(store));
                        // Nobody else can read once it waits.
                        while store.head.try_read().is_some() {
                            std::thread::yield_now();
                        }
                    }
                    looked_at += 1;
                    series.read(ALL, &mut there);
                    series.read(range, &mut gathering.series[index].from_head);
                    Ok(())
                })
                .unwrap();
        });
        (gathering.series.iter().map(|series| series.from_head.len()).sum(), there.len(), looked_at)
    }

    #[test]
    fn who_waits_to_write_is_let_in_between_series_and_what_he_writes_is_left_out() {
        let found = read_while(|store| {
            let row = (store.resolve(&labels(SERIES - 1)).unwrap(), crate::store::now_ms(), 2.0);
            store.append(&[row]).unwrap();
        });
        assert_eq!(found, (SERIES, SERIES + 1, SERIES), "it was written before the last series was read");
    }

    #[test]
    fn what_may_have_moved_into_a_block_is_read_anew() {
        let (samples, _, looked_at) = read_while(|store| store.head.write().expire(0));
        assert_eq!(samples, SERIES, "none is read twice");
        assert!(looked_at > SERIES, "{looked_at}");
    }
}
