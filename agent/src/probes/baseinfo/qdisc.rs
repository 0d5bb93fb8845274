//! What the queues of interfaces dropped, held back and hold, asked over rtnetlink as `tc -s qdisc` does
//! (linux/rtnetlink.h, linux/pkt_sched.h, linux/gen_stats.h).

use std::collections::HashMap;

use netlink_sys::protocols::NETLINK_ROUTE;

use crate::netlink::{self, attributes, u32_at};
use crate::procfs::counter::grown;

const RTM_GETQDISC: u16 = 38;
/// Size of `struct tcmsg`, which comes before the attributes.
const MESSAGE: usize = 20;
/// Parent of the queue that takes all that an interface sends.
const ROOT: u32 = 0xffff_ffff;
const ATTRIBUTE_KIND: u16 = 1;
const ATTRIBUTE_STATS: u16 = 7;
const STATS_QUEUE: u16 = 3;
const STATS_OF_KIND: u16 = 4;

/// The root queue of an interface, its numbers since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Queue {
    kind: Vec<u8>,
    handle: u32,
    drops: u32,
    overlimits: u32,
    pub backlog_bytes: u32,
    /// Of all queues of the interface; `None` where no kind among them marks.
    pub ecn_marks: Option<u64>,
}

/// Of each interface of this network namespace by its index.
pub(super) type Queues = HashMap<u32, Queue>;

/// All of them now.
pub(super) fn queues() -> anyhow::Result<Queues> {
    let mut queues = Queues::new();
    netlink::dump(NETLINK_ROUTE, RTM_GETQDISC, &[0; MESSAGE], |message| {
        take(message, &mut queues);
    })?;
    Ok(queues)
}

impl Queue {
    /// Packets dropped since `before`.
    pub fn drops_since(&self, before: &Self) -> Option<u64> {
        self.since(before, |queue| queue.drops)
    }

    pub fn overlimits_since(&self, before: &Self) -> Option<u64> {
        self.since(before, |queue| queue.overlimits)
    }

    /// A queue that took another one's place has counted since then only.
    fn since(&self, before: &Self, count: impl Fn(&Self) -> u32) -> Option<u64> {
        if (&self.kind, self.handle) == (&before.kind, before.handle) {
            grown(count(before).into(), count(self).into())
        } else {
            Some(count(self).into())
        }
    }
}

fn take(message: &[u8], queues: &mut Queues) -> Option<()> {
    let (index, handle, parent) = (u32_at(message, 4)?, u32_at(message, 8)?, u32_at(message, 12)?);
    let of = |wanted: u16| attributes(message.get(MESSAGE..)?).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let name = of(ATTRIBUTE_KIND)?.strip_suffix(&[0])?;
    let stats = of(ATTRIBUTE_STATS)?;
    let part = |wanted: u16| attributes(stats).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let queue = queues.entry(index).or_default();
    if let Some(marks) = part(STATS_OF_KIND).and_then(|stats| ecn_marks(name, stats)) {
        *queue.ecn_marks.get_or_insert(0) += u64::from(marks);
    }
    if parent == ROOT {
        let numbers = part(STATS_QUEUE)?;
        (queue.kind, queue.handle) = (name.to_vec(), handle);
        queue.backlog_bytes = u32_at(numbers, 4)?;
        queue.drops = u32_at(numbers, 8)?;
        queue.overlimits = u32_at(numbers, 16)?;
    }
    Some(())
}

/// Packets marked instead of dropped: `struct tc_fq_codel_xstats`, `tc_codel_xstats`, `tc_red_xstats`.
fn ecn_marks(kind: &[u8], stats: &[u8]) -> Option<u32> {
    match kind {
        // The first field tells whose numbers follow: 0 for the queue's.
        b"fq_codel" if u32_at(stats, 0) == Some(0) => u32_at(stats, 12),
        b"codel" => u32_at(stats, 24),
        b"red" => u32_at(stats, 12),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    /// Of interface 3.
    fn message(handle: u32, parent: u32, kind: &[u8], numbers: [u32; 5], of_kind: &[u32]) -> Vec<u8> {
        let stats = [attribute(STATS_QUEUE, &words(&numbers)), attribute(STATS_OF_KIND, &words(of_kind))].concat();
        [words(&[0, 3, handle, parent, 0]), attribute(ATTRIBUTE_KIND, kind), attribute(ATTRIBUTE_STATS, &stats)].concat()
    }

    #[test]
    fn numbers_are_the_roots_and_marks_those_of_all_queues() {
        let mut queues = Queues::new();
        take(&message(0x8001_0000, ROOT, b"mq\0", [7, 900, 12, 1, 5], &[]), &mut queues).unwrap();
        for parent in [0x8001_0001, 0x8001_0002] {
            take(&message(0, parent, b"fq_codel\0", [1, 2, 3, 4, 5], &[0, 1500, 0, 21]), &mut queues).unwrap();
        }
        let queue = &queues[&3];
        assert_eq!((queue.drops, queue.overlimits, queue.backlog_bytes, queue.ecn_marks), (12, 5, 900, Some(42)));
        let classes = message(0, ROOT, b"fq_codel\0", [0; 5], &[1, 1500, 0, 21]);
        assert_eq!(take(&classes, &mut queues), Some(()));
        assert_eq!(queues[&3].ecn_marks, Some(42), "numbers of a class, not of the queue");
        assert_eq!(take(&classes[..40], &mut queues), None, "cut off");
    }

    #[test]
    fn a_queue_in_anothers_place_counts_from_its_beginning() {
        let queue = |kind: &[u8], handle, drops| Queue { kind: kind.to_vec(), handle, drops, ..Queue::default() };
        assert_eq!(queue(b"netem", 1, 12).drops_since(&queue(b"netem", 1, 5)), Some(7));
        assert_eq!(queue(b"netem", 2, 3).drops_since(&queue(b"netem", 1, 5)), Some(3));
        assert_eq!(queue(b"netem", 0, 9).drops_since(&queue(b"noqueue", 0, 0)), Some(9));
        assert_eq!(queue(b"netem", 1, 2).drops_since(&queue(b"netem", 1, 5)), None);
    }
}
