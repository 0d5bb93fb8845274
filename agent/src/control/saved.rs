//! What was configured by REST, kept over a restart: `probes.json` in the state folder, written whole after every accepted
//! PUT. Each probe's part has the form of a PUT. A file that cannot be read is set aside, never guessed at.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::catalogue::ProbeEntry;
use super::config::ProbeConfig;
use super::range::Mode;

const NAME: &str = "probes.json";

/// Far more than 21 probes with every list full of names.
const MAX_BYTES: u64 = 8 << 20;

const VERSION: u32 = 1;

/// One probe as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedProbe {
    /// It ran unasked and nobody configured it: it starts with what is usual then.
    pub unasked: bool,
    /// The configuration file said so, and nobody by REST since: without the file's word it does not run again.
    #[serde(default)]
    pub from_file: bool,
    /// The object of a PUT.
    pub config: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    probes: BTreeMap<String, SavedProbe>,
}

/// What a file said, and when it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    pub probes: BTreeMap<String, SavedProbe>,
    pub written: SystemTime,
}

/// The file in one state folder.
#[derive(Clone, Debug)]
pub struct SavedFile {
    path: PathBuf,
}

impl SavedFile {
    pub fn new(state: &Path) -> Self {
        Self { path: state.join(NAME) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was saved; `None` when nothing was. A damaged file is renamed, and the error is a sentence that says so.
    pub fn load(&self) -> Result<Option<Saved>, String> {
        let read = || -> io::Result<(SystemTime, Vec<u8>)> {
            let file = File::open(&self.path)?;
            let written = file.metadata()?.modified()?;
            let mut bytes = Vec::new();
            file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
            Ok((written, bytes))
        };
        let (written, bytes) = match read() {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{} cannot be read ({error})", self.path.display())),
        };
        let parsed = match serde_json::from_slice::<Document>(&bytes) {
            _ if bytes.len() as u64 > MAX_BYTES => Err(format!("it is longer than {MAX_BYTES} bytes")),
            Ok(document) if document.version != VERSION => Err(format!("it has version {}", document.version)),
            Ok(document) => Ok(document.probes),
            Err(error) => Err(error.to_string()),
        };
        match parsed {
            Ok(probes) => Ok(Some(Saved { probes, written })),
            Err(problem) => Err(self.set_aside(&problem)),
        }
    }

    fn set_aside(&self, problem: &str) -> String {
        let aside = self.path.with_extension("json.damaged");
        let file = self.path.display();
        match fs::rename(&self.path, &aside) {
            Ok(()) => format!("{file} is damaged ({problem}) and was set aside as {}", aside.display()),
            Err(error) => format!("{file} is damaged ({problem}) and cannot be set aside ({error})"),
        }
    }

    /// Replaces the file: after a crash there is the old one or the new one.
    pub fn store(&self, probes: BTreeMap<String, SavedProbe>) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(&Document { version: VERSION, probes })?;
        bytes.push(b'\n');
        if bytes.len() as u64 > MAX_BYTES {
            return Err(io::Error::other(format!("it would be longer than {MAX_BYTES} bytes")));
        }
        let new = self.path.with_extension("json.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        match self.path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

/// A configuration as the object of a PUT that brings it back, whatever GET shows of it.
pub fn as_request(config: &ProbeConfig, entry: &ProbeEntry, wanted: bool) -> Map<String, Value> {
    let mut object = Map::new();
    if !config.sub_probes.is_empty() || entry.sub_probes.is_empty() {
        object.insert("cmd".into(), Map::from_iter([("probe".to_owned(), Value::from(config.sub_probes.clone()))]).into());
    }
    let mut snoopers = config.labels_answer();
    if config.mode == Mode::Black {
        object.insert("blacklist".into(), config.objects_answer().into());
    } else {
        snoopers.extend(config.objects_answer());
    }
    if !snoopers.is_empty() {
        object.insert("snoopers".into(), snoopers.into());
    }
    let params: Map<String, Value> = config.params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    object.insert("params".into(), params.into());
    object.insert("state".into(), if wanted { "running" } else { "stopped" }.into());
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::control::catalogue;
    use crate::control::params::Situation;
    use crate::control::request::{Wish, apply, parse_body};

    fn probe(config: Value) -> SavedProbe {
        SavedProbe { unasked: false, from_file: false, config: config.as_object().unwrap().clone() }
    }

    #[test]
    fn what_is_stored_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let file = SavedFile::new(folder.path());
        assert_eq!(file.load(), Ok(None));
        let probes = BTreeMap::from([("tcp".to_owned(), probe(json!({"state": "running", "blacklist": {}})))]);
        file.store(probes.clone()).unwrap();
        assert_eq!(file.load().unwrap().unwrap().probes, probes);
        let names = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 1, "nothing is left beside it");
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_named() {
        for text in ["{\"version\":1,\"probes\":{\"tcp\"", "[]", "{\"version\":2,\"probes\":{}}", ""] {
            let folder = tempfile::tempdir().unwrap();
            let file = SavedFile::new(folder.path());
            fs::write(file.path(), text).unwrap();
            let words = file.load().unwrap_err();
            assert!(words.contains("is damaged") && words.contains("probes.json.damaged"), "{words}");
            assert_eq!(fs::read_to_string(folder.path().join("probes.json.damaged")).unwrap(), text);
            assert_eq!(file.load(), Ok(None), "the next start is clean");
        }
    }

    #[test]
    fn a_list_without_end_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = SavedFile::new(folder.path());
        file.store(BTreeMap::new()).unwrap();
        let huge = probe(json!({"state": "x".repeat(MAX_BYTES as usize)}));
        assert!(file.store(BTreeMap::from([("tcp".to_owned(), huge)])).is_err());
        assert!(file.load().unwrap().unwrap().probes.is_empty(), "the old file stays");
    }

    #[test]
    fn every_configuration_comes_back_whole() {
        let cases = [
            (
                "tcp",
                r#"{"cmd":{"probe":["tcp_rtt"]},"snoopers":{"proc_id":[1],"proc_name":[{"comm":"^a$","cmdline":"b","label":{"k":"v"}}],"pod_labels":["app"],"custom_labels":{"z":"1"}},"params":{"latency_thr":20,"min_exec_dur":7}}"#,
            ),
            ("tcp", r#"{"cmd":{"probe":["tcp_rtt"]},"snoopers":{"custom_labels":{"z":"1"}},"blacklist":{"proc_id":[7]}}"#),
            ("socket", r#"{"cmd":{"probe":["tcp_socket"]},"blacklist":{}}"#),
            ("ksli", r#"{"params":{"dev_name":"eth0"}}"#),
            ("baseinfo", r#"{"params":{"elf_path":"/proc","report_period":30}}"#),
            // As `--interval 2` makes it.
            ("io", r#"{"cmd":{"probe":["io_count"]},"params":{"report_period":2}}"#),
        ];
        for (name, body) in cases {
            let entry = catalogue::find(name).unwrap();
            let mut config = ProbeConfig::default();
            apply(&parse_body(body.as_bytes()).unwrap(), entry, &mut config, Situation::KEPT).unwrap();
            let mut back = ProbeConfig::default();
            let wanted = !config.sub_probes.is_empty();
            let wish = apply(&as_request(&config, entry, wanted), entry, &mut back, Situation::KEPT).unwrap();
            assert_eq!(back, config, "{body}");
            assert_eq!(wish, if wanted { Wish::Running } else { Wish::Stopped });
        }
    }
}
