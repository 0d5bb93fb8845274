//! Facts of the host that rarely change: distribution, addresses, kind of machine.

use std::path::Path;

use super::text::{lines, lossy};

/// `NAME` and `VERSION` of an os-release file, quotes removed; `Linux` where nothing is said.
pub fn parse_os_release(text: &[u8]) -> String {
    let value = |key: &str| {
        lines(text).find_map(|line| {
            let value = line.strip_prefix(key.as_bytes())?.strip_prefix(b"=")?;
            Some(lossy(value.trim_ascii()).trim_matches(['"', '\'']).to_owned())
        })
    };
    match (value("NAME"), value("VERSION").or_else(|| value("VERSION_ID"))) {
        (Some(name), Some(version)) => format!("{name} {version}"),
        (Some(name), None) => name,
        _ => "Linux".to_owned(),
    }
}

/// `vm` or `pm`: a hypervisor shows itself by processor flag, by DMI or by its own folder.
pub fn host_type(root: &Path) -> &'static str {
    let cpuinfo = std::fs::read(root.join("proc/cpuinfo")).unwrap_or_default();
    let flag = lines(&cpuinfo)
        .take_while(|line| !line.starts_with(b"processor\t: 1"))
        .any(|line| line.starts_with(b"flags") && super::text::fields(line).any(|flag| flag == b"hypervisor"));
    let vendor = std::fs::read_to_string(root.join("sys/class/dmi/id/sys_vendor")).unwrap_or_default();
    const HYPERVISORS: [&str; 8] = ["QEMU", "VMware", "Xen", "innotek", "Microsoft", "Parallels", "Bochs", "Amazon"];
    let dmi = HYPERVISORS.iter().any(|name| vendor.starts_with(name));
    if flag || dmi || root.join("proc/xen").exists() || root.join("sys/hypervisor/type").exists() { "vm" } else { "pm" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_gives_name_and_version() {
        let debian = b"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\n";
        assert_eq!(parse_os_release(debian), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(parse_os_release(b"NAME=Arch\n"), "Arch");
        assert_eq!(parse_os_release(b""), "Linux");
    }

    #[test]
    fn a_machine_is_virtual_when_its_processor_says_so() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc")).unwrap();
        std::fs::write(root.path().join("proc/cpuinfo"), "processor\t: 0\nflags\t\t: fpu sse hypervisor\n").unwrap();
        assert_eq!(host_type(root.path()), "vm");
        std::fs::write(root.path().join("proc/cpuinfo"), "processor\t: 0\nflags\t\t: fpu sse\n").unwrap();
        assert_eq!(host_type(root.path()), "pm");
    }
}
