//! Keeps the analysis alive: a step that panics is tried again after a pause that grows, and the other steps go on
//! meanwhile. What came of each step is what the health answer tells.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Pauses after a panic: the first, doubled by each further one, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A part that did not get done for so many of its periods is late.
const LATE_PERIODS: u32 = 3;
/// A short period is no promise on a busy machine.
const LEAST_PATIENCE: Duration = Duration::from_secs(30);

/// One step of the analysis.
#[derive(Debug)]
pub struct Step {
    name: &'static str,
    panics: u32,
    resumes: Option<Instant>,
}

impl Step {
    pub const fn new(name: &'static str) -> Self {
        Self { name, panics: 0, resumes: None }
    }

    /// Does the work unless the step pauses; `Err` says what stopped it and when it is tried again.
    pub fn attempt(&mut self, work: impl FnOnce()) -> Result<(), String> {
        if self.resumes.is_some_and(|resumes| Instant::now() < resumes) {
            return Ok(());
        }
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(()) => {
                (self.panics, self.resumes) = (0, None);
                Ok(())
            }
            Err(panic) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << self.panics.min(8)).min(LONGEST_PAUSE);
                self.panics += 1;
                self.resumes = Some(Instant::now() + pause);
                let (reason, pause_s) = (message_of(&*panic), pause.as_secs());
                tracing::error!(step = self.name, %reason, pause_s, "a fault of this program stopped a step of the analysis");
                Err(format!("a fault of this program stopped it: {reason}; it is tried again {pause_s} s later"))
            }
        }
    }
}

/// What a panic said.
pub fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// What became of a step.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// When it last did its work, milliseconds since 1970.
    pub last_ms: Option<i64>,
    /// The same on a clock that nobody sets.
    ended: Option<Instant>,
    /// Empty when all went well.
    pub trouble: String,
}

impl Pass {
    pub fn done(&mut self, now_ms: i64, trouble: String) {
        *self = Self { last_ms: Some(now_ms), ended: Some(Instant::now()), trouble };
    }

    /// What is wrong, also if that is only that nothing was heard for too long.
    pub fn reason(&self, period: Duration, now: Instant) -> String {
        let age = self.ended.map_or(Duration::ZERO, |ended| now.saturating_duration_since(ended));
        if age <= (period * LATE_PERIODS).max(LEAST_PATIENCE) {
            return self.trouble.clone();
        }
        let late = format!("it was done last {} s ago and is due every {} s", age.as_secs(), period.as_secs_f64());
        if self.trouble.is_empty() { late } else { format!("{late}; {}", self.trouble) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_panics_says_why_pauses_and_comes_again() {
        let mut step = Step::new("detection");
        let reason = step.attempt(|| panic!("index {} is out of range", 7)).unwrap_err();
        assert!(reason.contains("index 7 is out of range") && reason.contains("5 s"), "{reason}");
        let mut did = false;
        step.attempt(|| did = true).unwrap();
        assert!(!did, "it pauses");
        step.resumes = Some(Instant::now());
        let reason = step.attempt(|| panic!("again")).unwrap_err();
        assert!(reason.contains("again") && reason.contains("10 s"), "{reason}");
        step.resumes = Some(Instant::now());
        step.attempt(|| did = true).unwrap();
        assert!(did);
        assert_eq!(step.panics, 0, "what works again has no past");
    }

    #[test]
    fn what_was_not_done_for_three_periods_is_late() {
        let mut pass = Pass::default();
        let period = Duration::from_secs(20);
        assert_eq!(pass.reason(period, Instant::now()), "", "before the first pass nothing is late");
        pass.done(1, String::new());
        let now = Instant::now();
        assert_eq!(pass.reason(period, now + Duration::from_secs(59)), "");
        let late = pass.reason(period, now + Duration::from_secs(62));
        assert!(late.contains("62 s ago") && late.contains("every 20 s"), "{late}");
        assert_eq!(pass.reason(Duration::from_millis(200), now + Duration::from_secs(20)), "", "a short period is no promise");
        pass.done(2, "the store could not be read".to_owned());
        let late = pass.reason(period, Instant::now() + Duration::from_secs(100));
        assert!(late.ends_with("; the store could not be read"), "{late}");
    }
}
