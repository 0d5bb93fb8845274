//! Talking to a running agent or hub over its own HTTP.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::StatusCode;
use reqwest::blocking::RequestBuilder;

const TIMEOUT: Duration = Duration::from_secs(70);

/// An HTTP client for loopback and plain addresses.
pub fn http() -> Result<reqwest::blocking::Client> {
    reqwest::blocking::Client::builder().timeout(TIMEOUT).no_proxy().build().context("HTTP client")
}

/// Status and body of an answer, whatever it says.
pub fn ask(request: RequestBuilder, url: &str) -> Result<(StatusCode, String)> {
    let response = request.send().with_context(|| format!("{url} does not answer; is gala running there?"))?;
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
