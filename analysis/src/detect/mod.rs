//! Detection: which numbers behave as they never did, and which of them are what users feel. Pure and causal: the same
//! samples in the same order give the same verdicts.
//!
//! Live, [`Detector`] reads the store, puts KPIs together as [`meaning`] says, judges each against its own [`baseline`]
//! as its [`policy`] says, keeps cheap [`evidence`] on every other series, and writes incidents. Offline,
//! [`detect_file`] scores a file by [`novelty`] (one series) or by the entity's [`past`] (several).

pub mod baseline;
mod buckets;
mod ends;
pub mod evidence;
mod heirs;
pub mod kpi;
pub mod live;
pub mod meaning;
pub mod novelty;
pub mod offline;
pub mod past;
pub mod policy;
mod ranges;
mod report;
mod room;
mod route;
mod rows;
mod runs;
mod stalls;

pub use baseline::Band;
pub use live::{Config, Detector, TickReport};
pub use offline::{DetectError, Judged, detect_file};
pub use ranges::Warmup;
pub use rows::AnomalyRow;

/// What detection asks the topology.
pub trait EntityGraph {
    /// Name for people.
    fn name_of(&self, entity_id: &str) -> Option<String>;
    /// Whether at most `hops` relations lie between two entities.
    fn are_near(&self, left: &str, right: &str, hops: usize) -> bool;
}

/// No topology yet: an entity is near itself alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoGraph;

impl EntityGraph for NoGraph {
    fn name_of(&self, _entity_id: &str) -> Option<String> {
        None
    }

    fn are_near(&self, left: &str, right: &str, _hops: usize) -> bool {
        left == right
    }
}
