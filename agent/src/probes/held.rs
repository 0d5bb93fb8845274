//! Whether all TCP sockets of the agent's network namespace are held by descriptors. Where the kernel forbids walks over the
//! sockets with a record, all that descriptors hold are met by the walk over those; what nobody accepted or somebody closed is
//! met in the kernel's table of connections only, in which each of hundreds of thousands of places is looked at however few are
//! taken. That is spared while the kernel counts no socket that was not met.

use parking_lot::Mutex;

use crate::procfs::net::sockstat;
use crate::procfs::{ProcFile, read_optional};

/// What was found earlier than this before a report is not relied on.
const FRESH_MS: i64 = 10_000;

#[derive(Clone, Copy)]
struct Found {
    at_ms: i64,
    met: u64,
}

/// By the probe that reports connections; others ask.
static FOUND: Mutex<Option<Found>> = Mutex::new(None);

/// The kernel's own count of the TCP sockets of this network namespace.
pub struct InUse(Vec<(Option<ProcFile>, &'static str)>);

impl Default for InUse {
    fn default() -> Self {
        let files = [("/proc/net/sockstat", "TCP:"), ("/proc/net/sockstat6", "TCP6:")];
        Self(files.map(|(path, line)| (ProcFile::optional(path), line)).into())
    }
}

impl InUse {
    /// `None` where the kernel does not tell.
    pub fn count(&mut self) -> Option<u64> {
        let [(v4, v4_line), (v6, v6_line)] = self.0.as_mut_slice() else { return None };
        let of_v4 = sockstat(read_optional(v4)?, v4_line, "inuse")?;
        // Without IPv6 there is no such file.
        let of_v6 = read_optional(v6).and_then(|text| sockstat(text, v6_line, "inuse")).unwrap_or(0);
        Some(of_v4 + of_v6)
    }
}

/// Tells how many were met at descriptors for the report of a time.
pub fn tell(at_ms: i64, met: u64) {
    *FOUND.lock() = Some(Found { at_ms, met });
}

/// Whether the probe that told last had met all of those that are in use now.
pub fn are_all(at_ms: i64, in_use: Option<u64>) -> bool {
    is_all(*FOUND.lock(), at_ms, in_use)
}

fn is_all(found: Option<Found>, at_ms: i64, in_use: Option<u64>) -> bool {
    found.is_some_and(|found| (0..=FRESH_MS).contains(&(at_ms - found.at_ms)) && in_use == Some(found.met))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn only_a_fresh_walk_that_met_as_many_as_there_are_is_relied_on() {
        let found = Some(Found { at_ms: 50_000, met: 7 });
        assert!(is_all(found, 50_000, Some(7)) && is_all(found, 55_000, Some(7)));
        assert!(!is_all(found, 50_000, Some(8)), "one was not met");
        assert!(!is_all(found, 50_000, Some(6)), "some ended: who is among the rest is not known");
        assert!(!is_all(found, 65_000, Some(7)), "long ago");
        assert!(!is_all(found, 45_000, Some(7)), "the clock was set back");
        assert!(!is_all(found, 50_000, None) && !is_all(None, 50_000, Some(0)));
    }

    #[test]
    fn sockets_of_both_families_are_in_use() {
        // Other tests open sockets meanwhile: many of ours outweigh those.
        const MANY: u64 = 300;
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let mut in_use = InUse::default();
            let before = in_use.count().unwrap();
            let pairs: Vec<(TcpStream, TcpStream)> = (0..MANY / 2)
                .map(|_| {
                    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                    (client, listener.accept().unwrap().0)
                })
                .collect();
            let more = in_use.count().unwrap().saturating_sub(before);
            assert!(more > MANY / 2, "{more} more are in use of {} at {address}", 2 * pairs.len());
        }
    }
}
