//! What a request is answered with, in upstream's words and form.

use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// Scripts compare the text, so it is always the same; what was accepted without effect is in the ledger.
    pub fn success() -> Self {
        Self { status: 200, body: "{ \"result\": \"success\", \"message\":\"New config takes effect\" }\n".to_owned() }
    }

    /// Upstream's form, blanks included, the text escaped.
    pub fn failed(status: u16, message: &str) -> Self {
        let message = Value::from(message);
        Self { status, body: format!("{{ \"result\": \"failed\", \"message\":{message} }}\n") }
    }

    pub fn not_found() -> Self {
        Self::failed(404, "url not found")
    }

    /// Success, or the message of a refusal.
    pub fn into_result(self) -> Result<(), String> {
        if self.status == 200 {
            return Ok(());
        }
        let told = serde_json::from_str::<Value>(&self.body).ok().and_then(|body| Some(body["message"].as_str()?.to_owned()));
        Err(told.unwrap_or(self.body))
    }
}
