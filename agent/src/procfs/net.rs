//! Network: `/proc/net/dev`, `/proc/net/snmp`, `/proc/net/netstat` and `/proc/net/sockstat` of the agent's network namespace.

use super::text::{fields, lines, lossy, number};

/// Counters of one interface since it came up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub rx_fifo: u64,
    pub multicast: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
    pub tx_fifo: u64,
    pub collisions: u64,
}

/// `/proc/net/dev`: two head lines, then one interface a line. A large counter may touch the colon.
pub fn parse_interfaces(text: &[u8]) -> Vec<Interface> {
    lines(text).filter_map(parse_interface).collect()
}

fn parse_interface(line: &[u8]) -> Option<Interface> {
    // Aliases hold a colon of their own (`eth0:1`), so the last one separates.
    let colon = line.iter().rposition(|byte| *byte == b':')?;
    let counters: Vec<u64> = fields(&line[colon + 1..]).map_while(number).collect();
    let at = |index: usize| counters.get(index).copied();
    Some(Interface {
        name: lossy(line[..colon].trim_ascii()),
        rx_bytes: at(0)?,
        rx_packets: at(1)?,
        rx_errors: at(2)?,
        rx_dropped: at(3)?,
        rx_fifo: at(4)?,
        multicast: at(7)?,
        tx_bytes: at(8)?,
        tx_packets: at(9)?,
        tx_errors: at(10)?,
        tx_dropped: at(11)?,
        tx_fifo: at(12)?,
        collisions: at(13)?,
    })
}

/// Protocol counters of `/proc/net/snmp` or `/proc/net/netstat`: pairs of lines, names and values under one prefix.
#[derive(Debug)]
pub struct Protocols<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> Protocols<'a> {
    pub fn parse(text: &'a [u8]) -> Self {
        let mut pairs = Vec::new();
        let mut rows = lines(text);
        while let (Some(names), Some(values)) = (rows.next(), rows.next()) {
            pairs.push((names, values));
        }
        Self(pairs)
    }

    /// One counter, e.g. `("Tcp:", "InSegs")`; `None` where this kernel does not have it.
    pub fn get(&self, prefix: &str, name: &str) -> Option<u64> {
        let starts = |line: &[u8]| fields(line).next() == Some(prefix.as_bytes());
        let (names, values) = self.0.iter().find(|(names, values)| starts(names) && starts(values))?;
        let column = fields(names).position(|field| field == name.as_bytes())?;
        fields(values).nth(column).and_then(number)
    }
}

/// One figure of `/proc/net/sockstat`, e.g. `("TCP:", "tw")`.
pub fn sockstat(text: &[u8], prefix: &str, name: &str) -> Option<u64> {
    let line = lines(text).find(|line| line.starts_with(prefix.as_bytes()))?;
    let mut columns = fields(line).skip_while(|field| *field != name.as_bytes());
    columns.nth(1).and_then(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read_past_the_head_lines() {
        let text = b"Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    3193      29    0    0    0     0          0         0     3193      29    0    0    0     0       0          0
  eth0:569257832 12562   1    2    3     0          0         4   551659    6272    5    6    7     8       0          0
";
        let interfaces = parse_interfaces(text);
        assert_eq!(interfaces.len(), 2);
        let eth0 = &interfaces[1];
        assert_eq!((eth0.name.as_str(), eth0.rx_bytes, eth0.rx_dropped, eth0.multicast), ("eth0", 569_257_832, 2, 4));
        assert_eq!((eth0.tx_bytes, eth0.tx_errors, eth0.tx_fifo, eth0.collisions), (551_659, 5, 7, 8));
    }

    #[test]
    fn protocol_counters_are_found_by_name_whatever_their_order() {
        let text = b"Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: RtoAlgorithm MaxConn CurrEstab InSegs\nTcp: 1 -1 7 99\nUdp: InDatagrams RcvbufErrors\nUdp: 5 6\n";
        let snmp = Protocols::parse(text);
        assert_eq!(snmp.get("Tcp:", "CurrEstab"), Some(7));
        assert_eq!(snmp.get("Tcp:", "MaxConn"), None, "negative means unknown");
        assert_eq!(snmp.get("Udp:", "RcvbufErrors"), Some(6));
        assert_eq!(snmp.get("Udp:", "MemErrors"), None);
        assert_eq!(snmp.get("UdpLite:", "InDatagrams"), None);
    }

    #[test]
    fn sockstat_is_read_by_protocol_and_name() {
        let text = b"sockets: used 39\nTCP: inuse 4 orphan 1 tw 2 alloc 9 mem 3\nUDP: inuse 5 mem 0\nTCP6: inuse 8\n";
        assert_eq!(sockstat(text, "TCP:", "tw"), Some(2));
        assert_eq!(sockstat(text, "TCP:", "mem"), Some(3));
        assert_eq!(sockstat(text, "UDP:", "inuse"), Some(5));
        assert_eq!(sockstat(text, "UDP:", "tw"), None);
    }
}
