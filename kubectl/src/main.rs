//! `kubectl-cordonhold`, which kubectl runs as `kubectl cordonhold`. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    cordonhold_kubectl::run(std::env::args_os())
}
