//! The agent of this process as a source: observations become samples without their labels being looked at again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gala_model::{Event, LabelSet, Observation, ObservationSink};
use gala_store::{Appended, Labels, SeriesRef, SeriesWrite, Store, StoreError};
use hashbrown::HashMap;
use parking_lot::Mutex;
use smallvec::SmallVec;

/// Rows whose series are remembered; a cleared cache only costs time.
const MAX_CACHED_ROWS: usize = 100_000;
/// Batches after which a row that did not come again is forgotten.
const FORGET_AFTER_BATCHES: u64 = 64;

/// Receives what the agent sees and puts it into the store.
pub struct LocalIngest {
    store: Arc<Store>,
    events: Arc<dyn Fn(&Event) + Send + Sync>,
    cache: Mutex<Cache>,
    /// Samples the store did not take since the start.
    refused: Arc<AtomicU64>,
}

#[derive(Default)]
struct Cache {
    /// Keyed by address of table and labels; the row keeps its labels alive, so an address is never reused.
    rows: HashMap<(usize, usize), CachedRow, ahash::RandomState>,
    batches: u64,
    /// The store's epoch in which the references were given.
    epoch: u64,
    samples: Vec<(SeriesRef, i64, f64)>,
}

struct CachedRow {
    _labels: Arc<LabelSet>,
    last_batch: u64,
    series: SmallVec<[CachedSeries; 8]>,
}

struct CachedSeries {
    /// Address of the static name.
    name: usize,
    le: Option<Box<str>>,
    series: SeriesRef,
}

impl LocalIngest {
    pub fn new(store: Arc<Store>, events: Arc<dyn Fn(&Event) + Send + Sync>, refused: Arc<AtomicU64>) -> Self {
        Self { store, events, cache: Mutex::default(), refused }
    }
}

impl CachedRow {
    /// The series of one field; rows emit their fields in the same order, so the next one is usually at `cursor`.
    fn series(
        &mut self,
        cursor: &mut usize,
        name: &'static str,
        le: Option<&str>,
        resolve: impl FnOnce() -> Option<SeriesRef>,
    ) -> Option<SeriesRef> {
        let address = name.as_ptr() as usize;
        let is_it = |cached: &CachedSeries| cached.name == address && cached.le.as_deref() == le;
        if self.series.get(*cursor).is_some_and(is_it) {
            *cursor += 1;
            return Some(self.series[*cursor - 1].series);
        }
        if let Some(index) = self.series.iter().position(is_it) {
            *cursor = index + 1;
            return Some(self.series[index].series);
        }
        let series = resolve()?;
        self.series.push(CachedSeries { name: address, le: le.map(Into::into), series });
        *cursor = self.series.len();
        Some(series)
    }
}

impl Cache {
    /// Turns a batch into samples; answers how many have no series because the store is full, and its words.
    fn gather(&mut self, batch: &[Observation], store: &Store) -> (usize, String) {
        let epoch = store.epoch();
        if epoch != self.epoch {
            self.rows.clear();
            self.epoch = epoch;
        }
        self.batches += 1;
        self.samples.clear();
        let (mut unresolved, mut reason) = (0, String::new());
        for observation in batch {
            let key = (std::ptr::from_ref(observation.table) as usize, Arc::as_ptr(&observation.labels) as usize);
            if self.rows.len() >= MAX_CACHED_ROWS && !self.rows.contains_key(&key) {
                self.rows.clear();
            }
            let row = self.rows.entry(key).or_insert_with(|| CachedRow {
                _labels: observation.labels.clone(),
                last_batch: 0,
                series: SmallVec::new(),
            });
            row.last_batch = self.batches;
            let mut cursor = 0;
            gala_model::series::for_each_sample(observation, |name, le, value| {
                let resolve = || {
                    let resolved = store.resolve(&labels_of(&observation.labels, name, le));
                    resolved.inspect_err(|error| keep_first(&mut reason, error)).ok()
                };
                match row.series(&mut cursor, name, le, resolve) {
                    Some(series) => self.samples.push((series, observation.at_ms, value)),
                    None => unresolved += 1,
                }
            });
        }
        if self.batches.is_multiple_of(FORGET_AFTER_BATCHES) {
            let oldest = self.batches - FORGET_AFTER_BATCHES;
            self.rows.retain(|_, row| row.last_batch > oldest);
        }
        (unresolved, reason)
    }

    /// `None` if references expired since they were given; nothing was taken then.
    fn append(&self, store: &Store) -> Result<Option<Appended>, StoreError> {
        store.append_best_effort(&self.samples, self.epoch)
    }
}

fn keep_first(reason: &mut String, error: &StoreError) {
    if reason.is_empty() {
        *reason = error.to_string();
    }
}

impl ObservationSink for LocalIngest {
    fn observe(&self, batch: &[Observation]) {
        let mut cache = self.cache.lock();
        let (mut unresolved, mut reason) = cache.gather(batch, &self.store);
        let outcome = cache.append(&self.store).and_then(|appended| match appended {
            Some(appended) => Ok(appended),
            None => {
                // References expired meanwhile; fresh ones are good for this batch.
                (unresolved, reason) = cache.gather(batch, &self.store);
                cache.append(&self.store).map(Option::unwrap_or_default)
            }
        });
        if unresolved > 0 {
            self.store.note_refused(unresolved, &reason);
        }
        // The store itself notes, and tells in its health, what else it refuses.
        let refused = outcome.map_or(cache.samples.len(), |appended| appended.rejected.len());
        self.refused.fetch_add((unresolved + refused) as u64, Ordering::Relaxed);
    }

    fn event(&self, event: &Event) {
        (self.events)(event);
    }
}

fn labels_of(labels: &LabelSet, name: &str, le: Option<&str>) -> Labels {
    let own = labels.0.iter().map(|(key, value)| (Arc::from(*key), value.clone()));
    let extra =
        [("__name__", Some(name)), ("le", le)].into_iter().filter_map(|(key, value)| Some((Arc::from(key), Arc::from(value?))));
    Labels::new::<Arc<str>, Arc<str>>(own.chain(extra))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use gala_model::Value;
    use gala_store::{StoreOptions, now_ms};

    use super::*;

    fn ingest(options: StoreOptions) -> (LocalIngest, Arc<Store>, Arc<AtomicU64>) {
        let store = Arc::new(Store::open(options).expect("open"));
        let refused = Arc::new(AtomicU64::new(0));
        (LocalIngest::new(store.clone(), Arc::new(|_| ()), refused.clone()), store, refused)
    }

    /// A row with one number, and labels that differ by `tgid`.
    fn row(tgid: u32, at_ms: i64) -> Observation {
        let labels = Arc::new(LabelSet(vec![("tgid", tgid.to_string().into())]));
        Observation { table: gala_model::tables::all()[0], labels, at_ms, values: vec![Value::Number(1.0)] }
    }

    /// Samples that a kill at this moment would leave.
    fn survivors(dir: &Path) -> u64 {
        let copy = tempfile::tempdir().expect("folder");
        for part in ["wal", "blocks"] {
            std::fs::create_dir(copy.path().join(part)).expect("create");
            for entry in std::fs::read_dir(dir.join(part)).expect("list").flatten() {
                std::fs::copy(entry.path(), copy.path().join(part).join(entry.file_name())).expect("copy");
            }
        }
        Store::open(StoreOptions::new(copy.path())).expect("open the copy").stats().samples
    }

    #[test]
    fn what_this_host_reports_survives_a_kill_after_the_next_upkeep() {
        let folder = tempfile::tempdir().expect("folder");
        let mut options = StoreOptions::new(folder.path());
        options.sync_every = Duration::ZERO;
        let (sink, store, refused) = ingest(options);
        sink.observe(&[row(1, now_ms())]);
        store.tick().expect("tick");
        assert_eq!((survivors(folder.path()), refused.load(Ordering::Relaxed)), (1, 0));
    }

    #[test]
    fn what_is_refused_of_this_host_is_counted_and_told_with_its_reason() {
        let folder = tempfile::tempdir().expect("folder");
        let mut options = StoreOptions::new(folder.path());
        options.max_series = 1;
        let (sink, store, refused) = ingest(options);
        let now = now_ms();
        sink.observe(&[row(1, now), row(2, now), row(3, now)]);
        assert_eq!(refused.load(Ordering::Relaxed), 2);
        let reason = store.health().reason.expect("a reason");
        assert!(reason.starts_with("2 samples of this host were refused in the last minute"), "{reason}");
        assert!(reason.contains("cap of 1 series"), "{reason}");
        // The clock was set back.
        sink.observe(&[row(1, now - 3_600_000)]);
        assert_eq!(refused.load(Ordering::Relaxed), 3);
        assert!(store.health().reason.expect("a reason").starts_with("3 samples"));
    }
}
