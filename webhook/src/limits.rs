//! Every bound of the server, in one place. The page's table is tested against it.
//!
//! The defaults are what production runs with; no flag changes them, and tests shorten them.

use std::time::Duration;

/// Bounds of one port.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections. A further one displaces one that waits for its peer, or is closed at once if none does.
    pub connections: usize,
    /// Connections that have lost their place and have yet to end. On a busy machine that takes a moment, in which each still has its
    /// memory; no further one is accepted until one of them has ended.
    pub leaving: usize,
    /// Requests that are being read or judged. Further ones get 503, and their bodies are thrown away.
    pub requests: usize,
    /// Bytes of one body: two objects of the 1.5 MiB that etcd accepts (`--max-request-bytes`), each byte escaped to six,
    /// and 1 MiB for the rest.
    pub body_bytes: usize,
    /// Bytes of all bodies that are being read or judged: room for one of the largest and some hundred usual ones.
    /// A request whose body does not fit gets 503.
    pub all_body_bytes: usize,
    /// Header fields of a request; the API server sends about ten.
    pub header_fields: usize,
    /// Bytes of the head of a request.
    pub header_bytes: usize,
    /// Time from the accept to the end of the TLS handshake.
    pub handshake: Duration,
    /// Time from the handshake to the head of the first request.
    pub first_request: Duration,
    /// Time from the first to the last byte of a later request's head.
    pub headers: Duration,
    /// Time from the head of a request to the end of its body.
    pub body: Duration,
    /// Time from the head of a request to the head of its answer: more than reading the body and one lookup may take together,
    /// and less than the 5 s of the webhook configuration.
    pub request: Duration,
    /// How long the peer may leave an answer unread.
    pub write: Duration,
    /// Time between requests. More than the 90 s after which the API server closes an idle connection: if the server closed first,
    /// a review could arrive at a closing socket.
    pub idle: Duration,
    /// Age at which a connection is told to end, so that after a change of the certificate all connections come to show the new one.
    pub age: Duration,
    /// How long a connection may stay open after it was told to end, as when the port closes.
    pub drain: Duration,
    /// Pause after an error on accept, mostly "too many open files": spinning would not free one.
    pub accept_pause: Duration,
}

const KIB: usize = 1_024;
const MIB: usize = 1_024 * KIB;

impl Default for Limits {
    /// The limits of the admission port.
    fn default() -> Limits {
        Limits {
            connections: 1_024,
            leaving: 32,
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
    /// The limits of the admin port, for a kubelet's probes and a few scrapers. Its answers cost next to nothing, so there may be as
    /// many requests as connections: a probe that gets a connection is answered.
    pub fn admin() -> Limits {
        Limits {
            connections: 64,
            requests: 64,
            ..Limits::default()
        }
    }

    /// The age from which the next answer closes the connection, so that a busy connection ends between two requests.
    /// A connection that is idle from this age on is closed by `idle`, at `age` at the latest.
    pub(crate) fn retirement(&self) -> Duration {
        self.age.saturating_sub(self.idle)
    }
}
