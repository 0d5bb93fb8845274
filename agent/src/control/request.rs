//! A PUT: from bytes to a changed configuration of one probe, or upstream's words for what is wrong with them.
//! Sections are taken in the order `cmd`, `snoopers`, `blacklist`, emptiness, `params`, `state`; the caller works on a copy,
//! so a refused request changes nothing.

use regex::Regex;
use serde_json::{Map, Value};

use super::answer::Refusal;
use super::catalogue::{Observes, ProbeEntry};
use super::config::{ProbeConfig, exported_label, intern, is_reserved};
use super::file::unknown;
use super::params::{self, PARAMS, Situation, as_integer, is_unsafe};
use super::range::{Mode, NameEntry, Names, Objects, short_id};

pub const MAX_BODY: usize = 1_048_576;
const MAX_NAME: usize = 64;
const MAX_ENTRIES: usize = 1000;
const MAX_LABELS: usize = 10;
/// Longest name of a label of a pod: a prefix of 253, a slash, 63.
const MAX_POD_LABEL: usize = 317;
/// A label's value stands on every series of a probe; so long are whole records upstream.
const MAX_LABEL_VALUE: usize = 1023;
const SECTIONS: [&str; 5] = ["cmd", "snoopers", "blacklist", "params", "state"];

/// What a request asks of the probe's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Running,
    Stopped,
    /// Not said.
    AsItIs,
}

type Checked<T> = Result<T, Refusal>;

/// The object of a body: `json=` and JSON, the same percent-encoded, or JSON alone.
pub fn parse_body(body: &[u8]) -> Checked<Map<String, Value>> {
    if body.len() > MAX_BODY {
        return Err(format!("put data size exceeds {MAX_BODY}").into());
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
        None => {
            let fix = "the body is json= and an object, as in json={\"state\":\"running\"}, or the object alone";
            return Err(Refusal::wrong("put data must start with json=", fix));
        }
    };
    parse_json(json)
}

/// The object itself.
pub fn parse_json(json: &[u8]) -> Checked<Map<String, Value>> {
    let plain = without_comments(json);
    // Text after the object is ignored, as upstream does.
    let value = serde_json::Deserializer::from_slice(&plain).into_iter::<Value>().next();
    let problem = match value {
        Some(Ok(Value::Object(object))) => return Ok(object),
        Some(Ok(_)) => "an object in braces is needed".to_owned(),
        // Line and column are those behind `json=`.
        Some(Err(error)) => error.to_string(),
        None => "nothing stands there; an object in braces is needed".to_owned(),
    };
    Err(Refusal::wrong("invalid json format", problem))
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
                // Lines stay, for messages count them.
                out[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
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
        return Err(Refusal::wrong("Bad request", format!("none of {} is there", SECTIONS.join(", "))));
    }
    // What we answered is accepted back whatever the rules for new requests say.
    if config.answer(entry, situation.running).as_object() == Some(object) {
        // Its `state` is a wish all the same: what broke and is told to be stopped is not started again.
        return Ok(if situation.running { Wish::Running } else { Wish::Stopped });
    }
    let (command, snoopers) = (section(object, "cmd")?, section(object, "snoopers")?);
    let (blacklist, given_params) = (section(object, "blacklist")?, section(object, "params")?);
    if let Some(command) = command {
        apply_command(command, entry, config)?;
    }
    if let Some(list) = snoopers {
        let objects = parse_objects(list)?;
        if blacklist.is_some() && !objects.is_empty() {
            return Err("snoopers and blacklist are mutually exclusive".into());
        }
        apply_labels(list, config)?;
        (config.mode, config.objects) = (Mode::White, objects);
    }
    if let Some(list) = blacklist {
        (config.mode, config.objects) = (Mode::Black, parse_objects(list)?);
    }
    let empty = config.mode == Mode::White && config.objects.is_empty();
    if empty && entry.observes != Observes::Nothing && entry.name != "baseinfo" {
        let fix = "an empty `blacklist` observes everything, `snoopers` what it lists";
        return Err(Refusal::wrong(format!("the snooper for {} cannot be empty", entry.name), fix));
    }
    if let Some(given) = given_params {
        apply_params(given, config, situation)?;
    }
    let wish = match object.get("state") {
        None => Wish::AsItIs,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("running") => Wish::Running,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("stopped") => Wish::Stopped,
        Some(Value::String(text)) => return Err(format!("invalid state {text}: must be running or stopped").into()),
        Some(_) => return Err("invalid state: must be string".into()),
    };
    if wish == Wish::Running && config.sub_probes.is_empty() && !entry.sub_probes.is_empty() {
        return Err(no_sub_probe(entry));
    }
    Ok(wish)
}

fn section<'a>(object: &'a Map<String, Value>, name: &str) -> Checked<Option<&'a Map<String, Value>>> {
    match object.get(name) {
        None => Ok(None),
        Some(Value::Object(inner)) => Ok(Some(inner)),
        Some(_) => Err(format!("{name} must be an object").into()),
    }
}

fn no_sub_probe(entry: &ProbeEntry) -> Refusal {
    Refusal::wrong("invalid probe ranges: at least one must be set", may_name(entry))
}

/// What `cmd.probe` may hold.
fn may_name(entry: &ProbeEntry) -> String {
    match entry.sub_probes {
        [] => "cmd.probe must be [] or absent here".to_owned(),
        names => format!("cmd.probe may name {}", names.join(", ")),
    }
}

fn apply_command(command: &Map<String, Value>, entry: &ProbeEntry, config: &mut ProbeConfig) -> Checked<()> {
    if command.is_empty() {
        return Ok(());
    }
    let list =
        command.get("probe").ok_or_else(|| Refusal::wrong("Bad request", format!("cmd has no probe; {}", may_name(entry))))?;
    let Some(list) = list.as_array() else {
        let of_none = entry.sub_probes.is_empty();
        return Err(if of_none { "cmd.probe must be an array".into() } else { no_sub_probe(entry) });
    };
    let mut chosen = Vec::new();
    for item in list {
        let name = item.as_str().ok_or("Invalid probe range: must be string.")?;
        if name.is_empty() || name.chars().count() > MAX_NAME {
            return Err("The lengh of probe name must range from 0 to 64.".into());
        }
        let known = entry.sub_probes.iter().find(|known| known.eq_ignore_ascii_case(name));
        chosen.push(*known.ok_or_else(|| Refusal::wrong(format!("unsupported probe range: {name}."), may_name(entry)))?);
    }
    if chosen.is_empty() && !entry.sub_probes.is_empty() {
        return Err(no_sub_probe(entry));
    }
    config.sub_probes = entry.sub_probes.iter().copied().filter(|name| chosen.contains(name)).collect();
    Ok(())
}

fn snooper_error(key: &str, detail: impl Into<String>) -> Refusal {
    Refusal::wrong(format!("Error occurs when parsing snooper {key}"), detail)
}

/// An absent or null list is empty; anything but a list is an error.
fn list<'a>(object: &'a Map<String, Value>, key: &str) -> Checked<&'a [Value]> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(snooper_error(key, "a list in brackets is needed")),
    }
}

const KINDS: [&str; 5] = ["proc_id", "proc_name", "pod_id", "container_id", "container_name"];

fn parse_objects(given: &Map<String, Value>) -> Checked<Objects> {
    // Counted before anything is made of them: patterns take far more room than their text.
    let mut count = 0;
    for key in KINDS {
        count += list(given, key)?.len();
        if count > MAX_ENTRIES {
            return Err(snooper_error(key, format!("more than {MAX_ENTRIES} entries in all lists together")));
        }
    }
    let entry = |key: &str, at: usize, needed: &str| snooper_error(key, format!("entry {}: {needed}", at + 1));
    let mut objects = Objects::default();
    for (at, item) in list(given, "proc_id")?.iter().enumerate() {
        let pid = item.is_number().then(|| as_integer(item)).flatten().filter(|pid| (1..=i64::from(i32::MAX)).contains(pid));
        let pid = pid.ok_or_else(|| entry("proc_id", at, "a number from 1 to 2147483647 is needed"))?;
        objects.proc_id.push(pid as u32);
    }
    let mut names = Vec::new();
    for (at, item) in list(given, "proc_name")?.iter().enumerate() {
        names.extend(parse_name(item).map_err(|problem| entry("proc_name", at, &problem))?);
    }
    objects.proc_name = Names::new(names).map_err(|problem| snooper_error("proc_name", problem))?;
    let texts = |key: &str, needed: &str, is_valid: fn(&str) -> bool, shape: fn(&str) -> String| -> Checked<Vec<String>> {
        let items = list(given, key)?.iter().enumerate();
        let texts =
            items.map(|(at, item)| item.as_str().filter(|text| is_valid(text)).map(shape).ok_or_else(|| entry(key, at, needed)));
        texts.collect()
    };
    objects.pod_id = texts("pod_id", "32 hexadecimal digits, or a UUID with hyphens, are needed", is_pod_id, str::to_owned)?;
    objects.container_id = texts("container_id", "1 to 64 hexadecimal digits are needed", is_container_id, short_id)?;
    let is_name = |text: &str| !text.is_empty() && text.len() <= MAX_LABEL_VALUE && !is_unsafe(text);
    let needed = "a part of a container's name is needed, without unsafe characters";
    objects.container_name = texts("container_name", needed, is_name, str::to_owned)?;
    objects.proc_id.dedup();
    Ok(objects)
}

/// One `proc_name` entry; `None`: to be ignored. The error says what is needed.
fn parse_name(item: &Value) -> Result<Option<NameEntry>, String> {
    let object = item.as_object().ok_or("an object with comm is needed")?;
    let pattern = object.get("comm").and_then(Value::as_str).ok_or("comm, a text, is needed")?;
    let cmdline = match object.get("cmdline") {
        None | Some(Value::Null) => "",
        Some(value) => value.as_str().ok_or("cmdline must be a text")?,
    };
    let label = match object.get("label") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let members =
                value.as_object().filter(|members| members.len() <= 1).ok_or("label must be an object of one member")?;
            members.iter().next().map(|(name, value)| label(name, value)).transpose()?
        }
    };
    let entry = NameEntry { pattern: pattern.to_owned(), cmdline: cmdline.to_owned(), label };
    Ok((!pattern.is_empty()).then_some(entry))
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
        let error = |detail: String| snooper_error("custom_labels", detail);
        let few = || error(format!("an object of at most {MAX_LABELS} labels is needed"));
        let members = value.as_object().filter(|members| members.len() <= MAX_LABELS).ok_or_else(few)?;
        let labels = members.iter().map(|(name, value)| label(name, value).map_err(error));
        let mut labels = labels.collect::<Checked<Vec<_>>>()?;
        labels.sort();
        if !labels.is_empty() {
            config.custom_labels = labels;
        }
    }
    let names = list(given, "pod_labels")?;
    if names.len() > MAX_LABELS {
        return Err(snooper_error("pod_labels", format!("at most {MAX_LABELS} are taken")));
    }
    if !names.is_empty() {
        let fits = |name: &&str| (1..=MAX_POD_LABEL).contains(&name.len()) && exported_label(name).is_some();
        let texts = names.iter().enumerate().map(|(at, name)| {
            let error = || snooper_error("pod_labels", format!("entry {}: the name of a pod's label is needed", at + 1));
            name.as_str().filter(fits).map(str::to_owned).ok_or_else(error)
        });
        config.pod_labels = texts.collect::<Checked<Vec<_>>>()?;
    }
    Ok(())
}

/// A label of ours: a name that can stand in an exposition and is not one of ours already, kept for ever and bounded by the
/// intern table, and a value of bounded length.
fn label(name: &str, value: &Value) -> Result<(&'static str, String), String> {
    static SHAPE: std::sync::LazyLock<Option<Regex>> =
        std::sync::LazyLock::new(|| Regex::new("^[a-zA-Z_][a-zA-Z0-9_]{0,63}$").ok());
    let value = value.as_str().filter(|value| value.len() <= MAX_LABEL_VALUE);
    let value = value.ok_or_else(|| format!("the value of {name} must be a text of at most {MAX_LABEL_VALUE} bytes"))?;
    let fits = SHAPE.as_ref().is_some_and(|shape| shape.is_match(name));
    if !fits || is_reserved(name) {
        return Err(format!("{name:?} is no name for a label: letters, digits and _, at most 64, le and machine_id are taken"));
    }
    let name =
        intern(name).ok_or("too many different names of labels since the agent started: use others again, or restart it")?;
    Ok((name, value.to_owned()))
}

fn apply_params(given: &Map<String, Value>, config: &mut ProbeConfig, situation: Situation) -> Checked<()> {
    let mut known_any = given.is_empty();
    for (name, value) in given {
        let Some(param) = params::find(name) else { continue };
        known_any = true;
        let current = config.param(param);
        config.params.insert(param.name, param.parse(value, &current, situation)?);
    }
    let first = given.keys().next().filter(|_| !known_any);
    first.map_or(Ok(()), |name| {
        Err(Refusal::wrong("Bad request", unknown("parameter", name, PARAMS.iter().map(|param| param.name))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::catalogue;

    fn refusal(probe: &str, body: &[u8]) -> Refusal {
        let entry = catalogue::find(probe).unwrap();
        let applied = parse_body(body).and_then(|object| apply(&object, entry, &mut ProbeConfig::default(), Situation::KEPT));
        applied.unwrap_err()
    }

    #[test]
    fn place_and_fix_stand_behind_upstreams_words() {
        let cases: [(&[u8], &str, &str); 12] = [
            (b"state", "put data must start with json=", "or the object alone"),
            (b"json={\"cmd\":\n{,}}", "invalid json format", "line 2 column 2"),
            (b"json={/* a\nb */ \"cmd\" 1}", "invalid json format", "line 2"),
            (b"json=[]", "invalid json format", "an object in braces is needed"),
            (b"json=", "invalid json format", "nothing stands there"),
            (b"json={\"cmds\":1}", "Bad request", "none of cmd, snoopers"),
            (
                b"json={\"cmd\":{}, \"blacklist\":{}, \"params\":{\"report_perod\":1}}",
                "Bad request",
                "did you mean report_period?",
            ),
            (b"json={\"blacklist\":{}, \"params\":{\"elf_path\":\"/no/such\"}}", "Bad request", "params.elf_path: /no/such"),
            (b"json={\"snoopers\":{\"proc_id\":[1,0]}}", "Error occurs when parsing snooper proc_id", "entry 2: a number"),
            (
                b"json={\"snoopers\":{\"proc_name\":[{\"comm\":\"a\"},{\"comm\":\"[\"}]}}",
                "Error occurs when parsing snooper proc_name",
                "entry 2",
            ),
            (b"json={\"cmd\":{\"probe\":[\"x\"]}}", "unsupported probe range: x.", "cmd.probe may name tcp_abnormal"),
            (b"json={\"cmd\":{}}", "the snooper for tcp cannot be empty", "an empty `blacklist` observes everything"),
        ];
        for (body, message, detail) in cases {
            let refusal = refusal("tcp", body);
            assert_eq!(refusal.message(), message);
            assert!(refusal.detail().contains(detail), "{refusal:?}");
        }
    }

    #[test]
    fn patterns_are_counted_and_bounded_before_anything_is_made_of_them() {
        let names = |count: usize, pattern: &str| {
            let entries = vec![format!("{{\"comm\":\"{pattern}\"}}"); count];
            format!("{{\"snoopers\":{{\"proc_name\":[{}]}}}}", entries.join(","))
        };
        let many = refusal("tcp", names(40_000, "a{1,100}").as_bytes());
        assert!(many.detail().contains("more than 1000 entries"), "{many:?}");
        let dear = refusal("tcp", names(1000, "\\\\w{300}").as_bytes());
        assert!(dear.detail().contains("take too much room"), "{dear:?}");
        let entry = catalogue::find("tcp").unwrap();
        let usual = parse_body(names(1000, "^worker-[0-9]+$").as_bytes()).unwrap();
        assert!(apply(&usual, entry, &mut ProbeConfig::default(), Situation::KEPT).is_ok());
    }

    #[test]
    fn values_of_labels_are_short_for_they_stand_on_every_series() {
        let value = |length: usize| {
            format!("{{\"snoopers\":{{\"proc_id\":[1],\"custom_labels\":{{\"a\":\"{}\"}}}}}}", "x".repeat(length))
        };
        assert!(refusal("tcp", value(1024).as_bytes()).detail().contains("at most 1023 bytes"));
        let entry = catalogue::find("tcp").unwrap();
        let object = parse_body(value(1023).as_bytes()).unwrap();
        assert!(apply(&object, entry, &mut ProbeConfig::default(), Situation::KEPT).is_ok());
    }
}
