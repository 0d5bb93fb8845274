//! Rows of clients that came and went between two reports. A script that starts a client every second would otherwise make
//! a new set of series every second, which no store is meant for: they are told together, under the first of their kind.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Kinds remembered; beyond that the silent ones go, and what is new stands for itself.
const MAX_KINDS: usize = 4096;
/// Reports without one of its kind after which the next one stands for itself.
const SILENT_REPORTS: u64 = 180;

/// Who was found gone in the reports of one time: the probes meet the same clients, and who is gone stays so.
#[derive(Default)]
struct Gone {
    at_ms: i64,
    /// Who looked; each reports once at a time.
    by: HashSet<u64>,
    gone: HashSet<u32>,
}

impl Gone {
    fn begin(&mut self, at_ms: i64, who: u64) {
        if self.at_ms != at_ms || self.by.contains(&who) {
            *self = Self { at_ms, ..Self::default() };
        }
        self.by.insert(who);
    }

    fn lives(&mut self, tgid: u32, look: impl FnOnce() -> bool) -> bool {
        if self.gone.contains(&tgid) {
            return false;
        }
        let lives = look();
        if !lives {
            self.gone.insert(tgid);
        }
        lives
    }
}

static GONE: LazyLock<Mutex<Gone>> = LazyLock::new(Mutex::default);
static NEXT: AtomicU64 = AtomicU64::new(0);

struct StandIn {
    tgid: u32,
    last_report: u64,
}

/// Under whose number the rows of ended processes are told. `K` is a kind: program, peer and whatever else the rows are told
/// apart by, but not the process.
pub struct Ended<K> {
    who: u64,
    kinds: HashMap<K, StandIn>,
    /// Processes that lived when their rows were last told: their last rows are theirs too.
    known: HashSet<u32>,
    living: HashMap<u32, bool>,
    report: u64,
}

impl<K> Default for Ended<K> {
    fn default() -> Self {
        let who = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { who, kinds: HashMap::new(), known: HashSet::new(), living: HashMap::new(), report: 0 }
    }
}

impl<K: Eq + Hash> Ended<K> {
    /// Begins the report of a time.
    pub fn next_report(&mut self, at_ms: i64) {
        GONE.lock().begin(at_ms, self.who);
        self.report += 1;
        let report = self.report;
        self.kinds.retain(|_, stand_in| report - stand_in.last_report <= SILENT_REPORTS);
        self.known = self.living.drain().filter_map(|(tgid, lives)| lives.then_some(tgid)).collect();
    }

    /// The process under which a row of `tgid` is told together with others of its kind; `None` if it is told alone.
    pub fn stand_in(&mut self, tgid: u32, kind: impl FnOnce() -> K) -> Option<u32> {
        self.stand_in_if(tgid, kind, |tgid| GONE.lock().lives(tgid, || Path::new("/proc").join(tgid.to_string()).exists()))
    }

    fn stand_in_if(&mut self, tgid: u32, kind: impl FnOnce() -> K, lives: impl Fn(u32) -> bool) -> Option<u32> {
        if *self.living.entry(tgid).or_insert_with(|| lives(tgid)) || self.known.contains(&tgid) {
            return None;
        }
        let kind = kind();
        let report = self.report;
        if let Some(stand_in) = self.kinds.get_mut(&kind) {
            // Its number may belong to another process by now.
            if stand_in.last_report != report && lives(stand_in.tgid) {
                stand_in.tgid = tgid;
            }
            stand_in.last_report = report;
            return Some(stand_in.tgid);
        }
        if self.kinds.len() >= MAX_KINDS {
            // All silent ones at once, for each look goes through all.
            self.kinds.retain(|_, other| other.last_report == report);
            if self.kinds.len() >= MAX_KINDS {
                return Some(tgid);
            }
        }
        self.kinds.insert(kind, StandIn { tgid, last_report: report });
        Some(tgid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(ended: &mut Ended<&'static str>, tgid: u32, living: &[u32]) -> Option<u32> {
        ended.stand_in_if(tgid, || "redis-cli", |tgid| living.contains(&tgid))
    }

    #[test]
    fn clients_that_came_and_went_are_told_under_the_first() {
        let mut ended = Ended::default();
        for report in 0..5 {
            ended.next_report(0);
            for client in 0..10 {
                assert_eq!(tell(&mut ended, 100 + report * 10 + client, &[]), Some(100));
            }
        }
        assert_eq!(ended.stand_in_if(7, || "curl", |_| false), Some(7), "another program has its own");
        assert!(ended.living.len() <= 11);
    }

    #[test]
    fn who_lives_and_whose_end_it_is_stands_for_itself() {
        let mut ended = Ended::default();
        ended.next_report(0);
        assert_eq!(tell(&mut ended, 5, &[]), Some(5));
        assert_eq!(tell(&mut ended, 9, &[9]), None);
        ended.next_report(0);
        assert_eq!(tell(&mut ended, 9, &[]), None, "its last row");
        ended.next_report(0);
        assert_eq!(tell(&mut ended, 6, &[5]), Some(6), "the number of the first is somebody else's");
        assert_eq!(tell(&mut ended, 7, &[5]), Some(6));
        (0..=SILENT_REPORTS).for_each(|_| ended.next_report(0));
        assert_eq!(tell(&mut ended, 8, &[]), Some(8), "long silent");
    }

    #[test]
    fn who_is_gone_is_looked_for_once_by_all_probes_of_a_report() {
        let mut gone = Gone::default();
        let never = || -> bool { unreachable!("it was found gone") };
        gone.begin(5000, 1);
        assert!(gone.lives(7, || true));
        assert!(!gone.lives(8, || false));
        gone.begin(5000, 2);
        assert!(!gone.lives(8, never));
        assert!(!gone.lives(7, || false), "who lived may be gone by now");
        gone.begin(10_000, 1);
        assert!(gone.lives(8, || true), "the number is another's");
        assert!(!gone.lives(7, || false));
        gone.begin(10_000, 1);
        assert!(gone.lives(7, || true), "the same probe reports anew");
    }

    #[test]
    fn kinds_are_bounded() {
        let mut ended = Ended::default();
        ended.next_report(0);
        for kind in 0..MAX_KINDS + 10 {
            ended.stand_in_if(kind as u32, || kind, |_| false);
        }
        assert_eq!(ended.kinds.len(), MAX_KINDS);
    }
}
