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
use tokio::sync::{Semaphore, broadcast};
use tokio_stream::Stream as AsyncStream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

use crate::api::error::ApiError;
use crate::api::params::Params;
use crate::state::HubState;

/// Messages kept for readers that come back.
const REPLAY: usize = 256;
/// Readers at once: a page has one.
const MAX_READERS: usize = 128;
/// When one that found no place is to come again, seconds.
const RETRY_AFTER_S: u32 = 15;
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

/// Sends to every reader. A slow one never holds up the sender: when messages that it did not read yet go, its stream ends,
/// and it comes back with the last id it has for what is still kept.
pub struct Stream {
    sender: broadcast::Sender<Message>,
    /// Ids go on over a restart: who comes back with one of before it must not be told nothing until the new ones reach it.
    first_id: u64,
    recent: Mutex<VecDeque<Message>>,
    readers: Arc<Semaphore>,
}

impl Default for Stream {
    fn default() -> Self {
        let first_id = u64::try_from(gala_store::now_ms()).unwrap_or(0);
        let readers = Arc::new(Semaphore::new(MAX_READERS));
        Self { sender: broadcast::channel(REPLAY).0, first_id, recent: Mutex::default(), readers }
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

/// What a reader is told until it falls behind.
fn messages(
    (missed, receiver): (Vec<Message>, broadcast::Receiver<Message>),
    topics: Vec<Topic>,
) -> impl AsyncStream<Item = Message> {
    let live = BroadcastStream::new(receiver).map_while(Result::ok);
    tokio_stream::iter(missed).chain(live).filter(move |message| topics.contains(&message.topic))
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
    let place = hub.stream.readers.clone().try_acquire_owned().map_err(|_| {
        ApiError::too_many(format!("{MAX_READERS} streams are open; close one or come again later"), RETRY_AFTER_S)
    })?;
    let last_id = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let events = messages(hub.stream.since(last_id), topics).map(move |message| {
        // The place goes with the stream.
        let _ = &place;
        Ok(Event::default().id(message.id.to_string()).event(message.topic.as_str()).data(&*message.data))
    });
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

    #[tokio::test]
    async fn a_reader_that_falls_behind_is_told_no_less_than_it_thinks() {
        let stream = Stream { first_id: 1, ..Stream::default() };
        let read = messages(stream.since(None), vec![Topic::Anomaly]);
        let mut read = std::pin::pin!(read);
        stream.send(Topic::Anomaly, &0);
        assert_eq!(read.next().await.map(|message| message.id), Some(1));
        for n in 0..2 * REPLAY {
            stream.send(Topic::Anomaly, &n);
        }
        assert!(read.next().await.is_none(), "it ends where messages are missing");
        let mut again = std::pin::pin!(messages(stream.since(Some(1)), vec![Topic::Anomaly]));
        assert_eq!(again.next().await.map(|message| message.id), Some(2 + REPLAY as u64), "as far as they are kept");
    }
}
