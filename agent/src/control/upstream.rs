//! Upstream's `gala-gopher.conf` and the `probes.init` beside it as a configuration of ours. What has no counterpart in this
//! version is noted, for the ledger and the log; keys nobody knows are passed over, as upstream does.

use std::net::ToSocketAddrs;
use std::path::Path;

use serde_json::{Map, Value as Json};

use super::catalogue;
use super::file::{FileConfig, FileError, Note};
use super::libconfig::{Setting, Value};
use super::request;

/// Upstream's sections; one of them makes a file upstream's.
const SECTIONS: [&str; 9] = ["global", "kafka", "metric", "imdb", "web_server", "rest_api_server", "logs", "event", "meta"];

const PORTS: std::ops::RangeInclusive<i64> = 1024..=65_535;

/// Whether these are settings of upstream's file and not of ours.
pub fn is_upstreams(settings: &[Setting]) -> bool {
    settings.iter().any(|setting| SECTIONS.contains(&setting.name.as_str()) && matches!(setting.value, Value::Group(_)))
}

/// The configuration in our words. `path` is where the file lies: `probes.init` is looked for beside it.
pub fn read(settings: &[Setting], path: &Path) -> Result<FileConfig, FileError> {
    let file = File { settings, path };
    let mut config = FileConfig::default();
    config.is_upstreams = true;
    let level = file.text("global", "log_level")?.unwrap_or("info");
    // Any other text acts as upstream's lowest level.
    config.set("log", if matches!(level, "info" | "warn" | "error") { level } else { "debug" });
    channels(&file, &mut config)?;
    if file.text("metric", "out_channel")?.is_none_or(|channel| channel == "web_server") {
        file.listen(&mut config, "web_server", "metrics_listen", "8888", "the metric exporter")?;
    } else {
        config.set("metrics_listen", "off");
    }
    // Upstream opens the port only where this key says so.
    if file.bool("global", "rest_api_on")? == Some(true) {
        file.listen(&mut config, "rest_api_server", "rest_listen", "9999", "the REST API")?;
    } else {
        config.set("rest_listen", "off");
    }
    if let Some(folder) = path.parent() {
        add_probes(&folder.join("probes.init"), &mut config);
    }
    Ok(config)
}

/// Notes every output that this version does not have.
fn channels(file: &File<'_>, config: &mut FileConfig) -> Result<(), FileError> {
    let events = "the hub's own rules see the same metrics";
    for (section, what, instead) in [
        ("metric", "metrics", "scrape the exporter, or push to a hub with `--hub`"),
        ("event", "events", events),
        ("meta", "metadata", "`docs/metrics.md` and the hub's /api/v1/metadata have them"),
    ] {
        let channel = file.text(section, "out_channel")?;
        if let Some(channel) = channel.filter(|channel| !channel.is_empty() && *channel != "web_server") {
            let reason = format!("{section}.out_channel = {channel:?}: this version has no such output; {instead}");
            config.notes.push(Note { what: format!("{what} to {channel}"), reason });
        }
    }
    Ok(())
}

/// Lines of `NAME JSON`; one that is wrong keeps no other back.
fn add_probes(path: &Path, config: &mut FileConfig) {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => {
            let (what, reason) = (path.display().to_string(), format!("it cannot be read ({error}): no probe of it runs"));
            return config.notes.push(Note { what, reason });
        }
    };
    config.changed = std::fs::metadata(path).and_then(|about| about.modified()).ok();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, json) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let taken = match catalogue::find(name) {
            Some(entry) => request::parse_json(json.trim().as_bytes()).map(|object| (entry.name, object)),
            None => Err(format!("no probe is called {name}").into()),
        };
        match taken.map_err(|refusal| refusal.to_string()) {
            Ok((name, object)) => append(object, config.probes.entry(name.to_owned()).or_default()),
            Err(reason) => {
                let what = format!("line {} of {}", number + 1, path.display());
                config.notes.push(Note { what, reason });
            }
        }
    }
}

/// As requests one after the other: each section is replaced, but parameters are set one by one, and of the two lists the later
/// one counts.
fn append(object: Map<String, Json>, probe: &mut Map<String, Json>) {
    for (name, other) in [("snoopers", "blacklist"), ("blacklist", "snoopers")] {
        if object.contains_key(name) && !object.contains_key(other) {
            probe.remove(other);
        }
    }
    for (section, value) in object {
        match (probe.get_mut(&section), value) {
            (Some(Json::Object(before)), Json::Object(more)) if section == "params" => before.extend(more),
            (_, value) => drop(probe.insert(section, value)),
        }
    }
}

struct File<'a> {
    settings: &'a [Setting],
    path: &'a Path,
}

impl<'a> File<'a> {
    fn wrong(&self, line: usize, problem: String) -> FileError {
        FileError::Wrong { path: self.path.to_owned(), line, problem }
    }

    /// Of equal names the last counts.
    fn find(settings: &'a [Setting], name: &str) -> Option<&'a Setting> {
        settings.iter().rev().find(|setting| setting.name == name)
    }

    fn setting(&self, section: &str, key: &str) -> Option<&'a Setting> {
        match &Self::find(self.settings, section)?.value {
            Value::Group(settings) => Self::find(settings, key),
            _ => None,
        }
    }

    /// A setting of the right type; upstream's types are strict.
    fn typed<T>(
        &self,
        section: &str,
        key: &str,
        form: &str,
        of: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, FileError> {
        let Some(setting) = self.setting(section, key) else { return Ok(None) };
        let value = of(&setting.value);
        value.map(Some).ok_or_else(|| self.wrong(setting.line, format!("{section}.{key} must be {form}")))
    }

    fn text(&self, section: &str, key: &str) -> Result<Option<&'a str>, FileError> {
        self.typed(section, key, "a text in quotes", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    fn bool(&self, section: &str, key: &str) -> Result<Option<bool>, FileError> {
        self.typed(section, key, "true or false", |value| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    /// Where a server listens. One that is to speak TLS only is closed: clear text is not what was asked for.
    fn listen(
        &self,
        config: &mut FileConfig,
        section: &str,
        option: &'static str,
        usual_port: &str,
        what: &str,
    ) -> Result<(), FileError> {
        if self.text(section, "ssl_auth")? == Some("on") {
            let reason =
                format!("{section}.ssl_auth = \"on\": this version has no TLS, so it stays closed; put a proxy before it");
            config.notes.push(Note { what: what.to_owned(), reason });
            config.set(option, "off");
            return Ok(());
        }
        let host = self.text(section, "bind_addr")?.unwrap_or("127.0.0.1");
        let port = self.typed(section, "port", "a number from 1024 to 65535", |value| match value {
            Value::Integer(port) if PORTS.contains(port) => Some(port.to_string()),
            _ => None,
        })?;
        let port = port.unwrap_or_else(|| usual_port.to_owned());
        let number: u16 = port.parse().unwrap_or_default();
        let found = (host, number).to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
        let line = self.setting(section, "bind_addr").map_or(1, |setting| setting.line);
        let found = found.ok_or_else(|| {
            self.wrong(line, format!("{section}.bind_addr = {host:?} is no address of this host; give one like \"127.0.0.1\""))
        })?;
        config.set(option, &found.to_string());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As packaged by upstream, keys we have no use for included.
    const SHIPPED: &str = r#"
global =
{
    log_file_name = "gopher.log";
    log_level = "info";
    rest_api_on = true;
};

metric =
{
    out_channel = "web_server";
    kafka_topic = "gala_gopher";
};

event =
{
    out_channel = "logs";
    kafka_topic = "gala_gopher_event";
    timeout = 600;
};

meta =
{
    out_channel = "kafka";
    kafka_topic = "gala_gopher_metadata";
};

imdb =
{
    max_tables_num = 1024;
    record_timeout = 60;
};

web_server =
{
    bind_addr = "127.0.0.1";
    port = 8888;
    ssl_auth = "off";
};

rest_api_server =
{
    bind_addr = "0.0.0.0";
    port = 9998;
    ssl_auth = "off";
};

kafka =
{
    kafka_broker = "";
    username = "u";
};
"#;

    fn load(text: &str, init: Option<&str>) -> Result<FileConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gala-gopher.conf");
        std::fs::write(&path, text).unwrap();
        if let Some(init) = init {
            std::fs::write(folder.path().join("probes.init"), init).unwrap();
        }
        FileConfig::load(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn the_shipped_file_says_the_same_here() {
        let config = load(SHIPPED, None).unwrap();
        assert!(config.is_upstreams && config.probes.is_empty());
        assert_eq!(config.option("log"), Some("info"));
        assert_eq!(config.option("metrics_listen"), Some("127.0.0.1:8888"));
        assert_eq!(config.option("rest_listen"), Some("0.0.0.0:9998"));
        let notes: Vec<&str> = config.notes.iter().map(|note| note.what.as_str()).collect();
        assert_eq!(notes, ["events to logs", "metadata to kafka"]);
    }

    #[test]
    fn what_is_off_or_cannot_be_as_asked_is_closed() {
        let without_key = SHIPPED.replace("rest_api_on = true;", "");
        assert_eq!(load(&without_key, None).unwrap().option("rest_listen"), Some("off"));
        let kafka = load(&SHIPPED.replace("\"web_server\"", "\"kafka\""), None).unwrap();
        assert_eq!((kafka.option("metrics_listen"), kafka.notes[0].what.as_str()), (Some("off"), "metrics to kafka"));
        let tls = load(&SHIPPED.replace("ssl_auth = \"off\"", "ssl_auth = \"on\""), None).unwrap();
        assert_eq!((tls.option("metrics_listen"), tls.option("rest_listen")), (Some("off"), Some("off")));
        assert!(tls.notes.iter().any(|note| note.reason.contains("no TLS")), "{:?}", tls.notes);
        assert_eq!(load(&SHIPPED.replace("\"info\"", "\"loud\""), None).unwrap().option("log"), Some("debug"));
        let bare = load("web_server = { port = 18888; }", None).unwrap();
        assert_eq!(bare.option("metrics_listen"), Some("127.0.0.1:18888"), "the rest is as shipped");
    }

    #[test]
    fn wrong_types_and_ports_are_named_with_their_line() {
        let words = load(&SHIPPED.replace("port = 8888", "port = \"8888\""), None).unwrap_err();
        assert!(words.ends_with("line 37: web_server.port must be a number from 1024 to 65535"), "{words}");
        let words = load(&SHIPPED.replace("rest_api_on = true", "rest_api_on = \"true\""), None).unwrap_err();
        assert!(words.ends_with("line 6: global.rest_api_on must be true or false"), "{words}");
        let words = load("global = { log_level = \"info\"", None).unwrap_err();
        assert!(words.contains("line 1: a group is not closed"), "{words}");
    }

    #[test]
    fn lines_of_one_probe_are_requests_in_a_row() {
        let init = "tcp {\"snoopers\":{\"proc_id\":[1]},\"params\":{\"report_period\":30,\"report_event\":1}}\n\
                    tcp {\"blacklist\":{},\"params\":{\"report_period\":20}}\n";
        let config = load(SHIPPED, Some(init)).unwrap();
        let tcp = serde_json::Value::from(config.probes["tcp"].clone());
        assert_eq!(tcp, serde_json::json!({"blacklist": {}, "params": {"report_event": 1, "report_period": 20}}));
    }

    #[test]
    fn a_probes_init_that_cannot_be_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gala-gopher.conf");
        std::fs::write(&path, SHIPPED).unwrap();
        std::fs::write(folder.path().join("probes.init"), b"tcp {\xff}").unwrap();
        let config = FileConfig::load(&path).unwrap();
        assert!(config.notes.iter().any(|note| note.what.ends_with("probes.init") && note.reason.contains("cannot be read")));
    }

    #[test]
    fn probes_init_beside_it_names_the_probes() {
        let init = "# comment\n\ntcp {\"cmd\":{\"probe\":[\"tcp_rtt\"]},\"snoopers\":{\"proc_name\":[{\"comm\":\"a\\\\.b\",\"cmdline\":\"java -jar x\"}]}}\n\
                    TCP {\"state\":\"running\"}\nnosuch {}\nio {\"state\"";
        let config = load(SHIPPED, Some(init)).unwrap();
        let tcp = serde_json::Value::from(config.probes["tcp"].clone());
        assert_eq!(tcp["state"], "running");
        assert_eq!(tcp["snoopers"]["proc_name"][0]["cmdline"], "java -jar x", "white space inside JSON is kept");
        assert_eq!(tcp["snoopers"]["proc_name"][0]["comm"], "a\\.b");
        assert!(config.changed.is_some());
        let notes: Vec<&str> = config.notes[2..].iter().map(|note| note.reason.as_str()).collect();
        assert_eq!(notes[0], "no probe is called nosuch");
        assert!(notes[1].starts_with("invalid json format: EOF while parsing an object at line 1"), "{notes:?}");
    }
}
