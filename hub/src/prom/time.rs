//! Times on the wire: unix seconds with a fraction, or RFC 3339; milliseconds inside.

/// The earliest and latest time clients send for "no bound", kept small enough for arithmetic.
pub const MIN_MS: i64 = i64::MIN / 4;
pub const MAX_MS: i64 = i64::MAX / 4;

/// Times at which something can be computed: years 1 to 9999.
pub const COMPUTED_MS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;
/// Seconds beyond this are a mistake and not a bound.
const MAX_S: f64 = 1e16;

/// What the Go client of Prometheus sends for its own bounds.
const GO_MIN: &str = "-292273086-05-16T16:47:06Z";
const GO_MAX: &str = "292277025-08-18T07:12:54.999999999Z";

pub fn parse(text: &str) -> Result<i64, String> {
    if let Some(seconds) = text.parse::<f64>().ok().filter(|seconds| seconds.abs() <= MAX_S) {
        let ms = (seconds * 1000.0).round();
        return Ok((ms as i64).clamp(MIN_MS, MAX_MS));
    }
    match text {
        GO_MIN => Ok(MIN_MS),
        GO_MAX => Ok(MAX_MS),
        _ => rfc3339(text).ok_or_else(|| format!("cannot parse {text:?} to a valid timestamp")),
    }
}

fn rfc3339(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    };
    let is = |at: usize, wanted: u8| text.as_bytes().get(at) == Some(&wanted);
    if !(is(4, b'-') && is(7, b'-') && is(10, b'T') && is(13, b':') && is(16, b':')) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let length = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    let leap_day = i64::from(month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
    if !(1..=length + leap_day).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut at = 19;
    let mut ms = 0;
    if is(at, b'.') {
        let end = at + 1 + text[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let fraction = text.get(at + 1..end).filter(|digits| !digits.is_empty())?;
        ms = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
        at = end;
    }
    let offset_minutes = match text.get(at..)? {
        "Z" => 0,
        zone if zone.len() == 6 && is(at + 3, b':') => {
            let (hours, minutes) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            match zone.as_bytes()[0] {
                b'+' => hours * 60 + minutes,
                b'-' => -(hours * 60 + minutes),
                _ => return None,
            }
        }
        _ => return None,
    };
    let days = days_since_1970(year, month, day);
    Some((((days * 24 + hour) * 60 + minute - offset_minutes) * 60 + second) * 1000 + ms)
}

/// Howard Hinnant's `days_from_civil`.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Milliseconds since 1970, now.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as i64
}

/// RFC 3339 in UTC, with milliseconds.
pub fn show(t_ms: i64) -> String {
    let seconds = gala_store::promql::show_utc(t_ms);
    format!("{}.{:03}Z", seconds.trim_end_matches('Z'), t_ms.rem_euclid(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_rfc_3339_agree() {
        assert_eq!(parse("1435781451.781"), Ok(1_435_781_451_781));
        assert_eq!(parse("2015-07-01T20:10:51.781Z"), Ok(1_435_781_451_781));
        assert_eq!(parse("2015-07-01T22:10:51.781999+02:00"), Ok(1_435_781_451_781));
        assert_eq!(show(1_435_781_451_781), "2015-07-01T20:10:51.781Z");
        assert_eq!(show(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(parse("2016-02-29T00:00:00Z"), Ok(1_456_704_000_000));
    }

    #[test]
    fn nonsense_is_named() {
        for text in
            ["", "foo", "NaN", "2015-13-01T00:00:00Z", "2015-02-29T00:00:00Z", "2015-07-01 20:10:51Z", "2015-07-01T20:10:51"]
        {
            assert_eq!(parse(text), Err(format!("cannot parse {text:?} to a valid timestamp")));
        }
    }
}
