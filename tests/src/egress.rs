//! What the API server sends to a Service or a node reaches us at a socket, with a CONNECT in front (see `control_plane`): reads it, and answers.
//!
//! Not here: where it is then taken, see [`crate::kubelet`] and [`crate::real_node`].

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Longest head of a CONNECT. The API server's is one line and a `Host`.
const HEAD_MAX: usize = 1024;
/// Longest wait for that head, and for somebody to take a connection: less than the time-out of a webhook.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The answer to a CONNECT. The API server takes no byte after it.
const CONNECTED: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

/// Reads what a connection is meant for, byte by byte so that nothing behind it is taken too.
pub(crate) async fn target(from: &mut UnixStream) -> Result<String> {
    tokio::time::timeout(CONNECT_TIMEOUT, read_target(from)).await?
}

async fn read_target(from: &mut UnixStream) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < HEAD_MAX, "a head of over {HEAD_MAX} bytes");
        head.push(from.read_u8().await?);
    }
    let head = String::from_utf8(head).context("a head that is no text")?;
    let target = head
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.split(' ').next());
    Ok(target
        .with_context(|| format!("no CONNECT: {head:?}"))?
        .to_owned())
}

/// Says that the connection is made. What follows is for the target.
pub(crate) async fn accept(from: &mut UnixStream) -> Result<()> {
    Ok(from.write_all(CONNECTED).await?)
}

/// Says why there is no connection.
pub(crate) async fn refuse(from: &mut UnixStream, error: &anyhow::Error) -> Result<()> {
    let why = format!("{error:#}").replace(['\r', '\n'], " ");
    let answer = format!("HTTP/1.1 503 {why}\r\nContent-Length: 0\r\n\r\n");
    Ok(from.write_all(answer.as_bytes()).await?)
}
