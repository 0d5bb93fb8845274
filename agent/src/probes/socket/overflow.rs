//! Why listeners dropped: the kernel counts drops per listener, but full accept queues per network namespace only
//! (`TcpExt` of `/proc/net/netstat`), so a listener's part of the overflows follows its part of the drops.

use std::fs;

use ahash::HashMap;

/// Drops and overflows of a namespace since its boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub drops: u64,
    pub overflows: u64,
}

/// Last totals by namespace.
#[derive(Default)]
pub struct Overflows {
    last: HashMap<u32, Totals>,
}

impl Overflows {
    /// Reads the totals of each namespace through one of its processes; answers by namespace what came since the last
    /// time, nothing for a namespace seen first. Namespaces not asked for any more are forgotten.
    pub fn since_last(&mut self, namespaces: &HashMap<u32, u32>) -> HashMap<u32, Totals> {
        let mut now = HashMap::default();
        for (namespace, tgid) in namespaces {
            if let Some(totals) = fs::read_to_string(format!("/proc/{tgid}/net/netstat")).ok().and_then(|text| parse(&text)) {
                now.insert(*namespace, totals);
            }
        }
        let news = now.iter().filter_map(|(namespace, totals)| {
            let before = self.last.get(namespace)?;
            let drops = totals.drops.saturating_sub(before.drops);
            Some((*namespace, Totals { drops, overflows: totals.overflows.saturating_sub(before.overflows) }))
        });
        let news = news.collect();
        self.last = now;
        news
    }
}

/// A listener's part of the overflows.
pub fn part(listener_drops: u32, namespace: Totals) -> u32 {
    if namespace.drops == 0 {
        return 0;
    }
    let share = namespace.overflows.min(namespace.drops) as f64 / namespace.drops as f64;
    (f64::from(listener_drops) * share).round() as u32
}

/// `ListenDrops` and `ListenOverflows` of `/proc/net/netstat`: a line of names and a line of numbers per group.
fn parse(netstat: &str) -> Option<Totals> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let pairs = lines.next()?.split_ascii_whitespace().zip(lines.next()?.split_ascii_whitespace());
    let mut totals = Totals::default();
    for (name, value) in pairs {
        match name {
            "ListenDrops" => totals.drops = value.parse().ok()?,
            "ListenOverflows" => totals.overflows = value.parse().ok()?,
            _ => {}
        }
    }
    Some(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURED: &str = "TcpExt: SyncookiesSent SyncookiesRecv EmbryonicRsts ListenOverflows ListenDrops TCPHPHits\n\
                            TcpExt: 0 0 3 8 11 4096\nIpExt: InNoRoutes InTruncatedPkts\nIpExt: 0 0\n";

    #[test]
    fn columns_are_found_by_name() {
        assert_eq!(parse(CAPTURED), Some(Totals { drops: 11, overflows: 8 }));
        assert_eq!(parse("IpExt: InNoRoutes\nIpExt: 0\n"), None);
    }

    #[test]
    fn overflows_follow_the_drops() {
        let namespace = Totals { drops: 10, overflows: 5 };
        assert_eq!(part(4, namespace), 2);
        assert_eq!(part(0, namespace), 0);
        assert_eq!(part(7, Totals::default()), 0);
        assert_eq!(part(10, Totals { drops: 10, overflows: 10 }), 10);
    }
}
