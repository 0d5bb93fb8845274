//! The catalogue in force: entity types, relations, and the description of this API.

use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use gala_analysis::topology::{Relation, relations};
use gala_model::entity::TYPES;
use serde_json::{Value, json};

use super::error::ApiError;
use super::params::{Page, Params};
use super::topology::stamp;
use crate::state::HubState;
use crate::tag;

/// A page of the catalogue, stamped like every answer about the topology.
fn stamped(hub: &HubState, page: Page<Value>) -> Json<Value> {
    let (snapshot, partial) = stamp(hub.snapshot().info);
    Json(json!({"snapshot": snapshot, "partial": partial, "items": page.items, "next_cursor": page.next_cursor}))
}

/// `GET /meta/types`
pub async fn types(State(hub): State<Arc<HubState>>, params: Params) -> Result<Json<Value>, ApiError> {
    params.only(&["limit", "cursor"])?;
    let rows: Vec<Value> = TYPES
        .iter()
        .map(|kind| {
            let tables: Vec<Value> = gala_model::tables::all()
                .iter()
                .filter(|table| table.entity == kind.name)
                .map(|table| {
                    let metrics: Vec<Value> = table
                        .metrics()
                        .map(|field| json!({"name": field.series.base, "unit": field.unit, "help": field.help}))
                        .collect();
                    let labels: Vec<&str> = table.labels().map(|field| field.name).collect();
                    json!({"name": table.name, "probe": table.probe, "help": table.help, "labels": labels, "metrics": metrics})
                })
                .collect();
            json!({
                "name": kind.name, "level": kind.level, "band": kind.band, "keys": kind.keys, "help": kind.help, "tables": tables,
            })
        })
        .collect();
    Ok(stamped(&hub, params.page_of_fixed(rows)?))
}

/// `GET /meta/relations`
pub async fn relations(State(hub): State<Arc<HubState>>, params: Params) -> Result<Json<Value>, ApiError> {
    params.only(&["limit", "cursor"])?;
    let mut rows: Vec<Value> = relations::RULES
        .iter()
        .map(|rule| {
            json!({
                "from": rule.from, "relation": rule.relation, "to": rule.to, "layer": rule.relation.layer(),
                "matches": rule.matches, "requires": rule.requires,
            })
        })
        .collect();
    // Those that more than equal labels tell.
    let others = [
        ("proc", Relation::Uses, "disk"),
        ("tcp_link", Relation::IsPeer, "tcp_link"),
        ("proc", Relation::Connect, "proc"),
        ("proc", Relation::Connect, "external"),
        ("external", Relation::Connect, "proc"),
    ];
    for (from, relation, to) in others {
        rows.push(json!({
            "from": from, "relation": relation, "to": to, "layer": relation.layer(), "matches": [], "requires": [],
        }));
    }
    Ok(stamped(&hub, params.page_of_fixed(rows)?))
}

/// `GET /openapi.json`; it changes with the program only.
pub async fn openapi(headers: HeaderMap, params: Params) -> Result<Response, ApiError> {
    const TEXT: &str = include_str!("../../openapi.json");
    static TAG: LazyLock<String> = LazyLock::new(|| {
        let fixed = ahash::RandomState::with_seeds(1, 2, 3, 4);
        tag::of(fixed.hash_one(TEXT).to_be_bytes())
    });
    params.only(&[])?;
    let mut response = tag::answer(&headers, &TAG, || ([(header::CONTENT_TYPE, "application/json")], TEXT).into_response());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn document() -> Value {
        serde_json::from_str(include_str!("../../openapi.json")).expect("the document is JSON")
    }

    /// Path and method of every `.route(...)` in a source.
    fn routes(source: &str) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for part in source.split(".route(\"").skip(1) {
            let (path, rest) = part.split_once('"').expect("the path is a literal");
            let handlers = rest.lines().next().unwrap_or("");
            for method in ["get", "post", "put", "delete", "patch"] {
                let is_taken = [format!(" {method}("), format!(".{method}(")].iter().any(|call| handlers.contains(call));
                if is_taken {
                    found.insert((path.to_owned(), method.to_owned()));
                }
            }
        }
        found
    }

    #[test]
    fn every_call_is_described_and_every_description_has_its_call() {
        let mut served = routes(include_str!("mod.rs"));
        served.extend(routes(include_str!("../prom/mod.rs")));
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, calls)| calls.as_object().expect("calls").keys().map(move |method| (path.clone(), method.clone())))
            .collect();
        let missing: Vec<_> = served.difference(&described).collect();
        let gone: Vec<_> = described.difference(&served).collect();
        assert!(missing.is_empty(), "not described: {missing:?}");
        assert!(gone.is_empty(), "described and not served: {gone:?}");
        assert!(served.contains(&("/faults/{id}/feedback".to_owned(), "post".to_owned())), "{served:?}");
    }

    #[test]
    fn every_reference_of_the_description_leads_somewhere() {
        fn visit(value: &Value, document: &Value) {
            match value {
                Value::Object(members) => {
                    if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                        let pointer = target.strip_prefix('#').expect("references stay inside");
                        assert!(document.pointer(pointer).is_some(), "{target}");
                    }
                    members.values().for_each(|member| visit(member, document));
                }
                Value::Array(items) => items.iter().for_each(|item| visit(item, document)),
                _ => {}
            }
        }
        let document = document();
        visit(&document, &document);
    }

    #[test]
    fn every_path_parameter_is_declared() {
        let document = document();
        for (path, calls) in document["paths"].as_object().expect("paths") {
            let in_path: BTreeSet<&str> =
                path.split('{').skip(1).filter_map(|part| part.split_once('}')).map(|(name, _)| name).collect();
            for (method, call) in calls.as_object().expect("calls") {
                let declared: BTreeSet<&str> = call["parameters"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|given| match given["$ref"].as_str() {
                        Some(target) => document.pointer(target.trim_start_matches('#')).expect("a parameter"),
                        None => given,
                    })
                    .filter(|parameter| parameter["in"] == "path")
                    .filter_map(|parameter| parameter["name"].as_str())
                    .collect();
                assert_eq!(declared, in_path, "{method} {path}");
            }
        }
    }
}
