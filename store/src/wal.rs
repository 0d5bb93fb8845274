//! The write-ahead log: what makes an acknowledged sample survive a crash before it reaches a block.
//!
//! A folder of numbered segments; each begins with `SEGMENT_MAGIC` and holds records:
//!
//! ```text
//! magic u16 | length u32 | crc32 of kind and payload u32 | check u16 (low half of the crc32 of the ten bytes before) | kind u8 | payload
//! ```
//!
//! Every segment is readable alone: a series is described in it before its first sample. Writing is by group commit:
//! appends go to a buffer, one `sync` writes and flushes for everybody who waits. After a failed write the file is cut
//! back to its last whole record and the buffer kept, so a full disk never leaves half a record in the middle.

use crate::varint::{self, Reader};
use crate::{Labels, StoreError};
use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

pub const SEGMENT_MAGIC: &[u8; 8] = b"GALAWAL1";
const RECORD_MAGIC: u16 = 0xa7e5;
const HEADER: usize = 12;
const KIND_SERIES: u8 = 1;
const KIND_SAMPLES: u8 = 2;
/// No writer makes longer records; a longer one in a file is damage.
const MAX_RECORD: usize = 64 << 20;
/// Samples in one record at most: none takes more than 25 bytes.
pub const MAX_RECORD_SAMPLES: usize = 1 << 20;
/// Buffered bytes beyond which an append writes out by itself.
pub const BUFFER_BYTES: usize = 1 << 20;
/// Room a buffer keeps when little is written.
const KEPT_BUFFER_BYTES: usize = 256 << 10;
/// Buffered bytes beyond which nothing more is logged: the disk does not take it.
pub const BUFFER_LIMIT_BYTES: usize = 8 << 20;

pub fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.wal"))
}

/// Numbers of the segments present, ascending.
pub fn segments(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        if let Some(number) = name.to_str().and_then(|name| name.strip_suffix(".wal")).and_then(|stem| stem.parse().ok()) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes a name in a folder durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn begin_record(out: &mut Vec<u8>, kind: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    out.push(kind);
    start
}

fn end_record(out: &mut [u8], start: usize) {
    let body = &out[start + HEADER..];
    let (length, crc) = (body.len() as u32, crc32fast::hash(body));
    let header = &mut out[start..start + HEADER];
    header[..2].copy_from_slice(&RECORD_MAGIC.to_le_bytes());
    header[2..6].copy_from_slice(&length.to_le_bytes());
    header[6..10].copy_from_slice(&crc.to_le_bytes());
    let check = crc32fast::hash(&header[..10]) as u16;
    header[10..].copy_from_slice(&check.to_le_bytes());
}

/// One sample as the log knows it: slot of the series, time, bits of the value.
pub type LoggedSample = (u32, i64, u64);

/// Describes a series under the slot number samples will name.
pub fn put_series(out: &mut Vec<u8>, slot: u32, labels: &Labels) {
    let start = begin_record(out, KIND_SERIES);
    varint::put(out, u64::from(slot));
    varint::put(out, labels.0.len() as u64);
    for (name, value) in labels.iter() {
        varint::put_bytes(out, name.as_bytes());
        varint::put_bytes(out, value.as_bytes());
    }
    end_record(out, start);
}

/// Control byte per sample: low four bits the significant bytes of the value (from the top), 16 "the time differs from
/// the sample before", 32 "the slot is not the next one".
pub fn put_samples(out: &mut Vec<u8>, samples: &[LoggedSample]) {
    let start = begin_record(out, KIND_SAMPLES);
    varint::put(out, samples.len() as u64);
    let (mut slot, mut t_ms) = (u32::MAX, 0i64);
    for &(next_slot, next_t_ms, bits) in samples {
        let value_bytes = 8 - (bits.trailing_zeros() as usize / 8).min(8);
        let same_time = next_t_ms == t_ms;
        let successor = next_slot == slot.wrapping_add(1);
        out.push(value_bytes as u8 | u8::from(!same_time) << 4 | u8::from(!successor) << 5);
        if !same_time {
            varint::put_signed(out, next_t_ms.wrapping_sub(t_ms));
        }
        if !successor {
            varint::put_signed(out, i64::from(next_slot) - i64::from(slot));
        }
        let end = out.len() + value_bytes;
        out.extend_from_slice(&bits.to_be_bytes());
        out.truncate(end);
        (slot, t_ms) = (next_slot, next_t_ms);
    }
    end_record(out, start);
}

/// Receives what a segment holds, in order.
pub trait Replay {
    fn series(&mut self, slot: u32, labels: Labels);
    fn sample(&mut self, slot: u32, t_ms: i64, value: f64);
}

/// A run of bytes in a segment that is not a record.
#[derive(Debug, Clone, PartialEq)]
pub struct BadBytes {
    pub offset: usize,
    pub length: usize,
    /// The last record of the file, simply not finished: what a crash in mid-write leaves, nothing acknowledged.
    pub torn_tail: bool,
}

enum Parsed<'a> {
    Record { kind: u8, payload: &'a [u8], length: usize },
    Torn,
    Bad,
}

fn parse_record(bytes: &[u8]) -> Parsed<'_> {
    if bytes.len() < HEADER {
        return Parsed::Torn;
    }
    let header = &bytes[..HEADER];
    let check = u16::from_le_bytes([header[10], header[11]]);
    if u16::from_le_bytes([header[0], header[1]]) != RECORD_MAGIC || crc32fast::hash(&header[..10]) as u16 != check {
        // After a power loss a file may be longer than what reached the disk: zeros.
        return if bytes.iter().all(|&byte| byte == 0) { Parsed::Torn } else { Parsed::Bad };
    }
    let length = u32::from_le_bytes([header[2], header[3], header[4], header[5]]) as usize;
    let crc = u32::from_le_bytes([header[6], header[7], header[8], header[9]]);
    if length == 0 || length > MAX_RECORD {
        return Parsed::Bad;
    }
    let Some(body) = bytes[HEADER..].get(..length) else { return Parsed::Torn };
    if crc32fast::hash(body) != crc {
        return Parsed::Bad;
    }
    Parsed::Record { kind: body[0], payload: &body[1..], length: HEADER + length }
}

fn apply(kind: u8, payload: &[u8], into: &mut impl Replay) -> Option<()> {
    let mut reader = Reader::new(payload);
    match kind {
        KIND_SERIES => {
            let slot = u32::try_from(reader.varint()?).ok()?;
            let count = reader.count()?;
            let pairs = (0..count).map(|_| Some((reader.str()?, reader.str()?))).collect::<Option<Vec<_>>>()?;
            into.series(slot, Labels::new(pairs));
        }
        KIND_SAMPLES => {
            let count = reader.count()?;
            let (mut slot, mut t_ms) = (u32::MAX, 0i64);
            for _ in 0..count {
                let control = reader.u8()?;
                if control & 16 != 0 {
                    t_ms = t_ms.wrapping_add(reader.signed()?);
                }
                slot = match control & 32 {
                    0 => slot.wrapping_add(1),
                    _ => u32::try_from(i64::from(slot) + reader.signed()?).ok()?,
                };
                let value_bytes = reader.take(usize::from(control & 15).min(8))?;
                let mut word = [0; 8];
                word[..value_bytes.len()].copy_from_slice(value_bytes);
                into.sample(slot, t_ms, f64::from_bits(u64::from_be_bytes(word)));
            }
        }
        _ => return None,
    }
    Some(())
}

/// Reads a whole segment. Bytes that are no record are skipped up to the next record that checks, and returned.
pub fn replay(bytes: &[u8], into: &mut impl Replay) -> Vec<BadBytes> {
    let mut bad = Vec::new();
    let mut at = SEGMENT_MAGIC.len();
    if bytes.len() < at {
        return if bytes.is_empty() { bad } else { vec![BadBytes { offset: 0, length: bytes.len(), torn_tail: true }] };
    }
    if !bytes.starts_with(SEGMENT_MAGIC) {
        let torn_tail = bytes.iter().all(|&byte| byte == 0);
        bad.push(BadBytes { offset: 0, length: at, torn_tail });
    }
    while at < bytes.len() {
        let outcome = parse_record(&bytes[at..]);
        if let Parsed::Record { kind, payload, length } = outcome
            && apply(kind, payload, into).is_some()
        {
            at += length;
            continue;
        }
        let next = (at + 1..bytes.len()).find(|&candidate| {
            bytes[candidate..].starts_with(&RECORD_MAGIC.to_le_bytes())
                && matches!(parse_record(&bytes[candidate..]), Parsed::Record { .. })
        });
        let end = next.unwrap_or(bytes.len());
        bad.push(BadBytes { offset: at, length: end - at, torn_tail: next.is_none() && matches!(outcome, Parsed::Torn) });
        at = end;
    }
    bad
}

struct Buffer {
    bytes: Vec<u8>,
    /// Position of the end of `bytes` in the stream of everything ever appended.
    end: u64,
}

struct Segment {
    /// None while it could not be created yet.
    file: Option<File>,
    number: u64,
    /// Bytes written whole and valid.
    length: u64,
    /// Taken from the buffer, not yet safe on disk.
    pending: Vec<u8>,
    pending_end: u64,
}

/// The open log.
pub struct Wal {
    dir: PathBuf,
    buffer: Mutex<Buffer>,
    segment: Mutex<Segment>,
    synced: AtomicU64,
    segment_bytes: AtomicU64,
}

fn create_segment(dir: &Path, number: u64) -> io::Result<File> {
    let path = segment_path(dir, number);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    let written = file.write_all_at(SEGMENT_MAGIC, 0).and_then(|()| file.sync_data()).and_then(|()| sync_dir(dir));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&path);
        return Err(error);
    }
    Ok(file)
}

impl Wal {
    /// A log that goes on with a new segment, see [`Wal::start`]; older ones are the caller's to replay and delete.
    pub fn new(dir: &Path, number: u64) -> Self {
        let length = SEGMENT_MAGIC.len() as u64;
        Self {
            dir: dir.to_path_buf(),
            buffer: Mutex::new(Buffer { bytes: Vec::new(), end: 0 }),
            segment: Mutex::new(Segment { file: None, number, length, pending: Vec::new(), pending_end: 0 }),
            synced: AtomicU64::new(0),
            segment_bytes: AtomicU64::new(length),
        }
    }

    /// Creates the file of the segment. If it cannot be created now, the next sync tries again and appends wait in the
    /// buffer.
    pub fn start(&self) -> io::Result<()> {
        let mut segment = self.segment.lock();
        if segment.file.is_none() {
            segment.file = Some(create_segment(&self.dir, segment.number)?);
        }
        Ok(())
    }

    /// Bytes of the current segment, buffered ones included.
    pub fn bytes(&self) -> u64 {
        self.segment_bytes.load(Ordering::Relaxed)
    }

    /// Lets `write` add records to the buffer; true if so much waits that the caller should sync.
    pub fn append(&self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut buffer = self.buffer.lock();
        let before = buffer.bytes.len();
        write(&mut buffer.bytes);
        let added = (buffer.bytes.len() - before) as u64;
        buffer.end += added;
        self.segment_bytes.fetch_add(added, Ordering::Relaxed);
        buffer.bytes.len() >= BUFFER_BYTES
    }

    /// Bytes that wait for the disk.
    pub fn backlog(&self) -> u64 {
        self.buffer.lock().end - self.synced.load(Ordering::Acquire)
    }

    /// Returns once everything appended before the call is on disk, and the segment has its file.
    pub fn sync(&self) -> Result<(), StoreError> {
        let target = self.buffer.lock().end;
        if target > 0 && self.synced.load(Ordering::Acquire) >= target {
            return Ok(());
        }
        let mut segment = self.segment.lock();
        // Somebody else's sync may have carried ours.
        if segment.file.is_some() && self.synced.load(Ordering::Acquire) >= target {
            return Ok(());
        }
        self.write_out(&mut segment)
    }

    fn write_out(&self, segment: &mut Segment) -> Result<(), StoreError> {
        {
            let mut buffer = self.buffer.lock();
            segment.pending_end = buffer.end;
            if segment.pending.is_empty() {
                std::mem::swap(&mut segment.pending, &mut buffer.bytes);
            } else {
                segment.pending.append(&mut buffer.bytes);
            }
        }
        let file = match segment.file.take() {
            Some(file) => file,
            None => self.create(segment.number)?,
        };
        let file = segment.file.insert(file);
        let written = file.write_all_at(&segment.pending, segment.length).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // Whatever part arrived is cut off, so that the segment ends with a whole record. Writing again after a
            // failed flush is sound because `pending` still holds all bytes and the pages are dirtied anew.
            let _ = file.set_len(segment.length);
            return Err(io_error("write the log in", &self.dir, &error));
        }
        segment.length += segment.pending.len() as u64;
        // A new segment begins with all series; what follows needs a fraction of that room.
        if segment.pending.capacity() > KEPT_BUFFER_BYTES.max(4 * segment.pending.len()).min(4 * BUFFER_BYTES) {
            segment.pending = Vec::new();
        }
        segment.pending.clear();
        self.synced.store(segment.pending_end, Ordering::Release);
        Ok(())
    }

    fn create(&self, number: u64) -> Result<File, StoreError> {
        create_segment(&self.dir, number).map_err(|error| io_error("start a log segment in", &self.dir, &error))
    }

    /// Makes the current segment safe and starts the next one. Returns the number of the finished segment. Nobody may
    /// append meanwhile (the head's lock is held).
    pub fn rotate(&self) -> Result<u64, StoreError> {
        let mut segment = self.segment.lock();
        self.write_out(&mut segment)?;
        let finished = segment.number;
        segment.file = Some(self.create(finished + 1)?);
        segment.number = finished + 1;
        segment.length = SEGMENT_MAGIC.len() as u64;
        self.segment_bytes.store(segment.length, Ordering::Relaxed);
        Ok(finished)
    }
}

/// An input/output error in words: what was tried, where, why, and what helps.
pub fn io_error(what: &str, path: &Path, error: &io::Error) -> StoreError {
    let fix = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free space on that file system, writing resumes by itself"
        }
        io::ErrorKind::PermissionDenied => "; run as the owner of the folder or choose another with --data",
        _ => "",
    };
    StoreError::Io(format!("cannot {what} {}: {error}{fix}", path.display()))
}
