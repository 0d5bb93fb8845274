//! Detection: which numbers behave as they never did, and which of them are what users feel. Pure and causal: the same
//! samples in the same order give the same verdicts.

pub mod novelty;
pub mod offline;
pub mod past;

pub use offline::{DetectError, Judged, detect_file};
