//! Display names: how a person recognises an entity.

use super::Entity;

/// Name by type: process "pid, name, host", container "short id, host", connection "pid, five-tuple", others type and
/// main key.
pub fn display_name(entity: &Entity, host_name: &str) -> String {
    let label = |name: &str| entity.label(name).unwrap_or("");
    match entity.kind.name {
        "host" => host_name.to_owned(),
        "proc" => joined(&[label("tgid"), label("comm"), host_name]),
        "appinstance" => joined(&[label("app_name"), label("address")]),
        "container" => joined(&[label("container_name").trim_start_matches('/'), short(label("container_id")), host_name]),
        "pod" => joined(&[label("pod"), host_name]),
        "tcp_link" => {
            let port = if label("client_port") == "0" { String::new() } else { format!(":{}", label("client_port")) };
            format!("{}, {}{port} → {}:{}", label("tgid"), label("client_ip"), label("server_ip"), label("server_port"))
        }
        "endpoint_tcp" => format!("{}, {} {}:{}", label("tgid"), label("role"), label("server_ip"), label("server_port")),
        "sli" => joined(&[label("app"), label("method"), label("comm")]),
        "cpu" if label("cpu") == "cpu" => "all CPUs".to_owned(),
        "cpu" => format!("CPU {}", label("cpu").trim_start_matches("cpu")),
        "mem" => "memory".to_owned(),
        "block" if !label("blk_name").is_empty() => label("blk_name").to_owned(),
        "external" => format!("{}:{}", label("ip"), label("port")),
        "sched" => "scheduler".to_owned(),
        other => match entity.kind.keys.first().map(|key| label(key)) {
            Some(key) if !key.is_empty() => key.to_owned(),
            _ => other.to_owned(),
        },
    }
}

fn joined(parts: &[&str]) -> String {
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(", ")
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
