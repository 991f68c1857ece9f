//! The signals that end a process.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Why signals cannot be waited for.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen for SIGTERM and SIGINT")]
pub struct ListenError(#[source] std::io::Error);

/// SIGTERM and SIGINT, each as often as they come: a second one may end what the first one began too slowly.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on; needs a running Tokio runtime.
    pub fn listen() -> Result<Signals, ListenError> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).map_err(ListenError)?,
            interrupt: signal(SignalKind::interrupt()).map_err(ListenError)?,
        })
    }

    /// The name of the next signal. Cancel-safe.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
