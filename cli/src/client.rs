//! Talking to a running agent or hub over its own HTTP.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::StatusCode;
use reqwest::blocking::RequestBuilder;

const TIMEOUT: Duration = Duration::from_secs(70);

/// Nothing came back.
#[derive(Debug)]
pub struct NoAnswer {
    url: String,
    /// In the words of the system.
    pub reason: String,
    /// Nobody took the call.
    pub is_unreachable: bool,
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} does not answer ({}); is gala running there?", self.url, self.reason)
    }
}

// Without a source: the inner errors only say the address again.
impl std::error::Error for NoAnswer {}

impl NoAnswer {
    fn new(url: &str, error: &reqwest::Error) -> Self {
        let mut innermost: &dyn std::error::Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        Self { url: url.to_owned(), reason: innermost.to_string(), is_unreachable: error.is_connect() }
    }
}

/// An HTTP client for loopback and plain addresses.
pub fn http() -> Result<reqwest::blocking::Client> {
    reqwest::blocking::Client::builder().timeout(TIMEOUT).no_proxy().build().context("HTTP client")
}

/// Status and body of an answer, whatever it says. Who did not answer is a [`NoAnswer`].
pub fn ask(request: RequestBuilder, url: &str) -> Result<(StatusCode, String)> {
    let response = request.send().map_err(|error| NoAnswer::new(url, &error))?;
    let status = response.status();
    let body = response.text().with_context(|| format!("{url}: the answer broke off"))?;
    Ok((status, body))
}

/// Body of a GET; an error status becomes an error with what the server said.
pub fn get(url: &str) -> Result<String> {
    let (status, body) = ask(http()?.get(url), url)?;
    if !status.is_success() {
        bail!("{url}: {status}: {}", body.trim());
    }
    Ok(body)
}

/// What an exporter shows. The log names it with its path, so that is taken too.
pub fn scrape(exporter: &str) -> Result<String> {
    let base = exporter.trim_end_matches('/');
    get(&format!("{}/metrics", base.strip_suffix("/metrics").unwrap_or(base)))
}

/// Why nobody answered, if that is the error.
pub fn no_answer(error: &anyhow::Error) -> Option<&NoAnswer> {
    error.downcast_ref()
}
