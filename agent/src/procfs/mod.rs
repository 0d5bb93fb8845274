//! Readers of `/proc` and `/sys`: each takes the bytes of a file and fills plain structures, so that tests feed it captured
//! files; [`ProcFile`] keeps a file open and reads it again and again into one buffer.

pub mod counter;
pub mod cpu;
pub mod disk;
pub mod host;
pub mod memory;
pub mod mounts;
pub mod net;
pub mod text;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Most a file may hold before it counts as damaged: the biggest we read (`/proc/stat` with many interrupts) stays far below.
const MAX_FILE: usize = 16 << 20;

/// A file of `/proc` that stays open. Reading from its start makes the kernel produce it anew.
#[derive(Debug)]
pub struct ProcFile {
    file: File,
    buffer: Vec<u8>,
}

impl ProcFile {
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, buffer: vec![0; 4096] })
    }

    /// The same where the file need not exist (an older kernel, a feature not built in, no right to read it).
    pub fn optional(path: impl AsRef<Path>) -> Option<Self> {
        Self::open(path).ok()
    }

    /// The file as it is now.
    pub fn read(&mut self) -> io::Result<&[u8]> {
        let mut filled = 0;
        loop {
            if filled == self.buffer.len() {
                if filled >= MAX_FILE {
                    return Err(io::Error::new(io::ErrorKind::FileTooLarge, "file is larger than 16 MiB"));
                }
                self.buffer.resize(filled * 2, 0);
            }
            match self.file.read_at(&mut self.buffer[filled..], filled as u64) {
                Ok(0) => return Ok(&self.buffer[..filled]),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// What an optional file holds now; `None` where it is missing or cannot be read.
pub fn read_optional(file: &mut Option<ProcFile>) -> Option<&[u8]> {
    file.as_mut()?.read().ok()
}

/// Reads a small file once into a buffer that the caller reuses.
pub fn read_into<'a>(path: &Path, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    buffer.clear();
    io::Read::read_to_end(&mut File::open(path)?, buffer)?;
    Ok(buffer)
}

/// First number of a one-line file; `None` where it is missing or holds no number.
pub fn read_number(path: &Path) -> Option<u64> {
    let content = std::fs::read(path).ok()?;
    text::fields(&content).next().and_then(text::number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_file_shows_what_is_new_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counter");
        std::fs::write(&path, "1\n").unwrap();
        let mut file = ProcFile::open(&path).unwrap();
        assert_eq!(file.read().unwrap(), b"1\n");
        std::fs::write(&path, "22\n").unwrap();
        assert_eq!(file.read().unwrap(), b"22\n");
        assert!(read_optional(&mut ProcFile::optional(folder.path().join("absent"))).is_none());
    }

    #[test]
    fn a_file_larger_than_the_buffer_is_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&path, &content).unwrap();
        assert_eq!(ProcFile::open(&path).unwrap().read().unwrap(), content);
    }
}
