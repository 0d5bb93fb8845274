//! Blocks: immutable files of many samples of many series. Format in the crate's documentation.

pub mod column;
pub mod index;
pub mod read;
pub mod write;

pub use index::BlockIndex;
pub use read::{Block, BlockReader, ReadError};
pub use write::BlockWriter;

pub const MAGIC: &[u8; 8] = b"GALABLK1";
pub const END_MAGIC: &[u8; 8] = b"GALAEND1";
pub const FOOTER_BYTES: usize = 72;
/// Samples in one column at most: what a query decodes to get one.
pub const MAX_COLUMN: usize = 4_096;

/// Footer of a block file: where the index is and what the block spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    pub index_offset: u64,
    pub index_bytes: u32,
    pub index_raw_bytes: u32,
    pub index_crc: u32,
    pub min_t_ms: i64,
    pub max_t_ms: i64,
    pub samples: u64,
    pub series: u64,
}

impl Footer {
    pub fn to_bytes(self) -> [u8; FOOTER_BYTES] {
        let mut out = [0; FOOTER_BYTES];
        out[..8].copy_from_slice(&self.index_offset.to_le_bytes());
        out[8..12].copy_from_slice(&self.index_bytes.to_le_bytes());
        out[12..16].copy_from_slice(&self.index_raw_bytes.to_le_bytes());
        out[16..20].copy_from_slice(&self.index_crc.to_le_bytes());
        out[24..32].copy_from_slice(&self.min_t_ms.to_le_bytes());
        out[32..40].copy_from_slice(&self.max_t_ms.to_le_bytes());
        out[40..48].copy_from_slice(&self.samples.to_le_bytes());
        out[48..56].copy_from_slice(&self.series.to_le_bytes());
        let crc = crc32fast::hash(&out[..60]);
        out[60..64].copy_from_slice(&crc.to_le_bytes());
        out[64..].copy_from_slice(END_MAGIC);
        out
    }

    /// `None` if the checksum or the end mark is wrong.
    pub fn from_bytes(bytes: &[u8; FOOTER_BYTES]) -> Option<Self> {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or([0; 8]));
        let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or([0; 4]));
        if &bytes[64..] != END_MAGIC || half(60) != crc32fast::hash(&bytes[..60]) {
            return None;
        }
        Some(Self {
            index_offset: word(0),
            index_bytes: half(8),
            index_raw_bytes: half(12),
            index_crc: half(16),
            min_t_ms: word(24) as i64,
            max_t_ms: word(32) as i64,
            samples: word(40),
            series: word(48),
        })
    }
}
