//! Series of one machine on a common grid of time, read once each. A gap is NaN; nothing is filled but the hold of one
//! late report.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use gala_model::entity::id::canonical_machine;
use gala_model::{Event, Semantics, tables};
use gala_store::{Labels, Matcher, SeriesRead, StoreError, TimeRange};

/// Equal steps of time and the windows on them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Time of slot 0, milliseconds.
    pub from_ms: i64,
    pub step_ms: i64,
    pub slots: usize,
    /// First slot of the incident window.
    pub incident: usize,
    /// First slot after the baseline.
    pub baseline_end: usize,
}

impl Grid {
    /// Baseline up to `gap_steps` before the onset, incident from two steps before it, at least five slots.
    pub fn new(from_ms: i64, onset_ms: i64, now_ms: i64, step_ms: i64) -> Self {
        const GAP_STEPS: i64 = 6;
        const LEAST_INCIDENT_SLOTS: usize = 5;
        let step_ms = step_ms.max(1);
        let slots = ((now_ms - from_ms) / step_ms + 1).clamp(1, 20_000) as usize;
        let from_ms = now_ms - (slots as i64 - 1) * step_ms;
        let slot = |time: i64| ((time - from_ms).max(0) / step_ms) as usize;
        let incident = slot(onset_ms - 2 * step_ms).min(slots.saturating_sub(LEAST_INCIDENT_SLOTS));
        Self { from_ms, step_ms, slots, incident, baseline_end: slot(onset_ms - GAP_STEPS * step_ms).min(incident) }
    }

    pub fn time(&self, slot: usize) -> i64 {
        self.from_ms + slot as i64 * self.step_ms
    }

    pub fn range(&self) -> TimeRange {
        TimeRange { from_ms: self.from_ms - 2 * self.step_ms, to_ms: self.time(self.slots - 1) }
    }
}

/// Which series of a metric.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Filter {
    Machine,
    Processes(Vec<String>),
    /// Connections and endpoints of one service, both ends.
    ServerPort(String),
}

/// One series on the grid.
#[derive(Clone, Debug)]
pub struct Row {
    pub labels: Labels,
    pub values: Vec<f64>,
}

/// Reads series of one machine, each once.
pub struct Reader<'a> {
    store: &'a dyn SeriesRead,
    pub machine_id: String,
    pub grid: Grid,
    max_samples: usize,
    /// Times that say nothing about the usual, by slot of the baseline.
    troubled: Vec<bool>,
    cache: BTreeMap<(String, Filter), Arc<Vec<Row>>>,
    /// Whether the machine tells what happens to its processes.
    pub tells_events: bool,
    /// Names of processes by when, to whom and what happened.
    happenings: BTreeMap<(i64, String, String), String>,
    /// What and to whom, each counted once.
    happened: BTreeSet<(String, String)>,
    /// What could not be read.
    pub failures: Vec<String>,
}

impl<'a> Reader<'a> {
    pub fn new(store: &'a dyn SeriesRead, machine_id: &str, grid: Grid, max_samples: usize) -> Self {
        Self {
            store,
            machine_id: machine_id.to_owned(),
            grid,
            max_samples,
            troubled: Vec::new(),
            cache: BTreeMap::new(),
            tells_events: false,
            happenings: BTreeMap::new(),
            happened: BTreeSet::new(),
            failures: Vec::new(),
        }
    }

    /// Leaves known trouble (from, to, milliseconds) out of the baseline, unless too little of it would be left.
    pub fn without(mut self, troubles: &[(i64, i64)]) -> Self {
        const LEAST_BASELINE_SLOTS: usize = 60;
        let inside = |slot: usize| troubles.iter().any(|(from, to)| (*from..=*to).contains(&self.grid.time(slot)));
        let troubled: Vec<bool> = (0..self.grid.baseline_end).map(inside).collect();
        if troubled.iter().filter(|inside| !**inside).count() >= LEAST_BASELINE_SLOTS {
            self.troubled = troubled;
        }
        self
    }

    /// Takes over what happened to processes of the machine since shortly before the incident.
    pub fn knowing(mut self, events: &[Event]) -> Self {
        let machine = canonical_machine(&self.machine_id).to_owned();
        for event in events {
            let label = |name: &str| event.labels.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
            if canonical_machine(label("machine_id")) == machine && !label("tgid").is_empty() {
                self.tells_events = true;
                self.happened(&event.kind, label("tgid"), label("comm"), event.at_ms);
            }
        }
        self
    }

    /// One more of them; what is known already stays as it is.
    pub fn happened(&mut self, kind: &str, tgid: &str, comm: &str, at_ms: i64) {
        let recent = self.grid.time(self.grid.baseline_end)..=self.grid.time(self.grid.slots);
        if recent.contains(&at_ms) && self.happened.insert((kind.to_owned(), tgid.to_owned())) {
            self.happenings.insert((at_ms, tgid.to_owned(), kind.to_owned()), comm.to_owned());
        }
    }

    /// What happened as series: 0 before, 1 from then on. The end of a process that was killed for memory is no news.
    pub fn event_rows(&self, kind: &str, filter: &Filter) -> Vec<Row> {
        let wanted = |tgid: &String| match filter {
            Filter::Machine => true,
            Filter::Processes(tgids) => tgids.contains(tgid),
            Filter::ServerPort(_) => false,
        };
        let told = |tgid: &String| kind == "exit" && self.happened.contains(&("oom".to_owned(), tgid.clone()));
        let own = self.happenings.iter().filter(|((_, tgid, what), _)| what == kind && wanted(tgid) && !told(tgid));
        own.map(|((at_ms, tgid, _), comm)| {
            let labels = [("machine_id", &self.machine_id), ("tgid", tgid), ("comm", comm)];
            let labels = labels.iter().filter(|(_, value)| !value.is_empty());
            Row {
                labels: Labels::new(labels.map(|(name, value)| ((*name).to_owned(), (*value).clone()))),
                values: (0..self.grid.slots).map(|slot| f64::from(u8::from(self.grid.time(slot) >= *at_ms))).collect(),
            }
        })
        .collect()
    }

    /// Series of a metric, ordered by labels.
    pub fn rows(&mut self, metric: &str, filter: &Filter) -> Arc<Vec<Row>> {
        let key = (metric.to_owned(), filter.clone());
        if let Some(rows) = self.cache.get(&key) {
            return rows.clone();
        }
        let rows = match self.select(metric, filter, self.grid.range()) {
            Ok(rows) => Arc::new(rows),
            Err(error) => {
                self.failures.push(format!("{metric} could not be read: {error}"));
                Arc::new(Vec::new())
            }
        };
        self.cache.insert(key, rows.clone());
        rows
    }

    /// The last slots only, for choosing whom to look at closely; not kept.
    pub fn recent(&mut self, metric: &str, from_slot: usize) -> Vec<Row> {
        let range = TimeRange { from_ms: self.grid.time(from_slot) - 2 * self.grid.step_ms, ..self.grid.range() };
        self.select(metric, &Filter::Machine, range).unwrap_or_else(|error| {
            self.failures.push(format!("{metric} could not be read: {error}"));
            Vec::new()
        })
    }

    fn select(&self, metric: &str, filter: &Filter, range: TimeRange) -> Result<Vec<Row>, StoreError> {
        let mut matchers = vec![Matcher::equal("__name__", metric)];
        if !self.machine_id.is_empty() {
            matchers.push(Matcher::equal("machine_id", &self.machine_id));
        }
        match filter {
            Filter::Processes(tgids) if tgids.len() == 1 => matchers.push(Matcher::equal("tgid", &tgids[0])),
            Filter::Processes(tgids) => matchers.push(Matcher::new("tgid", gala_store::MatchOp::Regex, tgids.join("|"))?),
            Filter::ServerPort(port) => matchers.push(Matcher::equal("server_port", port)),
            Filter::Machine => {}
        }
        let mut found = self.store.select(&matchers, range, self.max_samples)?;
        found.retain(|series| series.labels.get("le").is_none());
        found.sort_by(|left, right| left.labels.cmp(&right.labels));
        Ok(found
            .into_iter()
            .map(|series| {
                let points =
                    series.samples.iter().map(|sample| (sample.t_ms, sample.value)).filter(|(_, value)| value.is_finite());
                let points: Vec<(i64, f64)> = match semantics(metric).0 {
                    Semantics::Cumulative => rates(points),
                    _ => points.collect(),
                };
                let mut values = on_grid(&points, &self.grid);
                values.iter_mut().zip(&self.troubled).filter(|(_, troubled)| **troubled).for_each(|(value, _)| *value = f64::NAN);
                Row { labels: series.labels, values }
            })
            .collect())
    }

    /// Digest of everything read, and the number of samples in it.
    pub fn digest(&self, mut hash: u64) -> u64 {
        hash = fnv(hash, format!("{:?}", self.happenings).as_bytes());
        for ((metric, _), rows) in &self.cache {
            hash = fnv(hash, metric.as_bytes());
            for row in rows.iter() {
                for (name, value) in row.labels.iter() {
                    hash = fnv(fnv(hash, name.as_bytes()), value.as_bytes());
                }
                for value in &row.values {
                    // All gaps are one gap, whatever their payload.
                    let bits = if value.is_finite() { value.to_bits() } else { u64::MAX };
                    hash = fnv(hash, &bits.to_le_bytes());
                }
            }
        }
        hash
    }
}

/// FNV-1a.
pub fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Growth per second between reports; a reset gives no value.
fn rates(points: impl Iterator<Item = (i64, f64)>) -> Vec<(i64, f64)> {
    let mut last: Option<(i64, f64)> = None;
    let mut out = Vec::new();
    for (time, value) in points {
        if let Some((before, from)) = last
            && time > before
            && value >= from
        {
            out.push((time, (value - from) * 1e3 / (time - before) as f64));
        }
        last = Some((time, value));
    }
    out
}

/// The newest sample at each slot, not older than 1.6 steps: reports jitter.
fn on_grid(points: &[(i64, f64)], grid: &Grid) -> Vec<f64> {
    let hold = grid.step_ms * 8 / 5;
    let mut at = 0;
    (0..grid.slots)
        .map(|slot| {
            let time = grid.time(slot);
            while at < points.len() && points[at].0 <= time {
                at += 1;
            }
            match at.checked_sub(1).map(|index| points[index]) {
                Some((when, value)) if time - when < hold => value,
                _ => f64::NAN,
            }
        })
        .collect()
}

/// What the vocabulary says of a series name: its meaning over time and its unit.
pub fn semantics(metric: &str) -> (Semantics, &'static str) {
    static NAMES: OnceLock<HashMap<&'static str, (Semantics, &'static str)>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let mut names = HashMap::new();
        for field in tables::all().iter().flat_map(|table| table.metrics()) {
            names.entry(field.series.base).or_insert((field.semantics, field.unit));
            names.entry(field.series.sum).or_insert((field.semantics, field.unit));
            names.entry(field.series.count).or_insert((field.semantics, "count"));
            names.entry(field.series.max).or_insert((Semantics::PerPeriod, field.unit));
        }
        names
    });
    names.get(metric).copied().unwrap_or_else(|| {
        let unit = if metric.ends_with("_nsec") || metric.ends_with("_ns") { "ns" } else { "" };
        (if metric.ends_with("_total") { Semantics::Cumulative } else { Semantics::PerPeriod }, unit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_incident_window_spans_the_onset_and_has_five_slots() {
        let grid = Grid::new(0, 300_000, 330_000, 5_000);
        assert_eq!((grid.time(grid.incident), grid.time(grid.baseline_end)), (290_000, 270_000));
        let young = Grid::new(0, 328_000, 330_000, 5_000);
        assert_eq!(young.slots - young.incident, 5);
    }

    #[test]
    fn a_report_that_is_late_keeps_the_value_before_it_once() {
        let grid = Grid { from_ms: 0, step_ms: 5_000, slots: 6, incident: 0, baseline_end: 0 };
        let values = on_grid(&[(0, 1.0), (5_400, 2.0), (9_900, 3.0)], &grid);
        assert_eq!(values[..4], [1.0, 1.0, 3.0, 3.0]);
        assert!(values[4].is_nan() && values[5].is_nan());
    }

    #[test]
    fn a_counter_reset_gives_no_rate() {
        assert_eq!(rates([(0, 10.0), (5_000, 20.0), (10_000, 5.0), (15_000, 10.0)].into_iter()), [(5_000, 2.0), (15_000, 1.0)]);
    }
}
