//! How measured figures are printed: each beside its floor, which must hold, and its aim. `tools/bench.sh` counts the verdicts.
//!
//! Shared by the benchmarks of the store and the examples of the agent; each uses its part.
#![allow(dead_code, clippy::print_stdout)]

/// Which way a figure is better.
#[derive(Clone, Copy)]
pub enum Better {
    Less,
    More,
}

/// Short runs show that everything works; their figures mean little.
pub fn is_short() -> bool {
    std::env::var("BENCH_SHORT").is_ok_and(|text| !text.is_empty() && text != "0")
}

/// Title of a group of figures.
pub fn title(text: &str) {
    println!("\n-- {text}");
}

/// A figure with floor and aim in the same unit.
pub fn figure(what: &str, value: f64, unit: &str, better: Better, floor: f64, aim: f64) {
    let (holds, sign) = match better {
        Better::Less => (value <= floor, "<="),
        Better::More => (value >= floor, ">="),
    };
    let reaches = match better {
        Better::Less => value <= aim,
        Better::More => value >= aim,
    };
    let verdict = match (holds, reaches) {
        (true, true) => "pass, aim met",
        (true, false) => "pass",
        _ => "FAIL",
    };
    let bound = |limit: f64| format!("{sign} {}", shown(limit));
    println!("{what:<58} {:>9} {unit:<9} floor {:<8} aim {:<8} {verdict}", shown(value), bound(floor), bound(aim));
}

/// A figure without a floor: a rival's, a part of another one, or context.
pub fn also(what: &str, value: f64, unit: &str) {
    println!("  {what:<56} {:>9} {unit}", shown(value));
}

pub fn note(text: &str) {
    println!("  {text}");
}

/// Three or four significant digits, none of them needless.
fn shown(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    if digits == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
}

/// Middle of the values; of an even number the lower of the two.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// Noise of other programs only ever adds, so the least is nearest to what a thing costs by itself.
pub fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::min)
}
