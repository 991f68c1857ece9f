//! The commit that everything is made from, as git shows it.
//!
//! Not here: what is made of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;

/// A commit that the working tree has unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub id: String,
    pub time: Timestamp,
}

/// Why a tree is not what a release is made from.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum SourceError {
    #[error("{} is in no git repository that can be read ({why}): make a release from a clone", .root.display())]
    NoRepository { root: PathBuf, why: String },
    #[error("there is no tag {tag}: make it with `git tag -s {tag}`, or fetch it with `git fetch --tags`")]
    NoTag { tag: String },
    #[error(
        "the tag {tag} is the commit {tagged}, but this tree is at {head}: run `git checkout {tag}` first"
    )]
    OtherCommit {
        tag: String,
        tagged: String,
        head: String,
    },
    #[error(
        "the tree differs from its commit in {change}: commit it, or run `git stash --include-untracked`; a release is made from a tag alone"
    )]
    Changed { change: String },
    #[error(
        "the tag {tag} is not of this version: name v{version}, or set version in Cargo.toml to that of the tag"
    )]
    OtherVersion { tag: String, version: &'static str },
}

/// The root of this workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The commit of a tree without changes; `None` if it has some, or if git knows no commit. Then an image cannot say what it was made from.
pub fn unchanged(root: &Path) -> Option<Commit> {
    match change(root) {
        Ok(None) => commit(root).ok(),
        Ok(Some(_)) | Err(_) => None,
    }
}

/// The commit that the tree has unchanged and that this tag names, which must be that of the version.
pub fn tagged(root: &Path, tag: &str, version: &'static str) -> Result<Commit, SourceError> {
    if tag.strip_prefix('v') != Some(version) {
        return Err(SourceError::OtherVersion {
            tag: tag.to_owned(),
            version,
        });
    }
    let commit = commit(root)?;
    let name = format!("refs/tags/{tag}^{{commit}}");
    let tagged = git(root, &["rev-parse", "--verify", "--quiet", &name])
        .map_err(|_| SourceError::NoTag { tag: tag.to_owned() })?;
    if tagged != commit.id {
        return Err(SourceError::OtherCommit {
            tag: tag.to_owned(),
            tagged,
            head: commit.id,
        });
    }
    match change(root)? {
        Some(change) => Err(SourceError::Changed { change }),
        None => Ok(commit),
    }
}

fn commit(root: &Path) -> Result<Commit, SourceError> {
    let line = git(root, &["show", "--no-patch", "--format=%H %ct", "HEAD"])?;
    let parts = line.split_once(' ');
    let read = parts.and_then(|(id, time)| Some((id, Timestamp::from_second(time.parse().ok()?).ok()?)));
    let (id, time) = read.ok_or_else(|| SourceError::NoRepository {
        root: root.to_owned(),
        why: format!("git show printed {line:?}"),
    })?;
    Ok(Commit {
        id: id.to_owned(),
        time,
    })
}

/// The first path that differs from the commit.
fn change(root: &Path) -> Result<Option<String>, SourceError> {
    let changes = git(root, &["status", "--porcelain"])?;
    Ok(changes.lines().next().map(|line| line.trim().to_owned()))
}

fn git(root: &Path, words: &[&str]) -> Result<String, SourceError> {
    let failed = |why: String| SourceError::NoRepository {
        root: root.to_owned(),
        why,
    };
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(words)
        .output()
        .map_err(|error| failed(format!("git: {error}")))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(said(&output.stdout))
    } else {
        Err(failed(said(&output.stderr)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs git in a repository of the test, whatever the machine's own settings are.
    fn run(root: &Path, words: &[&str]) {
        let status = Command::new("git")
            .args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@example.test",
                "-c",
                "tag.gpgSign=false",
            ])
            .args(["-c", "commit.gpgSign=false"])
            .arg("-C")
            .arg(root)
            .args(words)
            .status();
        assert!(status.expect("git can be run").success(), "{words:?}");
    }

    fn refused(root: &Path, tag: &str, part: &str) {
        let line = tagged(root, tag, "0.1.0").unwrap_err().to_string();
        assert!(
            line.contains(part) && line.lines().count() == 1,
            "{part} is not in {line}"
        );
    }

    #[test]
    fn a_release_is_made_from_its_tag_alone() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        refused(root, "v0.1.0", "make a release from a clone");
        run(root, &["init", "--quiet"]);
        std::fs::write(root.join("file"), "one").unwrap();
        run(root, &["add", "file"]);
        run(root, &["commit", "--quiet", "--message=one"]);
        refused(root, "v0.1.0", "git tag -s v0.1.0");
        run(root, &["tag", "v0.1.0"]);
        let commit = tagged(root, "v0.1.0", "0.1.0").unwrap();
        assert_eq!((commit.id.len(), unchanged(root)), (40, Some(commit.clone())));
        for tag in ["v0.2.0", "0.1.0", "main", ""] {
            refused(root, tag, "name v0.1.0");
        }
        std::fs::write(root.join("other"), "").unwrap();
        refused(root, "v0.1.0", "other: commit it");
        assert_eq!(unchanged(root), None);
        run(root, &["add", "other"]);
        run(root, &["commit", "--quiet", "--message=two"]);
        refused(root, "v0.1.0", "git checkout v0.1.0");
        // An annotated tag, as people sign them.
        run(root, &["tag", "--force", "--annotate", "--message=x", "v0.1.0"]);
        assert_ne!(tagged(root, "v0.1.0", "0.1.0").unwrap().id, commit.id);
    }
}
