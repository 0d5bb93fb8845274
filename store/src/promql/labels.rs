//! Changes to label sets, each building one new set, and their text.

use crate::Labels;

use super::literal::{is_plain_label, quote};

/// Any text but the empty one; bytes that are no UTF-8 have become replacement characters by now.
pub(super) fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('\u{fffd}')
}

/// Labels that describe the metric rather than the series; they go with the name.
fn is_reserved(name: &str) -> bool {
    matches!(name, "__name__" | "__type__" | "__unit__")
}

pub(super) fn keep(labels: &Labels, wanted: impl Fn(&str) -> bool) -> Labels {
    Labels(labels.0.iter().filter(|(name, _)| wanted(name)).cloned().collect())
}

pub(super) fn without_name(labels: &Labels) -> Labels {
    if labels.iter().any(|(name, _)| is_reserved(name)) { keep(labels, |name| !is_reserved(name)) } else { labels.clone() }
}

/// Sets a label; an empty value removes it.
pub(super) fn set(labels: &Labels, name: &str, value: &str) -> Labels {
    let others = labels.0.iter().filter(|(key, _)| &**key != name).cloned();
    Labels::new(others.chain(std::iter::once((name.into(), value.into()))))
}

pub(super) fn empty() -> Labels {
    Labels([].into())
}

/// The part of the labels two series are matched by.
pub(super) fn matched(labels: &Labels, on: bool, names: &[String]) -> Labels {
    let is_named = |name: &str| names.iter().any(|wanted| wanted == name);
    if on { keep(labels, is_named) } else { keep(labels, |name| name != "__name__" && !is_named(name)) }
}

/// A label set as Prometheus prints it: `{__name__="up", job="x"}`.
pub fn show(labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| {
            let name = if is_plain_label(name) { name.to_string() } else { quote(name) };
            format!("{name}={}", quote(value))
        })
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

/// A number in 0..1 that depends on the labels alone, the same on every machine and in every run.
pub(super) fn fraction(labels: &Labels) -> f64 {
    // FNV-1a, then the finalizer of SplitMix64 so that similar labels lie far apart.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for (name, value) in labels.iter() {
        for byte in name.bytes().chain([0xff]).chain(value.bytes()).chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    hash as f64 / u64::MAX as f64
}
