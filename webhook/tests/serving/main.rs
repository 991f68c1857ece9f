//! The server under load and abuse, over real sockets of loopback: what it answers, when it closes, how it ends;
//! and the program around it: its answers, its log, its command line.
//!
//! A limit is tested with all others out of the way, so that what closes a connection is known.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

mod admin;
mod bounds;
mod client;
mod cluster;
mod command_line;
mod documents;
mod ending;
mod kubeconfig;
mod log;
mod memory;
mod messages;
mod port;
mod process;
mod reviews;
mod rolling;
mod slow;
mod tls;
