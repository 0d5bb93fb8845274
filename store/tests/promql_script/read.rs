//! Script text to commands.

use gala_store::promql::{duration_ns, parse_selector};
use gala_store::{Labels, STALE_NAN_BITS};

#[derive(Debug)]
pub enum Command {
    Clear,
    Load { step_ms: i64, series: Vec<Line>, histograms_too: bool },
    Eval(Box<Eval>),
}

/// A series with a value per step; `None` where it has none.
#[derive(Debug, Clone)]
pub struct Line {
    pub labels: Labels,
    pub values: Vec<Option<f64>>,
    /// Holds something other than floats.
    pub foreign: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Fail,
    Warn,
    NoWarn,
    Info,
    NoInfo,
    Ordered,
}

#[derive(Debug, Clone)]
pub enum Text {
    Any,
    Exact(String),
    Pattern(String),
}

#[derive(Debug, Default)]
pub struct Eval {
    pub line: usize,
    pub query: String,
    pub from_ms: i64,
    pub to_ms: i64,
    /// `None` for instant queries.
    pub step_ms: Option<i64>,
    pub expectations: Vec<(Expected, Text)>,
    pub scalar: Option<f64>,
    pub text: Option<String>,
    /// Times of an expected range vector: from, to, step.
    pub range_vector: Option<(i64, i64, i64)>,
    pub series: Vec<Line>,
}

fn duration_ms(text: &str) -> Result<i64, String> {
    Ok(duration_ns(text)? / 1_000_000)
}

pub fn read(input: &str) -> Result<Vec<Command>, String> {
    let lines: Vec<&str> = input.lines().map(str::trim).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let mut commands = Vec::new();
    let mut next = 0;
    while next < lines.len() {
        let line = lines[next];
        let number = next + 1;
        next += 1;
        let word = line.split_whitespace().next().unwrap_or("");
        let block_end = |from: usize| from + lines[from..].iter().take_while(|line| !line.is_empty()).count();
        let at_line = |error: String| format!("line {number}: {error}");
        if word == "clear" {
            commands.push(Command::Clear);
        } else if word.starts_with("load") {
            let step_ms = duration_ms(line[word.len()..].trim()).map_err(at_line)?;
            let end = block_end(next);
            let series = lines[next..end].iter().map(|line| series_line(line)).collect::<Result<_, _>>().map_err(at_line)?;
            commands.push(Command::Load { step_ms, series, histograms_too: word == "load_with_nhcb" });
            next = end;
        } else if word.starts_with("eval") {
            let mut eval = eval_head(line).map_err(at_line)?;
            eval.line = number;
            while next < lines.len() && !lines[next].is_empty() {
                let done = eval_line(&mut eval, lines[next]).map_err(|error| format!("line {}: {error}", next + 1))?;
                next += 1;
                if done {
                    break;
                }
            }
            commands.push(Command::Eval(Box::new(eval)));
        } else if !line.is_empty() {
            return Err(at_line(format!("unknown command {line:?}")));
        }
    }
    Ok(commands)
}

/// Splits the first word off.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim_start()))
}

fn eval_head(line: &str) -> Result<Eval, String> {
    let (command, rest) = word(line);
    let (kind, rest) = word(rest);
    let mut eval = Eval::default();
    match command {
        "eval_fail" => eval.expectations.push((Expected::Fail, Text::Any)),
        "eval_warn" => eval.expectations.push((Expected::Warn, Text::Any)),
        "eval_info" => eval.expectations.push((Expected::Info, Text::Any)),
        "eval_ordered" => eval.expectations.push((Expected::Ordered, Text::Any)),
        _ => {}
    }
    if kind == "instant" {
        let (at, rest) = word(rest);
        if at != "at" {
            return Err("expected \"at\"".into());
        }
        let (time, query) = word(rest);
        eval.from_ms = duration_ms(time)?;
        eval.to_ms = eval.from_ms;
        eval.query = query.to_string();
        return Ok(eval);
    }
    let mut rest = rest;
    let mut times = Vec::new();
    for wanted in ["from", "to", "step"] {
        let (keyword, tail) = word(rest);
        if keyword != wanted {
            return Err(format!("expected {wanted:?}, got {keyword:?}"));
        }
        let (time, tail) = word(tail);
        times.push(duration_ms(time)?);
        rest = tail;
    }
    (eval.from_ms, eval.to_ms, eval.step_ms) = (times[0], times[1], Some(times[2]));
    eval.query = rest.to_string();
    Ok(eval)
}

/// Takes one line of an evaluation; whether it was the last.
fn eval_line(eval: &mut Eval, line: &str) -> Result<bool, String> {
    if let Some(message) = line.strip_prefix("expected_fail_message") {
        eval.expectations = vec![(Expected::Fail, Text::Exact(message.trim().to_string()))];
        return Ok(true);
    }
    if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
        eval.expectations = vec![(Expected::Fail, Text::Pattern(pattern.trim().to_string()))];
        return Ok(true);
    }
    if let Some(rest) = line.strip_prefix("expect range vector") {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let ["from", from, "to", to, "step", step] = words[..] else { return Err(format!("bad range vector {line:?}")) };
        eval.range_vector = Some((duration_ms(from)?, duration_ms(to)?, duration_ms(step)?));
        return Ok(false);
    }
    if let Some(rest) = line.strip_prefix("expect string ") {
        let quoted = rest.trim();
        eval.text = Some(quoted[1..quoted.len() - 1].to_string());
        return Ok(false);
    }
    if let Some(rest) = line.strip_prefix("expect ") {
        let (kind, rest) = word(rest);
        let kind = match kind {
            "fail" => Expected::Fail,
            "warn" => Expected::Warn,
            "no_warn" => Expected::NoWarn,
            "info" => Expected::Info,
            "no_info" => Expected::NoInfo,
            "ordered" => Expected::Ordered,
            other => return Err(format!("unknown expectation {other:?}")),
        };
        let text = if let Some(message) = rest.strip_prefix("msg:") {
            Text::Exact(message.trim().to_string())
        } else if let Some(pattern) = rest.strip_prefix("regex:") {
            Text::Pattern(pattern.trim().to_string())
        } else {
            Text::Any
        };
        eval.expectations.push((kind, text));
        return Ok(false);
    }
    if let Some((value, "")) = number(line) {
        eval.scalar = Some(value);
        return Ok(true);
    }
    eval.series.push(series_line(line)?);
    Ok(false)
}

/// End of the metric: the first space outside quotes and braces.
fn metric_end(line: &str) -> usize {
    let (mut quote, mut escaped, mut depth) = (None, false, 0);
    for (index, c) in line.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None => match c {
                '"' | '\'' | '`' => quote = Some(c),
                '{' => depth += 1,
                '}' => depth -= 1,
                c if c.is_whitespace() && depth == 0 => return index,
                _ => {}
            },
        }
    }
    line.len()
}

fn series_line(line: &str) -> Result<Line, String> {
    let (metric, values) = line.split_at(metric_end(line));
    let (metric, foreign) = match metric.strip_suffix("@st") {
        Some(metric) => (metric, true),
        None => (metric, values.contains("{{")),
    };
    let matchers = parse_selector(metric).map_err(|error| format!("{metric}: {error}"))?;
    let labels = Labels::new(matchers.into_iter().map(|matcher| (matcher.name, matcher.value)));
    let values = if foreign { Vec::new() } else { sequence(values)? };
    Ok(Line { labels, values, foreign })
}

/// A number at the start of a text.
fn number(text: &str) -> Option<(f64, &str)> {
    let bytes = text.as_bytes();
    let mut end = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let lower = text[end..].to_ascii_lowercase();
    if lower.starts_with("inf") || lower.starts_with("nan") {
        end += 3;
        return Some((text[..end].parse().ok()?, &text[end..]));
    }
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(|byte| byte.is_ascii_digit() || *byte == b'.') {
            at += 1;
        }
        at
    };
    let start = end;
    end = digits(end);
    if end == start {
        return None;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(sign);
        if exponent > sign {
            end = exponent;
        }
    }
    Some((text[..end].parse().ok()?, &text[end..]))
}

fn sequence(text: &str) -> Result<Vec<Option<f64>>, String> {
    let mut out = Vec::new();
    for item in text.split_whitespace() {
        let bad = || format!("bad value {item:?}");
        let times = |rest: &str| rest.strip_prefix('x').and_then(|count| count.parse::<usize>().ok()).ok_or_else(bad);
        if let Some(rest) = item.strip_prefix('_') {
            let count = if rest.is_empty() { 1 } else { times(rest)? };
            out.extend(std::iter::repeat_n(None, count));
            continue;
        }
        let (value, rest) = match item.strip_prefix("stale") {
            Some(rest) => (f64::from_bits(STALE_NAN_BITS), rest),
            None => number(item).ok_or_else(bad)?,
        };
        if rest.is_empty() {
            out.push(Some(value));
            continue;
        }
        let (change, rest) = if rest.starts_with('x') { (0.0, rest) } else { number(rest).ok_or_else(bad)? };
        let mut current = value;
        for _ in 0..=times(rest)? {
            out.push(Some(current));
            if change != 0.0 {
                current += change;
            }
        }
    }
    Ok(out)
}
