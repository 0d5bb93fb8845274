//! The topology's history on disk: read when the hub starts, written every minute and at the end. What a crash keeps from
//! being written is found again in the samples of the last minutes.

use gala_analysis::topology::History;
use gala_analysis::topology::history::Rows;
use serde::Serialize;

use crate::documents::{Change, DocumentError, Documents, Shelf};
use crate::state::HubState;

/// Rows of one transaction.
const PIECE: usize = 5_000;

/// Fills a new history with what was saved.
pub fn load(documents: &Documents, history: &mut History) {
    fn rows<T: serde::de::DeserializeOwned>(documents: &Documents, shelf: Shelf) -> Vec<T> {
        documents.all(shelf).into_iter().map(|(_, row)| row).collect()
    }
    let entities = rows(documents, Shelf::TopologyEntities);
    let edges = rows(documents, Shelf::TopologyEdges);
    let cycles = rows(documents, Shelf::TopologyCycles);
    history.restore(entities, edges, cycles, gala_store::now_ms());
}

/// Writes what changed since the last time.
pub fn save(hub: &HubState) -> Result<(), DocumentError> {
    let unsaved = hub.topology.write().history_mut().take_unsaved();
    let written = write(&hub.documents, &unsaved.entities, Shelf::TopologyEntities)
        .and_then(|()| write(&hub.documents, &unsaved.edges, Shelf::TopologyEdges))
        .and_then(|()| write(&hub.documents, &unsaved.cycles, Shelf::TopologyCycles));
    if written.is_err() {
        hub.topology.write().history_mut().give_back(unsaved);
    }
    written
}

/// In pieces, so that the first save of a large cluster does not stand in memory as text; each row is whole by itself, and
/// what was written twice is written once.
fn write<R: Serialize>(documents: &Documents, rows: &Rows<R>, shelf: Shelf) -> Result<(), DocumentError> {
    let put = rows.put.iter().map(|(key, row)| Change::put(shelf, key, row));
    let mut changes = put.chain(rows.remove.iter().map(|key| Ok(Change::remove(shelf, key)))).peekable();
    while changes.peek().is_some() {
        let piece = changes.by_ref().take(PIECE).collect::<Result<Vec<_>, _>>()?;
        documents.write(&piece)?;
    }
    Ok(())
}
