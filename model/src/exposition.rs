//! Text exposition of observations: upstream's line format (`name{labels} value timestamp`), with standard escaping.

use crate::PREFIX;
use crate::observation::{LabelSet, Observation};
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

/// Appends all lines of one observation.
pub fn write_observation(observation: &Observation, style: Style, out: &mut Vec<u8>) {
    let mut labels = Vec::with_capacity(256);
    write_labels(&observation.labels, &mut labels);
    for (field, value) in observation.table.metrics().zip(&observation.values) {
        write_field(observation.table, field, value, &labels, observation.at_ms, style, out);
    }
}

fn write_field(table: &TableDef, field: &FieldDef, value: &Value, labels: &[u8], at_ms: i64, style: Style, out: &mut Vec<u8>) {
    match value {
        Value::Missing => {}
        Value::Number(number) => {
            write_line(table.entity, field.name, "", labels, None, *number, at_ms, out);
            if style.cut_names && field.name.len() > CUT_LENGTH {
                write_line(table.entity, &field.name[..CUT_LENGTH], "", labels, None, *number, at_ms, out);
            }
        }
        Value::Histogram(histogram) => write_histogram(table.entity, field.name, histogram, labels, at_ms, style, out),
    }
}

fn write_histogram(entity: &str, name: &str, histogram: &Histogram, labels: &[u8], at_ms: i64, style: Style, out: &mut Vec<u8>) {
    let families: &[&str] = if style.bucket_series { &["", "_bucket"] } else { &[""] };
    for suffix in families {
        let mut cumulative = 0;
        for (edge, count) in histogram.edges.iter().zip(&histogram.counts) {
            cumulative += count;
            write_line(entity, name, suffix, labels, Some(itoa::Buffer::new().format(*edge)), cumulative as f64, at_ms, out);
        }
        write_line(entity, name, suffix, labels, Some("+Inf"), histogram.count() as f64, at_ms, out);
    }
    write_line(entity, name, "_sum", labels, None, histogram.sum as f64, at_ms, out);
    write_line(entity, name, "_max", labels, None, histogram.max as f64, at_ms, out);
    if style.bucket_series {
        write_line(entity, name, "_count", labels, None, histogram.count() as f64, at_ms, out);
    }
}

#[allow(clippy::too_many_arguments)] // one line of text has these parts; a struct would only rename them
fn write_line(
    entity: &str,
    name: &str,
    suffix: &str,
    labels: &[u8],
    le: Option<&str>,
    value: f64,
    at_ms: i64,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(PREFIX.as_bytes());
    out.extend_from_slice(entity.as_bytes());
    out.push(b'_');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(suffix.as_bytes());
    out.push(b'{');
    out.extend_from_slice(labels);
    if let Some(edge) = le {
        out.extend_from_slice(b",le=\"");
        out.extend_from_slice(edge.as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b"} ");
    write_number(value, out);
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(at_ms).as_bytes());
    out.push(b'\n');
}

/// Whole numbers without a fraction, others in shortest form.
pub fn write_number(value: f64, out: &mut Vec<u8>) {
    if value.fract() == 0.0 && value.abs() < 9e15 {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        out.extend_from_slice(ryu::Buffer::new().format(value).as_bytes());
    }
}
