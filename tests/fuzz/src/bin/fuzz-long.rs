//! `cargo fuzz-long`: looks for inputs that break a promise for a night, guided by the code that they reach, and keeps the worthwhile ones.
//!
//! Not here: how it is done, see `cordonhold_fuzz::long`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use cordonhold_fuzz::{Target, corpus, long};
use cordonhold_rt::{duration, exit};

const ABOUT: &str = "\
libFuzzer changes the kept inputs of each target and keeps those that reach new code. At the end of a target, the smallest inputs that reach the
same code are kept in tests/fuzz/corpus, beside those that were there. The first run builds everything anew, in target/fuzz, with what counts
the code that is reached; that takes some minutes.

An input that breaks a promise is a file in target/fuzz/broken. The command that tries it again is printed.

Exit code: 0 if nothing broke; 1 if something did; 2 for a wrong command line.

Examples:

  cargo fuzz-long                        every target, 8 hours in all
  cargo fuzz-long cron lock --for 20m    two of them, 10 minutes each
  cargo fuzz-long lock --replay FILE     one input again";

/// Look for inputs that break a promise, guided by the code that they reach
#[derive(Parser)]
#[command(name = "cargo fuzz-long", after_help = ABOUT)]
struct LongArgs {
    /// The targets; all by default
    #[arg(value_name = "TARGET", value_parser = target)]
    targets: Vec<Target>,
    /// How long all targets take together, each the same
    #[arg(long = "for", value_name = "DURATION", default_value = "8h", value_parser = duration::parse)]
    time: Duration,
    /// How many targets run at once, each on a processor of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    at_once: u16,
    /// Only try this input with the one target that is named
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

fn target(name: &str) -> Result<Target, String> {
    Target::named(name).ok_or_else(|| {
        let names: Vec<&str> = cordonhold_fuzz::TARGETS
            .iter()
            .map(|target| target.name)
            .collect();
        format!("there is no such target: name one of {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    let args: LongArgs = match exit::parse_args("fuzz-long") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let result = match &args.replay {
        Some(file) => replay(&args.targets, file),
        None => run(&args),
    };
    exit::code("fuzz-long", result)
}

/// Tries one input. It panics if that breaks a promise.
fn replay(targets: &[Target], file: &Path) -> Result<()> {
    let [target] = targets else {
        anyhow::bail!("--replay needs the name of one target")
    };
    let input = std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
    println!(
        "the line for {}:\n{}",
        corpus::file(target).display(),
        corpus::escaped(&input)
    );
    (target.check)(&input);
    println!("it breaks nothing");
    Ok(())
}

fn run(args: &LongArgs) -> Result<()> {
    let targets = if args.targets.is_empty() {
        cordonhold_fuzz::TARGETS.to_vec()
    } else {
        args.targets.clone()
    };
    let at_once = usize::from(args.at_once);
    let broken = long::run(&targets, args.time, at_once, |told| println!("{told}"))?;
    for file in &broken {
        println!("broken: {file}");
    }
    ensure!(broken.is_empty(), "{} inputs break a promise", broken.len());
    Ok(())
}
