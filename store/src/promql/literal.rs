//! What literals are worth: numbers, durations and quoted strings, by the rules of Prometheus (which are those of Go).

/// Errors are the texts Prometheus shows.
pub fn number(text: &str) -> Result<f64, String> {
    if let Some(integer) = integer(text) {
        return Ok(integer as f64);
    }
    let plain: String = text.chars().filter(|&c| c != '_').collect();
    let failed = |reason: &str| format!("error parsing number: strconv.ParseFloat: parsing \"{text}\": {reason}");
    let value: f64 = plain.parse().map_err(|_| failed("invalid syntax"))?;
    let spelled_infinite = plain.to_ascii_lowercase().contains("inf");
    if value.is_infinite() && !spelled_infinite {
        return Err(failed("value out of range"));
    }
    Ok(value)
}

/// Integers with a base prefix; a leading zero means octal.
fn integer(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let (digits, base) = if let Some(rest) = lower.strip_prefix("0x") {
        (rest, 16)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (rest, 2)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (rest, 8)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (&lower[1..], 8)
    } else {
        (lower.as_str(), 10)
    };
    let plain: String = digits.chars().filter(|&c| c != '_').collect();
    i64::from_str_radix(&plain, base).ok()
}

const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// A duration such as `1h30m` in nanoseconds. Units descend and appear once.
pub fn duration_ns(text: &str) -> Result<i64, String> {
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err("empty duration string".into());
    }
    let invalid = || format!("not a valid duration string: \"{text}\"");
    let mut total_ms: u64 = 0;
    let mut next_unit = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 {
            return Err(invalid());
        }
        let (count, tail) = rest.split_at(digits);
        let unit_len = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, tail) = tail.split_at(unit_len);
        if unit.is_empty() {
            return Err(invalid());
        }
        let Some(index) = UNITS.iter().position(|(name, _)| *name == unit) else {
            return Err(format!("unknown unit \"{unit}\" in duration \"{text}\""));
        };
        if index < next_unit {
            return Err(invalid());
        }
        next_unit = index + 1;
        let out_of_range = || "duration out of range".to_string();
        let count: u64 = count.parse().map_err(|_| out_of_range())?;
        let part = count.checked_mul(UNITS[index].1).ok_or_else(out_of_range)?;
        total_ms = total_ms.checked_add(part).ok_or_else(out_of_range)?;
        rest = tail;
    }
    i64::try_from(total_ms).ok().and_then(|ms| ms.checked_mul(1_000_000)).ok_or_else(|| "duration out of range".to_string())
}

/// A duration as Prometheus prints it: `1h30m`, `1500ms` as `1s500ms`.
pub fn print_duration(ns: i64) -> String {
    let mut ms = ns / 1_000_000;
    if ms == 0 {
        return "0s".into();
    }
    let mut out = String::new();
    if ms < 0 {
        out.push('-');
        ms = -ms;
    }
    // Years, weeks and days only where nothing is left over, so that nobody reads "4w2d" for a month.
    for (index, (unit, worth)) in UNITS.iter().enumerate() {
        let worth = *worth as i64;
        let exact = matches!(*unit, "y" | "w");
        if exact && ms % worth != 0 {
            continue;
        }
        let count = ms / worth;
        if count > 0 {
            out.push_str(&format!("{count}{}", UNITS[index].0));
            ms -= count * worth;
        }
    }
    out
}

/// The contents of a quoted or raw string the lexer has already accepted.
pub fn unquote(text: &str) -> Result<String, String> {
    let mut chars = text.chars();
    let (Some(quote), Some(_)) = (chars.next(), chars.next_back()) else { return Err("invalid syntax".into()) };
    let inner = chars.as_str();
    if quote == '`' || !inner.contains('\\') {
        return Ok(inner.to_string());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    let mut buffer = [0; 4];
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
            continue;
        }
        let escaped = chars.next().ok_or("invalid syntax")?;
        match escaped {
            'a' => bytes.push(7),
            'b' => bytes.push(8),
            'f' => bytes.push(12),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'v' => bytes.push(11),
            'x' => bytes.push(digits(&mut chars, 2, 16, 0)? as u8),
            '0'..='7' => bytes.push(digits(&mut chars, 2, 8, escaped.to_digit(8).unwrap_or(0))? as u8),
            'u' | 'U' => {
                let value = digits(&mut chars, if escaped == 'u' { 4 } else { 8 }, 16, 0)?;
                let c = char::from_u32(value).ok_or("invalid syntax")?;
                bytes.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
            }
            c => bytes.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes()),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn digits(chars: &mut std::str::Chars, count: usize, base: u32, start: u32) -> Result<u32, String> {
    let mut value = start;
    for _ in 0..count {
        let digit = chars.next().and_then(|c| c.to_digit(base)).ok_or("invalid syntax")?;
        value = value.wrapping_mul(base).wrapping_add(digit);
    }
    Ok(value)
}

/// A string in double quotes with the escapes of Go.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Names that need no quotes as a label.
pub fn is_plain_label(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c == '_' || c.is_ascii_alphabetic()) && chars.all(|c| c == '_' || c.is_ascii_alphanumeric())
}

/// `strconv.FormatFloat(value, 'f', -1, 64)`: the shortest digits, never an exponent.
pub fn format_plain(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else {
        format!("{value}")
    }
}

/// `strconv.FormatFloat(value, 'e', -1, 64)` of a finite value: exponent with sign and at least two digits.
pub fn format_exponent(value: f64) -> String {
    let text = format!("{value:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// How values stand in JSON answers: plain, with an exponent only for the very small and the very large.
pub fn format_value(value: f64) -> String {
    let size = value.abs();
    if value.is_finite() && size != 0.0 && !(1e-6..1e21).contains(&size) {
        return format_exponent(value);
    }
    format_plain(value)
}

/// Go's `%g` with the shortest precision: an exponent below 1e-4 and from 1e21 on.
pub fn format_general(value: f64) -> String {
    let size = value.abs();
    if value.is_finite() && size != 0.0 && !(1e-4..1e21).contains(&size) {
        return format_exponent(value);
    }
    format_plain(value)
}

/// The canonical spelling of OpenMetrics for label values: `1.0`, `0.99`, `+Inf`.
pub fn format_open_metrics(value: f64) -> String {
    let mut text = format_general(value);
    if value.is_finite() && !text.contains(['e', '.']) {
        text.push_str(".0");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_go() {
        for (text, value) in
            [("1", 1.0), ("0x1f", 31.0), ("1e3", 1000.0), ("010", 8.0), ("08", 8.0), ("1_000", 1000.0), (".5", 0.5)]
        {
            assert_eq!(number(text), Ok(value), "{text}");
        }
        assert!(number("nan").is_ok_and(f64::is_nan));
        assert_eq!(number("Inf"), Ok(f64::INFINITY));
        assert!(number("1e999").unwrap_err().contains("value out of range"));
    }

    #[test]
    fn durations_descend_and_print_back() {
        assert_eq!(duration_ns("1h30m"), Ok(5_400_000_000_000));
        assert_eq!(duration_ns("5m1h").unwrap_err(), "not a valid duration string: \"5m1h\"");
        assert_eq!(duration_ns("5y1hs").unwrap_err(), "unknown unit \"hs\" in duration \"5y1hs\"");
        assert_eq!(duration_ns("99999999999y").unwrap_err(), "duration out of range");
        for text in ["1h30m", "1s500ms", "2w", "8d", "1y", "5m"] {
            assert_eq!(print_duration(duration_ns(text).unwrap()), text);
        }
    }

    #[test]
    fn strings_unescape() {
        assert_eq!(unquote(r#""a\n\x41\u00e9\101""#).unwrap(), "a\nAéA");
        assert_eq!(unquote(r"`\n`").unwrap(), "\\n");
        assert_eq!(unquote(r"'it\'s'").unwrap(), "it's");
    }

    #[test]
    fn floats_print_as_go_prints_them() {
        assert_eq!(format_value(1e21), "1e+21");
        assert_eq!(format_value(1e20), "100000000000000000000");
        assert_eq!(format_value(1e-7), "1e-07");
        assert_eq!(format_value(0.1), "0.1");
        assert_eq!(format_value(f64::NEG_INFINITY), "-Inf");
        assert_eq!(format_value(-0.0), "-0");
        assert_eq!(format_open_metrics(1.0), "1.0");
        assert_eq!(format_open_metrics(0.99), "0.99");
    }
}
