//! The dictionary of classes: what a column measures, from the words in its name. Names of nodes are never read.

/// What kind of number a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Time the node takes to serve.
    Latency,
    /// Requests the node serves.
    Requests,
    /// Share of requests that succeed.
    Availability,
    Cpu,
    Memory,
    /// Anything the core does not judge: the host's own share, the client's view, traffic.
    Other,
}

/// How samples were condensed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Statistic {
    /// Mean, sum or count: parts add up to the whole.
    Additive,
    /// A quantile, in thousandths.
    Quantile(u16),
    /// The largest or smallest of the samples: of no use where parts are to add up.
    Extreme,
}

/// Class, statistic and whether the unit is a percentage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColumnKind {
    pub class: Class,
    pub statistic: Statistic,
    pub percent: bool,
    /// A rate per second rather than a count per sample.
    pub per_second: bool,
    /// Seconds of one unit of a latency.
    pub seconds: f64,
}

/// Reads `metric` and the optional third part of a column name.
pub fn column_kind(metric: &str, statistic: &str) -> ColumnKind {
    let name = metric.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let class = if name.starts_with("node") || has(&["client"]) {
        Class::Other
    } else if has(&["latency", "duration", "response_time", "rtt"]) {
        Class::Latency
    } else if has(&["availability", "success"]) {
        Class::Availability
    } else if has(&["cpu"]) {
        Class::Cpu
    } else if has(&["memory", "mem_"]) || name == "mem" {
        Class::Memory
    } else if has(&["requests", "workload", "throughput", "calls", "rps", "qps"]) {
        Class::Requests
    } else {
        Class::Other
    };
    let condensed = statistic.to_ascii_lowercase();
    let quantile = quantile_in(&condensed).or_else(|| quantile_in(&name));
    let is_extreme = words(&condensed).chain(words(&name)).any(|word| matches!(word, "max" | "maximum" | "min" | "minimum"));
    let otherwise = if is_extreme { Statistic::Extreme } else { Statistic::Additive };
    ColumnKind {
        class,
        statistic: quantile.map_or(otherwise, Statistic::Quantile),
        percent: has(&["%", "util", "percent"]),
        per_second: has(&["ops", "/s", "per_second", "rps", "qps"]),
        seconds: words(&name).map(seconds_of).fold(1.0, f64::min),
    }
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

/// Of a word that is a unit of time; seconds else.
fn seconds_of(word: &str) -> f64 {
    match word {
        "ms" | "msec" | "millis" | "milliseconds" => 1e-3,
        "us" | "usec" | "micros" | "microseconds" => 1e-6,
        "ns" | "nsec" | "nanos" | "nanoseconds" => 1e-9,
        _ => 1.0,
    }
}

/// `p90`, `latencyp99(s)`, `p99.9`: the digits after a `p`, as thousandths. One digit is a version (`tcp4`).
fn quantile_in(text: &str) -> Option<u16> {
    text.match_indices('p').find_map(|(at, _)| {
        let digits: String = text[at + 1..].chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let value: f64 = digits.trim_end_matches('.').parse().ok()?;
        (10.0..100.0).contains(&value).then_some((value * 10.0).round() as u16)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_read_from_either_place() {
        assert_eq!(column_kind("PodServerLatencyP90(s)", "").statistic, Statistic::Quantile(900));
        assert_eq!(column_kind("latency", "p99").statistic, Statistic::Quantile(990));
        assert_eq!(column_kind("latency", "Average").statistic, Statistic::Additive);
    }

    #[test]
    fn host_shares_and_client_views_are_not_the_nodes_own() {
        assert_eq!(column_kind("NodeCpuUsageRate(%)", "").class, Class::Other);
        assert_eq!(column_kind("PodClientLatencyP90(s)", "").class, Class::Other);
        assert_eq!(
            column_kind("CpuUsageRate(%)", ""),
            ColumnKind { class: Class::Cpu, statistic: Statistic::Additive, percent: true, per_second: false, seconds: 1.0 }
        );
    }

    #[test]
    fn extremes_do_not_add_up_and_units_are_read() {
        assert_eq!(column_kind("latency", "Maximum").statistic, Statistic::Extreme);
        assert_eq!(column_kind("tcp4_latency_ms", "").statistic, Statistic::Additive);
        assert_eq!(column_kind("tcp4_latency_ms", "").seconds, 1e-3);
        assert_eq!(column_kind("LatencyP90(s)", "").seconds, 1.0);
    }
}
