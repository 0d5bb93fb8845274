//! `info()`: adds the labels of info metrics (`target_info` and its kind) to the series they are about.

use ahash::{AHashMap, AHashSet};

use crate::{Labels, MatchOp, Matcher, TimeRange};

use super::ast::{At, Expr, Kind};
use super::eval::{Evaluator, Failure};
use super::labels::{self, keep, show};
use super::rows::{Row, Steps, merge};
use super::select::Picks;

/// The labels that say what a series is about.
const IDENTIFYING: [&str; 2] = ["instance", "job"];
const DEFAULT_METRIC: &str = "target_info";

/// A series of an info metric and the time of its sample per step.
struct InfoRow {
    labels: Labels,
    times: Row,
}

fn name_matchers(given: &[Matcher]) -> Result<Vec<Matcher>, Failure> {
    let mut matchers: Vec<Matcher> = given.iter().filter(|matcher| matcher.name == "__name__").cloned().collect();
    let is_positive = |matcher: &Matcher| matches!(matcher.op, MatchOp::Equal | MatchOp::Regex);
    if matchers.is_empty() {
        matchers.push(Matcher::equal("__name__", DEFAULT_METRIC));
    } else if !matchers.iter().any(is_positive) {
        matchers.push(Matcher::new("__name__", MatchOp::Regex, ".+_info").map_err(Failure::Storage)?);
    }
    Ok(matchers)
}

/// The time the first selector in an expression is fixed to, and how far it is shifted.
fn reference(expr: &Expr) -> Option<(Option<i64>, i64)> {
    let at = |at: At| if let At::Time(ms) = at { Some(ms) } else { None };
    match &expr.kind {
        Kind::Vector(selector) | Kind::Matrix { selector, .. } => Some((at(selector.at), selector.offset.ms())),
        Kind::Subquery(subquery) => {
            let (fixed, offset) = reference(&subquery.expr)?;
            match fixed {
                Some(ms) => Some((Some(ms), offset)),
                None => Some((at(subquery.at), offset + subquery.offset.ms())),
            }
        }
        Kind::Call { args, .. } => args.iter().find_map(reference),
        Kind::Aggregate(aggregate) => reference(&aggregate.expr).or_else(|| aggregate.param.as_ref().and_then(reference)),
        Kind::Binary(binary) => reference(&binary.lhs).or_else(|| reference(&binary.rhs)),
        Kind::Unary { expr, .. } | Kind::Paren(expr) | Kind::StepInvariant(expr) => reference(expr),
        Kind::Number { .. } | Kind::Text(_) => None,
    }
}

fn identity(labels: &Labels) -> Labels {
    keep(labels, |name| IDENTIFYING.contains(&name))
}

impl Evaluator<'_> {
    pub(super) fn info(&mut self, args: &[Expr], steps: Steps) -> Result<Vec<Row>, Failure> {
        let (fixed, offset) = reference(&args[0]).unwrap_or((None, 0));
        let base = self.rows(&args[0], steps)?;
        let given: &[Matcher] = match args.get(1).map(|arg| &arg.kind) {
            Some(Kind::Vector(selector)) => &selector.matchers,
            _ => &[],
        };
        let names = name_matchers(given)?;
        let wanted: Vec<&Matcher> = given.iter().filter(|matcher| matcher.name != "__name__").collect();
        let is_info = |labels: &Labels| names.iter().all(|matcher| matcher.matches(labels.metric()));
        let infos = self.info_rows(&base, &names, &wanted, &is_info, steps, (fixed, offset))?;
        let mut metrics: Vec<&str> = infos.iter().map(|info| info.labels.metric()).collect();
        metrics.sort_unstable();
        metrics.dedup();
        let mut by_identity: AHashMap<(Labels, &str), Vec<&InfoRow>> = AHashMap::new();
        for info in &infos {
            by_identity.entry((identity(&info.labels), info.labels.metric())).or_default().push(info);
        }
        let mut out = Vec::new();
        for row in &base {
            self.pulse()?;
            if is_info(&row.labels) {
                out.push(row.clone());
                continue;
            }
            let identity = identity(&row.labels);
            let candidates: Vec<&Vec<&InfoRow>> =
                metrics.iter().filter_map(|metric| by_identity.get(&(identity.clone(), *metric))).collect();
            enrich(row, &candidates, &wanted, &mut out)?;
        }
        self.release(&base);
        merge(out)
    }

    fn info_rows(
        &mut self,
        base: &[Row],
        names: &[Matcher],
        wanted: &[&Matcher],
        is_info: &impl Fn(&Labels) -> bool,
        steps: Steps,
        (fixed, offset): (Option<i64>, i64),
    ) -> Result<Vec<InfoRow>, Failure> {
        let mut matchers: Vec<Matcher> = names.to_vec();
        matchers.extend(wanted.iter().map(|matcher| (*matcher).clone()));
        let mut identified = false;
        for label in IDENTIFYING {
            let rows = base.iter().filter(|row| !is_info(&row.labels));
            let values: AHashSet<&str> = rows.filter_map(|row| row.labels.get(label)).collect();
            if values.is_empty() {
                continue;
            }
            identified = true;
            let pattern: Vec<String> = values.into_iter().map(regex::escape).collect();
            matchers.push(Matcher::new(label, MatchOp::Regex, pattern.join("|")).map_err(Failure::Storage)?);
        }
        if !identified || steps.count == 0 {
            return Ok(Vec::new());
        }
        let (first, last) = fixed.map_or((steps.start_ms, steps.last_ms()), |ms| (ms, ms));
        let range = TimeRange { from_ms: first - offset - self.lookback_ms + 1, to_ms: last - offset };
        let series = self.fetch(&matchers, range, false)?;
        let picks = Picks { at: fixed, offset, lookback: self.lookback_ms, value_of: |sample| sample.t_ms as f64 };
        let rows = series.iter().map(|one| {
            let mut times = Row::with_capacity(one.labels.clone(), steps.count);
            picks.add_to(&mut times, 0, one, steps);
            InfoRow { labels: one.labels.clone(), times }
        });
        Ok(rows.filter(|info| !info.times.is_empty()).collect())
    }
}

/// Splits the row by what its info labels are at each step.
fn enrich(row: &Row, candidates: &[&Vec<&InfoRow>], wanted: &[&Matcher], out: &mut Vec<Row>) -> Result<(), Failure> {
    let needs_match = wanted.iter().any(|matcher| !matcher.matches(""));
    let mut cache: AHashMap<Vec<usize>, Labels> = AHashMap::new();
    for (step, value) in row.iter() {
        let mut chosen = Vec::new();
        let mut found = Vec::new();
        for infos in candidates {
            if let Some(index) = newest(infos, step)? {
                found.push(infos[index]);
                chosen.push(index + 1);
            } else {
                chosen.push(0);
            }
        }
        if found.is_empty() && needs_match {
            continue;
        }
        let labels = match cache.get(&chosen) {
            Some(labels) => labels.clone(),
            None => {
                let labels = with_info(&row.labels, &found, wanted)?;
                cache.insert(chosen, labels.clone());
                labels
            }
        };
        match out.last_mut() {
            Some(last) if last.labels == labels => last.push(step, value),
            _ => {
                let mut next = Row::new(labels);
                next.push(step, value);
                out.push(next);
            }
        }
    }
    Ok(())
}

/// The info series with the latest sample.
fn newest(infos: &[&InfoRow], step: usize) -> Result<Option<usize>, Failure> {
    let mut best: Option<(usize, f64)> = None;
    for (index, info) in infos.iter().enumerate() {
        let Some(t_ms) = info.times.get(step) else { continue };
        match best {
            Some((other, best_ms)) if best_ms == t_ms => {
                let (existing, new) = (show(&infos[other].labels), show(&info.labels));
                let message =
                    format!("found duplicate series for info metric: existing {existing} @ {best_ms}, new {new} @ {t_ms}");
                return Err(Failure::Execution(message));
            }
            Some((_, best_ms)) if best_ms > t_ms => {}
            _ => best = Some((index, t_ms)),
        }
    }
    Ok(best.map(|(index, _)| index))
}

fn with_info(base: &Labels, infos: &[&InfoRow], wanted: &[&Matcher]) -> Result<Labels, Failure> {
    let mut added: Vec<(&str, &str)> = Vec::new();
    for info in infos {
        for (name, value) in info.labels.iter() {
            let selected = wanted.is_empty() || wanted.iter().any(|matcher| matcher.name == name);
            if name == "__name__" || !selected {
                continue;
            }
            if let Some((_, other)) = added.iter().find(|(known, _)| *known == name)
                && *other != value
            {
                return Err(Failure::Execution(format!("conflicting label: {name}")));
            }
            if base.get(name).is_none() {
                added.push((name, value));
            }
        }
    }
    Ok(added.into_iter().fold(base.clone(), |labels, (name, value)| labels::set(&labels, name, value)))
}
