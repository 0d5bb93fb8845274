//! A service that restarts is another process with the same habits: once it has settled, it is judged by what was usual of
//! the one before it, instead of learning for minutes in which nothing could be found.

use std::sync::Arc;

use super::kpi::Habits;
use super::live::Detector;
use super::route::KpiEntry;

/// Intervals for which the one before must have been silent: two at work at a time are no heirs of each other.
const SILENT_INTERVALS: f64 = 12.0;
/// What names a process beside its number.
const PROCESS: &str = "tgid";
/// What the series of a service tell beyond the keys of their entity, and must be the same where both tell it.
const SAME: [&str; 3] = ["comm", "server_port", "role"];

impl Detector {
    /// Gives KPIs that have just settled what is known of their predecessors, newest first.
    pub(super) fn inherit(&mut self) {
        let of_processes = || self.kpis.values().filter(|entry| entry.labels.contains_key(PROCESS));
        let heirs: Vec<&KpiEntry> = of_processes().filter(|entry| entry.kpi.has_settled()).collect();
        if heirs.is_empty() {
            return;
        }
        let known: Vec<&KpiEntry> = of_processes().filter(|entry| entry.kpi.is_warm()).collect();
        let left: Vec<(Arc<str>, Option<Habits>)> =
            heirs.into_iter().map(|heir| (heir.key.clone(), left_to(heir, &known))).collect();
        for (key, habits) in left {
            self.kpis.get_mut(&key).into_iter().for_each(|heir| heir.kpi.settle_in(habits.as_ref()));
        }
    }
}

/// What its predecessor left, if it has one.
fn left_to(heir: &KpiEntry, known: &[&KpiEntry]) -> Option<Habits> {
    let kin = || known.iter().filter(|other| is_kin(other, heir));
    // Where several work at a time, as those of a pool do, none takes over from another.
    if !kin().all(|other| is_silent(other, heir)) {
        return None;
    }
    let before = kin().filter(|other| other.kpi.has_habits());
    before.max_by_key(|other| (other.heard_ms, &other.key)).map(|other| other.kpi.habits())
}

fn is_silent(other: &KpiEntry, heir: &KpiEntry) -> bool {
    (heir.heard_ms - other.heard_ms) as f64 >= SILENT_INTERVALS * heir.kpi.state.interval_ms
}

/// Whether both tell the same of processes at the same place.
fn is_kin(other: &KpiEntry, heir: &KpiEntry) -> bool {
    let is_same_number = std::ptr::eq(other.role.policy, heir.role.policy)
        && (other.role.metric, other.role.shape) == (heir.role.metric, heir.role.shape);
    if !is_same_number {
        return false;
    }
    let others = |entry: &KpiEntry| entry.labels.iter().filter(|(name, _)| *name != PROCESS).count();
    let is_same_place = others(other) == others(heir)
        && heir.labels.iter().all(|(name, value)| name == PROCESS || other.labels.get(name) == Some(value));
    let (Some(left), Some(right)) = (&other.kpi.lead, &heir.kpi.lead) else { return false };
    is_same_place && left.get("comm").is_some() && SAME.iter().all(|name| left.get(name) == right.get(name))
}
