//! What we could not see, and why: one bounded list that every part of the agent writes to and people read.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;

/// Lines kept; the one that changed longest ago goes first.
const MAX_LINES: usize = 512;

/// One blind spot or loss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerLine {
    /// Stable name of the place: `probe.tcp`, `exporter`, `push`, `budget`.
    pub place: String,
    /// What is not seen or was lost.
    pub what: String,
    pub reason: String,
    /// First time, milliseconds since 1970.
    pub since_ms: i64,
    /// Last time it grew.
    pub last_ms: i64,
    /// How often, or how many things were lost.
    pub count: u64,
}

/// Cheap to clone; all clones are one ledger.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    lines: Arc<Mutex<Vec<LedgerLine>>>,
}

impl Ledger {
    /// Adds to a line's count; place and what name the line, the newest reason stays.
    pub fn add(&self, place: &str, what: &str, reason: &str, count: u64) {
        self.change(place, what, reason, |line| line.count = line.count.saturating_add(count));
    }

    /// Sets a line's count, for losses that are counted elsewhere; 0 leaves no line.
    pub fn set(&self, place: &str, what: &str, reason: &str, count: u64) {
        if count == 0 {
            self.clear(place, what);
        } else {
            self.change(place, what, reason, |line| line.count = count);
        }
    }

    /// The blind spot is gone.
    pub fn clear(&self, place: &str, what: &str) {
        self.lines.lock().retain(|line| line.place != place || line.what != what);
    }

    /// Every line of a place is void: it stopped or starts anew.
    pub fn clear_place(&self, place: &str) {
        self.lines.lock().retain(|line| line.place != place);
    }

    /// All lines, newest change first.
    pub fn lines(&self) -> Vec<LedgerLine> {
        let mut lines = self.lines.lock().clone();
        lines.sort_by_key(|line| std::cmp::Reverse(line.last_ms));
        lines
    }

    fn change(&self, place: &str, what: &str, reason: &str, apply: impl FnOnce(&mut LedgerLine)) {
        let now_ms = now_ms();
        let mut lines = self.lines.lock();
        let at = lines.iter().position(|line| line.place == place && line.what == what);
        let line = match at {
            Some(at) => &mut lines[at],
            None => {
                if lines.len() >= MAX_LINES
                    && let Some(oldest) = (0..lines.len()).min_by_key(|at| lines[*at].last_ms)
                {
                    lines.swap_remove(oldest);
                }
                lines.push(LedgerLine {
                    place: place.to_owned(),
                    what: what.to_owned(),
                    reason: String::new(),
                    since_ms: now_ms,
                    last_ms: now_ms,
                    count: 0,
                });
                let last = lines.len() - 1;
                &mut lines[last]
            }
        };
        let before = line.count;
        apply(line);
        if line.count != before || line.reason != reason {
            line.last_ms = now_ms;
        }
        if line.reason != reason {
            line.reason = reason.to_owned();
        }
    }
}

/// Wall clock, milliseconds since 1970.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_loss_is_one_line_that_counts() {
        let ledger = Ledger::default();
        ledger.add("push", "samples", "hub does not answer", 10);
        ledger.add("push", "samples", "queue full", 5);
        let lines = ledger.lines();
        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].count, lines[0].reason.as_str()), (15, "queue full"));
    }

    #[test]
    fn a_blind_spot_that_is_gone_leaves_no_line() {
        let ledger = Ledger::default();
        ledger.set("probe.tcp", "links evicted", "map full", 3);
        ledger.set("probe.tcp", "links evicted", "map full", 0);
        assert!(ledger.lines().is_empty());
    }

    #[test]
    fn the_list_is_bounded() {
        let ledger = Ledger::default();
        for index in 0..MAX_LINES + 100 {
            ledger.add("place", &index.to_string(), "reason", 1);
        }
        assert_eq!(ledger.lines().len(), MAX_LINES);
    }
}
