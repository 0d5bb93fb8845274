//! Errors of the HTTP API: `{"error": {"code", "message", "field"}}`, never a page, never a trace.

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::gate::Unanswered;

/// An answer that is an error; the message says what, why and what to do.
#[derive(Debug)]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
    /// Parameter or body path at fault.
    pub field: Option<String>,
    /// When to come again.
    retry_after_s: Option<u32>,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), field: None, retry_after_s: None }
    }

    pub fn bad_request(field: &str, message: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub fn refused(field: &str, message: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, message) }
    }

    pub fn too_many(message: impl Into<String>, retry_after_s: u32) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::new(StatusCode::TOO_MANY_REQUESTS, message) }
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    pub fn status(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, message)
    }

    /// Why nobody knows yet whether a change is kept: it is not taken back where its answer comes late.
    pub fn unsure(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Late { after } => Self::unavailable(format!(
                "the disk did not take the change within {} s; it may still do so, look before you send it again",
                after.as_secs()
            )),
            Unanswered::Busy { .. } | Unanswered::Full { .. } | Unanswered::Broken => unanswered.into(),
        }
    }

    /// The same, of a parameter.
    pub fn about(self, field: &str) -> Self {
        Self { field: Some(field.to_owned()), ..self }
    }

    fn code(&self) -> &'static str {
        match self.status {
            StatusCode::BAD_REQUEST => "bad_request",
            StatusCode::FORBIDDEN => "forbidden",
            StatusCode::NOT_FOUND => "not_found",
            StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
            StatusCode::CONFLICT => "conflict",
            StatusCode::PAYLOAD_TOO_LARGE => "too_large",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
            StatusCode::MISDIRECTED_REQUEST => "misdirected",
            StatusCode::UNPROCESSABLE_ENTITY => "refused",
            StatusCode::TOO_MANY_REQUESTS => "too_many_requests",
            StatusCode::SERVICE_UNAVAILABLE => "unavailable",
            _ => "internal",
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"error": {"code": self.code(), "message": self.message, "field": self.field}});
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Unanswered> for ApiError {
    fn from(unanswered: Unanswered) -> Self {
        let status = match unanswered {
            Unanswered::Busy { .. } | Unanswered::Late { .. } | Unanswered::Full { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Unanswered::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { retry_after_s: unanswered.retry_after_s(), ..Self::new(status, unanswered.to_string()) }
    }
}

impl From<BytesRejection> for ApiError {
    fn from(error: BytesRejection) -> Self {
        match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large; send less at once"),
            status => Self::new(status, format!("the body cannot be read: {}", error.body_text())),
        }
    }
}

impl From<gala_store::StoreError> for ApiError {
    fn from(error: gala_store::StoreError) -> Self {
        match error {
            gala_store::StoreError::BadRequest(message) => Self::new(StatusCode::BAD_REQUEST, message),
            gala_store::StoreError::TooManySamples { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
            gala_store::StoreError::Io(message) => Self::unavailable(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_is_overloaded_says_when_to_come_again_and_a_fault_of_the_program_is_called_one() {
        let busy = ApiError::from(Unanswered::Busy { places: 8, waited: Duration::from_secs(10) }).into_response();
        assert_eq!((busy.status().as_u16(), busy.headers()[header::RETRY_AFTER].as_bytes()), (503, &b"10"[..]));
        assert_eq!(ApiError::from(Unanswered::Late { after: Duration::from_secs(60) }).status, StatusCode::SERVICE_UNAVAILABLE);
        let late = ApiError::unsure(Unanswered::Late { after: Duration::from_secs(60) });
        assert!(late.status == StatusCode::SERVICE_UNAVAILABLE && late.message.contains("may still"), "{}", late.message);
        let broken = ApiError::from(Unanswered::Broken);
        assert_eq!((broken.status, broken.code()), (StatusCode::INTERNAL_SERVER_ERROR, "internal"));
    }
}
