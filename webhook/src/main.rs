//! `cordonhold-webhook`: flags, logging, runtime, exit code. Everything else is in the library.

use std::process::ExitCode;

use cordonhold_rt::{crypto, exit, logging};
use cordonhold_webhook::{Args, Error, explain, run};

const PROGRAM: &str = "cordonhold-webhook";
/// The one word that is not a flag: everything after it is another command line.
const EXPLAIN: &str = "explain";

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == EXPLAIN) {
        let line = std::iter::once(EXPLAIN.into()).chain(words);
        return exit::parse_args_from(PROGRAM, line).map_or_else(|code| code, |args| explain(PROGRAM, &args));
    }
    match exit::parse_args(PROGRAM) {
        Ok(args) => exit::code(PROGRAM, start(&args)),
        Err(code) => code,
    }
}

fn start(args: &Args) -> Result<(), Error> {
    crypto::install_provider().map_err(Error::Crypto)?;
    // Dropped last, so that the log has the end too.
    let _flush = logging::init_queued(args.log_format).map_err(Error::Logging)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(run(args))
}
