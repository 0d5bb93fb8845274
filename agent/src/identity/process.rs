//! Name, command line, start time and cgroup of a process from `/proc/<pid>/{stat,comm,cmdline,cgroup}` (proc(5)).
//! Parsers take bytes; the readers around them reuse one buffer.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::cgroup::{self, ContainerRef};

/// Exported length of a command line, in characters; a bound for what a process can put into every series of its own.
const MAX_CMDLINE: usize = 127;

/// No file read here is longer in any useful way.
const MAX_READ: u64 = 64 * 1024;

/// What `/proc` says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFacts {
    pub comm: String,
    /// Blanks between arguments.
    pub cmdline: String,
    /// Clock ticks since boot; with the pid it names the process for good.
    pub start_ticks: u64,
    pub container: Option<ContainerRef>,
}

/// Reads facts below one `/proc`.
#[derive(Debug)]
pub struct ProcessReader {
    root: PathBuf,
    buffer: Vec<u8>,
}

impl ProcessReader {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), buffer: Vec::with_capacity(4096) }
    }

    /// Everything; `None` when there is no such process (any more).
    pub fn read(&mut self, pid: u32) -> Option<ProcessFacts> {
        let (comm, start_ticks) = parse_stat(self.load(pid, "stat")?)?;
        let cmdline = self.load(pid, "cmdline").map(parse_cmdline).unwrap_or_default();
        let container = self.load(pid, "cgroup").and_then(|text| cgroup::container_of(&String::from_utf8_lossy(text)));
        Some(ProcessFacts { comm, cmdline, start_ticks, container })
    }

    /// Name and start only: one file, enough to see whether a pid is still the same process.
    pub fn read_stat(&mut self, pid: u32) -> Option<(String, u64)> {
        parse_stat(self.load(pid, "stat")?)
    }

    fn load(&mut self, pid: u32, name: &str) -> Option<&[u8]> {
        self.buffer.clear();
        let file = File::open(self.root.join(pid.to_string()).join(name)).ok()?;
        file.take(MAX_READ).read_to_end(&mut self.buffer).ok()?;
        Some(&self.buffer)
    }
}

/// Name (field 2) and start time in clock ticks (field 22) of `/proc/<pid>/stat`. The name may hold blanks and brackets.
pub fn parse_stat(stat: &[u8]) -> Option<(String, u64)> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let comm = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let start = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some((comm, start))
}

/// Arguments with blanks between; empty for kernel threads.
pub fn parse_cmdline(raw: &[u8]) -> String {
    let end = raw.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let text = String::from_utf8_lossy(&raw[..end]);
    text.chars().map(|c| if c == '\0' { ' ' } else { c }).collect()
}

/// The exported form of a command line.
pub fn shown_cmdline(cmdline: &str) -> &str {
    cmdline.char_indices().nth(MAX_CMDLINE).map_or(cmdline, |(at, _)| &cmdline[..at])
}

/// Boot time in seconds since 1970 (`btime` of `/proc/stat`).
pub fn parse_boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Pids below a `/proc`.
pub fn all_pids(root: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_brackets_and_blanks_do_not_shift_the_fields() {
        let stat = b"4242 (tmux: (server) x) S 1 4242 4242 0 -1 4194368 1 0 0 0 7 8 0 0 20 0 1 0 987654 8712192 1 184";
        assert_eq!(parse_stat(stat), Some(("tmux: (server) x".into(), 987_654)));
        assert_eq!(parse_stat(b"4242 (x) S 1"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn command_lines_are_joined_by_blanks_and_cut_when_shown() {
        assert_eq!(parse_cmdline(b"nginx: worker process\0\0\0"), "nginx: worker process");
        assert_eq!(parse_cmdline(b"java\0-jar\0a.jar\0"), "java -jar a.jar");
        assert_eq!(parse_cmdline(b""), "");
        assert_eq!(shown_cmdline(&"\u{e9}".repeat(200)).chars().count(), MAX_CMDLINE);
        assert_eq!(shown_cmdline("short"), "short");
    }

    #[test]
    fn this_process_is_read() {
        let mut reader = ProcessReader::new(Path::new("/proc"));
        let facts = reader.read(std::process::id()).unwrap();
        let (comm, start) = reader.read_stat(std::process::id()).unwrap();
        assert_eq!((facts.comm, facts.start_ticks), (comm, start));
        assert!(facts.cmdline.contains("gala"), "{}", facts.cmdline);
        assert!(all_pids(Path::new("/proc")).contains(&std::process::id()));
        assert!(reader.read(u32::MAX).is_none());
    }

    #[test]
    fn boot_time_is_found_among_the_other_lines() {
        assert_eq!(parse_boot_time("cpu  1 2 3\nintr 5\nbtime 1795200000\nprocesses 9\n"), Some(1_795_200_000));
        assert_eq!(parse_boot_time("cpu 1\n"), None);
    }
}
