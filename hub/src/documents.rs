//! Documents beside the time series: explanations, feedback, topology history, detector state, in one redb file. Values
//! are JSON; every table is bounded by its writer.

mod file;
#[cfg(test)]
pub mod hanging;

use std::path::Path;

use redb::{ReadableTableMetadata as _, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use file::File;

/// What the hub remembers over restarts.
pub struct Documents {
    file: File,
}

/// Names of the tables; key is text, value is JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shelf {
    /// Latest explanation of an incident, by incident id.
    Explanations,
    /// All versions of explanations, by the incident's time and id, and number.
    Versions,
    /// Verdicts of people, by time and incident id.
    Feedback,
    /// Explanations that people asked for, by time and id.
    Asked,
    /// Anomaly rows, by time and event id.
    Anomalies,
    /// Lives of entities, by start and id.
    TopologyEntities,
    /// Lives of relations, likewise.
    TopologyEdges,
    /// Topology cycles, by time.
    TopologyCycles,
    /// Single objects: detector state, rule set.
    State,
}

/// One step of a transaction.
#[derive(Debug)]
pub struct Change {
    shelf: Shelf,
    key: String,
    /// `None` removes.
    value: Option<Vec<u8>>,
}

impl Change {
    pub fn put<T: Serialize>(shelf: Shelf, key: impl Into<String>, value: &T) -> Result<Self, DocumentError> {
        let key = key.into();
        match serde_json::to_vec(value) {
            Ok(value) => Ok(Self { shelf, key, value: Some(value) }),
            Err(error) => Err(DocumentError::Access { key, reason: error.to_string() }),
        }
    }

    pub fn remove(shelf: Shelf, key: impl Into<String>) -> Self {
        Self { shelf, key: key.into(), value: None }
    }

    pub fn into_key(self) -> String {
        self.key
    }
}

impl Shelf {
    const ALL: [Self; 9] = [
        Self::Explanations,
        Self::Versions,
        Self::Feedback,
        Self::Asked,
        Self::Anomalies,
        Self::TopologyEntities,
        Self::TopologyEdges,
        Self::TopologyCycles,
        Self::State,
    ];

    const fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(self.name())
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Explanations => "explanations",
            Self::Versions => "versions",
            Self::Feedback => "feedback",
            Self::Asked => "asked",
            Self::Anomalies => "anomalies",
            Self::TopologyEntities => "topology_entities",
            Self::TopologyEdges => "topology_edges",
            Self::TopologyCycles => "topology_cycles",
            Self::State => "state",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("document file {path}: {reason}")]
    Open { path: String, reason: String },
    #[error("document {key}: {reason}")]
    Access { key: String, reason: String },
}

impl Documents {
    /// Opens or creates the file; a damaged one is set aside. Fails only where another process holds it: what else is wrong
    /// stands in `trouble`, and is tried again.
    pub fn open(dir: &Path) -> Result<Self, DocumentError> {
        Ok(Self { file: File::open(dir)? })
    }

    /// What is wrong with the file, and what was lost of it.
    pub fn trouble(&self) -> Option<String> {
        self.file.trouble()
    }

    pub fn put<T: Serialize>(&self, shelf: Shelf, key: &str, value: &T) -> Result<(), DocumentError> {
        self.write(&[Change::put(shelf, key, value)?])
    }

    pub fn remove(&self, shelf: Shelf, key: &str) -> Result<(), DocumentError> {
        self.write(&[Change::remove(shelf, key)])
    }

    /// Removes what comes first in key order until at most so many are left.
    pub fn trim(&self, shelf: Shelf, most: u64) -> Result<(), DocumentError> {
        let trimmed = self.file.access(|database| {
            let count = file::table(database, shelf)?.map_or(Ok(0), |table| table.len())?;
            if count <= most {
                return Ok(());
            }
            let transaction = database.begin_write()?;
            {
                let mut table = transaction.open_table(shelf.definition())?;
                for _ in most..count {
                    table.pop_first()?;
                }
            }
            transaction.commit()?;
            Ok(())
        });
        trimmed.map_err(|reason| DocumentError::Access { key: shelf.name().to_owned(), reason })
    }

    /// All changes or none; on disk when it returns.
    pub fn write(&self, changes: &[Change]) -> Result<(), DocumentError> {
        let Some(first) = changes.first() else { return Ok(()) };
        let written = self.file.access(|database| {
            let transaction = database.begin_write()?;
            for shelf in Shelf::ALL {
                let mut own = changes.iter().filter(|change| change.shelf == shelf).peekable();
                if own.peek().is_none() {
                    continue;
                }
                let mut table = transaction.open_table(shelf.definition())?;
                for change in own {
                    match &change.value {
                        Some(value) => table.insert(change.key.as_str(), value.as_slice())?,
                        None => table.remove(change.key.as_str())?,
                    };
                }
            }
            transaction.commit()?;
            Ok(())
        });
        written.map_err(|reason| DocumentError::Access { key: first.key.clone(), reason })
    }

    pub fn get<T: DeserializeOwned>(&self, shelf: Shelf, key: &str) -> Result<Option<T>, DocumentError> {
        let fail = |reason: String| DocumentError::Access { key: key.to_owned(), reason };
        let read = self.file.access(|database| {
            let Some(table) = file::table(database, shelf)? else { return Ok(None) };
            Ok(table.get(key)?.map(|guard| guard.value().to_vec()))
        });
        let bytes = read.map_err(fail)?;
        bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))).transpose()
    }

    /// Documents from a key on whose keys are wanted, the last ones, newest key first.
    pub fn last<T: DeserializeOwned>(&self, shelf: Shelf, from: &str, is_wanted: impl Fn(&str) -> bool, most: usize) -> Vec<T> {
        let read = self.file.access(|database| {
            let Some(table) = file::table(database, shelf)? else { return Ok(Vec::new()) };
            let mut found = Vec::new();
            for row in table.range(from..)?.rev() {
                let (key, value) = row?;
                if is_wanted(key.value()) {
                    found.push(value.value().to_vec());
                }
                if found.len() == most {
                    break;
                }
            }
            Ok(found)
        });
        let rows = read.unwrap_or_else(|reason| {
            tracing::warn!(shelf = shelf.name(), %reason, "documents cannot be read");
            Vec::new()
        });
        rows.into_iter().filter_map(|bytes| serde_json::from_slice(&bytes).ok()).collect()
    }

    /// All documents of a shelf in key order. Unreadable ones are left out; nothing comes of a shelf that cannot be read,
    /// which `trouble` tells.
    pub fn all<T: DeserializeOwned>(&self, shelf: Shelf) -> Vec<(String, T)> {
        let rows = self.file.access(|database| file::rows(database, shelf, usize::MAX)).unwrap_or_else(|reason| {
            tracing::warn!(shelf = shelf.name(), %reason, "documents cannot be read");
            Vec::new()
        });
        rows.into_iter().filter_map(|(key, bytes)| Some((key, serde_json::from_slice(&bytes).ok()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let documents = Documents::open(dir.path()).unwrap();
        documents.put(Shelf::Feedback, "a", &vec![1, 2]).unwrap();
        documents.put(Shelf::Feedback, "b", &vec![3]).unwrap();
        documents.remove(Shelf::Feedback, "b").unwrap();
        drop(documents);
        let documents = Documents::open(dir.path()).unwrap();
        assert_eq!(documents.all::<Vec<i32>>(Shelf::Feedback), [("a".to_owned(), vec![1, 2])]);
        assert_eq!(documents.get::<Vec<i32>>(Shelf::Feedback, "b").unwrap(), None);
    }

    #[test]
    fn trimming_removes_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let documents = Documents::open(dir.path()).unwrap();
        for key in ["3", "1", "2"] {
            documents.put(Shelf::Feedback, key, &1).unwrap();
        }
        documents.trim(Shelf::Feedback, 2).unwrap();
        let keys: Vec<String> = documents.all::<i32>(Shelf::Feedback).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["2", "3"]);
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("documents.redb"), vec![0x55; 9000]).unwrap();
        let documents = Documents::open(dir.path()).unwrap();
        assert!(documents.all::<i32>(Shelf::State).is_empty());
        assert!(dir.path().join("documents.redb.damaged").exists());
    }
}
