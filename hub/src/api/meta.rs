//! The catalogue in force: entity types, relations, cause rules, and the description of this API.

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use gala_analysis::topology::{Relation, relations};
use gala_model::entity::TYPES;
use serde_json::{Value, json};

use super::error::ApiError;
use super::params::Params;

/// `GET /meta/types`
pub async fn types(params: Params) -> Result<Json<Value>, ApiError> {
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
    let page = params.page(rows, |row| row["name"].as_str().unwrap_or("").to_owned())?;
    Ok(Json(json!(page)))
}

/// `GET /meta/relations`
pub async fn relations(params: Params) -> Result<Json<Value>, ApiError> {
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
    for (from, relation, to) in [("tcp_link", Relation::IsPeer, "tcp_link"), ("proc", Relation::Connect, "proc")] {
        rows.push(json!({
            "from": from, "relation": relation, "to": to, "layer": relation.layer(), "matches": [], "requires": [],
        }));
    }
    let key = |row: &Value| format!("{}/{}/{}", row["from"], row["relation"], row["to"]);
    let page = params.page(rows, key)?;
    Ok(Json(json!(page)))
}

/// `GET /cause/rules`
pub async fn cause_rules() -> Json<Value> {
    Json(json!(gala_analysis::cause::rules::rules()))
}

/// `GET /openapi.json`
pub async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("../../openapi.json")).into_response()
}
