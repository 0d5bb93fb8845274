//! Answers that are made and written as JSON on the threads of a gate: a large one would hold up the few threads that serve
//! all connections.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::ApiError;
use crate::gate::Gate;

pub struct Written(Vec<u8>);

impl Written {
    /// What `make` makes, once there is a place for it.
    pub async fn by<T: Serialize>(
        gate: &Gate,
        make: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<Self, ApiError> {
        gate.run(move || Self::of(&make()?)).await?
    }

    fn of(value: &impl Serialize) -> Result<Self, ApiError> {
        let written = serde_json::to_vec(value);
        let unwritten =
            |error| ApiError::status(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer cannot be written: {error}"));
        written.map(Self).map_err(unwritten)
    }
}

impl IntoResponse for Written {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}
