//! What a pod's process needs before it starts: volumes, addresses, probes, and a command line.
//!
//! Not here: whether its ports are free; that is looked at before each start.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::super::command::{CREDENTIALS, Surroundings};
use super::super::fields;
use super::super::image::program;
use super::super::network::Address;
use super::super::probe::Probes;
use super::super::status::{Shown, State};
use super::super::volumes::Volumes;
use super::Worker;
use crate::host::Host;
use crate::identity::{Credential, Endpoint};
use crate::process::CommandLine;

/// What is needed to start a pod's process.
pub(super) struct Prepared {
    pub(super) address: Address,
    /// The ports that its container names.
    pub(super) ports: Vec<u16>,
    pub(super) probes: Probes,
    pub(super) line: CommandLine,
}

/// Why a pod has no process yet: the reason that its status shows, and the error.
pub(super) struct Unprepared(pub(super) &'static str, pub(super) anyhow::Error);

impl Worker {
    /// Mounts the pod's volumes, and finds out how its process is started. What is mounted stays in `volumes` for the next try.
    pub(super) async fn prepare(&mut self, volumes: &mut Option<Volumes>) -> Result<Prepared, Unprepared> {
        let refuse = |reason| move |error| Unprepared(reason, error);
        let pod = self.pod().context("the pod is gone").map_err(refuse("Gone"))?;
        let shared = Arc::clone(&self.shared);
        let address = shared
            .address(&pod, &self.node)
            .map_err(refuse("CreateContainerError"))?;
        let host = shared
            .network
            .address(&format!("node/{}", self.node))
            .map_err(refuse("CreateContainerError"))?;
        if self.shown.is_none() {
            self.shown = Some(Shown {
                state: State::Waiting {
                    reason: "ContainerCreating",
                    message: String::new(),
                },
                is_ready: false,
                last: None,
                restarts: 0,
                is_over: false,
                address,
                host,
            });
        }
        fields::check(&pod).map_err(refuse("CreateContainerError"))?;
        let container = only_container(&pod).map_err(refuse("CreateContainerError"))?;
        let program =
            program(container.image.as_deref().unwrap_or_default()).map_err(refuse("ErrImagePull"))?;
        let probes = Probes::of(container, address).map_err(refuse("CreateContainerError"))?;
        let directory = self.directory();
        let volumes =
            volumes.get_or_insert_with(|| Volumes::new(shared.client.clone(), &directory, address, host));
        volumes.refresh(&pod).await.map_err(refuse("ContainerCreating"))?;
        let line = self
            .command(
                &pod,
                container,
                &shared.programs[&program],
                volumes,
                (address, host),
            )
            .map_err(refuse("CreateContainerError"))?;
        let ports = container.ports.iter().flatten();
        Ok(Prepared {
            address,
            ports: ports
                .filter_map(|port| u16::try_from(port.container_port).ok())
                .collect(),
            probes,
            line,
        })
    }

    fn command(
        &self,
        pod: &Pod,
        container: &Container,
        program: &Path,
        volumes: &Volumes,
        (address, host): (Address, Address),
    ) -> Result<CommandLine> {
        let mounts = volumes.mounted(pod);
        let kubeconfig = self.directory().join("kubeconfig");
        if let Some((_, directory)) = mounts.iter().find(|(path, _)| path == CREDENTIALS) {
            let endpoint = Endpoint {
                url: self.shared.endpoint.url.clone(),
                ca_file: directory.join("ca.crt"),
            };
            endpoint.write_kubeconfig(
                &kubeconfig,
                &self.name.name,
                &Credential::TokenFile(directory.join("token")),
            )?;
        }
        let host_arguments = self
            .shared
            .node(&self.node, |node| node.host.as_ref().map(Host::agent_arguments));
        let url = self.shared.endpoint.url.trim_start_matches("https://");
        Surroundings {
            pod,
            address,
            host,
            api_server: url.split_once(':').context("the API server has no port")?,
            kubeconfig: &kubeconfig,
            mounts: &mounts,
            host_arguments: &host_arguments.unwrap_or_default(),
        }
        .command(container, program)
    }
}

fn only_container(pod: &Pod) -> Result<&Container> {
    let spec = pod.spec.as_ref().context("a pod without a spec")?;
    ensure!(
        spec.containers.len() == 1 && spec.init_containers.iter().flatten().next().is_none(),
        "only a pod with one container and no init container is played here"
    );
    Ok(&spec.containers[0])
}
