//! The I/O that both binaries need: client, logging, ports, the metrics' page, signals, exit, crypto provider, what the command line takes.
//!
//! No decisions and nothing of one binary only.

pub mod api;
pub mod argument;
pub mod client;
pub mod command_line;
pub mod crypto;
pub mod duration;
pub mod events;
pub mod exit;
pub mod listen;
pub mod logging;
pub mod metrics;
pub mod pause;
pub mod places;
pub mod shutdown;
pub mod sync;
pub mod watch;
