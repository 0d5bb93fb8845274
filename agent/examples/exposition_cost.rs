//! What a large scrape costs: `cargo run --release -p gala-agent --example exposition_cost -- 100000`.
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::time::Duration;

use gala_agent::runtime::sampler::thread_cpu;
use gala_agent::sinks::latest::{Cursor, Latest, Row, Version};
use gala_model::exposition::Writer;
use gala_model::tables;
use gala_model::{LabelSet, Value};

fn main() {
    let series: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let Some(def) = tables::all().into_iter().find(|table| table.name == "tcp_metric" || table.entity == "tcp_link") else {
        return;
    };
    let per_row = def.metrics().count();
    let rows = series / per_row;
    let latest = Latest::new(rows);
    let values: Vec<Value> = (0..per_row).map(|field| Value::Number(field as f64 * 1.5 + 100.0)).collect();
    let fill = |at_ms: i64| {
        let before = thread_cpu();
        for row in 0..rows {
            let key = format!("{row}");
            let row = Row {
                def,
                key: key.as_bytes(),
                hash: (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
                version: Version::default(),
                at_ms,
                values: &values,
                timeout_ms: 60_000,
            };
            latest.store(&row, || Some(Arc::new(labels(&key))));
        }
        thread_cpu() - before
    };
    println!("{rows} rows of {per_row} metrics: first {:?}, again {:?}", fill(1000), fill(2000));
    let mut best = Duration::MAX;
    let mut bytes = 0;
    for _ in 0..5 {
        let before = thread_cpu();
        let (mut writer, mut cursor) = (Writer::default(), Cursor::default());
        let mut out = Vec::with_capacity(300 * 1024);
        bytes = 0;
        while latest.render(&mut cursor, 2000, &mut writer, 256 * 1024, &mut out) {
            bytes += out.len();
            out.clear();
        }
        bytes += out.len();
        best = best.min(thread_cpu() - before);
    }
    println!("{} series, {} MiB: {best:?} CPU; kept {} MiB", rows * per_row, bytes >> 20, latest.bytes() >> 20);
}

fn labels(row: &str) -> LabelSet {
    let pairs = [
        ("tgid", row),
        ("role", "client"),
        ("client_ip", "10.0.0.1"),
        ("server_ip", "10.0.0.2"),
        ("client_port", "0"),
        ("server_port", "6379"),
        ("protocol", "2"),
        ("comm", "redis-benchmark"),
        ("container_id", "3f4b1a9c7d2e"),
        ("container_name", "redis"),
        ("container_image", "redis:7"),
        ("machine_id", "1fd37deb-0000-0000-0000-000000000001-192.0.2.2"),
    ];
    LabelSet(pairs.iter().map(|(name, value)| (*name, (*value).into())).collect())
}
