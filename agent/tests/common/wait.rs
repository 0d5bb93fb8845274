//! The one way tests wait: for something to become so.

use std::time::{Duration, Instant};

/// Asks until there is an answer; `None` after half a minute.
pub fn poll<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = ask();
        if answer.is_some() || Instant::now() > deadline {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until it is so, or fails naming what was awaited.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    assert!(poll(|| is_so().then_some(())).is_some(), "{what} did not happen within 30 s");
}
