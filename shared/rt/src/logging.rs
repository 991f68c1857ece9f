//! Logging to standard output, where `kubectl logs` and log collectors read it.
//!
//! Not here: the one line on standard error of a program that cannot start ([`crate::exit`]).

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

mod queue;

use queue::Queue;
pub use queue::{Flush, lost_lines};

/// Name of the environment variable that holds the log filter, such as `info` or `info,cordonhold_webhook=debug`.
pub const FILTER_ENV: &str = "CORDONHOLD_LOG";
const DEFAULT_FILTER: &str = "info";

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people; coloured on a terminal
    Text,
    /// One JSON object a line
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum LoggingError {
    #[error(
        "{FILTER_ENV}={filter:?} is not a log filter: {source}: write one like info or info,cordonhold_webhook=debug"
    )]
    Filter { filter: String, source: ParseError },
    #[error("failed to start the thread that writes the log")]
    Thread(#[source] io::Error),
    #[error("logging was set up twice in one process, which is a bug in the program")]
    Twice,
}

/// Sets up logging for the whole process. A call that logs returns after its line is written.
pub fn init(format: LogFormat) -> Result<(), LoggingError> {
    init_with(format, io::stdout)
}

/// Sets up logging for the whole process through a queue, so that no call waits for the reader of the log. If the queue is full, lines
/// are [lost and counted](lost_lines).
pub fn init_queued(format: LogFormat) -> Result<Flush, LoggingError> {
    let queue = Queue::start(io::stdout()).map_err(LoggingError::Thread)?;
    let flush = Flush(queue.clone());
    init_with(format, move || queue.clone())?;
    Ok(flush)
}

fn init_with<W>(format: LogFormat, writer: W) -> Result<(), LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = std::env::var(FILTER_ENV).unwrap_or_else(|_| DEFAULT_FILTER.to_owned());
    let filter = if filter.is_empty() {
        DEFAULT_FILTER.to_owned()
    } else {
        filter
    };
    let targets: Targets = filter.parse().map_err(|source| LoggingError::Filter {
        filter: filter.clone(),
        source,
    })?;
    let lines = fmt::layer().with_writer(writer);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text => lines.with_ansi(is_colour_wanted()).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(targets))
        .try_init()
        .map_err(|_| LoggingError::Twice)
}

/// Whether to colour the log: on a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
fn is_colour_wanted() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
