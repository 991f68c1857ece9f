//! Tar archives, zstd and gzip that are the same bit for bit when they are made again: no time, no owner, no order but that of the calls.
//!
//! Not here: what is in them.

use std::io::{self, Write as _};

use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

/// A tar archive in memory.
pub struct Archive(Builder<Vec<u8>>);

/// Who may do what with an entry.
const DIRECTORY: u32 = 0o755;
/// A program.
pub const PROGRAM: u32 = 0o755;
/// A file that is only read.
pub const FILE: u32 = 0o644;

impl Default for Archive {
    fn default() -> Self {
        Self(Builder::new(Vec::new()))
    }
}

impl Archive {
    /// Adds a directory.
    pub fn directory(&mut self, path: &str) -> io::Result<()> {
        let mut header = header(EntryType::Directory, DIRECTORY, 0);
        self.0.append_data(&mut header, format!("{path}/"), io::empty())
    }

    /// Adds a file with this mode.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let mut header = header(EntryType::Regular, mode, content.len());
        self.0.append_data(&mut header, path, content)
    }

    /// Adds a symlink to another entry of the same directory.
    pub fn link(&mut self, path: &str, to: &str) -> io::Result<()> {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        self.0.append_link(&mut header, path, to)
    }

    /// The archive's bytes.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        self.0.into_inner()
    }
}

fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// The highest level of zstd that needs no more memory to read than others do.
const ZSTD_LEVEL: i32 = 19;

/// The bytes as zstd. By one thread: how several would share the work depends on the machine.
pub fn zstd(bytes: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(bytes, ZSTD_LEVEL)
}

/// The bytes as gzip, at the highest level.
pub fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    // Without a time and a name of a file.
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_archives_of_the_same_files_are_equal() {
        let made = || {
            let mut archive = Archive::default();
            archive.directory("usr").unwrap();
            archive.file("usr/x", PROGRAM, b"x").unwrap();
            archive.link("usr/y", "x").unwrap();
            let tar = archive.finish().unwrap();
            (gzip(&tar).unwrap(), zstd(&tar).unwrap())
        };
        assert_eq!(made(), made());
    }

    #[test]
    fn an_archive_names_no_time_and_no_owner() {
        let mut archive = Archive::default();
        archive.file("x", FILE, b"content").unwrap();
        let bytes = archive.finish().unwrap();
        let mut read = tar::Archive::new(bytes.as_slice());
        let entry = read.entries().unwrap().next().unwrap().unwrap();
        let header = entry.header();
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (0, 0));
        assert_eq!(header.username().unwrap(), Some(""));
        assert_eq!(header.mode().unwrap(), FILE);
    }
}
