//! Merging blocks: neighbours of one window of time become one block, so that files stay few and compress well.

use crate::block::{Block, BlockIndex, BlockReader, BlockWriter, ReadError, read::block_name};
use crate::open::set_block_aside;
use crate::store::now_ms;
use crate::upkeep::open_own;
use crate::wal::io_error;
use crate::{Labels, Sample, Store, StoreError, TimeRange};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// So many neighbours in one window are merged before it is over.
const CROWD: usize = 4;
/// Blocks are merged within windows of these lengths once a window is over.
const WINDOWS_MS: [i64; 2] = [2 * 3_600_000, 12 * 3_600_000];
/// A merged block holds at most so many samples.
const MAX_MERGED_SAMPLES: u64 = 64_000_000;
/// Late samples of a window are waited for this long before it is merged.
const WINDOW_GRACE_MS: i64 = 60_000;

type Source = (Arc<Block>, Arc<BlockIndex>);

/// How writing a merged block ended.
enum Written {
    Whole,
    /// No sample was left to write.
    Nothing,
    Stopped,
}

impl Store {
    /// The next run of neighbouring blocks worth merging.
    pub(crate) fn mergeable(&self, now: i64) -> Option<Vec<Arc<Block>>> {
        let blocks = self.blocks.read().clone();
        WINDOWS_MS.into_iter().find_map(|window| {
            let over = |block: &Block| (block.footer.max_t_ms.div_euclid(window) + 1) * window + WINDOW_GRACE_MS <= now;
            let mut at = 0;
            while at < blocks.len() {
                let first = &blocks[at];
                let number = first.footer.max_t_ms.div_euclid(window);
                let in_window = |block: &Block| block.footer.max_t_ms.div_euclid(window) == number;
                let run = &blocks[at..at + self.run_length(&blocks[at..], in_window)];
                let largest = run.iter().map(|block| block.footer.samples).max().unwrap_or(0);
                let all: u64 = run.iter().map(|block| block.footer.samples).sum();
                // A large block is not rewritten for a few samples more.
                let worth = match over(first) {
                    true => run.len() >= 2 && (all - largest) * 8 >= largest,
                    false => run.len() >= CROWD && (all - largest) * 2 >= largest,
                };
                if worth {
                    return Some(run.to_vec());
                }
                at += run.len();
            }
            None
        })
    }

    /// How many of the first blocks may become one; at least one.
    fn run_length(&self, blocks: &[Arc<Block>], belongs: impl Fn(&Block) -> bool) -> usize {
        let Some(first) = blocks.first() else { return 0 };
        let mut samples = 0;
        let fits = |block: &&Arc<Block>| {
            samples += block.footer.samples;
            // A merged block takes the place of every segment in its name.
            let skips = self.unread.iter().any(|(from, to)| *from > first.from_segment && *to < block.from_segment);
            belongs(block) && !skips && samples <= MAX_MERGED_SAMPLES
        };
        blocks.iter().take_while(fits).count().max(1)
    }

    /// Merges neighbouring blocks into one; returns how many there were. Once `stop` is set it leaves all as it was. A block
    /// that turns out damaged is set aside and the others merged; one that cannot be read now keeps all from being merged.
    pub(crate) fn merge(&self, run: &[Arc<Block>], stop: &AtomicBool) -> Result<usize, StoreError> {
        let _one_at_a_time = self.progress.lock();
        let mut sources: Vec<Source> = Vec::new();
        for block in run {
            let index = block.index(&self.hasher);
            block.forget_index();
            match index {
                Ok(index) => sources.push((block.clone(), index)),
                Err(error) if error.io.is_some() => return Err(cannot_read(block, &error)),
                Err(error) => self.move_aside(block, error)?,
            }
        }
        let [(first, _), .., (last, _)] = sources.as_slice() else { return Ok(0) };
        let path = self.blocks_dir().join(block_name(first.from_segment, last.to_segment));
        let cutoff = now_ms().saturating_sub(self.retention_ms());
        let merged = match self.write_merged(&sources, &path, cutoff, stop)? {
            Written::Whole => Some(open_own(&path, self)?),
            Written::Nothing => None,
            Written::Stopped => return Ok(0),
        };
        self.change_blocks(|list| {
            list.retain(|block| !sources.iter().any(|(gone, _)| Arc::ptr_eq(gone, block)));
            list.extend(merged);
        });
        for (block, _) in sources.iter().filter(|(block, _)| block.path != path) {
            std::fs::remove_file(&block.path).map_err(|error| io_error("delete", &block.path, &error))?;
        }
        Ok(sources.len())
    }

    /// Takes a block whose index is damaged out of the store: the whole file is kept in the folder `damaged`.
    fn move_aside(&self, block: &Arc<Block>, error: ReadError) -> Result<(), StoreError> {
        let damage = set_block_aside(&self.options.dir, &block.path, error);
        if damage.set_aside.is_none() {
            return Err(StoreError::Io(format!(
                "block {} is damaged ({}) and cannot be moved to {}; blocks are not merged",
                block.path.display(),
                damage.reason,
                self.options.dir.join("damaged").display()
            )));
        }
        self.change_blocks(|list| list.retain(|other| !Arc::ptr_eq(other, block)));
        let mut known = self.damage.lock();
        match known.iter_mut().find(|known| known.file == damage.file && known.offset == damage.offset) {
            Some(known) => *known = damage,
            None => known.push(damage),
        }
        Ok(())
    }

    /// Streams all series of the sources, in label order, into one block.
    fn write_merged(&self, sources: &[Source], path: &Path, cutoff: i64, stop: &AtomicBool) -> Result<Written, StoreError> {
        let mut readers: Vec<BlockReader<'_>> = sources.iter().map(|(block, index)| BlockReader::new(block, index)).collect();
        let mut next: Vec<Option<Labels>> =
            sources.iter().map(|(_, index)| (index.series_count() > 0).then(|| index.labels(0))).collect();
        let mut positions = vec![0u32; sources.len()];
        let range = TimeRange { from_ms: cutoff, to_ms: i64::MAX };
        let write_error = |error: std::io::Error| io_error("write block", path, &error);
        let mut writer = BlockWriter::create(path).map_err(write_error)?;
        let mut samples: Vec<Sample> = Vec::new();
        while let Some(labels) = next.iter().flatten().min().cloned() {
            if stop.load(Ordering::Relaxed) {
                return Ok(Written::Stopped);
            }
            if let Err(error) = self.write_log_if_late() {
                // Told by health; the next round tries again.
                tracing::debug!("{error}");
            }
            samples.clear();
            for (source, (block, index)) in sources.iter().enumerate() {
                if next[source].as_ref() != Some(&labels) {
                    continue;
                }
                let start = samples.len();
                for column in index.columns(positions[source]) {
                    match readers[source].column(column, range, &mut samples) {
                        Ok(()) => {}
                        Err(error) if error.io.is_some() => return Err(cannot_read(block, &error)),
                        Err(error) => self.report_damage(block, &error),
                    }
                }
                keep_ascending(&mut samples, start);
                positions[source] += 1;
                let position = positions[source];
                next[source] = ((position as usize) < index.series_count()).then(|| index.labels(position));
            }
            writer.series(&labels, &samples).map_err(write_error)?;
        }
        if writer.is_empty() {
            return Ok(Written::Nothing);
        }
        writer.finish().map_err(write_error)?;
        Ok(Written::Whole)
    }

    /// Merges everything there is into as few blocks as the size cap allows; for `gala store compact`.
    pub fn compact(&self) -> Result<usize, StoreError> {
        self.flush()?;
        let blocks = self.blocks.read().clone();
        let mut merged = 0;
        let mut at = 0;
        while at < blocks.len() {
            let length = self.run_length(&blocks[at..], |_| true);
            merged += self.merge(&blocks[at..at + length], &AtomicBool::new(false))?;
            at += length;
        }
        Ok(merged)
    }
}

fn cannot_read(block: &Block, error: &ReadError) -> StoreError {
    StoreError::Io(format!("cannot read block {} to merge it: {}; tried again in a minute", block.path.display(), error.reason))
}

/// Blocks of one series follow each other in time; should a damaged file break that, order wins.
fn keep_ascending(samples: &mut Vec<Sample>, start: usize) {
    let Some(last) = start.checked_sub(1).map(|index| samples[index].t_ms) else { return };
    if samples.get(start).is_some_and(|first| first.t_ms <= last) {
        let late: Vec<Sample> = samples.drain(start..).filter(|sample| sample.t_ms > last).collect();
        samples.extend(late);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SeriesRead, SeriesWrite, StoreOptions};
    use std::fs::OpenOptions;

    const ALL: TimeRange = TimeRange { from_ms: i64::MIN, to_ms: i64::MAX };

    /// A store of so many blocks, each with ten samples of one series.
    fn store_of(dir: &Path, blocks: i64) -> Store {
        let store = Store::open(StoreOptions::new(dir)).unwrap();
        let series = store.resolve(&Labels::new([("__name__", "up")])).unwrap();
        let start = now_ms() - 60_000;
        for block in 0..blocks {
            let samples: Vec<_> = (0..10).map(|step| (series, start + block * 10 + step, step as f64)).collect();
            store.append(&samples).unwrap();
            store.flush().unwrap();
        }
        store
    }

    fn served(store: &Store) -> usize {
        store.select(&[], ALL, usize::MAX).unwrap().iter().map(|series| series.samples.len()).sum()
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir.join("blocks")).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_merge_that_is_stopped_leaves_all_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_of(folder.path(), 3);
        let before = names(folder.path());
        let run = store.blocks.read().to_vec();
        assert_eq!(store.merge(&run, &AtomicBool::new(true)).unwrap(), 0);
        assert_eq!(names(folder.path()), before, "nothing new, nothing gone");
        assert_eq!(served(&store), 30);
        assert_eq!(store.merge(&run, &AtomicBool::new(false)).unwrap(), 3);
        assert_eq!((names(folder.path()).len(), served(&store)), (1, 30));
    }

    #[test]
    fn a_block_that_cannot_be_read_now_is_neither_merged_nor_lost() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_of(folder.path(), 3);
        let before = names(folder.path());
        let middle = store.blocks.read()[1].clone();
        let (mut unreadable, _) = Block::open(&middle.path, &store.hasher).unwrap();
        // Reading a file opened for writing fails, as a disk that has dropped out does.
        unreadable.file = OpenOptions::new().write(true).open(&middle.path).unwrap();
        store.change_blocks(|list| list[1] = Arc::new(unreadable));
        let error = store.compact().unwrap_err().to_string();
        assert!(error.contains("cannot read block") && error.contains(&*middle.path.to_string_lossy()), "{error}");
        assert_eq!(names(folder.path()), before, "nothing new, nothing gone");
        assert_eq!(served(&store), 20, "the rest is served");
        let reason = store.health().reason.unwrap();
        assert!(reason.contains("failed in the last minute") && reason.contains("Bad file descriptor"), "{reason}");
        assert!(store.damage().is_empty(), "what may be read another time is no damage: {:?}", store.damage());
        store.change_blocks(|list| list[1] = middle);
        assert_eq!((store.compact().unwrap(), served(&store)), (3, 30));
    }

    #[test]
    fn a_merged_block_never_takes_the_place_of_one_that_could_not_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store_of(folder.path(), 5);
        let middle = store.blocks.read()[2].clone();
        store.change_blocks(|list| list.retain(|block| !Arc::ptr_eq(block, &middle)));
        store.unread.push((middle.from_segment, middle.to_segment));
        assert_eq!(store.compact().unwrap(), 4);
        drop(store);
        assert_eq!(served(&Store::open(StoreOptions::new(folder.path())).unwrap()), 50);
    }
}
