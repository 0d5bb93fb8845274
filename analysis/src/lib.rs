//! analysis
pub mod cause;
pub mod detect;
