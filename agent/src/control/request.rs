//! A PUT: from bytes to a changed configuration of one probe, or upstream's words for what is wrong with them.
//! Sections are taken in the order `cmd`, `snoopers`, `blacklist`, emptiness, `params`, `state`; the caller works on a copy,
//! so a refused request changes nothing.

use regex::Regex;
use serde_json::{Map, Value};

use super::catalogue::{Observes, ProbeEntry};
use super::config::{ProbeConfig, exported_label, intern, is_reserved};
use super::params::{self, Situation, as_integer, is_unsafe};
use super::range::{Mode, NameEntry, Objects, short_id};

pub const MAX_BODY: usize = 1_048_576;
const MAX_NAME: usize = 64;
const MAX_ENTRIES: usize = 1000;
const MAX_LABELS: usize = 10;
const SECTIONS: [&str; 5] = ["cmd", "snoopers", "blacklist", "params", "state"];

/// What a request asks of the probe's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Running,
    Stopped,
    /// Not said.
    AsItIs,
}

type Checked<T> = Result<T, String>;

/// The object of a body: `json=` and JSON, the same percent-encoded, or JSON alone.
pub fn parse_body(body: &[u8]) -> Checked<Map<String, Value>> {
    if body.len() > MAX_BODY {
        return Err(format!("put data size exceeds {MAX_BODY}"));
    }
    let start = body.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(body.len());
    let decoded;
    let json = match body.strip_prefix(b"json=") {
        Some(rest) if rest.first() == Some(&b'%') => {
            decoded = percent_decode(rest);
            &decoded[..]
        }
        Some(rest) => rest,
        None if matches!(body.get(start), Some(b'{' | b'[' | b'/')) => &body[start..],
        None => return Err("put data must start with json=".to_owned()),
    };
    let plain = without_comments(json);
    // Text after the object is ignored, as upstream does.
    let value = serde_json::Deserializer::from_slice(&plain).into_iter::<Value>().next();
    match value {
        Some(Ok(Value::Object(object))) => Ok(object),
        _ => Err("invalid json format".to_owned()),
    }
}

fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let hex = text.get(at + 1..at + 3).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match (byte, hex) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (other, _) => out.push(*other),
        }
        at += 1;
    }
    out
}

/// Replaces `//` and `/* */` comments outside strings by blanks.
fn without_comments(json: &[u8]) -> Vec<u8> {
    let mut out = json.to_vec();
    let mut at = 0;
    let mut in_string = false;
    while at < out.len() {
        match (in_string, out[at], out.get(at + 1)) {
            (true, b'\\', _) => at += 1,
            (_, b'"', _) => in_string = !in_string,
            (false, b'/', Some(b'/')) => {
                while at < out.len() && out[at] != b'\n' {
                    out[at] = b' ';
                    at += 1;
                }
            }
            (false, b'/', Some(b'*')) => {
                let end = json[at + 2..].windows(2).position(|pair| pair == b"*/").map_or(out.len(), |found| at + 2 + found + 2);
                out[at..end].fill(b' ');
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    out
}

/// Applies a request to a copy of the configuration.
pub fn apply(object: &Map<String, Value>, entry: &ProbeEntry, config: &mut ProbeConfig, situation: Situation) -> Checked<Wish> {
    if !SECTIONS.iter().any(|section| object.contains_key(*section)) {
        return Err("Bad request".to_owned());
    }
    // What we answered is accepted back whatever the rules for new requests say.
    if Value::Object(object.clone()) == config.answer(entry, situation.running) {
        return Ok(Wish::AsItIs);
    }
    let (command, snoopers) = (section(object, "cmd")?, section(object, "snoopers")?);
    let (blacklist, given_params) = (section(object, "blacklist")?, section(object, "params")?);
    if let Some(command) = command {
        apply_command(command, entry, config)?;
    }
    if let Some(list) = snoopers {
        let objects = parse_objects(list)?;
        if blacklist.is_some() && !objects.is_empty() {
            return Err("snoopers and blacklist are mutually exclusive".to_owned());
        }
        apply_labels(list, config)?;
        (config.mode, config.objects) = (Mode::White, objects);
    }
    if let Some(list) = blacklist {
        (config.mode, config.objects) = (Mode::Black, parse_objects(list)?);
    }
    let empty = config.mode == Mode::White && config.objects.is_empty();
    if empty && entry.observes != Observes::Nothing && entry.name != "baseinfo" {
        return Err(format!("the snooper for {} cannot be empty", entry.name));
    }
    if let Some(given) = given_params {
        apply_params(given, config, situation)?;
    }
    let wish = match object.get("state") {
        None => Wish::AsItIs,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("running") => Wish::Running,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("stopped") => Wish::Stopped,
        Some(Value::String(text)) => return Err(format!("invalid state {text}: must be running or stopped")),
        Some(_) => return Err("invalid state: must be string".to_owned()),
    };
    if wish == Wish::Running && config.sub_probes.is_empty() && !entry.sub_probes.is_empty() {
        return Err("invalid probe ranges: at least one must be set".to_owned());
    }
    Ok(wish)
}

fn section<'a>(object: &'a Map<String, Value>, name: &str) -> Checked<Option<&'a Map<String, Value>>> {
    match object.get(name) {
        None => Ok(None),
        Some(Value::Object(inner)) => Ok(Some(inner)),
        Some(_) => Err(format!("{name} must be an object")),
    }
}

fn apply_command(command: &Map<String, Value>, entry: &ProbeEntry, config: &mut ProbeConfig) -> Checked<()> {
    if command.is_empty() {
        return Ok(());
    }
    let list = command.get("probe").ok_or_else(|| "Bad request".to_owned())?;
    let none_set = || "invalid probe ranges: at least one must be set".to_owned();
    let Some(list) = list.as_array() else {
        return if entry.sub_probes.is_empty() { Err("cmd.probe must be an array".to_owned()) } else { Err(none_set()) };
    };
    let mut chosen = Vec::new();
    for item in list {
        let name = item.as_str().ok_or_else(|| "Invalid probe range: must be string.".to_owned())?;
        if name.is_empty() || name.chars().count() > MAX_NAME {
            return Err("The lengh of probe name must range from 0 to 64.".to_owned());
        }
        let known = entry.sub_probes.iter().find(|known| known.eq_ignore_ascii_case(name));
        chosen.push(*known.ok_or_else(|| format!("unsupported probe range: {name}."))?);
    }
    if chosen.is_empty() && !entry.sub_probes.is_empty() {
        return Err(none_set());
    }
    config.sub_probes = entry.sub_probes.iter().copied().filter(|name| chosen.contains(name)).collect();
    Ok(())
}

fn snooper_error(key: &str) -> String {
    format!("Error occurs when parsing snooper {key}")
}

/// An absent or null list is empty; anything but a list is an error.
fn list<'a>(object: &'a Map<String, Value>, key: &str) -> Checked<&'a [Value]> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(snooper_error(key)),
    }
}

fn parse_objects(given: &Map<String, Value>) -> Checked<Objects> {
    let mut objects = Objects::default();
    for item in list(given, "proc_id")? {
        let pid = item.is_number().then(|| as_integer(item)).flatten().filter(|pid| (1..=i64::from(i32::MAX)).contains(pid));
        objects.proc_id.push(pid.ok_or_else(|| snooper_error("proc_id"))? as u32);
    }
    for item in list(given, "proc_name")? {
        objects.proc_name.extend(parse_name(item).ok_or_else(|| snooper_error("proc_name"))?);
    }
    let texts = |key: &str, is_valid: fn(&str) -> bool, shape: fn(&str) -> String| -> Checked<Vec<String>> {
        let items = list(given, key)?.iter();
        let texts = items.map(|item| item.as_str().filter(|text| is_valid(text)).map(shape).ok_or_else(|| snooper_error(key)));
        texts.collect()
    };
    objects.pod_id = texts("pod_id", is_pod_id, str::to_owned)?;
    objects.container_id = texts("container_id", is_container_id, short_id)?;
    objects.container_name = texts("container_name", |text| !text.is_empty() && !is_unsafe(text), str::to_owned)?;
    for key in ["proc_id", "proc_name", "pod_id", "container_id", "container_name"] {
        if objects.len() > MAX_ENTRIES && !list(given, key)?.is_empty() {
            return Err(format!("{}: more than {MAX_ENTRIES} entries", snooper_error(key)));
        }
    }
    objects.proc_id.dedup();
    Ok(objects)
}

/// One `proc_name` entry; `Some(None)`: to be ignored, `None`: wrong.
fn parse_name(item: &Value) -> Option<Option<NameEntry>> {
    let object = item.as_object()?;
    let pattern = object.get("comm")?.as_str()?;
    let cmdline = match object.get("cmdline") {
        None | Some(Value::Null) => "",
        Some(value) => value.as_str()?,
    };
    let label = match object.get("label") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let members = value.as_object()?;
            match members.len() {
                0 => None,
                1 => {
                    let (name, value) = members.iter().next()?;
                    Some((label_name(name)?, value.as_str()?.to_owned()))
                }
                _ => return None,
            }
        }
    };
    if pattern.is_empty() {
        return Some(None);
    }
    let regex = regex::RegexBuilder::new(pattern).size_limit(1 << 20).build().ok()?;
    let entry = NameEntry { pattern: pattern.to_owned(), regex, cmdline: cmdline.to_owned(), label };
    Some(Some(entry))
}

fn is_pod_id(text: &str) -> bool {
    let hex = |byte: &u8| byte.is_ascii_hexdigit();
    match text.len() {
        32 => text.as_bytes().iter().all(hex),
        36 => text.bytes().enumerate().all(|(at, byte)| if [8, 13, 18, 23].contains(&at) { byte == b'-' } else { hex(&byte) }),
        _ => false,
    }
}

fn is_container_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Labels are replaced only when present and not empty.
fn apply_labels(given: &Map<String, Value>, config: &mut ProbeConfig) -> Checked<()> {
    if let Some(value) = given.get("custom_labels").filter(|value| !value.is_null()) {
        let error = || snooper_error("custom_labels");
        let members = value.as_object().filter(|members| members.len() <= MAX_LABELS).ok_or_else(error)?;
        let mut labels = Vec::new();
        for (name, value) in members {
            labels.push((label_name(name).ok_or_else(error)?, value.as_str().ok_or_else(error)?.to_owned()));
        }
        labels.sort();
        if !labels.is_empty() {
            config.custom_labels = labels;
        }
    }
    let error = || snooper_error("pod_labels");
    let names = list(given, "pod_labels")?;
    if names.len() > MAX_LABELS {
        return Err(error());
    }
    if !names.is_empty() {
        let fits = |name: &&str| !name.is_empty() && exported_label(name).is_some();
        let texts = names.iter().map(|name| name.as_str().filter(fits).map(str::to_owned).ok_or_else(error));
        config.pod_labels = texts.collect::<Checked<Vec<_>>>()?;
    }
    Ok(())
}

/// A name that can stand in an exposition and is not one of ours; kept for ever, bounded by the intern table.
fn label_name(name: &str) -> Option<&'static str> {
    static SHAPE: std::sync::LazyLock<Option<Regex>> =
        std::sync::LazyLock::new(|| Regex::new("^[a-zA-Z_][a-zA-Z0-9_]{0,63}$").ok());
    let fits = SHAPE.as_ref().is_some_and(|shape| shape.is_match(name));
    (fits && !is_reserved(name)).then(|| intern(name)).flatten()
}

fn apply_params(given: &Map<String, Value>, config: &mut ProbeConfig, situation: Situation) -> Checked<()> {
    let mut known_any = given.is_empty();
    for (name, value) in given {
        let Some(param) = params::find(name) else { continue };
        known_any = true;
        let current = config.param(param);
        config.params.insert(param.name, param.parse(value, &current, situation)?);
    }
    if known_any { Ok(()) } else { Err("Bad request".to_owned()) }
}
