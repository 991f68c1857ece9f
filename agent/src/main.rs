//! The program `cordonhold-agent`: reads the command line, starts the log and runs the agent. As its own helper it runs one command on
//! the host instead.
//!
//! Not here: the agent itself, see `lib.rs`, and the helper, see `host/enter.rs`.

use std::process::ExitCode;

use cordonhold_agent::args::{self, Parsed};
use cordonhold_agent::config::Config;
use cordonhold_agent::host::enter;
use cordonhold_rt::{crypto, exit, logging};

const PROGRAM: &str = "cordonhold-agent";

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    // First of all, while the process has one thread.
    if words.next().is_some_and(|word| word == enter::WORD) {
        let error = enter::enter(words);
        let _ = exit::usage(PROGRAM, &error);
        return error.code();
    }
    match args::parse(std::env::args_os(), |name| std::env::var_os(name)) {
        Ok(Parsed::Run(config)) => exit::code(PROGRAM, start(*config)),
        Ok(Parsed::Tell(text)) => exit::tell(&text),
        Err(error) => exit::usage(PROGRAM, &error),
    }
}

fn start(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    crypto::install_provider()?;
    logging::init(config.process.log_format)?;
    // One thread is enough: the agent mostly waits, and it should leave the node to the workloads.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(cordonhold_agent::run(config));
    // A file access that hangs on the host must not keep the process from ending.
    runtime.shutdown_background();
    Ok(result?)
}
