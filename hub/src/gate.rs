//! What reads the store at length takes a place first: so many at once, the others wait for a while. Who asked gets an
//! answer in time; work that lasts longer keeps its place until it ends, so that it cannot pile up. Each gate has threads of
//! its own, which may stand behind others: detection and health go on however much is asked.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

/// A thread that has nothing to do stays for so long: pages ask every few seconds, and what ended threads held in memory
/// comes back late.
pub const THREAD_PATIENCE: Duration = Duration::from_secs(300);

const MOST_NICE: i32 = 19;

/// How far the work of a gate stands behind everything else, as niceness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// It is waited for.
    First,
    /// People look at it: about a third of the share of the former.
    Pages,
    /// About a tenth.
    Queries,
}

impl Rank {
    const fn niceness(self) -> i32 {
        match self {
            Self::First => 0,
            Self::Pages => 5,
            Self::Queries => 10,
        }
    }

    /// Puts the calling thread there, for good.
    fn take(self) {
        if self != Self::First
            && let Err(error) = rustix::process::getpriority_process(None)
                .and_then(|own| rustix::process::setpriority_process(None, (own + self.niceness()).min(MOST_NICE)))
        {
            tracing::debug!(%error, "a thread of the hub keeps its priority");
        }
    }
}

/// Threads of one rank, which come as they are needed.
#[derive(Debug)]
struct Threads(Option<Runtime>);

impl Threads {
    fn new(count: usize, rank: Rank) -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        // Writing an answer may begin before the thread that made it is free.
        builder.max_blocking_threads(2 * count).thread_keep_alive(THREAD_PATIENCE);
        builder.thread_name("gala-hub-work").on_thread_start(move || rank.take());
        Self(builder.build().ok())
    }

    fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        match &self.0 {
            Some(own) => own.spawn_blocking(work),
            None => tokio::task::spawn_blocking(work),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // The last who holds them may be at work in another runtime, where nothing may wait for their end.
        if let Some(own) = self.0.take() {
            own.shutdown_background();
        }
    }
}

#[derive(Clone, Debug)]
pub struct Gate {
    places: Arc<Semaphore>,
    count: usize,
    /// How long one waits for a place.
    patience: Duration,
    /// How long one waits for the answer.
    timeout: Duration,
    threads: Arc<Threads>,
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
    pub fn new(count: usize, rank: Rank, patience: Duration, timeout: Duration) -> Self {
        let (places, threads) = (Arc::new(Semaphore::new(count)), Arc::new(Threads::new(count, rank)));
        Self { places, count, patience, timeout, threads }
    }

    /// A place; waits for one a while.
    pub async fn place(&self) -> Result<OwnedSemaphorePermit, Unanswered> {
        match tokio::time::timeout(self.patience, self.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Unanswered::Busy { places: self.count, waited: self.patience }),
        }
    }

    /// Does the work of who holds a place.
    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        self.threads.spawn(work)
    }

    /// Does work that reads the store, off the threads that serve connections.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Unanswered> {
        let place = self.place().await?;
        let done = self.spawn(move || {
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
        let gate = Gate::new(1, Rank::Pages, Duration::from_millis(1), Duration::from_millis(1));
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
    #[tokio::test]
    async fn each_rank_has_threads_of_its_own() {
        let second = Duration::from_secs(30);
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let own = nice();
        for rank in [Rank::First, Rank::Pages, Rank::Queries] {
            let gate = Gate::new(2, rank, second, second);
            assert_eq!(gate.run(nice).await, Ok((own + rank.niceness()).min(MOST_NICE)), "{rank:?}");
        }
        assert_eq!(tokio::task::spawn_blocking(nice).await.unwrap(), own, "nobody else's thread is touched");
    }
}
