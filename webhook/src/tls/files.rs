//! Files that are read again every few seconds and compared by content.
//!
//! The kubelet swaps a symlink above the files of a Secret, which file watches miss, and other tools write file after file.
//! So a change counts once two reads in a row have found the same contents.
//! Not here: what is in the files ([`super::Tls`]).

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt;

/// Largest file that is read. A chain of certificates has a few KiB; a larger file is something else.
const MAX_FILE_BYTES: u64 = 1_024 * 1_024;

/// A file that a flag names, with the words for messages about it.
#[derive(Clone, Debug)]
pub(crate) struct NamedFile {
    pub(crate) what: &'static str,
    pub(crate) flag: &'static str,
    pub(crate) path: PathBuf,
}

/// Why a file could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to read the {what} {}: {why}: name a readable PEM file with {flag}", .path.display())]
pub struct ReadError {
    what: &'static str,
    flag: &'static str,
    path: PathBuf,
    why: String,
}

type Contents<const N: usize> = Result<[Vec<u8>; N], ReadError>;

/// Files that are read together, because they belong together.
pub(crate) struct Files<const N: usize> {
    named: [NamedFile; N],
    /// What was last returned.
    known: Contents<N>,
    /// What the last read saw.
    seen: Contents<N>,
}

impl<const N: usize> Files<N> {
    /// Reads the files for the first time, and returns their contents.
    pub(crate) async fn open(named: [NamedFile; N]) -> Result<(Files<N>, [Vec<u8>; N]), ReadError> {
        let contents = read_all(&named).await?;
        let files = Files {
            named,
            known: Ok(contents.clone()),
            seen: Ok(contents.clone()),
        };
        Ok((files, contents))
    }

    /// Reads the files again. Returns their contents, or why they cannot be read, if two reads in a row agree and it is not what was
    /// returned last.
    pub(crate) async fn poll(&mut self) -> Option<Contents<N>> {
        let contents = read_all(&self.named).await;
        let is_settled = contents == self.seen;
        self.seen.clone_from(&contents);
        if !is_settled || contents == self.known {
            return None;
        }
        self.known.clone_from(&contents);
        Some(contents)
    }

    pub(crate) fn path(&self, index: usize) -> &Path {
        &self.named[index].path
    }
}

async fn read_all<const N: usize>(files: &[NamedFile; N]) -> Contents<N> {
    let mut contents = [const { Vec::new() }; N];
    for (file, contents) in files.iter().zip(&mut contents) {
        *contents = read(&file.path).await.map_err(|error| ReadError {
            what: file.what,
            flag: file.flag,
            path: file.path.clone(),
            why: error.to_string(),
        })?;
    }
    Ok(contents)
}

async fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    let length = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut contents).await?;
    if length as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {MAX_FILE_BYTES} bytes"),
        ));
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &Path) -> NamedFile {
        NamedFile {
            what: "certificate",
            flag: "--tls-cert-file",
            path: path.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_change_counts_once_and_when_it_has_settled() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
        let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
        write(&cert, "c1");
        write(&key, "k1");
        let (mut files, contents) = Files::open([named(&cert), named(&key)]).await.unwrap();
        assert_eq!(contents, [b"c1", b"k1"]);
        assert_eq!(files.poll().await, None);

        // Another read between the two writes sees half of the change, and says nothing of it.
        write(&cert, "c2");
        assert_eq!(files.poll().await, None);
        write(&key, "k2");
        assert_eq!(files.poll().await, None);
        assert_eq!(files.poll().await, Some(Ok([b"c2".to_vec(), b"k2".to_vec()])));
        assert_eq!(files.poll().await, None);

        std::fs::remove_file(&key).unwrap();
        assert_eq!(files.poll().await, None);
        let complaint = files.poll().await.unwrap().unwrap_err().to_string();
        assert!(
            complaint.contains("tls.key") && complaint.contains("--tls-cert-file"),
            "{complaint}"
        );
        assert_eq!(files.poll().await, None);
        // Back again is news too, since it ends the complaint.
        write(&key, "k2");
        assert_eq!(files.poll().await, None);
        assert!(files.poll().await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_file_that_does_not_end_is_refused() {
        let complaint = Files::open([named(Path::new("/dev/zero"))]).await.err().unwrap();
        assert!(complaint.to_string().contains("1048576 bytes"), "{complaint}");
    }
}
