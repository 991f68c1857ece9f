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

const LISTENS_TIMEOUT: Duration = Duration::from_secs(20);

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

    /// Starts a server with this certificate, and waits until it listens.
    pub(super) async fn serve(
        &self,
        plane: &ControlPlane,
        name: &str,
        line: CommandLine,
    ) -> Result<(Process, Server)> {
        let [port] = free_ports()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let line = line.args(["--listen".to_owned(), address.to_string()]);
        let line = line
            .arg("--tls-cert")
            .arg(&self.cert)
            .arg("--tls-key")
            .arg(&self.key);
        let process = plane.kennel().start(name, &line)?;
        let listens = || async { Ok(TcpStream::connect(address).await.ok().map(drop)) };
        wait::until("a server to listen", LISTENS_TIMEOUT, listens).await?;
        let ca = self.ca.clone();
        Ok((process, Server { address, ca }))
    }
}
