//! Identity of this host: `machine_id` = `<system uuid>-<host ip>`. The uuid comes from the firmware (DMI), else from the
//! file a package prepared, else from `/etc/machine-id`, else from one we made and keep. The ip is the first IPv4 address
//! of the first interface that has one outside 127.0.0.0/8, in the kernel's order, as `ip a` lists them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Upstream's file for machines without DMI.
const PREPARED_FILE: &str = "opt/gala-gopher/machine_id";

/// Which machine this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub uuid: String,
    /// `None` while no interface has an address.
    pub address: Option<Ipv4Addr>,
}

impl Machine {
    /// `host_root` is `/` or where the host's root is mounted; `state` is where a made-up uuid is kept.
    pub fn read(host_root: &Path, state: &Path) -> Self {
        Self { uuid: system_uuid(host_root, state), address: host_address() }
    }

    /// The text of label `machine_id`. Without an address the loopback one stands in, so that data is not lost; both
    /// spellings are one host for every reader that strips the address.
    pub fn id(&self) -> String {
        format!("{}-{}", self.uuid, self.address.unwrap_or(Ipv4Addr::LOCALHOST))
    }
}

fn system_uuid(host_root: &Path, state: &Path) -> String {
    let files = ["sys/class/dmi/id/product_uuid", PREPARED_FILE, "etc/machine-id"];
    let kept = state.join("machine_id");
    let mut candidates: Vec<PathBuf> = files.iter().map(|file| host_root.join(file)).collect();
    candidates.push(kept.clone());
    candidates.iter().find_map(|path| read_uuid(path)).unwrap_or_else(|| {
        let made = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
        let made = made.trim().to_owned();
        if let Err(error) = fs::write(&kept, &made) {
            tracing::warn!("{} cannot be written ({error}): this host will have another id after a restart", kept.display());
        }
        made
    })
}

fn read_uuid(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    let plausible = text.len() >= 8 && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plausible.then(|| text.to_owned())
}

/// First IPv4 address that is not loopback.
pub fn host_address() -> Option<Ipv4Addr> {
    let replies = dump_addresses().ok()?;
    replies.iter().flat_map(|reply| parse_addresses(reply)).find(|address| !address.is_loopback())
}

const NLMSG_HEADER: usize = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLMSG_DONE: u16 = 3;
const NLMSG_ERROR: u16 = 2;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// Asks rtnetlink for all IPv4 addresses (rtnetlink(7)).
fn dump_addresses() -> std::io::Result<Vec<Vec<u8>>> {
    const NLM_F_REQUEST_DUMP: u16 = 0x301;
    let mut request = Vec::with_capacity(24);
    request.extend_from_slice(&24u32.to_ne_bytes());
    request.extend_from_slice(&RTM_GETADDR.to_ne_bytes());
    request.extend_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(&[libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0]);
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request, 0)?;
    let mut replies = Vec::new();
    loop {
        let (reply, _) = socket.recv_from_full()?;
        let last = reply.is_empty() || messages(&reply).any(|(kind, _)| kind == NLMSG_DONE || kind == NLMSG_ERROR);
        replies.push(reply);
        if last {
            return Ok(replies);
        }
    }
}

/// Type and body of each netlink message of a reply.
fn messages(mut reply: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(reply.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(reply.get(4..6)?.try_into().ok()?);
        let body = reply.get(NLMSG_HEADER..length)?;
        reply = reply.get(align(length)..).unwrap_or_default();
        Some((kind, body))
    })
}

fn parse_addresses(reply: &[u8]) -> Vec<Ipv4Addr> {
    messages(reply).filter(|(kind, _)| *kind == RTM_NEWADDR).filter_map(|(_, body)| parse_address(body)).collect()
}

/// `struct ifaddrmsg` and its attributes. On point-to-point links ADDRESS is the peer and LOCAL is ours.
fn parse_address(body: &[u8]) -> Option<Ipv4Addr> {
    let mut attributes = body.get(8..)?;
    let (mut local, mut address) = (None, None);
    while let Some(header) = attributes.get(..4) {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]);
        let Some(value) = attributes.get(4..length) else { break };
        let ip = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
        match kind {
            IFA_LOCAL => local = ip,
            IFA_ADDRESS => address = ip,
            _ => {}
        }
        attributes = attributes.get(align(length)..).unwrap_or_default();
    }
    local.or(address)
}

fn align(length: usize) -> usize {
    (length + 3) & !3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let machine = Machine { uuid: system_uuid(root.path(), root.path()), address: Some(Ipv4Addr::new(192, 0, 2, 2)) };
        (root, machine)
    }

    #[test]
    fn the_firmwares_uuid_wins_over_the_files() {
        let uuid = "1fd37deb-0000-0000-0000-000000000001";
        let (_root, machine) = host(&[
            ("sys/class/dmi/id/product_uuid", "1fd37deb-0000-0000-0000-000000000001\n"),
            (PREPARED_FILE, "2fd37deb-0000-0000-0000-000000000001"),
            ("etc/machine-id", "3d1219c7c4c5404aaa1f6d2a48adfda4\n"),
        ]);
        assert_eq!(machine.id(), format!("{uuid}-192.0.2.2"));
        let (_root, machine) =
            host(&[("sys/class/dmi/id/product_uuid", "\n"), ("etc/machine-id", "3d1219c7c4c5404aaa1f6d2a48adfda4\n")]);
        assert_eq!(machine.uuid, "3d1219c7c4c5404aaa1f6d2a48adfda4");
    }

    #[test]
    fn a_host_without_any_id_keeps_the_one_it_makes() {
        let (root, machine) = host(&[]);
        assert_eq!(machine.uuid.len(), 36);
        assert_eq!(system_uuid(root.path(), root.path()), machine.uuid);
    }

    #[test]
    fn our_own_address_of_a_point_to_point_link_is_taken() {
        let mut body = vec![0u8; 8];
        for (kind, ip) in [(IFA_ADDRESS, [10, 0, 0, 1]), (IFA_LOCAL, [10, 0, 0, 2])] {
            body.extend_from_slice(&8u16.to_ne_bytes());
            body.extend_from_slice(&kind.to_ne_bytes());
            body.extend_from_slice(&ip);
        }
        assert_eq!(parse_address(&body), Some(Ipv4Addr::new(10, 0, 0, 2)));
        assert_eq!(parse_address(&body[..9]), None);
        assert_eq!(parse_address(&[]), None);
    }
}
