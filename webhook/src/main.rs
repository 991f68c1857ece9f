//! `cordonhold-webhook`: flags, logging, runtime, exit code. Everything else is in the library.

use std::process::ExitCode;

use cordonhold_rt::{crypto, exit, logging};
use cordonhold_webhook::{Args, Config, Error, ExplainArgs, ExplainConfig, explain, run};

const PROGRAM: &str = "cordonhold-webhook";
/// The only subcommand; what follows it is a command line of its own.
const EXPLAIN: &str = "explain";
/// The exit code for a wrong command line.
const BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == EXPLAIN) {
        let line = std::iter::once(EXPLAIN.into()).chain(words);
        return exit::parse_args_from(PROGRAM, line).map_or_else(|code| code, explained);
    }
    match exit::parse_args::<Args>(PROGRAM) {
        Ok(args) => exit::code(PROGRAM, start(args.into())),
        Err(code) => code,
    }
}

fn explained(args: ExplainArgs) -> ExitCode {
    match ExplainConfig::try_from(args) {
        Ok(config) => explain(PROGRAM, &config),
        Err(error) => {
            eprintln!("{PROGRAM}: {error}");
            ExitCode::from(BAD_INPUT)
        }
    }
}

fn start(config: Config) -> Result<(), Error> {
    crypto::install_provider().map_err(Error::Crypto)?;
    // Dropped last, so that the last lines of the log are written too.
    let _flush = logging::init_queued(config.log_format).map_err(Error::Logging)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(run(config))
}
