//! Connections by asking the kernel's socket diagnosis (`sock_diag`, as `ss` does): the rung for kernels without BTF and
//! for users who may not load programs. Sees this network namespace only, nothing of connections shorter than a period, and
//! owners only among the processes the user may look into.

use std::fs;

use ahash::{HashMap, HashSet};
use anyhow::{Context, Result};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::layout::{Kept, Key, Link, ROLE_CLIENT, ROLE_SERVER};
use crate::netlink::{self, attributes, u32_at};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const ATTRIBUTE_INFO: u16 = 2;
const DIAG_MESSAGE: usize = 72;
const STATE_LISTEN: u8 = 10;
/// ESTABLISHED, both FIN_WAITs, CLOSE_WAIT, LAST_ACK, LISTEN, CLOSING.
const WANTED_STATES: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11;

/// What was already reported of a connection.
#[derive(Clone, Copy, Default)]
struct Totals {
    rx_bytes: u64,
    tx_bytes: u64,
    segs_in: u32,
    segs_out: u32,
    retrans: u32,
}

/// One socket of a dump.
struct Found {
    family: u16,
    state: u8,
    local: [u8; 16],
    remote: [u8; 16],
    local_port: u16,
    remote_port: u16,
    cookie: u64,
    inode: u32,
    unread: u32,
    unacknowledged: u32,
    info: Vec<u8>,
}

#[derive(Default)]
pub struct Diag {
    reported: HashMap<u64, Totals>,
    owners: HashMap<u32, u32>,
}

impl Diag {
    /// Rows since the last call; a connection counts from its first sight on.
    pub fn collect(&mut self, keep_client_port: bool) -> Result<Vec<(Key, Link)>> {
        let mut found = dump(libc::AF_INET)?;
        found.extend(dump(libc::AF_INET6)?);
        let listening: HashSet<u16> = found.iter().filter(|s| s.state == STATE_LISTEN).map(|s| s.local_port).collect();
        found.retain(|socket| socket.state != STATE_LISTEN);
        if found.iter().any(|socket| socket.inode != 0 && !self.owners.contains_key(&socket.inode)) {
            self.owners = owners();
        }
        let mut reported = HashMap::default();
        let mut rows: HashMap<Key, Link> = HashMap::default();
        for socket in &found {
            let now = totals(socket);
            let before = self.reported.get(&socket.cookie).copied();
            reported.insert(socket.cookie, now);
            let Some(tgid) = self.owners.get(&socket.inode) else { continue };
            let link = rows.entry(key(socket, *tgid, &listening, keep_client_port)).or_default();
            link.sockets += 1;
            add_difference(link, &now, &before.unwrap_or(now));
            if before.is_none_or(|before| before.segs_in != now.segs_in || before.segs_out != now.segs_out) {
                sample(link, socket);
            }
        }
        self.reported = reported;
        Ok(rows.into_iter().collect())
    }
}

fn key(socket: &Found, tgid: u32, listening: &HashSet<u16>, keep_client_port: bool) -> Key {
    let server = listening.contains(&socket.local_port);
    let client_port = if server { socket.remote_port } else { socket.local_port };
    Key {
        tgid,
        client_port: if keep_client_port { client_port } else { 0 },
        server_port: if server { socket.local_port } else { socket.remote_port },
        family: socket.family,
        role: if server { ROLE_SERVER } else { ROLE_CLIENT },
        client: if server { socket.remote } else { socket.local },
        server: if server { socket.local } else { socket.remote },
    }
}

fn add_difference(link: &mut Link, now: &Totals, before: &Totals) {
    link.rx_bytes += now.rx_bytes.saturating_sub(before.rx_bytes);
    link.tx_bytes += now.tx_bytes.saturating_sub(before.tx_bytes);
    link.segs_in += u64::from(now.segs_in.wrapping_sub(before.segs_in));
    link.segs_out += u64::from(now.segs_out.wrapping_sub(before.segs_out));
    link.retrans += now.retrans.wrapping_sub(before.retrans);
}

/// Fields of `struct tcp_info` by offset; 0 where an older kernel ends before.
impl Found {
    fn info32(&self, offset: usize) -> u32 {
        u32_at(&self.info, offset).unwrap_or(0)
    }

    fn info64(&self, offset: usize) -> u64 {
        self.info.get(offset..offset + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
    }
}

fn totals(socket: &Found) -> Totals {
    Totals {
        rx_bytes: socket.info64(128).saturating_sub(socket.unread.into()),
        tx_bytes: socket.info64(120) + u64::from(socket.unacknowledged),
        segs_in: socket.info32(140),
        segs_out: socket.info32(136),
        retrans: socket.info32(100),
    }
}

fn sample(link: &mut Link, socket: &Found) {
    link.samples += 1;
    let mut record = |kept, value: u32| link.record(kept, value.into());
    if socket.info32(68) > 0 {
        record(Kept::Srtt, socket.info32(68));
    }
    if socket.info32(92) > 0 {
        record(Kept::RcvRtt, socket.info32(92));
    }
    record(Kept::SndCwnd, socket.info32(80));
    record(Kept::Reordering, socket.info32(88));
    record(Kept::Notsent, socket.info32(144));
    record(Kept::Rto, socket.info32(8) / 1000);
    record(Kept::Ato, socket.info32(12) / 1000);
    if socket.info.len() >= 232 {
        record(Kept::SndWnd, socket.info32(228));
    }
    link.sacked_max = link.sacked_max.max(socket.info32(28));
}

/// Process by inode of its sockets.
fn owners() -> HashMap<u32, u32> {
    let mut owners = HashMap::default();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for tgid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        for descriptor in fs::read_dir(format!("/proc/{tgid}/fd")).into_iter().flatten().flatten() {
            // The link names the socket; following it would not.
            let Ok(target) = fs::read_link(descriptor.path()) else { continue };
            let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode {
                owners.entry(inode).or_insert(tgid);
            }
        }
    }
    owners
}

fn dump(family: i32) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let take = |message: &[u8]| found.extend(parse(message));
    netlink::dump(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, &request(family as u8), take)
        .context("socket diagnosis gives no list of the sockets")?;
    Ok(found)
}

fn request(family: u8) -> [u8; 56] {
    let mut bytes = [0; 56];
    bytes[0] = family;
    bytes[1] = libc::IPPROTO_TCP as u8;
    bytes[2] = 1 << (ATTRIBUTE_INFO - 1);
    bytes[4..8].copy_from_slice(&WANTED_STATES.to_ne_bytes());
    bytes
}

fn parse(message: &[u8]) -> Option<Found> {
    if message.len() < DIAG_MESSAGE {
        return None;
    }
    let mut socket = Found {
        family: message[0].into(),
        state: message[1],
        local: message[8..24].try_into().ok()?,
        remote: message[24..40].try_into().ok()?,
        local_port: u16::from_be_bytes([message[4], message[5]]),
        remote_port: u16::from_be_bytes([message[6], message[7]]),
        cookie: u64::from(u32_at(message, 44)?) | u64::from(u32_at(message, 48)?) << 32,
        unread: u32_at(message, 56)?,
        unacknowledged: u32_at(message, 60)?,
        inode: u32_at(message, 68)?,
        info: Vec::new(),
    };
    let is_mapped = |address: &[u8; 16]| address[..10] == [0; 10] && address[10..12] == [0xff; 2];
    if socket.family == libc::AF_INET6 as u16 && (is_mapped(&socket.local) || is_mapped(&socket.remote)) {
        socket.family = libc::AF_INET as u16;
        for address in [&mut socket.local, &mut socket.remote] {
            address.copy_within(12..16, 0);
            address[4..].fill(0);
        }
    }
    if let Some((_, info)) = attributes(&message[DIAG_MESSAGE..]).find(|(kind, _)| *kind == ATTRIBUTE_INFO) {
        socket.info = info.to_vec();
    }
    Some(socket)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn own_connection_is_found_with_its_bytes_and_role() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let mut client = TcpStream::connect(("127.0.0.1", port)).expect("connecting works");
        let (mut server, _) = listener.accept().expect("accepting works");
        let mut diag = Diag::default();
        diag.collect(false).expect("the first dump works");
        client.write_all(&[1; 3000]).expect("writing works");
        server.read_exact(&mut [0; 3000]).expect("reading works");
        let rows = diag.collect(false).expect("the second dump works");
        let bytes = |role| {
            let mine =
                rows.iter().filter(|(key, _)| key.server_port == port && key.role == role && key.tgid == std::process::id());
            mine.map(|(_, link)| (link.rx_bytes, link.tx_bytes)).collect::<Vec<_>>()
        };
        assert_eq!(bytes(ROLE_SERVER), [(3000, 0)]);
        assert_eq!(bytes(ROLE_CLIENT), [(0, 3000)]);
    }

    #[test]
    fn mapped_addresses_become_ipv4() {
        let mut message = vec![0; DIAG_MESSAGE];
        message[0] = libc::AF_INET6 as u8;
        message[18..24].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]);
        message[34..40].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 2]);
        let socket = parse(&message).expect("a socket");
        assert_eq!((socket.family, &socket.local[..4], &socket.remote[..4]), (2, &[10, 0, 0, 1][..], &[10, 0, 0, 2][..]));
    }
}
