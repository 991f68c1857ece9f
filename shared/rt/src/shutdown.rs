//! The signals that end a program.
//!
//! Not here: what a program does to end (each program's own).

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signal handlers could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen for SIGTERM and SIGINT")]
pub struct ListenError(#[source] std::io::Error);

/// A stream of SIGTERM and SIGINT. Every signal counts: a second one can cut short an ending that the first one began.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens for the signals from now on. Needs a running Tokio runtime.
    pub fn listen() -> Result<Signals, ListenError> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).map_err(ListenError)?,
            interrupt: signal(SignalKind::interrupt()).map_err(ListenError)?,
        })
    }

    /// Waits for the next signal and returns its name. Cancel-safe.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
