//! PromQL text to tokens. What a character means depends on whether a brace or a bracket is open, so the lexer keeps that
//! state; the first thing it cannot read becomes one error token that ends the list.

pub use super::token::{Tok, Token};
use super::token::{duration_keyword, keyword};

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}

/// A character as Go's `%q` shows it.
pub fn quote_char(c: char) -> String {
    match c {
        '\'' => r"'\''".into(),
        '\\' => r"'\\'".into(),
        '\n' => r"'\n'".into(),
        '\r' => r"'\r'".into(),
        '\t' => r"'\t'".into(),
        c if (c as u32) < 0x20 || c as u32 == 0x7f => format!("'\\x{:02x}'", c as u32),
        c => format!("'{c}'"),
    }
}

struct Lexer<'a> {
    input: &'a str,
    pos: usize,
    start: usize,
    tokens: Vec<Token>,
    parens: i32,
    brace_open: bool,
    bracket_open: bool,
    got_colon: bool,
    got_duration: bool,
    /// Inside a bracket before its first number.
    in_duration: bool,
}

type Step = Result<(), String>;

/// The whole input as tokens; the last one is `Eof` or `Error`.
pub fn lex(input: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        input,
        pos: 0,
        start: 0,
        tokens: Vec::with_capacity(input.len() / 3 + 2),
        parens: 0,
        brace_open: false,
        bracket_open: false,
        got_colon: false,
        got_duration: false,
        in_duration: false,
    };
    loop {
        match lexer.step() {
            Ok(()) if lexer.tokens.last().is_some_and(|token| token.tok == Tok::Eof) => break,
            Ok(()) => {}
            Err(error) => {
                let (start, end) = (lexer.start, lexer.input.len());
                lexer.tokens.push(Token { tok: Tok::Error, start, end, error });
                break;
            }
        }
    }
    lexer.tokens
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.input[self.pos..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, set: &str) -> bool {
        if self.peek().is_some_and(|c| set.contains(c)) {
            self.next();
            return true;
        }
        false
    }

    fn emit(&mut self, tok: Tok) {
        self.tokens.push(Token { tok, start: self.start, end: self.pos, error: String::new() });
        self.start = self.pos;
    }

    /// The last token turned out to be the place of an error: errors of the lexer take its place.
    fn replace_last(&mut self, message: String) -> Step {
        self.tokens.pop();
        Err(message)
    }

    fn word(&self) -> &str {
        &self.input[self.start..self.pos]
    }

    fn step(&mut self) -> Step {
        while self.peek().is_some_and(is_space) {
            self.next();
        }
        self.start = self.pos;
        if self.in_duration {
            return self.duration_expression();
        }
        if self.peek() == Some('#') {
            while self.peek().is_some_and(|c| c != '\n' && c != '\r') {
                self.next();
            }
            self.start = self.pos;
            return Ok(());
        }
        if self.brace_open { self.inside_braces() } else { self.statement() }
    }

    fn statement(&mut self) -> Step {
        let Some(c) = self.next() else {
            if self.parens != 0 {
                return Err("unclosed left parenthesis".into());
            }
            if self.bracket_open {
                return Err("unclosed left bracket".into());
            }
            self.emit(Tok::Eof);
            return Ok(());
        };
        match c {
            ',' => self.emit(Tok::Comma),
            '*' => self.emit(Tok::Mul),
            '/' => self.emit(Tok::Div),
            '%' => self.emit(Tok::Mod),
            '+' => self.emit(Tok::Add),
            '-' => self.emit(Tok::Sub),
            '^' => self.emit(Tok::Pow),
            '@' => self.emit(Tok::At),
            '=' => match self.peek() {
                Some('=') => {
                    self.next();
                    self.emit(Tok::EqualEqual);
                }
                Some('~') => return Err("unexpected character after '=': '~'".into()),
                _ => self.emit(Tok::Equal),
            },
            '!' => match self.next() {
                Some('=') => self.emit(Tok::NotEqual),
                other => return Err(format!("unexpected character after '!': {}", quote_char(other.unwrap_or('\u{fffd}')))),
            },
            '<' | '>' => {
                let (plain, equal, trim) = if c == '<' {
                    (Tok::Less, Tok::LessEqual, Tok::TrimUpper)
                } else {
                    (Tok::Greater, Tok::GreaterEqual, Tok::TrimLower)
                };
                if self.accept("=") {
                    self.emit(equal);
                } else if self.accept("/") {
                    self.emit(trim);
                } else {
                    self.emit(plain);
                }
            }
            c if c.is_ascii_digit() || (c == '.' && self.peek().is_some_and(|next| next.is_ascii_digit())) => {
                self.pos -= 1;
                return self.number_or_duration();
            }
            '"' | '\'' => return self.quoted(c),
            '`' => return self.raw(),
            c if is_alpha(c) || c == ':' => return self.word_or_colon(c),
            '(' => {
                self.emit(Tok::LeftParen);
                self.parens += 1;
            }
            ')' => return self.right_paren(),
            '{' => {
                self.emit(Tok::LeftBrace);
                self.brace_open = true;
            }
            '[' => {
                if self.bracket_open {
                    return Err("unexpected left bracket '['".into());
                }
                self.got_colon = false;
                self.emit(Tok::LeftBracket);
                self.bracket_open = true;
                self.in_duration = true;
            }
            ']' => {
                if !self.bracket_open {
                    return Err("unexpected right bracket ']'".into());
                }
                self.emit(Tok::RightBracket);
                self.bracket_open = false;
            }
            c => return Err(format!("unexpected character: {}", quote_char(c))),
        }
        Ok(())
    }

    fn right_paren(&mut self) -> Step {
        self.emit(Tok::RightParen);
        self.parens -= 1;
        if self.parens < 0 {
            return self.replace_last("unexpected right parenthesis ')'".into());
        }
        Ok(())
    }

    fn word_or_colon(&mut self, c: char) -> Step {
        if !self.bracket_open {
            while self.peek().is_some_and(|c| is_alphanumeric(c) || c == ':') {
                self.next();
            }
            let word = self.word();
            let tok = match keyword(word) {
                Some(Tok::Fill | Tok::FillLeft | Tok::FillRight) if !self.followed_by_paren() => Tok::Identifier,
                Some(tok) => tok,
                None if word.contains(':') => Tok::MetricIdentifier,
                None => Tok::Identifier,
            };
            self.emit(tok);
            return Ok(());
        }
        if c == ':' {
            if self.got_colon {
                return Err("unexpected colon ':'".into());
            }
            self.emit(Tok::Colon);
            self.got_colon = true;
            return Ok(());
        }
        if let Some(tok) = self.scan_duration_keyword(c) {
            self.emit(tok);
            return Ok(());
        }
        Err(format!("unexpected character: {}, expected ':'", quote_char(c)))
    }

    fn followed_by_paren(&self) -> bool {
        self.input[self.pos..].chars().find(|&c| !is_space(c)) == Some('(')
    }

    fn scan_duration_keyword(&mut self, first: char) -> Option<Tok> {
        if !matches!(first.to_ascii_lowercase(), 's' | 'r' | 'm') {
            return None;
        }
        while self.peek().is_some_and(is_alpha) {
            self.next();
        }
        duration_keyword(self.word())
    }

    fn duration_expression(&mut self) -> Step {
        let Some(c) = self.next() else { return Err("unexpected end of input in duration expression".into()) };
        match c {
            ']' => {
                self.emit(Tok::RightBracket);
                self.bracket_open = false;
                self.got_colon = false;
                self.in_duration = false;
            }
            ':' => {
                self.emit(Tok::Colon);
                if !self.got_duration {
                    return self.replace_last("unexpected colon before duration in duration expression".into());
                }
                if self.got_colon {
                    return self.replace_last("unexpected repeated colon in duration expression".into());
                }
                self.got_colon = true;
            }
            '(' => {
                self.emit(Tok::LeftParen);
                self.parens += 1;
            }
            ')' => return self.right_paren(),
            '+' => self.emit(Tok::Add),
            '-' => self.emit(Tok::Sub),
            '*' => self.emit(Tok::Mul),
            '/' => self.emit(Tok::Div),
            '%' => self.emit(Tok::Mod),
            '^' => self.emit(Tok::Pow),
            ',' => self.emit(Tok::Comma),
            c if c.is_ascii_digit() || (c == '.' && self.peek().is_some_and(|next| next.is_ascii_digit())) => {
                self.pos -= 1;
                self.got_duration = true;
                self.in_duration = false;
                return self.number_or_duration();
            }
            c => match self.scan_duration_keyword(c) {
                Some(tok) => self.emit(tok),
                None => return Err(format!("unexpected character in duration expression: {}", quote_char(c))),
            },
        }
        Ok(())
    }

    fn inside_braces(&mut self) -> Step {
        let Some(c) = self.next() else { return Err("unexpected end of input inside braces".into()) };
        match c {
            c if is_alpha(c) => {
                while self.peek().is_some_and(is_alphanumeric) {
                    self.next();
                }
                self.emit(Tok::Identifier);
            }
            ',' => self.emit(Tok::Comma),
            '"' | '\'' => return self.quoted(c),
            '`' => return self.raw(),
            '=' => {
                let tok = if self.accept("~") { Tok::EqualRegex } else { Tok::Equal };
                self.emit(tok);
            }
            '!' => match self.next() {
                Some('~') => self.emit(Tok::NotRegex),
                Some('=') => self.emit(Tok::NotEqual),
                other => {
                    let shown = quote_char(other.unwrap_or('\u{fffd}'));
                    return Err(format!("unexpected character after '!' inside braces: {shown}"));
                }
            },
            '{' => return Err("unexpected left brace '{'".into()),
            '}' => {
                self.emit(Tok::RightBrace);
                self.brace_open = false;
            }
            c => return Err(format!("unexpected character inside braces: {}", quote_char(c))),
        }
        Ok(())
    }

    fn quoted(&mut self, quote: char) -> Step {
        loop {
            match self.next() {
                None | Some('\n') => return Err("unterminated quoted string".into()),
                Some('\\') => self.escape(quote)?,
                Some(c) if c == quote => break,
                Some(_) => {}
            }
        }
        self.emit(Tok::Text);
        Ok(())
    }

    fn raw(&mut self) -> Step {
        loop {
            match self.next() {
                None => return Err("unterminated raw string".into()),
                Some('`') => break,
                Some(_) => {}
            }
        }
        self.emit(Tok::Text);
        Ok(())
    }

    fn escape(&mut self, quote: char) -> Step {
        let unterminated = || "escape sequence not terminated".to_string();
        let c = self.next().ok_or_else(unterminated)?;
        let (digits, base, max, first) = match c {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => return Ok(()),
            c if c == quote => return Ok(()),
            '0'..='7' => (3, 8, 255, Some(c)),
            'x' => (2, 16, 255, None),
            'u' => (4, 16, 0x10ffff, None),
            'U' => (8, 16, 0x10ffff, None),
            c => return Err(format!("unknown escape sequence U+{:04X} '{c}'", c as u32)),
        };
        let mut value: u64 = 0;
        let mut pending = first;
        for _ in 0..digits {
            let c = match pending.take() {
                Some(c) => c,
                None => self.next().ok_or_else(unterminated)?,
            };
            let Some(digit) = c.to_digit(base) else {
                return Err(format!("illegal character U+{:04X} '{c}' in escape sequence", c as u32));
            };
            value = value * u64::from(base) + u64::from(digit);
        }
        if value > max || (0xd800..0xe000).contains(&value) {
            return Err("escape sequence is an invalid Unicode code point".into());
        }
        Ok(())
    }

    fn number_or_duration(&mut self) -> Step {
        if self.scan_number() {
            self.emit(Tok::Number);
            return Ok(());
        }
        if self.scan_duration_rest() {
            self.emit(Tok::Duration);
            return Ok(());
        }
        Err(format!("bad number or duration syntax: \"{}\"", self.word()))
    }

    fn scan_duration_rest(&mut self) -> bool {
        if !self.accept("smhdwy") {
            return false;
        }
        self.accept("s");
        while self.accept("0123456789") {
            while self.accept("0123456789") {}
            if !self.accept("smhdw") {
                return false;
            }
            self.accept("s");
        }
        if self.peek().is_some_and(is_alphanumeric) {
            self.next();
            return false;
        }
        true
    }

    /// Numbers of all shapes; what they are worth is decided by the parser.
    fn scan_number(&mut self) -> bool {
        let first = self.pos;
        let mut digits = "0123456789";
        if self.accept("0") && self.accept("xX") {
            self.accept("_");
            digits = "0123456789abcdefABCDEF";
        }
        let hexadecimal = digits.len() > 10;
        self.accept(".");
        self.accept(digits);
        let (mut dot, mut exponent) = (false, false);
        while let Some(c) = self.peek() {
            if c == '.' {
                self.next();
                if dot || self.accept("_.") || hexadecimal {
                    return false;
                }
                dot = true;
            } else if matches!(c, 'e' | 'E') && !(hexadecimal && digits.contains(c)) {
                self.next();
                if exponent {
                    return false;
                }
                exponent = true;
                self.accept("+-");
                if self.accept("._eE") || self.peek().is_none() {
                    return false;
                }
            } else if c == '_' {
                self.next();
                if self.accept("._eE") || self.peek().is_none() {
                    return false;
                }
            } else if digits.contains(c) {
                self.next();
            } else {
                break;
            }
        }
        self.pos > first && !self.peek().is_some_and(is_alphanumeric)
    }
}
