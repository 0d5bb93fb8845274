//! Sentences about symptoms, in English and Chinese.

use super::{Source, Symptom, Text};

/// "request latency of GET, redis-server rose to 4.1 ms, normally 80 µs to 160 µs".
pub fn summary(symptom: &Symptom) -> Text {
    let (noun_en, noun_zh) = noun(&symptom.entity_type, &symptom.metric, &symptom.help);
    let value = |number: f64| quantity(number, &symptom.unit);
    let (low, high) = (value(symptom.low), value(symptom.high));
    let is_limit = if symptom.falls { symptom.peak >= symptom.low } else { symptom.peak <= symptom.high };
    // Where only a limit is known, which the value reached, there is no usual range to tell.
    let (range, range_zh) = match is_limit {
        true if symptom.falls => (format!("above {high}"), format!("\u{9ad8}\u{4e8e} {high}")),
        true => (format!("below {high}"), format!("\u{4f4e}\u{4e8e} {high}")),
        false if low == high => (low.clone(), low),
        false => (format!("{low} to {high}"), format!("{low} \u{81f3} {high}")),
    };
    let (verb, verb_zh) = if symptom.falls { ("fell", "\u{4e0b}\u{964d}") } else { ("rose", "\u{4e0a}\u{5347}") };
    let of = &symptom.entity_name;
    let peak = value(symptom.peak);
    let (noun_en, noun_zh) = match symptom.source {
        Source::Quantile { percent, .. } => (format!("p{percent} {noun_en}"), format!("p{percent} {noun_zh}")),
        _ => (noun_en, noun_zh),
    };
    // How full something may be is known without a range, and what is 95 % full has none that would mean anything.
    if is_limit && ["UsePer", "used_per"].iter().any(|end| symptom.metric.ends_with(end)) {
        return Text {
            en: format!("{noun_en} of {of} reached {peak}"),
            zh: format!("{of} \u{7684}{noun_zh}\u{8fbe}\u{5230} {peak}"),
        };
    }
    Text {
        en: format!("{noun_en} of {of} {verb} to {peak}, normally {range}"),
        zh: format!("{of} \u{7684}{noun_zh}{verb_zh}\u{81f3} {peak}\u{ff0c}\u{6b63}\u{5e38}\u{4e3a} {range_zh}"),
    }
}

fn noun(entity: &str, metric: &str, help: &str) -> (String, String) {
    let field = metric.strip_prefix(gala_model::PREFIX).and_then(|rest| rest.strip_prefix(entity)).unwrap_or(metric);
    let field = field.trim_start_matches('_');
    let pair = match (entity, field) {
        ("sli" | "l7" | "l7_api", name) if name.starts_with("err") => {
            ("request errors", "\u{8bf7}\u{6c42}\u{9519}\u{8bef}\u{7387}")
        }
        ("sli", "oldest_nsec") => (
            "wait of the oldest request",
            "\u{6700}\u{4e45}\u{672a}\u{5e94}\u{7b54}\u{8bf7}\u{6c42}\u{7684}\u{7b49}\u{5f85}\u{65f6}\u{95f4}",
        ),
        ("sli" | "l7" | "l7_api", _) => ("request latency", "\u{8bf7}\u{6c42}\u{65f6}\u{5ef6}"),
        ("endpoint_tcp" | "endpoint", name) if name.contains("estab") => {
            ("connection set-up time", "\u{5efa}\u{94fe}\u{65f6}\u{5ef6}")
        }
        ("endpoint_tcp" | "endpoint", "active_open_failed") => {
            ("failed connection attempts", "\u{5efa}\u{94fe}\u{5931}\u{8d25}\u{7387}")
        }
        ("endpoint_tcp" | "endpoint", _) => ("dropped connection requests", "\u{5efa}\u{94fe}\u{8bf7}\u{6c42}\u{4e22}\u{5f03}"),
        ("net", name) if name.contains("listen") || name.contains("req_queue") => {
            ("dropped connection requests", "\u{5efa}\u{94fe}\u{8bf7}\u{6c42}\u{4e22}\u{5f03}")
        }
        ("tcp_link", "srtt") => ("TCP round trip", "TCP \u{5f80}\u{8fd4}\u{65f6}\u{5ef6}"),
        ("nic", "carrier_changes") => ("link state changes", "\u{7f51}\u{5361}\u{94fe}\u{8def}\u{72b6}\u{6001}\u{53d8}\u{5316}"),
        (_, name) if name.contains("retran") => ("retransmissions", "\u{91cd}\u{4f20}\u{7387}"),
        ("block" | "disk", name) if name.contains("await") || name.contains("latency") => ("I/O latency", "I/O \u{65f6}\u{5ef6}"),
        ("fs", _) => ("file system use", "\u{6587}\u{4ef6}\u{7cfb}\u{7edf}\u{4f7f}\u{7528}\u{7387}"),
        (_, name) if name.contains("oom") => {
            ("processes killed for lack of memory", "\u{5185}\u{5b58}\u{4e0d}\u{8db3}\u{7ec8}\u{6b62}\u{8fdb}\u{7a0b}\u{6570}")
        }
        _ => {
            let noun = if help.is_empty() { field } else { help };
            return (noun.to_lowercase(), noun.to_owned());
        }
    };
    (pair.0.into(), pair.1.into())
}

/// A number with its unit, in three digits, durations in a fitting unit.
pub fn quantity(number: f64, unit: &str) -> String {
    let nanoseconds = match unit {
        "ns" => Some(number),
        "us" => Some(number * 1e3),
        "ms" => Some(number * 1e6),
        "s" => Some(number * 1e9),
        _ => None,
    };
    if let Some(ns) = nanoseconds {
        let (scaled, name) = match ns.abs() {
            ns if ns < 1e3 => (1.0, "ns"),
            ns if ns < 1e6 => (1e3, "\u{b5}s"),
            ns if ns < 1e9 => (1e6, "ms"),
            _ => (1e9, "s"),
        };
        return format!("{} {name}", digits(ns / scaled));
    }
    match unit {
        "ratio" => format!("{} %", digits(number * 100.0)),
        "%" => format!("{} %", digits(number)),
        "" | "count" => digits(number),
        unit => format!("{} {unit}", digits(number)),
    }
}

fn digits(number: f64) -> String {
    let decimals = match number.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{number:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(falls: bool, low: f64, high: f64, peak: f64) -> String {
        told_of("mem", falls, low, high, peak)
    }

    fn told_of(entity: &str, falls: bool, low: f64, high: f64, peak: f64) -> String {
        let metric = if entity == "fs" { "gala_gopher_fs_UsePer" } else { "gala_gopher_mem_oom_kills" };
        let symptom = serde_json::json!({
            "kpi": "k", "class": "sys", "entity_id": "m_mem", "entity_type": entity, "entity_name": "paging", "machine_id": "m",
            "process_id": null, "metric": metric, "unit": "count", "help": "", "labels": {},
            "lead_labels": {}, "source": {"kind": "number", "name": "x"}, "falls": falls, "onset_ms": 1, "opened_ms": 1,
            "last_bad_ms": 1, "closed_ms": null, "low": low, "before": low, "high": high, "peak": peak, "now": peak,
            "score": 1.0, "severity": "WARN",
        });
        summary(&serde_json::from_value(symptom).unwrap()).en
    }

    #[test]
    fn a_file_system_that_is_nearly_full_is_told_without_a_range() {
        assert_eq!(told_of("fs", false, 0.0, 5668.0, 99.7), "file system use of paging reached 99.7");
    }

    #[test]
    fn what_is_usual_never_holds_what_is_not() {
        assert!(told(false, 0.0, 3.0, 7.0).ends_with("of paging rose to 7, normally 0 to 3"), "{}", told(false, 0.0, 3.0, 7.0));
        assert!(told(false, 0.0, 0.0, 7.0).ends_with("rose to 7, normally 0"));
        assert!(told(false, 0.0, 1.0, 1.0).ends_with("rose to 1, normally below 1"), "only the limit is known");
        assert!(told(true, 0.0, 3.0, 2.0).ends_with("fell to 2, normally above 3"));
        assert!(told(true, 60.0, 90.0, 2.0).ends_with("fell to 2, normally 60 to 90"));
    }
}
