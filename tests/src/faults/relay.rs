//! A relay between an API server and etcd, by which that API server lags behind the others, or hears nothing for a while.
//!
//! Not here: what then reads from it, see [`super::proxy`].

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What etcd says, on its way to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Free,
    /// It arrives later by this.
    Late(Duration),
    /// It does not arrive until the flow is another one.
    Frozen,
}

/// Most pieces of at most [`PIECE`] bytes that are on the way on one connection.
const PIECES: usize = 4096;
const PIECE: usize = 16 * 1024;

/// The relay. It ends when it is dropped.
pub(super) struct Relay {
    port: u16,
    flow: watch::Sender<Flow>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Starts a relay to this port of 127.0.0.1.
    pub(super) async fn start(to: u16) -> Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .context("failed to open a port on 127.0.0.1")?;
        let port = listener.local_addr().context("failed to read a port")?.port();
        let (flow, flows) = watch::channel(Flow::Free);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(tokio::spawn(relay(stream, to, flows.clone())));
            }
        });
        Ok(Self { port, flow, task })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn set(&self, flow: Flow) {
        let _ = self.flow.send_replace(flow);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(client: TcpStream, to: u16, flow: watch::Receiver<Flow>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else {
        return;
    };
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    // Either end that closes closes the other.
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        _ = pass(from_server, to_client, flow) => {}
    }
}

/// Passes pieces on in their order, each as the flow says.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut flow: watch::Receiver<Flow>,
) -> io::Result<()> {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let reading = async move {
        loop {
            let mut piece = vec![0; PIECE];
            let length = from.read(&mut piece).await?;
            if length == 0 {
                return io::Result::Ok(());
            }
            piece.truncate(length);
            if sender.send((Instant::now(), piece)).await.is_err() {
                return Ok(());
            }
        }
    };
    let writing = async {
        while let Some((came, piece)) = pieces.recv().await {
            let now = flow
                .wait_for(|flow| *flow != Flow::Frozen)
                .await
                .map(|flow| *flow);
            if let Ok(Flow::Late(by)) = now {
                tokio::time::sleep_until(came + by).await;
            }
            to.write_all(&piece).await?;
        }
        Ok(())
    };
    let (read, written) = tokio::join!(reading, writing);
    read.and(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(stream: &mut TcpStream) -> Vec<u8> {
        stream.write_all(b"x").await.unwrap();
        let mut answer = vec![0; 1];
        let _ = stream.read_exact(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn what_is_frozen_arrives_once_it_is_free() {
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = echo.local_addr().unwrap().port();
        drop(tokio::spawn(async move {
            let (mut stream, _) = echo.accept().await.unwrap();
            let (mut from, mut to) = stream.split();
            drop(tokio::io::copy(&mut from, &mut to).await);
        }));
        let relay = Relay::start(port).await.unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", relay.port())).await.unwrap();
        assert_eq!(ask(&mut stream).await, b"x");
        let late = Duration::from_millis(200);
        relay.set(Flow::Late(late));
        let began = Instant::now();
        assert_eq!(ask(&mut stream).await, b"x");
        assert!(began.elapsed() >= late);
        relay.set(Flow::Frozen);
        assert!(tokio::time::timeout(late, ask(&mut stream)).await.is_err());
        relay.set(Flow::Free);
        let mut answer = [0];
        let _ = stream.read_exact(&mut answer).await.unwrap();
    }
}
