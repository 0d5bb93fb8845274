//! Server-sent events: what changed, by topic, with ids to resume from.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast;
use tokio_stream::Stream as AsyncStream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

use crate::api::error::ApiError;
use crate::api::params::Params;
use crate::state::HubState;

/// Messages kept for readers that come back.
const REPLAY: usize = 256;
/// Silence after which a comment keeps the connection alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    Topology,
    Anomaly,
    RootCause,
    Agent,
}

impl Topic {
    const ALL: [Self; 4] = [Self::Topology, Self::Anomaly, Self::RootCause, Self::Agent];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Topology => "topology",
            Self::Anomaly => "anomaly",
            Self::RootCause => "root_cause",
            Self::Agent => "agent",
        }
    }
}

#[derive(Clone, Debug)]
struct Message {
    id: u64,
    topic: Topic,
    data: Arc<str>,
}

/// Sends to every reader; a slow reader loses the oldest messages, never holds up the sender.
pub struct Stream {
    sender: broadcast::Sender<Message>,
    recent: Mutex<VecDeque<Message>>,
}

impl Default for Stream {
    fn default() -> Self {
        Self { sender: broadcast::channel(REPLAY).0, recent: Mutex::default() }
    }
}

impl Stream {
    pub fn send<T: Serialize>(&self, topic: Topic, data: &T) {
        let Ok(text) = serde_json::to_string(data) else { return };
        let mut recent = self.recent.lock();
        let id = recent.back().map_or(1, |message| message.id + 1);
        let message = Message { id, topic, data: text.into() };
        recent.push_back(message.clone());
        if recent.len() > REPLAY {
            recent.pop_front();
        }
        // Without readers there is nobody to miss it.
        let _ = self.sender.send(message);
    }
}

/// `GET /api/v1/stream?topics=topology,anomaly,root_cause,agent`
pub async fn stream(
    State(hub): State<Arc<HubState>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Sse<impl AsyncStream<Item = Result<Event, Infallible>>>, ApiError> {
    params.only(&["topics"])?;
    let mut topics = Vec::new();
    for word in params.list("topics") {
        let topic = Topic::ALL.into_iter().find(|topic| topic.as_str() == word);
        let unknown =
            || ApiError::bad_request("topics", format!("no topic {word:?}; there are topology, anomaly, root_cause, agent"));
        topics.push(topic.ok_or_else(unknown)?);
    }
    if topics.is_empty() {
        topics.extend(Topic::ALL);
    }
    let last_id = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let (missed, receiver) = {
        let recent = hub.stream.recent.lock();
        let missed: Vec<Message> =
            last_id.map_or_else(Vec::new, |last| recent.iter().filter(|message| message.id > last).cloned().collect());
        (missed, hub.stream.sender.subscribe())
    };
    let live = BroadcastStream::new(receiver).filter_map(Result::ok);
    let events = tokio_stream::iter(missed)
        .chain(live)
        .filter(move |message| topics.contains(&message.topic))
        .map(|message| Ok(Event::default().id(message.id.to_string()).event(message.topic.as_str()).data(&*message.data)));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
