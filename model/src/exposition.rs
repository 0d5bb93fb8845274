//! Text exposition of observations: upstream's line format (`name{labels} value timestamp`), with standard escaping.

use crate::observation::{LabelSet, Observation};
use crate::series::for_each_bucket;
use crate::table::{FieldDef, TableDef};
use crate::value::{Histogram, Value};

/// Names longer than 31 characters are cut by upstream; both spellings are written for these.
const CUT_LENGTH: usize = 31;

/// Appends the label text between the braces, without `le`.
pub fn write_labels(labels: &LabelSet, out: &mut Vec<u8>) {
    for (index, (name, value)) in labels.0.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        escape(value, out);
        out.push(b'"');
    }
}

/// Escapes `\`, `"` and newline as the exposition format asks.
fn escape(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\n' => out.extend_from_slice(b"\\n"),
            _ => out.push(byte),
        }
    }
}

/// How the exporter writes; both off reproduces upstream.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Extra `<name>_bucket` and `<name>_count` series.
    pub bucket_series: bool,
    /// Also the names upstream cuts at 31 characters.
    pub cut_names: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { bucket_series: false, cut_names: true }
    }
}

/// Writes observations as text; keeps its buffer for the label text between calls.
#[derive(Debug, Default)]
pub struct Writer {
    pub style: Style,
    labels: Vec<u8>,
}

impl Writer {
    pub fn new(style: Style) -> Self {
        Self { style, labels: Vec::with_capacity(512) }
    }

    /// Appends all lines of one row: its labels are escaped once and copied per line.
    pub fn write(&mut self, table: &TableDef, labels: &LabelSet, values: &[Value], at_ms: i64, out: &mut Vec<u8>) {
        self.labels.clear();
        write_labels(labels, &mut self.labels);
        let mut stamp = itoa::Buffer::new();
        let line = Line { labels: &self.labels, stamp: stamp.format(at_ms).as_bytes() };
        for (field, value) in table.metrics().zip(values) {
            match value {
                Value::Missing => {}
                Value::Number(number) => {
                    line.write(field.series.base, None, *number, out);
                    if self.style.cut_names && field.name.len() > CUT_LENGTH {
                        let cut = &field.series.base[..field.series.base.len() - (field.name.len() - CUT_LENGTH)];
                        line.write(cut, None, *number, out);
                    }
                }
                Value::Histogram(histogram) => line.write_histogram(field, histogram, self.style, out),
            }
        }
    }
}

/// Appends all lines of one observation.
pub fn write_observation(observation: &Observation, style: Style, out: &mut Vec<u8>) {
    Writer::new(style).write(observation.table, &observation.labels, &observation.values, observation.at_ms, out);
}

/// What the lines of one row share.
struct Line<'a> {
    labels: &'a [u8],
    stamp: &'a [u8],
}

impl Line<'_> {
    fn write(&self, name: &str, le: Option<&str>, value: f64, out: &mut Vec<u8>) {
        out.extend_from_slice(name.as_bytes());
        out.push(b'{');
        out.extend_from_slice(self.labels);
        if let Some(edge) = le {
            out.extend_from_slice(b",le=\"");
            out.extend_from_slice(edge.as_bytes());
            out.push(b'"');
        }
        out.extend_from_slice(b"} ");
        write_number(value, out);
        out.push(b' ');
        out.extend_from_slice(self.stamp);
        out.push(b'\n');
    }

    fn write_histogram(&self, field: &FieldDef, histogram: &Histogram, style: Style, out: &mut Vec<u8>) {
        for_each_bucket(histogram, |edge, count| self.write(field.series.base, Some(edge), count as f64, out));
        if style.bucket_series {
            for_each_bucket(histogram, |edge, count| self.write(field.series.bucket, Some(edge), count as f64, out));
        }
        self.write(field.series.sum, None, histogram.sum as f64, out);
        if !field.series.max_is_declared {
            self.write(field.series.max, None, histogram.max as f64, out);
        }
        if style.bucket_series {
            self.write(field.series.count, None, histogram.count() as f64, out);
        }
    }
}

/// Whole numbers without a fraction, others in shortest form.
pub fn write_number(value: f64, out: &mut Vec<u8>) {
    if value.fract() == 0.0 && value.abs() < 9e15 {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        out.extend_from_slice(ryu::Buffer::new().format(value).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Table;

    /// Delay of a process
    #[derive(Table)]
    #[table(name = "proc_flow_perf", entity = "proc_flow_perf", probe = "l7")]
    struct Flow {
        /// Process
        #[key]
        tgid: u32,
        /// Delay
        #[histogram(unit = "us", per_period, bad = "up")]
        sys_delay: Histogram,
        /// Something with a name that upstream cuts
        #[gauge(unit = "count", per_period)]
        network_receive_packets_dropped_total: Option<u64>,
    }

    fn text(row: &Flow, labels: &LabelSet, style: Style) -> String {
        let (mut values, mut out) = (Vec::new(), Vec::new());
        row.values(&mut values);
        Writer::new(style).write(Flow::def(), labels, &values, 1795207403000, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn labels(pairs: &[(&'static str, &str)]) -> LabelSet {
        LabelSet(pairs.iter().map(|(name, value)| (*name, (*value).into())).collect())
    }

    #[test]
    fn histogram_lines_are_upstreams_in_upstreams_order() {
        let mut sys_delay = Histogram::new(&[100, 200, 300]);
        [90, 120, 150, 280, 290, 290].into_iter().for_each(|value| sys_delay.record(value));
        let row = Flow { tgid: 11676, sys_delay, network_receive_packets_dropped_total: None };
        let expected = r#"gala_gopher_proc_flow_perf_sys_delay{tgid="11676",machine_id="u-192.0.2.2",le="100"} 1 1795207403000
gala_gopher_proc_flow_perf_sys_delay{tgid="11676",machine_id="u-192.0.2.2",le="200"} 3 1795207403000
gala_gopher_proc_flow_perf_sys_delay{tgid="11676",machine_id="u-192.0.2.2",le="300"} 6 1795207403000
gala_gopher_proc_flow_perf_sys_delay{tgid="11676",machine_id="u-192.0.2.2",le="+Inf"} 6 1795207403000
gala_gopher_proc_flow_perf_sys_delay_sum{tgid="11676",machine_id="u-192.0.2.2"} 1220 1795207403000
gala_gopher_proc_flow_perf_sys_delay_max{tgid="11676",machine_id="u-192.0.2.2"} 290 1795207403000
"#;
        assert_eq!(text(&row, &labels(&[("tgid", "11676"), ("machine_id", "u-192.0.2.2")]), Style::default()), expected);
    }

    #[test]
    fn label_values_are_escaped() {
        let row = Flow { tgid: 1, sys_delay: Histogram::default(), network_receive_packets_dropped_total: Some(3) };
        let out = text(&row, &labels(&[("cmdline", "a\\b \"c\"\nd")]), Style { cut_names: false, ..Style::default() });
        let name = "gala_gopher_proc_flow_perf_network_receive_packets_dropped_total";
        assert_eq!(out, format!("{name}{{cmdline=\"a\\\\b \\\"c\\\"\\nd\"}} 3 1795207403000\n"));
    }

    #[test]
    fn long_names_come_also_as_upstream_cuts_them() {
        let row = Flow { tgid: 1, sys_delay: Histogram::default(), network_receive_packets_dropped_total: Some(3) };
        let out = text(&row, &labels(&[("tgid", "1")]), Style::default());
        assert!(out.contains("gala_gopher_proc_flow_perf_network_receive_packets_dropped{tgid="), "{out}");
        assert!(out.contains("gala_gopher_proc_flow_perf_network_receive_packets_dropped_total{tgid="), "{out}");
    }

    #[test]
    fn numbers_are_written_shortest() {
        let text = |value| {
            let mut out = Vec::new();
            write_number(value, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!([text(0.0), text(-3.0), text(12.34), text(1e15)], ["0", "-3", "12.34", "1000000000000000"]);
        assert_eq!(text(1e300).parse::<f64>().unwrap(), 1e300);
    }
}
