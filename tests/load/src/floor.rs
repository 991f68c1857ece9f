//! The floor: a server that takes a request over TLS and HTTP/1.1, looks at nothing of it, and gives a fixed answer.
//!
//! No webhook on these libraries can be faster, so what a webhook takes above it is its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Of the size of a denial.
const ANSWER: &[u8] = &[b' '; 1024];

/// Serve a fixed answer over TLS
#[derive(clap::Args)]
pub(crate) struct FloorArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The certificate, in PEM
    #[arg(long, value_name = "FILE")]
    tls_cert: PathBuf,
    /// Its key, in PEM
    #[arg(long, value_name = "FILE")]
    tls_key: PathBuf,
}

pub(crate) fn run(args: &FloorArgs) -> Result<()> {
    // As the webhook's: a thread for each core that it may use.
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(serve(args))
}

async fn serve(args: &FloorArgs) -> Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(server_config(args)?));
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("failed to listen on {}", args.listen))?;
    loop {
        let (stream, _) = listener.accept().await.context("failed to accept")?;
        let acceptor = acceptor.clone();
        // What fails here the sender sees too, and counts.
        drop(tokio::spawn(
            async move { drop(answer_all(stream, &acceptor).await) },
        ));
    }
}

fn server_config(args: &FloorArgs) -> Result<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&args.tls_cert)
        .with_context(|| format!("failed to read {}", args.tls_cert.display()))?
        .collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&args.tls_key)
        .with_context(|| format!("failed to read {}", args.tls_key.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("no version of TLS")?;
    config
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("failed to take the certificate")
}

async fn answer_all(stream: TcpStream, acceptor: &TlsAcceptor) -> Result<()> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let service = service_fn(answer);
    Ok(http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await?)
}

async fn answer(request: http::Request<Incoming>) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
    // The connection can be used again only once the body is off it.
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        drop(frame?);
    }
    Ok(http::Response::new(Full::new(Bytes::from_static(ANSWER))))
}
