//! Entity types, their keys, levels and bands, and the ids by which the world knows an entity.
//!
//! An external id is `<machine_id>_<type>_<key>_...`, keys in declaration order without `machine_id`; see [`id`].

pub mod id;

use serde::Serialize;

/// Coarse layer stored on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    Host,
    Process,
    Rpc,
}

/// Row of the vertical view, top to bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    Application,
    Process,
    System,
    Resource,
    Host,
}

/// A class of observed object.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EntityType {
    pub name: &'static str,
    pub level: Level,
    pub band: Band,
    /// Identity besides the machine, in id order.
    pub keys: &'static [&'static str],
    /// One line for people.
    pub help: &'static str,
}

impl EntityType {
    /// A process or something that belongs to one.
    pub fn has_tgid(&self) -> bool {
        self.keys.contains(&"tgid")
    }
}

const fn entity(name: &'static str, level: Level, band: Band, keys: &'static [&'static str], help: &'static str) -> EntityType {
    EntityType { name, level, band, keys, help }
}

const FLOW_KEYS: &[&str] = &["tgid", "client_ip", "server_ip", "server_port", "l4_role", "l7_role", "protocol"];
const API_KEYS: &[&str] = &["tgid", "client_ip", "server_ip", "server_port", "l4_role", "l7_role", "protocol", "api"];

/// Every type known without configuration.
pub const TYPES: &[EntityType] = &[
    entity("host", Level::Host, Band::Host, &[], "A machine, physical or virtual"),
    entity("cpu", Level::Host, Band::Resource, &["cpu"], "One processor, or `cpu` for all of them"),
    entity("mem", Level::Host, Band::Resource, &["infos"], "Memory of a host"),
    entity("disk", Level::Host, Band::Resource, &["disk_name"], "A whole disk"),
    entity("block", Level::Host, Band::Resource, &["major", "first_minor"], "A block device or partition"),
    entity("fs", Level::Host, Band::System, &["MountOn"], "A mounted file system"),
    entity("nic", Level::Host, Band::Resource, &["dev_name"], "A network interface"),
    entity("qdisc", Level::Host, Band::Resource, &["dev_name", "handle", "ifindex"], "A queueing discipline"),
    entity("net", Level::Host, Band::System, &["origin"], "Protocol counters of a host's network stack"),
    entity("sched", Level::Host, Band::System, &[], "The scheduler of a host"),
    entity("hw", Level::Host, Band::Resource, &["name"], "A hardware event source"),
    entity("sli_node", Level::Host, Band::System, &["sli_node_key"], "Contention on a host"),
    entity("appinstance", Level::Process, Band::Application, &["pgid"], "Processes that serve one application together"),
    entity("pod", Level::Process, Band::Process, &["pod_id"], "A Kubernetes pod on its host"),
    entity("container", Level::Process, Band::Process, &["container_id"], "A container"),
    entity("sli_container", Level::Process, Band::Process, &["container_id"], "Contention inside a container"),
    entity("net_ns", Level::Process, Band::Process, &["net_ns_id"], "A network namespace"),
    entity("mnt_ns", Level::Process, Band::Process, &["mnt_ns_id"], "A mount namespace"),
    entity("cpu_cgp", Level::Process, Band::Process, &["cpucg_inode"], "A CPU control group"),
    entity("mem_cgp", Level::Process, Band::Process, &["memcg_inode"], "A memory control group"),
    entity("proc", Level::Process, Band::Process, &["tgid"], "A process"),
    entity("thread", Level::Process, Band::Process, &["pid"], "A thread"),
    entity("runtime", Level::Process, Band::Process, &["tgid", "kind"], "A language runtime inside a process"),
    entity("jvm", Level::Process, Band::Process, &["tgid"], "A Java virtual machine"),
    entity(
        "sli",
        Level::Process,
        Band::Process,
        &["tgid", "ins_id", "app", "method"],
        "Requests of one kind on one connection of a server",
    ),
    entity(
        "tcp_link",
        Level::Rpc,
        Band::Process,
        &["tgid", "comm", "role", "client_ip", "toa_client_ip", "server_ip", "client_port", "server_port", "protocol"],
        "TCP connections of a process with one peer",
    ),
    entity(
        "endpoint_tcp",
        Level::Process,
        Band::Process,
        &["tgid", "comm", "role", "client_ip", "toa_client_ip", "server_ip", "server_port", "protocol"],
        "A listening or connecting TCP endpoint of a process",
    ),
    entity(
        "endpoint_udp",
        Level::Process,
        Band::Process,
        &["tgid", "local_ip", "local_port", "remote_ip", "remote_port", "protocol"],
        "A UDP endpoint of a process",
    ),
    entity("endpoint", Level::Process, Band::Process, &["tgid", "s_addr", "s_port", "ep_type"], "An endpoint, older spelling"),
    entity("l7", Level::Rpc, Band::Process, FLOW_KEYS, "Requests between a process and a peer"),
    entity("l7_api", Level::Rpc, Band::Process, API_KEYS, "Requests of one interface between a process and a peer"),
    entity("sermant_l7", Level::Rpc, Band::Process, FLOW_KEYS, "Requests seen by a Java agent"),
    entity("sermant_l7_api", Level::Rpc, Band::Process, API_KEYS, "Requests of one interface seen by a Java agent"),
    entity(
        "proc_flow_perf",
        Level::Rpc,
        Band::Process,
        &["tgid", "role", "remote_ip", "server_port"],
        "Delays of a process's flows",
    ),
    entity("dns", Level::Process, Band::Process, &["tgid", "domain"], "Name look-ups of a process"),
    entity(
        "kafka",
        Level::Rpc,
        Band::Process,
        &["msg_type", "client_ip", "client_port", "topic", "server_ip", "server_port"],
        "A producer or consumer of a Kafka topic",
    ),
    entity(
        "nginx_link",
        Level::Rpc,
        Band::Process,
        &["client_ip", "virtual_ip", "server_ip", "client_port", "virtual_port", "server_port", "is_l7"],
        "A flow through nginx",
    ),
    entity(
        "haproxy_link",
        Level::Rpc,
        Band::Process,
        &["client_ip", "virtual_ip", "server_ip", "virtual_port", "server_port"],
        "A flow through HAProxy",
    ),
    entity(
        "ipvs_link",
        Level::Rpc,
        Band::System,
        &[
            "process_name",
            "client_ip",
            "virtual_ip",
            "local_ip",
            "server_ip",
            "client_port",
            "server_port",
            "local_port",
            "virtual_port",
            "protocol",
        ],
        "A flow through a kernel load balancer",
    ),
    entity("external", Level::Process, Band::Process, &["ip", "port"], "A peer that no agent observes"),
    entity("other", Level::Process, Band::Process, &["parent", "kind"], "What a cap folded together"),
];

/// The type of that exact name.
pub fn entity_type(name: &str) -> Option<&'static EntityType> {
    TYPES.iter().find(|kind| kind.name == name)
}

/// Splits a metric name into entity type and field by the longest known type, so that `gala_gopher_l7_api_err_ratio`
/// is of `l7_api` and not of `l7`.
pub fn split_metric(metric: &str) -> Option<(&'static EntityType, &str)> {
    let rest = metric.strip_prefix(crate::PREFIX)?;
    TYPES
        .iter()
        .filter_map(|kind| Some((kind, rest.strip_prefix(kind.name)?.strip_prefix('_')?)))
        .filter(|(_, field)| !field.is_empty())
        .max_by_key(|(kind, _)| kind.name.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_type_wins() {
        for (metric, kind, field) in [
            ("gala_gopher_l7_api_err_ratio", "l7_api", "err_ratio"),
            ("gala_gopher_sli_container_cpu_wait", "sli_container", "cpu_wait"),
            ("gala_gopher_proc_flow_perf_sys_delay", "proc_flow_perf", "sys_delay"),
            ("gala_gopher_proc_syscall_failed", "proc", "syscall_failed"),
            ("gala_gopher_tcp_link_srtt_sum", "tcp_link", "srtt_sum"),
        ] {
            let (found, rest) = split_metric(metric).unwrap();
            assert_eq!((found.name, rest), (kind, field), "{metric}");
        }
        assert!(split_metric("gala_gopher_").is_none());
        assert!(split_metric("up").is_none());
        assert!(split_metric("gala_gopher_unheard_of").is_none());
    }

    #[test]
    fn type_names_are_unique() {
        for (index, kind) in TYPES.iter().enumerate() {
            assert!(TYPES[index + 1..].iter().all(|other| other.name != kind.name), "{}", kind.name);
        }
    }
}
