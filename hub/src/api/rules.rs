//! The causal rules in force: `/cause/rules`. Those built in, until somebody puts others in their place.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use gala_analysis::cause::RuleSet;
use gala_analysis::cause::rules::RuleError;
use serde_json::{Value, json};

use super::error::ApiError;
use super::params::Params;
use crate::documents::{DocumentError, Documents, Shelf};
use crate::state::HubState;

/// Key of rules put in by somebody among the documents.
const RULES_KEY: &str = "cause_rules";

/// Each explanation goes through all rules; the built-in set has some 40 classes and 60 rules.
const MAX_CLASSES: usize = 500;
const MAX_RULES: usize = 2_000;

/// The set that was put in before, or the one built in. A set this build cannot read is named in the log and left out.
pub fn load(documents: &Documents) -> Arc<RuleSet> {
    let saved: Result<Option<Value>, DocumentError> = documents.get(Shelf::State, RULES_KEY);
    let parsed = match saved {
        Ok(None) => return built_in(),
        Ok(Some(saved)) => RuleSet::parse(&saved.to_string()).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match parsed {
        Ok(set) => Arc::new(set),
        Err(error) => {
            tracing::warn!(error, "the causal rules put in before are not readable; the built-in ones are in force");
            built_in()
        }
    }
}

fn built_in() -> Arc<RuleSet> {
    Arc::new(gala_analysis::cause::rules().clone())
}

/// `GET /cause/rules`
pub async fn get(State(hub): State<Arc<HubState>>, params: Params) -> Result<Json<Value>, ApiError> {
    params.only(&[])?;
    Ok(Json(json!(**hub.rules.read())))
}

/// `PUT /cause/rules`: the whole set, or none of it.
pub async fn put(
    State(hub): State<Arc<HubState>>,
    params: Params,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    params.only(&[])?;
    let body = body?;
    let worker = hub.clone();
    let taken = hub.changes.run(move || {
        let set = parse(&body)?;
        worker.documents.put(Shelf::State, RULES_KEY, &set).map_err(unsaved)?;
        tracing::info!(version = set.version, classes = set.classes.len(), rules = set.rules.len(), "causal rules were replaced");
        let answer = json!(set);
        *worker.rules.write() = Arc::new(set);
        Ok(Json(answer))
    });
    taken.await.map_err(ApiError::unsure)?
}

/// `DELETE /cause/rules`: back to the built-in ones.
pub async fn delete(State(hub): State<Arc<HubState>>, params: Params) -> Result<Json<Value>, ApiError> {
    params.only(&[])?;
    let worker = hub.clone();
    let removed = hub.changes.run(move || {
        worker.documents.remove(Shelf::State, RULES_KEY).map_err(unsaved)?;
        tracing::info!("the built-in causal rules are in force again");
        let set = built_in();
        *worker.rules.write() = set.clone();
        Ok(Json(json!(*set)))
    });
    removed.await.map_err(ApiError::unsure)?
}

fn unsaved(error: DocumentError) -> ApiError {
    ApiError::unavailable(format!("the rules cannot be kept, so the old ones stay: {error}"))
}

fn parse(body: &[u8]) -> Result<RuleSet, ApiError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        ApiError::bad_request("body", format!("the body is not UTF-8 from byte {}; send JSON in UTF-8", error.valid_up_to()))
    })?;
    let set: RuleSet = read(text)?;
    for (name, count, most) in [("classes", set.classes.len(), MAX_CLASSES), ("rules", set.rules.len(), MAX_RULES)] {
        if count > most {
            return Err(ApiError::refused(name, format!("{count} {name}; at most {most} are taken")));
        }
    }
    RuleSet::parse(text).map_err(|error| refusal(&set, error))
}

/// The set as written, its parts not yet held against each other.
fn read(text: &str) -> Result<RuleSet, ApiError> {
    let mut input = serde_json::Deserializer::from_str(text);
    let whole = serde_path_to_error::deserialize(&mut input).map_err(|error| (error.path().to_string(), error.into_inner()));
    whole.and_then(|set| input.end().map(|()| set).map_err(|error| (".".to_owned(), error))).map_err(|(path, error)| {
        if error.is_data() {
            let message = format!("{path}: {error}; `GET /api/v1/cause/rules` shows the form");
            return ApiError::refused(&path, message);
        }
        ApiError::bad_request("body", format!("the body is no JSON: {error}; correct it there"))
    })
}

/// Says where in the body the fault is.
fn refusal(set: &RuleSet, error: RuleError) -> ApiError {
    let field = match &error {
        RuleError::Syntax(_) => "body".to_owned(),
        RuleError::Invalid { place, .. } => {
            let class = place.strip_prefix("class ").and_then(|name| set.classes.iter().rposition(|class| class.name == name));
            let rule = place.strip_prefix("rule ").and_then(|id| set.rules.iter().rposition(|rule| rule.id == id));
            match (class, rule) {
                (Some(at), _) => format!("classes[{at}]"),
                (_, Some(at)) => format!("rules[{at}]"),
                _ => "body".to_owned(),
            }
        }
    };
    ApiError::refused(&field, format!("{field}: {error}; correct it and send the whole set again, the old one stays in force"))
}
