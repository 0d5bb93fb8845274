//! The central side: takes data in, keeps it, analyses it, and answers people and programs over HTTP.
//!
//! `Hub::start` opens store and documents, starts the analysis thread and serves the API and the interface. The agent
//! of the same process hands its observations to `Hub::sink`; agents elsewhere use remote write.
#![forbid(unsafe_code)]

mod anomalies;
pub mod api;
mod asked;
mod documents;
mod engine;
mod explain;
mod form;
mod gate;
mod history;
mod ingest;
mod listener;
pub mod prom;
mod room;
mod safety;
mod server;
pub mod state;
mod stream;
mod tag;
mod ui;
mod vocabulary;
mod watch;
mod words;

pub use gala_analysis::topology::Config as TopologyConfig;
pub use server::{Build, Hub, HubConfig, HubError};
pub use state::{AgentView, Component, NotConfigured, Status};
