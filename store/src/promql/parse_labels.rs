//! The parts of the grammar made of labels: selectors, groupings, and how binary operators match.

use crate::{MatchOp, Matcher};

use super::ast::*;
use super::labels::is_valid_name;
use super::lex::Tok;
use super::literal;
use super::parse::{Parsed, Parser, is_label};

impl Parser<'_> {
    pub(super) fn grouping_labels(&mut self) -> Parsed<Vec<String>> {
        const CONTEXT: &str = "grouping opts";
        if !self.accept(Tok::LeftParen) {
            return Err(self.unexpected(CONTEXT, "\"(\""));
        }
        let mut labels = Vec::new();
        if self.accept(Tok::RightParen) {
            return Ok(labels);
        }
        loop {
            let token = self.token().clone();
            let text = &self.input[token.start..token.end];
            let label = match token.tok {
                Tok::Text => self.unquote(text, token.start)?,
                tok if is_label(tok) => text.to_string(),
                _ => return Err(self.unexpected(CONTEXT, "label")),
            };
            if !is_valid_name(&label) {
                let message = format!("invalid label name for grouping: {}", literal::quote(&label));
                return self.error(token.start, message);
            }
            self.advance();
            labels.push(label);
            if self.accept(Tok::Comma) {
                if self.accept(Tok::RightParen) {
                    return Ok(labels);
                }
            } else if self.accept(Tok::RightParen) {
                return Ok(labels);
            } else {
                return Err(self.unexpected(CONTEXT, "\",\" or \")\""));
            }
        }
    }

    pub(super) fn binary_modifiers(&mut self) -> Parsed<(bool, Matching)> {
        let return_bool = self.accept(Tok::Bool);
        let mut matching = Matching::default();
        if matches!(self.peek(), Tok::On | Tok::Ignoring) {
            matching.on = self.advance().tok == Tok::On;
            matching.labels = self.grouping_labels()?;
            if matches!(self.peek(), Tok::GroupLeft | Tok::GroupRight) {
                matching.cardinality =
                    if self.advance().tok == Tok::GroupLeft { Cardinality::ManyToOne } else { Cardinality::OneToMany };
                // A parenthesis right behind belongs to the modifier, as in Prometheus.
                if self.peek() == Tok::LeftParen {
                    matching.include = self.grouping_labels()?;
                }
            }
        }
        match self.peek() {
            Tok::Fill => {
                self.advance();
                let value = self.fill_value()?;
                (matching.fill_left, matching.fill_right) = (Some(value), Some(value));
            }
            Tok::FillLeft => {
                self.advance();
                matching.fill_left = Some(self.fill_value()?);
                if self.accept(Tok::FillRight) {
                    matching.fill_right = Some(self.fill_value()?);
                }
            }
            Tok::FillRight => {
                self.advance();
                matching.fill_right = Some(self.fill_value()?);
                if self.accept(Tok::FillLeft) {
                    matching.fill_left = Some(self.fill_value()?);
                }
            }
            _ => {}
        }
        Ok((return_bool, matching))
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        if !self.accept(Tok::LeftParen) {
            return Err(self.unexpected("", ""));
        }
        let value = self.signed_number("", "")?;
        if !self.accept(Tok::RightParen) {
            return Err(self.unexpected("", ""));
        }
        Ok(value)
    }

    /// A number or duration with an optional sign.
    pub(super) fn signed_number(&mut self, context: &str, expected: &str) -> Parsed<f64> {
        let negative = self.peek() == Tok::Sub;
        if matches!(self.peek(), Tok::Add | Tok::Sub) {
            self.advance();
        }
        let token = self.token().clone();
        let text = &self.input[token.start..token.end];
        let value = match token.tok {
            Tok::Number => literal::number(text),
            Tok::Duration => literal::duration_ns(text).map(|ns| ns as f64 / 1e9),
            _ => return Err(self.unexpected(context, expected)),
        };
        let value = value.or_else(|message| self.error(token.start, message))?;
        self.advance();
        Ok(if negative { -value } else { value })
    }

    pub(super) fn selector_expr(&mut self, name: String, start: usize) -> Parsed<Expr> {
        let selector = self.vector_selector(name, start)?;
        let span = selector.span;
        Ok(Expr { kind: Kind::Vector(selector), span })
    }

    /// The name, if any, has been read.
    pub(super) fn vector_selector(&mut self, name: String, start: usize) -> Parsed<Selector> {
        let mut matchers = if self.peek() == Tok::LeftBrace { self.label_matchers()? } else { Vec::new() };
        if !name.is_empty() {
            matchers.push(Matcher::equal("__name__", &name));
        }
        let span = Span { start, end: self.last_end() };
        Ok(Selector { name, matchers, span, ..Selector::default() })
    }

    fn label_matchers(&mut self) -> Parsed<Vec<Matcher>> {
        const CONTEXT: &str = "label matching";
        self.advance();
        let mut matchers = Vec::new();
        if self.accept(Tok::RightBrace) {
            return Ok(matchers);
        }
        loop {
            let token = self.token().clone();
            let text = &self.input[token.start..token.end];
            let label = match token.tok {
                Tok::Identifier => text.to_string(),
                Tok::Text => self.unquote(text, token.start)?,
                _ => return Err(self.unexpected(CONTEXT, "identifier or \"}\"")),
            };
            self.advance();
            let op = match self.peek() {
                Tok::Equal => Some(MatchOp::Equal),
                Tok::NotEqual => Some(MatchOp::NotEqual),
                Tok::EqualRegex => Some(MatchOp::Regex),
                Tok::NotRegex => Some(MatchOp::NotRegex),
                _ => None,
            };
            match op {
                Some(op) => {
                    self.advance();
                    if self.peek() != Tok::Text {
                        return Err(self.unexpected(CONTEXT, "string"));
                    }
                    let value_token = self.advance();
                    let value = self.unquote(&self.input[value_token.start..value_token.end], value_token.start)?;
                    let matcher = Matcher::new(label, op, value).or_else(|error| self.error(token.start, error.to_string()))?;
                    matchers.push(matcher);
                }
                // A quoted string alone is a metric name.
                None if token.tok == Tok::Text => matchers.push(Matcher::equal("__name__", &label)),
                None => return Err(self.unexpected(CONTEXT, "label matching operator")),
            }
            if self.accept(Tok::Comma) {
                if self.accept(Tok::RightBrace) {
                    return Ok(matchers);
                }
            } else if self.accept(Tok::RightBrace) {
                return Ok(matchers);
            } else {
                return Err(self.unexpected(CONTEXT, "\",\" or \"}\""));
            }
        }
    }
}
