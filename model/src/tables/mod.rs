//! The tables of every probe, one file per probe, and the list of them all.

use crate::table::{Table, TableDef};

pub mod host;

/// Every table built in, in the order the documentation lists them.
pub fn all() -> Vec<&'static TableDef> {
    vec![host::Host::def()]
}
