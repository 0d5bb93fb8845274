//! Parameters of a request: the query string and, for POST, a form in the body. A name may stand more than once; where one
//! value is wanted the body wins over the query string.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, StatusCode, header};
use gala_store::promql::{duration_ns, parse_selector};
use gala_store::{Matcher, TimeRange};

use super::answer::{Refusal, bad_parameter};
use super::time;

/// Bodies of queries larger than this are refused.
const MAX_BODY: usize = 16 << 20;

pub struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let mut pairs = Vec::new();
        let (head, body) = request.into_parts();
        if head.method == Method::POST {
            let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
            let is_form = content_type
                .split(';')
                .next()
                .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"));
            if is_form {
                let body = to_bytes(body, MAX_BODY).await.map_err(|_| {
                    let message = format!("the body is larger than {} MiB or was not sent to its end", MAX_BODY >> 20);
                    Refusal::bad_data(message).with_status(StatusCode::PAYLOAD_TOO_LARGE)
                })?;
                pairs.extend(parse_form(&String::from_utf8_lossy(&body)));
            }
        }
        pairs.extend(parse_form(head.uri.query().unwrap_or("")));
        Ok(Self(pairs))
    }
}

fn parse_form(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

/// Undoes form encoding; what is no escape stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |index: usize| bytes.get(index).and_then(|byte| (*byte as char).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', _, _) => out.push(b' '),
            (byte, _, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

type Result<T> = std::result::Result<T, Refusal>;

impl Params {
    /// Empty if missing.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Milliseconds since 1970.
    pub fn time(&self, name: &str) -> Result<i64> {
        time::parse(self.get(name)).map_err(|error| bad_parameter(name, error))
    }

    pub fn time_or(&self, name: &str, default: i64) -> Result<i64> {
        if self.get(name).is_empty() {
            return Ok(default);
        }
        let wrong = |error| bad_parameter(name, format!("invalid time value for '{name}': {error}"));
        time::parse(self.get(name)).map_err(wrong)
    }

    /// Seconds or a duration such as `5m`, in nanoseconds.
    pub fn duration(&self, name: &str) -> Result<i64> {
        duration(self.get(name)).map_err(|error| bad_parameter(name, error))
    }

    pub fn timeout(&self) -> Result<Option<Duration>> {
        if self.get("timeout").is_empty() {
            return Ok(None);
        }
        Ok(Some(Duration::from_nanos(self.duration("timeout")?.max(0) as u64)))
    }

    /// Milliseconds, if given and not zero.
    pub fn lookback(&self) -> Result<Option<i64>> {
        let text = self.get("lookback_delta");
        if text.is_empty() {
            return Ok(None);
        }
        match duration(text) {
            Ok(ns) => Ok(Some(ns / 1_000_000).filter(|ms| *ms > 0)),
            Err(error) => Err(Refusal::bad_data(format!("error parsing lookback delta duration: {error}"))),
        }
    }

    /// 0 where there is no limit.
    pub fn limit(&self) -> Result<usize> {
        let text = self.get("limit");
        if text.is_empty() {
            return Ok(0);
        }
        match text.parse::<i64>() {
            Ok(limit) if limit < 0 => Err(bad_parameter("limit", "limit must be non-negative")),
            Ok(limit) => Ok(limit as usize),
            Err(_) => Err(bad_parameter("limit", format!("strconv.Atoi: parsing {text:?}: invalid syntax"))),
        }
    }

    /// The sets of matchers of all `match[]`.
    pub fn matcher_sets(&self) -> std::result::Result<Vec<Vec<Matcher>>, String> {
        let sets = self.all("match[]").map(|text| parse_selector(text).map_err(|error| error.to_string()));
        let sets = sets.collect::<std::result::Result<Vec<_>, String>>()?;
        if sets.iter().any(|set| set.iter().all(|matcher| matcher.matches(""))) {
            return Err("match[] must contain at least one non-empty matcher".into());
        }
        Ok(sets)
    }

    /// From `start` and `end`, both optional.
    pub fn time_range(&self) -> Result<TimeRange> {
        Ok(TimeRange { from_ms: self.time_or("start", time::MIN_MS)?, to_ms: self.time_or("end", time::MAX_MS)? })
    }
}

fn duration(text: &str) -> std::result::Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ns = seconds * 1e9;
        if !ns.is_finite() || ns.abs() > i64::MAX as f64 {
            return Err(format!("cannot parse {text:?} to a valid duration. It overflows int64"));
        }
        return Ok(ns as i64);
    }
    duration_ns(text).map_err(|_| format!("cannot parse {text:?} to a valid duration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_decode() {
        let pairs: Vec<_> = parse_form("query=up%7Bjob%3D%22a+b%22%7D&match[]=x&match%5B%5D=y&bad=%zz").collect();
        assert_eq!(pairs[0].1, "up{job=\"a b\"}");
        assert_eq!(pairs[2], ("match[]".into(), "y".into()));
        assert_eq!(pairs[3].1, "%zz");
    }

    #[test]
    fn durations_are_seconds_or_words() {
        assert_eq!(duration("1.5"), Ok(1_500_000_000));
        assert_eq!(duration("5m"), Ok(300_000_000_000));
        assert_eq!(duration("x").unwrap_err(), "cannot parse \"x\" to a valid duration");
    }
}
