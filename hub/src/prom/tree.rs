//! `parse_query`: the syntax tree of a query in the members that Prometheus's own page draws it from.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use gala_store::promql::ast::{At, Binary, Cardinality, Expr, Kind, Selector, ValueType};
use gala_store::promql::parse;
use gala_store::{MatchOp, Matcher};
use serde_json::{Value, json};

use super::PromState;
use super::answer::{Refusal, bad_parameter, success_of};
use super::params::Params;

pub async fn parse_query(State(state): State<PromState>, params: Params) -> Response {
    let parsed = state.gate.run(move || parse(params.get("query")).map(|expr| tree(&expr))).await;
    match parsed {
        Ok(Ok(tree)) => success_of(&tree, &[]),
        Ok(Err(error)) => bad_parameter("query", error).into_response(),
        Err(unanswered) => Refusal::from(unanswered).into_response(),
    }
}

fn tree(expr: &Expr) -> Value {
    match &expr.kind {
        Kind::Number { value, .. } => json!({"type": "numberLiteral", "val": number(*value)}),
        Kind::Text(text) => json!({"type": "stringLiteral", "val": text}),
        Kind::Vector(selector) => selected("vectorSelector", selector),
        Kind::Matrix { selector, range } => {
            let mut node = selected("matrixSelector", selector);
            node["range"] = json!(range.ms());
            node
        }
        Kind::Subquery(subquery) => {
            let (timestamp, start_or_end) = moment(subquery.at);
            json!({
                "type": "subquery", "expr": tree(&subquery.expr), "range": subquery.range.ms(), "offset": subquery.offset.ms(),
                "step": subquery.step.ms(), "timestamp": timestamp, "startOrEnd": start_or_end,
            })
        }
        Kind::Call { function, args } => {
            let takes: Vec<&str> = function.args.iter().map(|kind| kind.wire()).collect();
            json!({
                "type": "call",
                "func": {
                    "name": function.name, "argTypes": takes, "variadic": function.variadic, "returnType": function.returns.wire(),
                },
                "args": args.iter().map(tree).collect::<Vec<_>>(),
            })
        }
        Kind::Aggregate(aggregate) => json!({
            "type": "aggregation", "op": aggregate.op.name(), "expr": tree(&aggregate.expr),
            "param": aggregate.param.as_ref().map(tree), "grouping": aggregate.grouping, "without": aggregate.without,
        }),
        Kind::Binary(binary) => json!({
            "type": "binaryExpr", "op": binary.op.text(), "lhs": tree(&binary.lhs), "rhs": tree(&binary.rhs),
            "matching": matching(binary), "bool": binary.return_bool,
        }),
        Kind::Unary { negative, expr } => {
            json!({"type": "unaryExpr", "op": if *negative { "-" } else { "+" }, "expr": tree(expr)})
        }
        Kind::Paren(expr) => json!({"type": "parenExpr", "expr": tree(expr)}),
        // Preparation makes these, and a text that was only parsed has none.
        Kind::StepInvariant(expr) => tree(expr),
    }
}

fn selected(kind: &str, selector: &Selector) -> Value {
    let (timestamp, start_or_end) = moment(selector.at);
    json!({
        "type": kind, "name": selector.name, "offset": selector.offset.ms(),
        "matchers": selector.matchers.iter().map(matcher).collect::<Vec<_>>(),
        "timestamp": timestamp, "startOrEnd": start_or_end, "anchored": selector.anchored, "smoothed": selector.smoothed,
    })
}

fn matcher(matcher: &Matcher) -> Value {
    let op = match matcher.op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    };
    json!({"name": matcher.name, "value": matcher.value, "type": op})
}

const fn moment(at: At) -> (Option<i64>, Option<&'static str>) {
    match at {
        At::None => (None, None),
        At::Time(ms) => (Some(ms), None),
        At::Start => (None, Some("start")),
        At::End => (None, Some("end")),
    }
}

/// How series find each other, where both sides have series.
fn matching(binary: &Binary) -> Option<Value> {
    let is_vector = |side: &Expr| side.value_type() == ValueType::Vector;
    let matching = &binary.matching;
    let card = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    (is_vector(&binary.lhs) && is_vector(&binary.rhs)).then(|| {
        json!({
            "card": card, "labels": matching.labels, "on": matching.on, "include": matching.include,
            "fillValues": {"lhs": matching.fill_left, "rhs": matching.fill_right},
        })
    })
}

/// As Go writes it without an exponent.
fn number(value: f64) -> String {
    if value.is_infinite() { if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Value {
        tree(&parse(query).unwrap())
    }

    #[test]
    fn a_tree_has_prometheus_members() {
        let up = json!({
            "type": "vectorSelector", "name": "up", "offset": 0, "timestamp": null, "startOrEnd": null,
            "anchored": false, "smoothed": false,
            "matchers": [{"name": "job", "value": "a|b", "type": "=~"}, {"name": "__name__", "value": "up", "type": "="}],
        });
        assert_eq!(of("up{job=~\"a|b\"}"), up);
        assert_eq!(
            of("-(1e3)"),
            json!({"type": "unaryExpr", "op": "-", "expr": {"type": "parenExpr", "expr": {"type": "numberLiteral", "val": "1000"}}})
        );
        let call = of("rate(up[5m] offset 1m @ 7)");
        assert_eq!(call["func"], json!({"name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"}));
        let selector = &call["args"][0];
        assert_eq!(
            (&selector["type"], &selector["range"], &selector["offset"], &selector["timestamp"]),
            (&json!("matrixSelector"), &json!(300_000), &json!(60_000), &json!(7_000))
        );
        let subquery = of("max_over_time(up[1h:1m] @ end())")["args"][0].clone();
        assert_eq!((&subquery["step"], &subquery["startOrEnd"]), (&json!(60_000), &json!("end")));
        let sum = of("topk by (job) (3, up)");
        assert_eq!((&sum["type"], &sum["op"], &sum["grouping"]), (&json!("aggregation"), &json!("topk"), &json!(["job"])));
        assert_eq!(sum["param"]["val"], "3");
    }

    #[test]
    fn only_series_are_matched_with_series() {
        assert_eq!(of("up > bool 1")["matching"], Value::Null);
        let many = of("a * on (job) group_left (x) b");
        assert_eq!(
            many["matching"],
            json!({"card": "many-to-one", "labels": ["job"], "on": true, "include": ["x"], "fillValues": {"lhs": null, "rhs": null}})
        );
        assert_eq!(of("a and b")["matching"]["card"], "many-to-many");
    }
}
