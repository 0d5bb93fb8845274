//! One KPI: its samples put together from the series that carry it, judged against what is usual, with an anomaly that
//! opens after a few samples that stand out and closes after a calm minute.

use std::collections::VecDeque;

use gala_store::Labels;
use serde::{Deserialize, Serialize};

use super::baseline::{Band, Baseline, Excess, KNOWN_BAND, Point};
use super::meaning::Shape;
use super::policy::{Class, Policy};
use super::report::{Report, ReportPart, Reports};
use super::runs::Runs;
use super::stalls::Stalls;

/// A time before all others, with room for differences.
pub const NEVER_MS: i64 = i64::MIN / 4;
/// Milliseconds a sample waits before it is learnt.
const LEARN_DELAY_MS: i64 = 60_000;
/// Samples kept to describe a new normal.
const NEWEST: usize = 60;
/// Samples that wait to be learnt, where they come more often than every half second.
const MOST_WAITING: usize = 120;
/// An anomaly is clear when it lies a usual spread beyond the band; of a number that spreads more than this ...
const STEADY_SPREAD: f64 = 0.12;
/// ... so many readings in a row must.
const UNSTEADY_READINGS: u32 = 3;
/// Else it must last so many readings.
const LASTING: u32 = 10;
/// An anomaly is over when so little of its excess is left, and that within so many times the band's end.
const WELL_SHARE: f64 = 0.05;
const WELL_FACTOR: f64 = 3.0;
/// The band's end is no more exact than this: what lies less far beyond it, in logarithms, is no anomaly, however long; what
/// is not clear must lie twice as far. Nor is what lies less than so much of the smallest excess that matters beyond it.
const MATERIAL: f64 = 0.05;
const MATERIAL_FLOORS: f64 = 0.5;
/// Readings that say what is usual until there is a band.
const EARLY: u32 = 12;
/// A stall is so far beyond the band, in logarithms, and so many times the smallest excess that matters; told of where samples
/// come at least this often.
const STALL_MARGIN: f64 = std::f64::consts::LN_2;
const STALL_FLOORS: f64 = 4.0;
const STALL_PACE_MS: f64 = 8_000.0;
/// Stalls that begin so soon after an incident may be of it; later ones are what it only brushes.
const WITH_IT_MS: i64 = 120_000;
/// Readings learnt before one so far beyond them, in logarithms, is no longer learnt, though none is judged yet.
const DOUBT_FROM: u32 = 20;
const DOUBT_MARGIN: f64 = std::f64::consts::LN_2;
/// Samples after which a process that took over from another has settled: two minutes at 5 s, in which caches fill.
const SETTLED: u32 = 24;
/// Samples above this interval are scarce: two of three suffice.
const SCARCE_FROM_MS: f64 = 30_000.0;
/// Steps longer than so many intervals are pauses; of what is reported only when it happens, so are those of a minute.
const PAUSE_STEPS: f64 = 4.0;
const REST_STEP_MS: f64 = 60_000.0;
/// What comes at a pace comes again within so many times the longest of the last steps, also where each step is twice the one
/// before; what has no pace, or none that is known, within so much more than what is calm.
const SLOWING: f64 = 2.5;
const REST_MS: i64 = 60_000;
/// Intervals without a sample after which it is gone.
const GONE_INTERVALS: f64 = 2.5;

/// Times after which anomalies end.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Calm time after which an anomaly is over.
    pub calm_ms: i64,
    /// Time after which what was abnormal has become usual.
    pub new_normal_ms: i64,
}

/// One value of the KPI.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    pub t_ms: i64,
    pub value: f64,
    /// Events per second behind it; 0 where that is unknown.
    pub load: f64,
    /// Enough events to say something.
    pub judged: bool,
    /// So few events that one odd one moves the mean.
    pub thin: bool,
}

/// An anomaly of the KPI while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    pub onset_ms: i64,
    pub opened_ms: i64,
    /// Last sample outside the band.
    pub last_bad_ms: i64,
    /// Value at the worst sample, and its excess in spreads.
    pub peak: f64,
    pub excess: f64,
    pub band: Band,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Back in the usual range.
    Recovered,
    /// Stayed long enough to be usual.
    NewNormal,
    /// No samples any more.
    Gone,
}

/// What a reading changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    Opened(Trouble),
    Continues(Trouble),
    Closed(Trouble, End),
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    t_ms: i64,
    point: Point,
    abnormal: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Recent {
    t_ms: i64,
    value: f64,
}

/// State that survives a restart.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KpiState {
    baseline: Baseline,
    /// Not saved: a minute of samples is learnt again.
    #[serde(skip)]
    waiting: VecDeque<Waiting>,
    /// The newest points of an anomaly that lasts.
    #[serde(default, rename = "since")]
    newest: Runs,
    /// The last few readings, out of which the held value comes.
    last: VecDeque<Recent>,
    pub trouble: Option<Trouble>,
    pub samples: u32,
    pub last_ms: i64,
    /// Newest value; not a number before the first, which JSON writes as null.
    #[serde(deserialize_with = "number_or_none")]
    pub value: f64,
    pub(super) interval_ms: f64,
    /// The worst of the first readings; of what is reported only when it happens the mildest of all.
    #[serde(default, alias = "first")]
    early: Option<f64>,
    /// How many of them there were.
    #[serde(default)]
    early_readings: u32,
    #[serde(default)]
    stalls: Stalls,
    /// Since when it was bad before it was judged.
    #[serde(skip)]
    doubt_ms: Option<i64>,
    /// Predecessors were looked for.
    #[serde(skip)]
    has_looked_back: bool,
}

/// What one process leaves to the next.
#[derive(Debug)]
pub(super) struct Habits {
    baseline: Baseline,
    stalls: Stalls,
}

fn number_or_none<'de, D: serde::Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(from)?.unwrap_or(f64::NAN))
}

impl KpiState {
    pub fn clock_went_back(&mut self, now_ms: i64) {
        if self.last_ms <= now_ms {
            return;
        }
        self.last_ms = now_ms;
        self.waiting.clear();
        self.last.clear();
        if let Some(trouble) = &mut self.trouble {
            for time in [&mut trouble.onset_ms, &mut trouble.opened_ms, &mut trouble.last_bad_ms] {
                *time = now_ms.min(*time);
            }
        }
    }
}

#[derive(Debug)]
pub struct Kpi {
    pub policy: &'static Policy,
    pub shape: Shape,
    reports: Reports,
    /// Readings in a row beyond the band.
    outside: u32,
    /// Who sees the same from the other side sees it too.
    pub(super) is_seconded: bool,
    /// The series that carries most of the KPI now; names its entity.
    pub lead: Option<Labels>,
    pub state: KpiState,
}

impl Kpi {
    pub fn new(shape: Shape, policy: &'static Policy) -> Self {
        Self {
            policy,
            shape,
            reports: Reports::default(),
            outside: 0,
            is_seconded: false,
            lead: None,
            state: KpiState {
                baseline: Baseline::new(policy),
                waiting: VecDeque::new(),
                newest: Runs::default(),
                last: VecDeque::new(),
                trouble: None,
                samples: 0,
                last_ms: NEVER_MS,
                value: f64::NAN,
                interval_ms: 0.0,
                early: None,
                early_readings: 0,
                stalls: Stalls::default(),
                doubt_ms: None,
                has_looked_back: false,
            },
        }
    }

    pub fn band(&self) -> Option<Band> {
        self.state.trouble.map(|trouble| trouble.band).or_else(|| self.state.baseline.band())
    }

    /// Whether the KPI is judged already.
    pub fn is_warm(&self) -> bool {
        self.state.samples >= self.policy.from_sample
    }

    /// Whether it has been there for long enough to be judged by what was usual of another process, and was not yet.
    pub(super) fn has_settled(&self) -> bool {
        let state = &self.state;
        !state.has_looked_back && !self.is_warm() && state.samples >= SETTLED && self.policy.limit.is_none()
    }

    /// Whether enough was learnt to leave it to the next: what is judged too seldom, or only ever seen in trouble, has none.
    pub(super) fn has_habits(&self) -> bool {
        self.is_warm() && self.state.baseline.learnt() >= SETTLED
    }

    pub(super) fn habits(&self) -> Habits {
        Habits { baseline: self.state.baseline.of_another(), stalls: self.state.stalls.of_another() }
    }

    /// Goes on with the habits of another process, where there are any.
    pub(super) fn settle_in(&mut self, habits: Option<&Habits>) {
        let state = &mut self.state;
        state.has_looked_back = true;
        let Some(habits) = habits else { return };
        (state.baseline, state.stalls) = (habits.baseline.clone(), habits.stalls);
        state.waiting.clear();
        state.samples = state.samples.max(self.policy.from_sample);
    }

    /// Silent for longer, it is gone: who speaks seldom is given some of its intervals.
    pub fn gone_after_ms(&self, gone_ms: i64) -> i64 {
        gone_ms.max((GONE_INTERVALS * self.state.interval_ms) as i64)
    }

    /// Silent for longer, what is reported only when it happens is over.
    pub(super) fn over_after_ms(&self, calm_ms: i64) -> i64 {
        let most_ms = calm_ms + REST_MS;
        // What a single report tells of comes as it likes.
        let Some(trouble) = self.state.trouble.filter(|_| self.policy.at_once.is_none()) else { return most_ms };
        let times: Vec<i64> = self.state.last.iter().map(|recent| recent.t_ms).filter(|t_ms| *t_ms >= trouble.onset_ms).collect();
        let longest_ms = times.windows(2).map(|pair| pair[1] - pair[0]).max();
        longest_ms.map_or(most_ms, |step_ms| ((SLOWING * step_ms as f64) as i64).clamp(calm_ms, most_ms))
    }

    /// Milliseconds until it is, at the pace seen so far; `None` while the pace is unknown.
    pub fn warm_in_ms(&self) -> Option<i64> {
        let missing = self.policy.from_sample.saturating_sub(self.state.samples);
        (self.state.interval_ms > 0.0).then(|| (f64::from(missing) * self.state.interval_ms) as i64)
    }

    /// Adds one part of a report; parts come in the order of their time. `amount` is what happened since the sample
    /// before where the series counts.
    pub fn add(&mut self, part: &ReportPart, patience: Patience, changes: &mut Vec<Change>) {
        while let Some(report) = self.reports.before(part.t_ms) {
            self.judge_report(report, patience, changes);
        }
        if part.t_ms > self.state.last_ms && part.amount.is_finite() {
            self.reports.add(part, self.shape);
        }
    }

    /// Judges every report that is complete.
    pub fn settle(&mut self, now_ms: i64, patience: Patience, changes: &mut Vec<Change>) {
        while let Some(report) = self.reports.complete(now_ms) {
            self.judge_report(report, patience, changes);
        }
    }

    fn judge_report(&mut self, report: Report, patience: Patience, changes: &mut Vec<Change>) {
        if self.policy.absent_is_zero && self.shape == Shape::Share && report.is_spotless() {
            self.was_at_rest();
        }
        let Some(report) = self.reports.pooled(report, self.shape, self.policy) else { return };
        let step_ms = (report.t_ms - self.state.last_ms).clamp(1, 600_000) as f64;
        let seconds = if self.state.interval_ms > 0.0 { self.state.interval_ms.min(step_ms) } else { step_ms } / 1e3;
        let Some(reading) = report.reading(self.shape, self.policy, seconds) else { return };
        if self.lead.is_none() || (self.state.trouble.is_none() && report.heaviest > 0.0) {
            self.lead = report.heaviest_labels.or(self.lead.take());
        }
        changes.extend(self.take(reading, patience));
    }

    /// Whether nothing came of it yet, nor is under way.
    pub fn is_new(&self) -> bool {
        self.state.last_ms == NEVER_MS && self.reports.is_empty()
    }

    /// Of what is reported only when it happens: whether it never was at rest, as far as is known.
    pub fn is_habit(&self) -> bool {
        self.policy.absent_is_zero && !self.state.early.is_some_and(|early| is_rest(self.policy, early))
    }

    /// It was at rest before the first report.
    pub fn was_at_rest(&mut self) {
        self.state.early = Some(0.0);
    }

    /// Takes one reading, later than all before.
    pub fn take(&mut self, reading: Reading, patience: Patience) -> Option<Change> {
        let state = &mut self.state;
        if !reading.value.is_finite() || reading.t_ms <= state.last_ms {
            return None;
        }
        let step_ms = reading.t_ms.saturating_sub(state.last_ms) as f64;
        if state.last_ms != NEVER_MS && step_ms < 600_000.0 {
            let rate = if state.samples < 5 { 0.5 } else { 0.1 };
            // A pause is no pace: whoever was away for minutes is over as soon as others.
            let most_ms = if self.policy.absent_is_zero { REST_STEP_MS } else { f64::INFINITY };
            state.interval_ms += match state.interval_ms {
                0.0 => step_ms.min(most_ms),
                known => rate * (step_ms.min(PAUSE_STEPS * known).min(most_ms) - known),
            };
        }
        state.last_ms = reading.t_ms;
        state.value = reading.value;
        state.samples = state.samples.saturating_add(1);
        let early = *state.early.get_or_insert(reading.value);
        if !reading.judged {
            return self.calm(reading.t_ms, patience);
        }
        if !self.is_seconded && state.baseline.is_idle(reading.value, reading.load, self.policy) {
            // Says nothing of the readings beside it; but that it idles now and then is usual.
            state.last.clear();
            let point = state.baseline.point(reading.value, reading.load);
            self.learn(reading.t_ms, point, false);
            return self.calm(reading.t_ms, patience);
        }
        let Some(held) = self.held(&reading) else { return self.calm(reading.t_ms, patience) };
        let state = &mut self.state;
        let point = state.baseline.point(held, reading.load);
        let judged = state.samples >= self.policy.from_sample;
        let excess = stands_out(self.policy, &state.baseline, early, held, reading.thin, point);
        // A fault that begins before anything is judged must not be all that is known by then.
        // Unless its load begins only now.
        let is_known = self.policy.class == Class::App && self.policy.limit.is_none() && state.baseline.learnt() >= DOUBT_FROM;
        let may_doubt = is_known && !judged && !state.baseline.is_busier(point);
        let doubtful = may_doubt && excess.is_some_and(|excess| excess.margin >= DOUBT_MARGIN);
        if !judged {
            state.doubt_ms = doubtful.then(|| state.doubt_ms.unwrap_or(reading.t_ms));
        }
        let excess = excess.filter(|_| judged);
        let stall = if judged { self.stall(&reading, excess.is_some()) } else { None };
        let state = &mut self.state;
        if self.policy.absent_is_zero {
            state.early = Some(early.min(reading.value));
        }
        self.learn(reading.t_ms, point, doubtful);
        self.judge(reading, excess, stall, patience)
    }

    /// Excess of a reading that is one of many that stand out by themselves, though few in a row do.
    fn stall(&mut self, reading: &Reading, lasts: bool) -> Option<Excess> {
        let state = &mut self.state;
        if !self.policy.slow_ills || state.interval_ms > STALL_PACE_MS {
            return None;
        }
        let own = state.baseline.point(reading.value, reading.load);
        let middle = state.baseline.band().map_or(f64::INFINITY, |band| band.middle);
        let is_far =
            |excess: &Excess| excess.margin >= STALL_MARGIN && reading.value - middle >= STALL_FLOORS * self.policy.floor;
        let excess = state.baseline.excess(own, self.policy, reading.thin).filter(is_far).filter(|_| !lasts);
        state.stalls.note(excess.is_some(), state.trouble.is_none());
        let counts = if state.trouble.is_some() { state.stalls.go_on() } else { state.stalls.are_many() };
        excess.filter(|_| counts)
    }

    /// A reading that no longer counts among the last few. By then it is known whether it was a fault's.
    fn note_early(&mut self, value: f64) {
        let state = &mut self.state;
        if self.policy.absent_is_zero || state.early_readings >= EARLY || state.trouble.is_some() {
            return;
        }
        state.early_readings += 1;
        state.early = Some(state.early.map_or(value, |early| self.policy.worse(early, value)));
    }

    fn learn(&mut self, t_ms: i64, point: Point, doubtful: bool) {
        let state = &mut self.state;
        let abnormal = state.trouble.is_some() || doubtful;
        if state.trouble.is_some() {
            state.newest.push(point, NEWEST);
        }
        state.waiting.push_back(Waiting { t_ms, point, abnormal });
        // Until there is a band nothing can be held back, unless a limit tells what is bad.
        let has_no_band = state.baseline.learnt() < KNOWN_BAND && self.policy.limit.is_none();
        let delay = if has_no_band { 0 } else { LEARN_DELAY_MS };
        while state.waiting.front().is_some_and(|waiting| t_ms - waiting.t_ms >= delay) || state.waiting.len() > MOST_WAITING {
            let Some(waiting) = state.waiting.pop_front() else { break };
            if !waiting.abnormal {
                state.baseline.learn(waiting.t_ms, waiting.point, self.policy);
            }
        }
    }

    /// Something else on its host has been wrong since `onset_ms`: what came since is not learnt, for it may suffer as well,
    /// though not enough to stand out. An anomaly of its own decides for itself.
    pub fn hold_back(&mut self, onset_ms: i64) {
        let state = &mut self.state;
        if state.trouble.is_some() {
            return;
        }
        state.waiting.iter_mut().filter(|waiting| waiting.t_ms >= onset_ms).for_each(|waiting| waiting.abnormal = true);
        let stalls_ms = state.last_ms.saturating_sub((f64::from(state.stalls.age()) * state.interval_ms) as i64);
        if stalls_ms > onset_ms + WITH_IT_MS {
            state.stalls.forget();
        }
    }

    /// The value that as many of the last samples reached as must stand out; `None` with too few samples.
    fn held(&mut self, reading: &Reading) -> Option<f64> {
        let (mut needed, mut of) = self.policy.needed;
        if self.state.interval_ms > SCARCE_FROM_MS && !reading.thin {
            (needed, of) = (needed.min(2), of.min(3));
        }
        self.state.last.push_back(Recent { t_ms: reading.t_ms, value: reading.value });
        let is_old = |recent: &Recent| reading.t_ms - recent.t_ms > self.policy.within_ms;
        while self.state.last.len() > of as usize || self.state.last.front().is_some_and(is_old) {
            let Some(oldest) = self.state.last.pop_front() else { break };
            self.note_early(oldest.value);
        }
        if self.policy.at_once.is_some_and(|limit| reading.value >= limit) {
            return Some(reading.value);
        }
        let mut values: Vec<f64> = self.state.last.iter().map(|recent| recent.value).collect();
        values.sort_by(f64::total_cmp);
        if !self.policy.falls {
            values.reverse();
        }
        values.get(needed as usize - 1).copied()
    }

    fn judge(&mut self, reading: Reading, excess: Option<Excess>, stall: Option<Excess>, patience: Patience) -> Option<Change> {
        let Some(excess) = excess.or(stall) else {
            self.outside = 0;
            return self.calm(reading.t_ms, patience);
        };
        let is_material = excess.margin >= MATERIAL && excess.beyond >= MATERIAL_FLOORS * self.policy.floor;
        if self.state.trouble.is_none() && !is_material {
            self.outside = 0;
            return None;
        }
        self.outside += 1;
        if self.state.trouble.is_some_and(|trouble| self.is_nearly_well(trouble, reading.value)) {
            return self.calm(reading.t_ms, patience);
        }
        let state = &mut self.state;
        if let Some(trouble) = &mut state.trouble {
            trouble.last_bad_ms = reading.t_ms;
            trouble.excess = excess.spreads.max(trouble.excess);
            trouble.peak = self.policy.worse(reading.value, trouble.peak);
            if reading.t_ms - trouble.opened_ms >= patience.new_normal_ms {
                return self.close(End::NewNormal);
            }
            return Some(Change::Continues(*trouble));
        }
        let clear = excess.margin >= excess.spread && (excess.spread < STEADY_SPREAD || self.outside >= UNSTEADY_READINGS);
        if !clear && stall.is_none() && (self.outside < LASTING || excess.margin < 2.0 * MATERIAL) {
            return None;
        }
        let band = state.baseline.band().unwrap_or(Band { low: 0.0, middle: 0.0, high: self.policy.limit.unwrap_or(0.0) });
        let beyond = |recent: &&Recent| if self.policy.falls { recent.value < band.low } else { recent.value > band.high };
        let onset_ms = match stall {
            Some(_) => reading.t_ms - (f64::from(state.stalls.age()) * state.interval_ms) as i64,
            None => {
                let first = state.last.iter().find(beyond).map_or(reading.t_ms, |recent| recent.t_ms);
                // It was bad already when nothing was judged yet.
                state
                    .doubt_ms
                    .take()
                    .filter(|_| state.samples <= self.policy.from_sample + LASTING)
                    .map_or(first, |at| at.min(first))
            }
        };
        state.stalls.begin(stall.is_some());
        let trouble = Trouble {
            onset_ms,
            opened_ms: reading.t_ms,
            last_bad_ms: reading.t_ms,
            peak: state.last.iter().fold(reading.value, |worst, recent| self.policy.worse(recent.value, worst)),
            excess: excess.spreads,
            band,
        };
        state.waiting.iter_mut().filter(|waiting| waiting.t_ms >= onset_ms).for_each(|waiting| waiting.abnormal = true);
        state.trouble = Some(trouble);
        Some(Change::Opened(trouble))
    }

    /// Nearly all of the excess is gone and what is left is near the band: the fault is over, though the service is not
    /// quite as it was. What is left becomes part of the usual.
    fn is_nearly_well(&self, trouble: Trouble, value: f64) -> bool {
        let left = (value - trouble.band.middle) / (trouble.peak - trouble.band.middle);
        !self.policy.falls && left <= WELL_SHARE && value <= WELL_FACTOR * trouble.band.high
    }

    /// Nothing bad at `t_ms`: ends the anomaly when it has been calm for long enough.
    pub fn calm(&mut self, t_ms: i64, patience: Patience) -> Option<Change> {
        let trouble = self.state.trouble?;
        // Scarce samples: at least three calm ones.
        let calm_ms = patience.calm_ms.max((2.5 * self.state.interval_ms) as i64);
        (t_ms - trouble.last_bad_ms >= calm_ms).then(|| self.close(End::Recovered)).flatten()
    }

    /// The clock was set back to `now_ms`: what came later did not.
    pub fn clock_went_back(&mut self, now_ms: i64) {
        self.reports.clear();
        self.state.clock_went_back(now_ms);
    }

    /// Ends the anomaly of a KPI that has no samples any more.
    pub fn gone(&mut self) -> Option<Change> {
        self.close(End::Gone)
    }

    fn close(&mut self, end: End) -> Option<Change> {
        let state = &mut self.state;
        let trouble = state.trouble.take()?;
        state.last.clear();
        let newest = std::mem::take(&mut state.newest);
        if end == End::NewNormal {
            state.waiting.clear();
            state.baseline.rebase(state.last_ms, newest, self.policy);
            (state.early, state.early_readings) = (None, 0);
            state.stalls.become_usual();
        } else {
            state.stalls.end();
            // What came since the last bad reading is usual, at once: else what is left of the fault would open it again. Not
            // what the first calm samples held, which is still the fault's.
            let most = state.baseline.point(WELL_FACTOR * trouble.band.high, 0.0).held;
            let is_usual =
                |waiting: &&Waiting| waiting.t_ms > trouble.last_bad_ms && (self.policy.falls || waiting.point.held <= most);
            for waiting in std::mem::take(&mut state.waiting).iter().filter(is_usual) {
                state.baseline.learn(waiting.t_ms, waiting.point, self.policy);
            }
        }
        Some(Change::Closed(trouble, end))
    }
}

/// Whether a value is far from its limit.
fn is_rest(policy: &Policy, value: f64) -> bool {
    policy.limit.is_some_and(|limit| value <= 0.5 * limit)
}

/// How far a value stands out, in spreads; `None` if it does not.
fn stands_out(policy: &Policy, baseline: &Baseline, early: f64, value: f64, thin: bool, point: Point) -> Option<Excess> {
    let beyond = baseline.excess(point, policy, thin);
    let Some(limit) = policy.limit else { return beyond };
    let certain = Excess { spreads: policy.spreads, margin: f64::INFINITY, beyond: f64::INFINITY, spread: 0.0 };
    let over = if policy.falls { value <= limit } else { value >= limit };
    if !over {
        return None;
    }
    if let Some(band) = baseline.band().filter(|_| baseline.learnt() >= KNOWN_BAND) {
        // Near its end a share cannot grow by a factor; one more step of what matters counts.
        let nearer = policy.factor < 1.1 && value - band.middle >= policy.floor;
        return beyond
            .map(|excess| Excess { margin: f64::INFINITY, beyond: f64::INFINITY, ..excess })
            .or(nearer.then_some(certain));
    }
    if policy.absent_is_zero {
        // What never was otherwise is how this host lives.
        return is_rest(policy, early).then_some(certain);
    }
    // So is what was there from the start, until it gets worse.
    let worse = if policy.falls {
        value * policy.factor <= early && value < early
    } else {
        value >= policy.factor * early && value - early >= 0.5 * policy.floor
    };
    worse.then_some(certain)
}
