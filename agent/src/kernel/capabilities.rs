//! What this kernel and this process can do with BPF, found out by asking and by trying tiny programs.

use std::collections::HashSet;
use std::path::Path;

use libbpf_rs::{Btf, btf::types::Func, libbpf_sys};
use serde::Serialize;

use super::Rung;

/// Kernel release as far as comparisons need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Release {
    pub major: u32,
    pub minor: u32,
}

impl Release {
    /// Reads `6.1.0-18-amd64` and the like.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some(Self { major: numbers.next()?.ok()?, minor: numbers.next()?.ok()? })
    }
}

/// Facts that decide which rungs can work.
#[derive(Clone, Debug, Serialize)]
pub struct Capabilities {
    pub release: Release,
    /// The kernel describes its types; without it no program of ours loads.
    pub btf: bool,
    /// This process may load tracing programs.
    pub may_load: bool,
    /// Why not, empty when it may.
    pub load_refused: String,
    /// `fentry` and `fexit` programs load.
    pub function_hooks: bool,
    /// The kprobe event source exists.
    pub kprobes: bool,
    /// Sampling through perf events is allowed.
    pub perf_events: bool,
    /// Rungs not to be used, from [`WITHOUT`].
    pub without: Vec<String>,
}

/// Environment variable naming rungs that are passed over (`fexit,kprobe`), to try lower ones on a kernel that has better.
const WITHOUT: &str = "GALA_WITHOUT_RUNGS";

impl Capabilities {
    pub fn probe() -> Self {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let btf = has_btf();
        let load_refused = tracing_load_error();
        let may_load = load_refused.is_empty();
        Self {
            release: Release::parse(&release).unwrap_or(Release { major: 0, minor: 0 }),
            btf,
            function_hooks: btf && may_load && function_hook_loads(),
            may_load,
            load_refused,
            kprobes: Path::new("/sys/bus/event_source/devices/kprobe").exists(),
            perf_events: Path::new("/proc/sys/kernel/perf_event_paranoid").exists() && may_load,
            without: std::env::var(WITHOUT).unwrap_or_default().split(',').map(str::to_owned).collect(),
        }
    }

    /// Why nothing can be loaded at all; `None` when loading is possible.
    pub fn obstacle(&self) -> Option<String> {
        if !self.may_load {
            return Some(self.load_refused.clone());
        }
        (!self.btf).then(|| {
            "the kernel has no BTF (/sys/kernel/btf/vmlinux): needs a kernel built with CONFIG_DEBUG_INFO_BTF".to_owned()
        })
    }

    /// Why a rung cannot work here whatever is hooked; `None` when it may.
    pub fn rung_obstacle(&self, rung: Rung) -> Option<String> {
        let obstacle = match rung {
            _ if self.without.iter().any(|name| name == rung.name()) => return Some(format!("{WITHOUT} names {}", rung.name())),
            Rung::Fexit if !self.function_hooks => "the kernel refuses fentry and fexit programs",
            Rung::Kprobe if !self.kprobes => "the kernel has no kprobes",
            Rung::PerfEvent if !self.perf_events => "perf events are not allowed",
            _ => return None,
        };
        Some(obstacle.to_owned())
    }
}

/// Names of the kernel's BTF that our sections refer to: `btf_trace_*` typedefs, `bpf_iter__*` structs, functions.
pub struct KernelNames {
    btf: Btf<'static>,
    missing: std::cell::RefCell<HashSet<String>>,
}

impl KernelNames {
    pub fn load() -> Option<Self> {
        Some(Self { btf: Btf::from_vmlinux().ok()?, missing: Default::default() })
    }

    fn has(&self, name: &str, kind: Kind) -> bool {
        if self.missing.borrow().contains(name) {
            return false;
        }
        let found = match kind {
            Kind::Function => self.btf.type_by_name::<Func<'_>>(name).is_some(),
            Kind::Typedef => self.btf.type_by_name::<libbpf_rs::btf::types::Typedef<'_>>(name).is_some(),
            Kind::Struct => self.btf.type_by_name::<libbpf_rs::btf::types::Struct<'_>>(name).is_some(),
        };
        if !found {
            self.missing.borrow_mut().insert(name.to_owned());
        }
        found
    }

    /// The number an enumerator has in the running kernel.
    pub fn enumerator(&self, enumeration: &str, name: &str) -> Option<u32> {
        let found = self.btf.type_by_name::<libbpf_rs::btf::types::Enum<'_>>(enumeration)?;
        found.iter().find(|member| member.name.is_some_and(|n| n == name)).map(|member| member.value as u32)
    }

    /// Why the target of a program section does not exist on this kernel; `None` when it does or cannot be told.
    pub fn section_obstacle(&self, section: &str) -> Option<String> {
        let section = section.trim_start_matches('?');
        let (kind, target) = section.split_once('/')?;
        let missing = |what: &str| Some(format!("this kernel has no {what} {target}"));
        match kind {
            "tp_btf" | "raw_tp" if !self.has(&format!("btf_trace_{target}"), Kind::Typedef) => missing("tracepoint"),
            "fentry" | "fexit" if !self.has(target, Kind::Function) => missing("function"),
            "iter" if !self.has(&format!("bpf_iter__{target}"), Kind::Struct) => missing("iterator"),
            _ => None,
        }
    }
}

/// The kernel describes its types; an empty file describes none.
pub fn has_btf() -> bool {
    std::fs::metadata("/sys/kernel/btf/vmlinux").is_ok_and(|about| about.len() > 0)
}

/// The kernel's tick rate, told by the resolution of its coarse clock.
pub fn jiffies_per_second() -> u32 {
    let tick = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse);
    u32::try_from(tick.tv_nsec).ok().filter(|ns| *ns > 0).map_or(0, |ns| (1_000_000_000 + ns / 2) / ns)
}

#[derive(Clone, Copy)]
enum Kind {
    Function,
    Typedef,
    Struct,
}

/// `r0 = 0; exit`
fn empty_program() -> [libbpf_sys::bpf_insn; 2] {
    let mut insns = [libbpf_sys::bpf_insn::default(); 2];
    insns[0].code = (libbpf_sys::BPF_ALU64 | libbpf_sys::BPF_MOV | libbpf_sys::BPF_K) as u8;
    insns[1].code = (libbpf_sys::BPF_JMP | libbpf_sys::BPF_EXIT) as u8;
    insns
}

/// Loads `r0 = 0; exit` as the given type; the error number, 0 when it loads.
#[allow(unsafe_code)]
fn load_empty(program_type: u32, attach_type: u32, attach_btf_id: u32) -> i32 {
    let insns = empty_program();
    let options = libbpf_sys::bpf_prog_load_opts {
        sz: size_of::<libbpf_sys::bpf_prog_load_opts>() as u64,
        expected_attach_type: attach_type,
        attach_btf_id,
        ..Default::default()
    };
    // SAFETY: name and license are C strings, insns and options live through the call; a good descriptor is closed once.
    unsafe {
        let fd = libbpf_sys::bpf_prog_load(
            program_type,
            c"gala_can".as_ptr(),
            c"GPL".as_ptr(),
            insns.as_ptr(),
            insns.len() as u64,
            &raw const options as *mut _,
        );
        if fd >= 0 {
            libc::close(fd);
            return 0;
        }
        -fd
    }
}

/// Why a plain tracepoint program is refused, in words for a person; empty when it loads.
fn tracing_load_error() -> String {
    let (error, _) = super::log::captured(|| load_empty(libbpf_sys::BPF_PROG_TYPE_TRACEPOINT, 0, 0));
    match error {
        0 => String::new(),
        libc::EPERM | libc::EACCES => {
            "loading BPF programs is not permitted: needs root, or CAP_BPF with CAP_PERFMON (CAP_SYS_ADMIN before Linux 5.8)"
                .to_owned()
        }
        libc::ENOSYS | libc::EINVAL => "the kernel has no BPF: needs CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS".to_owned(),
        other => format!("loading a BPF program failed: {}", std::io::Error::from_raw_os_error(other)),
    }
}

fn function_hook_loads() -> bool {
    let ((), _) = super::log::captured(|| ());
    let Some(function) =
        Btf::from_vmlinux().ok().and_then(|btf| btf.type_by_name::<Func<'_>>("tcp_sendmsg").map(|f| f.type_id()))
    else {
        return false;
    };
    let id = u32::from(function);
    let (error, _) = super::log::captured(|| load_empty(libbpf_sys::BPF_PROG_TYPE_TRACING, libbpf_sys::BPF_TRACE_FEXIT, id));
    error == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_is_read_from_uname_text() {
        assert_eq!(Release::parse("6.18.44-fc-v657"), Some(Release { major: 6, minor: 18 }));
        assert_eq!(Release::parse("5.10.0-28-amd64"), Some(Release { major: 5, minor: 10 }));
        assert_eq!(Release::parse("rolling"), None);
    }

    #[test]
    fn releases_compare_by_number_not_by_text() {
        assert!(Release::parse("5.4.0") < Release::parse("5.10.0"));
    }
}
