//! Facts of the host: one row whose labels say what the machine is.

use std::path::Path;
use std::time::Instant;

use gala_model::tables::baseinfo::SystemOs;
use rustix::system::uname;

use crate::probes::RowSink;
use crate::procfs::host::{host_type, parse_os_release};
use crate::procfs::memory::MemInfo;

#[derive(Default)]
pub(super) struct Facts {
    row: SystemOs,
    read_at: Option<Instant>,
}

impl Facts {
    /// Answers the host's name.
    pub fn collect(&mut self, boot_time: Option<u64>, out: &mut dyn RowSink) -> String {
        if self.read_at.is_none_or(|at| at.elapsed() >= super::FACTS_PERIOD) {
            self.row = read(boot_time);
            self.read_at = Some(Instant::now());
        }
        out.push(&self.row);
        self.row.hostname.clone()
    }
}

fn read(boot_time: Option<u64>) -> SystemOs {
    let release = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| std::fs::read(path).ok());
    let memory = std::fs::read("/proc/meminfo").ok().and_then(|text| MemInfo::parse(&text).total);
    let name = uname();
    SystemOs {
        os_version: parse_os_release(&release.unwrap_or_default()),
        hostname: name.nodename().to_string_lossy().into_owned(),
        kversion: name.release().to_string_lossy().into_owned(),
        cpu_num: std::thread::available_parallelism().map_or(0, usize::from).max(online_cpus()).to_string(),
        memory_mb: memory.map(|kb| (kb / 1024).to_string()).unwrap_or_default(),
        ip_addr: addresses().join(" "),
        host_type: host_type(Path::new("/")).to_owned(),
        clock_ticks: super::clock_ticks().to_string(),
        os_btime: boot_time.map(|at| at.to_string()).unwrap_or_default(),
        value: 1,
    }
}

/// Processors on line, also those this process may not run on.
fn online_cpus() -> usize {
    std::fs::read("/proc/stat").map_or(0, |text| crate::procfs::cpu::Stat::parse(&text).cpus.len())
}

/// Addresses of interfaces that are up, without loopback and link-local ones, IPv4 first.
fn addresses() -> Vec<String> {
    let mut found = interface_addresses();
    found.sort();
    found.dedup();
    found.into_iter().map(|address| address.to_string()).collect()
}

#[allow(unsafe_code)]
fn interface_addresses() -> Vec<std::net::IpAddr> {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    let mut found = Vec::new();
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs fills `list` with a linked list that stays valid until freeifaddrs; a family of AF_INET or AF_INET6
    // says which structure an address points to.
    unsafe {
        if libc::getifaddrs(&raw mut list) != 0 {
            return found;
        }
        let mut entry = list;
        while let Some(interface) = entry.as_ref() {
            entry = interface.ifa_next;
            let flags = interface.ifa_flags as libc::c_int;
            if flags & libc::IFF_UP == 0 || flags & libc::IFF_LOOPBACK != 0 || interface.ifa_addr.is_null() {
                continue;
            }
            match libc::c_int::from((*interface.ifa_addr).sa_family) {
                libc::AF_INET => {
                    let address = interface.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned();
                    found.push(IpAddr::V4(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr))));
                }
                libc::AF_INET6 => {
                    let address =
                        Ipv6Addr::from(interface.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned().sin6_addr.s6_addr);
                    if !address.is_unicast_link_local() {
                        found.push(IpAddr::V6(address));
                    }
                }
                _ => {}
            }
        }
        libc::freeifaddrs(list);
    }
    found
}
