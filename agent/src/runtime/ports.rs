//! The agent's ports: opening them, and who holds one that is taken.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use super::AgentError;
use crate::ledger::Ledger;

/// Where one of the agent's servers is to listen.
pub struct Port {
    /// Its name in the ledger.
    pub place: &'static str,
    pub what: &'static str,
    /// The option that moves it.
    pub option: &'static str,
    pub address: Option<SocketAddr>,
    /// Without it the agent does not start.
    pub required: bool,
}

impl Port {
    /// The open port; `None` where it is off, or taken and not required, which `closed`, the log and the ledger tell.
    pub fn open(self, ledger: &Ledger, closed: &mut Vec<String>) -> Result<Option<TcpListener>, AgentError> {
        let Some(address) = self.address else { return Ok(None) };
        match bind(address) {
            Ok((listener, chosen)) => {
                tracing::info!("{} listens on http://{chosen}", self.what);
                Ok(Some(listener))
            }
            Err(reason) if self.required => Err(AgentError::Listen { what: self.what, address, option: self.option, reason }),
            Err(reason) => {
                let told =
                    format!("cannot listen on {address} ({reason}); choose another address with {}, or `off`", self.option);
                tracing::warn!("{} {told}; going on without", self.what);
                ledger.add(self.place, self.what, &told, 1);
                closed.push(format!("{} {told}", self.what));
                Ok(None)
            }
        }
    }
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), String> {
    let open = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let chosen = listener.local_addr()?;
        Ok((listener, chosen))
    };
    open().map_err(|error: std::io::Error| why_not(address, &error))
}

/// Why an address could not be listened on; names who has it, where that may be known.
pub fn why_not(address: SocketAddr, error: &std::io::Error) -> String {
    match holder(address.port()) {
        Some((pid, name)) if error.kind() == ErrorKind::AddrInUse => format!("{name}, pid {pid}, has it"),
        _ => error.to_string(),
    }
}

/// The process that listens on a TCP port, if its descriptors may be read.
fn holder(port: u16) -> Option<(u32, String)> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let socket = tables.iter().find_map(|table| listening_inode(table, port))?;
    let wanted = format!("socket:[{socket}]");
    let processes = std::fs::read_dir("/proc").ok()?;
    let mut pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(|pid| {
        let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        let mut targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        targets.any(|target| target.as_os_str() == wanted.as_str())
    })?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some((pid, name.trim().to_owned()))
}

/// Of a line `sl local rem st ... inode ...` (Documentation/networking/proc_net_tcp.rst); state 0A listens.
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = words.get(1)?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(local_port, 16) == Ok(port) && *words.get(3)? == "0A";
        is_it.then(|| words.get(9)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_told_with_its_holder_and_fails_only_where_it_must() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let port = |required| Port {
            place: "exporter",
            what: "the metric exporter",
            option: "--metrics-listen",
            address: Some(address),
            required,
        };
        let (ledger, mut closed) = (Ledger::default(), Vec::new());
        assert!(port(false).open(&ledger, &mut closed).unwrap().is_none());
        let holder = format!("pid {}, has it", std::process::id());
        assert!(closed[0].contains(&holder) && closed[0].contains(&address.to_string()), "{closed:?}");
        assert!(ledger.lines()[0].reason.contains("--metrics-listen"), "{:?}", ledger.lines());
        let words = port(true).open(&ledger, &mut closed).unwrap_err().to_string();
        assert!(words.contains(&holder) && words.contains("--metrics-listen"), "{words}");
        drop(taken);
        assert!(port(true).open(&ledger, &mut closed).unwrap().is_some());
    }

    #[test]
    fn the_listening_socket_of_a_port_is_found_in_the_kernels_table() {
        // Linux 6.1.
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:22B8 0100007F:D2A0 01 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0\n   1: 0100007F:22B8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000 100 0 0 10 0\n";
        assert_eq!(listening_inode(table, 8888), Some(12345));
        assert_eq!(listening_inode(table, 9999), None);
    }
}
