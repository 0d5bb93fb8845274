//! What can be done to a store folder from outside: check, compact, export, backup. Each function returns a report; the
//! command line prints it. `check` and `export` change nothing and work beside a running hub; `compact` and `backup` take
//! the folder's lock, so a running hub is named instead of disturbed.

use crate::block::{Block, BlockReader};
use crate::open::{block_files, lock_existing, read_logs, unchanged};
use crate::wal::{self, Replay, io_error, sync_dir};
use crate::{Labels, Matcher, Sample, SeriesRead, Stats, Store, StoreError, StoreOptions, TimeRange};
use ahash::{AHashSet, RandomState};
use std::fs::{DirBuilder, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A finding of [`check`].
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Problem {
    pub file: String,
    pub offset: u64,
    pub bytes: u64,
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct CheckReport {
    pub blocks: u64,
    pub log_segments: u64,
    pub series: u64,
    pub samples: u64,
    pub bytes: u64,
    /// Bytes of an unfinished record at the end of the log: what a crash leaves, no loss.
    pub torn_bytes: u64,
    pub problems: Vec<Problem>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CompactReport {
    pub before: Stats,
    pub after: Stats,
    pub merged_blocks: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ExportReport {
    pub series: u64,
    pub samples: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BackupReport {
    pub files: u64,
    pub bytes: u64,
    pub target: PathBuf,
}

/// How [`export`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// Prometheus text exposition with timestamps.
    Text,
    /// One JSON object a series: `{"metric": {...}, "values": [...], "timestamps": [...]}`.
    JsonLines,
}

struct Counting {
    described: AHashSet<u32>,
    samples: u64,
    orphans: u64,
}

impl Replay for Counting {
    fn series(&mut self, slot: u32, _: Labels) {
        self.described.insert(slot);
    }

    fn sample(&mut self, slot: u32, _: i64, _: f64) {
        match self.described.contains(&slot) {
            true => self.samples += 1,
            false => self.orphans += 1,
        }
    }
}

/// Reads everything and verifies every checksum, that indexes are sorted and consistent, that times ascend.
pub fn check(dir: &Path) -> Result<CheckReport, StoreError> {
    unchanged(dir, check_now)
}

/// `None` if a block went before it was read.
fn check_now(dir: &Path) -> Result<Option<CheckReport>, StoreError> {
    let mut report = CheckReport::default();
    let mut series = AHashSet::new();
    let hasher = RandomState::new();
    for (number, _, bytes) in read_logs(dir)? {
        let file = format!("wal/{number:010}.wal");
        let mut counting = Counting { described: AHashSet::new(), samples: 0, orphans: 0 };
        for bad in wal::replay(&bytes, &mut counting) {
            if bad.torn_tail {
                report.torn_bytes += bad.length as u64;
                continue;
            }
            let reason = "log records fail their check".to_owned();
            report.problems.push(Problem { file: file.clone(), offset: bad.offset as u64, bytes: bad.length as u64, reason });
        }
        if counting.orphans > 0 {
            let reason = format!("{} samples belong to series whose description is damaged", counting.orphans);
            report.problems.push(Problem { file, offset: 0, bytes: 0, reason });
        }
        report.log_segments += 1;
        report.samples += counting.samples;
        report.bytes += bytes.len() as u64;
    }
    for (_, _, path) in block_files(dir)?.blocks {
        let file = path.file_name().map(|name| format!("blocks/{}", name.to_string_lossy())).unwrap_or_default();
        report.blocks += 1;
        if !check_block(&path, &file, &hasher, &mut report, &mut series) {
            return Ok(None);
        }
    }
    report.series = series.len() as u64;
    Ok(Some(report))
}

/// False if the file is not there any more.
fn check_block(path: &Path, file: &str, hasher: &RandomState, report: &mut CheckReport, series: &mut AHashSet<u64>) -> bool {
    let mut problem = |offset, bytes, reason: String| {
        let new = Problem { file: file.to_owned(), offset, bytes, reason };
        if !report.problems.contains(&new) {
            report.problems.push(new);
        }
    };
    let (block, index) = match Block::open(path, hasher) {
        Ok(opened) => opened,
        Err(error) if error.io == Some(ErrorKind::NotFound) => return false,
        Err(error) => {
            problem(error.offset, error.bytes, error.reason);
            return true;
        }
    };
    let mut reader = BlockReader::new(&block, &index);
    let everything = TimeRange { from_ms: i64::MIN, to_ms: i64::MAX };
    let mut samples: Vec<Sample> = Vec::new();
    let (mut read, mut previous) = (0u64, None);
    for id in 0..index.series_count() as u32 {
        let labels = index.labels(id);
        if previous.as_ref().is_some_and(|before| *before >= labels) {
            problem(block.footer.index_offset, 0, format!("series {labels} is not in label order"));
        }
        samples.clear();
        for column in index.columns(id) {
            if let Err(error) = reader.column(column, everything, &mut samples) {
                problem(error.offset, error.bytes, error.reason);
            }
        }
        if !samples.is_sorted_by(|left, right| left.t_ms < right.t_ms) {
            problem(block.footer.index_offset, 0, format!("the times of series {labels} do not ascend"));
        }
        read += samples.len() as u64;
        series.insert(index.fingerprint(id));
        previous = Some(labels);
    }
    if read != block.footer.samples {
        problem(0, 0, format!("{read} of {} samples are readable", block.footer.samples));
    }
    report.samples += read;
    report.bytes += block.file_bytes;
    true
}

/// Moves the log into a block and merges blocks. Nothing is refused or dropped for its age or size.
pub fn compact(dir: &Path) -> Result<CompactReport, StoreError> {
    drop(lock_existing(dir)?);
    let mut options = StoreOptions::new(dir);
    (options.retention, options.max_bytes) = (Duration::MAX, u64::MAX);
    let store = Store::open(options)?;
    let before = store.stats();
    let merged_blocks = store.compact()?;
    Ok(CompactReport { before, after: store.stats(), merged_blocks })
}

/// Writes series that match all matchers in the range to `out`.
pub fn export(
    dir: &Path,
    matchers: &[Matcher],
    range: TimeRange,
    format: ExportFormat,
    out: &mut dyn Write,
) -> Result<ExportReport, StoreError> {
    let store = Store::open_read_only(dir)?;
    let mut out = BufWriter::new(out);
    let mut report = ExportReport::default();
    let write_error = |error: std::io::Error| StoreError::Io(format!("cannot write the export: {error}"));
    // Series by series, so that memory holds one at a time.
    for labels in store.series(matchers, range)? {
        let exact: Vec<Matcher> = labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
        let found = store.select(&exact, range, usize::MAX)?;
        let Some(series) = found.into_iter().find(|series| series.labels == labels) else { continue };
        report.series += 1;
        report.samples += series.samples.len() as u64;
        match format {
            ExportFormat::Text => write_text(&series.labels, &series.samples, &mut out),
            ExportFormat::JsonLines => write_json(&series.labels, &series.samples, &mut out),
        }
        .map_err(write_error)?;
    }
    out.flush().map_err(write_error)?;
    Ok(report)
}

/// A number as Prometheus spells it.
fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".into(),
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        value => value.to_string(),
    }
}

/// In the text format names that are no plain words stand in quotes, that of the metric inside the braces.
fn write_text(labels: &Labels, samples: &[Sample], out: &mut impl Write) -> std::io::Result<()> {
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let quoted = |value: &str| format!("\"{}\"", escape(value));
    let is_plain = |name: &str, others: &str| {
        let is_word = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
        name.chars().all(is_word) && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    let metric = labels.metric();
    let is_plain_metric = is_plain(metric, "_:");
    let mut parts: Vec<String> = if is_plain_metric { Vec::new() } else { vec![quoted(metric)] };
    for (name, value) in labels.iter().filter(|(name, _)| *name != "__name__") {
        let name = if is_plain(name, "_") { name.to_owned() } else { quoted(name) };
        parts.push(format!("{name}={}", quoted(value)));
    }
    let before = if is_plain_metric { metric } else { "" };
    let name = if parts.is_empty() { before.to_owned() } else { format!("{before}{{{}}}", parts.join(",")) };
    for sample in samples {
        writeln!(out, "{name} {} {}", number(sample.value), sample.t_ms)?;
    }
    Ok(())
}

fn write_json(labels: &Labels, samples: &[Sample], out: &mut impl Write) -> std::io::Result<()> {
    let metric: serde_json::Map<String, serde_json::Value> =
        labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    // Numbers as text where JSON has none.
    let value = |sample: &Sample| match sample.value.is_finite() {
        true => serde_json::Value::from(sample.value),
        false => serde_json::Value::from(number(sample.value)),
    };
    let values: Vec<serde_json::Value> = samples.iter().map(value).collect();
    let timestamps: Vec<i64> = samples.iter().map(|sample| sample.t_ms).collect();
    let line = serde_json::json!({ "metric": metric, "values": values, "timestamps": timestamps });
    writeln!(out, "{line}")
}

/// Copies the store to a new folder, which opens like the original.
pub fn backup(dir: &Path, target: &Path) -> Result<BackupReport, StoreError> {
    let _lock = lock_existing(dir)?;
    if target.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(StoreError::BadRequest(format!("the target {} is not empty; name a new folder", target.display())));
    }
    let mut report = BackupReport { target: target.to_path_buf(), ..BackupReport::default() };
    for part in ["", "wal", "blocks"] {
        let (from, to) = (dir.join(part), target.join(part));
        DirBuilder::new().recursive(true).mode(0o700).create(&to).map_err(|error| io_error("create the folder", &to, &error))?;
        let list_error = |error: std::io::Error| io_error("list", &from, &error);
        for entry in std::fs::read_dir(&from).map_err(list_error)? {
            let path = entry.map_err(list_error)?.path();
            let is_ours = part.is_empty() && path.ends_with("metadata.json")
                || path.extension().is_some_and(|extension| extension == "wal" || extension == "blk");
            let Some(name) = path.file_name().filter(|_| is_ours) else { continue };
            let copy = to.join(name);
            report.bytes += std::fs::copy(&path, &copy).map_err(|error| io_error("copy to", &copy, &error))?;
            File::open(&copy).and_then(|file| file.sync_all()).map_err(|error| io_error("make durable", &copy, &error))?;
            report.files += 1;
        }
        sync_dir(&to).map_err(|error| io_error("make durable", &to, &error))?;
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_text_are_written_as_the_text_format_has_them() {
        let shown = |labels: &[(&str, &str)]| {
            let mut out = Vec::new();
            write_text(&Labels::new(labels.iter().copied()), &[Sample { t_ms: 7, value: 1.5 }], &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(&[("__name__", "job:up:sum")]), "job:up:sum 1.5 7\n");
        assert_eq!(shown(&[("__name__", "up"), ("a", "x\"y\n")]), "up{a=\"x\\\"y\\n\"} 1.5 7\n");
        assert_eq!(shown(&[("__name__", "http.up"), ("a.b", "x")]), "{\"http.up\",\"a.b\"=\"x\"} 1.5 7\n");
    }
}
