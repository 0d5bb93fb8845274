//! Syntax tree to text, in one line or broken at 100 characters as `promtool promql format` does.

use std::fmt::{self, Display, Formatter};

use crate::{MatchOp, Matcher};

use super::ast::*;
use super::literal::{format_plain, is_plain_label, print_duration, quote};

const MAX_LINE: usize = 100;

fn write_label(f: &mut Formatter, name: &str) -> fmt::Result {
    if is_plain_label(name) { f.write_str(name) } else { f.write_str(&quote(name)) }
}

struct LabelList<'a>(&'a [String]);

impl Display for LabelList<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        for (index, label) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write_label(f, label)?;
        }
        Ok(())
    }
}

pub(super) struct ShownMatcher<'a>(pub &'a Matcher);

impl Display for ShownMatcher<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write_label(f, &self.0.name)?;
        let op = match self.0.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        write!(f, "{op}{}", quote(&self.0.value))
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match &self.kind {
            Kind::Number { value, duration: true } => f.write_str(&print_duration((value * 1e9) as i64)),
            Kind::Number { value, .. } => f.write_str(&format_plain(*value)),
            Kind::Text(text) => f.write_str(&quote(text)),
            Kind::Vector(selector) => write!(f, "{}{}", Names(selector), Modifiers::of(selector)),
            Kind::Matrix { selector, range } => {
                let Modifiers { at, extended, offset } = Modifiers::of(selector);
                // A range names its reach before the time, an instant selector after it.
                write!(f, "{}[{range}]{extended}{}", Names(selector), Modifiers { at, extended: "", offset })
            }
            Kind::Subquery(subquery) => write!(f, "{}{}", subquery.expr, SubqueryTail(subquery)),
            Kind::Call { function, args } => {
                write!(f, "{}(", function.name)?;
                for (index, arg) in args.iter().enumerate() {
                    write!(f, "{}{arg}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
            Kind::Aggregate(aggregate) => {
                write!(f, "{}(", AggregateHead(aggregate))?;
                if let Some(param) = &aggregate.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", aggregate.expr)
            }
            Kind::Binary(binary) => write!(f, "{} {} {}", binary.lhs, Operator(binary), binary.rhs),
            Kind::Unary { negative, expr } => write!(f, "{}{expr}", if *negative { "-" } else { "+" }),
            Kind::Paren(inner) => write!(f, "({inner})"),
            Kind::StepInvariant(inner) => write!(f, "{inner}"),
        }
    }
}

impl Display for DurationSpec {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match &self.expr {
            Some(expr) => write!(f, "{expr}"),
            None => f.write_str(&print_duration(self.ns)),
        }
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        if self.wrapped {
            f.write_str("(")?;
        }
        match &self.kind {
            DurationKind::Number { value, duration: true } => f.write_str(&print_duration((value * 1e9) as i64))?,
            DurationKind::Number { value, .. } => f.write_str(&format_plain(*value))?,
            DurationKind::Step => f.write_str("step()")?,
            DurationKind::Range => f.write_str("range()")?,
            DurationKind::Negate(inner) => write!(f, "-{inner}")?,
            DurationKind::Binary(DurationOp::Min, lhs, rhs) => write!(f, "min_of({lhs}, {rhs})")?,
            DurationKind::Binary(DurationOp::Max, lhs, rhs) => write!(f, "max_of({lhs}, {rhs})")?,
            DurationKind::Binary(op, lhs, rhs) => {
                let op = match op {
                    DurationOp::Add => "+",
                    DurationOp::Sub => "-",
                    DurationOp::Mul => "*",
                    DurationOp::Div => "/",
                    DurationOp::Mod => "%",
                    _ => "^",
                };
                write!(f, "{lhs} {op} {rhs}")?;
            }
        }
        if self.wrapped {
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// Metric name and matchers.
struct Names<'a>(&'a Selector);

impl Display for Names<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let selector = self.0;
        let is_name = |matcher: &&Matcher| {
            matcher.name == "__name__"
                && matcher.op == MatchOp::Equal
                && matcher.value == selector.name
                && !matcher.value.is_empty()
        };
        let mut shown: Vec<String> =
            selector.matchers.iter().filter(|m| !is_name(m)).map(|m| ShownMatcher(m).to_string()).collect();
        shown.sort();
        f.write_str(&selector.name)?;
        if !shown.is_empty() || selector.name.is_empty() {
            write!(f, "{{{}}}", shown.join(","))?;
        }
        Ok(())
    }
}

struct Modifiers<'a> {
    at: At,
    extended: &'static str,
    offset: &'a DurationSpec,
}

impl<'a> Modifiers<'a> {
    fn of(selector: &'a Selector) -> Self {
        let extended = match (selector.anchored, selector.smoothed) {
            (true, _) => " anchored",
            (_, true) => " smoothed",
            _ => "",
        };
        Self { at: selector.at, extended, offset: &selector.offset }
    }
}

impl Display for Modifiers<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.at {
            At::None => {}
            At::Time(ms) => write!(f, " @ {:.3}", ms as f64 / 1000.0)?,
            At::Start => f.write_str(" @ start()")?,
            At::End => f.write_str(" @ end()")?,
        }
        f.write_str(self.extended)?;
        if self.offset.is_set() {
            write!(f, " offset {}", self.offset)?;
        }
        Ok(())
    }
}

struct SubqueryTail<'a>(&'a Subquery);

impl Display for SubqueryTail<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let subquery = self.0;
        write!(f, "[{}:", subquery.range)?;
        if subquery.step.is_set() {
            write!(f, "{}", subquery.step)?;
        }
        write!(f, "]{}", Modifiers { at: subquery.at, extended: "", offset: &subquery.offset })
    }
}

struct AggregateHead<'a>(&'a Aggregate);

impl Display for AggregateHead<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(self.0.op.name())?;
        if self.0.without {
            write!(f, " without ({}) ", LabelList(&self.0.grouping))?;
        } else if !self.0.grouping.is_empty() {
            write!(f, " by ({}) ", LabelList(&self.0.grouping))?;
        }
        Ok(())
    }
}

struct Operator<'a>(&'a Binary);

impl Display for Operator<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let matching = &self.0.matching;
        f.write_str(self.0.op.text())?;
        if self.0.return_bool {
            f.write_str(" bool")?;
        }
        let group = match matching.cardinality {
            Cardinality::ManyToOne => Some("left"),
            Cardinality::OneToMany => Some("right"),
            _ => None,
        };
        if !matching.labels.is_empty() || matching.on || group.is_some() {
            write!(f, " {} ({})", if matching.on { "on" } else { "ignoring" }, LabelList(&matching.labels))?;
        }
        if let Some(side) = group {
            write!(f, " group_{side} ({})", LabelList(&matching.include))?;
        }
        match (matching.fill_left, matching.fill_right) {
            (Some(left), Some(right)) if left == right => write!(f, " fill ({})", format_plain(left))?,
            (left, right) => {
                if let Some(left) = left {
                    write!(f, " fill_left ({})", format_plain(left))?;
                }
                if let Some(right) = right {
                    write!(f, " fill_right ({})", format_plain(right))?;
                }
            }
        }
        Ok(())
    }
}

/// The query over several lines where it is longer than one.
pub fn pretty(expr: &Expr) -> String {
    indented(expr, 0)
}

fn indented(expr: &Expr, level: usize) -> String {
    let pad = "  ".repeat(level);
    let flat = expr.to_string();
    if flat.len() <= MAX_LINE {
        return format!("{pad}{flat}");
    }
    match &expr.kind {
        Kind::Aggregate(aggregate) => {
            let param = aggregate.param.as_ref().map(|param| format!("{},\n", indented(param, level + 1))).unwrap_or_default();
            format!("{pad}{}(\n{param}{}\n{pad})", AggregateHead(aggregate), indented(&aggregate.expr, level + 1))
        }
        Kind::Binary(binary) => {
            let (lhs, rhs) = (indented(&binary.lhs, level + 1), indented(&binary.rhs, level + 1));
            format!("{lhs}\n{pad}{}\n{rhs}", Operator(binary))
        }
        Kind::Call { function, args } => {
            let args: Vec<String> = args.iter().map(|arg| indented(arg, level + 1)).collect();
            format!("{pad}{}(\n{}\n{pad})", function.name, args.join(",\n"))
        }
        Kind::Paren(inner) => format!("{pad}(\n{}\n{pad})", indented(inner, level + 1)),
        Kind::Subquery(subquery) => format!("{}{}", indented(&subquery.expr, level), SubqueryTail(subquery)),
        Kind::Unary { negative, expr } => {
            format!("{pad}{}{}", if *negative { "-" } else { "+" }, indented(expr, level).trim_start())
        }
        Kind::StepInvariant(inner) => indented(inner, level),
        _ => format!("{pad}{flat}"),
    }
}
