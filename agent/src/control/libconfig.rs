//! libconfig text, as upstream's `gala-gopher.conf` is written: settings `name = value`, groups, lists, arrays, strings,
//! integers, floats, booleans, three kinds of comments. Includes are refused by name.

/// Groups and lists inside each other; upstream's file has one level.
const MAX_DEPTH: usize = 16;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Group(Vec<Setting>),
    /// A list `( )` or an array `[ ]`.
    List(Vec<Value>),
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub name: String,
    /// From 1.
    pub line: usize,
    pub value: Value,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub line: usize,
    pub text: String,
}

/// All settings of a file, in its order.
pub fn parse(text: &str) -> Result<Vec<Setting>, Problem> {
    let mut reader = Reader { rest: text, line: 1 };
    let settings = reader.settings(0)?;
    match reader.peek() {
        None => Ok(settings),
        Some(other) => Err(reader.wrong(format!("{other:?} does not belong here"))),
    }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, text: impl Into<String>) -> Problem {
        Problem { line: self.line, text: text.into() }
    }

    fn skip(&mut self, bytes: usize) -> &'a str {
        let (passed, rest) = self.rest.split_at(bytes);
        self.line += passed.matches('\n').count();
        self.rest = rest;
        passed
    }

    /// Passes blanks and comments.
    fn blanks(&mut self) -> Result<(), Problem> {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.skip(blank);
            let comment = if self.rest.starts_with('#') || self.rest.starts_with("//") {
                self.rest.find('\n').unwrap_or(self.rest.len())
            } else if self.rest.starts_with("/*") {
                self.rest.find("*/").ok_or_else(|| self.wrong("the comment is not closed"))? + 2
            } else {
                return Ok(());
            };
            self.skip(comment);
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let is_next = self.rest.starts_with(wanted);
        if is_next {
            self.skip(wanted.len_utf8());
        }
        is_next
    }

    /// Settings up to what cannot begin one.
    fn settings(&mut self, depth: usize) -> Result<Vec<Setting>, Problem> {
        let mut settings = Vec::new();
        loop {
            self.blanks()?;
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*');
            let length = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
            if self.rest.starts_with('@') {
                return Err(self.wrong("@include is not read: put the settings of that file here"));
            }
            if length == 0 || !self.rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*') {
                return Ok(settings);
            }
            let line = self.line;
            let name = self.skip(length).to_owned();
            self.blanks()?;
            if !self.take('=') && !self.take(':') {
                return Err(self.wrong(format!("`=` is missing behind {name}")));
            }
            let value = self.value(depth)?;
            settings.push(Setting { name, line, value });
            self.blanks()?;
            if !self.take(';') {
                self.take(',');
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Problem> {
        self.blanks()?;
        if depth >= MAX_DEPTH {
            return Err(self.wrong("nested too deeply"));
        }
        match self.peek() {
            Some('{') => {
                self.skip(1);
                let settings = self.settings(depth + 1)?;
                if !self.take('}') {
                    return Err(self.wrong("a group is not closed with }"));
                }
                Ok(Value::Group(settings))
            }
            Some('(') => self.list(')', depth),
            Some('[') => self.list(']', depth),
            Some('"') => self.text(),
            _ => self.scalar(),
        }
    }

    fn list(&mut self, end: char, depth: usize) -> Result<Value, Problem> {
        self.skip(1);
        let mut items = Vec::new();
        loop {
            self.blanks()?;
            if self.take(end) {
                return Ok(Value::List(items));
            }
            items.push(self.value(depth + 1)?);
            self.blanks()?;
            if !self.take(',') && !self.rest.starts_with(end) {
                return Err(self.wrong(format!("a list is not closed with {end}")));
            }
        }
    }

    /// A string; one right behind another continues it.
    fn text(&mut self) -> Result<Value, Problem> {
        let mut text = String::new();
        while self.take('"') {
            loop {
                let plain = self.rest.find(['"', '\\']).ok_or_else(|| self.wrong("a string is not closed"))?;
                text.push_str(self.skip(plain));
                if self.take('"') {
                    break;
                }
                self.skip(1);
                text.push(self.escaped()?);
            }
            self.blanks()?;
        }
        Ok(Value::Text(text))
    }

    fn escaped(&mut self) -> Result<char, Problem> {
        let letter = self.peek().ok_or_else(|| self.wrong("a string is not closed"))?;
        self.skip(letter.len_utf8());
        match letter {
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'f' => Ok('\u{c}'),
            'x' => {
                let digits = self.rest.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
                let byte = digits.ok_or_else(|| self.wrong("\\x needs two hexadecimal digits"))?;
                self.skip(2);
                Ok(char::from(byte))
            }
            other => Ok(other),
        }
    }

    fn scalar(&mut self) -> Result<Value, Problem> {
        let length = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c))).unwrap_or(self.rest.len());
        let word = self.skip(length);
        if word.eq_ignore_ascii_case("true") || word.eq_ignore_ascii_case("false") {
            return Ok(Value::Bool(word.eq_ignore_ascii_case("true")));
        }
        let digits = word.trim_end_matches('L');
        let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
        let integer = match hexadecimal {
            Some(digits) => i64::from_str_radix(digits, 16).ok(),
            None => digits.parse().ok(),
        };
        if let Some(integer) = integer {
            return Ok(Value::Integer(integer));
        }
        let is_number = word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
        match word.parse() {
            Ok(float) if is_number => Ok(Value::Float(float)),
            _ if word.is_empty() => Err(self.wrong("a value is missing")),
            _ => Err(self.wrong(format!("{word} is no value; a text stands in quotes"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(settings: &[Setting]) -> Vec<&str> {
        settings.iter().map(|setting| setting.name.as_str()).collect()
    }

    #[test]
    fn every_form_upstream_allows_is_read() {
        let text = "# first\nglobal =\n{\n    level = \"in\" /* joined */ \"fo\"; on : TRUE, // last\n    size = 0x10L\n    part = -1.5e3;\n};\n\
                    list = ( 1, \"a\\n\", { x = [ true, False ]; } )\n";
        let settings = parse(text).unwrap();
        assert_eq!(names(&settings), ["global", "list"]);
        let Value::Group(global) = &settings[0].value else { panic!("{settings:?}") };
        assert_eq!(names(global), ["level", "on", "size", "part"]);
        assert_eq!(global[0].value, Value::Text("info".to_owned()));
        assert_eq!(global[1].value, Value::Bool(true));
        assert_eq!(global[2].value, Value::Integer(16));
        assert_eq!(global[3].value, Value::Float(-1500.0));
        assert_eq!((settings[0].line, global[2].line), (2, 5));
        let Value::List(list) = &settings[1].value else { panic!("{settings:?}") };
        assert_eq!(list[..2], [Value::Integer(1), Value::Text("a\n".to_owned())]);
        assert_eq!(parse(" # nothing\n"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let cases = [
            ("a = \n", 2, "a value is missing"),
            ("\na = { b = 1;\n", 3, "a group is not closed with }"),
            ("a = \"x", 1, "a string is not closed"),
            ("a 1", 1, "`=` is missing behind a"),
            ("a = info", 1, "info is no value; a text stands in quotes"),
            ("a = nan", 1, "nan is no value; a text stands in quotes"),
            ("a = 1;\n}", 2, "'}' does not belong here"),
            ("/* x", 1, "the comment is not closed"),
            ("@include \"b\"", 1, "@include is not read: put the settings of that file here"),
        ];
        for (text, line, words) in cases {
            assert_eq!(parse(text), Err(Problem { line, text: words.to_owned() }), "{text}");
        }
        assert!(parse(&format!("a = {}", "(".repeat(100_000))).is_err(), "no stack is deep enough");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z\"=:;{}()\\[\\]\\\\#/*,.0-9xL \n@é-]{0,200}") {
            let _ = parse(&text);
        }
    }
}
