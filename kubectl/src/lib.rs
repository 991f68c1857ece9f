//! The kubectl plugin: shows people what the agents and the webhook do, and does what people may do, each as one checked command.
//!
//! What is shown and what is written is decided in the core ([`cordonhold_shared::fleet`], [`cordonhold_shared::release`],
//! [`cordonhold_shared::cordoner`]); this crate reads the cluster, prints, asks and writes.

#![warn(missing_docs)]

mod agents;
mod apply;
mod args;
mod ask;
mod cancel;
mod change;
mod clock;
mod cluster;
mod complete;
mod doctor;
mod explain;
mod history;
mod install;
mod look;
mod migrate;
mod output;
mod patch;
mod pause;
mod reboot;
mod release;
mod report;
mod status;
mod text;
mod ui;
mod watch;
mod why;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use cordonhold_rt::{api, client, crypto, exit};
use cordonhold_shared::quote::one_line;

use args::{Args, Command, MigrateStep};
use cluster::Cluster;

/// The program in its messages, as people type it.
const PROGRAM: &str = "kubectl cordonhold";
/// The exit code if something was refused or is wrong.
const TROUBLE: u8 = 1;
/// The exit code if the command line or the cluster cannot be used.
const UNUSABLE: u8 = 2;

/// How a command ends that has said what there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Everything was done, or nothing is wrong.
    Fine,
    /// Something was refused, was not done, or is wrong.
    Trouble,
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Crypto(crypto::AlreadyInstalled),
    #[error("failed to start the runtime")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Client(client::ClientError),
    #[error("failed to {what}: {source}: {fix}")]
    Call {
        what: String,
        source: api::CallError,
        fix: String,
    },
    #[error("there is no node {0}: name one that kubectl get nodes lists")]
    NoNode(String),
    #[error(
        "there is no pool {name} in the namespace {namespace}: name one of {known}, or the namespace of the agents with -n"
    )]
    NoPool {
        name: String,
        namespace: String,
        known: String,
    },
    #[error(
        "failed to read the time from the header Date of the API server's answer: a hold ends by time, and the clock of this machine may be \
         wrong: look whether a proxy removes that header"
    )]
    NoTime,
    #[error("failed to read the answer: {0}: run it on a terminal, or add --yes")]
    NoAnswer(std::io::Error),
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Explain(cordonhold_webhook::ExplainError),
    #[error("failed to read the log {path}: {source}: name a file that can be read, or - for standard input")]
    Log { path: String, source: std::io::Error },
    #[error("failed to listen on {address}: {source}: choose another --port, or none")]
    Listen {
        address: std::net::SocketAddr,
        source: std::io::Error,
    },
    #[error("failed to make the archive: {0}: try again")]
    Archive(#[source] std::io::Error),
    #[error("failed to write {}: {source}: name another file with --file, which is not there yet", .path.display())]
    Write {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    #[error("failed to print: {0}")]
    Print(#[from] std::io::Error),
}

/// Runs the plugin with this command line, whose first word is the program's name, and returns the exit code.
pub fn run(line: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(line) {
        Ok(args) => args,
        Err(error) => {
            // clap prints help to standard output and mistakes to standard error. If nobody reads either, the code still says it.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { UNUSABLE } else { 0 });
        }
    };
    match ended(args) {
        Ok(Ending::Fine) => ExitCode::SUCCESS,
        Ok(Ending::Trouble) => ExitCode::from(TROUBLE),
        // Whoever closed the pipe wants no more lines.
        Err(Error::Print(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&complaint(&error));
            ExitCode::from(UNUSABLE)
        }
    }
}

/// An error on one line.
fn complaint(error: &Error) -> String {
    format!(
        "{PROGRAM}: {}",
        one_line(&exit::one_line(error), output::SAID_MAX)
    )
}

fn ended(args: Args) -> Result<Ending, Error> {
    crypto::install_provider().map_err(Error::Crypto)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let Args {
        access,
        common,
        command,
    } = args;
    let connect = async || {
        let client = access.client().await.map_err(Error::Client)?;
        Ok::<Cluster, Error>(Cluster::new(client, &common))
    };
    let result = runtime.block_on(carried_out(command, &common.namespace, connect));
    // A login program that hangs must not keep the plugin from ending.
    runtime.shutdown_background();
    result
}

async fn carried_out(
    command: Command,
    namespace: &str,
    connect: impl AsyncFn() -> Result<Cluster, Error>,
) -> Result<Ending, Error> {
    match command {
        Command::Status(args) => status::run(&connect().await?, &args).await,
        Command::Why(args) => why::run(&connect().await?, &args).await,
        Command::History(args) => history::run(&connect().await?, &args).await,
        Command::Ui(args) => ui::run(&connect().await?, &args).await,
        Command::Doctor(args) => doctor::run(&connect().await?, &args).await,
        Command::Explain(args) => explain::run(connect, args).await,
        Command::Cancel(args) => Box::pin(cancel::run(&connect().await?, &args)).await,
        Command::Pause(args) => pause::pause(&connect().await?, &args).await,
        Command::Resume(args) => pause::resume(&connect().await?, &args).await,
        Command::Keep(args) => pause::keep(&connect().await?, &args).await,
        Command::Unkeep(args) => pause::unkeep(&connect().await?, &args).await,
        Command::Reboot(args) => reboot::run(&connect().await?, &args).await,
        Command::Release(args) => release::run(&connect().await?, &args).await,
        Command::Install(args) => install::run(connect, namespace, &args).await,
        Command::Migrate(args) => match args.step {
            MigrateStep::Plan(args) => migrate::plan(connect, &args).await,
            step => migrate::stages::run(&connect().await?, &step).await,
        },
        Command::Report(args) => report::run(&connect().await?, &args).await,
        Command::Completion => complete::script(),
        Command::Complete { words } => complete::run(connect, &words).await,
    }
}

#[cfg(test)]
mod tests;
