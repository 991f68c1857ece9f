//! A whole cluster on which Cordonhold can be installed as on any other: its pods really run, and its webhook is asked through its Service.
//!
//! Nothing of ours is installed at first. Not here: what a test or a person then does.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use crate::control_plane::{ControlPlane, Options};
use crate::identity::Identity;
use crate::install::Rendered;
use crate::kubelet::image::repository;
use crate::kubelet::{Kubelet, Tasks};
use crate::machine::Machine;
use crate::programs::Program;

/// What we ship that listens, below `manifests/`.
const LISTENERS: [&str; 3] = ["base/certs.yaml", "base/daemonset.yaml", "base/deployment.yaml"];

/// A control plane, a machine for each node, and what runs our pods there. Stopped in this order.
pub struct Cluster {
    pub machines: Vec<Machine>,
    _tasks: Tasks,
    pub kubelet: Kubelet,
    pub plane: ControlPlane,
}

impl Cluster {
    pub async fn start(nodes: usize) -> Result<Self> {
        Self::start_with(nodes, &[]).await
    }

    /// The same, with these further flags of the API server.
    pub async fn start_with(nodes: usize, flags: &[&str]) -> Result<Self> {
        let plane = ControlPlane::start_for_kubelet(Options { nodes }, flags).await?;
        let (kubelet, tasks) = Kubelet::start(&plane)?;
        let mut shipped = Rendered::default();
        for file in LISTENERS {
            shipped.add_file(file)?;
        }
        kubelet.check_free(shipped.container_ports())?;
        let mut machines = Vec::new();
        for number in 0..nodes {
            machines.push(Machine::with_kubelet(&plane, &format!("node-{number}"), &kubelet).await?);
        }
        Ok(Self {
            machines,
            _tasks: tasks,
            kubelet,
            plane,
        })
    }

    pub fn admin(&self) -> PathBuf {
        self.plane.kubeconfig(Identity::Admin)
    }

    /// Writes values for the chart that this cluster needs: images that it has. The agents look for their sentinel more often than each hour.
    pub fn write_values(&self) -> Result<PathBuf> {
        let path = self.plane.directory().join("values.json");
        std::fs::write(&path, format!("{:#}\n", values()))
            .with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    }

    /// Cuts the power of every machine, the control plane's too. What etcd has written stays.
    pub async fn cut_power(&mut self) -> Result<()> {
        for machine in &self.machines {
            machine.cut_power().await?;
        }
        self.plane.stop();
        Ok(())
    }

    /// Starts the control plane again, then each node.
    pub async fn restore_power(&mut self) -> Result<()> {
        self.plane.start_again().await?;
        for machine in &self.machines {
            machine.restore_power().await?;
        }
        Ok(())
    }

    /// A directory with kubectl and helm, for the search path of a shell.
    pub fn programs(&self, helm: &Path) -> Result<PathBuf> {
        let directory = self.plane.directory().join("bin");
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("failed to create {}", directory.display()))?;
        for (name, program) in [("kubectl", self.plane.assets().kubectl.as_path()), ("helm", helm)] {
            std::os::unix::fs::symlink(program, directory.join(name))
                .with_context(|| format!("failed to link {name}"))?;
        }
        Ok(directory)
    }
}

/// Values for the chart on such a cluster, see [`Cluster::write_values`].
pub fn values() -> serde_json::Value {
    json!({
        "images": {
            "webhook": { "repository": repository(Program::Webhook) },
            "agent": { "repository": repository(Program::Agent) },
        },
        "configuration": { "period": "1s" },
    })
}
