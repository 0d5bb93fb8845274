//! Lists that the kernel gives over netlink: sockets, queues of interfaces (RFC 3549; linux/netlink.h).

use anyhow::{Context, Result, bail};
use netlink_sys::{Socket, SocketAddr};

/// `NLM_F_REQUEST`, `NLM_F_ROOT`, `NLM_F_MATCH`.
const DUMP_REQUEST: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;
/// Flags that share a field with an attribute's kind.
const KIND_MASK: u16 = 0x3fff;

/// Asks for everything of a kind; `each` takes the payloads of the messages.
pub fn dump(protocol: isize, kind: u16, request: &[u8], mut each: impl FnMut(&[u8])) -> Result<()> {
    let mut socket = Socket::new(protocol).context("opening a netlink socket failed")?;
    socket.bind_auto().context("binding a netlink socket failed")?;
    socket.send_to(&message(kind, request), &SocketAddr::new(0, 0), 0).context("asking over netlink failed")?;
    loop {
        let (datagram, _) = socket.recv_from_full().context("reading from netlink failed")?;
        if !take(&datagram, &mut each)? {
            return Ok(());
        }
    }
}

fn message(kind: u16, request: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[0..4].copy_from_slice(&((HEADER + request.len()) as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&DUMP_REQUEST.to_ne_bytes());
    bytes.extend_from_slice(request);
    bytes
}

/// Hands on the payloads of one datagram; answers whether more follow.
fn take(mut datagram: &[u8], each: &mut impl FnMut(&[u8])) -> Result<bool> {
    while let (Some(length), Some(kind)) = (u32_at(datagram, 0), u16_at(datagram, 4)) {
        let length = length as usize;
        let Some(payload) = datagram.get(HEADER..length) else {
            bail!("netlink answered a message of impossible length {length}");
        };
        match kind {
            NLMSG_DONE => return Ok(false),
            NLMSG_ERROR => {
                let code = u32_at(payload, 0).unwrap_or(0) as i32;
                bail!("the kernel refused: {}", std::io::Error::from_raw_os_error(-code));
            }
            _ => each(payload),
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

/// Kind and value of each attribute, as far as they are whole.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (usize::from(u16_at(bytes, 0)?), u16_at(bytes, 2)?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & KIND_MASK, value))
    })
}

pub fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(datagram: &[u8]) -> Result<(bool, Vec<Vec<u8>>)> {
        let mut found = Vec::new();
        let more = take(datagram, &mut |payload: &[u8]| found.push(payload.to_vec()))?;
        Ok((more, found))
    }

    #[test]
    fn messages_are_handed_on_until_the_list_is_done() {
        let mut datagram = message(36, &[1, 2, 3]);
        datagram.push(0);
        datagram.extend(message(36, &[4, 5, 6, 7]));
        assert_eq!(payloads(&datagram).unwrap(), (true, vec![vec![1, 2, 3], vec![4, 5, 6, 7]]));
        datagram.extend(message(NLMSG_DONE, &[0; 4]));
        datagram.extend(message(36, &[8]));
        assert_eq!(payloads(&datagram).unwrap(), (false, vec![vec![1, 2, 3], vec![4, 5, 6, 7]]));
    }

    #[test]
    fn refusals_and_impossible_lengths_are_errors() {
        let refused = payloads(&message(NLMSG_ERROR, &(-libc::EPERM).to_ne_bytes())).unwrap_err();
        assert!(refused.to_string().contains("not permitted"), "{refused}");
        for length in [200u32, 3] {
            let mut datagram = message(36, &[]);
            datagram[0..4].copy_from_slice(&length.to_ne_bytes());
            assert!(payloads(&datagram).is_err(), "{length}");
        }
    }

    #[test]
    fn an_attribute_that_is_cut_off_ends_the_list() {
        let bytes = [6, 0, 7, 0x80, 1, 2, 0, 0, 4, 0, 9, 0, 200, 0, 1, 0];
        assert_eq!(attributes(&bytes).collect::<Vec<_>>(), [(7, &[1, 2][..]), (9, &[])]);
    }
}
