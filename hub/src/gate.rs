//! What reads the store at length takes a place first: so many at once, the others wait for a while. Who asked gets an
//! answer in time; work that lasts longer keeps its place until it ends, so that it cannot pile up.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Clone, Debug)]
pub struct Gate {
    places: Arc<Semaphore>,
    count: usize,
    /// How long one waits for a place.
    patience: Duration,
    /// How long one waits for the answer.
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    Busy {
        places: usize,
        waited: Duration,
    },
    Late {
        after: Duration,
    },
    /// Answers that nobody read yet leave no room for another.
    Full {
        waited: Duration,
    },
    /// The work panicked.
    Broken,
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy { places, waited } => {
                let waited = waited.as_secs();
                write!(out, "{places} requests of the kind are running and none ended within {waited} s; try again later")
            }
            Self::Late { after } => write!(out, "there was no answer within {} s; ask for less at once", after.as_secs()),
            Self::Full { waited } => {
                let waited = waited.as_secs();
                write!(out, "answers on their way fill the memory there is for them, for {waited} s now; try again later")
            }
            Self::Broken => write!(out, "a fault of this program broke the request; its log tells of it, please report it"),
        }
    }
}

impl Gate {
    pub fn new(count: usize, patience: Duration, timeout: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(count)), count, patience, timeout }
    }

    /// A place; waits for one a while.
    pub async fn place(&self) -> Result<OwnedSemaphorePermit, Unanswered> {
        match tokio::time::timeout(self.patience, self.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Unanswered::Busy { places: self.count, waited: self.patience }),
        }
    }

    /// Does work that reads the store, off the threads that serve connections.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Unanswered> {
        let place = self.place().await?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(place);
            result
        });
        match tokio::time::timeout(self.timeout, done).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(Unanswered::Broken),
            Err(_) => Err(Unanswered::Late { after: self.timeout }),
        }
    }
}

impl Unanswered {
    /// When to come again, seconds.
    pub fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::Busy { waited, .. } | Self::Full { waited } => Some(waited.as_secs().max(1) as u32),
            Self::Late { .. } | Self::Broken => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[tokio::test]
    async fn late_work_keeps_its_place_until_it_ends() {
        let gate = Gate::new(1, Duration::from_millis(1), Duration::from_millis(1));
        let end = Arc::new(Barrier::new(2));
        let held = end.clone();
        let late = gate.run(move || held.wait().is_leader()).await;
        assert!(matches!(late, Err(Unanswered::Late { .. })), "{late:?}");
        assert!(matches!(gate.place().await, Err(Unanswered::Busy { places: 1, .. })));
        end.wait();
        let patient = Gate { patience: Duration::from_secs(30), timeout: Duration::from_secs(30), ..gate };
        assert_eq!(patient.run(|| 7).await, Ok(7));
        assert_eq!(patient.run(|| -> u8 { panic!("broken") }).await, Err(Unanswered::Broken));
        assert_eq!(patient.run(|| 8).await, Ok(8), "a panic gives its place back");
    }
}
