//! Who has room among what is watched. Short-lived processes bring series and KPIs that never come to be judged; they must
//! not take the place of the services, nor stay for long.

use super::evidence::FIRST_SAMPLE;
use super::kpi::{End, NEVER_MS};
use super::live::{Config, Detector, SeriesState, TickReport};
use super::policy::{Class, Group, Policy};
use super::route::KpiEntry;

/// Silent for so long (and so many of its intervals), what was never judged is forgotten.
const BRIEF_MS: i64 = 300_000;
const BRIEF_INTERVALS: f64 = 6.0;
/// Samples after which a number is well known: it is kept for a day.
const WELL_KNOWN: u32 = 200;
const DAY_MS: i64 = 86_400_000;
const PROCESS_MS: i64 = 6 * 3_600_000;

/// How crowded it is.
#[derive(Debug)]
pub(super) struct Room {
    /// Time of the reading under way.
    now_ms: i64,
    /// When KPIs were last turned out.
    cleared_ms: i64,
    /// Series were turned away.
    crowded: bool,
}

impl Default for Room {
    fn default() -> Self {
        Self { now_ms: NEVER_MS, cleared_ms: NEVER_MS, crowded: false }
    }
}

impl Room {
    pub fn begin(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    pub fn is_crowded(&self) -> bool {
        self.crowded
    }
}

impl Detector {
    /// Whether one more KPI fits: a quarter of the room is for what users feel. In need those that fell silent go.
    pub(super) fn has_room_for_kpi(&mut self, policy: &Policy) -> bool {
        let most = self.config.max_kpis;
        if policy.group == Group::Peer && self.kpis.len() >= most / 2 {
            // Peers may be countless: they leave half of the room to all else.
            return false;
        }
        let most = if policy.class == Class::App { most } else { most - most / 4 };
        if self.kpis.len() >= most && self.room.cleared_ms != self.room.now_ms {
            self.room.cleared_ms = self.room.now_ms;
            self.turn_out_kpis(most - most / 8);
        }
        self.kpis.len() < most
    }

    /// Whether one more series fits; an eighth of the room is for the numbers of services.
    pub(super) fn has_room_for_series(&mut self, is_app: bool) -> bool {
        let most = self.config.max_series;
        let fits = self.series.len() < if is_app { most } else { most - most / 8 };
        self.room.crowded |= !fits;
        fits
    }

    /// Removes silent KPIs until `wanted` are left: first those that were never judged, longest silence first.
    fn turn_out_kpis(&mut self, wanted: usize) {
        let is_silent =
            |entry: &&KpiEntry| entry.kpi.state.trouble.is_none() && self.room.now_ms - entry.heard_ms > self.config.gone_ms;
        let mut silent: Vec<_> = self
            .kpis
            .values()
            .filter(is_silent)
            .map(|entry| (entry.kpi.is_warm(), entry.role.policy.class == Class::App, entry.heard_ms, entry.key.clone()))
            .collect();
        silent.sort_unstable();
        let surplus = self.kpis.len().saturating_sub(wanted);
        for (.., key) in silent.iter().take(surplus) {
            self.kpis.remove(key);
        }
    }

    /// Forgets what has no samples any more, ends what a restart left open, and gives room to who found none.
    pub(super) fn sweep(&mut self, now_ms: i64, report: &mut TickReport) {
        for key in self.book.open_kpis() {
            let silent = match self.kpis.get(key.as_str()) {
                Some(entry) => entry.kpi.state.trouble.is_none(),
                None => self.saved.get(&key).is_none_or(|state| now_ms - state.last_ms > self.config.gone_ms),
            };
            if silent {
                report.note(self.book.end(&key, now_ms, End::Gone));
            }
        }
        self.saved.retain(|_, state| now_ms - state.last_ms < DAY_MS);
        let config = &self.config;
        let is_roomy = self.kpis.len() < config.max_kpis / 2;
        self.kpis.retain(|_, entry| now_ms - entry.heard_ms < stay_of_kpi(entry, config, is_roomy));
        let known = self.series.len();
        let kpis = &self.kpis;
        self.series.retain(|series| {
            let silence_ms = now_ms - series.last_ms;
            let is_whole = series.kpis.iter().all(|(key, _)| kpis.contains_key(key));
            silence_ms < stay_of_series(series, config) && (is_whole || silence_ms < BRIEF_MS)
        });
        if self.series.len() != known {
            self.by_labels = self.series.iter().enumerate().map(|(index, series)| (series.labels.clone(), index)).collect();
        }
        self.room.crowded = false;
        self.rejoin();
    }

    /// Series that lack a KPI, as there was no room for it or it had fallen silent, are given it.
    fn rejoin(&mut self) {
        for index in 0..self.series.len() {
            let series = &self.series[index];
            // Who is silent takes no room from who is not.
            let is_live = self.room.now_ms - series.last_ms <= self.config.gone_ms;
            let lacks = is_live && (series.misses_kpis || series.kpis.iter().any(|(key, _)| !self.kpis.contains_key(key)));
            let Some(meaning) = series.meaning.clone().filter(|_| lacks) else { continue };
            let labels = series.labels.clone();
            let (kpis, misses_kpis) = self.join_kpis(&labels, &meaning);
            let series = &mut self.series[index];
            if !kpis.is_empty() {
                series.evidence = None;
            }
            (series.kpis, series.misses_kpis) = (kpis, misses_kpis);
        }
    }
}

/// How long a KPI may be silent. What users feel, and what is reported only when it happens, may be scarce.
fn stay_of_kpi(entry: &KpiEntry, config: &Config, is_roomy: bool) -> i64 {
    let (state, policy) = (&entry.kpi.state, entry.role.policy);
    let is_brief = state.samples < FIRST_SAMPLE && policy.class == Class::Sys && !policy.absent_is_zero;
    match state.samples {
        WELL_KNOWN.. if policy.class == Class::App || !entry.labels.contains_key("tgid") => DAY_MS,
        // A process that ended does not come back under its number; one that rests at night does, and is kept where there is room.
        WELL_KNOWN.. if is_roomy => PROCESS_MS,
        _ if is_brief => brief_ms(state.interval_ms).min(config.forget_ms),
        _ => config.forget_ms,
    }
}

fn stay_of_series(series: &SeriesState, config: &Config) -> i64 {
    let is_brief = match &series.evidence {
        Some(evidence) => evidence.samples() < FIRST_SAMPLE,
        // What its processes did is kept with the program.
        None => {
            series.meaning.as_ref().is_some_and(|meaning| meaning.roles.iter().any(|role| role.policy.group == Group::Program))
        }
    };
    if is_brief { brief_ms(series.interval_ms).min(config.forget_ms) } else { config.forget_ms }
}

fn brief_ms(interval_ms: f64) -> i64 {
    BRIEF_MS.max((BRIEF_INTERVALS * interval_ms) as i64)
}
