//! The program `cordonhold-agent`: reads its arguments, begins logging and runs the agent.

use std::process::ExitCode;

use cordonhold_agent::args::{self, Parsed};
use cordonhold_agent::config::Config;
use cordonhold_rt::{crypto, exit, logging};

const PROGRAM: &str = "cordonhold-agent";

fn main() -> ExitCode {
    match args::parse(std::env::args_os(), |name| std::env::var_os(name)) {
        Ok(Parsed::Run(config)) => exit::code(PROGRAM, start(*config)),
        Ok(Parsed::Tell(text)) => exit::tell(&text),
        Err(error) => exit::usage(PROGRAM, &error),
    }
}

fn start(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    crypto::install_provider()?;
    logging::init(config.process.log_format)?;
    // One thread: the agent waits for others nearly all the time, and it shares the node with people's work.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(cordonhold_agent::run(config));
    // A look at a host that hangs must not keep the process.
    runtime.shutdown_background();
    Ok(result?)
}
