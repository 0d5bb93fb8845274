//! Writing a block: series in label order, each with all its samples, streamed to a temporary file that gets its name
//! only when everything in it is on disk.

use super::column::{Scratch, encode_doubles, encode_integers};
use super::index::{Group, IndexBuilder, TimeColumn};
use super::{Footer, MAGIC, MAX_COLUMN};
use crate::wal::sync_dir;
use crate::{Labels, Sample};
use ahash::{AHashMap, RandomState};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Tokens in a group: large enough for the entropy coder, small enough to decode for one series.
const GROUP_TOKENS: usize = 32 << 10;
const GROUP_BITS: usize = 512 << 10;
/// Higher levels gain nothing on tokens.
const TOKEN_LEVEL: i32 = 1;
const INDEX_LEVEL: i32 = 9;

#[derive(Default)]
struct Gathering {
    tokens: Vec<u8>,
    bits: Vec<u8>,
    first_column: u32,
    columns: u32,
}

pub struct BlockWriter {
    path: PathBuf,
    temporary: PathBuf,
    out: BufWriter<File>,
    offset: u64,
    builder: IndexBuilder,
    values: Gathering,
    times: Gathering,
    /// Columns of times already written, by a 128-bit hash under random keys.
    known_times: AHashMap<(u64, u64), u32>,
    hashers: (RandomState, RandomState),
    scratch: Scratch,
    compressor: zstd::bulk::Compressor<'static>,
    column_times: Vec<i64>,
    column_values: Vec<f64>,
    samples: u64,
    bounds: (i64, i64),
}

impl BlockWriter {
    /// `path` is the final name.
    pub fn create(path: &Path) -> io::Result<Self> {
        let temporary = path.with_extension("tmp");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let mut out = BufWriter::with_capacity(256 << 10, file);
        out.write_all(MAGIC)?;
        Ok(Self {
            path: path.to_path_buf(),
            temporary,
            out,
            offset: MAGIC.len() as u64,
            builder: IndexBuilder::new(),
            values: Gathering::default(),
            times: Gathering::default(),
            known_times: AHashMap::new(),
            hashers: (RandomState::new(), RandomState::new()),
            scratch: Scratch::default(),
            compressor: zstd::bulk::Compressor::new(TOKEN_LEVEL)?,
            column_times: Vec::new(),
            column_values: Vec::new(),
            samples: 0,
            bounds: (i64::MAX, i64::MIN),
        })
    }

    pub fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// Adds a series after all with smaller labels; its samples ascend in time.
    pub fn series(&mut self, labels: &Labels, samples: &[Sample]) -> io::Result<()> {
        if samples.is_empty() {
            return Ok(());
        }
        for run in samples.chunks(MAX_COLUMN) {
            self.column_times.clear();
            self.column_times.extend(run.iter().map(|sample| sample.t_ms));
            self.column_values.clear();
            self.column_values.extend(run.iter().map(|sample| sample.value));
            let time = self.time_column()?;
            self.builder.index.column_times.push(time);
            encode_doubles(&self.column_values, &mut self.scratch, &mut self.values.tokens, &mut self.values.bits);
            self.values.columns += 1;
            if self.values.tokens.len() >= GROUP_TOKENS || self.values.bits.len() >= GROUP_BITS {
                self.end_value_group()?;
            }
        }
        self.builder.end_series(labels);
        self.samples += samples.len() as u64;
        self.bounds.0 = self.bounds.0.min(samples[0].t_ms);
        self.bounds.1 = self.bounds.1.max(samples[samples.len() - 1].t_ms);
        Ok(())
    }

    fn time_column(&mut self) -> io::Result<u32> {
        let times = self.column_times.as_slice();
        let key = (self.hashers.0.hash_one(times), self.hashers.1.hash_one(times));
        if let Some(&known) = self.known_times.get(&key) {
            return Ok(known);
        }
        let id = self.builder.index.time_columns.len() as u32;
        self.builder.index.time_columns.push(TimeColumn {
            count: times.len() as u32,
            min_t_ms: times[0],
            max_t_ms: times[times.len() - 1],
        });
        self.known_times.insert(key, id);
        encode_integers(times, &mut self.scratch, &mut self.times.tokens, &mut self.times.bits);
        self.times.columns += 1;
        if self.times.tokens.len() >= GROUP_TOKENS || self.times.bits.len() >= GROUP_BITS {
            self.end_time_group()?;
        }
        Ok(id)
    }

    fn end_value_group(&mut self) -> io::Result<()> {
        let mut gathering = std::mem::take(&mut self.values);
        if let Some(group) = self.write_group(&mut gathering)? {
            self.builder.index.value_groups.push(group);
        }
        self.values = gathering;
        Ok(())
    }

    fn end_time_group(&mut self) -> io::Result<()> {
        let mut gathering = std::mem::take(&mut self.times);
        if let Some(group) = self.write_group(&mut gathering)? {
            self.builder.index.time_groups.push(group);
        }
        self.times = gathering;
        Ok(())
    }

    fn write_group(&mut self, gathering: &mut Gathering) -> io::Result<Option<Group>> {
        if gathering.columns == 0 {
            return Ok(None);
        }
        let frame = self.compressor.compress(&gathering.tokens)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&frame);
        crc.update(&gathering.bits);
        let group = Group {
            offset: self.offset,
            frame_bytes: frame.len() as u32,
            token_bytes: gathering.tokens.len() as u32,
            bit_bytes: gathering.bits.len() as u32,
            crc: crc.finalize(),
            first_column: gathering.first_column,
        };
        self.out.write_all(&frame)?;
        self.out.write_all(&gathering.bits)?;
        self.offset += (frame.len() + gathering.bits.len()) as u64;
        gathering.first_column += gathering.columns;
        gathering.columns = 0;
        gathering.tokens.clear();
        gathering.bits.clear();
        Ok(Some(group))
    }

    /// Completes the file, makes it durable and gives it its name.
    pub fn finish(mut self) -> io::Result<Footer> {
        self.end_value_group()?;
        self.end_time_group()?;
        let raw = self.builder.index.encode();
        let index = zstd::bulk::compress(&raw, INDEX_LEVEL)?;
        let footer = Footer {
            index_offset: self.offset,
            index_bytes: index.len() as u32,
            index_raw_bytes: raw.len() as u32,
            index_crc: crc32fast::hash(&index),
            min_t_ms: self.bounds.0,
            max_t_ms: self.bounds.1,
            samples: self.samples,
            series: self.builder.index.series_count() as u64,
        };
        self.out.write_all(&index)?;
        self.out.write_all(&footer.to_bytes())?;
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        std::fs::rename(&self.temporary, &self.path)?;
        self.path.parent().map_or(Ok(()), sync_dir)?;
        Ok(footer)
    }
}

impl Drop for BlockWriter {
    /// A block that was not finished leaves nothing behind; after `finish` the temporary name is gone already.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.temporary);
    }
}
