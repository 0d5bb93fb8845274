//! Prometheus's own client, promtool, against the router on a real socket.
#![allow(clippy::print_stdout)] // says what it skips

use std::process::Command;
use std::sync::Arc;

use axum::Router;
use gala_hub::prom::{PromState, QueryLimits, router};
use gala_store::{Labels, Matcher, Sample, Series, SeriesRead, StoreError, TimeRange};

struct Fixture;

impl SeriesRead for Fixture {
    fn select(&self, matchers: &[Matcher], range: TimeRange, _: usize) -> Result<Vec<Series>, StoreError> {
        let labels = Labels::new([("__name__", "up"), ("job", "gala")]);
        let wanted = matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")));
        let samples: Vec<Sample> = (0..60).map(|i| Sample { t_ms: 1_700_000_000_000 + i * 5000, value: i as f64 }).collect();
        let samples: Vec<Sample> = samples.into_iter().filter(|s| (range.from_ms..=range.to_ms).contains(&s.t_ms)).collect();
        Ok(if wanted && !samples.is_empty() { vec![Series { labels, samples }] } else { Vec::new() })
    }

    fn series(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>, StoreError> {
        Ok(self.select(matchers, range, usize::MAX)?.into_iter().map(|series| series.labels).collect())
    }

    fn label_names(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, StoreError> {
        Ok(vec!["__name__".into(), "job".into()])
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, StoreError> {
        Ok(self.series(matchers, range)?.iter().filter_map(|labels| labels.get(name).map(str::to_string)).collect())
    }
}

#[test]
fn promtool_reads_every_answer() {
    if Command::new("promtool").arg("--version").output().is_err() {
        println!("skipped: promtool is not installed");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let state = PromState::new(Arc::new(Fixture), Arc::new(()), QueryLimits::default(), Arc::default());
    runtime.spawn(async move { axum::serve(listener, Router::new().nest("/api/v1", router(state))).await });
    let run = |args: &[&str]| {
        let output = Command::new("promtool").arg("query").args(args).output().unwrap();
        let (out, error) =
            (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
        (output.status.success(), out, error)
    };
    let (ok, out, error) = run(&["instant", "--time=1700000100", &url, "up * 2"]);
    assert!(ok && out.contains("{job=\"gala\"} => 40 @[1700000100]"), "{out}{error}");
    let (ok, out, error) = run(&["range", "--start=1700000000", "--end=1700000010", "--step=5s", &url, "up"]);
    assert!(ok && out.contains("up{job=\"gala\"} =>\n0 @[1700000000]\n1 @[1700000005]\n2 @[1700000010]"), "{out}{error}");
    let (ok, out, error) = run(&["series", "--match=up", "--start=1700000000", "--end=1700000010", &url]);
    assert!(ok && out.contains("{__name__=\"up\", job=\"gala\"}"), "{out}{error}");
    let (ok, out, error) = run(&["labels", "--start=1700000000", "--end=1700000010", &url, "job"]);
    assert!(ok && out.trim() == "gala", "{out}{error}");
    let (ok, _, error) = run(&["instant", &url, "up +"]);
    assert!(!ok && error.contains("1:5: parse error: unexpected end of input"), "{error}");
}
