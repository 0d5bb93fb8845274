//! Entity tags: whether a client has what it asks for already.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A tag over content, weak: the same content is sent packed in several ways.
pub fn of(digest: impl IntoIterator<Item = u8>) -> String {
    let hex: String = digest.into_iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("W/\"{hex}\"")
}

/// 304 where the client has it, else the answer; with its tag either way.
pub fn answer(headers: &HeaderMap, tag: &str, full: impl FnOnce() -> Response) -> Response {
    let mut response = if is_known(headers, tag) { StatusCode::NOT_MODIFIED.into_response() } else { full() };
    if let Ok(value) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// `If-None-Match` compares weakly, may name several tags, and `*` means any.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let given = headers.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    given.flat_map(|value| value.split(',')).any(|one| one.trim() == "*" || opaque(one) == opaque(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_tags_is_enough_and_weakness_does_not_matter() {
        let tag = of([0xab; 32]);
        assert_eq!(tag, format!("W/\"{}\"", "ab".repeat(12)));
        for (given, status) in [
            (tag.as_str(), 304),
            (tag.trim_start_matches("W/"), 304),
            ("\"other\", W/\"abababababababababababab\"", 304),
            ("*", 304),
            ("\"other\"", 200),
            ("", 200),
        ] {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_str(given).unwrap())]);
            let response = answer(&headers, &tag, || StatusCode::OK.into_response());
            assert_eq!(response.status().as_u16(), status, "{given}");
            assert_eq!(response.headers()[header::ETAG], tag.as_str());
        }
    }
}
