//! Why listeners dropped: the kernel counts drops per listener, but full queues per network namespace only (`TcpExt` of
//! `/proc/net/netstat`), so a listener's part of full accept queues follows its part of the drops. Full queues of requests
//! are those of the listeners whose queue is full when we look, else of those where requests wait.

use std::fs;

use ahash::HashMap;

use super::layout::Endpoint;

/// Drops and overflows of a namespace since its boot. A full queue of requests drops a request or answers it by a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub drops: u64,
    pub overflows: u64,
    pub syn_overflows: u64,
}

impl Totals {
    fn since(self, before: Self) -> Self {
        Self {
            drops: self.drops.saturating_sub(before.drops),
            overflows: self.overflows.saturating_sub(before.overflows),
            syn_overflows: self.syn_overflows.saturating_sub(before.syn_overflows),
        }
    }
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
        let news = now.iter().filter_map(|(namespace, totals)| Some((*namespace, totals.since(*self.last.get(namespace)?))));
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

/// Requests that wait with the listeners of a namespace: with all, and with those that have no room for more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waiting {
    all: u64,
    full: u64,
}

impl Waiting {
    pub fn add(&mut self, listener: &Endpoint) {
        self.all += u64::from(listener.requests);
        if is_full(listener) {
            self.full += u64::from(listener.requests);
        }
    }

    /// A listener's part of the namespace's full queues of requests.
    pub fn share(&self, overflows: u64, listener: &Endpoint) -> u32 {
        let among = if self.full > 0 { self.full } else { self.all };
        if among == 0 || (self.full > 0 && !is_full(listener)) {
            return 0;
        }
        (overflows as f64 * f64::from(listener.requests) / among as f64).round() as u32
    }
}

/// As the kernel tells it: the limit of the accept queue is that of requests too.
fn is_full(listener: &Endpoint) -> bool {
    listener.requests > 0 && listener.requests >= listener.queue_limit
}

/// `ListenDrops`, `ListenOverflows` and `TCPReqQFull...` of `/proc/net/netstat`: a line of names and a line of numbers per group.
fn parse(netstat: &str) -> Option<Totals> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let pairs = lines.next()?.split_ascii_whitespace().zip(lines.next()?.split_ascii_whitespace());
    let mut totals = Totals::default();
    for (name, value) in pairs {
        match name {
            "ListenDrops" => totals.drops = value.parse().ok()?,
            "ListenOverflows" => totals.overflows = value.parse().ok()?,
            "TCPReqQFullDrop" | "TCPReqQFullDoCookies" => totals.syn_overflows += value.parse::<u64>().ok()?,
            _ => {}
        }
    }
    Some(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURED: &str = "TcpExt: SyncookiesSent SyncookiesRecv EmbryonicRsts ListenOverflows ListenDrops TCPHPHits TCPReqQFullDoCookies TCPReqQFullDrop\n\
                            TcpExt: 0 0 3 8 11 4096 5 2\nIpExt: InNoRoutes InTruncatedPkts\nIpExt: 0 0\n";

    #[test]
    fn columns_are_found_by_name() {
        assert_eq!(parse(CAPTURED), Some(Totals { drops: 11, overflows: 8, syn_overflows: 7 }));
        assert_eq!(parse("IpExt: InNoRoutes\nIpExt: 0\n"), None);
    }

    #[test]
    fn overflows_follow_the_drops() {
        let namespace = Totals { drops: 10, overflows: 5, syn_overflows: 0 };
        assert_eq!(part(4, namespace), 2);
        assert_eq!(part(0, namespace), 0);
        assert_eq!(part(7, Totals::default()), 0);
        assert_eq!(part(10, Totals { drops: 10, overflows: 10, syn_overflows: 0 }), 10);
    }

    #[test]
    fn full_queues_of_requests_are_those_of_full_listeners() {
        let listener = |requests, queue_limit| {
            let mut endpoint = Endpoint::default();
            (endpoint.requests, endpoint.queue_limit) = (requests, queue_limit);
            endpoint
        };
        let shares = |listeners: &[Endpoint]| {
            let mut waiting = Waiting::default();
            listeners.iter().for_each(|listener| waiting.add(listener));
            listeners.iter().map(|listener| waiting.share(9, listener)).collect::<Vec<_>>()
        };
        assert_eq!(shares(&[listener(4, 128), listener(2, 1), listener(0, 0)]), [0, 9, 0]);
        assert_eq!(shares(&[listener(2, 128), listener(1, 128)]), [6, 3], "drained since: where some wait still");
        assert_eq!(shares(&[listener(0, 128)]), [0]);
    }
}
