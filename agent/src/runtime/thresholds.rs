//! Events of numbers past what was configured (`report_event`, `latency_thr`, `drops_thr`, `res_upper_thr`): which metrics are
//! judged, by which threshold, in which words. A threshold of 0 is off; what is never normal needs none.

use gala_model::entity::{entity_type, id};
use gala_model::event::Severity;
use gala_model::{Event, LabelSet, TableDef, Value};

/// What a probe is told to report of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thresholds {
    pub latency_ms: u32,
    pub drops: u32,
    pub upper_percent: u32,
}

/// Which threshold a value must pass, and in what the value is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Passes {
    Zero,
    /// Units of the value in a millisecond.
    Latency(f64),
    Drops,
    /// Units of the value in a percent.
    Upper(f64),
}

struct Rule {
    table: &'static str,
    field: &'static str,
    passes: Passes,
    /// `{}` is the value.
    words: &'static str,
    decimals: usize,
}

const fn rule(table: &'static str, field: &'static str, passes: Passes, words: &'static str) -> Rule {
    Rule { table, field, passes, words, decimals: 0 }
}

const fn share(table: &'static str, field: &'static str, unit: f64, words: &'static str) -> Rule {
    Rule { table, field, passes: Passes::Upper(unit), words, decimals: 2 }
}

const US: Passes = Passes::Latency(1e3);
const NS: Passes = Passes::Latency(1e6);

static RULES: [Rule; 30] = [
    share("system_cpu_util", "total_used_per", 1.0, "CPU utilization too high ({}%)."),
    share("system_meminfo", "util", 1.0, "Memory utilization too high ({}%)."),
    share("system_meminfo", "swap_util", 1.0, "Swap utilization too high ({}%)."),
    share("system_iostat", "util", 1.0, "Disk device is saturated ({}%)."),
    rule("system_df", "IUsePer", Passes::Upper(1.0), "Too large a share of inodes is in use ({}%)."),
    rule("system_df", "UsePer", Passes::Upper(1.0), "Too large a share of blocks is in use ({}%)."),
    rule("nic", "tx_dropped", Passes::Drops, "Packets dropped on transmit by the network device ({})."),
    rule("nic", "rx_dropped", Passes::Drops, "Packets dropped on receive by the network device ({})."),
    rule("nic", "tx_errs", Passes::Drops, "Transmit errors of the network device ({})."),
    rule("nic", "rx_errs", Passes::Drops, "Receive errors of the network device ({})."),
    rule("tcp_metric", "tcp_oom", Passes::Zero, "TCP ran out of memory ({})."),
    rule("tcp_metric", "backlog_drops", Passes::Drops, "Drops at the TCP backlog queue ({})."),
    rule("tcp_metric", "filter_drops", Passes::Drops, "Drops by a TCP socket filter ({})."),
    rule("tcp_metric", "sk_drops", Passes::Drops, "Packets lost inside the TCP stack ({})."),
    rule("tcp_metric", "lost_out", Passes::Drops, "Segments that congestion control counts as lost ({})."),
    rule(
        "tcp_metric",
        "sacked_out",
        Passes::Drops,
        "TCP segments received out of order (SACK), or duplicate ACKs (no SACK) ({}).",
    ),
    rule("tcp_metric", "syn_srtt_max", US, "TCP connection establishment took too long ({} us)."),
    share("tcp_metric", "zero_win_rx_ratio", 0.01, "Share of zero TCP receive windows {}."),
    share("tcp_metric", "zero_win_tx_ratio", 0.01, "Share of zero TCP send windows {}."),
    rule("endpoint_tcp", "listendrop", Passes::Zero, "TCP listen queue drops ({})."),
    rule("endpoint_tcp", "accept_overflow", Passes::Zero, "TCP accept queue overflowed ({})."),
    rule("endpoint_tcp", "syn_overflow", Passes::Zero, "TCP SYN queue overflowed ({})."),
    rule("endpoint_tcp", "retran_synacks", Passes::Zero, "TCP SYN/ACK was retransmitted ({})."),
    rule("endpoint_tcp", "req_drops", Passes::Zero, "TCP requests given up, their SYN/ACK was not answered ({})."),
    rule("endpoint_tcp", "passive_open_failed", Passes::Zero, "TCP passive open failed ({})."),
    rule("endpoint_tcp", "active_open_failed", Passes::Zero, "TCP active open failed ({})."),
    rule("io_latency", "latency_req_max", NS, "IO latency is high ({} ns)."),
    rule("proc_cpu", "iowait_ns", NS, "Process waited for I/O {} ns."),
    rule("redis_sli", "rtt_nsec", NS, "SLI is above the threshold ({} ns)."),
    rule("redis_max_sli", "max_rtt_nsec", NS, "SLI is above the threshold ({} ns)."),
];

/// Events of one row.
pub fn judge(thresholds: &Thresholds, def: &TableDef, labels: &LabelSet, values: &[Value], at_ms: i64) -> Vec<Event> {
    let mut events = Vec::new();
    for rule in RULES.iter().filter(|rule| rule.table == def.name) {
        let found = def.metrics().zip(values).find(|(field, _)| field.name == rule.field);
        let Some((field, Value::Number(value))) = found else { continue };
        if rule.passes.by(*value, thresholds) {
            let body = rule.words.replace("{}", &format!("{value:.*}", rule.decimals));
            events.push(event(def, def.metric_name(field), labels, body, at_ms));
        }
    }
    events
}

impl Passes {
    fn by(self, value: f64, thresholds: &Thresholds) -> bool {
        let over = |threshold: u32, unit: f64| threshold > 0 && value > f64::from(threshold) * unit;
        match self {
            Self::Zero => value > 0.0,
            Self::Latency(unit) => over(thresholds.latency_ms, unit),
            Self::Drops => over(thresholds.drops, 1.0),
            Self::Upper(unit) => over(thresholds.upper_percent, unit),
        }
    }
}

fn event(def: &TableDef, metric: String, labels: &LabelSet, body: String, at_ms: i64) -> Event {
    let value_of = |key: &str| labels.0.iter().find(|(name, _)| *name == key).map(|(_, value)| &**value);
    let machine = value_of("machine_id").unwrap_or_default();
    let known = entity_type(def.entity);
    let named = known.and_then(|kind| id::external(machine, kind, value_of));
    let labels = labels.0.iter().filter(|(name, _)| *name != "machine_id");
    Event {
        at_ms,
        entity_id: named.unwrap_or_else(|| id::escape(&format!("{machine}_{}", def.entity))),
        entity_type: def.entity.to_owned(),
        metric,
        kind: "threshold".to_owned(),
        severity: Severity::Warn,
        body,
        labels: labels.map(|(name, value)| ((*name).to_owned(), value.to_string())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use gala_model::tables;

    use super::*;

    #[test]
    fn every_rule_names_a_metric_that_exists() {
        let tables = tables::all();
        for rule in &RULES {
            let table = tables.iter().find(|table| table.name == rule.table).unwrap_or_else(|| panic!("{}", rule.table));
            assert!(table.metrics().any(|field| field.name == rule.field), "{} {}", rule.table, rule.field);
            assert!(entity_type(table.entity).is_some(), "{}", table.entity);
        }
    }

    #[test]
    fn thresholds_are_in_their_units_and_zero_is_off() {
        let off = Thresholds::default();
        let on = Thresholds { latency_ms: 20, drops: 10, upper_percent: 80 };
        assert!(!NS.by(19_999_999.0, &on) && NS.by(20_000_001.0, &on) && !NS.by(1e18, &off));
        assert!(!US.by(20_000.0, &on) && US.by(20_001.0, &on));
        assert!(!Passes::Drops.by(10.0, &on) && Passes::Drops.by(11.0, &on) && !Passes::Drops.by(1e9, &off));
        assert!(Passes::Upper(1.0).by(80.5, &on) && Passes::Upper(0.01).by(0.81, &on) && !Passes::Upper(0.01).by(1.0, &off));
        assert!(Passes::Zero.by(1.0, &off) && !Passes::Zero.by(0.0, &on));
    }
}
