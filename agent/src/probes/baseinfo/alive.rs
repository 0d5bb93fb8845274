//! Signs of life: a process that was reported once, or that listens, is told of now and then while it is quiet, so that
//! whoever keeps a map of the host does not take it for ended. One series, twice a minute, for each.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use ahash::HashMap;

use crate::procfs::text::{fields, number};
use crate::tasks::{Process, Snapshot};

/// Well inside the 60 s for which a record is shown.
const EVERY: Duration = Duration::from_secs(30);

/// Processes told of; further ones are left out and counted.
const MAX_PROCESSES: usize = 4096;

/// Files of one process looked at for a listening socket: servers open theirs early.
const MAX_FILES: usize = 1024;

#[derive(Clone, Copy)]
struct Known {
    start_ns: u64,
    /// `None` before the first row.
    told_at: Option<Instant>,
}

#[derive(Default)]
pub(super) struct Alive {
    known: HashMap<u32, Known>,
    pub left_out: u64,
}

impl Alive {
    /// Begins with the processes that listen already: they may never run while we look, and are servers all the same.
    pub fn start(proc_root: &Path, snapshot: &Snapshot) -> Self {
        let mut listeners = Listeners::default();
        let mut alive = Self::default();
        for process in snapshot.processes.iter().filter(|process| is_one(process)) {
            if listeners.listens(proc_root, process.tgid) {
                alive.remember(process, None);
            }
        }
        alive
    }

    /// The quiet processes whose sign of life is due; `reported` have rows in this period, by id.
    pub fn due<'a>(&mut self, reported: &[u32], only: Option<&HashSet<u32>>, now: &'a Snapshot) -> Vec<&'a Process> {
        let mut due = Vec::new();
        let mut living = HashSet::new();
        for process in now.processes.iter().filter(|process| is_one(process)) {
            if reported.binary_search(&process.tgid).is_ok() {
                self.remember(process, Some(now.at));
                living.insert(process.tgid);
                continue;
            }
            let known = self.known.get_mut(&process.tgid).filter(|known| known.start_ns == process.start_ns);
            let Some(known) = known else { continue };
            living.insert(process.tgid);
            let wanted = only.is_none_or(|only| only.contains(&process.tgid));
            if wanted && known.told_at.is_none_or(|told| now.at.saturating_duration_since(told) >= EVERY) {
                known.told_at = Some(now.at);
                due.push(process);
            }
        }
        self.known.retain(|tgid, _| living.contains(tgid));
        due
    }

    fn remember(&mut self, process: &Process, told_at: Option<Instant>) {
        if self.known.len() < MAX_PROCESSES || self.known.contains_key(&process.tgid) {
            self.known.insert(process.tgid, Known { start_ns: process.start_ns, told_at });
        } else {
            self.left_out += 1;
        }
    }
}

/// Kernel threads are no part of a map, and a zombie has ended.
fn is_one(process: &Process) -> bool {
    !process.kernel && !process.zombie
}

/// Listening sockets by network namespace, each read once.
#[derive(Default)]
struct Listeners(HashMap<std::path::PathBuf, HashSet<u64>>);

impl Listeners {
    fn listens(&mut self, proc_root: &Path, tgid: u32) -> bool {
        let folder = proc_root.join(tgid.to_string());
        let Ok(namespace) = fs::read_link(folder.join("ns/net")) else { return false };
        let sockets = self
            .0
            .entry(namespace)
            .or_insert_with(|| ["net/tcp", "net/tcp6"].iter().flat_map(|file| listening_in(&folder.join(file))).collect());
        if sockets.is_empty() {
            return false;
        }
        let Ok(files) = fs::read_dir(folder.join("fd")) else { return false };
        files.flatten().take(MAX_FILES).any(|file| {
            let target = fs::read_link(file.path()).unwrap_or_default();
            socket_number(&target.to_string_lossy()).is_some_and(|number| sockets.contains(&number))
        })
    }
}

/// Numbers of the sockets that listen: they are the first lines of `/proc/PID/net/tcp`, before all connections.
fn listening_in(file: &Path) -> Vec<u64> {
    const LISTENS: &[u8] = b"0A";
    let Ok(file) = File::open(file) else { return Vec::new() };
    let lines = BufReader::new(file).split(b'\n').skip(1).map_while(Result::ok);
    let first = lines.map_while(|line| {
        let mut columns = fields(&line).skip(3);
        (columns.next()? == LISTENS).then(|| columns.nth(5).and_then(number))
    });
    first.flatten().collect()
}

/// `socket:[4711]`
fn socket_number(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(tgid: u32, start_ns: u64) -> Process {
        Process { tgid, start_ns, ..Process::default() }
    }

    fn snapshot(at: Instant, processes: Vec<Process>) -> Snapshot {
        Snapshot { at, processes, threads: Vec::new(), preemptions: Vec::new() }
    }

    #[test]
    fn a_quiet_process_is_told_of_twice_a_minute_while_it_lives() {
        let start = Instant::now();
        let mut alive = Alive::default();
        let mut told = Vec::new();
        for second in (0..=180).step_by(5) {
            let lives = second <= 120;
            let processes = if lives { vec![process(7, 1), process(8, 1)] } else { vec![process(8, 1)] };
            let now = snapshot(start + Duration::from_secs(second), processes);
            let reported: &[u32] = if second < 20 { &[7] } else { &[] };
            told.extend(alive.due(reported, None, &now).iter().map(|process| (second, process.tgid)));
        }
        assert_eq!(told, [(45, 7), (75, 7), (105, 7)], "8 was never reported, 7 ended");
        assert!(alive.known.is_empty());
    }

    #[test]
    fn an_id_that_passed_on_is_not_told_of() {
        let start = Instant::now();
        let mut alive = Alive::default();
        alive.due(&[7], None, &snapshot(start, vec![process(7, 1)]));
        let later = snapshot(start + EVERY, vec![process(7, 2)]);
        assert!(alive.due(&[], None, &later).is_empty());
    }

    #[test]
    fn a_narrowed_range_is_kept_to() {
        let start = Instant::now();
        let mut alive = Alive::default();
        let both = |seconds| snapshot(start + Duration::from_secs(seconds), vec![process(7, 1), process(8, 1)]);
        alive.due(&[7, 8], None, &both(0));
        let only = HashSet::from([8]);
        let later = both(40);
        assert_eq!(alive.due(&[], Some(&only), &later).iter().map(|process| process.tgid).collect::<Vec<_>>(), [8]);
    }

    #[test]
    fn beyond_the_cap_processes_are_left_out_and_counted() {
        let mut alive = Alive::default();
        let many = MAX_PROCESSES as u32 + 3;
        let reported: Vec<u32> = (0..many).collect();
        let now = snapshot(Instant::now(), reported.iter().map(|tgid| process(*tgid, 1)).collect());
        alive.due(&reported, None, &now);
        assert_eq!((alive.known.len(), alive.left_out), (MAX_PROCESSES, 3));
    }

    #[test]
    fn servers_that_listen_before_we_start_are_known_from_the_start() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own = std::process::id();
        let root = Path::new("/proc");
        assert!(Listeners::default().listens(root, own));
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!Listeners::default().listens(root, sleeper.id()));
        let now = snapshot(Instant::now(), vec![process(own.min(sleeper.id()), 1), process(own.max(sleeper.id()), 1)]);
        let mut alive = Alive::start(root, &now);
        assert_eq!(alive.due(&[], None, &now).iter().map(|process| process.tgid).collect::<Vec<_>>(), [own]);
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        drop(listener);
    }

    #[test]
    fn only_the_listening_lines_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tcp");
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                    0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 x 100 0 0 10 0\n   \
                    1: 0100007F:18EB 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 x 20 4 30 10 -1\n";
        fs::write(&file, text).unwrap();
        assert_eq!(listening_in(&file), [4711]);
        assert_eq!((socket_number("socket:[4711]"), socket_number("/dev/null")), (Some(4711), None));
    }
}
