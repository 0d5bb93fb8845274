//! Metadata messages: one per table, in upstream's member order and spacing, for Kafka consumers and the hub's `/meta`.

use crate::table::{FieldDef, Kind, Role, TableDef};

/// Upstream's version of the definition files.
const VERSION: &str = "1.0.0";

const CONTAINER_LABELS: [&str; 6] = ["container_id", "container_name", "container_image", "pod_id", "pod", "pod_namespace"];

/// What a metadata message says of a table, before it is text.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Meta {
    pub meta_name: &'static str,
    pub entity_name: &'static str,
    pub version: &'static str,
    pub keys: Vec<&'static str>,
    pub labels: Vec<&'static str>,
    /// Gauges and counters, as upstream lists them.
    pub metrics: Vec<&'static str>,
    /// What upstream leaves out: an additional member.
    pub histograms: Vec<&'static str>,
}

impl Meta {
    pub fn of(table: &'static TableDef) -> Self {
        let names =
            |wanted: fn(&FieldDef) -> bool| table.fields.iter().filter(move |field| wanted(field)).map(|field| field.name);
        let mut keys = vec!["machine_id"];
        keys.extend(names(|field| field.role == Role::Key));
        let mut labels = vec!["hostname"];
        labels.extend(names(|field| field.role == Role::Label));
        if table.has_label("tgid") {
            labels.push("comm");
            labels.extend(CONTAINER_LABELS);
        }
        match table.entity {
            "proc" => labels.extend(["cmdline", "start_time"]),
            "container" => labels.extend(&CONTAINER_LABELS[1..]),
            _ => {}
        }
        Self {
            meta_name: table.name,
            entity_name: table.entity,
            version: VERSION,
            keys,
            labels,
            metrics: names(|field| matches!(field.role, Role::Metric(Kind::Gauge | Kind::Counter))).collect(),
            histograms: names(|field| field.role == Role::Metric(Kind::Histogram)).collect(),
        }
    }

    /// The message; `histograms` only where there are any, so that the others are upstream's byte for byte.
    pub fn message(&self, at_ms: i64) -> String {
        let list =
            |names: &[&str]| format!("[{}]", names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", "));
        let mut text = format!(
            "{{\"timestamp\": {}, \"meta_name\": \"{}\", \"entity_name\": \"{}\", \"version\": \"{}\", \"keys\": {}, \"labels\": {}, \"metrics\": {}",
            at_ms - at_ms.rem_euclid(1000),
            self.meta_name,
            self.entity_name,
            self.version,
            list(&self.keys),
            list(&self.labels),
            list(&self.metrics),
        );
        if !self.histograms.is_empty() {
            text.push_str(&format!(", \"histograms\": {}", list(&self.histograms)));
        }
        text.push('}');
        text
    }
}

/// Of every table built in.
pub fn all() -> Vec<Meta> {
    crate::tables::all().into_iter().map(Meta::of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Histogram, Table};

    /// Processor use
    #[derive(Table)]
    #[table(name = "system_cpu_util", entity = "cpu", probe = "baseinfo")]
    struct Cpu {
        /// Processor
        #[key]
        cpu: String,
        /// Used
        #[gauge(unit = "percent")]
        total_used_per: f64,
    }

    /// System calls of a process
    #[derive(Table)]
    #[table(name = "proc_syscall", entity = "proc", probe = "proc")]
    struct Syscall {
        /// Process
        #[key]
        tgid: u32,
        /// Failed ones
        #[gauge(unit = "count", per_period)]
        syscall_failed: u64,
        /// Time of each
        #[histogram(unit = "ns", per_period)]
        latency: Histogram,
    }

    #[test]
    fn messages_are_upstreams() {
        let cpu = r#"{"timestamp": 1795206206000, "meta_name": "system_cpu_util", "entity_name": "cpu", "version": "1.0.0", "keys": ["machine_id", "cpu"], "labels": ["hostname"], "metrics": ["total_used_per"]}"#;
        assert_eq!(Meta::of(Cpu::def()).message(1_795_206_206_123), cpu);
        let syscall = r#"{"timestamp": 1795206206000, "meta_name": "proc_syscall", "entity_name": "proc", "version": "1.0.0", "keys": ["machine_id", "tgid"], "labels": ["hostname", "comm", "container_id", "container_name", "container_image", "pod_id", "pod", "pod_namespace", "cmdline", "start_time"], "metrics": ["syscall_failed"], "histograms": ["latency"]}"#;
        assert_eq!(Meta::of(Syscall::def()).message(1_795_206_206_000), syscall);
    }

    #[test]
    fn every_message_is_json() {
        for meta in all() {
            let value: serde_json::Value = serde_json::from_str(&meta.message(0)).unwrap();
            assert_eq!(value["keys"][0], "machine_id", "{}", meta.meta_name);
        }
    }
}
