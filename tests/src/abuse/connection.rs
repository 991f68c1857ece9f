//! The abusive connections: what each sends, and how it ended.
//!
//! Not here: how many there are, and what is counted.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use rustls_pki_types::ServerName;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls::connector;

/// The connections for which the webhook has places (`connections` in `docs/webhook.md`).
pub(super) const WEBHOOK_MAX: u64 = 1_024;
/// Those that may have lost their place and not have ended yet (`leaving`).
pub(super) const LEAVING_MAX: u64 = 32;

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Says nothing.
    Silent,
    /// Sends the beginning of a TLS handshake, and then nothing.
    HalfHello,
    /// Sends noise instead of a handshake.
    Garbage,
    /// Says nothing after the handshake.
    SilentAfterTls,
    /// Sends a request's head byte by byte.
    SlowHead,
    /// Sends a review byte by byte.
    SlowBody,
    /// Sends a review that is larger than two Nodes can be.
    TooLarge,
    /// Sends a body of another length than its head says, or a head that says two.
    WrongLength,
    /// Sends many requests at once, and reads the answers.
    ManyRequests,
    /// Is reset as soon as it is open.
    Reset,
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The webhook closed it, or the client was done.
    Closed,
    /// It did not come about.
    NotConnected(String),
    /// It was still open after [`END_BOUND`].
    LeftOpen,
}

/// Whom to connect to.
#[derive(Clone)]
pub(super) struct Target {
    address: SocketAddr,
    tls: TlsConnector,
}

/// Longer than the webhook lets any of these connections be: handshake, first request, body, answer.
const END_BOUND: Duration = Duration::from_secs(25);
/// The pause of a slow client before each byte.
const BYTE_PAUSE: Duration = Duration::from_millis(200);
const NOISE_BYTES: usize = 1_024;
const MIB: usize = 1_024 * 1_024;
/// What is sent of a body that is too large. Most clients see that they get nowhere, and one in [`PATIENT`] sends all of it.
const SENT_BYTES: usize = MIB;
const ALL_BYTES: usize = 20 * MIB;
const PATIENT: usize = 20;
/// Requests that are sent at once.
const PIPELINED: usize = 50;
const HALF_A_HELLO: &[u8] = &[22, 3, 1, 1, 0, 1];
/// A review that asks for nothing of ours.
const REVIEW: &str = concat!(
    r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"abuse","kind":{"group":"","version":"v1","kind":"Node"},"#,
    r#""name":"n","operation":"UPDATE","userInfo":{"username":"abuse"},"object":{"metadata":{"name":"n"}},"oldObject":{"metadata":{"name":"n"}}}}"#
);

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Silent,
        Self::HalfHello,
        Self::Garbage,
        Self::SilentAfterTls,
        Self::SlowHead,
        Self::SlowBody,
        Self::TooLarge,
        Self::WrongLength,
        Self::ManyRequests,
        Self::Reset,
    ];

    /// Each in turn.
    pub(super) fn nth(n: usize) -> Self {
        Self::ALL[n % Self::ALL.len()]
    }

    /// Opens a connection, and does with it what this kind does the `turn`th time.
    pub(super) async fn attempt(self, target: &Target, turn: usize) -> End {
        let stream = match TcpStream::connect(target.address).await {
            Ok(stream) => stream,
            Err(error) => return End::NotConnected(error.to_string()),
        };
        // However the webhook ends it, by an answer, a close or a reset, it has ended.
        match tokio::time::timeout(END_BOUND, self.act(stream, target, turn)).await {
            Ok(Ok(()) | Err(_)) => End::Closed,
            Err(_) => End::LeftOpen,
        }
    }

    async fn act(self, mut stream: TcpStream, target: &Target, turn: usize) -> io::Result<()> {
        match self {
            Self::Silent => until_closed(&mut stream).await,
            Self::HalfHello => say(stream, HALF_A_HELLO).await,
            Self::Garbage => say(stream, &noise(turn)).await,
            Self::Reset => stream.set_zero_linger(),
            Self::SilentAfterTls => until_closed(&mut target.handshake(stream).await?).await,
            Self::SlowHead => {
                trickle(
                    target.handshake(stream).await?,
                    b"",
                    post(REVIEW.len(), "").as_bytes(),
                )
                .await
            }
            Self::SlowBody => {
                let head = post(REVIEW.len(), "");
                trickle(
                    target.handshake(stream).await?,
                    head.as_bytes(),
                    REVIEW.as_bytes(),
                )
                .await
            }
            Self::TooLarge => too_large(target.handshake(stream).await?, turn).await,
            Self::WrongLength => wrong_length(target.handshake(stream).await?, turn).await,
            Self::ManyRequests => {
                let one = post(REVIEW.len(), "") + REVIEW;
                let last = post(REVIEW.len(), "Connection: close\r\n") + REVIEW;
                say(
                    target.handshake(stream).await?,
                    (one.repeat(PIPELINED - 1) + &last).as_bytes(),
                )
                .await
            }
        }
    }
}

impl Target {
    /// The webhook at this address, whose certificate is of this CA.
    pub(super) fn new(address: SocketAddr, ca_pem: &str) -> Result<Self> {
        Ok(Self {
            address,
            tls: connector(ca_pem)?,
        })
    }

    async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::from(self.address.ip());
        self.tls.connect(name, stream).await
    }
}

/// The head of a review of this length, with this further field.
fn post(length: usize, field: &str) -> String {
    format!(
        "POST /validate HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\n{field}Content-Length: {length}\r\n\r\n"
    )
}

/// Sends this, and then waits for the end.
async fn say<S: AsyncRead + AsyncWrite + Unpin>(stream: S, bytes: &[u8]) -> io::Result<()> {
    let (mut read, mut write) = tokio::io::split(stream);
    let saying = async {
        write.write_all(bytes).await?;
        write.flush().await
    };
    // What comes is read meanwhile, so that neither side waits for the other.
    let (said, ended) = tokio::join!(saying, until_closed(&mut read));
    said.and(ended)
}

/// Sends the first bytes at once, and the others one by one, until the end.
async fn trickle<S: AsyncRead + AsyncWrite + Unpin>(stream: S, first: &[u8], then: &[u8]) -> io::Result<()> {
    let (mut read, mut write) = tokio::io::split(stream);
    let saying = async {
        write.write_all(first).await?;
        for byte in then {
            write.write_all(&[*byte]).await?;
            write.flush().await?;
            tokio::time::sleep(BYTE_PAUSE).await;
        }
        io::Result::Ok(())
    };
    tokio::select! {
        said = saying => said,
        ended = until_closed(&mut read) => ended,
    }
}

async fn too_large<S: AsyncRead + AsyncWrite + Unpin>(stream: S, turn: usize) -> io::Result<()> {
    let bytes = if turn.is_multiple_of(PATIENT) {
        ALL_BYTES
    } else {
        SENT_BYTES
    };
    let (mut read, mut write) = tokio::io::split(stream);
    let saying = async {
        write.write_all(post(ALL_BYTES, "").as_bytes()).await?;
        // It begins as a review, so that it is read as one.
        let (begun, _) = REVIEW.split_once("\"object\"").unwrap_or_default();
        write.write_all(begun.as_bytes()).await?;
        let blanks = vec![b' '; 64 * 1_024];
        for _ in 0..bytes / blanks.len() {
            write.write_all(&blanks).await?;
        }
        write.flush().await
    };
    let (said, ended) = tokio::join!(saying, until_closed(&mut read));
    said.and(ended)
}

async fn wrong_length<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, turn: usize) -> io::Result<()> {
    let length = REVIEW.len();
    let request = match turn % 5 {
        // The rest of the body is read as the next request.
        0 => post(length - 7, "") + REVIEW,
        1 => post(length, "Content-Length: 1\r\n") + REVIEW,
        2 => post(length, "Transfer-Encoding: chunked\r\n") + "-1\r\n" + REVIEW,
        3 => post(length, "").replace(&length.to_string(), "99999999999999999999") + REVIEW,
        // It ends before its body does.
        _ => {
            stream
                .write_all((post(2 * length, "") + REVIEW).as_bytes())
                .await?;
            stream.shutdown().await?;
            return until_closed(&mut stream).await;
        }
    };
    say(stream, request.as_bytes()).await
}

/// Reads and drops what comes until the connection ends.
async fn until_closed<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<()> {
    let mut some = [0; 4 * 1_024];
    while stream.read(&mut some).await? > 0 {}
    Ok(())
}

/// Bytes without a meaning, another text each time. `Xorshift` (Marsaglia, 2003).
fn noise(turn: usize) -> Vec<u8> {
    let mut state = u32::try_from(turn).unwrap_or(u32::MAX) | 1;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(NOISE_BYTES).collect()
}
