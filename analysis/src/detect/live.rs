//! The live detector: every few seconds it reads what the store got, judges it, and keeps the book of incidents. It
//! warms from the store's history, so that a restart costs nothing but that reading.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use gala_model::TableDef;
use gala_store::{Labels, MatchOp, Matcher, SeriesRead, StoreError, TimeRange};
use serde::{Deserialize, Serialize};

use super::EntityGraph;
use super::evidence::Evidence;
use super::kpi::{Change, End, Kpi, KpiState, NEVER_MS, Patience};
use super::meaning::{Dictionary, Input, KpiRole, Meaning, Part, practical_unit, waits_by_design};
use super::policy::{Class, Group, at_side};
use super::report::ReportPart;
use super::room::Room;
use super::route::{self, KpiEntry};
use crate::incident::{Book, BookConfig, Incident, Related, rarity};

/// Samples one reading may touch.
const MAX_SAMPLES: usize = 20_000_000;
/// History is read in pieces of this length, so that it never stands in memory whole.
const PIECE_MS: i64 = 120_000;
/// Ticks between two searches for what is gone.
const SWEEP_TICKS: u64 = 24;
/// Abnormal series kept with an incident.
const MAX_RELATED: usize = 32;
/// An anomaly this old at its reading was history; it opens no incident any more.
const STALE_NEWS_MS: i64 = 90_000;
/// An incident keeps its host from learning for so long; what lasts longer may be how it is from now on.
const HOLD_BACK_MS: i64 = 900_000;
/// Version of the saved state; of the one before only the incidents are read.
const STATE_VERSION: u32 = 2;

/// How detection runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Samples may arrive this late.
    pub overlap_ms: i64,
    /// History read at the start.
    pub warm_ms: i64,
    pub calm_ms: i64,
    pub new_normal_ms: i64,
    /// Without samples for so long, a KPI's anomaly is over.
    pub gone_ms: i64,
    /// Without samples for so long, a series is forgotten; a well-known KPI only after a day.
    pub forget_ms: i64,
    pub max_series: usize,
    pub max_kpis: usize,
    pub book: BookConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            overlap_ms: 20_000,
            warm_ms: 1_800_000,
            calm_ms: 60_000,
            new_normal_ms: 3_600_000,
            gone_ms: 180_000,
            forget_ms: 1_800_000,
            max_series: 60_000,
            max_kpis: 4_000,
            book: BookConfig::default(),
        }
    }
}

/// What a tick did.
#[derive(Clone, Debug, Default)]
pub struct TickReport {
    pub at_ms: i64,
    pub samples: usize,
    pub series: usize,
    /// Ids of incidents.
    pub opened: Vec<String>,
    pub updated: Vec<String>,
    pub closed: Vec<String>,
    /// Series that were not watched, or not wholly, for want of room just now.
    pub over_cap: u64,
}

/// What is known of one series.
#[derive(Debug)]
pub(super) struct SeriesState {
    pub labels: Labels,
    pub meaning: Option<Arc<Meaning>>,
    pub last_ms: i64,
    /// Time of the first sample.
    since_ms: i64,
    /// Newest sample as evidence saw it.
    pub value: f64,
    raw: f64,
    pub(super) interval_ms: f64,
    odd_steps: u8,
    pub(super) kpis: Vec<(Arc<str>, Input)>,
    /// There was no room for a KPI it carries.
    pub(super) misses_kpis: bool,
    /// Carries a KPI whose absence means zero.
    from_rest: bool,
    pub evidence: Option<Evidence>,
}

/// What survives a restart.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedState {
    version: u32,
    read_until_ms: i64,
    book: Book,
    kpis: BTreeMap<String, KpiState>,
}

#[derive(Debug)]
pub struct Detector {
    pub(super) config: Config,
    dictionary: Dictionary,
    pub(super) by_labels: HashMap<Labels, usize, ahash::RandomState>,
    pub(super) series: Vec<SeriesState>,
    pub(super) kpis: BTreeMap<Arc<str>, KpiEntry>,
    /// KPIs of before the restart that have not spoken yet.
    pub(super) saved: BTreeMap<String, KpiState>,
    pub(super) book: Book,
    read_until_ms: Option<i64>,
    ticks: u64,
    pub(super) over_cap: u64,
    pub(super) room: Room,
}

impl Detector {
    pub fn new(config: Config, tables: &[&'static TableDef]) -> Self {
        Self {
            dictionary: Dictionary::new(tables),
            by_labels: HashMap::default(),
            series: Vec::new(),
            kpis: BTreeMap::new(),
            saved: BTreeMap::new(),
            book: Book::new(config.book),
            read_until_ms: None,
            ticks: 0,
            over_cap: 0,
            room: Room::default(),
            config,
        }
    }

    /// Goes on from a saved state: of an older version only its incidents, of a newer one nothing.
    pub fn restore(&mut self, state: SavedState) {
        if state.version > STATE_VERSION {
            return;
        }
        self.book = state.book;
        self.book.configure(self.config.book);
        if state.version == STATE_VERSION {
            self.saved = state.kpis;
        }
    }

    pub fn save(&self) -> SavedState {
        let live = self.kpis.iter().map(|(key, entry)| (key.to_string(), entry.kpi.state.clone()));
        let mut kpis = self.saved.clone();
        kpis.extend(live);
        SavedState { version: STATE_VERSION, read_until_ms: self.read_until_ms.unwrap_or(0), book: self.book.clone(), kpis }
    }

    /// Incidents, newest first.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.book.all()
    }

    pub fn incident(&self, id: &str) -> Option<&Incident> {
        self.book.get(id)
    }

    /// Reads what came since the last tick (at first: the history), judges it, and updates the incidents.
    pub fn tick(&mut self, now_ms: i64, store: &dyn SeriesRead, graph: &dyn EntityGraph) -> Result<TickReport, StoreError> {
        let plain = [
            Matcher::new("__name__", MatchOp::Regex, format!("{}.+", gala_model::PREFIX))?,
            // Means come from sum and count; all buckets would be most of the data.
            Matcher::equal("le", ""),
        ];
        let buckets = [
            Matcher::new("__name__", MatchOp::Regex, self.dictionary.bucket_names().join("|"))?,
            Matcher::new("le", MatchOp::NotEqual, String::new())?,
        ];
        let from_ms = match self.read_until_ms {
            Some(until) => (until - self.config.overlap_ms).clamp(now_ms - self.config.warm_ms, now_ms),
            None => now_ms - self.config.warm_ms,
        };
        // At the start what was saved may be of a clock that was ahead, too.
        if self.read_until_ms.is_none_or(|until| until - now_ms > self.config.overlap_ms) {
            self.clock_went_back(now_ms);
        }
        let mut report = TickReport { at_ms: now_ms, ..TickReport::default() };
        let mut changes = Vec::new();
        let mut piece_from_ms = from_ms;
        while piece_from_ms <= now_ms {
            let piece_to_ms = (piece_from_ms + PIECE_MS - 1).min(now_ms);
            let range = TimeRange { from_ms: piece_from_ms, to_ms: piece_to_ms };
            let mut series = store.select(&plain, range, MAX_SAMPLES)?;
            series.extend(store.select(&buckets, range, MAX_SAMPLES)?);
            report.series = series.len();
            // Those turned away come again with each reading.
            self.over_cap = 0;
            report.samples += self.read(series, piece_to_ms, &mut changes);
            self.inherit();
            if self.room.is_crowded() && piece_to_ms < now_ms {
                self.sweep(piece_to_ms, &mut report);
            }
            piece_from_ms = piece_to_ms + 1;
        }
        self.read_until_ms = Some(now_ms);
        self.settle(now_ms, &mut changes);
        self.record(now_ms, changes, graph, &mut report);
        self.hold_back(now_ms);
        self.ticks += 1;
        // Not before what ended is recorded: a sweep ends what is open and no longer in trouble.
        if self.room.is_crowded() || self.ticks.is_multiple_of(SWEEP_TICKS) {
            self.sweep(now_ms, &mut report);
        }
        self.relate();
        let gone_ms = self.config.gone_ms;
        let misses = |series: &&SeriesState| series.misses_kpis && now_ms - series.last_ms <= gone_ms;
        report.over_cap = self.over_cap + self.series.iter().filter(misses).count() as u64;
        Ok(report)
    }

    /// Nothing is of a time that is still to come: else nothing that comes until then would be news.
    fn clock_went_back(&mut self, now_ms: i64) {
        self.series.iter_mut().for_each(|series| series.last_ms = series.last_ms.min(now_ms));
        for entry in self.kpis.values_mut() {
            entry.heard_ms = entry.heard_ms.min(now_ms);
            entry.kpi.clock_went_back(now_ms);
        }
        self.saved.values_mut().for_each(|state| state.clock_went_back(now_ms));
    }

    fn patience(&self) -> Patience {
        Patience { calm_ms: self.config.calm_ms, new_normal_ms: self.config.new_normal_ms }
    }

    /// Feeds samples in the order of their time; answers how many were new.
    fn read(&mut self, series: Vec<gala_store::Series>, now_ms: i64, changes: &mut Vec<(Arc<str>, i64, Change)>) -> usize {
        self.room.begin(now_ms);
        self.second_ends(now_ms);
        let mut samples: Vec<(i64, usize, f64)> = Vec::new();
        for one in &series {
            let newest = one.samples.last().map_or(NEVER_MS, |sample| sample.t_ms);
            let Some(index) = self.index_of(&one.labels) else { continue };
            let known = self.series[index].last_ms;
            if newest > known {
                let new = one.samples.iter().filter(|sample| sample.t_ms > known && sample.value.is_finite());
                samples.extend(new.map(|sample| (sample.t_ms, index, sample.value)));
            }
        }
        samples.sort_by_key(|(t_ms, index, _)| (*t_ms, *index));
        for (t_ms, index, value) in &samples {
            self.take(*t_ms, *index, *value, now_ms, changes);
        }
        samples.len()
    }

    fn index_of(&mut self, labels: &Labels) -> Option<usize> {
        if let Some(index) = self.by_labels.get(labels) {
            return Some(*index);
        }
        let meaning = self.dictionary.get(labels.metric()).cloned();
        let is_app = meaning.as_ref().is_some_and(|meaning| meaning.roles.iter().any(|role| role.policy.class == Class::App));
        if !self.has_room_for_series(is_app) {
            self.over_cap += 1;
            return None;
        }
        let (kpis, misses_kpis) = meaning.as_ref().map_or_else(Default::default, |meaning| self.join_kpis(labels, meaning));
        let counts_only = meaning.as_ref().is_some_and(|meaning| meaning.part == Part::Bucket);
        let evidence = (kpis.is_empty() && !counts_only).then(|| {
            let unit = meaning.as_ref().map_or("", |meaning| meaning.field.unit);
            Evidence::new(practical_unit(unit))
        });
        let index = self.series.len();
        self.series.push(SeriesState {
            labels: labels.clone(),
            from_rest: meaning.as_ref().is_some_and(|meaning| meaning.roles.iter().any(is_from_rest)),
            meaning,
            last_ms: NEVER_MS,
            since_ms: i64::MAX,
            value: f64::NAN,
            raw: f64::NAN,
            interval_ms: 0.0,
            odd_steps: 0,
            kpis,
            misses_kpis,
            evidence,
        });
        self.by_labels.insert(labels.clone(), index);
        Some(index)
    }

    /// The KPIs a series carries, and whether one of them found no room.
    pub(super) fn join_kpis(&mut self, labels: &Labels, meaning: &Meaning) -> (Vec<(Arc<str>, Input)>, bool) {
        let (mut joined, mut misses) = (Vec::new(), false);
        if labels.get("method").is_some_and(waits_by_design) {
            return (joined, misses);
        }
        for role in &meaning.roles {
            let role = KpiRole { policy: at_side(role.policy, labels.get("role")), ..*role };
            let Some((key, selected)) = route::group(labels, meaning.entity, &role) else { continue };
            if let Some(entry) = self.kpis.get_mut(key.as_str()) {
                entry.source = route::source(&role, labels.metric(), Some(&entry.source));
                joined.push((entry.key.clone(), role.input));
                continue;
            }
            if !self.has_room_for_kpi(role.policy) {
                misses = true;
                continue;
            }
            let mut kpi = Kpi::new(role.shape, role.policy);
            if let Some(state) = self.saved.remove(&key) {
                kpi.state = state;
            }
            let source = route::source(&role, labels.metric(), None);
            let key: Arc<str> = key.into();
            let heard_ms = self.room.now_ms();
            let entry = KpiEntry { key: key.clone(), role, entity: meaning.entity, labels: selected, source, heard_ms, kpi };
            self.kpis.insert(key.clone(), entry);
            joined.push((key, role.input));
        }
        (joined, misses)
    }

    /// KPIs of a series that are reported only when something happens, and were at rest before `t_ms`: a program that fails
    /// to reach the server it was connected to, the first error of a disk that has been there.
    fn at_rest_before(&self, series: &SeriesState, t_ms: i64) -> Vec<Arc<str>> {
        let was_at_rest = |entry: &KpiEntry| match entry.role.policy.group {
            Group::Program => self.kpis.values().any(|other| route::is_connection_of(other, entry)),
            _ => entry.kpi.is_new() && self.series.iter().any(|other| is_older(other, series, entry, t_ms)),
        };
        let over = series.kpis.iter().filter(|(_, input)| *input == Input::Over);
        let entries = over.filter_map(|(key, _)| self.kpis.get(key));
        entries.filter(|entry| entry.kpi.is_habit() && was_at_rest(entry)).map(|entry| entry.key.clone()).collect()
    }

    fn take(&mut self, t_ms: i64, index: usize, value: f64, now_ms: i64, changes: &mut Vec<(Arc<str>, i64, Change)>) {
        let patience = self.patience();
        let series = &mut self.series[index];
        let step_ms = t_ms.saturating_sub(series.last_ms);
        let previous = std::mem::replace(&mut series.raw, value);
        let first = series.last_ms == NEVER_MS;
        series.last_ms = t_ms;
        series.since_ms = series.since_ms.min(t_ms);
        let cumulative = series.meaning.as_ref().is_some_and(|meaning| meaning.is_cumulative());
        // A counter that fell was reset: what it counted meanwhile is not known.
        let amount = match (cumulative, first) {
            (true, true) => return,
            (true, false) if value < previous => return,
            (true, false) => value - previous,
            (false, _) => value,
        };
        if series.from_rest && amount > 0.0 {
            for key in self.at_rest_before(&self.series[index], t_ms) {
                self.kpis.get_mut(&key).into_iter().for_each(|entry| entry.kpi.was_at_rest());
            }
        }
        let series = &mut self.series[index];
        for (key, input) in &series.kpis {
            let Some(entry) = self.kpis.get_mut(key) else { continue };
            entry.heard_ms = t_ms;
            let mut own = Vec::new();
            entry.kpi.add(&ReportPart { t_ms, input: *input, amount, labels: &series.labels, now_ms }, patience, &mut own);
            changes.extend(own.into_iter().map(|change| (key.clone(), entry.kpi.state.last_ms, change)));
        }
        series.value = amount;
        if series.evidence.is_some() && !first && series.keeps_pace(step_ms as f64) {
            let bad = series.meaning.as_ref().map_or(gala_model::Bad::Never, |meaning| meaning.bad());
            if let Some(evidence) = &mut series.evidence {
                evidence.update(t_ms, amount, bad);
            }
        }
    }

    fn settle(&mut self, now_ms: i64, changes: &mut Vec<(Arc<str>, i64, Change)>) {
        let patience = self.patience();
        let gone_ms = self.config.gone_ms;
        for (key, entry) in &mut self.kpis {
            let gone_after_ms = entry.kpi.gone_after_ms(gone_ms);
            let mut own = Vec::new();
            entry.kpi.settle(now_ms, patience, &mut own);
            // What is reported only when it happens is over when it is not reported.
            let silent_ms = now_ms - entry.kpi.state.last_ms;
            if entry.role.policy.absent_is_zero && silent_ms > entry.kpi.over_after_ms(patience.calm_ms) {
                own.extend(entry.kpi.calm(now_ms, patience));
            }
            if entry.kpi.state.trouble.is_some() && now_ms - entry.kpi.state.last_ms > gone_after_ms {
                own.extend(entry.kpi.gone());
            }
            changes.extend(own.into_iter().map(|change| (key.clone(), entry.kpi.state.last_ms, change)));
        }
    }

    /// Brings changes of KPIs to the book.
    fn record(&mut self, now_ms: i64, changes: Vec<(Arc<str>, i64, Change)>, graph: &dyn EntityGraph, report: &mut TickReport) {
        for (key, at_ms, change) in changes {
            let Some(entry) = self.kpis.get(&key) else { continue };
            let effect = match change {
                Change::Opened(trouble) | Change::Continues(trouble) if !self.book.holds(&key) => {
                    if now_ms - at_ms > STALE_NEWS_MS {
                        continue;
                    }
                    let Some(symptom) = route::symptom(entry, &trouble, graph) else { continue };
                    self.book.begin(symptom, graph)
                }
                Change::Opened(trouble) | Change::Continues(trouble) => {
                    let (value, score) = (entry.kpi.state.value, route::score(entry, &trouble));
                    self.book.proceed(&key, |symptom| {
                        symptom.last_bad_ms = trouble.last_bad_ms;
                        symptom.peak = trouble.peak;
                        symptom.now = value;
                        symptom.score = score;
                    })
                }
                Change::Closed(_, end) => self.book.end(&key, if end == End::Gone { now_ms } else { at_ms }, end),
            };
            report.note(effect);
        }
    }

    /// While an incident is young, its host does not teach what is usual: else each fault would widen the ranges of all
    /// that it only brushed, until the next one fits in.
    fn hold_back(&mut self, now_ms: i64) {
        let young = |incident: &&Incident| now_ms - incident.opened_ms < HOLD_BACK_MS;
        for incident in self.book.open().iter().filter(young) {
            let here = |entry: &&mut KpiEntry| entry.labels.get("machine_id") == Some(&incident.machine_id);
            self.kpis.values_mut().filter(here).for_each(|entry| entry.kpi.hold_back(incident.onset_ms));
        }
    }

    /// Attaches what else is abnormal to open incidents.
    fn relate(&mut self) {
        let open: Vec<(String, String, i64)> = self
            .book
            .open()
            .iter()
            .map(|incident| (incident.id.clone(), incident.machine_id.clone(), incident.onset_ms))
            .collect();
        for (id, machine_id, onset_ms) in open {
            let mut related: Vec<Related> = Vec::new();
            for series in self.series.iter().filter(|series| series.labels.get("machine_id") == Some(machine_id.as_str())) {
                let Some(departure) = series.evidence.as_ref().and_then(Evidence::departure) else { continue };
                let Some(meaning) = &series.meaning else { continue };
                if departure.onset_ms < onset_ms - self.config.book.join_ms {
                    continue;
                }
                related.push(Related {
                    entity_id: route::entity_id(&series.labels, meaning.entity),
                    entity_type: meaning.entity.name.to_owned(),
                    metric: series.labels.metric().to_owned(),
                    onset_ms: departure.onset_ms,
                    score: rarity(departure.excess),
                });
            }
            related.sort_by(|left, right| {
                right
                    .score
                    .total_cmp(&left.score)
                    .then_with(|| (&left.entity_id, &left.metric).cmp(&(&right.entity_id, &right.metric)))
            });
            related.truncate(MAX_RELATED);
            self.book.relate(&id, related);
        }
    }
}

fn is_from_rest(role: &KpiRole) -> bool {
    role.policy.absent_is_zero && role.input == Input::Over
}

/// Whether a series told of what a KPI is of, or of the disk it is on, before.
fn is_older(other: &SeriesState, series: &SeriesState, entry: &KpiEntry, t_ms: i64) -> bool {
    let has_all = || {
        let is_it = other.meaning.as_ref().is_some_and(|meaning| std::ptr::eq(meaning.entity, entry.entity));
        is_it && entry.labels.iter().all(|(name, value)| other.labels.get(name) == Some(value))
    };
    let same = |name: &str| series.labels.get(name).is_some_and(|value| other.labels.get(name) == Some(value));
    other.since_ms < t_ms - 1_000 && (has_all() || same("disk_name") && same("machine_id"))
}

impl SeriesState {
    /// Whether a sample came after the usual interval, so that a count over it compares with others; when the pace has
    /// changed for good, what is usual is learnt anew.
    fn keeps_pace(&mut self, step_ms: f64) -> bool {
        if self.interval_ms == 0.0 {
            self.interval_ms = step_ms;
            return true;
        }
        let counts = self.meaning.as_ref().is_some_and(|meaning| meaning.counts_a_period());
        if !counts || (0.55..1.8).contains(&(step_ms / self.interval_ms)) {
            self.odd_steps = 0;
            self.interval_ms += 0.1 * (step_ms - self.interval_ms);
            return true;
        }
        self.odd_steps += 1;
        if self.odd_steps >= 3 {
            self.odd_steps = 0;
            self.interval_ms = step_ms;
            let unit = self.meaning.as_ref().map_or("", |meaning| meaning.field.unit);
            self.evidence = Some(Evidence::new(practical_unit(unit)));
        }
        false
    }
}

impl TickReport {
    pub(super) fn note(&mut self, effect: Option<crate::incident::Effect>) {
        use crate::incident::Effect;
        let (list, id) = match effect {
            None => return,
            Some(Effect::Opened(id)) => (&mut self.opened, id),
            Some(Effect::Updated(id)) => (&mut self.updated, id),
            Some(Effect::Closed(id)) => (&mut self.closed, id),
        };
        if !list.contains(&id) {
            list.push(id);
        }
    }
}
