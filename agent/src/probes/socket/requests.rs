//! Requests that listeners gave up. The kernel tells when a SYN/ACK is sent again and when a connection comes of it, and how
//! many such requests wait: what is in none of these is gone.

use ahash::HashMap;

use super::layout::{Endpoint, Key};

/// One listener since it was first seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Balance {
    /// Requests repeated, less connections that came of them.
    open: i64,
    /// Gone at the last look.
    gone: i64,
    reported: i64,
}

#[derive(Default)]
pub struct Requests {
    listeners: HashMap<Key, Balance>,
}

impl Requests {
    /// What each listener gave up since the last call. Listeners that are not among the rows are forgotten: while one lives
    /// it has a row in every period.
    pub fn given_up<'a>(&mut self, rows: impl Iterator<Item = &'a (Key, Endpoint)>) -> HashMap<Key, u32> {
        let mut listeners = HashMap::default();
        let mut given_up = HashMap::default();
        for (key, endpoint) in rows {
            let (balance, news) = Balance::step(self.listeners.get(key).copied(), endpoint);
            listeners.insert(*key, balance);
            given_up.insert(*key, news);
        }
        self.listeners = listeners;
        given_up
    }
}

impl Balance {
    fn step(before: Option<Self>, endpoint: &Endpoint) -> (Self, u32) {
        let open = before.map_or(0, |before| before.open) + i64::from(endpoint.repeated) - i64::from(endpoint.repeated_opened);
        let gone = open - i64::from(endpoint.repeated_waiting);
        let Some(before) = before else {
            // What waits already was repeated before we looked.
            return (Self { open, gone, reported: gone }, 0);
        };
        // Counters and queue are read one after the other: only what is gone at two looks is gone.
        let sure = gone.min(before.gone);
        let news = (sure - before.reported).max(0);
        (Self { open, gone, reported: before.reported + news }, news as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(repeated: u32, repeated_opened: u32, repeated_waiting: u32) -> Endpoint {
        let mut endpoint = Endpoint::default();
        (endpoint.repeated, endpoint.repeated_opened, endpoint.repeated_waiting) = (repeated, repeated_opened, repeated_waiting);
        endpoint
    }

    fn run(periods: &[Endpoint]) -> Vec<u32> {
        let mut balance = None;
        let step = |endpoint: &Endpoint| {
            let (next, news) = Balance::step(balance, endpoint);
            balance = Some(next);
            news
        };
        periods.iter().map(step).collect()
    }

    #[test]
    fn what_neither_waits_nor_became_a_connection_was_given_up() {
        let periods = [period(0, 0, 0), period(5, 0, 5), period(0, 1, 4), period(0, 0, 1), period(0, 0, 0), period(0, 0, 0)];
        assert_eq!(run(&periods), [0, 0, 0, 0, 3, 1]);
    }

    #[test]
    fn requests_older_than_the_agent_count_when_they_go() {
        assert_eq!(run(&[period(0, 0, 3), period(0, 1, 2), period(0, 0, 0), period(0, 0, 0)]), [0, 0, 0, 2]);
    }

    #[test]
    fn a_queue_read_a_moment_early_is_no_loss() {
        // Repeated after the queue was read; then it waits, then it is a connection.
        assert_eq!(run(&[period(0, 0, 0), period(1, 0, 0), period(0, 0, 1), period(0, 1, 0), period(0, 0, 0)]), [0; 5]);
    }

    #[test]
    fn listeners_that_are_gone_are_forgotten() {
        let mut requests = Requests::default();
        requests.listeners.insert(crate::kernel::plain::read(&[0; 48]).unwrap(), Balance::default());
        assert!(requests.given_up([].iter()).is_empty() && requests.listeners.is_empty());
    }
}
