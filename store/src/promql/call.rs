//! Function calls.

use ahash::AHashMap;

use crate::{Labels, MatchOp};

use super::ast::{Expr, Kind, Selector, ValueType};
use super::eval::{Evaluator, Failure, Value};
use super::functions::histogram::{self, Bucket};
use super::functions::math::{self, Civil, nan_first};
use super::functions::{Body, Function, RangeFunction, Special};
use super::labels::{self, without_name};
use super::literal::{format_open_metrics, quote};
use super::rows::{Row, RowSet, Steps, merge, require_distinct};

fn text_of(expr: &Expr) -> Result<&str, Failure> {
    match &expr.kind {
        Kind::Text(text) => Ok(text),
        Kind::Paren(inner) | Kind::StepInvariant(inner) => text_of(inner),
        _ => Err(Failure::Execution("expected a string".into())),
    }
}

/// Label values longer than this are not made: a short query that doubles a label at each of its levels would else fill all
/// memory.
const MAX_LABEL_BYTES: usize = 1 << 20;
/// Bytes of label text that count as much as one sample held.
const BYTES_PER_SAMPLE: usize = size_of::<crate::Sample>();

/// Samples looked at in windows before a query asks again whether to go on: one series can keep a core busy for hours.
const SAMPLES_PER_PULSE: usize = 1 << 20;

/// A classic histogram: its labels, and its buckets with their upper bounds.
type Histogram = (Labels, Vec<(f64, Row)>);

impl Evaluator<'_> {
    pub(super) fn call(&mut self, function: &'static Function, args: &[Expr], at: usize, steps: Steps) -> Result<Value, Failure> {
        let rows = match function.body {
            Body::Range(body) => self.range_call(function, body, args, steps)?,
            Body::Math(body) => self.change(&args[0], steps, |_, value| body(value))?,
            Body::Date(body) if args.is_empty() => {
                self.charge(steps.count)?;
                let mut row = Row::with_capacity(labels::empty(), steps.count);
                steps.times().for_each(|(step, t_ms)| row.push(step, body(Civil::from_seconds(t_ms.div_euclid(1000) as f64))));
                vec![row]
            }
            Body::Date(body) => self.change(&args[0], steps, |_, value| body(Civil::from_seconds(value)))?,
            Body::Special(special) => return self.special(special, args, at, steps),
        };
        Ok(Value::Rows(rows))
    }

    fn special(&mut self, special: Special, args: &[Expr], at: usize, steps: Steps) -> Result<Value, Failure> {
        let rows = match special {
            Special::Pi => return Ok(Value::Scalar(vec![std::f64::consts::PI; steps.count])),
            Special::Time => return Ok(Value::Scalar(steps.times().map(|(_, t_ms)| t_ms as f64 / 1000.0).collect())),
            Special::MaxOf | Special::MinOf => {
                let pick = if special == Special::MaxOf { math::larger } else { math::smaller };
                let (left, right) = (self.scalar(&args[0], steps)?, self.scalar(&args[1], steps)?);
                return Ok(Value::Scalar(left.iter().zip(&right).map(|(left, right)| pick(*left, *right)).collect()));
            }
            Special::Scalar => return self.single_value(&args[0], steps),
            Special::Vector => {
                self.charge(steps.count)?;
                let mut row = Row::with_capacity(labels::empty(), steps.count);
                self.scalar(&args[0], steps)?.into_iter().enumerate().for_each(|(step, value)| row.push(step, value));
                if row.is_empty() { Vec::new() } else { vec![row] }
            }
            Special::Absent => self.absent(&args[0], steps)?,
            Special::AbsentOverTime => self.absent_over_time(&args[0], steps)?,
            Special::Clamp => {
                let (low, high) = (self.scalar(&args[1], steps)?, self.scalar(&args[2], steps)?);
                let clamp = |step: usize, value| math::larger(low[step], math::smaller(high[step], value));
                self.change_if(&args[0], steps, |step, value| {
                    (low[step] <= high[step] || low[step].is_nan() || high[step].is_nan()).then(|| clamp(step, value))
                })?
            }
            Special::ClampMax => {
                let high = self.scalar(&args[1], steps)?;
                self.change(&args[0], steps, |step, value| math::smaller(high[step], value))?
            }
            Special::ClampMin => {
                let low = self.scalar(&args[1], steps)?;
                self.change(&args[0], steps, |step, value| math::larger(low[step], value))?
            }
            Special::Round => {
                let nearest = match args.get(1) {
                    Some(arg) => self.scalar(arg, steps)?,
                    None => vec![1.0; steps.count],
                };
                self.change(&args[0], steps, |step, value| math::round(value, nearest[step]))?
            }
            Special::Timestamp => self.timestamp(&args[0], steps)?,
            Special::LabelReplace => self.label_replace(args, steps)?,
            Special::LabelJoin => self.label_join(args, steps)?,
            Special::Sort | Special::SortDesc | Special::SortByLabel | Special::SortByLabelDesc => {
                self.sort(special, args, at, steps)?
            }
            Special::HistogramQuantile => {
                let q = self.scalar(&args[0], steps)?;
                q.iter().for_each(|q| self.notes.invalid_quantile(args[0].span.start, *q));
                self.histogram_quantile(&args[1], &[(None, q)], steps)?
            }
            Special::HistogramQuantiles => self.histogram_quantiles(args, steps)?,
            Special::HistogramFraction => self.histogram_fraction(args, steps)?,
            Special::Info => self.info(args, steps)?,
            Special::NativeOnly => {
                self.rows(&args[0], steps)?;
                Vec::new()
            }
            Special::QueryContext => return Err(Failure::Execution("query context is not resolved".into())),
        };
        Ok(Value::Rows(rows))
    }

    /// Applies a function to every value; the name goes.
    fn change(&mut self, expr: &Expr, steps: Steps, change: impl Fn(usize, f64) -> f64) -> Result<Vec<Row>, Failure> {
        self.change_if(expr, steps, |step, value| Some(change(step, value)))
    }

    fn change_if(&mut self, expr: &Expr, steps: Steps, change: impl Fn(usize, f64) -> Option<f64>) -> Result<Vec<Row>, Failure> {
        let rows = self.rows(expr, steps)?;
        let changed = rows.iter().map(|row| row.filter_map(without_name(&row.labels), &change)).collect();
        merge(changed)
    }

    fn range_call(&mut self, function: &Function, body: RangeFunction, args: &[Expr], steps: Steps) -> Result<Vec<Row>, Failure> {
        let matrix = args.iter().position(|arg| arg.value_type() == ValueType::Matrix).unwrap_or(0);
        let mut scalars = Vec::new();
        for (index, arg) in args.iter().enumerate() {
            if index != matrix {
                scalars.push(self.scalar(arg, steps)?);
            }
        }
        self.check_reach(function, &args[matrix])?;
        let mut at_step = vec![0.0; scalars.len()];
        let mut rows = RowSet::default();
        let is_rate = matches!(function.name, "rate" | "increase");
        let mut looked_at = 0;
        self.each_range(&args[matrix], steps, |this, first, part, ranges| {
            for series in ranges.series() {
                let source = &series.labels;
                let labels = || if function.keeps_name() { source.clone() } else { without_name(source) };
                let row = rows.of(source, steps.count, labels);
                let before = row.len();
                ranges.walk(series, part, |step, window| {
                    looked_at += window.samples.len();
                    if looked_at >= SAMPLES_PER_PULSE {
                        looked_at = 0;
                        this.pulse()?;
                    }
                    at_step.iter_mut().zip(&scalars).for_each(|(value, column)| *value = column[first + step]);
                    if let Some(value) = body(window, &at_step).map_err(Failure::Execution)? {
                        row.push(first + step, value);
                    }
                    Ok::<(), Failure>(())
                })?;
                let added = row.len() - before;
                this.charge(added)?;
                if is_rate && added > 0 {
                    this.note_non_counter(source.metric(), args[matrix].span.start);
                }
            }
            Ok(())
        })?;
        let out = rows.into_rows();
        if function.name == "quantile_over_time" && !out.is_empty() {
            scalars[0].iter().for_each(|q| self.notes.invalid_quantile(args[0].span.start, *q));
        }
        require_distinct(&out)?;
        Ok(out)
    }

    fn check_reach(&self, function: &Function, matrix: &Expr) -> Result<(), Failure> {
        let Kind::Matrix { selector, .. } = &matrix.kind else { return Ok(()) };
        let (word, allowed): (&str, &[&str]) = match (selector.anchored, selector.smoothed) {
            (true, _) => ("anchored", &["changes", "delta", "increase", "rate", "resets"]),
            (_, true) => ("smoothed", &["delta", "increase", "rate"]),
            _ => return Ok(()),
        };
        if allowed.contains(&function.name) {
            return Ok(());
        }
        let message = format!("{word} modifier can only be used with: {} - not with {}", allowed.join(", "), function.name);
        Err(Failure::Execution(message))
    }

    fn note_non_counter(&mut self, metric: &str, at: usize) {
        let is_counter = ["_total", "_sum", "_count", "_bucket"].iter().any(|end| metric.ends_with(end));
        if !metric.is_empty() && !is_counter {
            let message = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:";
            self.notes.info(at, format!("{message} {}", quote(metric)));
        }
    }

    fn single_value(&mut self, expr: &Expr, steps: Steps) -> Result<Value, Failure> {
        let rows = self.rows(expr, steps)?;
        let mut seen = vec![0u32; steps.count];
        let mut values = vec![f64::NAN; steps.count];
        for row in &rows {
            for (step, value) in row.iter() {
                seen[step] += 1;
                values[step] = if seen[step] == 1 { value } else { f64::NAN };
            }
        }
        self.release(&rows);
        Ok(Value::Scalar(values))
    }

    fn timestamp(&mut self, expr: &Expr, steps: Steps) -> Result<Vec<Row>, Failure> {
        let mut inner = expr;
        let mut fixed = false;
        while let Kind::StepInvariant(next) = &inner.kind {
            (inner, fixed) = (next, true);
        }
        if let Kind::Vector(selector) = &inner.kind
            && !fixed
        {
            let rows = self.sample_times(selector, steps)?;
            return merge(rows.into_iter().map(|row| row.filter_map(without_name(&row.labels), |_, t| Some(t))).collect());
        }
        self.change(expr, steps, |step, _| steps.time(step) as f64 / 1000.0)
    }

    fn absent(&mut self, expr: &Expr, steps: Steps) -> Result<Vec<Row>, Failure> {
        let rows = self.rows(expr, steps)?;
        let mut present = vec![false; steps.count];
        rows.iter().for_each(|row| row.iter().for_each(|(step, _)| present[step] = true));
        Ok(absent_row(expr, &present))
    }

    fn absent_over_time(&mut self, expr: &Expr, steps: Steps) -> Result<Vec<Row>, Failure> {
        let mut present = vec![false; steps.count];
        self.each_range(expr, steps, |this, first, part, ranges| {
            for series in ranges.series() {
                this.pulse()?;
                ranges.walk(series, part, |step, _| {
                    present[first + step] = true;
                    Ok::<(), Failure>(())
                })?;
            }
            Ok(())
        })?;
        Ok(absent_row(expr, &present))
    }

    fn label_replace(&mut self, args: &[Expr], steps: Steps) -> Result<Vec<Row>, Failure> {
        let (target, replacement) = (text_of(&args[1])?, text_of(&args[2])?);
        let (source, pattern) = (text_of(&args[3])?, text_of(&args[4])?);
        let regex = super::pattern::compile(pattern)
            .map_err(|_| Failure::Execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
        if !labels::is_valid_name(target) {
            return Err(Failure::Execution(format!("invalid destination label name in label_replace(): {target}")));
        }
        let mut rows = self.rows(&args[0], steps)?;
        for row in &mut rows {
            let value = row.labels.get(source).unwrap_or("");
            let Some(captures) = regex.captures(value) else { continue };
            // No reference is longer than the whole value.
            let references = replacement.bytes().filter(|&byte| byte == b'$').count();
            self.charge_label("label_replace", target, references.saturating_mul(value.len()) + replacement.len())?;
            let mut replaced = String::new();
            captures.expand(replacement, &mut replaced);
            row.labels = labels::set(&row.labels, target, &replaced);
        }
        merge(rows)
    }

    fn label_join(&mut self, args: &[Expr], steps: Steps) -> Result<Vec<Row>, Failure> {
        let (target, separator) = (text_of(&args[1])?, text_of(&args[2])?);
        let sources = args[3..].iter().map(text_of).collect::<Result<Vec<&str>, Failure>>()?;
        if let Some(source) = sources.iter().find(|source| !labels::is_valid_name(source)) {
            return Err(Failure::Execution(format!("invalid source label name in label_join(): {source}")));
        }
        if !labels::is_valid_name(target) {
            return Err(Failure::Execution(format!("invalid destination label name in label_join(): {target}")));
        }
        let mut rows = self.rows(&args[0], steps)?;
        for row in &mut rows {
            let values: Vec<&str> = sources.iter().map(|source| row.labels.get(source).unwrap_or("")).collect();
            let length = values.iter().map(|value| value.len() + separator.len()).sum();
            self.charge_label("label_join", target, length)?;
            row.labels = labels::set(&row.labels, target, &values.join(separator));
        }
        merge(rows)
    }

    /// Accounts for the text of a label about to be made.
    fn charge_label(&mut self, function: &str, name: &str, bytes: usize) -> Result<(), Failure> {
        if bytes > MAX_LABEL_BYTES {
            let message = format!("label {} of {function}() would be longer than {MAX_LABEL_BYTES} bytes", quote(name));
            return Err(Failure::Execution(message));
        }
        self.charge(bytes / BYTES_PER_SAMPLE)
    }

    fn sort(&mut self, special: Special, args: &[Expr], at: usize, steps: Steps) -> Result<Vec<Row>, Failure> {
        let mut rows = self.rows(&args[0], steps)?;
        if steps.count != 1 {
            self.notes.warn(at, "sort is ineffective for range queries since results are always ordered by labels");
            return Ok(rows);
        }
        let value = |row: &Row| row.get(0).unwrap_or(f64::NAN);
        match special {
            Special::Sort => rows.sort_by(|left, right| {
                let (left, right) = (value(left), value(right));
                if left.is_nan() || right.is_nan() { nan_first(right, left) } else { nan_first(left, right) }
            }),
            Special::SortDesc => rows.sort_by(|left, right| nan_first(value(right), value(left))),
            _ => {
                let names = args[1..].iter().map(text_of).collect::<Result<Vec<&str>, Failure>>()?;
                rows.sort_by(|left, right| by_labels(&left.labels, &right.labels, &names));
                if special == Special::SortByLabelDesc {
                    rows.reverse();
                }
            }
        }
        Ok(rows)
    }

    fn buckets(&mut self, expr: &Expr, steps: Steps) -> Result<Vec<Histogram>, Failure> {
        let rows = self.rows(expr, steps)?;
        let mut places: AHashMap<Labels, usize> = AHashMap::new();
        let mut out: Vec<Histogram> = Vec::new();
        for row in rows {
            let bound = row.labels.get("le").unwrap_or("");
            let Ok(upper) = bound.parse::<f64>() else {
                let message = format!("bucket label \"le\" is missing or has a malformed value of {}", quote(bound));
                self.notes.warn(expr.span.start, message);
                continue;
            };
            // Histograms of different names are different even though the result loses the name.
            let key = labels::keep(&row.labels, |name| name != "le");
            let place = *places.entry(key).or_insert_with_key(|key| {
                out.push((without_name(key), Vec::new()));
                out.len() - 1
            });
            out[place].1.push((upper, row));
        }
        Ok(out)
    }

    fn histogram_quantiles(&mut self, args: &[Expr], steps: Steps) -> Result<Vec<Row>, Failure> {
        let label = text_of(&args[1])?;
        let mut quantiles = Vec::new();
        for arg in &args[2..] {
            let q = self.scalar(arg, steps)?;
            q.iter().for_each(|q| self.notes.invalid_quantile(arg.span.start, *q));
            quantiles.push((Some(label), q));
        }
        self.histogram_quantile(&args[0], &quantiles, steps)
    }

    fn histogram_quantile(
        &mut self,
        expr: &Expr,
        quantiles: &[(Option<&str>, Vec<f64>)],
        steps: Steps,
    ) -> Result<Vec<Row>, Failure> {
        let histograms = self.buckets(expr, steps)?;
        let mut out = Vec::new();
        let mut scratch = Vec::new();
        for (label, quantile) in quantiles {
            for (labels, rows) in &histograms {
                self.pulse()?;
                // A quantile that changes makes a new row: its value is a label.
                let mut current: Option<(f64, Row)> = None;
                for (step, t_ms) in steps.times() {
                    if !fill(&mut scratch, rows, step) {
                        continue;
                    }
                    let q = quantile[step];
                    let (value, repair) = histogram::quantile(q, &mut scratch);
                    if let Some(repair) = repair {
                        self.notes.repaired(expr.span.start, t_ms, repair);
                    }
                    let goes_on = current.as_ref().is_some_and(|(known, _)| label.is_none() || known.to_bits() == q.to_bits());
                    if !goes_on {
                        let labels = match label {
                            Some(label) => labels::set(labels, label, &format_open_metrics(q)),
                            None => labels.clone(),
                        };
                        out.extend(current.replace((q, Row::new(labels))).map(|(_, row)| row));
                    }
                    if let Some((_, row)) = &mut current {
                        row.push(step, value);
                    }
                }
                out.extend(current.map(|(_, row)| row));
            }
        }
        merge(out)
    }

    fn histogram_fraction(&mut self, args: &[Expr], steps: Steps) -> Result<Vec<Row>, Failure> {
        let (lower, upper) = (self.scalar(&args[0], steps)?, self.scalar(&args[1], steps)?);
        let histograms = self.buckets(&args[2], steps)?;
        let mut out = Vec::new();
        let mut scratch = Vec::new();
        for (labels, rows) in histograms {
            let mut row = Row::new(labels);
            for step in 0..steps.count {
                if fill(&mut scratch, &rows, step) {
                    row.push(step, histogram::fraction(lower[step], upper[step], &mut scratch));
                }
            }
            out.push(row);
        }
        merge(out)
    }
}

/// The buckets at one step; whether there are any.
fn fill(scratch: &mut Vec<Bucket>, rows: &[(f64, Row)], step: usize) -> bool {
    scratch.clear();
    scratch.extend(rows.iter().filter_map(|(upper, row)| row.get(step).map(|count| Bucket { upper: *upper, count })));
    !scratch.is_empty()
}

fn absent_row(expr: &Expr, present: &[bool]) -> Vec<Row> {
    let mut row = Row::new(absent_labels(expr));
    present.iter().enumerate().filter(|(_, present)| !**present).for_each(|(step, _)| row.push(step, 1.0));
    if row.is_empty() { Vec::new() } else { vec![row] }
}

/// The labels a selector demands by equality, once each.
fn absent_labels(expr: &Expr) -> Labels {
    let selector: &Selector = match &expr.kind {
        Kind::Vector(selector) | Kind::Matrix { selector, .. } => selector,
        Kind::StepInvariant(inner) => return absent_labels(inner),
        _ => return labels::empty(),
    };
    let matchers = selector.matchers.iter().filter(|matcher| matcher.name != "__name__");
    let mut demanded: Vec<(&str, &str)> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers {
        let first = matcher.op == MatchOp::Equal && !seen.contains(&matcher.name.as_str());
        demanded.retain(|(name, _)| *name != matcher.name);
        if first {
            demanded.push((&matcher.name, &matcher.value));
            seen.push(&matcher.name);
        }
    }
    Labels::new(demanded)
}

fn by_labels(left: &Labels, right: &Labels, names: &[&str]) -> std::cmp::Ordering {
    for name in names {
        let (left, right) = (left.get(name).unwrap_or(""), right.get(name).unwrap_or(""));
        if left != right {
            return natural(left, right);
        }
    }
    left.cmp(right)
}

/// Splits into runs of digits and of anything else.
fn chunks(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let digits = rest.chars().next()?.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
        let (chunk, tail) = rest.split_at(end);
        rest = tail;
        Some(chunk)
    })
}

/// Order in which numbers inside text count as numbers.
fn natural(left: &str, right: &str) -> std::cmp::Ordering {
    let (mut left_chunks, mut right_chunks) = (chunks(left), chunks(right));
    loop {
        match (left_chunks.next(), right_chunks.next()) {
            (None, None) => return left.cmp(right),
            (None, Some(_)) => return std::cmp::Ordering::Less,
            (Some(_), None) => return std::cmp::Ordering::Greater,
            (Some(left), Some(right)) => {
                let order = match (left.parse::<u64>(), right.parse::<u64>()) {
                    (Ok(left), Ok(right)) => left.cmp(&right),
                    _ => left.cmp(right),
                };
                if order.is_ne() {
                    return order;
                }
            }
        }
    }
}
