//! As much of JSON Schema as the API's description uses: whether a value is what the description says.

use serde_json::{Map, Value};

/// Every place where a value departs from a schema, as `path: reason`; references are looked up in `document`.
pub fn faults(value: &Value, schema: &Value, document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(value, schema, document, "$", &mut found);
    found
}

fn check(value: &Value, schema: &Value, document: &Value, at: &str, found: &mut Vec<String>) {
    let Some(schema) = schema.as_object() else { return };
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let pointer = target.trim_start_matches('#');
        return check(value, document.pointer(pointer).expect("references lead somewhere"), document, at, found);
    }
    for word in ["anyOf", "oneOf"] {
        let Some(choices) = schema.get(word).and_then(Value::as_array) else { continue };
        let fitting = choices.iter().filter(|choice| faults(value, choice, document).is_empty()).count();
        if fitting == 0 || (word == "oneOf" && fitting > 1) {
            found.push(format!("{at}: {fitting} of {word} fit {value}"));
        }
    }
    if let Some(types) = schema.get("type")
        && !one_or_many(types).iter().any(|name| is_of(value, name))
    {
        return found.push(format!("{at}: {value} is not {types}"));
    }
    if let Some(known) = schema.get("enum").and_then(Value::as_array)
        && !known.contains(value)
    {
        found.push(format!("{at}: {value} is none of {known:?}"));
    }
    match value {
        Value::Object(members) => check_object(members, schema, document, at, found),
        Value::Array(items) => check_array(items, schema, document, at, found),
        Value::Number(number) => check_number(number.as_f64().unwrap_or(f64::NAN), schema, at, found),
        _ => {}
    }
}

fn check_object(members: &Map<String, Value>, schema: &Map<String, Value>, document: &Value, at: &str, found: &mut Vec<String>) {
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            found.push(format!("{at}: {name} is missing"));
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, member) in members {
        let at = format!("{at}.{name}");
        match (properties.and_then(|known| known.get(name)), schema.get("additionalProperties")) {
            (Some(own), _) => check(member, own, document, &at, found),
            (None, Some(Value::Bool(false))) => found.push(format!("{at}: not described")),
            (None, Some(rest)) => check(member, rest, document, &at, found),
            (None, None) => {}
        }
    }
}

fn check_array(items: &[Value], schema: &Map<String, Value>, document: &Value, at: &str, found: &mut Vec<String>) {
    let count = |word: &str| schema.get(word).and_then(Value::as_u64).map(|count| count as usize);
    if count("minItems").is_some_and(|least| items.len() < least) || count("maxItems").is_some_and(|most| items.len() > most) {
        found.push(format!("{at}: {} items", items.len()));
    }
    let first = schema.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (index, item) in items.iter().enumerate() {
        if let Some(own) = first.get(index).or(schema.get("items")) {
            check(item, own, document, &format!("{at}[{index}]"), found);
        }
    }
}

fn check_number(number: f64, schema: &Map<String, Value>, at: &str, found: &mut Vec<String>) {
    let bound = |word: &str| schema.get(word).and_then(Value::as_f64);
    let is_low =
        bound("minimum").is_some_and(|least| number < least) || bound("exclusiveMinimum").is_some_and(|low| number <= low);
    if is_low || bound("maximum").is_some_and(|most| number > most) {
        found.push(format!("{at}: {number} is out of range"));
    }
}

fn one_or_many(types: &Value) -> Vec<&str> {
    match types {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        name => name.as_str().into_iter().collect(),
    }
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        _ => false,
    }
}
