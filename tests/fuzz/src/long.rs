//! Long runs, guided by the code that inputs reach: libFuzzer on each target, in a build of its own that counts that code.
//!
//! Not here: the short runs of `cargo test` ([`crate::mutation`]).

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::{Target, corpus};

/// Names the target to the guided program.
pub const TARGET_VARIABLE: &str = "CORDONHOLD_FUZZ_TARGET";

/// Counts what is reached in each function, block and edge, and tells the fuzzer what is compared. The stable compiler takes all of these;
/// they are what cargo-fuzz uses, without a sanitizer: our code has no unsafe block.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";
/// Longest input, in bytes. The short runs have the same bound.
const INPUT_MAX: usize = crate::mutation::INPUT_MAX;
/// Longest time for one input: a reader that takes longer hangs.
const INPUT_TIME: Duration = Duration::from_secs(10);
/// Most memory of a run, in MiB.
const MEMORY_MAX: usize = 2_048;
/// Longest word of a dictionary (libFuzzer's `Word`).
const WORD_MAX: usize = 64;
/// Most bytes of the inputs that are kept for a target, as a file. `cargo test` runs each, and 2,000 changes of them.
const KEPT_MAX: usize = 64 * 1_024;

/// What became of one target.
pub struct Told {
    target: Target,
    /// What the fuzzer wrote of the code that is reached: at first, and at the end.
    reached: [String; 2],
    kept: [usize; 2],
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, after] = &self.reached;
        let [few, many] = self.kept;
        writeln!(f, "{}: {few} inputs were kept, {many} are now", self.target.name)?;
        write!(f, "  {before}\n  {after}")
    }
}

/// Where the runs leave their files.
struct Places {
    program: PathBuf,
    root: PathBuf,
}

/// Runs these targets for this time in all, so many at once, and tells of each. Returns the commands that try again what broke a promise.
pub fn run(
    targets: &[Target],
    time: Duration,
    at_once: usize,
    tell: impl Fn(&Told) + Sync,
) -> Result<Vec<String>> {
    let places = build()?;
    let at_once = at_once.clamp(1, targets.len().max(1));
    let each = time * u32::try_from(at_once)? / u32::try_from(targets.len().max(1))?;
    let waiting = Mutex::new(targets.iter());
    let next = || waiting.lock().ok().and_then(|mut waiting| waiting.next());
    let work = || -> Result<Vec<String>> {
        let mut broken = Vec::new();
        while let Some(target) = next() {
            let told = places
                .run(target, each)
                .with_context(|| format!("{} was not run", target.name))?;
            tell(&told);
            broken.extend(places.broken(target)?.iter().map(|file| replay(target, file)));
        }
        Ok(broken)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        let mut broken = Vec::new();
        for worker in workers {
            broken.extend(worker.join().ok().context("a worker panicked")??);
        }
        Ok(broken)
    })
}

/// The command that tries this input again.
fn replay(target: &Target, file: &Path) -> String {
    format!("cargo fuzz-long {} --replay {}", target.name, file.display())
}

/// Builds the guided program. With `--target`, so that programs which only run during the build are built without the counters.
fn build() -> Result<Places> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz");
    std::fs::create_dir_all(&root).with_context(|| format!("failed to create {}", root.display()))?;
    let root = root
        .canonicalize()
        .with_context(|| format!("failed to find {}", root.display()))?;
    let host = host()?;
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--locked",
            "--package",
            env!("CARGO_PKG_NAME"),
            "--features",
            "guided",
        ])
        .args(["--bin", "guided", "--target", &host, "--target-dir"])
        .arg(&root)
        .env("RUSTFLAGS", COVERAGE)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .context("failed to run cargo")?;
    ensure!(status.success(), "the guided program was not built: {status}");
    Ok(Places {
        program: root.join(host).join("debug/guided"),
        root,
    })
}

/// The triple of this machine, as the compiler says it.
fn host() -> Result<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .context("failed to run rustc")?;
    let text = String::from_utf8(output.stdout).context("rustc -vV printed no text")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

impl Places {
    /// Runs a target for this time, and keeps the inputs that are worth it.
    fn run(&self, target: &Target, time: Duration) -> Result<Told> {
        let kept = corpus::read(target)?;
        let (found, seeds) = (self.directory("found", target)?, self.seeds(target, &kept)?);
        let words = self.words(target)?;
        // What broke before is tried first: if it still breaks, the fuzzer writes it again.
        for file in self.broken(target)? {
            let name = file.file_name().context("a file without a name")?;
            std::fs::rename(&file, seeds.join(name)).context("failed to move an input")?;
        }
        let log = self.root.join(format!("{}.log", target.name));
        let arguments = [
            format!("-max_total_time={}", time.as_secs().max(1)),
            format!("-dict={}", words.display()),
            format!(
                "-artifact_prefix={}/",
                self.directory("broken", target)?.display()
            ),
        ];
        let has_ended = self.fuzz(target, &arguments, &[&found, &seeds], &log)?;
        let is_broken = !self.broken(target)?.is_empty();
        ensure!(has_ended || is_broken, "the fuzzer failed: see {}", log.display());
        let reached = reached(&log)?;

        // The smallest inputs that add to the code which the kept ones reach. How often they reach it does not count: that would be thousands.
        let seeds = self.seeds(target, &kept)?;
        let arguments = ["-merge=1", "-set_cover_merge=1", "-use_counters=0"].map(str::to_owned);
        let log = self.root.join(format!("{}-merge.log", target.name));
        let has_ended = self.fuzz(target, &arguments, &[&seeds, &found], &log)?;
        ensure!(has_ended, "the inputs were not compared: see {}", log.display());
        let all = with_worthwhile(&kept, inputs(&seeds)?);
        corpus::write(target, &all)?;
        Ok(Told {
            target: *target,
            reached,
            kept: [kept.len(), all.len()],
        })
    }

    /// Runs the guided program; `false` if it says that something broke.
    fn fuzz(&self, target: &Target, arguments: &[String], directories: &[&Path], log: &Path) -> Result<bool> {
        let written = File::create(log).with_context(|| format!("failed to write {}", log.display()))?;
        let status = Command::new(&self.program)
            .env(TARGET_VARIABLE, target.name)
            .arg(format!("-max_len={INPUT_MAX}"))
            .arg(format!("-timeout={}", INPUT_TIME.as_secs()))
            .arg(format!("-rss_limit_mb={MEMORY_MAX}"))
            .args(arguments)
            .args(directories)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(written)
            .status()
            .with_context(|| format!("failed to run {}", self.program.display()))?;
        Ok(status.success())
    }

    fn directory(&self, what: &str, target: &Target) -> Result<PathBuf> {
        let directory = self.root.join(what).join(target.name);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("failed to create {}", directory.display()))?;
        Ok(directory)
    }

    /// A directory with these inputs, and nothing else.
    fn seeds(&self, target: &Target, kept: &[Vec<u8>]) -> Result<PathBuf> {
        let directory = self.directory("seeds", target)?;
        std::fs::remove_dir_all(&directory).context("failed to remove the inputs of an earlier run")?;
        let directory = self.directory("seeds", target)?;
        for (number, input) in kept.iter().enumerate() {
            std::fs::write(directory.join(number.to_string()), input).context("failed to write an input")?;
        }
        Ok(directory)
    }

    /// The words of the target as a dictionary of the fuzzer.
    fn words(&self, target: &Target) -> Result<PathBuf> {
        let file = self.root.join(format!("{}.dict", target.name));
        let escaped = |word: &&str| {
            let bytes: Vec<String> = word.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("\"{}\"", bytes.concat())
        };
        let has_room = |word: &&&str| (1..=WORD_MAX).contains(&word.len());
        let words: Vec<String> = target.words.iter().filter(has_room).map(escaped).collect();
        let text = words.join("\n");
        std::fs::write(&file, text).with_context(|| format!("failed to write {}", file.display()))?;
        Ok(file)
    }

    /// The inputs that broke a promise, took too long or too much memory.
    fn broken(&self, target: &Target) -> Result<Vec<PathBuf>> {
        let is_broken = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            !name.starts_with("slow-unit-")
        };
        Ok(files(&self.directory("broken", target)?)?
            .into_iter()
            .filter(is_broken)
            .collect())
    }
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("failed to list {}", directory.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    Ok(files)
}

fn inputs(directory: &Path) -> Result<Vec<Vec<u8>>> {
    let read =
        |file: PathBuf| std::fs::read(&file).with_context(|| format!("failed to read {}", file.display()));
    files(directory)?.into_iter().map(read).collect()
}

/// The kept inputs, and of the others the shortest, as many as there is room for.
fn with_worthwhile(kept: &[Vec<u8>], mut others: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let bytes = |input: &Vec<u8>| corpus::escaped(input).len() + 1;
    let mut all = kept.to_vec();
    let mut room = KEPT_MAX.saturating_sub(kept.iter().map(bytes).sum());
    others.retain(|input| !kept.contains(input));
    others.sort_by_key(|input| (input.len(), input.clone()));
    for input in others {
        match room.checked_sub(bytes(&input)) {
            Some(left) => room = left,
            None => break,
        }
        all.push(input);
    }
    all
}

/// The first and the last line about the code that is reached.
fn reached(log: &Path) -> Result<[String; 2]> {
    let text = std::fs::read(log).with_context(|| format!("failed to read {}", log.display()))?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(" cov: ")).collect();
    let line = |line: Option<&&str>| line.map_or("nothing was reached".to_owned(), |line| (*line).to_owned());
    Ok([line(lines.first()), line(lines.last())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_stays_and_the_shortest_of_the_rest_that_fit_are_added() {
        let kept = vec![b"a long one".to_vec(), b"b".to_vec()];
        let huge = vec![b'x'; KEPT_MAX];
        let others = vec![huge, b"ccc".to_vec(), b"b".to_vec(), b"dd".to_vec()];
        let all = with_worthwhile(&kept, others);
        assert_eq!(all, [&b"a long one"[..], b"b", b"dd", b"ccc"]);
    }
}
