//! The commit that everything is made from, as git shows it.
//!
//! Not here: what is made of it.

use std::ffi::{OsStr, OsString};
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
        "the tree differs from its commit in {change}: commit it, or run `git stash`; a release is made from a tag alone"
    )]
    Changed { change: String },
    #[error(
        "{path} is in the clone but in no commit: move it out of the clone; a release is made from a tag alone"
    )]
    Untracked { path: String },
    #[error(
        "the tree was changed or moved to another commit while the programs were built: leave it alone, and run the command again"
    )]
    ChangedMeanwhile,
    #[error(
        "the tag {tag} is not of this version: name v{version}, or set version in Cargo.toml to that of the tag"
    )]
    OtherVersion { tag: String, version: &'static str },
}

/// What the names of git's own variables begin with. They can name another repository, index or tree, as in a hook of git.
const VARIABLES: &str = "GIT_";

/// The root of this workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The commit of a tree without changes; `None` if it has some, or if git knows no commit. Then an image cannot say what it was made from.
pub fn unchanged(root: &Path) -> Option<Commit> {
    clean(root).ok()
}

/// Whether the tree is still at this commit, without changes. Without a commit nothing has been said that could be wrong by now.
pub fn still(root: &Path, commit: Option<&Commit>) -> Result<(), SourceError> {
    if commit.is_none() || unchanged(root).as_ref() == commit {
        return Ok(());
    }
    Err(SourceError::ChangedMeanwhile)
}

/// The commit that the tree has unchanged and that this tag names, which must be that of the version.
pub fn tagged(root: &Path, tag: &str, version: &'static str) -> Result<Commit, SourceError> {
    if tag.strip_prefix('v') != Some(version) {
        return Err(SourceError::OtherVersion {
            tag: tag.to_owned(),
            version,
        });
    }
    let head = commit(root)?;
    let name = format!("refs/tags/{tag}^{{commit}}");
    let tagged = git(root, &["rev-parse", "--verify", "--quiet", &name])
        .map_err(|_| SourceError::NoTag { tag: tag.to_owned() })?;
    if tagged.trim() != head.id {
        return Err(SourceError::OtherCommit {
            tag: tag.to_owned(),
            tagged: tagged.trim().to_owned(),
            head: head.id,
        });
    }
    clean(root)
}

/// The files below a folder of the clone that are in the index, by their names from the root on, in the order of the names.
pub fn tracked(root: &Path, folder: &str) -> Result<Vec<String>, SourceError> {
    let listed = git(root, &["ls-files", "-z", "--cached", "--", folder])?;
    Ok(names(&listed))
}

/// The files of the clone as they are now: those in the index, and those that git does not ignore.
pub fn present(root: &Path) -> Result<Vec<String>, SourceError> {
    let listed = git(
        root,
        &["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    )?;
    let is_there = |name: &String| root.join(name).symlink_metadata().is_ok();
    Ok(names(&listed).into_iter().filter(is_there).collect())
}

/// A list that git has ended each name of with a zero byte.
fn names(listed: &str) -> Vec<String> {
    let mut names: Vec<String> = listed
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The commit that the tree is at, if it differs in nothing.
fn clean(root: &Path) -> Result<Commit, SourceError> {
    // Whatever the user's settings leave out of it.
    let changes = git(root, &["status", "--porcelain", "--untracked-files=all"])?;
    match changes.lines().next() {
        None => commit(root),
        Some(line) => Err(match line.strip_prefix("?? ") {
            Some(path) => SourceError::Untracked {
                path: path.to_owned(),
            },
            None => SourceError::Changed {
                change: line.trim().to_owned(),
            },
        }),
    }
}

fn commit(root: &Path) -> Result<Commit, SourceError> {
    let line = git(root, &["show", "--no-patch", "--format=%H %ct", "HEAD"])?;
    let parts = line.trim().split_once(' ');
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

/// Git in this tree and in no other, whatever these variables say, which are those of this process.
fn command(root: &Path, variables: impl Iterator<Item = OsString>) -> Command {
    let mut command = Command::new("git");
    for name in variables.filter(|name| is_of_git(name)) {
        let _ = command.env_remove(name);
    }
    let _ = command.arg("-C").arg(root);
    command
}

fn is_of_git(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(VARIABLES.as_bytes())
}

fn git(root: &Path, words: &[&str]) -> Result<String, SourceError> {
    let failed = |why: String| SourceError::NoRepository {
        root: root.to_owned(),
        why,
    };
    let output = command(root, std::env::vars_os().map(|(name, _)| name))
        .args(words)
        .output()
        .map_err(|error| failed(format!("git: {error}")))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(said(&output.stdout))
    } else {
        Err(failed(said(&output.stderr).trim().to_owned()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Runs git in a repository of a test, whatever the machine's own settings are.
    pub(crate) fn run(root: &Path, words: &[&str]) {
        let status = command(root, std::env::vars_os().map(|(name, _)| name))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.test"])
            .args(words)
            .status();
        assert!(status.expect("git can be run").success(), "{words:?}");
    }

    fn refused(root: &Path, tag: &str, part: &str) -> String {
        let line = tagged(root, tag, "0.1.0").unwrap_err().to_string();
        assert!(
            line.contains(part) && line.lines().count() == 1,
            "{part} is not in {line}"
        );
        line
    }

    #[test]
    fn a_release_is_made_from_its_tag_alone() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        drop(refused(root, "v0.1.0", "make a release from a clone"));
        run(root, &["init", "--quiet"]);
        std::fs::write(root.join("file"), "one").unwrap();
        run(root, &["add", "file"]);
        run(root, &["commit", "--quiet", "--message=one"]);
        drop(refused(root, "v0.1.0", "git tag -s v0.1.0"));
        run(root, &["tag", "v0.1.0"]);
        let commit = tagged(root, "v0.1.0", "0.1.0").unwrap();
        assert_eq!((commit.id.len(), unchanged(root)), (40, Some(commit.clone())));
        assert!(still(root, Some(&commit)).is_ok());
        for tag in ["v0.2.0", "0.1.0", "main", ""] {
            drop(refused(root, tag, "name v0.1.0"));
        }
        // What must not be committed, such as a key, is in the way too; nobody is told to commit it.
        std::fs::create_dir(root.join("keys")).unwrap();
        std::fs::write(root.join("keys/release.pem"), "").unwrap();
        let line = refused(root, "v0.1.0", "keys/release.pem is in the clone");
        assert!(
            line.contains("move it out") && !line.contains("commit it"),
            "{line}"
        );
        assert_eq!(unchanged(root), None);
        let line = still(root, Some(&commit)).unwrap_err().to_string();
        assert!(line.contains("while the programs were built"), "{line}");
        run(root, &["add", "keys/release.pem"]);
        drop(refused(root, "v0.1.0", "release.pem: commit it"));
        run(root, &["commit", "--quiet", "--message=two"]);
        drop(refused(root, "v0.1.0", "git checkout v0.1.0"));
        assert!(still(root, Some(&commit)).is_err());
        // An annotated tag, as people sign them.
        run(root, &["tag", "--force", "--annotate", "--message=x", "v0.1.0"]);
        assert_ne!(tagged(root, "v0.1.0", "0.1.0").unwrap().id, commit.id);
        std::fs::write(root.join("file"), "two").unwrap();
        drop(refused(root, "v0.1.0", "differs from its commit in M file"));
    }

    #[test]
    fn a_variable_of_git_names_no_other_tree() {
        let names = ["GIT_DIR", "GIT_INDEX_FILE", "PATH", "NOT_GIT_DIR"].map(OsString::from);
        let command = command(Path::new("/clone"), names.into_iter());
        let removed: Vec<_> = command.get_envs().collect();
        assert_eq!(
            removed,
            [
                (OsStr::new("GIT_DIR"), None),
                (OsStr::new("GIT_INDEX_FILE"), None)
            ]
        );
    }
}
