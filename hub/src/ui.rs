//! The interface, embedded: files of `ui/dist` with their types, tags and cache rules; every page path answers the shell.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::api::error::ApiError;
use crate::tag;

#[derive(RustEmbed)]
#[folder = "../ui/dist"]
#[allow_missing = true]
struct Dist;

/// Answers files and, for any other path, the interface's shell (it shows its own "not found").
pub async fn serve(request: Request<Body>) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    if path == "api" || path.starts_with("api/") {
        return ApiError::not_found("no such call; `GET /api/v1/openapi.json` lists them all").into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let refused = ApiError::status(StatusCode::METHOD_NOT_ALLOWED, "the interface is read with GET");
        return ([(header::ALLOW, "GET,HEAD")], refused).into_response();
    }
    if let Some(file) = Dist::get(path).filter(|_| !path.is_empty()) {
        return answer(&request, path, &file);
    }
    if path.starts_with("assets/") {
        return ApiError::not_found(format!("no file /{path} in this build; reload the page")).into_response();
    }
    match Dist::get("index.html") {
        Some(shell) => answer(&request, "index.html", &shell),
        None => ApiError::unavailable("this build has no interface in it; build it with `make build`").into_response(),
    }
}

fn answer(request: &Request<Body>, path: &str, file: &rust_embed::EmbeddedFile) -> Response {
    // Built files carry their hash in the name and never change; the shell must be asked for again.
    let cache = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = tag::answer(request.headers(), &tag::of(file.metadata.sha256_hash()), || {
        let mut response = Response::new(Body::from(file.data.clone().into_owned()));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(path)));
        response
    });
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or("") {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}
