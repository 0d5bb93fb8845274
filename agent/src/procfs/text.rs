//! Splitting the text of `/proc`: lines, blank-separated fields, decimal and hexadecimal numbers.

/// Lines without their ends.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// Fields between blanks and tabs.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| byte.is_ascii_whitespace()).filter(|field| !field.is_empty())
}

/// An unsigned decimal number; `None` for anything else and for what exceeds 64 bits.
pub fn number(field: &[u8]) -> Option<u64> {
    if field.is_empty() {
        return None;
    }
    field.iter().try_fold(0u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { value.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// A decimal number that may be negative.
pub fn signed(field: &[u8]) -> Option<i64> {
    match field.strip_prefix(b"-") {
        Some(digits) => i64::try_from(number(digits)?).ok().map(|value| -value),
        None => i64::try_from(number(field)?).ok(),
    }
}

/// A hexadecimal number without prefix.
pub fn hex(field: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(field).ok()?, 16).ok()
}

/// A number with a fraction, as `/proc/loadavg` has it.
pub fn decimal(field: &[u8]) -> Option<f64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Bytes as text; what is no UTF-8 becomes U+FFFD.
pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_or_nothing() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(number(b"18446744073709551616"), None);
        for text in ["", "-1", "12a", "unlimited"] {
            assert_eq!(number(text.as_bytes()), None, "{text}");
        }
        assert_eq!(signed(b"-20"), Some(-20));
        assert_eq!(signed(b"-"), None);
        assert_eq!(hex(b"00003123"), Some(0x3123));
    }

    #[test]
    fn blanks_of_any_number_separate_fields() {
        assert_eq!(fields(b"  a \t b  ").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(lines(b"a\n\nb\n").count(), 2);
    }
}
