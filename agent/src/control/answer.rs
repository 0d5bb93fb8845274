//! What a request is answered with, in upstream's words and form.

use std::fmt::{Display, Formatter};

use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    /// What was accepted and has no effect; empty where all has.
    pub warning: String,
}

impl Answer {
    /// Scripts compare the text, so it is always the same; what was accepted without effect is in a header and the ledger.
    pub fn success(warning: String) -> Self {
        let body = "{ \"result\": \"success\", \"message\":\"New config takes effect\" }\n".to_owned();
        Self { status: 200, body, warning }
    }

    /// Upstream's form, blanks included, the text escaped.
    pub fn failed(status: u16, message: &str) -> Self {
        let message = Value::from(message);
        Self { status, body: format!("{{ \"result\": \"failed\", \"message\":{message} }}\n"), warning: String::new() }
    }

    /// The same with a member of ours behind upstream's two, where upstream's words leave out place or fix.
    pub fn refused(refusal: &Refusal) -> Self {
        if refusal.detail().is_empty() {
            return Self::failed(400, refusal.message());
        }
        let (message, detail) = (Value::from(refusal.message()), Value::from(refusal.detail()));
        let body = format!("{{ \"result\": \"failed\", \"message\":{message}, \"detail\":{detail} }}\n");
        Self { status: 400, body, warning: String::new() }
    }

    pub fn not_found() -> Self {
        Self::failed(404, "url not found")
    }
}

/// Why a request has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request is wrong.
    Wrong {
        /// Upstream's words.
        message: String,
        /// Where, and what to write instead; empty where upstream's words say it.
        detail: String,
    },
    /// The request is right, but the probe does not start; why.
    NotStarted(String),
}

impl Refusal {
    pub fn wrong(message: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Wrong { message: message.into(), detail: detail.into() }
    }

    pub fn message(&self) -> &str {
        match self {
            Self::Wrong { message, .. } => message,
            Self::NotStarted(_) => "failed to start probe",
        }
    }

    pub fn detail(&self) -> &str {
        match self {
            Self::Wrong { detail, .. } => detail,
            Self::NotStarted(reason) => reason,
        }
    }
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self::wrong(message, "")
    }
}

impl From<&str> for Refusal {
    fn from(message: &str) -> Self {
        Self::wrong(message, "")
    }
}

/// One sentence.
impl Display for Refusal {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        match (self.message(), self.detail()) {
            (message, "") => out.write_str(message),
            (message, detail) => write!(out, "{}: {detail}", message.trim_end_matches('.')),
        }
    }
}
