//! What failed lately without anybody being told (samples nobody waits for that were not taken, blocks that could not be
//! read): the health tells it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Refusals are told for so long.
const WINDOW: Duration = Duration::from_secs(60);
/// Those that come together are counted together, which bounds the list.
const TOGETHER: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Refusals {
    /// When, and how many; the last minute's.
    lately: VecDeque<(Instant, u64)>,
    /// Of the first of a run of refusals.
    reason: String,
}

impl Refusals {
    /// True if these are the first for a minute.
    pub fn add(&mut self, now: Instant, count: u64, reason: &str) -> bool {
        self.forget(now);
        let is_first = self.lately.is_empty();
        if is_first {
            reason.clone_into(&mut self.reason);
        }
        match self.lately.back_mut() {
            Some((at, known)) if now.duration_since(*at) < TOGETHER => *known += count,
            _ => self.lately.push_back((now, count)),
        }
        is_first
    }

    /// How many in the last minute, and why the first of them; `None` if there were none.
    pub fn of_last_minute(&mut self, now: Instant) -> Option<(u64, &str)> {
        self.forget(now);
        let count = self.lately.iter().map(|(_, count)| count).sum();
        (count > 0).then_some((count, self.reason.as_str()))
    }

    fn forget(&mut self, now: Instant) {
        while self.lately.front().is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.lately.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_counted_by_the_minute_and_keeps_its_first_reason() {
        let mut refusals = Refusals::default();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(refusals.of_last_minute(start), None);
        assert!(refusals.add(at(0), 5, "out of order"));
        assert!(!refusals.add(at(0), 1, "cap"));
        assert!(!refusals.add(at(30), 2, "cap"));
        assert_eq!(refusals.of_last_minute(at(59)), Some((8, "out of order")));
        assert_eq!(refusals.of_last_minute(at(60)), Some((2, "out of order")));
        assert_eq!(refusals.of_last_minute(at(90)), None);
        assert!(refusals.add(at(91), 1, "cap"));
        assert_eq!(refusals.of_last_minute(at(91)), Some((1, "cap")));
    }

    #[test]
    fn the_list_stays_short() {
        let mut refusals = Refusals::default();
        let start = Instant::now();
        for step in 0..10_000 {
            refusals.add(start + Duration::from_millis(step * 20), 1, "late");
        }
        assert!(refusals.lately.len() <= 61, "{}", refusals.lately.len());
    }
}
