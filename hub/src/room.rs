//! Room for answers that are made and not sent yet: a client that reads slowly, or many that ask for much at once, must not
//! fill the memory. An answer takes room for its size before it is written and gives it back when the last of it has gone.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::gate::Unanswered;

/// Answers below this take no room: connections are bounded.
const SMALL_BYTES: usize = 64 << 10;
const UNIT_BYTES: usize = 1 << 10;
/// An answer is taken within this, however slowly its reader reads: others wait for its room.
const LONGEST: Duration = Duration::from_secs(120);
/// What is handed over at a time, so that its end can come in between.
const PART_BYTES: usize = 64 << 10;

#[derive(Clone, Debug)]
pub struct Room {
    units: Arc<Semaphore>,
    most: u32,
    /// How long one waits for others to be sent.
    patience: Duration,
}

/// What an answer takes until it is sent.
#[derive(Debug)]
pub struct Held {
    _units: Option<OwnedSemaphorePermit>,
}

/// An answer's bytes with their room.
struct Kept {
    text: String,
    _room: Held,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Room {
    pub fn new(bytes: usize, patience: Duration) -> Self {
        let most = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX);
        Self { units: Arc::new(Semaphore::new(most as usize)), most, patience }
    }

    /// Room for an answer of some size; one that is larger than all there is takes it alone.
    pub async fn take(&self, bytes: usize) -> Result<Held, Unanswered> {
        if bytes < SMALL_BYTES {
            return Ok(Held { _units: None });
        }
        let units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).min(self.most);
        match tokio::time::timeout(self.patience, self.units.clone().acquire_many_owned(units)).await {
            Ok(Ok(permit)) => Ok(Held { _units: Some(permit) }),
            _ => Err(Unanswered::Full { waited: self.patience }),
        }
    }
}

impl Held {
    /// The body that gives the room back with its end, which comes in time.
    pub fn body(self, text: String) -> Body {
        if self._units.is_none() {
            return Body::from(text);
        }
        self.within(text, LONGEST)
    }

    fn within(self, text: String, longest: Duration) -> Body {
        let bytes = Bytes::from_owner(Kept { text, _room: self });
        let until = Instant::now() + longest;
        let parts = (0..bytes.len()).step_by(PART_BYTES).map(move |at| match Instant::now() < until {
            true => Ok(bytes.slice(at..bytes.len().min(at + PART_BYTES))),
            false => Err(std::io::Error::from(std::io::ErrorKind::TimedOut)),
        });
        Body::from_stream(tokio_stream::iter(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_keeps_its_room_until_it_is_sent() {
        let room = Room::new(4 * SMALL_BYTES, Duration::from_millis(1));
        let body = room.take(3 * SMALL_BYTES).await.unwrap().body("text".to_owned());
        assert!(matches!(room.take(2 * SMALL_BYTES).await, Err(Unanswered::Full { .. })));
        assert!(room.take(SMALL_BYTES - 1).await.is_ok(), "a small one needs none");
        assert_eq!(axum::body::to_bytes(body, 10).await.unwrap(), "text");
        let all = room.take(100 * SMALL_BYTES).await;
        assert!(all.is_ok(), "it was given back, and a huge one takes all there is");
        assert!(room.take(SMALL_BYTES).await.is_err());
    }

    #[tokio::test]
    async fn an_answer_comes_whole_in_parts_and_ends_when_it_is_not_taken_in_time() {
        let room = Room::new(8 * SMALL_BYTES, Duration::from_millis(1));
        let text = "0123456789".repeat(PART_BYTES / 4);
        let whole = room.take(text.len()).await.unwrap().body(text.clone());
        assert_eq!(axum::body::to_bytes(whole, text.len()).await.unwrap(), text);
        let late = room.take(text.len()).await.unwrap().within(text.clone(), Duration::ZERO);
        assert!(axum::body::to_bytes(late, text.len()).await.is_err());
        assert!(room.take(8 * SMALL_BYTES).await.is_ok(), "its room is free again");
    }
}
