//! Taking remote-write bodies into the store. A body that is wrong in itself changes nothing; samples the store's rules
//! refuse are named and the rest is kept. A series that was seen before is recognised by the bytes of its labels, so the
//! hot path builds no strings.

use crate::head::{KEPT_BUFFER_BYTES, kept_buffer};
use crate::metadata::MetricMetadata;
use crate::{Labels, Rejected, Rejections, SeriesRef, SeriesWrite, Store, StoreError};
use gala_model::remote_write::{Item, SeriesView, WireError, decode, kind_name};
use hashbrown::HashTable;

/// A body may grow to this size when decompressed.
pub const MAX_BODY_BYTES: usize = 64 << 20;
/// More samples than a body of that size holds if each has a time and a value; without them a body holds ten times more.
pub const MAX_BODY_SAMPLES: usize = 4_000_000;
/// Bytes of label sets kept for recognition; when full all are forgotten and learned again.
const CACHE_BYTES: usize = 96 << 20;

/// What became of a body; everything not in `rejected` is on disk.
#[derive(Debug, Default)]
pub struct Ingested {
    pub samples: usize,
    pub rejected: Rejections,
    /// Exemplars and native histograms in the body, which are not kept.
    pub skipped: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The body is not what it should be; nothing of it was stored. Answer 400.
    #[error("{0}")]
    Malformed(String),
    /// The body is larger than taken. Answer 413.
    #[error("{0}")]
    TooLarge(String),
    /// The store cannot write now; sending again later is right. Answer 503.
    #[error("{0}")]
    Unavailable(String),
}

impl From<WireError> for WriteError {
    fn from(error: WireError) -> Self {
        Self::Malformed(error.to_string())
    }
}

struct Known {
    hash: u64,
    series: SeriesRef,
    start: u32,
    length: u32,
}

/// Label bytes as senders spell them, and the series they mean. Also the buffers a request needs.
#[derive(Default)]
pub(crate) struct Cache {
    known: HashTable<Known>,
    bytes: Vec<u8>,
    epoch: u64,
    body: Vec<u8>,
    batch: Vec<(SeriesRef, i64, f64)>,
}

impl Cache {
    fn forget(&mut self) {
        self.known.clear();
        self.bytes.clear();
    }

    #[inline]
    fn find(&self, hash: u64, label_bytes: &[u8]) -> Option<SeriesRef> {
        let is_same = |known: &Known| {
            known.hash == hash && self.bytes.get(known.start as usize..(known.start + known.length) as usize) == Some(label_bytes)
        };
        self.known.find(hash, is_same).map(|known| known.series)
    }

    fn learn(&mut self, hash: u64, label_bytes: &[u8], series: SeriesRef) {
        if self.bytes.len() + label_bytes.len() > CACHE_BYTES {
            self.forget();
        }
        let entry = Known { hash, series, start: self.bytes.len() as u32, length: label_bytes.len() as u32 };
        self.bytes.extend_from_slice(label_bytes);
        self.known.insert_unique(hash, entry, |known| known.hash);
    }
}

/// A series not recognised: its labels, and which part of the batch is its.
struct Fresh<'a> {
    labels: Labels,
    label_bytes: Option<(u64, &'a [u8])>,
    samples: std::ops::Range<usize>,
}

/// Stores a snappy-compressed `WriteRequest` and returns when it is safe on disk.
pub fn ingest(store: &Store, body: &[u8]) -> Result<Ingested, WriteError> {
    let mut cache = store.remote_write.lock();
    let mut decompressed = std::mem::take(&mut cache.body);
    let outcome = decompress(body, &mut decompressed).and_then(|length| take_in(store, &mut cache, &decompressed[..length]));
    if decompressed.len() <= KEPT_BUFFER_BYTES {
        cache.body = decompressed;
    }
    drop(cache);
    let ingested = outcome?;
    store.sync().map_err(|error| WriteError::Unavailable(error.to_string()))?;
    Ok(ingested)
}

fn decompress(body: &[u8], out: &mut Vec<u8>) -> Result<usize, WriteError> {
    let malformed = |error: snap::Error| {
        WriteError::Malformed(format!("the body is not snappy block format ({error}); send it with Content-Encoding: snappy"))
    };
    let length = snap::raw::decompress_len(body).map_err(malformed)?;
    if length > MAX_BODY_BYTES {
        return Err(WriteError::TooLarge(format!(
            "the body is {length} bytes decompressed, more than the {MAX_BODY_BYTES} taken; send fewer samples per request"
        )));
    }
    if out.len() < length {
        out.resize(length, 0);
    }
    snap::raw::Decoder::new().decompress(body, out).map_err(malformed)
}

fn take_in(store: &Store, cache: &mut Cache, body: &[u8]) -> Result<Ingested, WriteError> {
    loop {
        let epoch = store.epoch();
        if cache.epoch != epoch {
            cache.forget();
            cache.epoch = epoch;
        }
        let mut batch = std::mem::take(&mut cache.batch);
        batch.clear();
        let taken = take_in_epoch(store, cache, body, &mut batch);
        cache.batch = kept_buffer(batch);
        match taken {
            Ok(None) => continue,
            Ok(Some(ingested)) => return Ok(ingested),
            Err(error) => return Err(error),
        }
    }
}

/// `None`: series expired meanwhile, references must be looked up again.
fn take_in_epoch(
    store: &Store,
    cache: &mut Cache,
    body: &[u8],
    batch: &mut Vec<(SeriesRef, i64, f64)>,
) -> Result<Option<Ingested>, WriteError> {
    let mut ingested = Ingested::default();
    let mut fresh: Vec<Fresh<'_>> = Vec::new();
    let mut metadata = Vec::new();
    let mut labels = Vec::new();
    for item in decode(body) {
        let view = match item? {
            Item::Series(view) => view,
            Item::Metadata(sent) => {
                metadata.push(sent);
                continue;
            }
        };
        ingested.skipped += view.exemplars + view.histograms;
        let label_bytes = view.label_bytes().map(|bytes| (store.hasher.hash_one(bytes), bytes));
        let known = label_bytes.and_then(|(hash, bytes)| cache.find(hash, bytes));
        let start = batch.len();
        let room = MAX_BODY_SAMPLES + 1 - batch.len();
        batch.extend(view.samples().take(room).map(|(t_ms, value)| (known.unwrap_or(0), t_ms, value)));
        if batch.len() > MAX_BODY_SAMPLES {
            return Err(WriteError::TooLarge(format!(
                "the body holds more than the {MAX_BODY_SAMPLES} samples taken; send fewer samples per request"
            )));
        }
        if known.is_none() {
            check_labels(&view, &mut labels)?;
            if batch.len() == start {
                // Without samples (it may have had native histograms alone) it would only take a place.
                continue;
            }
            fresh.push(Fresh { labels: Labels::new(labels.iter().copied()), label_bytes, samples: start..batch.len() });
        }
    }
    resolve_fresh(store, cache, fresh, batch, &mut ingested);
    for sent in metadata {
        store.set_metadata(
            sent.family,
            MetricMetadata { kind: kind_name(sent.kind).into(), help: sent.help.into(), unit: sent.unit.into() },
        );
    }
    match store.append_in_epoch(batch, cache.epoch) {
        Ok(None) => Ok(None),
        Ok(Some(appended)) => {
            ingested.samples = appended.samples;
            ingested.rejected.append(appended.rejected);
            Ok(Some(ingested))
        }
        Err(error) => Err(WriteError::Unavailable(error.to_string())),
    }
}

fn resolve_fresh(
    store: &Store,
    cache: &mut Cache,
    fresh: Vec<Fresh<'_>>,
    batch: &mut Vec<(SeriesRef, i64, f64)>,
    ingested: &mut Ingested,
) {
    let mut refused = false;
    for new in fresh {
        match store.resolve(&new.labels) {
            Ok(series) => {
                batch[new.samples].iter_mut().for_each(|sample| sample.0 = series);
                if let Some((hash, bytes)) = new.label_bytes {
                    cache.learn(hash, bytes, series);
                }
            }
            Err(StoreError::BadRequest(reason) | StoreError::Io(reason)) => {
                refused = true;
                let samples = &mut batch[new.samples];
                let t_ms = samples.first().map_or(0, |sample| sample.1);
                ingested.rejected.add(samples.len(), || Rejected { labels: new.labels, t_ms, reason });
                samples.iter_mut().for_each(|sample| sample.0 = SeriesRef::MAX);
            }
            Err(StoreError::TooManySamples { .. }) => unreachable!("resolving reads no samples"),
        }
    }
    if refused {
        batch.retain(|sample| sample.0 != SeriesRef::MAX);
    }
}

/// The rules Prometheus has for label sets: a metric name, no empty or repeated label name.
fn check_labels<'a>(view: &SeriesView<'a>, labels: &mut Vec<(&'a str, &'a str)>) -> Result<(), WriteError> {
    view.labels(labels)?;
    let place = view.index();
    labels.sort_unstable_by_key(|(name, _)| *name);
    if let Some(pair) = labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let name = pair[0].0;
        return Err(WriteError::Malformed(format!(
            "timeseries[{place}]: label {name:?} is given twice ({:?} and {:?}); send each label name once",
            pair[0].1, pair[1].1
        )));
    }
    if labels.first().is_some_and(|(name, _)| name.is_empty()) {
        return Err(WriteError::Malformed(format!(
            "timeseries[{place}]: a label has an empty name; give it one or leave it out"
        )));
    }
    let metric = labels.iter().find(|(name, _)| *name == "__name__").map_or("", |(_, value)| value);
    if metric.is_empty() {
        return Err(WriteError::Malformed(format!("timeseries[{place}]: no metric name; send label __name__ with a value")));
    }
    Ok(())
}
