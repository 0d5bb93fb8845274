//! The 21 probes upstream knows, in upstream's order: names, sub-probes, programs, what they observe, and which of them
//! this version runs.

use crate::probes;
use crate::runtime::sampler::StartProbe;

/// Which kinds of objects a probe's observation range may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observes {
    /// No range has to be given.
    Nothing,
    Processes,
    Containers,
    All,
}

/// One probe.
pub struct ProbeEntry {
    pub name: &'static str,
    /// Upstream's text of `cmd.bin`.
    pub program: &'static str,
    pub observes: Observes,
    pub sub_probes: &'static [&'static str],
    /// `None` while this version has no such probe.
    pub start: Option<StartProbe>,
    /// Sub-probes that run unasked, as far as this version fills them; `None`: the probe does not.
    pub unasked: Option<&'static [&'static str]>,
}

const fn other(name: &'static str, program: &'static str, observes: Observes, sub_probes: &'static [&'static str]) -> ProbeEntry {
    ProbeEntry { name, program, observes, sub_probes, start: None, unasked: None }
}

const BASEINFO: &[&str] = &["cpu", "mem", "nic", "net", "disk", "fs", "proc", "host", "con"];
const TCP: &[&str] = &["tcp_abnormal", "tcp_rtt", "tcp_windows", "tcp_srtt", "tcp_rate", "tcp_sockbuf", "tcp_stats", "tcp_delay"];
const SOCKET: &[&str] = &["tcp_socket", "udp_socket"];
const IO: &[&str] = &["io_trace", "io_err", "io_count", "page_cache"];
const PROC: &[&str] =
    &["proc_syscall", "proc_fs", "proc_dns", "proc_io", "proc_pagecache", "proc_net", "proc_offcpu", "proc_ioctl", "proc_pygc"];
const L7: &[&str] = &["l7_bytes_metrics", "l7_rpc_metrics", "l7_rpc_trace"];
const TPROFILING: &[&str] = &[
    "oncpu",
    "syscall_file",
    "syscall_net",
    "syscall_lock",
    "syscall_sched",
    "python_gc",
    "pthread_sync",
    "oncpu_sample",
    "mem_usage",
    "mem_glibc",
    "offcpu",
];

macro_rules! program {
    ($file:literal) => {
        concat!("/opt/gala-gopher/extend_probes/", $file)
    };
}

/// All of them.
pub static PROBES: [ProbeEntry; 21] = {
    use Observes::{All, Containers, Nothing, Processes};
    [
        ProbeEntry {
            name: "baseinfo",
            program: "system_infos",
            observes: All,
            sub_probes: BASEINFO,
            start: Some(probes::baseinfo::start),
            unasked: Some(BASEINFO),
        },
        other("virt", "virtualized_infos", Nothing, &[]),
        other("flamegraph", program!("stackprobe"), Processes, &["oncpu", "offcpu", "mem", "mem_glibc", "io"]),
        other("l7", program!("l7probe"), All, L7),
        ProbeEntry {
            name: "tcp",
            program: program!("tcpprobe"),
            observes: Processes,
            sub_probes: TCP,
            start: Some(|settings| Ok(Box::new(probes::tcp::Tcp::start(settings)))),
            unasked: Some(TCP),
        },
        ProbeEntry {
            name: "socket",
            program: program!("endpoint"),
            observes: Processes,
            sub_probes: SOCKET,
            start: Some(|settings| Ok(Box::new(probes::socket::Socket::start(settings)))),
            unasked: Some(SOCKET),
        },
        ProbeEntry {
            name: "io",
            program: program!("ioprobe"),
            observes: Nothing,
            sub_probes: IO,
            start: Some(probes::io::start),
            unasked: Some(IO),
        },
        ProbeEntry {
            name: "proc",
            program: program!("taskprobe"),
            observes: All,
            sub_probes: PROC,
            start: Some(probes::proc::start),
            unasked: Some(PROC),
        },
        other("jvm", program!("jvmprobe"), Processes, &[]),
        other("postgre_sli", program!("pgsliprobe"), Nothing, &[]),
        other("opengauss_sli", program!("pg_stat_probe.py"), Nothing, &[]),
        other("nginx", program!("nginx_probe"), Nothing, &[]),
        other("lvs", program!("trace_lvs"), Nothing, &[]),
        other("kafka", program!("kafkaprobe"), Nothing, &[]),
        other("tprofiling", program!("tprofiling"), Processes, TPROFILING),
        other("hw", program!("hwprobe"), Nothing, &["hw_nic", "hw_mem"]),
        ProbeEntry {
            name: "ksli",
            program: program!("ksliprobe"),
            observes: Nothing,
            sub_probes: &[],
            start: Some(|settings| Ok(Box::new(probes::sli::Sli::start(settings)))),
            unasked: Some(&[]),
        },
        other("container", program!("cadvisor_probe.py"), Processes, &[]),
        other("sermant", program!("sermant_probe.py"), Processes, L7),
        other("sli", program!("sliprobe"), Containers, &["cpu", "mem", "io", "node", "container", "histogram"]),
        other("flowtracer", program!("flowtracer"), Nothing, &[]),
    ]
};

impl ProbeEntry {
    /// Whether this version reports anything for a sub-probe: some metric of the probe's tables is declared to be its.
    pub fn fills(&self, sub_probe: &str) -> bool {
        let tables = gala_model::tables::all().into_iter().filter(|table| table.probe == self.name);
        tables.flat_map(gala_model::TableDef::metrics).any(|field| field.sub_probe == sub_probe)
    }
}

/// The probe of that name; built-in names may be written in any case.
pub fn find(name: &str) -> Option<&'static ProbeEntry> {
    PROBES.iter().find(|entry| entry.name.eq_ignore_ascii_case(name))
}
