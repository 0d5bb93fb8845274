//! Reading blocks. Files are read at offsets into buffers, not mapped: a file cut by somebody else gives an error here
//! instead of a signal, and what was read does not count as memory of the process.

use super::column::Column;
use super::{BlockIndex, FOOTER_BYTES, Footer, MAGIC};
use crate::block::index::Group;
use crate::lookup::BlockNames;
use crate::varint::Reader;
use crate::{Sample, TimeRange};
use ahash::{AHashMap, RandomState};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Tokens of one group are never larger than this; more in an index is damage.
const MAX_GROUP_BYTES: u32 = 64 << 20;

/// What could not be read of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadError {
    pub offset: u64,
    pub bytes: u64,
    pub reason: String,
    /// Set if the system could not read, which may pass; absent if what was read is wrong.
    pub io: Option<ErrorKind>,
}

impl ReadError {
    fn wrong(offset: u64, bytes: u64, reason: impl ToString) -> Self {
        Self { offset, bytes, reason: reason.to_string(), io: None }
    }

    fn unread(offset: u64, bytes: u64, error: &std::io::Error) -> Self {
        // A file shorter than it says is a wrong file.
        let io = Some(error.kind()).filter(|kind| *kind != ErrorKind::UnexpectedEof);
        Self { offset, bytes, reason: error.to_string(), io }
    }
}

/// An open block file.
pub struct Block {
    pub path: PathBuf,
    /// Log segments whose samples it holds.
    pub from_segment: u64,
    pub to_segment: u64,
    pub footer: Footer,
    pub file_bytes: u64,
    pub(crate) file: File,
    index: Mutex<Option<Arc<BlockIndex>>>,
    names: OnceLock<Arc<BlockNames>>,
    /// Offsets of groups that failed their check, so that each is reported once.
    bad_groups: Mutex<BTreeSet<u64>>,
}

impl Block {
    /// Opens a block and checks footer and index (not the samples). The index is returned and not kept.
    pub fn open(path: &Path, hasher: &RandomState) -> Result<(Self, BlockIndex), ReadError> {
        let (from_segment, to_segment) =
            parse_name(path).ok_or_else(|| ReadError::wrong(0, 0, "the file name is not that of a block"))?;
        let file = File::open(path).map_err(|error| ReadError::unread(0, 0, &error))?;
        let file_bytes = file.metadata().map_err(|error| ReadError::unread(0, 0, &error))?.len();
        let whole = |reason: &str| ReadError::wrong(0, file_bytes, reason);
        let unread = |error: std::io::Error| ReadError::unread(0, file_bytes, &error);
        let mut start = [0; 8];
        let mut end = [0; FOOTER_BYTES];
        let footer_at = file_bytes.checked_sub(FOOTER_BYTES as u64).ok_or_else(|| whole("the file is cut"))?;
        file.read_exact_at(&mut end, footer_at).map_err(unread)?;
        let footer = Footer::from_bytes(&end).ok_or_else(|| {
            ReadError::wrong(footer_at, FOOTER_BYTES as u64, "the footer fails its check: the file is cut or overwritten")
        })?;
        file.read_exact_at(&mut start, 0).map_err(unread)?;
        if start != *MAGIC || footer.index_offset + u64::from(footer.index_bytes) != footer_at {
            return Err(whole("the file does not begin like a block"));
        }
        let block = Self {
            path: path.to_path_buf(),
            from_segment,
            to_segment,
            footer,
            file_bytes,
            file,
            index: Mutex::new(None),
            names: OnceLock::new(),
            bad_groups: Mutex::default(),
        };
        let index = block.read_index(hasher)?;
        Ok((block, index))
    }

    fn read_index(&self, hasher: &RandomState) -> Result<BlockIndex, ReadError> {
        let footer = &self.footer;
        let (offset, length) = (footer.index_offset, u64::from(footer.index_bytes));
        let wrong = |reason: &str| ReadError::wrong(offset, length, reason);
        let mut bytes = vec![0; footer.index_bytes as usize];
        self.file.read_exact_at(&mut bytes, offset).map_err(|error| ReadError::unread(offset, length, &error))?;
        if crc32fast::hash(&bytes) != footer.index_crc {
            return Err(wrong("the index fails its check"));
        }
        let raw = zstd::bulk::decompress(&bytes, footer.index_raw_bytes as usize).map_err(|error| wrong(&error.to_string()))?;
        BlockIndex::decode(&raw, hasher).ok_or_else(|| wrong("the index is not consistent"))
    }

    /// The index, from memory if it was asked for before.
    pub fn index(&self, hasher: &RandomState) -> Result<Arc<BlockIndex>, ReadError> {
        let mut kept = self.index.lock();
        if let Some(index) = &*kept {
            return Ok(index.clone());
        }
        let index = Arc::new(self.read_index(hasher)?);
        *kept = Some(index.clone());
        Ok(index)
    }

    /// Label and metric names, found once; what cannot be read is not remembered.
    pub fn names(&self, find: impl FnOnce() -> Option<BlockNames>) -> Arc<BlockNames> {
        if let Some(known) = self.names.get() {
            return known.clone();
        }
        match find() {
            Some(found) => self.names.get_or_init(|| Arc::new(found)).clone(),
            None => Arc::default(),
        }
    }

    /// Heap bytes of the index kept, and lets go of it.
    pub fn forget_index(&self) {
        *self.index.lock() = None;
    }

    pub fn index_heap_bytes(&self) -> usize {
        self.index.lock().as_ref().map_or(0, |index| index.heap_bytes())
    }

    pub fn overlaps(&self, range: TimeRange) -> bool {
        self.footer.min_t_ms <= range.to_ms && self.footer.max_t_ms >= range.from_ms
    }

    /// True the first time it is told of a bad group.
    pub fn is_news(&self, offset: u64) -> bool {
        self.bad_groups.lock().insert(offset)
    }

    /// Raw bytes, for setting damaged ones aside.
    pub fn raw(&self, offset: u64, bytes: u64) -> Vec<u8> {
        let available = self.file_bytes.saturating_sub(offset).min(bytes);
        let mut out = vec![0; available as usize];
        match self.file.read_exact_at(&mut out, offset) {
            Ok(()) => out,
            Err(_) => Vec::new(),
        }
    }

    fn group(&self, group: &Group, scratch: &mut Vec<u8>) -> Result<Decoded, ReadError> {
        let total = u64::from(group.frame_bytes) + u64::from(group.bit_bytes);
        let wrong = |reason: &str| ReadError::wrong(group.offset, total, reason);
        if group.token_bytes > MAX_GROUP_BYTES || group.offset + total > self.footer.index_offset {
            return Err(wrong("the index points outside the file"));
        }
        scratch.resize(total as usize, 0);
        self.file.read_exact_at(scratch, group.offset).map_err(|error| ReadError::unread(group.offset, total, &error))?;
        if crc32fast::hash(scratch) != group.crc {
            return Err(wrong("samples fail their check"));
        }
        let (frame, bits) = scratch.split_at(group.frame_bytes as usize);
        let tokens = zstd::bulk::decompress(frame, group.token_bytes as usize).map_err(|error| wrong(&error.to_string()))?;
        Ok(Decoded {
            offset: group.offset,
            bytes: total,
            tokens,
            bits: bits.to_vec(),
            places: Vec::new(),
            first_column: group.first_column,
        })
    }
}

/// Log segments named by a block's file name, `0000000001-0000000004.blk`.
pub fn parse_name(path: &Path) -> Option<(u64, u64)> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".blk")?;
    let (from, to) = stem.split_once('-')?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

pub fn block_name(from_segment: u64, to_segment: u64) -> String {
    format!("{from_segment:010}-{to_segment:010}.blk")
}

/// A group in memory, with where its columns begin.
struct Decoded {
    offset: u64,
    bytes: u64,
    tokens: Vec<u8>,
    bits: Vec<u8>,
    /// Start in tokens and in bits of each column found so far, and of the one after.
    places: Vec<(usize, usize)>,
    first_column: u32,
}

impl Decoded {
    fn error(&self) -> ReadError {
        ReadError::wrong(self.offset, self.bytes, "samples are not consistent with the index")
    }

    /// Parses the column with this number; `count_of` tells the length of each column of the group.
    fn column(&mut self, column: u32, count_of: impl Fn(u32) -> usize) -> Result<(Column<'_>, &[u8]), ReadError> {
        let wanted = (column - self.first_column) as usize;
        if self.places.is_empty() {
            self.places.push((0, 0));
        }
        while self.places.len() <= wanted {
            let known = self.places.len() - 1;
            let (token, bit) = self.places[known];
            let mut reader = Reader::new(&self.tokens[token..]);
            let Some(parsed) = Column::parse(&mut reader, count_of(self.first_column + known as u32)) else {
                return Err(self.error());
            };
            let next = (self.tokens.len() - reader.remaining(), bit + parsed.bit_bytes);
            self.places.push(next);
        }
        let (token, bit) = self.places[wanted];
        let parsed = Column::parse(&mut Reader::new(&self.tokens[token..]), count_of(column));
        let bits = parsed.as_ref().and_then(|parsed| self.bits.get(bit..bit + parsed.bit_bytes));
        match (parsed, bits) {
            (Some(parsed), Some(bits)) => Ok((parsed, bits)),
            _ => Err(self.error()),
        }
    }
}

/// Reads samples of one block for one query; keeps the last group and the shared times.
pub struct BlockReader<'a> {
    block: &'a Block,
    index: &'a BlockIndex,
    values: Option<Decoded>,
    time_group: Option<Decoded>,
    times: AHashMap<u32, Arc<[i64]>>,
    scratch: Vec<u8>,
    integers: Vec<i64>,
    doubles: Vec<f64>,
}

/// Time columns kept for one query; most blocks have a handful.
const MAX_KEPT_TIMES: usize = 256;

impl<'a> BlockReader<'a> {
    pub fn new(block: &'a Block, index: &'a BlockIndex) -> Self {
        Self {
            block,
            index,
            values: None,
            time_group: None,
            times: AHashMap::new(),
            scratch: Vec::new(),
            integers: Vec::new(),
            doubles: Vec::new(),
        }
    }

    fn times(&mut self, time: u32) -> Result<Arc<[i64]>, ReadError> {
        if let Some(known) = self.times.get(&time) {
            return Ok(known.clone());
        }
        if self.times.len() >= MAX_KEPT_TIMES {
            self.times.clear();
        }
        let index = self.index;
        load(self.block, &index.time_groups, &mut self.time_group, time, &mut self.scratch)?;
        let Some(group) = &mut self.time_group else { return Err(inconsistent()) };
        let error = group.error();
        let (column, bits) =
            group.column(time, |column| index.time_columns.get(column as usize).map_or(0, |times| times.count as usize))?;
        self.integers.clear();
        column.integers(bits, &mut self.integers).ok_or(error)?;
        let times: Arc<[i64]> = Arc::from(self.integers.as_slice());
        self.times.insert(time, times.clone());
        Ok(times)
    }

    /// Appends the samples of one value column that lie in the range.
    pub fn column(&mut self, column: u32, range: TimeRange, out: &mut Vec<Sample>) -> Result<(), ReadError> {
        let (time, bounds) = self.index.time_of(column);
        if bounds.min_t_ms > range.to_ms || bounds.max_t_ms < range.from_ms {
            return Ok(());
        }
        let times = self.times(time)?;
        let from = times.partition_point(|&t_ms| t_ms < range.from_ms);
        let to = times.partition_point(|&t_ms| t_ms <= range.to_ms);
        if from >= to {
            return Ok(());
        }
        let index = self.index;
        load(self.block, &index.value_groups, &mut self.values, column, &mut self.scratch)?;
        let Some(group) = &mut self.values else { return Err(inconsistent()) };
        let error = group.error();
        let count_of = |column: u32| {
            index.column_times.get(column as usize).map_or(0, |&time| index.time_columns[time as usize].count as usize)
        };
        let (parsed, bits) = group.column(column, count_of)?;
        self.doubles.clear();
        parsed.doubles(bits, &mut self.integers, &mut self.doubles).ok_or_else(|| error.clone())?;
        if self.doubles.len() != times.len() {
            return Err(error);
        }
        out.extend(times[from..to].iter().zip(&self.doubles[from..to]).map(|(&t_ms, &value)| Sample { t_ms, value }));
        Ok(())
    }
}

fn inconsistent() -> ReadError {
    ReadError::wrong(0, 0, "the index names columns that no group holds")
}

/// Makes `kept` the group that holds `column`.
fn load(
    block: &Block,
    groups: &[Group],
    kept: &mut Option<Decoded>,
    column: u32,
    scratch: &mut Vec<u8>,
) -> Result<(), ReadError> {
    let position = groups.partition_point(|group| group.first_column <= column).checked_sub(1).ok_or_else(inconsistent)?;
    let group = &groups[position];
    if kept.as_ref().is_some_and(|kept| kept.offset == group.offset) {
        return Ok(());
    }
    *kept = None;
    *kept = Some(block.group(group, scratch)?);
    Ok(())
}
