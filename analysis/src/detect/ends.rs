//! Two ends of the same connections on one host. The end that asks sees the server's time to answer in the round trip, the
//! end that accepts the client's time to ask again; what both see at once is the way between them.

use std::collections::HashSet;

use super::live::Detector;
use super::policy::{ACCEPTED_ROUND_TRIP, Policy, ROUND_TRIP};
use super::route::KpiEntry;

/// A reading older than so many intervals says nothing of now.
const FRESH_INTERVALS: f64 = 3.0;
/// What names connections of one client with one server.
const ADDRESSES: [&str; 4] = ["machine_id", "client_ip", "server_ip", "server_port"];

impl Detector {
    /// Tells each end whether the other one saw a longer way when it last looked.
    pub(super) fn second_ends(&mut self, now_ms: i64) {
        let seen_by = |policy: &'static Policy| -> HashSet<[String; 4]> {
            let ends = self.kpis.values().filter(|entry| is_of(entry, policy) && is_longer(entry, now_ms));
            ends.filter_map(addresses).collect()
        };
        let (by_client, by_server) = (seen_by(&ROUND_TRIP), seen_by(&ACCEPTED_ROUND_TRIP));
        for entry in self.kpis.values_mut() {
            let other_end = match (is_of(entry, &ROUND_TRIP), is_of(entry, &ACCEPTED_ROUND_TRIP)) {
                (true, _) => &by_server,
                (_, true) => &by_client,
                _ => continue,
            };
            entry.kpi.is_seconded = !other_end.is_empty() && addresses(entry).is_some_and(|these| other_end.contains(&these));
        }
    }
}

fn is_of(entry: &KpiEntry, policy: &'static Policy) -> bool {
    std::ptr::eq(entry.role.policy, policy)
}

fn is_longer(entry: &KpiEntry, now_ms: i64) -> bool {
    let state = &entry.kpi.state;
    let is_fresh = ((now_ms - state.last_ms) as f64) < FRESH_INTERVALS * state.interval_ms;
    is_fresh && entry.kpi.band().is_some_and(|band| state.value - band.middle >= entry.role.policy.floor)
}

fn addresses(entry: &KpiEntry) -> Option<[String; 4]> {
    let values: Option<Vec<String>> = ADDRESSES.iter().map(|name| entry.labels.get(*name).cloned()).collect();
    values?.try_into().ok()
}
