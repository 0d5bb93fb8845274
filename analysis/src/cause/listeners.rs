//! Who listened where a connection was to go, and whether it ended: what a client is refused by is not there any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use gala_model::PREFIX;
use gala_model::entity::{entity_type, id};

use super::graph::CauseGraph;
use super::series::{Filter, Reader};

/// Numbers that the serving end of a port has.
const OF_SERVERS: [&str; 3] = ["endpoint_tcp_passive_open", "tcp_link_segs_out", "sli_requests_total"];

/// Processes of this machine that served the address and port in `labels`, those that did so lately too; none where the
/// address is not known to be this machine's.
pub(super) fn listeners(reader: &mut Reader<'_>, labels: &BTreeMap<String, String>) -> BTreeSet<String> {
    let (Some(address), Some(port)) = (labels.get("server_ip"), labels.get("server_port")) else { return BTreeSet::new() };
    let (mut served, mut tgids) = (is_own(address, &reader.machine_id), BTreeSet::new());
    for metric in OF_SERVERS {
        let rows = reader.rows(&format!("{PREFIX}{metric}"), &Filter::ServerPort(port.clone()));
        for row in rows.iter().filter(|row| row.labels.get("role").is_none_or(|role| role == "server")) {
            served |= row.labels.get("server_ip") == Some(address);
            tgids.extend(row.labels.get("tgid").map(str::to_owned));
        }
    }
    if served { tgids } else { BTreeSet::new() }
}

fn is_own(address: &str, machine_id: &str) -> bool {
    let parsed: Option<IpAddr> = address.parse().ok();
    parsed.is_some_and(|address| address.is_loopback() || id::split_machine(machine_id).1 == Some(address))
}

/// Where no events come from the machine, the topology tells which of the processes ended.
pub(super) fn learn_ends(reader: &mut Reader<'_>, graph: &dyn CauseGraph, tgids: &BTreeSet<String>) {
    if reader.tells_events {
        return;
    }
    let Some(kind) = entity_type("proc") else { return };
    for tgid in tgids {
        let process = id::external(&reader.machine_id, kind, |key| (key == "tgid").then_some(tgid));
        let Some(process) = process.and_then(|process| graph.entity(&process)) else { continue };
        if let Some(ended_ms) = process.ended_ms {
            let comm = process.labels.get("comm").map_or("", String::as_str);
            reader.happened("exit", tgid, comm, ended_ms);
        }
    }
}
