//! The parts of the grammar that are about time: ranges, subqueries, `offset`, `@`, and arithmetic on durations.

use super::ast::*;
use super::lex::Tok;
use super::literal;
use super::parse::{Parsed, Parser};

const DURATION_WORDS: &str = "number, duration, step(), or range()";

/// Seconds a nanosecond count of 64 bits can hold.
const MAX_SECONDS: f64 = 9_223_372_036.854_776;

fn is_out_of_range(seconds: f64) -> bool {
    seconds.is_nan() || seconds.abs() > MAX_SECONDS
}

fn nanoseconds(seconds: f64) -> i64 {
    (seconds * 1e9).round() as i64
}

/// Constant expressions are numbers already.
fn spec(expr: DurationExpr) -> DurationSpec {
    match expr.kind {
        DurationKind::Number { value, .. } if !expr.wrapped => DurationSpec { ns: nanoseconds(value), expr: None },
        _ => DurationSpec { ns: 0, expr: Some(Box::new(expr)) },
    }
}

fn operator(tok: Tok) -> Option<(DurationOp, u8)> {
    Some(match tok {
        Tok::Add => (DurationOp::Add, 1),
        Tok::Sub => (DurationOp::Sub, 1),
        Tok::Mul => (DurationOp::Mul, 2),
        Tok::Div => (DurationOp::Div, 2),
        Tok::Mod => (DurationOp::Mod, 2),
        Tok::Pow => (DurationOp::Pow, 3),
        _ => return None,
    })
}

impl Parser<'_> {
    pub(super) fn range_or_subquery(&mut self, expr: Expr) -> Parsed<Expr> {
        let bracket = self.advance().start;
        if !self.starts_duration() {
            return Err(self.unexpected("subquery or range selector", DURATION_WORDS));
        }
        let range = self.positive_duration()?;
        match self.peek() {
            Tok::RightBracket => {
                self.advance();
                let span = Span { start: expr.span.start, end: self.last_end() };
                let Kind::Vector(selector) = expr.kind else {
                    return self.error(bracket, "ranges only allowed for vector selectors");
                };
                if selector.offset.is_set() {
                    return self.error(bracket, "no offset modifiers allowed before range");
                }
                if selector.at != At::None {
                    return self.error(bracket, "no @ modifiers allowed before range");
                }
                Ok(Expr { kind: Kind::Matrix { selector, range }, span })
            }
            Tok::Colon => {
                self.advance();
                let mut step = DurationSpec::default();
                if self.peek() != Tok::RightBracket {
                    if !self.starts_duration() {
                        return Err(
                            self.unexpected("subquery selector", &DURATION_WORDS.replace("or range()", "range(), or \"]\""))
                        );
                    }
                    step = self.positive_duration()?;
                    if self.peek() != Tok::RightBracket {
                        return Err(self.unexpected("subquery selector", "\"]\""));
                    }
                }
                self.advance();
                let span = Span { start: expr.span.start, end: self.last_end() };
                let subquery = Subquery { expr, range, step, at: At::None, offset: DurationSpec::default() };
                Ok(Expr { kind: Kind::Subquery(Box::new(subquery)), span })
            }
            _ => Err(self.unexpected("subquery or range", "\":\" or \"]\"")),
        }
    }

    fn starts_duration(&self) -> bool {
        let calls = matches!(self.peek(), Tok::Step | Tok::Range | Tok::MaxOf | Tok::MinOf) && self.peek_at(1) == Tok::LeftParen;
        calls
            || matches!(self.peek(), Tok::Number | Tok::Duration | Tok::Add | Tok::Sub | Tok::LeftParen)
            || self.keyword_without_call()
    }

    /// `step` without parentheses: the error is about what follows it.
    fn keyword_without_call(&self) -> bool {
        matches!(self.peek(), Tok::Step | Tok::Range | Tok::MaxOf | Tok::MinOf)
    }

    fn positive_duration(&mut self) -> Parsed<DurationSpec> {
        let expr = self.duration(0)?;
        if let DurationKind::Number { value, .. } = expr.kind
            && !expr.wrapped
            && value <= 0.0
        {
            return self.error(expr.span.start, "duration must be greater than 0");
        }
        Ok(spec(expr))
    }

    fn duration(&mut self, weakest: u8) -> Parsed<DurationExpr> {
        self.deeper(|parser| {
            let lhs = parser.duration_unary()?;
            parser.duration_rest(lhs, weakest)
        })
    }

    fn duration_rest(&mut self, mut lhs: DurationExpr, weakest: u8) -> Parsed<DurationExpr> {
        while let Some((op, precedence)) = operator(self.peek()) {
            if precedence < weakest {
                break;
            }
            let lhs_height = self.height;
            let place = self.advance().start;
            let rhs = self.duration(if op == DurationOp::Pow { precedence } else { precedence + 1 })?;
            self.grow(lhs_height.max(self.height))?;
            if matches!(rhs.kind, DurationKind::Number { value: 0.0, .. }) && !rhs.wrapped {
                match op {
                    DurationOp::Div => return self.error(place, "division by zero"),
                    DurationOp::Mod => return self.error(place, "modulo by zero"),
                    _ => {}
                }
            }
            let span = lhs.span.to(rhs.span);
            lhs = DurationExpr { kind: DurationKind::Binary(op, Box::new(lhs), Box::new(rhs)), span, wrapped: false };
        }
        Ok(lhs)
    }

    fn duration_unary(&mut self) -> Parsed<DurationExpr> {
        if !matches!(self.peek(), Tok::Add | Tok::Sub) {
            return self.duration_primary();
        }
        let sign = self.advance();
        let inner = self.duration(3)?;
        self.grow(self.height)?;
        self.signed_duration(sign.tok == Tok::Sub, sign.start, inner)
    }

    fn signed_duration(&self, negative: bool, start: usize, mut inner: DurationExpr) -> Parsed<DurationExpr> {
        let span = Span { start, end: inner.span.end };
        if let DurationKind::Number { value, .. } = &mut inner.kind
            && !inner.wrapped
        {
            if negative {
                *value = -*value;
            }
            inner.span = span;
            return Ok(inner);
        }
        if !negative {
            return Ok(inner);
        }
        Ok(DurationExpr { kind: DurationKind::Negate(Box::new(inner)), span, wrapped: false })
    }

    fn duration_primary(&mut self) -> Parsed<DurationExpr> {
        let token = self.token().clone();
        let text = &self.input[token.start..token.end];
        self.height = 1;
        let kind = match token.tok {
            Tok::Number | Tok::Duration => {
                self.advance();
                let value = if token.tok == Tok::Number {
                    literal::number(text)
                } else {
                    literal::duration_ns(text).map(|ns| ns as f64 / 1e9)
                };
                let value = value.or_else(|message| self.error(token.start, message))?;
                if is_out_of_range(value) {
                    return self.error(token.start, "duration out of range");
                }
                DurationKind::Number { value, duration: token.tok == Tok::Duration }
            }
            Tok::Step | Tok::Range => {
                self.advance();
                if !self.accept(Tok::LeftParen) {
                    return Err(self.unexpected("subquery or range selector", DURATION_WORDS));
                }
                if !self.accept(Tok::RightParen) {
                    return Err(self.unexpected("", ""));
                }
                if token.tok == Tok::Step { DurationKind::Step } else { DurationKind::Range }
            }
            Tok::MaxOf | Tok::MinOf => {
                self.advance();
                let op = if token.tok == Tok::MaxOf { DurationOp::Max } else { DurationOp::Min };
                if !self.accept(Tok::LeftParen) {
                    return Err(self.unexpected("subquery or range selector", DURATION_WORDS));
                }
                let lhs = self.duration(0)?;
                let lhs_height = self.height;
                if !self.accept(Tok::Comma) {
                    return Err(self.unexpected("", ""));
                }
                let rhs = self.duration(0)?;
                self.grow(lhs_height.max(self.height))?;
                if !self.accept(Tok::RightParen) {
                    return Err(self.unexpected("", ""));
                }
                DurationKind::Binary(op, Box::new(lhs), Box::new(rhs))
            }
            Tok::LeftParen => {
                self.advance();
                let mut inner = self.duration(0)?;
                if !self.accept(Tok::RightParen) {
                    return Err(self.unexpected("", ""));
                }
                inner.wrapped = true;
                inner.span = Span { start: token.start, end: self.last_end() };
                return Ok(inner);
            }
            _ => return Err(self.unexpected("", "")),
        };
        Ok(DurationExpr { kind, span: Span { start: token.start, end: self.last_end() }, wrapped: false })
    }

    pub(super) fn offset(&mut self, mut expr: Expr) -> Parsed<Expr> {
        self.advance();
        let sign = matches!(self.peek(), Tok::Add | Tok::Sub).then(|| self.advance());
        if !self.starts_duration() || (self.keyword_without_call() && self.peek_at(1) != Tok::LeftParen) {
            return Err(self.unexpected("offset", DURATION_WORDS));
        }
        let parenthesized = self.peek() == Tok::LeftParen;
        if matches!(self.peek(), Tok::Add | Tok::Sub) {
            return Err(self.unexpected("offset", DURATION_WORDS));
        }
        let mut value = self.duration_primary()?;
        match sign {
            Some(sign) => value = self.signed_duration(sign.tok == Tok::Sub, sign.start, value)?,
            // "offset (5m) + 3" goes on as a duration; "offset 5m + 3" does not.
            None if parenthesized
                && operator(self.peek()).is_some()
                && matches!(self.peek_at(1), Tok::Number | Tok::Duration) =>
            {
                value = self.duration_rest(value, 0)?;
            }
            None => {}
        }
        let offset = spec(value);
        let end = self.last_end();
        let span = expr.span;
        let slot = match &mut expr.kind {
            Kind::Vector(selector) | Kind::Matrix { selector, .. } => &mut selector.offset,
            Kind::Subquery(subquery) => &mut subquery.offset,
            _ => {
                let message =
                    "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery";
                return self.error(span.start, message);
            }
        };
        if slot.is_set() {
            return self.error(span.start, "offset may not be set multiple times");
        }
        *slot = offset;
        expr.span.end = end;
        if let Kind::Vector(selector) = &mut expr.kind {
            selector.span.end = end;
        }
        Ok(expr)
    }

    pub(super) fn at(&mut self, mut expr: Expr) -> Parsed<Expr> {
        self.advance();
        let start = expr.span.start;
        let at = match self.peek() {
            tok @ (Tok::Start | Tok::End) => {
                self.advance();
                if !self.accept(Tok::LeftParen) || !self.accept(Tok::RightParen) {
                    return Err(self.unexpected("@", "timestamp"));
                }
                if tok == Tok::Start { At::Start } else { At::End }
            }
            _ => {
                let seconds = self.signed_number("@", "timestamp")?;
                if !seconds.is_finite() || seconds >= i64::MAX as f64 || seconds <= i64::MIN as f64 {
                    let shown = if seconds.is_finite() { format!("{seconds:.6}") } else { literal::format_plain(seconds) };
                    return self.error(start, format!("timestamp out of bounds for @ modifier: {shown}"));
                }
                At::Time((seconds * 1000.0).round() as i64)
            }
        };
        let end = self.last_end();
        let slot = match &mut expr.kind {
            Kind::Vector(selector) | Kind::Matrix { selector, .. } => &mut selector.at,
            Kind::Subquery(subquery) => &mut subquery.at,
            _ => {
                let message = "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery";
                return self.error(start, message);
            }
        };
        if *slot != At::None {
            return self.error(start, "@ <timestamp> may not be set multiple times");
        }
        *slot = at;
        expr.span.end = end;
        if let Kind::Vector(selector) = &mut expr.kind {
            selector.span.end = end;
        }
        Ok(expr)
    }

    pub(super) fn extended(&mut self, mut expr: Expr) -> Parsed<Expr> {
        let anchored = self.advance().tok == Tok::Anchored;
        let word = if anchored { "anchored" } else { "smoothed" };
        let start = expr.span.start;
        let selector = match &mut expr.kind {
            Kind::Vector(selector) | Kind::Matrix { selector, .. } => selector,
            Kind::Subquery(_) => return self.error(start, format!("{word} modifier is not supported for subqueries")),
            _ => return self.error(start, format!("{word} modifier not implemented")),
        };
        if anchored {
            selector.anchored = true;
        } else {
            selector.smoothed = true;
        }
        if selector.anchored && selector.smoothed {
            return self.error(start, "anchored and smoothed modifiers cannot be used together");
        }
        Ok(expr)
    }
}
