//! Which series carry which label: an inverted index over small integers, and matchers evaluated on it.

use crate::{Cardinality, Matcher};
use ahash::AHashMap;
use roaring::RoaringBitmap;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A set of series. Most label values of a busy host belong to a handful, where a bitmap would cost ten times the space.
#[derive(Clone, Debug)]
enum Members {
    Few(SmallVec<[u32; 4]>),
    Many(Box<RoaringBitmap>),
}

/// Beyond this a bitmap is smaller and faster.
const FEW: usize = 16;

impl Members {
    fn insert(&mut self, id: u32) {
        match self {
            Self::Few(ids) => {
                if !ids.contains(&id) {
                    ids.push(id);
                }
                if ids.len() > FEW {
                    *self = Self::Many(Box::new(ids.iter().copied().collect()));
                }
            }
            Self::Many(bitmap) => {
                bitmap.insert(id);
            }
        }
    }

    fn remove(&mut self, id: u32) {
        match self {
            Self::Few(ids) => ids.retain(|present| *present != id),
            Self::Many(bitmap) => {
                bitmap.remove(id);
            }
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Few(ids) => ids.len() as u64,
            Self::Many(bitmap) => bitmap.len(),
        }
    }

    fn any(&self, mut holds: impl FnMut(u32) -> bool) -> bool {
        match self {
            Self::Few(ids) => ids.iter().any(|id| holds(*id)),
            Self::Many(bitmap) => bitmap.iter().any(holds),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Few(ids) => ids.is_empty(),
            Self::Many(bitmap) => bitmap.is_empty(),
        }
    }

    fn add_to(&self, set: &mut RoaringBitmap) {
        match self {
            Self::Few(ids) => set.extend(ids.iter().copied()),
            Self::Many(bitmap) => *set |= &**bitmap,
        }
    }
}

/// Label name to value to series.
#[derive(Debug, Default)]
pub struct Postings {
    names: AHashMap<Arc<str>, BTreeMap<Arc<str>, Members>>,
    all: RoaringBitmap,
}

impl Postings {
    pub fn insert<'a>(&mut self, id: u32, labels: impl IntoIterator<Item = &'a (Arc<str>, Arc<str>)>) {
        self.all.insert(id);
        for (name, value) in labels {
            if !self.names.contains_key(name) {
                self.names.insert(name.clone(), BTreeMap::new());
            }
            let Some(values) = self.names.get_mut(name) else { continue };
            match values.get_mut(value) {
                Some(members) => members.insert(id),
                None => {
                    values.insert(value.clone(), Members::Few(SmallVec::from_slice(&[id])));
                }
            }
        }
    }

    pub fn remove<'a>(&mut self, id: u32, labels: impl IntoIterator<Item = &'a (Arc<str>, Arc<str>)>) {
        self.all.remove(id);
        for (name, value) in labels {
            let Some(values) = self.names.get_mut(name) else { continue };
            if let Some(members) = values.get_mut(value) {
                members.remove(id);
                if members.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// Label names of series that `holds` is true of; the first such series settles it.
    pub fn names_with(&self, holds: impl Fn(u32) -> bool) -> impl Iterator<Item = &str> {
        self.names.iter().filter(move |(_, values)| values.values().any(|members| members.any(&holds))).map(|(name, _)| &**name)
    }

    /// Values of one label, likewise.
    pub fn values_with(&self, name: &str, holds: impl Fn(u32) -> bool) -> impl Iterator<Item = &str> {
        let values = self.names.get(name).into_iter().flatten();
        values.filter(move |(_, members)| members.any(&holds)).map(|(value, _)| &**value)
    }

    pub fn cardinality(&self, top: usize) -> Cardinality {
        let values =
            self.names.iter().flat_map(|(name, values)| values.iter().map(move |(value, members)| (name, value, members)));
        Cardinality::of(self.all.len(), values.map(|(name, value, members)| (&**name, &**value, members.len())), top)
    }

    /// Series that satisfy every matcher; all of them if there is none.
    pub fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        select(matchers, &self.all, |name, wanted| {
            let mut set = RoaringBitmap::new();
            if let Some(values) = self.names.get(name) {
                match wanted {
                    Wanted::Exactly(value) => {
                        if let Some(members) = values.get(value) {
                            members.add_to(&mut set);
                        }
                    }
                    Wanted::Where(predicate) => {
                        values.iter().filter(|(value, _)| predicate(value)).for_each(|(_, members)| members.add_to(&mut set));
                    }
                }
            }
            set
        })
    }
}

/// Which values of a label are asked for.
pub enum Wanted<'a> {
    Exactly(&'a str),
    Where(&'a dyn Fn(&str) -> bool),
}

/// Evaluates matchers over any inverted index: `lookup` returns the series whose label has one of the wanted values. A
/// matcher that accepts the empty value also accepts series without the label, so its complement is looked up.
pub fn select(matchers: &[Matcher], all: &RoaringBitmap, lookup: impl Fn(&str, Wanted<'_>) -> RoaringBitmap) -> RoaringBitmap {
    let mut selected: Option<RoaringBitmap> = None;
    // Equalities first: they are cheap and leave little for the rest.
    let (equal, other): (Vec<&Matcher>, Vec<&Matcher>) =
        matchers.iter().partition(|matcher| matcher.op == crate::MatchOp::Equal && !matcher.value.is_empty());
    for matcher in equal {
        let found = lookup(&matcher.name, Wanted::Exactly(&matcher.value));
        selected = Some(selected.map_or_else(|| found.clone(), |before| before & &found));
    }
    for matcher in other {
        if selected.as_ref().is_some_and(RoaringBitmap::is_empty) {
            break;
        }
        let before = selected.take().unwrap_or_else(|| all.clone());
        selected = Some(if matcher.matches("") {
            before - lookup(&matcher.name, Wanted::Where(&|value| !matcher.matches(value)))
        } else {
            before & lookup(&matcher.name, Wanted::Where(&|value| matcher.matches(value)))
        });
    }
    selected.unwrap_or_else(|| all.clone())
}
