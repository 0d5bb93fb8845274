//! Entity types, their keys, levels and bands, and their ids.
