//! Makes a parsed query ready for one time range: duration arithmetic becomes durations, `start()` and the like become
//! numbers, and subtrees that are the same at every step are marked so that they are evaluated once.

use super::ast::*;

/// The range a query is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueryRange {
    pub start_ms: i64,
    pub end_ms: i64,
    /// 0 for instant queries.
    pub step_ms: i64,
}

pub(super) fn prepare(mut expr: Expr, range: QueryRange) -> Result<Expr, String> {
    resolve(&mut expr, range)?;
    if mark(&mut expr).wrap {
        wrap(&mut expr);
    }
    Ok(expr)
}

fn resolve(expr: &mut Expr, range: QueryRange) -> Result<(), String> {
    match &mut expr.kind {
        Kind::Number { .. } | Kind::Text(_) => Ok(()),
        Kind::Vector(selector) => resolve_selector(selector, range),
        Kind::Matrix { selector, range: window } => {
            resolve_selector(selector, range)?;
            resolve_duration(window, range, false)
        }
        Kind::Subquery(subquery) => {
            resolve_duration(&mut subquery.range, range, false)?;
            resolve_duration(&mut subquery.step, range, false)?;
            resolve_duration(&mut subquery.offset, range, true)?;
            subquery.at = fixed(subquery.at, range);
            resolve(&mut subquery.expr, range)
        }
        Kind::Call { function, args } => {
            let seconds = |ms: i64| ms as f64 / 1000.0;
            let value = match function.name {
                "start" => Some(seconds(range.start_ms)),
                "end" => Some(seconds(range.end_ms)),
                "range" => Some(seconds(range.end_ms - range.start_ms)),
                "step" => Some(if range.start_ms == range.end_ms { 0.0 } else { seconds(range.step_ms) }),
                _ => None,
            };
            if let Some(value) = value {
                expr.kind = Kind::Number { value, duration: false };
                return Ok(());
            }
            for arg in args {
                unwrap_parens(arg);
                resolve(arg, range)?;
            }
            Ok(())
        }
        Kind::Aggregate(aggregate) => {
            if let Some(param) = &mut aggregate.param {
                unwrap_parens(param);
                resolve(param, range)?;
            }
            unwrap_parens(&mut aggregate.expr);
            resolve(&mut aggregate.expr, range)
        }
        Kind::Binary(binary) => {
            resolve(&mut binary.lhs, range)?;
            resolve(&mut binary.rhs, range)
        }
        Kind::Unary { expr: inner, .. } | Kind::Paren(inner) | Kind::StepInvariant(inner) => resolve(inner, range),
    }
}

/// Arguments are looked at by kind, so parentheres around them go.
fn unwrap_parens(expr: &mut Expr) {
    while let Kind::Paren(inner) = &mut expr.kind {
        let placeholder = Expr { kind: Kind::Text(String::new()), span: inner.span };
        *expr = std::mem::replace(&mut **inner, placeholder);
    }
}

fn fixed(at: At, range: QueryRange) -> At {
    match at {
        At::Start => At::Time(range.start_ms),
        At::End => At::Time(range.end_ms),
        other => other,
    }
}

fn resolve_selector(selector: &mut Selector, range: QueryRange) -> Result<(), String> {
    selector.at = fixed(selector.at, range);
    resolve_duration(&mut selector.offset, range, true)
}

fn resolve_duration(spec: &mut DurationSpec, range: QueryRange, may_be_negative: bool) -> Result<(), String> {
    let Some(expr) = spec.expr.take() else { return Ok(()) };
    let place = |message: &str| format!("{}:{}: {message}", expr.span.start, expr.span.end);
    let seconds = evaluate(&expr, range)?;
    if !seconds.is_finite() {
        return Err(place("duration is NaN or infinite"));
    }
    if seconds <= 0.0 && !may_be_negative {
        return Err(place("duration must be greater than 0"));
    }
    if seconds.abs() > 9_223_372_036.0 {
        return Err(place("duration is out of range"));
    }
    spec.ns = (seconds * 1000.0) as i64 * 1_000_000;
    Ok(())
}

fn evaluate(expr: &DurationExpr, range: QueryRange) -> Result<f64, String> {
    let place = |message: &str| Err(format!("{}:{}: {message}", expr.span.start, expr.span.end));
    Ok(match &expr.kind {
        DurationKind::Number { value, .. } => *value,
        DurationKind::Step => range.step_ms as f64 / 1000.0,
        DurationKind::Range => (range.end_ms - range.start_ms) as f64 / 1000.0,
        DurationKind::Negate(inner) => -evaluate(inner, range)?,
        DurationKind::Binary(op, lhs, rhs) => {
            let (lhs, rhs) = (evaluate(lhs, range)?, evaluate(rhs, range)?);
            match op {
                DurationOp::Add => lhs + rhs,
                DurationOp::Sub => lhs - rhs,
                DurationOp::Mul => lhs * rhs,
                DurationOp::Div if rhs == 0.0 => return place("division by zero"),
                DurationOp::Mod if rhs == 0.0 => return place("modulo by zero"),
                DurationOp::Div => lhs / rhs,
                DurationOp::Mod => lhs % rhs,
                DurationOp::Pow => lhs.powf(rhs),
                DurationOp::Min => lhs.min(rhs),
                DurationOp::Max => lhs.max(rhs),
            }
        }
    })
}

#[derive(Clone, Copy)]
struct Mark {
    /// The same at every step.
    invariant: bool,
    /// Worth a mark of its own (literals and range selectors are not).
    wrap: bool,
}

fn wrap(expr: &mut Expr) {
    let span = expr.span;
    let inner = std::mem::replace(expr, Expr { kind: Kind::Text(String::new()), span });
    expr.kind = Kind::StepInvariant(Box::new(inner));
}

fn mark(expr: &mut Expr) -> Mark {
    match &mut expr.kind {
        Kind::Number { .. } | Kind::Text(_) => Mark { invariant: true, wrap: false },
        Kind::Vector(selector) => {
            let invariant = selector.at != At::None;
            Mark { invariant, wrap: invariant }
        }
        Kind::Matrix { selector, .. } => Mark { invariant: selector.at != At::None, wrap: false },
        Kind::Subquery(subquery) => {
            if mark(&mut subquery.expr).invariant {
                wrap(&mut subquery.expr);
            }
            Mark { invariant: subquery.at != At::None, wrap: false }
        }
        Kind::Call { function, args } => {
            let marks: Vec<Mark> = args.iter_mut().map(mark).collect();
            let all = marks.iter().all(|mark| mark.invariant);
            // The timestamp of a selector fixed by @ is fixed too.
            let fixed_timestamp = function.name == "timestamp" && matches!(args[0].kind, Kind::Vector(_));
            if all && (!function.depends_on_time() || fixed_timestamp) {
                return Mark { invariant: true, wrap: true };
            }
            for (arg, mark) in args.iter_mut().zip(marks) {
                if mark.wrap {
                    wrap(arg);
                }
            }
            Mark { invariant: false, wrap: false }
        }
        Kind::Aggregate(aggregate) => {
            let inner = mark(&mut aggregate.expr);
            let param = aggregate.param.as_mut().map(mark);
            if param.is_none_or(|mark| mark.invariant) {
                return inner;
            }
            if inner.wrap {
                wrap(&mut aggregate.expr);
            }
            Mark { invariant: false, wrap: false }
        }
        Kind::Binary(binary) => {
            let (lhs, rhs) = (mark(&mut binary.lhs), mark(&mut binary.rhs));
            if lhs.invariant && rhs.invariant {
                return Mark { invariant: true, wrap: true };
            }
            if lhs.wrap {
                wrap(&mut binary.lhs);
            }
            if rhs.wrap {
                wrap(&mut binary.rhs);
            }
            Mark { invariant: false, wrap: false }
        }
        Kind::Unary { expr, .. } | Kind::Paren(expr) | Kind::StepInvariant(expr) => mark(expr),
    }
}
