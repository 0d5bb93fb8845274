//! The topology at the moment a request asks about, with the anomalies of then.

use std::collections::HashMap;
use std::sync::Arc;

use gala_analysis::topology::Snapshot;
use gala_analysis::topology::view::Badges;
use serde::Serialize;

use super::error::ApiError;
use super::params::Params;
use super::written::Written;
use crate::gate::Gate;
use crate::state::HubState;

pub struct Moment {
    /// Absent where now is meant.
    pub at_ms: Option<i64>,
    pub snapshot: Arc<Snapshot>,
    badges: Arc<HashMap<String, Badges>>,
    judged: Arc<HashMap<String, usize>>,
}

impl Moment {
    pub fn at(hub: &HubState, at_ms: Option<i64>) -> Self {
        let snapshot = hub.snapshot_at(at_ms);
        Self { at_ms, badges: badges(hub, at_ms, &snapshot), snapshot, judged: judged(hub) }
    }

    /// A moment at which the entity is known: the one asked for, else now.
    pub fn knowing(hub: &HubState, entity_id: &str, at_ms: i64) -> Self {
        let snapshot = hub.snapshot_knowing(entity_id, at_ms);
        Self { at_ms: Some(at_ms), badges: badges(hub, Some(at_ms), &snapshot), snapshot, judged: judged(hub) }
    }

    /// Does work on the state of the parameter `at`, off the threads that serve connections and so many at once: a map of
    /// thousands of nodes takes a while, and a past state memory.
    pub async fn of<T: Serialize>(
        hub: &Arc<HubState>,
        gate: &Gate,
        params: Params,
        work: impl FnOnce(&HubState, &Params, &Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<Written, ApiError> {
        let at_ms = params.millis("at")?;
        let worker = hub.clone();
        Written::by(gate, move || work(&worker, &params, &Self::at(&worker, at_ms))).await
    }

    /// Anomalies of one entity and of its parts.
    pub fn badge(&self, id: &str) -> Badges {
        let judged = self.at_ms.is_none().then(|| self.judged(id) > 0);
        Badges { judged, ..self.badges.get(id).cloned().unwrap_or_default() }
    }

    /// How many numbers of an entity are judged; of the past that is told by what is now.
    pub fn judged(&self, id: &str) -> usize {
        self.judged.get(id).copied().unwrap_or(0)
    }
}

fn judged(hub: &HubState) -> Arc<HashMap<String, usize>> {
    hub.progress.lock().judged.clone()
}

fn badges(hub: &HubState, at_ms: Option<i64>, snapshot: &Snapshot) -> Arc<HashMap<String, Badges>> {
    match at_ms {
        None => hub.progress.lock().anomalies.clone(),
        Some(at_ms) => Arc::new(hub.anomalies.read().badges_at(at_ms, snapshot)),
    }
}
