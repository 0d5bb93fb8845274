//! Documents beside the time series: explanations, feedback, detector and topology state, in one redb file. Values are
//! JSON; every table is bounded by its writer.

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What the hub remembers over restarts.
#[derive(Debug)]
pub struct Documents {
    database: Database,
}

/// Names of the tables; key is text, value is JSON.
#[derive(Clone, Copy, Debug)]
pub enum Shelf {
    /// Latest explanation of an incident, by incident id.
    Explanations,
    /// Verdicts of people, by incident id and time.
    Feedback,
    /// Anomaly rows, by time and event id.
    Anomalies,
    /// Single objects: detector state, topology state, rule set.
    State,
}

impl Shelf {
    const fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(match self {
            Self::Explanations => "explanations",
            Self::Feedback => "feedback",
            Self::Anomalies => "anomalies",
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
        for shelf in [Shelf::Explanations, Shelf::Feedback, Shelf::Anomalies, Shelf::State] {
            created.open_table(shelf.definition()).map_err(|error| fail(error.to_string()))?;
        }
        created.commit().map_err(|error| fail(error.to_string()))?;
        Ok(Self { database })
    }

    pub fn put<T: Serialize>(&self, shelf: Shelf, key: &str, value: &T) -> Result<(), DocumentError> {
        let fail = |reason: String| DocumentError::Access { key: key.to_owned(), reason };
        let json = serde_json::to_vec(value).map_err(|error| fail(error.to_string()))?;
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            transaction.open_table(shelf.definition())?.insert(key, json.as_slice())?;
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|error| fail(error.to_string()))
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

    pub fn remove(&self, shelf: Shelf, key: &str) -> Result<(), DocumentError> {
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            transaction.open_table(shelf.definition())?.remove(key)?;
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|error| DocumentError::Access { key: key.to_owned(), reason: error.to_string() })
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
    fn a_damaged_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("documents.redb"), vec![0x55; 9000]).unwrap();
        let documents = Documents::open(dir.path()).unwrap();
        assert!(documents.all::<i32>(Shelf::State).unwrap().is_empty());
        assert!(dir.path().join("documents.redb.damaged").exists());
    }
}
