//! Regular expressions as Prometheus reads them (RE2, as in Go), compiled by a library of slightly different syntax: there
//! `\d`, `\w` and `\s` mean all of Unicode, `[a&&b]` and `[[a]]` are set operations, `\<` is a word boundary, and a brace
//! that is no repetition is an error.

use regex::Regex;

/// Compiles an expression that covers its whole text.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    Regex::new(&format!("^(?s:{})$", translate(pattern))).map_err(|error| {
        // The library draws the place over several lines; its last line says what is wrong.
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or("invalid").trim().trim_start_matches("error: ");
        format!("error parsing regexp: {reason}: `{pattern}`")
    })
}

fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let tail = &rest[c.len_utf8()..];
        rest = match c {
            '\\' => escape(tail, &mut out),
            '[' => class(tail, &mut out),
            '{' if !is_repetition(rest) => {
                out.push_str("\\{");
                tail
            }
            c => {
                out.push(c);
                tail
            }
        };
    }
    out
}

/// What follows a backslash outside a class; gives what is left.
fn escape<'a>(text: &'a str, out: &mut String) -> &'a str {
    let Some(c) = text.chars().next() else {
        out.push('\\');
        return text;
    };
    let tail = &text[c.len_utf8()..];
    match c {
        'Q' => {
            let (literal, after) = tail.split_once("\\E").unwrap_or((tail, ""));
            out.push_str(&regex::escape(literal));
            return after;
        }
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        's' => out.push_str("[\\t\\n\\f\\r ]"),
        'S' => out.push_str("[^\\t\\n\\f\\r ]"),
        'b' => out.push_str("(?-u:\\b)"),
        '<' | '>' | '_' => out.push(c),
        c => {
            out.push('\\');
            out.push(c);
        }
    }
    tail
}

/// A class from behind its opening bracket; gives what is left.
fn class<'a>(text: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    let mut rest = text;
    if let Some(tail) = rest.strip_prefix('^') {
        out.push('^');
        rest = tail;
    }
    // A bracket that comes first is one of the characters.
    if let Some(tail) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = tail;
    }
    while let Some(c) = rest.chars().next() {
        let tail = &rest[c.len_utf8()..];
        rest = match c {
            ']' => {
                out.push(']');
                return tail;
            }
            '[' => match rest.starts_with("[:").then(|| rest.find(":]")).flatten() {
                Some(end) => {
                    out.push_str(&rest[..end + 2]);
                    &rest[end + 2..]
                }
                None => {
                    out.push_str("\\[");
                    tail
                }
            },
            '\\' => class_escape(tail, out),
            '&' | '~' => {
                out.push('\\');
                out.push(c);
                tail
            }
            '-' if tail.starts_with('-') => {
                out.push_str("-\\-");
                &tail[1..]
            }
            c => {
                out.push(c);
                tail
            }
        };
    }
    rest
}

fn class_escape<'a>(text: &'a str, out: &mut String) -> &'a str {
    let Some(c) = text.chars().next() else {
        out.push('\\');
        return text;
    };
    match c {
        'd' => out.push_str("0-9"),
        'w' => out.push_str("0-9A-Za-z_"),
        's' => out.push_str("\\t\\n\\f\\r "),
        'D' => out.push_str("[^0-9]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'S' => out.push_str("[^\\t\\n\\f\\r ]"),
        '<' | '>' | '_' => out.push(c),
        c => {
            out.push('\\');
            out.push(c);
        }
    }
    &text[c.len_utf8()..]
}

/// `{2}`, `{2,}`, `{2,5}`; anything else in braces is text.
fn is_repetition(text: &str) -> bool {
    let Some(inner) = text[1..].split_once('}').map(|(inner, _)| inner) else { return false };
    let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !least.is_empty() && digits(least) && digits(most)
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn expressions_mean_what_they_mean_in_prometheus() {
        for (pattern, text, matches) in [
            ("a|bc", "bc", true),
            ("a|bc", "abc", false),
            (r"\d+", "٣", false),
            (r"\w+", "é", false),
            (r"[\w-]+", "a-b_9", true),
            ("a{", "a{", true),
            ("{a}", "{a}", true),
            ("a{2}", "aa", true),
            (r"\Qa.b\E+", "a.bb", true),
            (r"\Qa.b\E", "axb", false),
            ("[[a]+", "[a", true),
            ("[a&&b]+", "a&b", true),
            ("[[:digit:]x]+", "1x", true),
            ("[]a]+", "]a", true),
            ("[+--]+", "+,-", true),
            (r"\<a\>", "<a>", true),
            ("(?i)AbC", "aBc", true),
            ("a.b", "a\nb", true),
            (r"a\.b\/c\-d", "a.b/c-d", true),
        ] {
            assert_eq!(compile(pattern).unwrap().is_match(text), matches, "{pattern} on {text}");
        }
    }

    #[test]
    fn errors_are_one_line() {
        assert_eq!(compile("a(").unwrap_err(), "error parsing regexp: unclosed group: `a(`");
        assert!(compile("*").unwrap_err().starts_with("error parsing regexp: "));
    }
}
