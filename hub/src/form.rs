//! Form encoding, read strictly: what is no escape or no UTF-8 is named and refused, for a value that was silently changed
//! would be answered for.

use std::fmt;

/// Why a query string or a form cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct FormError {
    /// The parameter, as far as it can be read.
    pub name: String,
    pub reason: String,
}

impl fmt::Display for FormError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.reason)
    }
}

/// Names and values in their order; a name may stand more than once.
pub fn parse(text: &[u8]) -> Result<Vec<(String, String)>, FormError> {
    text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(pair).collect()
}

fn pair(pair: &[u8]) -> Result<(String, String), FormError> {
    let at = pair.iter().position(|byte| *byte == b'=');
    let (name, value) = at.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
    let shown = String::from_utf8_lossy(name).into_owned();
    let name = decode(name).map_err(|reason| FormError { name: shown, reason })?;
    match decode(value) {
        Ok(value) => Ok((name, value)),
        Err(reason) => Err(FormError { name, reason }),
    }
}

/// `%41` is a byte, `+` a space.
fn decode(text: &[u8]) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let hex = |index: usize| text.get(index).and_then(|byte| (*byte as char).to_digit(16));
        match (text[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'%', ..) => {
                let wrong = String::from_utf8_lossy(&text[at..text.len().min(at + 3)]);
                return Err(format!("invalid URL escape {wrong:?}; write a percent sign as %25"));
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out).map_err(|_| "it is not UTF-8; encode text as UTF-8".to_owned())
}

/// The name of a parameter that stands more than once with different values.
pub fn contradiction(pairs: &[(String, String)], may_repeat: impl Fn(&str) -> bool) -> Option<&str> {
    let differs = |(index, (name, value)): (usize, &(String, String))| {
        !may_repeat(name) && pairs[..index].iter().any(|(other, before)| other == name && before != value)
    };
    pairs.iter().enumerate().find(|entry| differs(*entry)).map(|(_, (name, _))| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_decode() {
        let pairs = parse(b"query=up%7Bjob%3D%22a+b%22%7D&match[]=x&&match%5B%5D=y&bare").unwrap();
        assert_eq!(pairs[0].1, "up{job=\"a b\"}");
        assert_eq!(pairs[2], ("match[]".into(), "y".into()));
        assert_eq!(pairs[3], ("bare".into(), String::new()));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, name, word) in [
            (&b"a=1&b=%zz"[..], "b", "%zz"),
            (b"b=%", "b", "%25"),
            (b"b=%ff%fe", "b", "UTF-8"),
            (b"b=\xff", "b", "UTF-8"),
            (b"%zz=1", "%zz", "escape"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.name, name);
            assert!(error.reason.contains(word), "{error}");
        }
    }

    #[test]
    fn only_different_values_contradict() {
        let pairs = parse(b"a=1&a=1&m=1&m=2&b=1&b=2").unwrap();
        assert_eq!(contradiction(&pairs, |name| name == "m"), Some("b"));
    }
}
