//! `cordonhold-webhook`: flags, logging, runtime, exit code. Everything else is in the library.

use std::process::ExitCode;

use cordonhold_rt::{crypto, exit, logging};
use cordonhold_webhook::{Args, Error, run};

const PROGRAM: &str = "cordonhold-webhook";

fn main() -> ExitCode {
    match exit::parse_args(PROGRAM) {
        Ok(args) => exit::code(PROGRAM, start(&args)),
        Err(code) => code,
    }
}

fn start(args: &Args) -> Result<(), Error> {
    crypto::install_provider().map_err(Error::Crypto)?;
    logging::init(args.log_format).map_err(Error::Logging)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(run(args))
}
