//! analysis
pub mod detect;
