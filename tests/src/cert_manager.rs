//! cert-manager's controllers and CA injector on a control plane, with its CRDs, for SelfSigned and CA issuers.
//!
//! Not here: its webhook; how it is built, see [`crate::assets`].

use std::time::Duration;

use anyhow::Result;

use crate::assets;
use crate::control_plane::ControlPlane;
use crate::identity::Identity;
use crate::process::{CommandLine, Process};

/// Longest installation of the CRDs. It takes seconds, and longer on a busy machine.
const CRDS_TIMEOUT: Duration = Duration::from_mins(1);

/// A running cert-manager with an admin's rights. It ends when this is dropped.
#[derive(Debug)]
pub struct CertManager {
    process: Process,
}

impl CertManager {
    /// Installs the CRDs and starts cert-manager. Does not wait for more: it takes up what is there once it runs.
    pub async fn start(plane: &ControlPlane) -> Result<Self> {
        let crds = assets::cert_manager_crds()?;
        let apply = plane
            .kubectl_line(Identity::Admin)
            .args(["apply", "--server-side"]);
        drop(apply.arg("--filename").arg(&crds).run("", CRDS_TIMEOUT).await?);
        let wait = plane
            .kubectl_line(Identity::Admin)
            .args(["wait", "--for=condition=Established"]);
        drop(wait.arg("--filename").arg(&crds).run("", CRDS_TIMEOUT).await?);
        let line = CommandLine::new(assets::cert_manager()?).arg(plane.kubeconfig(Identity::Admin));
        let process = plane.kennel().start("cert-manager", &line)?;
        Ok(Self { process })
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}
