//! Servers that ended. A daemon opens its listener, starts a child that goes on with it, and ends: what came to that listener
//! is told under a process that is gone until somebody looks who holds it now, which takes a walk over all descriptors.

use std::collections::HashSet;

/// Ended servers of the last report and of the one being made.
#[derive(Default)]
pub struct Orphans {
    before: HashSet<u32>,
    now: HashSet<u32>,
    /// Reports until the next look: children that served and ended are noted too, and leave nothing.
    pause: u8,
}

/// Reports without a look after one.
const PAUSE: u8 = 5;

impl Orphans {
    /// A row of a server that is gone.
    pub fn note(&mut self, tgid: u32) {
        self.now.insert(tgid);
    }

    /// Ends the report; whether it is worth a look who holds what these servers left. What the last look did not find is lost.
    pub fn are_new(&mut self) -> bool {
        let now = std::mem::take(&mut self.now);
        if self.pause > 0 {
            self.pause -= 1;
            return false;
        }
        let new = now.iter().any(|tgid| !self.before.contains(tgid));
        self.before = now;
        self.pause = if new { PAUSE } else { 0 };
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ended_server_is_worth_one_look_and_looks_are_seldom() {
        let mut orphans = Orphans::default();
        assert!(!orphans.are_new());
        let mut report = |ended: &[u32]| {
            ended.iter().for_each(|tgid| orphans.note(*tgid));
            orphans.are_new()
        };
        assert!(report(&[7]));
        for _ in 0..PAUSE {
            assert!(!report(&[7, 8]), "a look costs a walk over all descriptors");
        }
        assert!(report(&[7, 8]), "the other was noted meanwhile");
        for _ in 0..PAUSE {
            assert!(!report(&[]));
        }
        assert!(!report(&[]));
        assert!(report(&[7]));
    }
}
