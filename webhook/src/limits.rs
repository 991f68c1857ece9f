//! Every bound of the server, in one place. The README's table is tested against it.
//!
//! The defaults are what production runs with; no flag changes them, and tests shorten them.

use std::time::Duration;

/// Bounds of one port.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections. One beyond takes the place of one that waits for its peer; where none does, it is closed at once.
    pub connections: usize,
    /// Requests between their headers and the end of their answer. Those beyond get 503 without being read.
    pub requests: usize,
    /// Bytes of one body: two objects of the 1.5 MiB that etcd takes (`--max-request-bytes`), each byte of them escaped to six,
    /// and 1 MiB for the rest.
    pub body_bytes: usize,
    /// Bytes of all bodies being read or judged: one of the largest, and some hundred usual ones beside it.
    /// A body that does not fit gets 503.
    pub all_body_bytes: usize,
    /// Fields in the head of a request; the API server sends about ten.
    pub header_fields: usize,
    /// Bytes of the head of a request.
    pub header_bytes: usize,
    /// From the accept to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the handshake to the head of the first request.
    pub first_request: Duration,
    /// From the first byte of a later request's head to its last.
    pub headers: Duration,
    /// From the head of a request to the end of its body.
    pub body: Duration,
    /// From the head of a request to the head of its answer: behind body and lookup, and below the 5 s of the webhook configuration.
    pub request: Duration,
    /// How long the peer may leave an answer unread.
    pub write: Duration,
    /// Between requests. Above the 90 s after which the API server closes an idle connection: whoever closes first must not be
    /// the server, or a review meets a closing socket.
    pub idle: Duration,
    /// Age of a connection, so that a new certificate is on each of them by then.
    pub age: Duration,
    /// What is open when the port closes gets this long to end.
    pub drain: Duration,
    /// Pause after an error on accept, mostly "too many open files": spinning would not free one.
    pub accept_pause: Duration,
}

const KIB: usize = 1_024;
const MIB: usize = 1_024 * KIB;

impl Default for Limits {
    /// The admission port's.
    fn default() -> Limits {
        Limits {
            connections: 1_024,
            requests: 256,
            body_bytes: 19 * MIB,
            all_body_bytes: 24 * MIB,
            header_fields: 64,
            header_bytes: 16 * KIB,
            handshake: Duration::from_secs(5),
            first_request: Duration::from_secs(5),
            headers: Duration::from_secs(5),
            body: Duration::from_secs(2),
            request: Duration::from_millis(4_500),
            write: Duration::from_secs(5),
            idle: Duration::from_secs(120),
            age: Duration::from_secs(600),
            drain: Duration::from_secs(10),
            accept_pause: Duration::from_millis(500),
        }
    }
}

impl Limits {
    /// The admin port's: a kubelet's probes and a few scrapers. Its answers cost nothing, so each connection may ask:
    /// a probe that gets in is answered.
    pub fn admin() -> Limits {
        Limits {
            connections: 64,
            requests: 64,
            ..Limits::default()
        }
    }

    /// From this age on the next answer is the last one, so that a busy connection ends between two requests.
    /// What stays idle from here on ends by `idle`, which is `age` at the latest.
    pub(crate) fn retirement(&self) -> Duration {
        self.age.saturating_sub(self.idle)
    }
}
