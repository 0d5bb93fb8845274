//! Type, help and unit of metrics, as senders describe them: a bounded dictionary, kept in one small file.

use crate::wal::{io_error, sync_dir};
use crate::{Store, StoreError};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Metric families described at most; more are counted, not kept.
pub const MAX_METADATA: usize = 20_000;
/// Help texts are cut here.
const MAX_HELP_BYTES: usize = 1_024;
const FILE: &str = "metadata.json";

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MetricMetadata {
    /// counter, gauge, histogram, gaugehistogram, summary, info, stateset or unknown.
    #[serde(rename = "type")]
    pub kind: String,
    pub help: String,
    pub unit: String,
}

#[derive(Default)]
pub(crate) struct Dictionary {
    families: BTreeMap<String, MetricMetadata>,
    changed: bool,
    pub refused: u64,
}

impl Dictionary {
    /// What the file holds; an unreadable one is no loss worth stopping for, senders repeat metadata.
    pub fn load(dir: &Path) -> Result<Self, String> {
        match std::fs::read(dir.join(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(|families| Self { families, ..Self::default() })
                .map_err(|error| format!("metadata is not readable: {error}")),
            Err(_) => Ok(Self::default()),
        }
    }

    pub fn set(&mut self, family: &str, mut metadata: MetricMetadata) {
        if metadata.help.len() > MAX_HELP_BYTES {
            let cut = (0..=MAX_HELP_BYTES).rev().find(|&at| metadata.help.is_char_boundary(at)).unwrap_or(0);
            metadata.help.truncate(cut);
        }
        let full = self.families.len() >= MAX_METADATA;
        match self.families.get_mut(family) {
            Some(known) if *known == metadata => return,
            Some(known) => *known = metadata,
            None if full => {
                self.refused += 1;
                return;
            }
            None => {
                self.families.insert(family.to_owned(), metadata);
            }
        }
        self.changed = true;
    }

    pub fn save(&mut self, dir: &Path) -> Result<(), StoreError> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        let path = dir.join(FILE);
        let bytes = serde_json::to_vec(&self.families).map_err(|error| StoreError::Io(error.to_string()))?;
        write_whole(&path, &bytes).inspect_err(|_| self.changed = true)
    }
}

/// Replaces a file's content so that after a crash it is either the old or the new one.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), sync_dir)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        io_error("write", path, &error)
    })
}

impl Store {
    /// Describes a metric family; kept on disk from the next upkeep on.
    pub fn set_metadata(&self, family: &str, metadata: MetricMetadata) {
        self.dictionary.lock().set(family, metadata);
    }

    /// All metric families that were described, by name.
    pub fn metadata(&self) -> BTreeMap<String, MetricMetadata> {
        self.dictionary.lock().families.clone()
    }
}
