//! Sentences in English and Chinese: what changed, from what to what, when.

use std::collections::BTreeMap;

use gala_model::incident::{IncidentInput, Text};
use gala_store::promql::show_utc;

use super::evidence::{Judged, Observation};
use super::rules::RuleSet;

/// A number with its unit, three digits that matter.
pub fn quantity(value: f64, unit: &str) -> String {
    let steps: &[(&str, f64)] = match unit {
        "ns" => &[("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)],
        "us" => &[("µs", 1.0), ("ms", 1e3), ("s", 1e6)],
        "ms" => &[("ms", 1.0), ("s", 1e3)],
        "bytes" => &[("B", 1.0), ("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0)],
        "kB" => &[("KiB", 1.0), ("MiB", 1024.0), ("GiB", 1_048_576.0)],
        "kB/s" => &[("KiB/s", 1.0), ("MiB/s", 1024.0), ("GiB/s", 1_048_576.0)],
        "ratio" => return format!("{} %", digits(100.0 * value)),
        "%" => return format!("{} %", digits(value)),
        "" | "count" | "segments" | "packets" | "requests" | "bool" => return digits(value),
        other => return format!("{} {other}", digits(value)),
    };
    let (name, factor) = steps.iter().rev().find(|(_, factor)| value.abs() >= *factor).unwrap_or(&steps[0]);
    format!("{} {name}", digits(value / factor))
}

fn digits(value: f64) -> String {
    let magnitude = value.abs();
    let text = if magnitude >= 100.0 || magnitude == 0.0 {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// How people call an entity, from the labels of its series.
pub fn entity_name(kind: &str, labels: &BTreeMap<String, String>, entity_id: &str) -> String {
    let label = |name: &str| labels.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let process = || match (label("comm"), label("tgid")) {
        (Some(comm), Some(tgid)) => Some(format!("{comm} ({tgid})")),
        (None, Some(tgid)) => Some(format!("process {tgid}")),
        _ => None,
    };
    let name = match kind {
        "cpu" => label("cpu").map(|cpu| if cpu == "cpu" { "all CPUs".to_owned() } else { format!("CPU {cpu}") }),
        "disk" => label("disk_name").map(str::to_owned),
        "block" => label("blk_name").or(label("disk_name")).map(str::to_owned),
        "nic" | "qdisc" => label("dev_name").map(str::to_owned),
        "fs" => label("MountOn").map(str::to_owned),
        "mem" => Some("memory".to_owned()),
        "net" => Some("network stack".to_owned()),
        // Where its processes ended before anything else was known of them, the host stands for a program.
        "host" if labels.contains_key("by_tgid") => {
            Some(label("by_comm").map_or_else(|| "short-lived processes".to_owned(), |comm| format!("{comm} (short-lived)")))
        }
        "host" => Some(label("hostname").unwrap_or("host").to_owned()),
        "tcp_link" => match (label("client_ip"), label("server_ip"), label("server_port")) {
            (Some(client), Some(server), Some(port)) => Some(format!("{client} → {server}:{port}")),
            _ => process(),
        },
        "endpoint_tcp" | "endpoint" => match (label("server_ip"), label("server_port")) {
            (Some(server), Some(port)) => Some(format!("{} {server}:{port}", label("comm").unwrap_or("listener"))),
            (None, Some(port)) => Some(format!("{} :{port}", label("comm").unwrap_or("listener"))),
            _ => process(),
        },
        "container" | "sli_container" => label("container_name").or(label("container_id")).map(str::to_owned),
        _ => process(),
    };
    name.unwrap_or_else(|| entity_id.to_owned())
}

/// "fsync of `redis-server (7)` rose from 1.2 ms to 48 ms at 2026-11-26T14:03:20Z"; of what happened that it did.
pub fn change(rules: &RuleSet, class: usize, judged: &Judged, observation: &Observation) -> Text {
    let rule = &rules.classes[class];
    let [en, zh] = rule.metrics[observation.metric].text.as_ref().unwrap_or(&rule.text);
    let name = entity_name(judged.entity_type, &judged.labels, &judged.entity_id);
    let (at_en, at_zh) = match observation.onset_ms.map(show_utc) {
        Some(at) => (format!(" at {at}"), format!("{at} ")),
        None => Default::default(),
    };
    if rule.metrics[observation.metric].event.is_some() {
        return Text { en: format!("`{name}` {en}{at_en}"), zh: format!("{at_zh}`{name}` {zh}") };
    }
    let (before, after) = (quantity(observation.before, observation.unit), quantity(observation.after, observation.unit));
    if before == after {
        // One that stood out for a moment only: what lasts is as before.
        let (past_en, past_zh) = ("left its usual range for a short time", "短时超出正常范围");
        return Text { en: format!("{en} of `{name}` {past_en}{at_en}"), zh: format!("{at_zh}`{name}` 的{zh}{past_zh}") };
    }
    let falls = observation.after < observation.before;
    let (verb_en, verb_zh) = if falls { ("fell", "降至") } else { ("rose", "升至") };
    let (per_en, per_zh) = per(observation);
    Text {
        en: format!("{en} of `{name}` {verb_en} from {before} to {after}{per_en}{at_en}"),
        zh: format!("{at_zh}`{name}` 的{zh}从 {before} {verb_zh} {after}{per_zh}"),
    }
}

/// " per 5 s" behind what is counted over some time, in English and Chinese; nothing behind a state.
fn per(observation: &Observation) -> (String, String) {
    match observation.counted_ms {
        None => Default::default(),
        Some(1_000) => (" per second".into(), "（每秒）".into()),
        Some(ms) => {
            let seconds = digits(ms as f64 / 1e3);
            (format!(" per {seconds} s"), format!("（每 {seconds} 秒）"))
        }
    }
}

/// "request latency of `x` left its usual range", where too little was measured to say from what to what.
pub fn left(rules: &RuleSet, class: usize, incident: &IncidentInput) -> Text {
    let [en, zh] = &rules.classes[class].text;
    let name = entity_name(&incident.entity_type, &incident.labels, &incident.entity_id);
    Text { en: format!("{en} of `{name}` left its usual range"), zh: format!("`{name}` 的{zh}超出正常范围") }
}

/// "run delay of `x` stayed in its usual range (1 ms to 1.1 ms)".
pub fn stayed(rules: &RuleSet, class: usize, judged: &Judged) -> Text {
    let observation = judged.best();
    let [en, zh] = &rules.classes[class].text;
    let name = entity_name(judged.entity_type, &judged.labels, &judged.entity_id);
    let (before, after) = (quantity(observation.before, observation.unit), quantity(observation.after, observation.unit));
    let (per_en, per_zh) = per(observation);
    Text {
        en: format!("{en} of `{name}` stayed in its usual range ({before} before, {after} now{per_en})"),
        zh: format!("`{name}` 的{zh}仍在正常范围内（之前 {before}，现在 {after}{per_zh}）"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(quantity(1_200_000.0, "ns"), "1.2 ms");
        assert_eq!(quantity(48e6, "ns"), "48 ms");
        assert_eq!(quantity(0.034, "ratio"), "3.4 %");
        assert_eq!(quantity(0.0, "%"), "0 %");
        assert_eq!(quantity(3.0 * 1_048_576.0, "bytes"), "3 MiB");
        assert_eq!(quantity(5120.0, "kB/s"), "5 MiB/s");
        assert_eq!(quantity(52.0, "segments"), "52");
    }

    #[test]
    fn times_are_rfc_3339_in_utc() {
        assert_eq!(show_utc(1_700_000_123_999), "2023-11-14T22:15:23Z");
        assert_eq!(show_utc(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(show_utc(-1), "1969-12-31T23:59:59Z");
    }
}
