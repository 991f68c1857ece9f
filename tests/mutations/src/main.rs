//! `cargo mutations`: changes the core in each place at which it can be changed, and looks whether a test notices. All changes are built
//! at once, each behind a switch.
//!
//! Not here: which changes there are. cargo-mutants lists them, and tries by itself those that no switch can make.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use cordonhold_rt::exit;

use compiler::Built;
use copy::Copy;
use explained::{Explained, Ran};
use list::Mutant;
use run::{Outcome, Tests};

mod compiler;
mod copy;
mod explained;
mod list;
mod run;
mod switch;

const ABOUT: &str = "\
The list of changes, called mutants, is that of `cargo mutants --list`: cargo install cargo-mutants --locked. They are built into a copy of the
sources in target/mutations, those that do not compile are left out, and the tests of `shared` run once for each that is left. A mutant that
no test notices survives. The outcome of each is in target/mutations/outcomes.txt.

No switch can make a mutant of a const fn, of a function that returns an `impl`, or one that does not compile: cargo-mutants itself tries those.

Exit code: 0 if each survivor is explained in tests/mutations/explained.txt, and nothing else is; 1 if not; 2 for a wrong command line.

Examples:

  cargo mutations                          all of them
  cargo mutations --file reboot/cycle      those of the files with this in their path
  cargo mutations --sample 300 --seed 7    the same three hundred each time";

/// What explains survivors.
const EXPLAINED: &str = "tests/mutations/explained.txt";

/// Change the core in each place, and look whether a test notices
#[derive(Parser)]
#[command(name = "cargo mutations", after_help = ABOUT)]
struct MutationsArgs {
    /// Only mutants of files with this in their path. With a `*`, which stands for any text, it is the whole path
    #[arg(long, value_name = "GLOB|TEXT")]
    file: Option<String>,
    /// Only so many of the mutants
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    sample: Option<u16>,
    /// What the sample is drawn with. The default is taken from the clock
    #[arg(long, value_name = "N", requires = "sample")]
    seed: Option<u64>,
    /// How many mutants run at once. The default is one for each processor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Where the copy is built. The default is target/mutations/build
    #[arg(long, value_name = "DIRECTORY")]
    target_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args: MutationsArgs = match exit::parse_args("mutations") {
        Ok(args) => args,
        Err(code) => return code,
    };
    exit::verdict("mutations", run(&args))
}

/// Tries the mutants; `true` if all survivors are explained.
fn run(args: &MutationsArgs) -> Result<bool> {
    let began = Instant::now();
    let tell = |line: &str| println!("{:>5} s  {line}", began.elapsed().as_secs());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root
        .canonicalize()
        .with_context(|| format!("failed to find {}", root.display()))?;
    let explained = fs::read_to_string(root.join(EXPLAINED))
        .with_context(|| format!("failed to read {EXPLAINED}"))
        .and_then(|text| Explained::read(&text).with_context(|| format!("failed to read {EXPLAINED}")))?;
    let all = list::all(&root)?;
    let mutants = chosen(args, &all)?;
    tell(&format!("{} of {} mutants", mutants.len(), all.len()));

    let directory = root.join("target/mutations");
    let target = args.target_dir.clone().unwrap_or_else(|| directory.join("build"));
    let target =
        std::path::absolute(&target).with_context(|| format!("failed to find {}", target.display()))?;
    let copy = Copy::new(&root, directory.join("sources"))?;
    let built = compiler::build(&copy, &mutants, &target, tell)?;
    tell("the tests are built");
    let tests = Tests::new(&built, &copy.directory)?;
    tell("the tests pass without a mutant");
    let jobs = match args.jobs {
        Some(jobs) => usize::from(jobs),
        None => thread::available_parallelism().map_or(1, usize::from),
    };
    let outcomes = tests.run_all(&built.mutants, jobs, tell)?;
    tell("all have run");

    write_outcomes(&directory.join("outcomes.txt"), &mutants, &outcomes)?;
    let survived = outcomes
        .iter()
        .filter(|(_, outcome)| **outcome == Outcome::Survived);
    let ran = Ran {
        all: &all,
        survivors: &survived.map(|(id, _)| *id).collect(),
        unswitched: &unswitched(&mutants, &built),
        is_whole: mutants.len() == all.len(),
    };
    Ok(judge(&explained, &ran, &outcomes))
}

/// The mutants that the command line asks for.
fn chosen(args: &MutationsArgs, all: &[Mutant]) -> Result<Vec<Mutant>> {
    let mut mutants = all.to_vec();
    if let Some(pattern) = &args.file {
        mutants = list::of_files(mutants, pattern);
        ensure!(
            !mutants.is_empty(),
            "no mutant is in a file {pattern}: see cargo mutants --list"
        );
    }
    if let Some(size) = args.sample {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = args.seed.unwrap_or(now.as_secs());
        println!("seed {seed}");
        mutants = list::sample(mutants, usize::from(size), seed);
    }
    Ok(mutants)
}

fn unswitched(mutants: &[Mutant], built: &Built) -> BTreeSet<usize> {
    let switched = list::ids(&built.mutants);
    list::ids(mutants).difference(&switched).copied().collect()
}

/// Writes a line for each mutant: what became of it, its name, and the test that noticed it.
fn write_outcomes(file: &Path, mutants: &[Mutant], outcomes: &BTreeMap<usize, Outcome>) -> Result<()> {
    let line = |mutant: &Mutant| {
        let (word, by) = match outcomes.get(&mutant.id) {
            Some(Outcome::Caught { by }) => ("caught", by.as_deref().unwrap_or("the end of the process")),
            Some(Outcome::TimedOut) => ("timed out", ""),
            Some(Outcome::Survived) => ("survived", ""),
            None => ("not switched", ""),
        };
        format!("{word}\t{}\t{by}\n", mutant.name)
    };
    let text: String = mutants.iter().map(line).collect();
    fs::write(file, text).with_context(|| format!("failed to write {}", file.display()))
}

/// Prints what came of it; `true` if nothing is against it.
fn judge(explained: &Explained, ran: &Ran<'_>, outcomes: &BTreeMap<usize, Outcome>) -> bool {
    let count = |is: fn(&Outcome) -> bool| outcomes.values().filter(|outcome| is(outcome)).count();
    println!(
        "\n{} caught, {} timed out, {} survived, {} cannot be switched",
        count(|outcome| matches!(outcome, Outcome::Caught { .. })),
        count(|outcome| *outcome == Outcome::TimedOut),
        ran.survivors.len(),
        ran.unswitched.len()
    );
    let unexplained = explained.unexplained(ran);
    for mutant in &unexplained {
        println!("survived: {}", mutant.name);
    }
    let faults = explained.faults(ran);
    for fault in &faults {
        println!("{EXPLAINED}: {fault}");
    }
    let explained = ran.survivors.len() - unexplained.len();
    println!(
        "{explained} survivors are explained, {} are not",
        unexplained.len()
    );
    unexplained.is_empty() && faults.is_empty()
}
