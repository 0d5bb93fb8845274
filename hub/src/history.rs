//! The topology's history on disk: read when the hub starts, written every minute and at the end. What a crash keeps from
//! being written is found again in the samples of the last minutes.

use gala_analysis::topology::History;
use gala_analysis::topology::history::Rows;
use serde::Serialize;

use crate::documents::{Change, DocumentError, Documents, Shelf};
use crate::state::HubState;

/// Fills a new history with what was saved.
pub fn load(documents: &Documents, history: &mut History) -> Result<(), DocumentError> {
    fn rows<T: serde::de::DeserializeOwned>(documents: &Documents, shelf: Shelf) -> Result<Vec<T>, DocumentError> {
        Ok(documents.all(shelf)?.into_iter().map(|(_, row)| row).collect())
    }
    let entities = rows(documents, Shelf::TopologyEntities)?;
    let edges = rows(documents, Shelf::TopologyEdges)?;
    let cycles = rows(documents, Shelf::TopologyCycles)?;
    history.restore(entities, edges, cycles, gala_store::now_ms());
    Ok(())
}

/// Writes what changed since the last time.
pub fn save(hub: &HubState) -> Result<(), DocumentError> {
    let unsaved = hub.topology.write().history_mut().take_unsaved();
    let written = changes(&unsaved.entities, Shelf::TopologyEntities)
        .and_then(|mut all| {
            all.extend(changes(&unsaved.edges, Shelf::TopologyEdges)?);
            all.extend(changes(&unsaved.cycles, Shelf::TopologyCycles)?);
            Ok(all)
        })
        .and_then(|all| hub.documents.write(&all));
    if written.is_err() {
        hub.topology.write().history_mut().give_back(unsaved);
    }
    written
}

fn changes<R: Serialize>(rows: &Rows<R>, shelf: Shelf) -> Result<Vec<Change>, DocumentError> {
    let put = rows.put.iter().map(|(key, row)| Change::put(shelf, key, row));
    put.chain(rows.remove.iter().map(|key| Ok(Change::remove(shelf, key)))).collect()
}
