//! One connection: its handshake, its requests, its end.
//!
//! Not here: its deadlines ([`super::clock`]), and a single request ([`super::requests`]).

use std::io;
use std::pin::pin;
use std::sync::Arc;

use cordonhold_rt::places::Place;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::clock::{Clock, Clocked, Overdue};
use super::requests::Requests;
use super::{Serving, Transport};
use crate::metrics::Refusal;

pub(super) async fn serve(stream: TcpStream, serving: &Arc<Serving>, place: &Arc<Place>) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "failed to set TCP_NODELAY");
    }
    match &serving.port.transport {
        Transport::Plain => drive(stream, serving, place).await,
        Transport::Tls(acceptor) => {
            if let Some(stream) = handshake(stream, acceptor, serving).await {
                drive(stream, serving, place).await;
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

/// Whether a handshake failed because of the client's certificate. A server checks no other certificates.
fn is_about_the_client(error: &io::Error) -> bool {
    matches!(
        error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_))
    )
}

/// Answers requests until the connection has ended, or a deadline has passed.
async fn drive<S>(stream: S, serving: &Arc<Serving>, place: &Arc<Place>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let port = &serving.port;
    let clock = Clock::start(&port.limits, place);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            // The clock has this deadline, and more.
            .header_read_timeout(None)
            .max_headers(port.limits.header_fields)
            .max_buf_size(port.limits.header_bytes)
            .serve_connection(
                TokioIo::new(Clocked::new(stream, Arc::clone(&clock))),
                Requests::new(Arc::clone(serving), Arc::clone(&clock)),
            )
    );
    let mut is_told = false;
    loop {
        let overdue = tokio::select! {
            // In this order, because the clock looks at what the connection has just done.
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    debug!(%error, "connection ended");
                }
                return;
            }
            overdue = clock.overdue() => Some(overdue),
            () = port.closing.stop.cancelled(), if !is_told => None,
        };
        match overdue {
            // A connection that has not sent a request yet may send one.
            None if clock.is_fresh() => {}
            None | Some(Overdue::Idle | Overdue::Age) => connection.as_mut().graceful_shutdown(),
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

/// The reason by which a connection that was cut off is counted; `None` for an ordinary end.
fn refusal(overdue: Overdue) -> Option<Refusal> {
    match overdue {
        Overdue::FirstRequest => Some(Refusal::FirstRequestTimeout),
        Overdue::Headers => Some(Refusal::HeadersTimeout),
        Overdue::Answer | Overdue::Write => Some(Refusal::WriteTimeout),
        Overdue::Idle | Overdue::Age | Overdue::Drain => None,
    }
}
