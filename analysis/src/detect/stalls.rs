//! Short stalls that come again and again: each is over before most of a few samples hold it, and yet somebody waits every
//! few seconds. Counted are samples that stand out far by themselves, against how many of them are usual.

use serde::{Deserialize, Serialize};

/// Samples looked back at: five minutes at 5 s.
const LAST: u32 = 60;
/// So many of them at least, beside so many times as many as usual.
const FEWEST: f32 = 10.0;
const TIMES: f32 = 3.0;
/// Or, where hardly any are usual, half of the last minute's samples.
const SOON: u32 = 12;
const FEWEST_SOON: f32 = 5.5;
/// So many more than usual say that those go on that were told.
const GOING_ON: f32 = 3.0;
/// Samples without any between two that belong together: a minute at 5 s.
const LONGEST_PAUSE: u32 = 12;
/// How much of those that end becomes usual: what pauses and comes again must not be told for ever.
const TAUGHT: f32 = 0.1;
/// Before so many samples nothing is told: what stalled from the start is how the service lives.
const FIRST: u32 = 120;
/// Samples over which it is learnt how many are usual: three hours at 5 s.
const MEMORY: u32 = 2_160;

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Stalls {
    /// One bit a sample, the newest lowest.
    bits: u64,
    /// Usual share of samples that stand out.
    share: f32,
    samples: u32,
    /// They are what is told now.
    #[serde(default)]
    told: bool,
}

impl Stalls {
    /// One more sample; `usual` if it may teach how many are usual.
    pub fn note(&mut self, stands_out: bool, usual: bool) {
        // Later they teach only when they are no longer looked at, so that they do not hide themselves.
        let taught = if self.samples < FIRST { stands_out } else { self.bits >> (LAST - 1) == 1 };
        self.bits = (self.bits << 1 | u64::from(stands_out)) & ((1 << LAST) - 1);
        if usual {
            self.samples = self.samples.saturating_add(1);
            self.share += (f32::from(u8::from(taught)) - self.share) / self.samples.min(MEMORY) as f32;
        }
    }

    pub fn are_many(&self) -> bool {
        let exceed = |fewest: f32, last: u32| {
            let stalls = (self.bits & ((1 << last) - 1)).count_ones() as f32;
            // Usual ones come together: the last minute may hold all those of five.
            stalls >= fewest + TIMES * LAST as f32 * self.share
        };
        self.samples >= FIRST && (exceed(FEWEST, LAST) || exceed(FEWEST_SOON, SOON))
    }

    /// An anomaly begins: are stalls what it is of?
    pub fn begin(&mut self, told: bool) {
        self.told = told;
        if !told {
            self.bits = 0;
        }
    }

    /// Whether those go on that were told. Lone ones prolong nothing else.
    pub fn go_on(&self) -> bool {
        self.told && self.bits.count_ones() as f32 >= GOING_ON + TIMES * LAST as f32 * self.share
    }

    /// Samples since the first of those that come together.
    pub fn age(&self) -> u32 {
        let mut age = 0;
        for at in (0..LAST).filter(|at| self.bits >> at & 1 == 1) {
            if at - age > LONGEST_PAUSE {
                break;
            }
            age = at;
        }
        age
    }

    /// How many are usual, for another process of the same service.
    pub fn of_another(&self) -> Self {
        Self { bits: 0, told: false, ..*self }
    }

    /// Others suffer: what stalls now says nothing.
    pub fn forget(&mut self) {
        self.bits = 0;
    }

    /// The anomaly is over.
    pub fn end(&mut self) {
        if self.told {
            self.share += TAUGHT * (self.lately() - self.share).max(0.0);
        }
        (self.bits, self.told) = (0, false);
    }

    /// As many as there were lately are usual from now on.
    pub fn become_usual(&mut self) {
        self.share = self.share.max(self.lately());
        (self.bits, self.told) = (0, false);
    }

    fn lately(&self) -> f32 {
        self.bits.count_ones() as f32 / LAST as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sample at which they are many, if one in `every` stands out after `quiet` that do not.
    fn many_after(every: u32, quiet: u32) -> Option<u32> {
        let mut stalls = Stalls::default();
        (0..quiet).for_each(|_| stalls.note(false, true));
        (1..=600).find(|index| {
            stalls.note(index % every == 0, true);
            stalls.are_many()
        })
    }

    #[test]
    fn those_that_come_again_are_many_and_lone_ones_are_not() {
        assert_eq!(many_after(2, 300), Some(12));
        assert_eq!(many_after(5, 300), Some(50));
        assert_eq!(many_after(20, 300), None);
    }

    #[test]
    fn what_always_stalled_is_usual_until_it_stalls_far_more() {
        let mut stalls = Stalls::default();
        for index in 0..3_000 {
            stalls.note(index % 10 == 0, true);
            assert!(!stalls.are_many(), "sample {index}");
        }
        (0..60).for_each(|index| stalls.note(index % 2 == 0, true));
        assert!(stalls.are_many());
        assert_eq!(stalls.age(), 59);
    }

    #[test]
    fn a_lone_one_long_before_does_not_belong_to_them() {
        let mut stalls = Stalls::default();
        (0..300).for_each(|_| stalls.note(false, true));
        stalls.note(true, true);
        (0..20).for_each(|_| stalls.note(false, true));
        (0..20).for_each(|index| stalls.note(index % 2 == 1, true));
        assert!(stalls.are_many());
        assert_eq!(stalls.age(), 18);
    }

    #[test]
    fn what_stalls_from_some_time_on_is_told_a_few_times_only() {
        let mut stalls = Stalls::default();
        (0..300).for_each(|_| stalls.note(false, true));
        let mut told = 0;
        // A fifth, in bursts that pause: each burst is an anomaly of its own.
        for index in 0..17_280 {
            stalls.note(index % 120 < 40 && index % 2 == 0, true);
            if stalls.are_many() {
                told += 1;
                stalls.begin(true);
                stalls.end();
            }
        }
        assert!((1..=20).contains(&told), "{told} in a day");
    }

    #[test]
    fn they_prolong_only_what_is_told_of_them() {
        let mut stalls = Stalls::default();
        (0..300).for_each(|_| stalls.note(false, true));
        stalls.begin(false);
        (0..8).for_each(|_| stalls.note(true, false));
        assert!(!stalls.go_on());
        stalls.begin(true);
        assert!(stalls.go_on());
    }
}
