//! Label names and values, and how many series stand behind them: answered from the indexes of head and blocks, never by
//! reading samples or putting label sets together.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::block::{Block, BlockIndex};
use crate::head::Head;
use crate::query::Gathering;
use crate::{Cardinality, Matcher, Store, StoreError, TimeRange};

/// The label whose values are the metric names: asked for by every query editor.
const METRIC: &str = "__name__";

impl Store {
    pub(crate) fn find_label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, StoreError> {
        let mut names: BTreeSet<String> = BTreeSet::new();
        let blocks = if matchers.is_empty() {
            self.look(range, |head| {
                names.extend(head.postings.names_with(|slot| has_samples(head, slot, range)).map(str::to_owned));
            })
        } else {
            let (found, blocks) = self.matching(matchers, range)?;
            let found: BTreeSet<&str> = found.series.iter().flat_map(|one| one.labels.iter()).map(|(name, _)| name).collect();
            names.extend(found.into_iter().map(str::to_owned));
            blocks
        };
        for block in &blocks {
            if matchers.is_empty() && is_within(block, range) {
                names.extend(self.names_of(block).labels.iter().map(ToString::to_string));
            } else if let Some(index) = self.index_of(block) {
                names.extend(index.label_names(series_in(&index, matchers, range)).map(str::to_owned));
            }
            self.trim_index_cache();
        }
        Ok(names.into_iter().collect())
    }

    pub(crate) fn find_label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, StoreError> {
        let mut values: BTreeSet<String> = BTreeSet::new();
        let blocks = if matchers.is_empty() {
            self.look(range, |head| {
                values.extend(head.postings.values_with(name, |slot| has_samples(head, slot, range)).map(str::to_owned));
            })
        } else {
            let (found, blocks) = self.matching(matchers, range)?;
            let found: BTreeSet<&str> = found.series.iter().filter_map(|one| one.labels.get(name)).collect();
            values.extend(found.into_iter().map(str::to_owned));
            blocks
        };
        for block in &blocks {
            if name == METRIC && matchers.is_empty() && is_within(block, range) {
                values.extend(self.names_of(block).metrics.iter().map(ToString::to_string));
            } else if let Some(index) = self.index_of(block) {
                values.extend(index.label_values(name, series_in(&index, matchers, range)).map(str::to_owned));
            }
            self.trim_index_cache();
        }
        Ok(values.into_iter().collect())
    }

    /// Of the series that report now.
    pub(crate) fn count_labels(&self, top: usize) -> Cardinality {
        let head = self.head.read();
        let mut counts = head.postings.cardinality(top);
        let range = head.range();
        (counts.oldest_ms, counts.newest_ms) = (range.map(|range| range.0), range.map(|range| range.1));
        counts
    }

    /// Label sets of the head's series that match and have samples in the range, and the blocks that belong to them.
    fn matching(&self, matchers: &[Matcher], range: TimeRange) -> Result<(Gathering, Vec<Arc<Block>>), StoreError> {
        let mut found = Gathering::default();
        let blocks = self.gather_head(matchers, range, &mut found, |_, _, _, _| Ok(()))?;
        Ok((found, blocks))
    }

    /// Looks at the head and answers the blocks that belong to exactly that state of it.
    fn look(&self, range: TimeRange, look: impl FnOnce(&Head)) -> Vec<Arc<Block>> {
        let head = self.head.read();
        look(&head);
        let blocks = self.blocks.read().clone();
        blocks.iter().filter(|block| block.overlaps(range)).cloned().collect()
    }

    /// Label and metric names of a block, kept beside it once they are known: they are few.
    fn names_of(&self, block: &Block) -> Arc<BlockNames> {
        block.names(|| {
            let index = self.index_of(block)?;
            let all = || 0..index.series_count() as u32;
            let own = |names: &mut dyn Iterator<Item = &str>| names.map(Box::from).collect();
            Some(BlockNames { labels: own(&mut index.label_names(all())), metrics: own(&mut index.label_values(METRIC, all())) })
        })
    }
}

/// What a block is asked for most.
#[derive(Debug, Default)]
pub(crate) struct BlockNames {
    pub labels: Vec<Box<str>>,
    pub metrics: Vec<Box<str>>,
}

fn has_samples(head: &Head, slot: u32, range: TimeRange) -> bool {
    head.get(slot).is_some_and(|series| series.has_samples(range))
}

fn is_within(block: &Block, range: TimeRange) -> bool {
    block.footer.min_t_ms >= range.from_ms && block.footer.max_t_ms <= range.to_ms
}

/// Series of a block that match and have samples around the range.
fn series_in<'a>(index: &'a BlockIndex, matchers: &[Matcher], range: TimeRange) -> impl Iterator<Item = u32> + 'a {
    let selected = (!matchers.is_empty()).then(|| index.select(matchers));
    let all = 0..index.series_count() as u32;
    all.filter(move |series| selected.as_ref().is_none_or(|selected| selected.contains(*series)))
        .filter(move |series| index.touches(*series, range))
}
