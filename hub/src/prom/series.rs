//! `series`, `labels`, `label/<name>/values`, `metadata`.

use std::collections::BTreeMap;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use gala_store::{Labels, Matcher, SeriesRead, StoreError, TimeRange};
use serde_json::json;

use super::PromState;
use super::answer::{Refusal, TRUNCATED, push_labels, push_list, success, success_of};
use super::params::Params;

type Result<T> = std::result::Result<T, Refusal>;

/// Runs a look into the store among the queries.
async fn look(state: &PromState, work: impl FnOnce(&dyn SeriesRead) -> Result<Response> + Send + 'static) -> Response {
    let read = state.read.clone();
    let done = state.gate.run(move || work(&*read)).await;
    done.map_err(Refusal::from).flatten().unwrap_or_else(IntoResponse::into_response)
}

pub async fn series(State(state): State<PromState>, params: Params) -> Response {
    look(&state, move |read| {
        if params.all("match[]").next().is_none() {
            return Err(Refusal::bad_data("no match[] parameter provided"));
        }
        let limit = params.limit()?;
        let range = params.time_range()?;
        let sets = params.matcher_sets()?;
        let mut all: Vec<Labels> = Vec::new();
        for set in &sets {
            all.extend(read.series(set, range)?);
        }
        all.sort();
        all.dedup();
        let warnings = truncate(&mut all, limit);
        let mut data = String::new();
        push_list(&mut data, &all, push_labels);
        Ok(success(&data, &warnings, &[]))
    })
    .await
}

fn truncate<T>(items: &mut Vec<T>, limit: usize) -> Vec<String> {
    if limit == 0 || items.len() <= limit {
        return Vec::new();
    }
    items.truncate(limit);
    vec![TRUNCATED.into()]
}

/// What one set of matchers, or none, finds; several sets add up.
fn gather(
    params: &Params,
    find: impl Fn(&[Matcher], TimeRange) -> std::result::Result<Vec<String>, StoreError>,
) -> Result<Response> {
    let limit = params.limit()?;
    let range = params.time_range()?;
    let sets = params.matcher_sets()?;
    let mut all = Vec::new();
    if sets.is_empty() {
        all = find(&[], range)?;
    }
    for set in &sets {
        all.extend(find(set, range)?);
    }
    all.sort();
    all.dedup();
    let warnings = truncate(&mut all, limit);
    Ok(success_of(&all, &warnings))
}

pub async fn label_names(State(state): State<PromState>, params: Params) -> Response {
    look(&state, move |read| gather(&params, |matchers, range| read.label_names(matchers, range))).await
}

pub async fn label_values(
    State(state): State<PromState>,
    name: std::result::Result<Path<String>, PathRejection>,
    params: Params,
) -> Response {
    let name = match name {
        Ok(Path(name)) => unescape(&name),
        Err(error) => return Refusal::bad_data(format!("invalid label name: {}", error.body_text())).into_response(),
    };
    if name.is_empty() || name.contains('\u{fffd}') {
        return Refusal::bad_data(format!("invalid label name: {name:?}")).into_response();
    }
    look(&state, move |read| gather(&params, |matchers, range| read.label_values(&name, matchers, range))).await
}

/// Names that no URL or old client can carry come as `U__`, with `__` for an underscore and `_hex_` for a character.
fn unescape(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_string() };
    let mut out = String::new();
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let code = tail.find('_').filter(|length| *length <= 6).and_then(|length| {
            let digits = &tail[..length];
            let c = u32::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+')).and_then(char::from_u32)?;
            Some((c, &tail[length + 1..]))
        });
        // What is no escape after all is taken as it came.
        let Some((c, after)) = code else { return name.to_string() };
        out.push(c);
        rest = after;
    }
    out.push_str(rest);
    out
}

pub async fn metadata(State(state): State<PromState>, params: Params) -> Response {
    let number = |name: &str| -> Result<Option<usize>> {
        match params.get(name) {
            "" => Ok(None),
            text => match text.parse::<i64>() {
                Ok(number) => Ok(usize::try_from(number).ok()),
                Err(_) => Err(Refusal::bad_data(format!("{name} must be a number"))),
            },
        }
    };
    let limits = number("limit").and_then(|limit| Ok((limit, number("limit_per_metric")?.filter(|limit| *limit > 0))));
    let (limit, per_metric) = match limits {
        Ok(limits) => limits,
        Err(refusal) => return refusal.into_response(),
    };
    let metric = Some(params.get("metric")).filter(|metric| !metric.is_empty());
    let mut families: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
    for entry in state.metadata.metadata(metric) {
        if limit.is_some_and(|limit| families.len() >= limit && !families.contains_key(&entry.family)) {
            continue;
        }
        let known = families.entry(entry.family).or_default();
        let value = json!({"type": entry.kind, "help": entry.help, "unit": entry.unit});
        if per_metric.is_none_or(|limit| known.len() < limit) && !known.contains(&value) {
            known.push(value);
        }
    }
    success_of(&families, &[])
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escaped_names_come_back() {
        assert_eq!(unescape("U__http_2e_status_3a_code"), "http.status:code");
        assert_eq!(unescape("U__under__score"), "under_score");
        assert_eq!(unescape("U__broken_zz_"), "U__broken_zz_");
        assert_eq!(unescape("plain_name"), "plain_name");
    }
}
