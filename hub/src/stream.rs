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
    /// Ids go on over a restart: who comes back with one of before it must not be told nothing until the new ones reach it.
    first_id: u64,
    recent: Mutex<VecDeque<Message>>,
}

impl Default for Stream {
    fn default() -> Self {
        let first_id = u64::try_from(gala_store::now_ms()).unwrap_or(0);
        Self { sender: broadcast::channel(REPLAY).0, first_id, recent: Mutex::default() }
    }
}

impl Stream {
    pub fn send<T: Serialize>(&self, topic: Topic, data: &T) {
        let Ok(text) = serde_json::to_string(data) else { return };
        let mut recent = self.recent.lock();
        let id = recent.back().map_or(self.first_id, |message| message.id + 1);
        let message = Message { id, topic, data: text.into() };
        recent.push_back(message.clone());
        if recent.len() > REPLAY {
            recent.pop_front();
        }
        // Without readers there is nobody to miss it.
        let _ = self.sender.send(message);
    }

    /// What came after an id, as far as it is kept, and what comes: none is lost or told twice in between.
    fn since(&self, last_id: Option<u64>) -> (Vec<Message>, broadcast::Receiver<Message>) {
        let recent = self.recent.lock();
        let missed = recent.iter().filter(|message| last_id.is_some_and(|last| message.id > last)).cloned().collect();
        (missed, self.sender.subscribe())
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
    let (missed, receiver) = hub.stream.since(last_id);
    let live = BroadcastStream::new(receiver).filter_map(Result::ok);
    let events = tokio_stream::iter(missed)
        .chain(live)
        .filter(move |message| topics.contains(&message.topic))
        .map(|message| Ok(Event::default().id(message.id.to_string()).event(message.topic.as_str()).data(&*message.data)));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_hears_what_came_since_also_over_a_restart() {
        let before = Stream { first_id: 1_000, ..Stream::default() };
        for n in 0..REPLAY + 10 {
            before.send(Topic::Anomaly, &n);
        }
        let told = |stream: &Stream, last_id: Option<u64>| -> Vec<String> {
            stream.since(last_id).0.iter().map(|message| message.data.to_string()).collect()
        };
        assert_eq!(told(&before, None), Vec::<String>::new());
        assert_eq!(told(&before, Some(1_000 + 10 + 254)), ["265"]);
        assert_eq!(told(&before, Some(1_000)).len(), REPLAY, "as far as it is kept");
        let after = Stream::default();
        after.send(Topic::Anomaly, &"new");
        assert_eq!(told(&after, Some(1_265)), ["\"new\""]);
    }
}
