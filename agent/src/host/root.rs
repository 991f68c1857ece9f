//! Access to files in the host's root directory. Every path is resolved inside it; one access runs at a time, with a time limit.
//!
//! Not here: what the files say ([`super`]).

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::HostError;

/// A directory in which paths are resolved as if it were `/`.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    directory: OwnedFd,
}

/// Accesses files in a root, one after the other, so that a hanging access blocks only one thread, and an old write never lands after a
/// newer one.
#[derive(Clone, Debug)]
pub(super) struct Files {
    root: Arc<Root>,
    turn: Arc<Semaphore>,
}

/// Longest time for one access to the host's files, including the wait for earlier ones.
pub(super) const FILES_TIMEOUT: Duration = Duration::from_secs(5);
/// Most attempts to open a file. openat2 fails with EAGAIN while a rename is under way somewhere on the host.
const OPEN_TRIES_MAX: u8 = 16;
/// Most bytes that are read of a file. A boot id has 37; the record repeats annotations of a Node, which have 256 KiB at most.
const READ_MAX: u64 = 1024 * 1024;

impl Files {
    pub(super) fn new(root: Root) -> Files {
        Files {
            root: Arc::new(root),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Files in the same root, which do not wait for accesses through `self`.
    pub(super) fn apart(&self) -> Files {
        Files {
            root: Arc::clone(&self.root),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Runs `action` on a blocking thread, with the time limit [`FILES_TIMEOUT`], because a mount of the host may hang.
    pub(super) async fn run_blocking<T: Send + 'static>(
        &self,
        path: impl AsRef<Path>,
        action: impl FnOnce(&Root, &Path) -> Result<T, HostError> + Send + 'static,
    ) -> Result<T, HostError> {
        let (root, path) = (Arc::clone(&self.root), path.as_ref().to_owned());
        let hangs = HostError::Hangs { path: path.clone() };
        let bounded = timeout(FILES_TIMEOUT, async {
            let turn = Arc::clone(&self.turn).acquire_owned().await;
            let task = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                action(&root, &path)
            });
            task.await
        });
        match bounded.await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(hangs),
        }
    }
}

impl Root {
    pub(super) fn open(path: &Path) -> Result<Root, HostError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| HostError::Root {
            path: path.to_owned(),
            source: error.into(),
        })?;
        Ok(Root {
            path: path.to_owned(),
            directory,
        })
    }

    /// Opens a path inside the root. Symlinks, also absolute ones, and `..` cannot leave the root.
    fn resolve(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let mut tries = 1;
        loop {
            let flags = flags | OFlags::CLOEXEC;
            match rustix::fs::openat2(&self.directory, path, flags, mode, ResolveFlags::IN_ROOT) {
                Err(Errno::AGAIN) if tries < OPEN_TRIES_MAX => tries += 1,
                result => return result,
            }
        }
    }

    /// Finds a file of any kind inside the root, without opening it.
    pub(super) fn open_path(&self, path: &Path) -> io::Result<OwnedFd> {
        Ok(self.resolve(path, OFlags::PATH, Mode::empty())?)
    }

    pub(super) fn open_file(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<File, HostError> {
        self.resolve(path, flags, mode)
            .map(File::from)
            .map_err(|error| HostError::Open {
                root: self.path.clone(),
                path: path.to_owned(),
                source: error.into(),
            })
    }

    pub(super) fn has_directory(&self, path: &Path) -> Result<bool, HostError> {
        self.has(path, FileType::Directory)
    }

    pub(super) fn has_file(&self, path: &Path) -> Result<bool, HostError> {
        self.has(path, FileType::RegularFile)
    }

    fn has(&self, path: &Path, kind: FileType) -> Result<bool, HostError> {
        let failed = |error: Errno| HostError::Open {
            root: self.path.clone(),
            path: path.to_owned(),
            source: error.into(),
        };
        match self.resolve(path, OFlags::PATH, Mode::empty()) {
            Ok(found) => {
                let stat = rustix::fs::fstat(&found).map_err(failed)?;
                Ok(FileType::from_raw_mode(stat.st_mode) == kind)
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// Reads a short text, trimmed of white space. An empty file is an error.
    pub(super) fn read(&self, path: &Path) -> Result<String, HostError> {
        let file = self.open_file(path, OFlags::RDONLY, Mode::empty())?;
        let mut text = String::new();
        let (root, path) = (self.path.clone(), path.to_owned());
        match file.take(READ_MAX).read_to_string(&mut text) {
            Err(source) => Err(HostError::Read { root, path, source }),
            Ok(_) if text.trim().is_empty() => Err(HostError::Empty { root, path }),
            Ok(_) => Ok(text.trim().to_owned()),
        }
    }

    /// Reads a short text as [`Root::read`] does; `None` if there is no such file.
    pub(super) fn read_if_there(&self, path: &Path) -> Result<Option<String>, HostError> {
        match self.read(path) {
            Ok(text) => Ok(Some(text)),
            Err(HostError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the lines at the beginning of a regular file that somebody else may have made: at most `max` bytes, and of a longer file whole
    /// lines only; `None` if there is no such file. A symlink is not followed, and the open does not wait for a writer of a FIFO.
    pub(super) fn read_lines(&self, path: &Path, max: u64) -> Result<Option<String>, HostError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match self.open_file(path, flags, Mode::empty()) {
            Ok(file) => file,
            Err(HostError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        lines_of(&file, max).map_err(|source| HostError::Read {
            root: self.path.clone(),
            path: path.to_owned(),
            source,
        })
    }

    /// Replaces a file with this value in JSON, as [`Root::replace`] does.
    pub(super) fn replace_json(&self, path: &Path, value: &impl Serialize) -> Result<(), HostError> {
        let text = serde_json::to_vec(value).map_err(|error| HostError::Write {
            root: self.path.clone(),
            path: path.to_owned(),
            source: error.into(),
        })?;
        self.replace(path, &text)
    }

    /// Replaces a file atomically: a reader, even after a crash, finds either the old text or the new one.
    fn replace(&self, path: &Path, text: &[u8]) -> Result<(), HostError> {
        let failed = |source| HostError::Write {
            root: self.path.clone(),
            path: path.to_owned(),
            source,
        };
        let unfinished = path.with_added_extension("new");
        let (Some(directory), Some(name), Some(unfinished)) =
            (path.parent(), path.file_name(), unfinished.file_name())
        else {
            return Err(failed(Errno::INVAL.into()));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = self
            .resolve(directory, flags, Mode::empty())
            .map_err(|error| failed(error.into()))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, unfinished, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(file.map_err(|error| failed(error.into()))?);
        file.write_all(text).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        rustix::fs::renameat(&directory, unfinished, &directory, name).map_err(|error| failed(error.into()))
    }

    /// Removes a file. A file that does not exist is no error.
    pub(super) fn remove(&self, path: &Path) -> Result<(), HostError> {
        let failed = |error: Errno| HostError::Write {
            root: self.path.clone(),
            path: path.to_owned(),
            source: error.into(),
        };
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(failed(Errno::INVAL));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = self.resolve(directory, flags, Mode::empty()).map_err(failed)?;
        match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

/// The lines at the beginning of this file, if it is a regular one.
fn lines_of(file: &File, max: u64) -> io::Result<Option<String>> {
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    let mut bytes = Vec::new();
    let _ = file.take(max).read_to_end(&mut bytes)?;
    if about.len() > max {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        bytes.truncate(whole.unwrap_or_default());
    }
    let text = String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Some(text))
}
