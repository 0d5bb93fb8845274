//! Warnings and infos: what a query's author should know about a result that is otherwise fine.

use super::functions::histogram::Repair;
use super::literal::format_general;
use super::parse::position;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Warning,
    Info,
}

#[derive(Clone, Debug)]
struct Note {
    level: Level,
    text: String,
    at: usize,
    monotonic: Option<Monotonic>,
}

/// Many repairs of bucket counts told as one.
#[derive(Clone, Copy, Debug)]
struct Monotonic {
    repair: Repair,
    first_ms: i64,
    last_ms: i64,
    samples: usize,
}

/// More different notes than this are not kept; answers show fewer anyway.
const MAX_KEPT: usize = 1000;
/// As many of each kind are shown.
const MAX_SHOWN: usize = 10;

const NOT_MONOTONIC: &str = "input to histogram_quantile needed to be fixed for monotonicity \
     (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";

#[derive(Debug, Default)]
pub(super) struct Notes(Vec<Note>);

impl Notes {
    fn add(&mut self, level: Level, at: usize, text: String) {
        if self.0.len() < MAX_KEPT && !self.0.iter().any(|note| note.text == text) {
            self.0.push(Note { level, text, at, monotonic: None });
        }
    }

    pub fn warn(&mut self, at: usize, text: impl Into<String>) {
        self.add(Level::Warning, at, text.into());
    }

    pub fn info(&mut self, at: usize, text: impl Into<String>) {
        self.add(Level::Info, at, text.into());
    }

    pub fn invalid_quantile(&mut self, at: usize, q: f64) {
        if !(0.0..=1.0).contains(&q) {
            self.warn(at, format!("quantile value should be between 0 and 1, got {}", format_general(q)));
        }
    }

    pub fn repaired(&mut self, at: usize, t_ms: i64, repair: Repair) {
        let same = self.0.iter_mut().find_map(|note| note.monotonic.as_mut());
        let Some(all) = same else {
            let monotonic = Some(Monotonic { repair, first_ms: t_ms, last_ms: t_ms, samples: 1 });
            self.0.push(Note { level: Level::Info, text: NOT_MONOTONIC.into(), at, monotonic });
            return;
        };
        all.samples += 1;
        all.first_ms = all.first_ms.min(t_ms);
        all.last_ms = all.last_ms.max(t_ms);
        all.repair.min_bucket = all.repair.min_bucket.min(repair.min_bucket);
        all.repair.max_bucket = all.repair.max_bucket.max(repair.max_bucket);
        all.repair.max_difference = all.repair.max_difference.max(repair.max_difference);
    }

    /// Warnings and infos with the place in the query.
    pub fn render(&self, query: &str) -> (Vec<String>, Vec<String>) {
        (self.of(Level::Warning, "warning", query), self.of(Level::Info, "info", query))
    }

    fn of(&self, level: Level, word: &str, query: &str) -> Vec<String> {
        let all: Vec<&Note> = self.0.iter().filter(|note| note.level == level).collect();
        let mut shown: Vec<String> = all.iter().take(MAX_SHOWN).map(|note| note.show(query)).collect();
        if all.len() > MAX_SHOWN {
            shown.push(format!("{} more {word} annotations omitted", all.len() - MAX_SHOWN));
        }
        shown
    }
}

impl Note {
    fn show(&self, query: &str) -> String {
        let kind = if self.level == Level::Warning { "warning" } else { "info" };
        let mut text = format!("PromQL {kind}: {}", self.text);
        if let Some(all) = &self.monotonic {
            text.push_str(&format!(
                ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
                format_general(all.repair.min_bucket),
                format_general(all.repair.max_bucket),
                two_digits(all.repair.max_difference),
                all.samples,
                utc(all.first_ms),
                utc(all.last_ms),
            ));
        }
        format!("{text} ({})", position(query, self.at))
    }
}

/// Go's `%.2g`: two significant digits.
fn two_digits(value: f64) -> String {
    let rounded: f64 = format!("{value:.1e}").parse().unwrap_or(value);
    if rounded != 0.0 && !(1e-4..1e2).contains(&rounded.abs()) {
        return super::literal::format_exponent(rounded);
    }
    format_general(rounded)
}

/// RFC 3339 in UTC, `2026-11-26T14:03:20Z`.
pub fn utc(t_ms: i64) -> String {
    let seconds = t_ms.div_euclid(1000);
    let t = super::functions::math::Civil::from_seconds(seconds as f64);
    let second = seconds.rem_euclid(60);
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{second:02}Z", t.year, t.month, t.day, t.hour, t.minute)
}
