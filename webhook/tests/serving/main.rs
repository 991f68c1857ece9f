//! The server under load and abuse, over loopback sockets: what it answers, when it closes connections, how it ends;
//! and the program around it: its log and its command line.
//!
//! Each limit is tested with all others out of the way, so that it is known what closed a connection.

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
mod flags;
mod kubeconfig;
mod log;
mod memory;
mod messages;
mod mutations;
mod port;
mod process;
mod reviews;
mod rolling;
mod slow;
mod tls;
