//! A mounted directory of a pod, with the shape that the kubelet gives it (kubernetes/kubernetes: `pkg/volume/util/atomic_writer.go`): each name is
//! a link into `..data`, and `..data` is a link to a directory that a change replaces as a whole.
//!
//! Not here: what is in it; that is read by whoever mounts it.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The content of a mount: file names, which are no paths, and what is in the files.
pub type Content = BTreeMap<String, Vec<u8>>;

/// One mounted directory.
#[derive(Debug)]
pub struct Mount {
    directory: PathBuf,
    content: Content,
    /// How often the content was replaced; it names the directory that `..data` leads to.
    version: u64,
}

impl Mount {
    /// Creates an empty mount.
    pub fn new(directory: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("failed to create {}", directory.display()))?;
        Ok(Self {
            directory,
            content: Content::new(),
            version: 0,
        })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Replaces the content at one moment, if it differs.
    pub fn update(&mut self, content: &Content) -> Result<()> {
        if self.version > 0 && *content == self.content {
            return Ok(());
        }
        self.replace(content)
            .with_context(|| format!("failed to mount into {}", self.directory.display()))
    }

    fn replace(&mut self, content: &Content) -> Result<()> {
        let data = format!("..{}", self.version + 1);
        let next = self.directory.join("..data_tmp");
        // A try that failed halfway may have left both.
        gone(std::fs::remove_dir_all(self.directory.join(&data)))?;
        gone(std::fs::remove_file(&next))?;
        std::fs::create_dir(self.directory.join(&data))?;
        for (name, bytes) in content {
            std::fs::write(self.directory.join(&data).join(name), bytes)?;
        }
        symlink(&data, &next)?;
        std::fs::rename(next, self.directory.join("..data"))?;
        for name in content.keys().filter(|name| !self.content.contains_key(*name)) {
            gone(std::fs::remove_file(self.directory.join(name)))?;
            symlink(Path::new("..data").join(name), self.directory.join(name))?;
        }
        for name in self.content.keys().filter(|name| !content.contains_key(*name)) {
            gone(std::fs::remove_file(self.directory.join(name)))?;
        }
        gone(std::fs::remove_dir_all(
            self.directory.join(format!("..{}", self.version)),
        ))?;
        self.version += 1;
        self.content.clone_from(content);
        Ok(())
    }
}

/// The result of removing what need not be there.
fn gone(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(files: &[(&str, &str)]) -> Content {
        let files = files.iter();
        files
            .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn what_is_mounted_is_replaced_as_a_whole_and_nothing_old_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Mount::new(directory.path().join("tls")).unwrap();
        mount
            .update(&content(&[("tls.crt", "one"), ("tls.key", "1")]))
            .unwrap();
        let open = std::fs::canonicalize(mount.directory().join("tls.crt")).unwrap();
        mount
            .update(&content(&[("tls.crt", "one"), ("tls.key", "1")]))
            .unwrap();
        assert!(open.exists(), "the same content was mounted again");
        mount
            .update(&content(&[("tls.crt", "two"), ("ca.crt", "ca")]))
            .unwrap();
        let read = |name: &str| std::fs::read_to_string(mount.directory().join(name));
        assert_eq!(read("tls.crt").unwrap(), "two");
        assert_eq!(read("ca.crt").unwrap(), "ca");
        assert!(read("tls.key").is_err() && !open.exists());
    }

    #[test]
    fn a_replacement_that_failed_halfway_is_done_by_the_next_try() {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Mount::new(directory.path().join("tls")).unwrap();
        std::fs::create_dir(mount.directory().join("..1")).unwrap();
        std::fs::write(mount.directory().join("..1").join("old"), "half").unwrap();
        symlink("..1", mount.directory().join("..data_tmp")).unwrap();
        symlink("..data/tls.crt", mount.directory().join("tls.crt")).unwrap();
        mount.update(&content(&[("tls.crt", "one")])).unwrap();
        let read = |name: &str| std::fs::read_to_string(mount.directory().join(name));
        assert_eq!(read("tls.crt").unwrap(), "one");
        assert!(read("..data/old").is_err() && read("..data_tmp").is_err());
    }
}
