//! Documents beside the time series: explanations, feedback, topology history, detector state, in one redb file. Values
//! are JSON; every table is bounded by its writer.

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What the hub remembers over restarts.
#[derive(Debug)]
pub struct Documents {
    database: Database,
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
        TableDefinition::new(match self {
            Self::Explanations => "explanations",
            Self::Versions => "versions",
            Self::Feedback => "feedback",
            Self::Asked => "asked",
            Self::Anomalies => "anomalies",
            Self::TopologyEntities => "topology_entities",
            Self::TopologyEdges => "topology_edges",
            Self::TopologyCycles => "topology_cycles",
            Self::State => "state",
        })
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
    /// Opens or creates the file. A damaged one is set aside under its name with `.damaged`, named in the log, and a new
    /// one is begun: what it held can be learnt again, the series cannot.
    pub fn open(dir: &Path) -> Result<Self, DocumentError> {
        let path = dir.join("documents.redb");
        let fail = |reason: String| DocumentError::Open { path: path.display().to_string(), reason };
        let database = match Database::create(&path) {
            Ok(database) => database,
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => {
                return Err(fail("another process holds it; stop that one first".into()));
            }
            Err(redb::DatabaseError::Storage(redb::StorageError::Io(error)))
                if error.kind() != std::io::ErrorKind::InvalidData && error.kind() != std::io::ErrorKind::UnexpectedEof =>
            {
                return Err(fail(error.to_string()));
            }
            Err(error) => {
                let aside = dir.join("documents.redb.damaged");
                tracing::warn!(file = %path.display(), aside = %aside.display(), %error, "document file is damaged; set aside");
                std::fs::rename(&path, &aside).map_err(|error| fail(error.to_string()))?;
                Database::create(&path).map_err(|error| fail(error.to_string()))?
            }
        };
        let created = database.begin_write().map_err(|error| fail(error.to_string()))?;
        for shelf in Shelf::ALL {
            created.open_table(shelf.definition()).map_err(|error| fail(error.to_string()))?;
        }
        created.commit().map_err(|error| fail(error.to_string()))?;
        Ok(Self { database })
    }

    pub fn put<T: Serialize>(&self, shelf: Shelf, key: &str, value: &T) -> Result<(), DocumentError> {
        self.write(&[Change::put(shelf, key, value)?])
    }

    pub fn remove(&self, shelf: Shelf, key: &str) -> Result<(), DocumentError> {
        self.write(&[Change::remove(shelf, key)])
    }

    /// Removes what comes first in key order until at most so many are left.
    pub fn trim(&self, shelf: Shelf, most: u64) -> Result<(), DocumentError> {
        let trim = || -> Result<(), redb::Error> {
            let count = self.database.begin_read()?.open_table(shelf.definition())?.len()?;
            if count <= most {
                return Ok(());
            }
            let transaction = self.database.begin_write()?;
            {
                let mut table = transaction.open_table(shelf.definition())?;
                for _ in most..count {
                    table.pop_first()?;
                }
            }
            transaction.commit()?;
            Ok(())
        };
        trim().map_err(|error| DocumentError::Access { key: format!("{shelf:?}"), reason: error.to_string() })
    }

    /// All changes or none; on disk when it returns.
    pub fn write(&self, changes: &[Change]) -> Result<(), DocumentError> {
        let Some(first) = changes.first() else { return Ok(()) };
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
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
        };
        write().map_err(|error| DocumentError::Access { key: first.key.clone(), reason: error.to_string() })
    }

    pub fn get<T: DeserializeOwned>(&self, shelf: Shelf, key: &str) -> Result<Option<T>, DocumentError> {
        let fail = |reason: String| DocumentError::Access { key: key.to_owned(), reason };
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let transaction = self.database.begin_read()?;
            let table = transaction.open_table(shelf.definition())?;
            Ok(table.get(key)?.map(|guard| guard.value().to_vec()))
        };
        let bytes = read().map_err(|error| fail(error.to_string()))?;
        bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))).transpose()
    }

    /// All documents of a shelf in key order; unreadable ones are left out.
    pub fn all<T: DeserializeOwned>(&self, shelf: Shelf) -> Result<Vec<(String, T)>, DocumentError> {
        let read = || -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
            let transaction = self.database.begin_read()?;
            let table = transaction.open_table(shelf.definition())?;
            table
                .iter()?
                .map(|row| row.map(|(key, value)| (key.value().to_owned(), value.value().to_vec())).map_err(Into::into))
                .collect()
        };
        let rows = read().map_err(|error| DocumentError::Access { key: format!("{shelf:?}"), reason: error.to_string() })?;
        Ok(rows.into_iter().filter_map(|(key, bytes)| Some((key, serde_json::from_slice(&bytes).ok()?))).collect())
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
        assert_eq!(documents.all::<Vec<i32>>(Shelf::Feedback).unwrap(), [("a".to_owned(), vec![1, 2])]);
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
        let keys: Vec<String> = documents.all::<i32>(Shelf::Feedback).unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["2", "3"]);
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("documents.redb"), vec![0x55; 9000]).unwrap();
        let documents = Documents::open(dir.path()).unwrap();
        assert!(documents.all::<i32>(Shelf::State).unwrap().is_empty());
        assert!(dir.path().join("documents.redb.damaged").exists());
    }
}
