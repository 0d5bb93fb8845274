//! Parameters of a request: the query string and, for POST, a form in the body. A name may stand more than once; where one
//! value is wanted the body wins over the query string.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, StatusCode, header};
use gala_store::promql::{duration_ns, parse_selector};
use gala_store::{Matcher, TimeRange};

use super::answer::{Refusal, bad_parameter};
use super::time;
use crate::form;

pub struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let query = request.uri().query().unwrap_or("").to_owned();
        let mut pairs = Vec::new();
        if request.method() == Method::POST {
            let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let content_type = content_type.unwrap_or("").to_owned();
            let body = Bytes::from_request(request, state).await.map_err(|error| {
                let message = match error.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => "the body is larger than what is taken; send less".to_owned(),
                    _ => format!("the body was not sent to its end: {}", error.body_text()),
                };
                Refusal::bad_data(message).with_status(error.status())
            })?;
            let media = content_type.split(';').next().unwrap_or("").trim();
            if !body.is_empty() && !media.eq_ignore_ascii_case(FORM) {
                let message = format!("content type {content_type:?} is not taken here; send parameters as {FORM}");
                return Err(Refusal::bad_data(message).with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
            }
            pairs = read(&body)?;
        }
        pairs.extend(read(query.as_bytes())?);
        Ok(Self(pairs))
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// What stands in one place; a parameter of one value must not say two things there.
fn read(text: &[u8]) -> Result<Vec<(String, String)>> {
    let pairs = form::parse(text).map_err(|error| bad_parameter(&error.name, &error))?;
    match form::contradiction(&pairs, |name| name.ends_with("[]")) {
        Some(name) => Err(bad_parameter(name, "it is given twice with different values; give one")),
        None => Ok(pairs),
    }
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

    /// Milliseconds since 1970, of a moment that is computed at: bounds that mean "always" are none.
    pub fn moment(&self, name: &str) -> Result<i64> {
        let ms = time::parse(self.get(name)).map_err(|error| bad_parameter(name, error))?;
        if !time::COMPUTED_MS.contains(&ms) {
            return Err(bad_parameter(name, "it lies outside of the years 1 to 9999; give unix seconds or RFC 3339"));
        }
        Ok(ms)
    }

    pub fn moment_or(&self, name: &str, default: i64) -> Result<i64> {
        let given = self.time_or(name, default)?;
        if self.get(name).is_empty() { Ok(given) } else { self.moment(name) }
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
        match u64::try_from(self.duration("timeout")?) {
            Ok(ns) if ns > 0 => Ok(Some(Duration::from_nanos(ns))),
            _ => Err(bad_parameter("timeout", "it must be more than zero; give seconds or a duration like 30s")),
        }
    }

    /// Milliseconds, if given and not zero.
    pub fn lookback(&self) -> Result<Option<i64>> {
        let text = self.get("lookback_delta");
        if text.is_empty() {
            return Ok(None);
        }
        match self.duration("lookback_delta")? / 1_000_000 {
            ms if ms < 0 => Err(bad_parameter("lookback_delta", "it must not be negative; give seconds or a duration like 5m")),
            ms => Ok(Some(ms).filter(|ms| *ms > 0)),
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
    pub fn matcher_sets(&self) -> Result<Vec<Vec<Matcher>>> {
        let sets = self.all("match[]").map(|text| parse_selector(text).map_err(|error| bad_parameter("match[]", error)));
        let sets = sets.collect::<Result<Vec<_>>>()?;
        if sets.iter().any(|set| set.iter().all(|matcher| matcher.matches(""))) {
            return Err(Refusal::bad_data("match[] must contain at least one non-empty matcher"));
        }
        Ok(sets)
    }

    /// From `start` and `end`, both optional; nothing lies in one that ends before it starts.
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
    fn durations_are_seconds_or_words() {
        assert_eq!(duration("1.5"), Ok(1_500_000_000));
        assert_eq!(duration("5m"), Ok(300_000_000_000));
        assert_eq!(duration("x").unwrap_err(), "cannot parse \"x\" to a valid duration");
    }
}
