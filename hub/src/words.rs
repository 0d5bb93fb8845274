//! Sentences of the API in English and Chinese, and quantities as a person reads them.

use std::collections::BTreeMap;

use gala_analysis::detect::AnomalyRow;
use gala_analysis::topology::LabelMap;
use gala_model::incident::Text;

use crate::vocabulary;

/// "Time spent waiting for a processor is 4.1 ms, normally 0 to 0.2 ms."
pub fn anomaly(row: &AnomalyRow) -> Text {
    let what = gala_model::entity::split_metric(&row.metric)
        .and_then(|(kind, name)| vocabulary::field(kind.name, name))
        .map_or_else(|| row.metric.clone(), |(_, field)| field.help.to_owned());
    let (value, low, high) = (quantity(row.value, row.unit), quantity(row.low, row.unit), quantity(row.high, row.unit));
    Text::new(format!("{what}: {value}, normally {low} to {high}."), format!("{what}：{value}，正常为 {low} 至 {high}。"))
}

/// "Normally 0 to 0.2 ms."
pub fn normal(low: f64, high: f64, unit: &str) -> Text {
    let (low, high) = (quantity(low, unit), quantity(high, unit));
    Text::new(format!("Normally {low} to {high}."), format!("正常为 {low} 至 {high}。"))
}

/// Labels of an event by the names its consumers know; what is absent stays out.
pub fn event_labels(labels: &LabelMap) -> BTreeMap<&'static str, String> {
    const NAMES: [(&str, &[&str]); 9] = [
        ("Host", &["machine_id"]),
        ("PID", &["tgid", "pid"]),
        ("COMM", &["comm"]),
        ("IP", &["ip", "server_ip"]),
        ("ContainerID", &["container_id"]),
        ("POD", &["pod"]),
        ("Device", &["device", "dev_name", "disk_name", "Fsname"]),
        ("ContainerName", &["container_image"]),
        ("ContainerHost", &["container_hostname"]),
    ];
    let value = |sources: &[&str]| sources.iter().find_map(|source| labels.get(*source)).map(ToString::to_string);
    NAMES.into_iter().filter_map(|(name, sources)| Some((name, value(sources)?))).collect()
}

/// A number with its unit in a readable size: times in ns to s, bytes in B to GiB, ratios in percent.
pub fn quantity(value: f64, unit: &str) -> String {
    let scaled = |steps: &[(f64, &str)]| {
        let (size, name) = steps.iter().rev().find(|(size, _)| value.abs() >= *size).unwrap_or(&steps[0]);
        format!("{} {name}", short(value / size))
    };
    match unit {
        "ns" => scaled(&[(1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")]),
        "us" => scaled(&[(1.0, "µs"), (1e3, "ms"), (1e6, "s")]),
        "ms" => scaled(&[(1e-3, "µs"), (1.0, "ms"), (1e3, "s")]),
        "s" => scaled(&[(1e-3, "ms"), (1.0, "s")]),
        "bytes" => scaled(&[(1.0, "B"), (1024.0, "KiB"), (1_048_576.0, "MiB"), (1_073_741_824.0, "GiB")]),
        "ratio" => format!("{} %", short(value * 100.0)),
        "percent" | "%" => format!("{} %", short(value)),
        "" | "count" => short(value),
        other => format!("{} {other}", short(value)),
    }
}

/// Three significant digits, without needless zeros.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_readable() {
        for (value, unit, text) in [
            (4_100_000.0, "ns", "4.1 ms"),
            (250.0, "us", "250 µs"),
            (0.031, "ratio", "3.1 %"),
            (3_670_016.0, "bytes", "3.5 MiB"),
            (0.0, "ns", "0 ns"),
            (12_345.0, "count", "12345"),
        ] {
            assert_eq!(quantity(value, unit), text);
        }
    }
}
