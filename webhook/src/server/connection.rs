//! One connection: its handshake, its requests, its end.

use std::fmt::Display;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;

use cordonhold_rt::places::Place;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::clock::{Clock, Clocked, Overdue, Protocol};
use super::requests::Requests;
use super::{Serving, Transport};
use crate::metrics::Refusal;

pub(super) async fn serve(stream: TcpStream, serving: &Arc<Serving>, place: &Arc<Place>) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "failed to set TCP_NODELAY");
    }
    match &serving.port.transport {
        Transport::Plain => http1(stream, serving, place).await,
        Transport::Tls(acceptor) => {
            let Some(stream) = handshake(stream, acceptor, serving).await else {
                return;
            };
            match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => http2(stream, serving, place).await,
                _ => http1(stream, serving, place).await,
            }
        }
    }
}

async fn handshake(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    serving: &Serving,
) -> Option<TlsStream<TcpStream>> {
    let refusal = match tokio::time::timeout(serving.port.limits.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => {
            debug!(%error, "failed TLS handshake");
            if is_about_the_client(&error) {
                Refusal::ClientCertificate
            } else {
                Refusal::Handshake
            }
        }
        Err(_) => Refusal::HandshakeTimeout,
    };
    serving.port.metrics.refused(refusal);
    None
}

/// Of certificates a server sees only those of clients.
fn is_about_the_client(error: &io::Error) -> bool {
    matches!(
        error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_))
    )
}

async fn http1<S>(stream: S, serving: &Arc<Serving>, place: &Arc<Place>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &serving.port.limits;
    let clock = Clock::start(Protocol::Http1, limits, place);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The clock has this, and more.
        .header_read_timeout(None)
        .max_headers(limits.header_fields)
        .max_buf_size(limits.header_bytes)
        .serve_connection(
            TokioIo::new(Clocked::new(stream, Arc::clone(&clock))),
            Requests::new(Arc::clone(serving), Arc::clone(&clock)),
        );
    drive(connection, http1::Connection::graceful_shutdown, &clock, serving).await;
}

async fn http2<S>(stream: S, serving: &Arc<Serving>, place: &Arc<Place>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &serving.port.limits;
    let clock = Clock::start(Protocol::Http2, limits, place);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(limits.http2_pending_resets)
        .max_local_error_reset_streams(limits.http2_error_resets)
        .keep_alive_interval(limits.http2_ping)
        .keep_alive_timeout(limits.http2_pong)
        .serve_connection(
            TokioIo::new(Clocked::new(stream, Arc::clone(&clock))),
            Requests::new(Arc::clone(serving), Arc::clone(&clock)),
        );
    drive(connection, http2::Connection::graceful_shutdown, &clock, serving).await;
}

/// Until it has ended, or its time is up.
async fn drive<C, E>(connection: C, shut_down: impl Fn(Pin<&mut C>), clock: &Clock, serving: &Serving)
where
    C: Future<Output = Result<(), E>>,
    E: Display,
{
    let port = &serving.port;
    // HTTP/1.1 says that it closes in its answers, HTTP/2 in a frame at any time.
    let goodbye = match clock.protocol() {
        Protocol::Http1 => &port.closing.stop,
        Protocol::Http2 => &port.closing.lame_duck,
    };
    let mut connection = pin!(connection);
    let mut is_told = false;
    loop {
        let overdue = tokio::select! {
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    debug!(%error, "connection ended");
                }
                return;
            }
            overdue = clock.overdue() => Some(overdue),
            () = goodbye.cancelled(), if !is_told => None,
        };
        match overdue {
            // Whoever has connected and not asked yet may ask once.
            None if clock.is_fresh() && clock.protocol() == Protocol::Http1 => {}
            None | Some(Overdue::Idle | Overdue::Age) => shut_down(connection.as_mut()),
            Some(overdue) => {
                debug!(?overdue, "closed a connection");
                if let Some(refusal) = refusal(overdue) {
                    port.metrics.refused(refusal);
                }
                return;
            }
        }
        is_told = true;
        clock.tell_to_end();
    }
}

/// How a connection that was cut off is counted.
fn refusal(overdue: Overdue) -> Option<Refusal> {
    match overdue {
        Overdue::FirstRequest => Some(Refusal::FirstRequestTimeout),
        Overdue::Headers => Some(Refusal::HeadersTimeout),
        Overdue::Answer | Overdue::Write => Some(Refusal::WriteTimeout),
        Overdue::Idle | Overdue::Age | Overdue::Drain => None,
    }
}
