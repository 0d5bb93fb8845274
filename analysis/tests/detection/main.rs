//! Live detection on a simulated host: what it must find, how soon, and what it must leave alone.

mod heirs;
mod host;
mod incidents;
mod quiet;
mod robust;
mod room;
mod slow;
mod way;
