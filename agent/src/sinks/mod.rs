//! Where observations go: the exporter's latest values, a hub over remote write, or a hub in the same process.

pub mod exporter;
pub mod latest;
pub mod push;

use gala_model::{Event, Observation, ObservationSink};

/// For an agent that only exports.
#[derive(Debug, Default)]
pub struct Discard;

impl ObservationSink for Discard {
    fn observe(&self, _batch: &[Observation]) {}
    fn event(&self, _event: &Event) {}
}
