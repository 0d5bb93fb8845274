//! `gala.toml`: the options of the command line by name, a table `[topology]`, and a table `[probes.NAME]` per probe with the
//! members of a PUT.
//! A key nobody knows is an error with its line and the nearest known one; so is a value of the wrong shape. A file of
//! upstream's is told by its sections and read as such.
//!
//! ```toml
//! interval = 10
//! rest_listen = "off"
//!
//! [probes.tcp]
//! blacklist = {}
//! cmd = { probe = ["tcp_rtt", "tcp_stats"] }
//! params = { report_period = 30 }
//! state = "running"
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::catalogue::PROBES;
use super::{libconfig, upstream};

/// Options of the command line that a file may set, spelled with `_` for `-`.
pub const OPTIONS: [&str; 16] = [
    "budget_cpu",
    "budget_memory",
    "data",
    "hub",
    "insecure",
    "interval",
    "listen",
    "log",
    "log_format",
    "metrics_buckets",
    "metrics_listen",
    "no_auth",
    "rest_listen",
    "retention",
    "run_dir",
    "store_size",
];

/// Keys of `[topology]`, each an option of that name.
pub const TOPOLOGY: [&str; 8] = [
    "topology.alive_window",
    "topology.edge_hold",
    "topology.history_retention",
    "topology.max_links_per_process",
    "topology.offline_confirm",
    "topology.offline_retention",
    "topology.period",
    "topology.query_deadline",
];

/// What may stand behind an option's name.
#[derive(Clone, Copy, Debug)]
enum Form {
    Text,
    Number,
    TextOrNumber,
    Switch,
    OneOf(&'static [&'static str]),
}

impl Form {
    fn of(option: &str) -> Self {
        match option {
            "insecure" | "metrics_buckets" | "no_auth" => Self::Switch,
            "log_format" => Self::OneOf(&["text", "json"]),
            "budget_cpu" => Self::Number,
            "topology.max_links_per_process" | "topology.offline_confirm" => Self::Number,
            "interval" | "retention" | "budget_memory" | "store_size" => Self::TextOrNumber,
            name if name.starts_with("topology.") => Self::TextOrNumber,
            _ => Self::Text,
        }
    }

    fn admits(self, value: &DeValue<'_>) -> bool {
        let is_number = matches!(value, DeValue::Integer(_) | DeValue::Float(_));
        match self {
            Self::Text => matches!(value, DeValue::String(_)),
            Self::Number => is_number,
            Self::TextOrNumber => is_number || matches!(value, DeValue::String(_)),
            Self::Switch => matches!(value, DeValue::Boolean(_)),
            Self::OneOf(known) => matches!(value, DeValue::String(text) if known.contains(&text.as_ref())),
        }
    }
}

impl std::fmt::Display for Form {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text => out.write_str("a text in quotes"),
            Self::Number => out.write_str("a number, without quotes"),
            Self::TextOrNumber => out.write_str("a text in quotes or a number"),
            Self::Switch => out.write_str("true or false, without quotes"),
            Self::OneOf(known) => write!(out, "\"{}\"", known.join("\" or \"")),
        }
    }
}

const SECTIONS: [&str; 5] = ["blacklist", "cmd", "params", "snoopers", "state"];

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FileError {
    #[error("configuration file {} cannot be read ({reason})", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("configuration file {}, line {line}: {problem}", path.display())]
    Wrong { path: PathBuf, line: usize, problem: String },
}

/// Something a file asks for that this version does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub what: String,
    pub reason: String,
}

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileConfig {
    /// Text of each option that is set, as the command line would have it.
    options: BTreeMap<&'static str, String>,
    /// Each probe's section as the object of a PUT.
    pub probes: BTreeMap<String, Map<String, Value>>,
    /// When what names the probes was changed last.
    pub changed: Option<SystemTime>,
    /// It is upstream's: nothing runs until it is asked for.
    pub is_upstreams: bool,
    pub notes: Vec<Note>,
}

impl FileConfig {
    pub fn load(path: &Path) -> Result<Self, FileError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| FileError::Unreadable { path: path.to_owned(), reason: error.to_string() })?;
        let foreign = match libconfig::parse(&text) {
            Ok(settings) if upstream::is_upstreams(&settings) => return upstream::read(&settings, path),
            other => other.err(),
        };
        let changed = std::fs::metadata(path).and_then(|about| about.modified()).ok();
        match (Self::parse(&text, path), foreign) {
            (Ok(config), _) => Ok(Self { changed, ..config }),
            // What is called as upstream's file and is neither was meant to be that.
            (Err(_), Some(problem)) if path.extension().is_some_and(|extension| extension == "conf") => {
                Err(FileError::Wrong { path: path.to_owned(), line: problem.line, problem: problem.text })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// `path` is for messages only.
    pub fn parse(text: &str, path: &Path) -> Result<Self, FileError> {
        let wrong = |at: Range<usize>, problem: String| {
            let line = text.get(..at.start).map_or(1, |before| before.matches('\n').count() + 1);
            FileError::Wrong { path: path.to_owned(), line, problem }
        };
        let document = DeTable::parse(text).map_err(|error| wrong(error.span().unwrap_or(0..0), error.message().to_owned()))?;
        let mut config = Self::default();
        for (key, value) in document.get_ref().iter() {
            let name: &str = key.get_ref();
            if name == "probes" {
                let table = value.get_ref().as_table();
                let table = table.ok_or_else(|| wrong(value.span(), "probes must be a table, [probes.NAME]".to_owned()))?;
                for (probe, section) in table.iter() {
                    config.add_probe(probe, section, &wrong)?;
                }
                continue;
            }
            if name == "topology" {
                let table = value.get_ref().as_table();
                let table = table.ok_or_else(|| wrong(value.span(), "topology must be a table, [topology]".to_owned()))?;
                for (key, value) in table.iter() {
                    let name = format!("topology.{}", key.get_ref());
                    let known = TOPOLOGY.iter().find(|known| **known == name);
                    let known = known.ok_or_else(|| wrong(key.span(), unknown("key", &name, TOPOLOGY.iter().copied())))?;
                    config.add_option(known, value, &wrong)?;
                }
                continue;
            }
            let known = OPTIONS.iter().find(|known| **known == name);
            let tables = ["probes", "topology"];
            let known = known.ok_or_else(|| wrong(key.span(), unknown("key", name, OPTIONS.iter().copied().chain(tables))))?;
            config.add_option(known, value, &wrong)?;
        }
        Ok(config)
    }

    fn add_option(
        &mut self,
        option: &'static str,
        value: &Spanned<DeValue<'_>>,
        wrong: &dyn Fn(Range<usize>, String) -> FileError,
    ) -> Result<(), FileError> {
        let form = Form::of(option);
        let text = scalar_text(value.get_ref()).filter(|_| form.admits(value.get_ref()));
        let text = text.ok_or_else(|| wrong(value.span(), format!("{option} must be {form}")))?;
        self.options.insert(option, text);
        Ok(())
    }

    fn add_probe(
        &mut self,
        name: &Spanned<toml::de::DeString<'_>>,
        section: &Spanned<DeValue<'_>>,
        wrong: &dyn Fn(Range<usize>, String) -> FileError,
    ) -> Result<(), FileError> {
        let probe: &str = name.get_ref();
        if !PROBES.iter().any(|entry| entry.name == probe) {
            return Err(wrong(name.span(), unknown("probe", probe, PROBES.iter().map(|entry| entry.name))));
        }
        let table = section.get_ref().as_table();
        let table = table.ok_or_else(|| wrong(section.span(), format!("probes.{probe} must be a table")))?;
        let mut object = Map::new();
        for (key, value) in table.iter() {
            let member: &str = key.get_ref();
            if !SECTIONS.contains(&member) {
                return Err(wrong(key.span(), unknown("key", member, SECTIONS.iter().copied())));
            }
            if member == "params"
                && let Some(params) = value.get_ref().as_table()
            {
                for (param, _) in params.iter() {
                    let text: &str = param.get_ref();
                    if super::params::find(text).is_none() {
                        let known = super::params::PARAMS.iter().map(|known| known.name);
                        return Err(wrong(param.span(), unknown("parameter", text, known)));
                    }
                }
            }
            object.insert(member.to_owned(), to_json(value.get_ref()));
        }
        self.probes.insert(probe.to_owned(), object);
        Ok(())
    }

    pub(super) fn set(&mut self, option: &'static str, text: &str) {
        self.options.insert(option, text.to_owned());
    }

    /// Text of an option, by its name in the file.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }
}

pub(super) fn unknown<'a>(what: &str, given: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known.min_by_key(|known| distance(given, known));
    nearest
        .map_or_else(|| format!("unknown {what} {given}"), |nearest| format!("unknown {what} {given}; did you mean {nearest}?"))
}

/// Edit distance (Levenshtein) between two short names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (to, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *other);
            diagonal = row[to + 1];
            row[to + 1] = replaced.min(diagonal + 1).min(row[to] + 1);
        }
    }
    row[b.len()]
}

fn scalar_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn to_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, Value::from),
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| to_json(item.get_ref())).collect(),
        DeValue::Table(table) => {
            let members = table.iter().map(|(key, value)| (key.get_ref().to_string(), to_json(value.get_ref())));
            Value::Object(members.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<FileConfig, String> {
        FileConfig::parse(text, Path::new("gala.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn options_and_probes_are_read() {
        let config = parse(
            "interval = 10\nbudget_cpu = 2.5\nrest_listen = \"off\"\n\n[probes.tcp]\nblacklist = {}\ncmd = { probe = [\"tcp_rtt\"] }\n\
             params = { report_period = 30 }\nstate = \"running\"\n",
        )
        .unwrap();
        assert_eq!((config.option("interval"), config.option("budget_cpu")), (Some("10"), Some("2.5")));
        assert_eq!((config.option("rest_listen"), config.option("listen")), (Some("off"), None));
        let expected =
            json!({"blacklist": {}, "cmd": {"probe": ["tcp_rtt"]}, "params": {"report_period": 30}, "state": "running"});
        assert_eq!(Value::Object(config.probes["tcp"].clone()), expected);
    }

    #[test]
    fn unknown_keys_are_named_with_line_and_neighbour() {
        let cases = [
            ("interval = 5\nmetric_listen = \"x\"\n", "line 2: unknown key metric_listen; did you mean metrics_listen?"),
            ("[probes.tpc]\n", "line 1: unknown probe tpc; did you mean tcp?"),
            ("\n[probes.tcp]\nparam = {}\n", "line 3: unknown key param; did you mean params?"),
            ("[probes.tcp.params]\nreport_perod = 5\n", "line 2: unknown parameter report_perod; did you mean report_period?"),
        ];
        for (text, words) in cases {
            assert_eq!(parse(text).unwrap_err(), format!("configuration file gala.toml, {words}"), "{text}");
        }
    }

    #[test]
    fn broken_files_are_errors_with_their_line() {
        assert!(parse("interval = 5\ninterval = 6\n").unwrap_err().contains("line 2"));
        assert!(parse("a = [1,\n").unwrap_err().contains("line"));
        assert!(parse("interval = [5]\n").unwrap_err().contains("line 1: interval must be a text"));
        for (text, words) in [
            ("insecure = \"yes\"", "insecure must be true or false, without quotes"),
            ("log_format = \"xml\"", "log_format must be \"text\" or \"json\""),
            ("log_format = true", "log_format must be \"text\" or \"json\""),
            ("budget_cpu = \"2\"", "budget_cpu must be a number, without quotes"),
            ("hub = 7070", "hub must be a text in quotes"),
        ] {
            assert_eq!(parse(text).unwrap_err(), format!("configuration file gala.toml, line 1: {words}"));
        }
        assert!(parse("probes = 1\n").unwrap_err().contains("must be a table"));
        let missing = FileConfig::load(Path::new("/no/such.toml")).unwrap_err().to_string();
        assert!(missing.contains("/no/such.toml cannot be read"), "{missing}");
    }
}
