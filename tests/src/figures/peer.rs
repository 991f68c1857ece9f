//! Servers to measure ours beside: the plain webhook in Go, and others that take the same flags.
//!
//! Not here: what they do (`tests/plain-webhook`, the crate `tests/load`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use tokio::net::TcpStream;

use super::written;
use crate::control_plane::{ControlPlane, free_ports};
use crate::process::{CommandLine, Process};
use crate::wait;
use crate::webhook::Webhook;

pub(super) const LISTENS_TIMEOUT: Duration = Duration::from_secs(20);

/// Where a server listens, and the CA of its certificate.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) ca: PathBuf,
}

/// A certificate for this machine, in files.
pub(super) struct Certificate {
    pub(super) ca: PathBuf,
    /// The CA as a webhook configuration has it.
    pub(super) ca_bundle: String,
    cert: PathBuf,
    key: PathBuf,
}

impl Certificate {
    pub(super) fn issue(directory: &Path) -> Result<Self> {
        let issued = cordonhold_certs_dev::issue(&["127.0.0.1".to_owned()])?;
        Ok(Self {
            ca: written(directory, "theirs.ca", issued.ca_pem.as_bytes())?,
            ca_bundle: issued.ca_bundle(),
            cert: written(directory, "tls.crt", issued.cert_pem.as_bytes())?,
            key: written(directory, "tls.key", issued.key_pem.as_bytes())?,
        })
    }

    /// The command line of a server with this certificate that listens at this address.
    pub(super) fn command(&self, line: CommandLine, address: SocketAddr) -> CommandLine {
        line.args(["--listen".to_owned(), address.to_string()])
            .arg("--tls-cert")
            .arg(&self.cert)
            .arg("--tls-key")
            .arg(&self.key)
    }

    /// Starts a server with this certificate, and waits until it listens.
    pub(super) async fn serve(
        &self,
        plane: &ControlPlane,
        name: &str,
        line: CommandLine,
    ) -> Result<(Process, Server)> {
        let address = free_address()?;
        let process = plane.kennel().start(name, &self.command(line, address))?;
        listens(address).await?;
        let ca = self.ca.clone();
        Ok((process, Server { address, ca }))
    }
}

impl Server {
    /// Ours. Its CA is written into this directory.
    pub(super) fn of(webhook: &Webhook, directory: &Path) -> Result<Self> {
        Ok(Self {
            address: webhook.admission_address(),
            ca: written(directory, "ours.ca", webhook.ca_pem().as_bytes())?,
        })
    }

    /// The command line of the load that sends it this review over so many connections.
    pub(super) fn load(
        &self,
        line: CommandLine,
        review: &Path,
        connections: u16,
        time: Duration,
    ) -> CommandLine {
        line.arg("send")
            .args(["--address".to_owned(), self.address.to_string()])
            .arg("--ca")
            .arg(&self.ca)
            .arg("--body")
            .arg(review)
            .args(["--connections".to_owned(), connections.to_string()])
            .args(["--for".to_owned(), format!("{}ms", time.as_millis())])
    }
}

/// An address at which nobody listens.
pub(super) fn free_address() -> Result<SocketAddr> {
    let [port] = free_ports()?;
    Ok(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Waits until a server listens there.
pub(super) async fn listens(address: SocketAddr) -> Result<()> {
    let listens = || async { Ok(TcpStream::connect(address).await.ok().map(drop)) };
    wait::until("a server to listen", LISTENS_TIMEOUT, listens).await
}
