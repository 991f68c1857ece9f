//! `cordonhold-webhook`: flags, logging, runtime, exit code. Everything else is in the library.

use std::process::ExitCode;

use cordonhold_rt::logging::LogFormat;
use cordonhold_rt::{crypto, exit, logging};
use cordonhold_webhook::{
    Args, CertsArgs, CertsConfig, Config, Error, ExplainArgs, ExplainConfig, UninstallArgs, UninstallConfig,
    explain, keep_certificates, run, uninstall,
};

const PROGRAM: &str = "cordonhold-webhook";
/// The subcommands; what follows each is a command line of its own.
const EXPLAIN: &str = "explain";
const CERTS: &str = "certs";
const UNINSTALL: &str = "uninstall";
/// The exit code for a wrong command line.
const BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(word) if word == EXPLAIN => {
            let line = std::iter::once(EXPLAIN.into()).chain(words);
            exit::parse_args_from(PROGRAM, line).map_or_else(|code| code, explained)
        }
        Some(word) if word == CERTS => {
            let line = std::iter::once(CERTS.into()).chain(words);
            exit::parse_args_from(PROGRAM, line).map_or_else(|code| code, certified)
        }
        Some(word) if word == UNINSTALL => {
            let line = std::iter::once(UNINSTALL.into()).chain(words);
            exit::parse_args_from(PROGRAM, line).map_or_else(
                |code| code,
                |args: UninstallArgs| uninstall(PROGRAM, &UninstallConfig::from(args)),
            )
        }
        Some(_) | None => match exit::parse_args::<Args>(PROGRAM) {
            Ok(args) => {
                let config = Config::from(args);
                exit::code(PROGRAM, start(config.log_format, run(config)))
            }
            Err(code) => code,
        },
    }
}

fn certified(args: CertsArgs) -> ExitCode {
    match CertsConfig::try_from(args) {
        Ok(config) => exit::code(PROGRAM, start(config.log_format, keep_certificates(config))),
        Err(error) => exit::usage(PROGRAM, &error),
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

fn start(log_format: LogFormat, running: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    crypto::install_provider().map_err(Error::Crypto)?;
    // Dropped last, so that the last lines of the log are written too.
    let _flush = logging::init_queued(log_format).map_err(Error::Logging)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(running)
}
