//! Query parameters: parsing with errors that name the parameter, and paging.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use crate::form;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 10_000;
/// Names, ids and values are shorter than this.
const MAX_TEXT: usize = 4_096;
/// Parameters that may be given more than once.
const LISTS: [&str; 6] = ["metric", "relation", "relations", "highlight", "expand", "topics"];

/// The id in the path.
#[derive(Debug)]
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let axum::extract::Path(id) = axum::extract::Path::<String>::from_request_parts(parts, state).await.map_err(|error| {
            ApiError::bad_request("id", format!("the id in the path cannot be read: {}; give UTF-8", error.body_text()))
        })?;
        if id.len() > MAX_TEXT || id.chars().any(char::is_control) {
            let message = format!("the id in the path is longer than {MAX_TEXT} bytes or holds a control character; no id does");
            return Err(ApiError::bad_request("id", message));
        }
        Ok(Self(id))
    }
}

/// The query string as pairs; a name may repeat.
#[derive(Debug)]
pub struct Params {
    pairs: Vec<(String, String)>,
    /// What is asked, without its parameters: a cursor is good for the list it is of.
    path: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let pairs = form::parse(parts.uri.query().unwrap_or("").as_bytes())
            .map_err(|error| ApiError::bad_request(&error.name, format!("parameter {:?}: {error}", error.name)))?;
        for (name, value) in &pairs {
            if name.len() > MAX_TEXT || value.len() > MAX_TEXT {
                let shown: String = name.chars().take(100).collect();
                let message = format!("parameter {shown:?} is longer than {MAX_TEXT} bytes; shorten it");
                return Err(ApiError::bad_request(&shown, message));
            }
            if name.chars().chain(value.chars()).any(char::is_control) {
                let message = format!("parameter {name:?} holds a control character; leave it out");
                return Err(ApiError::bad_request(name, message));
            }
        }
        if let Some(name) = form::contradiction(&pairs, |name| LISTS.contains(&name)) {
            let message = format!("parameter {name:?} stands twice with different values; give one");
            return Err(ApiError::bad_request(name, message));
        }
        Ok(Self { pairs, path: parts.uri.path().to_owned() })
    }
}

/// The body as JSON; `form` says what was expected.
pub fn body<T: DeserializeOwned>(bytes: &[u8], form: &str) -> Result<T, ApiError> {
    let mut input = serde_json::Deserializer::from_slice(bytes);
    let whole = serde_path_to_error::deserialize(&mut input).map_err(|error| (error.path().to_string(), error.into_inner()));
    whole.and_then(|value| input.end().map(|()| value).map_err(|error| (".".to_owned(), error))).map_err(|(path, error)| {
        let field = if path == "." { "body" } else { path.as_str() };
        ApiError::bad_request(field, format!("the body cannot be read: {error}; send {form}"))
    })
}

impl Params {
    /// Fails on a parameter that the call does not know, so that a typing error is not silently ignored.
    pub fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        match self.pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => {
                Err(ApiError::bad_request(name, format!("unknown parameter {name:?}; this call takes: {}", known.join(", "))))
            }
        }
    }

    /// Value of a parameter; empty counts as absent.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Parameters that are none of the call's own.
    pub fn others<'a>(&'a self, own: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.pairs.iter().filter(|(name, _)| !own.contains(&name.as_str())).map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// Values of a parameter given repeatedly or separated by commas.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.all(name).flat_map(|value| value.split(',')).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    pub fn millis(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.text(name)
            .map(|text| {
                text.parse::<i64>().ok().filter(|ms| (0..=253_402_300_799_999).contains(ms)).ok_or_else(|| {
                    ApiError::bad_request(name, format!("{name}={text:?} is no time; give whole milliseconds since 1970"))
                })
            })
            .transpose()
    }

    /// `from` and `to`; all times where they are absent.
    pub fn span(&self) -> Result<(Option<i64>, i64), ApiError> {
        let (from, to) = (self.millis("from")?, self.millis("to")?);
        match (from, to) {
            (Some(first), Some(last)) if first > last => Err(ApiError::bad_request("from", "from lies after to; swap them")),
            _ => Ok((from, to.unwrap_or(i64::MAX))),
        }
    }

    pub fn flag(&self, name: &str, default: bool) -> Result<bool, ApiError> {
        match self.text(name) {
            None => Ok(default),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(text) => Err(ApiError::bad_request(name, format!("{name}={text:?}; give true or false"))),
        }
    }

    pub fn count(&self, name: &str, range: std::ops::RangeInclusive<usize>) -> Result<Option<usize>, ApiError> {
        self.text(name)
            .map(|text| {
                text.parse::<usize>().ok().filter(|count| range.contains(count)).ok_or_else(|| {
                    let (low, high) = (range.start(), range.end());
                    ApiError::bad_request(name, format!("{name}={text:?}; give a whole number from {low} to {high}"))
                })
            })
            .transpose()
    }

    /// One of several words.
    pub fn choice<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, ApiError> {
        self.text(name)
            .map(|text| {
                words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
                    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                    ApiError::bad_request(name, format!("{name}={text:?}; give one of {}", known.join(", ")))
                })
            })
            .transpose()
    }

    /// Cuts one page out of rows that stand in the order of their keys. The cursor is the key of the last row given, and the
    /// next page begins behind it, whether that row is still there or not.
    pub fn page<T, K: Ord + Serialize + DeserializeOwned>(
        &self,
        rows: Vec<T>,
        key_of: impl Fn(&T) -> K,
    ) -> Result<Page<T>, ApiError> {
        debug_assert!(rows.is_sorted_by_key(&key_of), "pages are cut out of rows in the order of their keys");
        let limit = self.count("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
        let start = match self.text("cursor") {
            None => 0,
            Some(cursor) => {
                let last: K = decode_cursor(&self.path, cursor)?;
                rows.partition_point(|row| key_of(row) <= last)
            }
        };
        let more = rows.len() > start + limit;
        let items: Vec<T> = rows.into_iter().skip(start).take(limit).collect();
        let next_cursor = if more { items.last().and_then(|row| encode_cursor(&self.path, &key_of(row))) } else { None };
        Ok(Page { items, next_cursor })
    }

    /// The same of a list that has an order of its own and no rows that come and go.
    pub fn page_of_fixed<T>(&self, rows: Vec<T>) -> Result<Page<T>, ApiError> {
        let Page { items, next_cursor } = self.page(rows.into_iter().enumerate().collect(), |(index, _)| *index)?;
        Ok(Page { items: items.into_iter().map(|(_, row)| row).collect(), next_cursor })
    }
}

/// Every list of the API.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_cursor: Option<String>,
}

/// Hexadecimal with a checksum: opaque, and one that is not of this list is recognised.
fn encode_cursor(list: &str, key: &impl Serialize) -> Option<String> {
    let key = serde_json::to_string(key).ok()?;
    let hex: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("{:08x}{hex}", checksum(list, &key)))
}

fn decode_cursor<K: DeserializeOwned>(list: &str, cursor: &str) -> Result<K, ApiError> {
    let foreign = || ApiError::bad_request("cursor", "the cursor is none that this list gave; start again without one");
    if cursor.len() < 8 || !cursor.len().is_multiple_of(2) || !cursor.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(foreign());
    }
    let (sum, hex) = cursor.split_at(8);
    let bytes: Result<Vec<u8>, _> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16)).collect();
    let key = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(foreign)?;
    if sum != format!("{:08x}", checksum(list, &key)) {
        return Err(foreign());
    }
    serde_json::from_str(&key).map_err(|_| foreign())
}

/// FNV-1a over both; it guards against mistakes, not against malice.
fn checksum(list: &str, key: &str) -> u32 {
    let bytes = list.bytes().chain([0]).chain(key.bytes());
    bytes.fold(0x811c_9dc5, |sum: u32, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use super::*;

    fn params(query: &[(&str, &str)]) -> Params {
        let pairs = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Params { pairs, path: "/entities".to_owned() }
    }

    fn page_of(rows: &[&str], cursor: Option<&str>) -> Result<Page<String>, ApiError> {
        let mut query = vec![("limit", "2")];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let rows = rows.iter().map(|row| (*row).to_owned()).collect();
        params(&query).page(rows, |row: &String| Reverse(row.clone()))
    }

    #[test]
    fn pages_join_to_the_whole_list() {
        let rows = ["e", "d", "c", "b", "a"];
        let mut seen = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = page_of(&rows, cursor.as_deref()).unwrap();
            seen.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, rows);
        let fixed = params(&[("limit", "2")]).page_of_fixed(vec!["x", "a", "x"]).unwrap();
        assert_eq!(fixed.items, ["x", "a"]);
        let cursor = fixed.next_cursor.unwrap();
        let rest = params(&[("limit", "2"), ("cursor", &cursor)]).page_of_fixed(vec!["x", "a", "x"]).unwrap();
        assert_eq!((rest.items, rest.next_cursor), (vec!["x"], None));
    }

    #[test]
    fn a_page_goes_on_behind_a_row_that_has_gone() {
        let cursor = page_of(&["e", "d", "c", "b"], None).unwrap().next_cursor.unwrap();
        let next = page_of(&["f", "e", "c", "b"], Some(&cursor)).unwrap();
        assert_eq!(next.items, ["c", "b"]);
        assert_eq!(page_of(&["e"], Some(&cursor)).unwrap().items, Vec::<String>::new());
        let error = params(&[("cursor", &cursor)]).page(vec![7], |row| *row).unwrap_err();
        assert!(error.message.contains("none that this list gave"), "{}", error.message);
        let other = Params { path: "/hosts".to_owned(), ..params(&[("cursor", &cursor)]) };
        let error = other.page(vec!["a".to_owned()], Clone::clone).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("cursor"), "a list of the same kind of keys takes it no more");
    }

    #[test]
    fn a_foreign_cursor_or_limit_is_refused_with_its_name() {
        let rows = vec!["a".to_owned()];
        for (name, value) in
            [("cursor", "zz"), ("cursor", "0000ff"), ("cursor", "é"), ("limit", "0"), ("limit", "10001"), ("limit", "-1")]
        {
            let error = params(&[(name, value)]).page(rows.clone(), Clone::clone).unwrap_err();
            assert_eq!(error.field.as_deref(), Some(name), "{value}");
        }
    }

    #[test]
    fn unknown_parameters_are_named() {
        let error = params(&[("limt", "5")]).only(&["limit"]).unwrap_err();
        assert!(error.message.contains("limt") && error.message.contains("limit"), "{}", error.message);
    }
}
