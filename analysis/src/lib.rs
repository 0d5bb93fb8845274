//! analysis
pub mod cause;
pub mod detect;
pub mod incident;
pub mod topology;
