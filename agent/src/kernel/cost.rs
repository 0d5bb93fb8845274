//! What our programs cost: run time from the kernel's own counters, bytes of maps from its own accounting.
#![allow(unsafe_code)]

use std::fs;
use std::os::fd::{FromRawFd, OwnedFd};

use libbpf_rs::libbpf_sys;
use serde::Serialize;

/// Run time of one program since it was loaded, as far as it was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProgramCost {
    pub program: String,
    pub run_ns: u64,
    pub runs: u64,
}

/// While it lives the kernel measures every BPF program (some 20 ns a run), so keep it open for short windows only.
/// The system-wide switch `kernel.bpf_stats_enabled` stays untouched.
pub struct RunTimeWindow {
    _counting: OwnedFd,
    before: Vec<ProgramCost>,
    programs: Vec<(String, i32)>,
}

impl RunTimeWindow {
    /// Starts measuring the given programs (name, descriptor); fails where the kernel (before 5.8) or rights do not allow it.
    pub fn open(programs: Vec<(String, i32)>) -> std::io::Result<Self> {
        // SAFETY: the call takes a number and answers a descriptor that is ours, or a negative error.
        let counting = unsafe {
            let fd = libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME);
            if fd < 0 {
                return Err(std::io::Error::from_raw_os_error(-fd));
            }
            OwnedFd::from_raw_fd(fd)
        };
        let before = read_costs(&programs);
        Ok(Self { _counting: counting, before, programs })
    }

    /// What each program ran since `open`.
    pub fn read(&self) -> Vec<ProgramCost> {
        let mut costs = read_costs(&self.programs);
        for (now, before) in costs.iter_mut().zip(&self.before) {
            now.run_ns = now.run_ns.saturating_sub(before.run_ns);
            now.runs = now.runs.saturating_sub(before.runs);
        }
        costs
    }
}

fn read_costs(programs: &[(String, i32)]) -> Vec<ProgramCost> {
    programs.iter().map(|(name, fd)| read_cost(name, *fd)).collect()
}

fn read_cost(name: &str, fd: i32) -> ProgramCost {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut length = size_of::<libbpf_sys::bpf_prog_info>() as u32;
    // SAFETY: `info` is a plain structure of `length` bytes that the kernel fills.
    let result = unsafe { libbpf_sys::bpf_prog_get_info_by_fd(fd, &raw mut info, &raw mut length) };
    if result != 0 {
        return ProgramCost { program: name.to_owned(), ..Default::default() };
    }
    ProgramCost { program: name.to_owned(), run_ns: info.run_time_ns, runs: info.run_cnt }
}

/// Bytes of a map, from the descriptor's `memlock` line; 0 when it cannot be read.
pub(super) fn map_bytes(fd: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    parse_memlock(&text).unwrap_or(0)
}

fn parse_memlock(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("memlock:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memlock_is_read_from_a_maps_fdinfo() {
        let captured = "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nmap_type:\t1\nkey_size:\t4\nvalue_size:\t8\nmax_entries:\t16\nmemlock:\t1696\nmap_id:\t7\n";
        assert_eq!(parse_memlock(captured), Some(1696));
    }
}
