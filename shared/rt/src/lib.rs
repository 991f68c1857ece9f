//! The I/O that both binaries need: the API server (client, calls, watches, Events), command line, logging, metrics, ports, signals,
//! exit, crypto provider.
//!
//! No decisions and nothing of one binary only.

#![warn(missing_docs)]

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
