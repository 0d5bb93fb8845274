//! An observation as samples of time series: the one place that says which series a field becomes. Remote write and the
//! hub's own ingest both go through it, so a host looks the same whichever way its data came.

use crate::observation::Observation;
use crate::value::{Histogram, Value};

/// Calls `f(name, le, value)` for each sample of the observation; missing values give none. A histogram becomes
/// cumulative `name{le=..}` up to `+Inf`, then `name_sum`, `name_max` (unless the table declares it) and `name_count`.
/// Names have one address per table and field, so receivers may key caches by it.
pub fn for_each_sample(observation: &Observation, mut f: impl FnMut(&'static str, Option<&str>, f64)) {
    for (field, value) in observation.table.metrics().zip(&observation.values) {
        match value {
            Value::Missing => {}
            Value::Number(number) => f(field.series.base, None, *number),
            Value::Histogram(histogram) => {
                for_each_bucket(histogram, |le, cumulative| f(field.series.base, Some(le), cumulative as f64));
                f(field.series.sum, None, histogram.sum as f64);
                if !field.series.max_is_declared {
                    f(field.series.max, None, histogram.max as f64);
                }
                f(field.series.count, None, histogram.count() as f64);
            }
        }
    }
}

/// The cumulative counts with the text of their upper bound.
pub fn for_each_bucket(histogram: &Histogram, mut f: impl FnMut(&str, u64)) {
    let mut cumulative = 0;
    let mut text = itoa::Buffer::new();
    for (edge, count) in histogram.edges.iter().zip(&histogram.counts) {
        cumulative += count;
        f(text.format(*edge), cumulative);
    }
    f("+Inf", histogram.count());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::exposition::{Style, write_observation};
    use crate::{LabelSet, Table};

    /// Requests of a process
    #[derive(Table)]
    #[table(name = "requests", entity = "sli", probe = "ksli")]
    struct Requests {
        /// Process
        #[key]
        tgid: u32,
        /// Requests in the period
        #[gauge(unit = "count", per_period)]
        requests: Option<u64>,
        /// Latency
        #[histogram(unit = "ns", per_period, bad = "up")]
        rtt: Histogram,
    }

    /// Handshakes of a process
    #[derive(Table)]
    #[table(name = "handshakes", entity = "tcp_link", probe = "tcp")]
    struct Handshakes {
        /// Process
        #[key]
        tgid: u32,
        /// Round trip
        #[histogram(unit = "us", per_period)]
        srtt: Histogram,
        /// Longest round trip
        #[gauge(unit = "us", per_period)]
        srtt_max: Option<u64>,
    }

    #[test]
    fn a_maximum_that_the_table_declares_is_exported_once() {
        let mut srtt = Histogram::new(&[10]);
        srtt.record(7);
        let row = Handshakes { tgid: 7, srtt_max: Some(srtt.max), srtt };
        let mut values = Vec::new();
        row.values(&mut values);
        let labels = Arc::new(LabelSet(vec![("tgid", row.tgid.to_string().into())]));
        let observation = Observation { table: Handshakes::def(), labels, at_ms: 1, values };
        let mut samples = 0;
        for_each_sample(&observation, |name, _, _| samples += usize::from(name == "gala_gopher_tcp_link_srtt_max"));
        let mut text = Vec::new();
        write_observation(&observation, Style::default(), &mut text);
        let lines = String::from_utf8(text).unwrap().matches("gala_gopher_tcp_link_srtt_max{").count();
        assert_eq!((samples, lines), (1, 1));
    }

    fn samples(requests: Option<u64>) -> Vec<String> {
        let mut rtt = Histogram::new(&[10, 20]);
        [5, 15, 99].into_iter().for_each(|value| rtt.record(value));
        let row = Requests { tgid: 7, requests, rtt };
        let mut values = Vec::new();
        row.values(&mut values);
        let labels = Arc::new(LabelSet(vec![("tgid", row.tgid.to_string().into())]));
        let observation = Observation { table: Requests::def(), labels, at_ms: 1, values };
        let mut out = Vec::new();
        for_each_sample(&observation, |name, le, value| out.push(format!("{name} {} {value}", le.unwrap_or("-"))));
        out
    }

    #[test]
    fn a_histogram_is_cumulative_and_has_sum_maximum_and_count() {
        let expected = [
            "gala_gopher_sli_requests - 4",
            "gala_gopher_sli_rtt 10 1",
            "gala_gopher_sli_rtt 20 2",
            "gala_gopher_sli_rtt +Inf 3",
            "gala_gopher_sli_rtt_sum - 119",
            "gala_gopher_sli_rtt_max - 99",
            "gala_gopher_sli_rtt_count - 3",
        ];
        assert_eq!(samples(Some(4)), expected);
    }

    #[test]
    fn what_was_not_measured_is_no_sample() {
        assert!(samples(None).iter().all(|line| !line.contains("requests")));
    }
}
