//! Runs the commands of a script and compares.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use gala_store::promql::{self, Answer, Options, QueryValue, show_labels};
use gala_store::{Labels, Sample};

use super::memory::Memory;
use super::read::{Command, Eval, Expected, Line, Text, read};

#[derive(Debug)]
pub enum Outcome {
    Passed,
    Failed(String),
    Skipped,
}

/// Relative difference that still counts as equal.
const TOLERANCE: f64 = 1e-6;

/// Every evaluation of the file with its line.
pub fn run_file(path: &Path) -> Vec<(usize, Outcome)> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let commands = match read(&text) {
        Ok(commands) => commands,
        Err(error) => return vec![(0, Outcome::Failed(error))],
    };
    let mut store = Memory::default();
    let mut outcomes = Vec::new();
    for command in commands {
        match command {
            Command::Clear => store = Memory::default(),
            Command::Load { step_ms, series, histograms_too } => load(&mut store, step_ms, &series, histograms_too),
            Command::Eval(eval) => outcomes.push((eval.line, evaluate(&store, &eval))),
        }
    }
    outcomes
}

fn load(store: &mut Memory, step_ms: i64, lines: &[Line], histograms_too: bool) {
    for line in lines {
        if line.foreign {
            store.foreign.push(line.labels.clone());
            continue;
        }
        if histograms_too && let Some(base) = line.labels.metric().strip_suffix("_bucket") {
            let others = line.labels.iter().filter(|(name, _)| !matches!(*name, "__name__" | "le"));
            store.foreign.push(Labels::new(others.chain([("__name__", base)])));
        }
        let samples = store.series.entry(line.labels.clone()).or_default();
        for (index, value) in line.values.iter().enumerate() {
            if let Some(value) = value {
                samples.push(Sample { t_ms: index as i64 * step_ms, value: *value });
            }
        }
        // A line given twice counts as given last.
        samples.reverse();
        samples.sort_by_key(|sample| sample.t_ms);
        samples.dedup_by_key(|sample| sample.t_ms);
    }
}

fn evaluate(store: &Memory, eval: &Eval) -> Outcome {
    if eval.series.iter().any(|line| line.foreign) {
        return Outcome::Skipped;
    }
    store.touched_foreign.store(false, Ordering::Relaxed);
    let options = Options::default();
    let result = match eval.step_ms {
        None => promql::instant(store, &eval.query, eval.from_ms, &options),
        Some(step_ms) => promql::range(store, &eval.query, eval.from_ms, eval.to_ms, step_ms, &options),
    };
    if store.touched_foreign.load(Ordering::Relaxed) {
        return Outcome::Skipped;
    }
    let fails = eval.expectations.iter().find(|(kind, _)| *kind == Expected::Fail);
    let checked = match (result, fails) {
        (Err(error), Some((_, text))) => expect_text(text, &[error.to_string()], "error"),
        (Err(error), None) => Err(format!("{}: {error}", eval.query)),
        (Ok(_), Some(_)) => Err(format!("{}: should fail", eval.query)),
        (Ok(answer), None) => check_answer(eval, &answer).and_then(|()| check_as_range(store, eval, &answer)),
    };
    checked.map_or_else(|reason| Outcome::Failed(format!("{}: {reason}", eval.query)), |()| Outcome::Passed)
}

fn expect_text(text: &Text, got: &[String], what: &str) -> Result<(), String> {
    let found = match text {
        Text::Any => !got.is_empty(),
        Text::Exact(wanted) => got.contains(wanted),
        Text::Pattern(pattern) => {
            let regex = regex::Regex::new(pattern).map_err(|error| error.to_string())?;
            got.iter().any(|text| regex.is_match(text))
        }
    };
    if found { Ok(()) } else { Err(format!("expected {what} {text:?}, got {got:?}")) }
}

fn check_answer(eval: &Eval, answer: &Answer) -> Result<(), String> {
    for (kind, text) in &eval.expectations {
        match kind {
            Expected::Warn => expect_text(text, &answer.warnings, "warning")?,
            Expected::Info => expect_text(text, &answer.infos, "info")?,
            Expected::NoWarn if !answer.warnings.is_empty() => return Err(format!("unexpected {:?}", answer.warnings)),
            Expected::NoInfo if !answer.infos.is_empty() => return Err(format!("unexpected {:?}", answer.infos)),
            _ => {}
        }
    }
    let ordered = eval.expectations.iter().any(|(kind, _)| *kind == Expected::Ordered);
    match &answer.value {
        QueryValue::Text { text, .. } => match &eval.text {
            Some(wanted) if wanted == text => Ok(()),
            wanted => Err(format!("expected string {wanted:?}, got {text:?}")),
        },
        QueryValue::Scalar(sample) => match eval.scalar {
            Some(wanted) if is_near(wanted, sample.value) => Ok(()),
            wanted => Err(format!("expected scalar {wanted:?}, got {}", sample.value)),
        },
        QueryValue::Vector(samples) => {
            let got: Vec<(Labels, Vec<Sample>)> =
                samples.iter().map(|s| (s.labels.clone(), vec![Sample { t_ms: s.t_ms, value: s.value }])).collect();
            compare(&expected(eval), &got, ordered)
        }
        QueryValue::Matrix(series) => {
            let got: Vec<(Labels, Vec<Sample>)> = series.iter().map(|s| (s.labels.clone(), s.samples.clone())).collect();
            compare(&expected(eval), &got, ordered)
        }
    }
}

fn expected(eval: &Eval) -> Vec<(Labels, Vec<Sample>)> {
    let (from, step) = match (eval.range_vector, eval.step_ms) {
        (Some((from, _, step)), _) => (from, step),
        (None, Some(step)) => (eval.from_ms, step),
        (None, None) => (eval.from_ms, 0),
    };
    let mut out: Vec<(Labels, Vec<Sample>)> = Vec::new();
    let scalar =
        eval.scalar.map(|value| Line { labels: Labels::new::<&str, &str>([]), values: vec![Some(value)], foreign: false });
    for line in eval.series.iter().chain(&scalar) {
        let samples = line.values.iter().enumerate();
        let samples = samples.filter_map(|(index, value)| value.map(|value| Sample { t_ms: from + index as i64 * step, value }));
        out.push((line.labels.clone(), samples.collect()));
    }
    out
}

fn compare(wanted: &[(Labels, Vec<Sample>)], got: &[(Labels, Vec<Sample>)], ordered: bool) -> Result<(), String> {
    let shown = |series: &[(Labels, Vec<Sample>)]| {
        let lines: Vec<String> = series
            .iter()
            .map(|(labels, samples)| {
                let values: Vec<String> = samples.iter().map(|sample| format!("{}@{}", sample.value, sample.t_ms)).collect();
                format!("{} {}", show_labels(labels), values.join(" "))
            })
            .collect();
        lines.join("; ")
    };
    let differ = || Err(format!("expected [{}], got [{}]", shown(wanted), shown(got)));
    if wanted.len() != got.len() {
        return differ();
    }
    let by_labels: BTreeMap<&Labels, &Vec<Sample>> = got.iter().map(|(labels, samples)| (labels, samples)).collect();
    for (index, (labels, samples)) in wanted.iter().enumerate() {
        let found = if ordered { (got[index].0 == *labels).then_some(&got[index].1) } else { by_labels.get(labels).copied() };
        let Some(found) = found else { return differ() };
        let same = found.len() == samples.len()
            && found.iter().zip(samples).all(|(left, right)| left.t_ms == right.t_ms && is_near(left.value, right.value));
        if !same {
            return differ();
        }
    }
    Ok(())
}

fn is_near(left: f64, right: f64) -> bool {
    if left == right || (left.is_nan() && right.is_nan()) {
        return true;
    }
    let (size, difference) = (left.abs() + right.abs(), (left - right).abs());
    if left == 0.0 || right == 0.0 || size < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / size < TOLERANCE
}

/// An instant answer must also be the middle step of a range query around it.
fn check_as_range(store: &Memory, eval: &Eval, answer: &Answer) -> Result<(), String> {
    let depends_on_range = ["start()", "end()", "range()", "step()"].iter().any(|word| eval.query.to_lowercase().contains(word));
    let QueryValue::Vector(samples) = &answer.value else { return Ok(()) };
    if eval.step_ms.is_some() || depends_on_range {
        return Ok(());
    }
    let at = eval.from_ms;
    let around = promql::range(store, &eval.query, at - 60_000, at + 60_000, 60_000, &Options::default());
    let around = match around {
        Ok(around) => around,
        // Neighbouring steps may break rules that this one keeps.
        Err(promql::QueryError::Execution(_)) => return Ok(()),
        Err(error) => return Err(format!("as a range: {error}")),
    };
    let QueryValue::Matrix(series) = around.value else { return Err("a range query gave no matrix".into()) };
    let middle: Vec<(Labels, Vec<Sample>)> = series
        .iter()
        .filter_map(|s| s.samples.iter().find(|sample| sample.t_ms == at).map(|sample| (s.labels.clone(), vec![*sample])))
        .collect();
    let instant: Vec<(Labels, Vec<Sample>)> =
        samples.iter().map(|s| (s.labels.clone(), vec![Sample { t_ms: s.t_ms, value: s.value }])).collect();
    compare(&instant, &middle, false).map_err(|reason| format!("as a range: {reason}"))
}
