//! Tokens to syntax tree: a recursive-descent parser whose errors name line and column in the words of Prometheus.

use crate::Matcher;

use super::ast::*;
use super::functions;
use super::lex::{Tok, Token, lex};
use super::literal;

/// Longer texts are refused unread: tokens take some fifty times the space of their text.
const MAX_BYTES: usize = 1 << 20;
/// Expressions nested deeper than this are refused: the parser recurses.
const MAX_DEPTH: usize = 100;
/// Trees higher than this are refused: evaluation recurses. A chain of operators is high without being nested.
const MAX_HEIGHT: usize = 300;

/// What is wrong with a query, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Byte in the query; none where the error has no place (an empty query).
    pub at: Option<usize>,
    pub message: String,
    position: String,
}

impl ParseError {
    pub fn new(input: &str, at: usize, message: impl Into<String>) -> Self {
        Self { at: Some(at), message: message.into(), position: position(input, at) }
    }
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}: parse error: {}", self.position, self.message)
    }
}

impl std::error::Error for ParseError {}

/// `line:column`, both from 1; columns count bytes.
pub fn position(input: &str, at: usize) -> String {
    if input.is_empty() {
        return "unknown position".into();
    }
    let before = &input.as_bytes()[..at.min(input.len())];
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
    format!("{line}:{column}")
}

pub(super) type Parsed<T> = Result<T, ParseError>;

/// Parses and type-checks a query.
pub fn parse(input: &str) -> Parsed<Expr> {
    let mut parser = Parser::new(input)?;
    if parser.peek() == Tok::Eof {
        return Err(ParseError::new(input, 0, "no expression found in input"));
    }
    let expr = parser.expr(0)?;
    parser.expect_end()?;
    super::check::check(input, &expr)?;
    Ok(expr)
}

/// Parses a series selector as in `match[]`.
pub fn parse_selector(input: &str) -> Parsed<Vec<Matcher>> {
    let mut parser = Parser::new(input)?;
    let token = parser.token().clone();
    let name = match token.tok {
        Tok::LeftBrace => String::new(),
        tok if is_metric_identifier(tok) => parser.advance_text().to_string(),
        _ => return Err(parser.unexpected("", "")),
    };
    let selector = parser.vector_selector(name, token.start)?;
    parser.expect_end()?;
    Ok(selector.matchers)
}

pub(super) fn is_metric_identifier(tok: Tok) -> bool {
    use Tok::*;
    matches!(
        tok,
        Aggregate(_)
            | By
            | Fill
            | FillLeft
            | FillRight
            | Identifier
            | And
            | Or
            | Unless
            | MetricIdentifier
            | Offset
            | Without
            | Start
            | End
            | Step
            | Range
            | Anchored
            | Smoothed
            | MaxOf
            | MinOf
    )
}

pub(super) fn is_label(tok: Tok) -> bool {
    use Tok::*;
    is_metric_identifier(tok) || matches!(tok, Bool | GroupLeft | GroupRight | Ignoring | On | Atan2)
}

/// Precedence of a binary operator, weakest first.
fn binary_operator(tok: Tok) -> Option<(BinaryOp, u8)> {
    Some(match tok {
        Tok::Or => (BinaryOp::Or, 1),
        Tok::And => (BinaryOp::And, 2),
        Tok::Unless => (BinaryOp::Unless, 2),
        Tok::EqualEqual => (BinaryOp::Equal, 3),
        Tok::NotEqual => (BinaryOp::NotEqual, 3),
        Tok::LessEqual => (BinaryOp::LessEqual, 3),
        Tok::Less => (BinaryOp::Less, 3),
        Tok::GreaterEqual => (BinaryOp::GreaterEqual, 3),
        Tok::Greater => (BinaryOp::Greater, 3),
        Tok::TrimUpper => (BinaryOp::TrimUpper, 3),
        Tok::TrimLower => (BinaryOp::TrimLower, 3),
        Tok::Add => (BinaryOp::Add, 4),
        Tok::Sub => (BinaryOp::Sub, 4),
        Tok::Mul => (BinaryOp::Mul, 5),
        Tok::Div => (BinaryOp::Div, 5),
        Tok::Mod => (BinaryOp::Mod, 5),
        Tok::Atan2 => (BinaryOp::Atan2, 5),
        Tok::Pow => (BinaryOp::Pow, 6),
        _ => return None,
    })
}

const POWER: u8 = 6;

pub(super) struct Parser<'a> {
    pub(super) input: &'a str,
    tokens: Vec<Token>,
    next: usize,
    /// How many productions are open.
    depth: usize,
    /// Height of the tree returned last.
    pub(super) height: usize,
}

impl<'a> Parser<'a> {
    fn new(input: &'a str) -> Parsed<Self> {
        if input.len() > MAX_BYTES {
            let message =
                format!("the text is {} bytes long, more than the {MAX_BYTES} taken; ask for less at once", input.len());
            return Err(ParseError::new(input, 0, message));
        }
        Ok(Self { input, tokens: lex(input), next: 0, depth: 0, height: 0 })
    }

    pub(super) fn token(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    pub(super) fn peek(&self) -> Tok {
        self.token().tok
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Tok {
        self.tokens.get(self.next + ahead).map_or(Tok::Eof, |token| token.tok)
    }

    pub(super) fn advance(&mut self) -> Token {
        let token = self.token().clone();
        self.next += 1;
        token
    }

    pub(super) fn advance_text(&mut self) -> &'a str {
        let token = self.advance();
        &self.input[token.start..token.end]
    }

    pub(super) fn accept(&mut self, tok: Tok) -> bool {
        let found = self.peek() == tok;
        self.next += usize::from(found);
        found
    }

    /// End of the last token read.
    pub(super) fn last_end(&self) -> usize {
        self.next.checked_sub(1).map_or(0, |index| self.tokens[index].end)
    }

    pub(super) fn error<T>(&self, at: usize, message: impl Into<String>) -> Parsed<T> {
        Err(ParseError::new(self.input, at, message))
    }

    pub(super) fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let token = self.token();
        if token.tok == Tok::Error {
            return ParseError::new(self.input, token.start, token.error.clone());
        }
        let mut message = format!("unexpected {}", describe(token, self.input));
        if !context.is_empty() {
            message.push_str(&format!(" in {context}"));
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        ParseError::new(self.input, token.start, message)
    }

    fn expect_end(&mut self) -> Parsed<()> {
        if self.peek() == Tok::Eof { Ok(()) } else { Err(self.unexpected("", "")) }
    }

    pub(super) fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.bounded(self.depth, MAX_DEPTH)?;
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn bounded(&self, levels: usize, limit: usize) -> Parsed<()> {
        if levels < limit {
            return Ok(());
        }
        self.error(self.token().start, format!("expression is deeper than {limit} levels"))
    }

    /// Notes that a node was put on top of children of this height.
    pub(super) fn grow(&mut self, children: usize) -> Parsed<()> {
        self.height = children + 1;
        self.bounded(self.height, MAX_HEIGHT)
    }

    fn expr(&mut self, weakest: u8) -> Parsed<Expr> {
        self.deeper(|parser| parser.binary(weakest))
    }

    fn binary(&mut self, weakest: u8) -> Parsed<Expr> {
        let mut lhs = self.unary()?;
        while let Some((op, precedence)) = binary_operator(self.peek()) {
            if precedence < weakest {
                break;
            }
            let lhs_height = self.height;
            self.advance();
            let (return_bool, mut matching) = self.binary_modifiers()?;
            let rhs = self.expr(if op == BinaryOp::Pow { precedence } else { precedence + 1 })?;
            self.grow(lhs_height.max(self.height))?;
            let span = lhs.span.to(rhs.span);
            if op.is_set() && matching.cardinality == Cardinality::OneToOne {
                matching.cardinality = Cardinality::ManyToMany;
            }
            lhs = Expr { kind: Kind::Binary(Box::new(Binary { op, lhs, rhs, return_bool, matching })), span };
        }
        Ok(lhs)
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let negative = match self.peek() {
            Tok::Add => false,
            Tok::Sub => true,
            _ => return self.postfix(),
        };
        let start = self.advance().start;
        // Binds like a multiplication: -2^2 is -(2^2).
        let mut inner = self.expr(POWER)?;
        self.grow(self.height)?;
        let span = Span { start, end: inner.span.end };
        if let Kind::Number { value, .. } = &mut inner.kind {
            if negative {
                *value = -*value;
            }
            inner.span = span;
            return Ok(inner);
        }
        Ok(Expr { kind: Kind::Unary { negative, expr: Box::new(inner) }, span })
    }

    fn postfix(&mut self) -> Parsed<Expr> {
        let mut expr = self.primary()?;
        loop {
            let height = self.height;
            expr = match self.peek() {
                Tok::LeftBracket => self.range_or_subquery(expr)?,
                Tok::Offset => self.offset(expr)?,
                Tok::At => self.at(expr)?,
                Tok::Anchored | Tok::Smoothed => self.extended(expr)?,
                _ => return Ok(expr),
            };
            self.grow(height)?;
        }
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let token = self.token().clone();
        let span = Span { start: token.start, end: token.end };
        let text = &self.input[token.start..token.end];
        self.height = 1;
        match token.tok {
            Tok::Number => {
                self.advance();
                let value = literal::number(text).or_else(|message| self.error(span.start, message))?;
                Ok(Expr { kind: Kind::Number { value, duration: false }, span })
            }
            Tok::Duration => {
                self.advance();
                let ns = literal::duration_ns(text).or_else(|message| self.error(span.start, message))?;
                Ok(Expr { kind: Kind::Number { value: ns as f64 / 1e9, duration: true }, span })
            }
            Tok::Text => {
                self.advance();
                Ok(Expr { kind: Kind::Text(self.unquote(text, span.start)?), span })
            }
            Tok::LeftParen => {
                self.advance();
                let inner = self.expr(0)?;
                self.grow(self.height)?;
                if !self.accept(Tok::RightParen) {
                    return Err(self.unexpected("", ""));
                }
                let span = Span { start: span.start, end: self.last_end() };
                Ok(Expr { kind: Kind::Paren(Box::new(inner)), span })
            }
            Tok::LeftBrace => self.selector_expr(String::new(), span.start),
            Tok::Aggregate(op) if matches!(self.peek_at(1), Tok::LeftParen | Tok::By | Tok::Without) => self.aggregate(op),
            Tok::Identifier | Tok::Start | Tok::End | Tok::Step | Tok::Range | Tok::MaxOf | Tok::MinOf
                if self.peek_at(1) == Tok::LeftParen =>
            {
                self.call()
            }
            tok if is_metric_identifier(tok) => {
                self.advance();
                self.selector_expr(text.to_string(), span.start)
            }
            _ => Err(self.unexpected("", "")),
        }
    }

    pub(super) fn unquote(&self, text: &str, at: usize) -> Parsed<String> {
        literal::unquote(text).or_else(|reason| self.error(at, format!("error unquoting string {text}: {reason}")))
    }

    fn call(&mut self) -> Parsed<Expr> {
        let token = self.advance();
        let name = &self.input[token.start..token.end];
        // Keywords are found in any case, functions only as written.
        let args = self.arguments()?;
        let Some(function) = functions::find(name) else {
            return self.error(token.start, format!("unknown function with name {}", literal::quote(name)));
        };
        let span = Span { start: token.start, end: self.last_end() };
        Ok(Expr { kind: Kind::Call { function, args }, span })
    }

    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        if !self.accept(Tok::LeftParen) {
            return Err(self.unexpected("", ""));
        }
        let mut args = Vec::new();
        if self.accept(Tok::RightParen) {
            return Ok(args);
        }
        let mut highest = 0;
        loop {
            args.push(self.expr(0)?);
            highest = highest.max(self.height);
            let comma = self.token().start;
            if self.accept(Tok::Comma) {
                if self.peek() == Tok::RightParen {
                    return self.error(comma, "trailing commas not allowed in function call args");
                }
            } else if self.accept(Tok::RightParen) {
                self.grow(highest)?;
                return Ok(args);
            } else {
                return Err(self.unexpected("", ""));
            }
        }
    }

    fn aggregate(&mut self, op: AggregateOp) -> Parsed<Expr> {
        let start = self.advance().start;
        let mut modifier = self.aggregate_modifier()?;
        let mut args = self.arguments()?;
        if modifier.is_none() {
            modifier = self.aggregate_modifier()?;
        }
        let (grouping, without) = modifier.unwrap_or_default();
        if args.is_empty() {
            return self.error(start, "no arguments for aggregate expression provided");
        }
        let wanted = if op.has_param() { 2 } else { 1 };
        if args.len() != wanted {
            let got = args.len();
            let message = "wrong number of arguments for aggregate expression provided";
            return self.error(start, format!("{message}, expected {wanted}, got {got}"));
        }
        let expr = args.remove(wanted - 1);
        let param = args.pop();
        let span = Span { start, end: self.last_end() };
        Ok(Expr { kind: Kind::Aggregate(Box::new(Aggregate { op, param, expr, grouping, without })), span })
    }

    fn aggregate_modifier(&mut self) -> Parsed<Option<(Vec<String>, bool)>> {
        let without = match self.peek() {
            Tok::By => false,
            Tok::Without => true,
            _ => return Ok(None),
        };
        self.advance();
        Ok(Some((self.grouping_labels()?, without)))
    }
}

fn describe(token: &Token, input: &str) -> String {
    use Tok::*;
    let text = &input[token.start..token.end];
    let quoted = |text: &str| {
        if text.chars().count() > 10 {
            let short: String = text.chars().take(10).collect();
            format!("{}...", literal::quote(&short))
        } else {
            literal::quote(text)
        }
    };
    match token.tok {
        Eof => "end of input".into(),
        Error => "error".into(),
        Identifier => format!("identifier {}", literal::quote(text)),
        MetricIdentifier => format!("metric identifier {}", literal::quote(text)),
        Number => format!("number {}", quoted(text)),
        Duration => format!("duration {}", quoted(text)),
        Text => format!("string {}", quoted(text)),
        Offset | Smoothed | Anchored | By | Without | On | Ignoring | GroupLeft | GroupRight | Fill | FillLeft | FillRight
        | Bool => {
            format!("<{text}>")
        }
        Aggregate(_) => format!("<aggr:{text}>"),
        Comma | Colon | LeftParen | RightParen | LeftBrace | RightBrace | LeftBracket | RightBracket | Equal | Start | End
        | Step | Range | MaxOf | MinOf => quoted(text),
        _ => format!("<op:{text}>"),
    }
}
