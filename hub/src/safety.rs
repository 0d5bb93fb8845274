//! What guards every request: the host name asked for, the origin of state-changing calls, their content type, security
//! headers, a request id.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::error::ApiError;
use crate::prom;
use crate::watch::message_of;

const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// What the guard needs to know.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Whether only names of this host are taken: so where it listens on loopback; elsewhere any name is.
    pub loopback_only: bool,
}

/// Middleware: refuses what a foreign page could send, marks every answer.
pub async fn guard(State(guard): State<Arc<Guard>>, request: Request<Body>, next: Next) -> Response {
    let id = request_id(request.headers());
    let is_prometheus = prom::is_prometheus(request.uri().path());
    let outcome = match check(&guard, request.method(), request.uri(), request.headers()) {
        Err(error) if error.status == StatusCode::MISDIRECTED_REQUEST => Err(error),
        // Where there is no such call at all, what it was sent with does not matter.
        Err(error) => no_such_call(request, next).await.ok_or(error),
        Ok(()) => unbroken(next.run(request)).await.map_err(|reason| {
            tracing::error!(request = id, %reason, "a fault of this program broke a request");
            let message = format!("a fault of this program broke the request; its log tells of it under {id}, please report it");
            ApiError::status(StatusCode::INTERNAL_SERVER_ERROR, message)
        }),
    };
    let mut response = match outcome {
        Ok(response) => response,
        Err(error) if is_prometheus => prom::refused(error.status, error.message),
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert("x-request-id", value);
    }
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    headers.insert("x-frame-options", HeaderValue::from_static("DENY"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    response
}

/// The answer of a path that is not served or not with this method. Which it takes is asked by a method that no call takes,
/// so that nothing of a request that is refused reaches a handler.
async fn no_such_call(request: Request<Body>, next: Next) -> Option<Response> {
    let method = request.method().clone();
    let mut question = Request::new(Body::empty());
    *question.method_mut() = Method::OPTIONS;
    *question.uri_mut() = request.uri().clone();
    let answer = next.run(question).await;
    let taken = answer.headers().get(header::ALLOW).and_then(|methods| methods.to_str().ok());
    let is_taken = taken.is_some_and(|taken| taken.split(',').any(|one| one.trim() == method.as_str()));
    (!is_taken).then_some(answer)
}

/// Does the work; `Err` is what a panic in it said, for who asks is to get an answer and no broken connection.
async fn unbroken<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(progress) => progress.map(Ok),
        Err(panic) => Poll::Ready(Err(message_of(&*panic).to_owned())),
    })
    .await
}

/// The caller's id if it is harmless, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    match given.filter(|id| !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')) {
        Some(id) => id.to_owned(),
        None => uuid::Uuid::now_v7().to_string(),
    }
}

fn check(guard: &Guard, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    // An absolute target names the host too, and then wins over the header.
    let target = uri.authority().map(|authority| authority.as_str());
    let host = target.or_else(|| headers.get(header::HOST).and_then(|value| value.to_str().ok()));
    if guard.loopback_only && !host.is_some_and(is_loopback_host) {
        let asked = host.unwrap_or("(none)");
        return Err(ApiError::status(
            StatusCode::MISDIRECTED_REQUEST,
            format!("host {asked:?} is not served here; use 127.0.0.1 or localhost"),
        ));
    }
    // Other methods change nothing: no call takes them.
    if !matches!(*method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE) {
        return Ok(());
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let same =
            origin.to_str().ok().and_then(|text| text.split_once("://")).is_some_and(|(_, authority)| Some(authority) == host);
        if !same {
            return Err(ApiError::status(StatusCode::FORBIDDEN, "this call came from another site's page and is refused"));
        }
    }
    check_content_type(uri.path(), headers)
}

/// Calls that change state need a type that no plain form can send; a query by form changes nothing.
fn check_content_type(path: &str, headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media = given.split(';').next().unwrap_or("").trim();
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    let is_packed = headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding.as_bytes() != b"identity");
    if is_packed && !matches!(path, "/write" | "/read") {
        let message = "packed bodies are not taken here; send the body without content encoding";
        return Err(ApiError::status(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let expected = match path {
        // The first senders of remote write told the encoding only, which no page elsewhere can set unasked either.
        "/write" if given.is_empty() && is_packed => return Ok(()),
        "/write" => "application/x-protobuf",
        "/query" | "/query_range" | "/series" | "/labels" | "/query_exemplars" | "/format_query" | "/parse_query" | "/read" => {
            return Ok(());
        }
        _ => "application/json",
    };
    if media.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    let message = format!("content type {given:?} is not taken here; send {expected}");
    Err(ApiError::status(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(method: Method, path: &str, headers: &[(&str, &str)]) -> Result<(), StatusCode> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(header::HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        check(&Guard { loopback_only: true }, &method, &path.parse().unwrap(), &map).map_err(|error| error.status)
    }

    #[test]
    fn only_loopback_names_are_served() {
        for host in ["127.0.0.1:7070", "localhost:7070", "[::1]:7070", "localhost"] {
            assert_eq!(verdict(Method::GET, "/", &[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(verdict(Method::GET, "http://evil.example/", &[("host", "localhost")]), Err(StatusCode::MISDIRECTED_REQUEST));
        for host in ["evil.example:7070", "127.0.0.1.evil.example", "10.0.0.1:7070"] {
            assert_eq!(verdict(Method::GET, "/", &[("host", host)]), Err(StatusCode::MISDIRECTED_REQUEST), "{host}");
        }
    }

    #[test]
    fn foreign_pages_cannot_change_anything() {
        let post = |extra: &[(&str, &str)]| {
            let mut headers = vec![("host", "localhost:7070")];
            headers.extend_from_slice(extra);
            verdict(Method::POST, "/api/v1/faults/x/feedback", &headers)
        };
        assert_eq!(post(&[("content-type", "application/json")]), Ok(()));
        assert_eq!(post(&[("content-type", "application/json; charset=utf-8"), ("origin", "http://localhost:7070")]), Ok(()));
        assert_eq!(post(&[("content-type", "application/json"), ("origin", "http://evil.example")]), Err(StatusCode::FORBIDDEN));
        assert_eq!(post(&[("content-type", "text/plain")]), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        assert_eq!(post(&[]), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }

    #[test]
    fn queries_may_come_as_forms() {
        let headers = [("host", "localhost"), ("content-type", "application/x-www-form-urlencoded")];
        assert_eq!(verdict(Method::POST, "/api/v1/query", &headers), Ok(()));
        let packed = [headers[0], headers[1], ("content-encoding", "gzip")];
        assert_eq!(verdict(Method::POST, "/api/v1/query", &packed), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        assert_eq!(verdict(Method::POST, "/api/v1/write", &headers), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        assert_eq!(verdict(Method::POST, "/api/v1/write", &[headers[0], ("content-encoding", "snappy")]), Ok(()));
        assert_eq!(verdict(Method::POST, "/api/v1/write", &headers[..1]), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }

    #[tokio::test]
    async fn a_panic_becomes_an_answer() {
        assert_eq!(unbroken(async { 7 }).await, Ok(7));
        let broken = async {
            tokio::task::yield_now().await;
            panic!("index 3 is out of range")
        };
        assert_eq!(unbroken::<u8>(broken).await, Err("index 3 is out of range".to_owned()));
    }
}
