//! Ways in: the agent of this process, and remote write. Both end in the store's one writer path.

pub mod local;
pub mod write;
