//! The server under load and abuse, over real sockets of loopback: what it answers, when it closes, how it ends.
//!
//! What a review is answered is tested elsewhere. A limit is tested with all others out of the way, so that what
//! closes a connection is known.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

mod bounds;
mod client;
mod documents;
mod ending;
mod http2;
mod log;
mod memory;
mod port;
mod process;
mod rolling;
mod slow;
mod tls;
