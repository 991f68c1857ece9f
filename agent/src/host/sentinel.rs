//! The sentinel: the file or the command on the host that asks for a reboot.
//!
//! Not here: when it is looked at, see [`cordonhold_shared::reboot::driver`], and what each distribution has ([`super::preset`]).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cordonhold_rt::exit::one_line;
use cordonhold_rt::sync::locked;
use tracing::{info, warn};

use super::HostError;
use super::command::{Command, Ended};
use super::root::{Files, Root};

/// What asks for a reboot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentinelConfig {
    /// The file at this path, if it is there.
    File(PathBuf),
    /// A command that runs on the host, by its answer.
    Command {
        /// The command's words, the program first.
        words: Vec<String>,
        /// How its answer is read.
        meaning: Meaning,
    },
}

/// How a sentinel command says whether it asks for a reboot. An answer that does not fit cannot be told: it is neither yes nor no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// As in kured: exit code 0 is yes, any other is no, except 126 and 127, with which a command ends that could not be run.
    ZeroAsks,
    /// This exit code is yes, if the output also has the text, where there is one. Exit code 0 is no.
    Exit {
        /// The exit code that asks for a reboot.
        asks: i32,
        /// What the output has then. It tells the answer apart from a failure with the same exit code.
        says: Option<&'static str>,
    },
    /// After exit code 0: the first line that begins with `of` is yes if it is `asks`, else no.
    Line {
        /// The beginning of the line that answers.
        of: &'static str,
        /// The whole line that asks for a reboot.
        asks: &'static str,
    },
    /// After exit code 0, and an output that is a JSON object: the text `of` is yes if it is `asks`, else no.
    Field {
        /// The name of the field that answers.
        of: &'static str,
        /// Its value that asks for a reboot.
        asks: &'static str,
    },
}

/// The sentinel of a host. Clones share what was seen last.
#[derive(Clone, Debug)]
pub struct Sentinel {
    /// The node's name, for the log.
    node: String,
    source: Source,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Clone, Debug)]
enum Source {
    File { files: Files, path: PathBuf },
    Command { command: Command, meaning: Meaning },
}

/// What the last look has shown.
#[derive(Debug, Default)]
struct Seen {
    answer: Option<bool>,
    /// Whether the log's last word is that the sentinel cannot be told.
    is_unreadable: bool,
}

/// Exit codes that say that the command itself could not be run: not executable, or not found. A shell, nsenter and our own way into the
/// host's namespaces end with them (POSIX: 2.8.2 Exit Status for Commands; util-linux: include/exitcodes.h).
const COULD_NOT_RUN: [i32; 2] = [126, 127];
/// What is added to the name of a sentinel file for the file that lists the packages because of which it is there, one a line
/// (Debian Policy: "Signaling that a reboot is required").
const PACKAGES: &str = "pkgs";
/// How many packages are named; how many more there are is said. The account on the Node has room for about that many.
const PACKAGES_MAX: usize = 5;
/// Most bytes that are read of that list: some hundred packages.
const PACKAGES_BYTES_MAX: u64 = 8 * 1024;
/// Longest time for a sentinel command. The agent's loop waits for it as for the reboot command, so it has the same time; what asks a
/// package manager takes seconds.
pub(super) const SENTINEL_BOUND: Duration = Duration::from_secs(60);

impl Sentinel {
    /// The sentinel at this path, in the host's root.
    ///
    /// In kured it is a path in the container: kured's manifests mount the host's `/var/run` on `/sentinel` and name
    /// `/sentinel/reboot-required`. So if the host does not have the file's directory, the path is looked up in the agent's own container.
    pub(super) fn file(node: &str, files: Files, path: PathBuf) -> Sentinel {
        Sentinel::new(node, Source::File { files, path })
    }

    /// The sentinel that this command tells.
    pub(super) fn command(node: &str, command: Command, meaning: Meaning) -> Sentinel {
        Sentinel::new(node, Source::Command { command, meaning })
    }

    fn new(node: &str, source: Source) -> Sentinel {
        Sentinel {
            node: node.to_owned(),
            source,
            seen: Arc::default(),
        }
    }

    /// For tests: a sentinel without a [`Host`](super::Host).
    #[cfg(test)]
    pub(crate) fn in_root(root: &Path, path: PathBuf) -> Result<Sentinel, HostError> {
        Ok(Sentinel::file("node-0", Files::new(Root::open(root)?), path))
    }

    /// For tests: a sentinel command that runs here.
    #[cfg(test)]
    pub(crate) fn shell(script: &str) -> Sentinel {
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        Sentinel::command("node-0", Command::new(words.to_vec()), Meaning::ZeroAsks)
    }

    /// Looks whether the sentinel asks for a reboot; `None` if that cannot be told. The log says so once, and once that it can be told again.
    pub async fn look(&self) -> Option<bool> {
        let looked = self.is_asking().await;
        let answer = looked.as_ref().ok().copied();
        let is_news = locked(&self.seen).learn(answer);
        let node = &self.node;
        match looked {
            Ok(_) if is_news => info!(
                event = "sentinel_readable",
                node, "the sentinel can be told again"
            ),
            Err(error) if is_news => {
                let why = one_line(&error);
                warn!(
                    event = "sentinel_unreadable",
                    node,
                    why,
                    "cannot tell whether the sentinel asks for a reboot: looking again each --period"
                );
            }
            Ok(_) | Err(_) => {}
        }
        answer
    }

    /// What is shown to people: a file is looked at, a command does not run for this, its last answer is given. `None` if there is none.
    pub async fn shown(&self) -> Option<bool> {
        match &self.source {
            Source::File { .. } => self.look().await,
            Source::Command { .. } => locked(&self.seen).answer,
        }
    }

    /// What a sentinel that asks for a reboot says of the reason: the packages that a file on the host lists beside it. Empty if it says
    /// nothing. It is only shown, so a list that cannot be read is none.
    pub async fn reason(&self) -> String {
        match &self.source {
            Source::File { files, path } => {
                let list = path.with_added_extension(PACKAGES);
                let read = files
                    .run_blocking(list, |root, list| root.read_lines(list, PACKAGES_BYTES_MAX))
                    .await;
                some_of(&read.ok().flatten().unwrap_or_default())
            }
            Source::Command { .. } => String::new(),
        }
    }

    /// Whether the sentinel asks for a reboot. A file must be a regular one; kured accepts anything of this name.
    pub async fn is_asking(&self) -> Result<bool, HostError> {
        match &self.source {
            Source::File { files, path } => files.run_blocking(path, Root::has_sentinel).await,
            Source::Command { command, meaning } => {
                let ended = command.output(SENTINEL_BOUND).await?;
                let answer = meaning.answer(&ended);
                Ok(answer.ok_or_else(|| ended.no_answer())?)
            }
        }
    }

    /// The path of a file in a directory that is neither on the host nor in the container: then nothing can ask for a reboot.
    pub async fn unreachable(&self) -> Option<&Path> {
        match &self.source {
            Source::File { files, path } => {
                let has_place = files.run_blocking(path, Root::has_place).await;
                has_place.is_ok_and(|has_place| !has_place).then_some(path)
            }
            Source::Command { .. } => None,
        }
    }
}

impl Seen {
    /// Takes the answer of a look. Whether the log should say that it cannot be told, or that it can be told again.
    fn learn(&mut self, answer: Option<bool>) -> bool {
        self.answer = answer;
        let was_unreadable = std::mem::replace(&mut self.is_unreadable, answer.is_none());
        was_unreadable != self.is_unreadable
    }
}

impl Meaning {
    /// Whether the answer asks for a reboot; `None` if it does not fit.
    fn answer(self, ended: &Ended) -> Option<bool> {
        let code = ended.status.code()?;
        let said = (code == 0).then_some(ended.stdout.as_str());
        match self {
            Meaning::ZeroAsks => (!COULD_NOT_RUN.contains(&code)).then_some(code == 0),
            Meaning::Exit { asks, says } if code == asks => says
                .is_none_or(|text| ended.stdout.contains(text))
                .then_some(true),
            Meaning::Exit { .. } => (code == 0).then_some(false),
            Meaning::Line { of, asks } => {
                let line = said?.lines().map(str::trim).find(|line| line.starts_with(of))?;
                Some(line == asks)
            }
            Meaning::Field { of, asks } => {
                let answer: serde_json::Value = serde_json::from_str(said?).ok()?;
                Some(answer.get(of)?.as_str()? == asks)
            }
        }
    }
}

impl Root {
    fn has_sentinel(&self, path: &Path) -> Result<bool, HostError> {
        if self.has_directory(directory_of(path))? {
            self.has_file(path)
        } else {
            Ok(path.is_file())
        }
    }

    fn has_place(&self, path: &Path) -> Result<bool, HostError> {
        let directory = directory_of(path);
        Ok(self.has_directory(directory)? || directory.is_dir())
    }
}

/// The first few of these lines, each once, and how many more there are.
fn some_of(lines: &str) -> String {
    let mut seen = BTreeSet::from([""]);
    let mut names: Vec<&str> = lines.lines().map(str::trim).collect();
    names.retain(|name| seen.insert(name));
    let first = names.get(..PACKAGES_MAX).unwrap_or(&names);
    match names.len() - first.len() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

#[cfg(test)]
mod tests;
