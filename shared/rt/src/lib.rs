//! The I/O that the webhook and the agent share: the API server (client, calls, watches, Events), command line, logging, metrics, ports,
//! signals, exit, crypto provider.
//!
//! Not here: decisions (`shared`), and anything that only one of the two programs needs.

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
pub mod own_token;
pub mod pause;
pub mod places;
pub mod shutdown;
pub mod sync;
pub mod watch;
