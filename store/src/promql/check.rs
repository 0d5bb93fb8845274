//! Type checks of a syntax tree: what the grammar allows but the language does not.

use super::ast::*;
use super::parse::{ParseError, Parsed};

struct Checker<'a> {
    input: &'a str,
}

pub(super) fn check(input: &str, expr: &Expr) -> Parsed<()> {
    Checker { input }.node(expr)
}

impl Checker<'_> {
    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Parsed<T> {
        Err(ParseError::new(self.input, at, message))
    }

    fn expect(&self, expr: &Expr, wanted: ValueType, context: &str) -> Parsed<()> {
        self.node(expr)?;
        let got = expr.value_type();
        if got == wanted {
            return Ok(());
        }
        let (wanted, got) = (wanted.documented(), got.documented());
        self.fail(expr.span.start, format!("expected type {wanted} in {context}, got {got}"))
    }

    fn node(&self, expr: &Expr) -> Parsed<()> {
        match &expr.kind {
            Kind::Number { .. } | Kind::Text(_) => Ok(()),
            Kind::Vector(selector) | Kind::Matrix { selector, .. } => self.selector(selector),
            Kind::Subquery(subquery) => {
                self.node(&subquery.expr)?;
                let got = subquery.expr.value_type();
                if got == ValueType::Vector {
                    return Ok(());
                }
                let message = format!("subquery is only allowed on instant vector, got {} instead", got.wire());
                self.fail(expr.span.start, message)
            }
            Kind::Call { function, args } => self.call(expr, function, args),
            Kind::Aggregate(aggregate) => self.aggregate(aggregate),
            Kind::Binary(binary) => self.binary(expr, binary),
            Kind::Unary { expr: inner, .. } => {
                self.node(inner)?;
                match inner.value_type() {
                    ValueType::Scalar | ValueType::Vector => Ok(()),
                    other => {
                        let message = "unary expression only allowed on expressions of type scalar or instant vector";
                        self.fail(expr.span.start, format!("{message}, got \"{}\"", other.documented()))
                    }
                }
            }
            Kind::Paren(inner) | Kind::StepInvariant(inner) => self.node(inner),
        }
    }

    fn selector(&self, selector: &Selector) -> Parsed<()> {
        let start = selector.span.start;
        if !selector.name.is_empty() {
            let others = &selector.matchers[..selector.matchers.len() - 1];
            if let Some(other) = others.iter().find(|matcher| matcher.name == "__name__") {
                let message = format!("metric name must not be set twice: {:?} or {:?}", selector.name, other.value);
                return self.fail(start, message);
            }
            return Ok(());
        }
        if selector.matchers.iter().any(|matcher| !matcher.matches("")) {
            return Ok(());
        }
        self.fail(start, "vector selector must contain at least one non-empty matcher")
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Parsed<()> {
        self.expect(&aggregate.expr, ValueType::Vector, "aggregation expression")?;
        if let Some(param) = &aggregate.param {
            let wanted = if aggregate.op == AggregateOp::CountValues { ValueType::Text } else { ValueType::Scalar };
            self.expect(param, wanted, "aggregation parameter")?;
        }
        Ok(())
    }

    fn binary(&self, expr: &Expr, binary: &Binary) -> Parsed<()> {
        self.node(&binary.lhs)?;
        self.node(&binary.rhs)?;
        let (op, matching) = (binary.op, &binary.matching);
        let (left, right) = (binary.lhs.value_type(), binary.rhs.value_type());
        let start = expr.span.start;
        if binary.return_bool && !op.is_comparison() {
            return self.fail(self.operator_place(binary), "bool modifier can only be used on comparison operators");
        }
        let both_scalar = left == ValueType::Scalar && right == ValueType::Scalar;
        if op.is_comparison() && !binary.return_bool && both_scalar {
            return self.fail(self.operator_place(binary), "comparisons between scalars must use BOOL modifier");
        }
        if matching.on
            && let Some(label) = matching.labels.iter().find(|label| matching.include.contains(label))
        {
            let message = format!("label {label:?} must not occur in ON and GROUP clause at once");
            return self.fail(self.operator_place(binary), message);
        }
        for side in [&binary.lhs, &binary.rhs] {
            if !matches!(side.value_type(), ValueType::Scalar | ValueType::Vector) {
                return self.fail(side.span.start, "binary expression must contain only scalar and instant vector types");
            }
        }
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        let has_scalar = left == ValueType::Scalar || right == ValueType::Scalar;
        if has_scalar {
            if !matching.labels.is_empty() {
                return self.fail(start, "vector matching only allowed between instant vectors");
            }
            if fills {
                return self.fail(start, "filling in missing series only allowed between instant vectors");
            }
        } else if op.is_set() {
            if matching.cardinality != Cardinality::ManyToMany {
                return self.fail(start, format!("no grouping allowed for {:?} operation", op.text()));
            }
            if fills {
                return self.fail(start, "filling in missing series not allowed for set operators");
            }
        }
        if has_scalar && op.is_set() {
            return self.fail(start, format!("set operator {:?} not allowed in binary scalar expression", op.text()));
        }
        Ok(())
    }

    fn operator_place(&self, binary: &Binary) -> usize {
        let after = &self.input[binary.lhs.span.end.min(self.input.len())..];
        self.input.len() - after.trim_start().len()
    }

    fn call(&self, expr: &Expr, function: &super::functions::Function, args: &[Expr]) -> Parsed<()> {
        let (start, name, wanted, got) = (expr.span.start, function.name, function.args.len(), args.len());
        let (least, most) = match function.variadic {
            0 => (wanted, wanted),
            any if any < 0 => (wanted - 1, usize::MAX),
            more => (wanted - 1, wanted - 1 + more as usize),
        };
        if function.variadic == 0 && got != wanted {
            return self.fail(start, format!("expected {wanted} argument(s) in call to {name:?}, got {got}"));
        }
        if got < least {
            return self.fail(start, format!("expected at least {least} argument(s) in call to {name:?}, got {got}"));
        }
        if got > most {
            return self.fail(start, format!("expected at most {most} argument(s) in call to {name:?}, got {got}"));
        }
        for (index, arg) in args.iter().enumerate() {
            if name == "info" && index == 1 {
                self.info_selector(arg)?;
                continue;
            }
            let wanted = function.args[index.min(function.args.len() - 1)];
            self.expect(arg, wanted, &format!("call to function {name:?}"))?;
        }
        Ok(())
    }

    fn info_selector(&self, arg: &Expr) -> Parsed<()> {
        let start = arg.span.start;
        if arg.value_type() != ValueType::Vector {
            let got = arg.value_type().documented();
            return self.fail(start, format!("expected type instant vector in call to function \"info\", got {got}"));
        }
        match &arg.kind {
            Kind::Vector(selector) if selector.name.is_empty() => Ok(()),
            Kind::Vector(_) => self.fail(start, "expected label selectors only, got vector selector instead"),
            _ => self.fail(start, "expected label selectors only"),
        }
    }
}
