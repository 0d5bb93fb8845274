//! Display names: how a person recognises an entity.

use super::Entity;

/// Name by type: process "pid, name, host", container "short id, host", connection "pid, five-tuple", parts of a host by
/// what they are, others type and main key.
pub fn display_name(entity: &Entity, host_name: &str) -> String {
    let label = |name: &str| entity.label(name).unwrap_or("");
    let main_key = entity.kind.keys.first().map_or("", |key| label(key));
    let address = |ip: &str, port: &str| format!("{}:{}", label(ip), label(port));
    let by_key = || format!("{} {main_key}", entity.kind.name).trim_end().to_owned();
    let name = match entity.kind.name {
        "host" => host_name.to_owned(),
        "proc" => joined(&[label("tgid"), label("comm"), host_name]),
        "thread" => joined(&[label("pid"), label("comm")]),
        "appinstance" => joined(&[label("app_name"), label("address")]),
        "container" => joined(&[label("container_name").trim_start_matches('/'), short(label("container_id")), host_name]),
        "pod" => joined(&[entity.label("pod").unwrap_or(main_key), host_name]),
        "tcp_link" => {
            let port = if label("client_port") == "0" { String::new() } else { format!(":{}", label("client_port")) };
            format!("{}, {}{port} → {}", label("tgid"), label("client_ip"), address("server_ip", "server_port"))
        }
        "endpoint_tcp" => format!("{}, {} {}", label("tgid"), label("role"), address("server_ip", "server_port")),
        "endpoint_udp" => format!("{}, {}", label("tgid"), address("local_ip", "local_port")),
        "sli" => joined(&[label("app"), label("method"), label("comm"), &connection(label("ins_id"))]),
        "l7" | "l7_api" | "sermant_l7" | "sermant_l7_api" => joined(&[label("protocol"), label("api"), label("comm")]),
        "jvm" | "runtime" | "proc_flow_perf" => joined(&[label("tgid"), label("comm"), label("kind")]),
        "nginx_link" | "haproxy_link" | "ipvs_link" => {
            format!(
                "{} → {} → {}",
                label("client_ip"),
                address("virtual_ip", "virtual_port"),
                address("server_ip", "server_port")
            )
        }
        "cpu" if main_key == "cpu" => "all CPUs".to_owned(),
        "cpu" => format!("CPU {}", main_key.trim_start_matches("cpu")),
        "mem" => part_of_proc(main_key, &[("meminfo", "memory"), ("vmstat", "paging"), ("dentry", "directory cache")]),
        "net" => part_of_proc(main_key, &[("snmp", "IP, TCP and UDP"), ("netstat", "TCP in detail"), ("sockstat", "sockets")]),
        "block" if !label("blk_name").is_empty() => label("blk_name").to_owned(),
        "external" if label("port") == "any" => label("ip").to_owned(),
        "external" => address("ip", "port"),
        "sched" | "sli_node" => "scheduler".to_owned(),
        "sli_container" => joined(&["scheduler", short(main_key)]),
        "other" => format!("more of {}", label("kind")),
        "disk" | "fs" | "nic" | "dns" => main_key.to_owned(),
        "qdisc" => joined(&[label("dev_name"), label("kind"), label("handle")]),
        _ => by_key(),
    };
    if name.is_empty() { by_key() } else { name }
}

/// A connection by its descriptor; 0 stands for all of them.
fn connection(descriptor: &str) -> String {
    if matches!(descriptor, "" | "0") { String::new() } else { format!("connection {descriptor}") }
}

/// What a file of `/proc` tells of; its name where nothing better is known.
fn part_of_proc(path: &str, known: &[(&str, &str)]) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    known.iter().find(|(part, _)| file.contains(part)).map_or(file, |(_, name)| name).to_owned()
}

fn joined(parts: &[&str]) -> String {
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(", ")
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use gala_model::entity::entity_type;

    fn name(kind: &str, labels: &[(&str, &str)]) -> String {
        let entity = Entity {
            id: "id".into(),
            kind: entity_type(kind).unwrap(),
            machine_id: "m".into(),
            labels: labels.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect(),
            metrics: BTreeMap::new(),
            last_sample_ms: 0,
        };
        display_name(&entity, "alpha")
    }

    #[test]
    fn parts_of_a_host_are_called_what_they_are() {
        for (kind, labels, expected) in [
            ("sli_node", &[("sli_node_key", "-1")][..], "scheduler"),
            ("mem", &[("infos", "/proc/vmstat")], "paging"),
            ("net", &[("origin", "/proc/net/snmp")], "IP, TCP and UDP"),
            ("net", &[("origin", "/proc/net/dccp")], "dccp"),
            ("thread", &[("pid", "7"), ("comm", "worker")], "7, worker"),
            ("sli", &[("app", "REDIS"), ("method", "GET"), ("comm", "redis"), ("ins_id", "0")], "REDIS, GET, redis"),
            (
                "sli",
                &[("app", "REDIS"), ("method", "GET"), ("comm", "redis"), ("ins_id", "9")],
                "REDIS, GET, redis, connection 9",
            ),
            ("external", &[("ip", "192.0.2.9"), ("port", "any")], "192.0.2.9"),
            ("hw", &[("name", "EDAC")], "hw EDAC"),
            ("other", &[("parent", "7"), ("kind", "tcp_link")], "more of tcp_link"),
        ] {
            assert_eq!(name(kind, labels), expected);
        }
    }

    #[test]
    fn every_type_has_a_name() {
        for kind in gala_model::entity::TYPES {
            let labels: Vec<(&str, &str)> = kind.keys.iter().map(|key| (*key, "x")).collect();
            assert!(!name(kind.name, &labels).is_empty(), "{}", kind.name);
        }
    }
}
