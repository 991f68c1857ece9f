//! Asks the probes of a container as a kubelet does (kubernetes/kubernetes: `pkg/kubelet/prober/worker.go`).

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Container, Probe as Written};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::sync::watch;

use super::network::Address;
use crate::webhook::http_status;

/// What the probes have found out about a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) is_ready: bool,
    /// Its liveness or startup probe has failed too often.
    pub(super) is_dead: bool,
}

/// The probes of a container.
#[derive(Debug, Clone)]
pub(super) struct Probes {
    startup: Option<Probe>,
    liveness: Option<Probe>,
    readiness: Option<Probe>,
}

/// One probe: a GET without TLS.
#[derive(Debug, Clone)]
struct Probe {
    address: SocketAddr,
    path: String,
    delay: Duration,
    period: Duration,
    timeout: Duration,
    failures: i32,
    successes: i32,
}

impl Probes {
    pub(super) fn of(container: &Container, address: Address) -> Result<Self> {
        let read = |what: &str, probe: &Option<Written>| {
            let probe = probe.as_ref().map(|probe| Probe::read(probe, container, address));
            probe
                .transpose()
                .with_context(|| format!("{what} of {}", container.name))
        };
        Ok(Self {
            startup: read("startupProbe", &container.startup_probe)?,
            liveness: read("livenessProbe", &container.liveness_probe)?,
            readiness: read("readinessProbe", &container.readiness_probe)?,
        })
    }

    /// Asks for as long as the container runs.
    pub(super) async fn ask(self, health: watch::Sender<Health>) {
        if let Some(startup) = self.startup {
            let (started, mut has_started) = watch::channel(None);
            tokio::select! {
                () = startup.follow(|is_up| started.send_modify(|started| *started = Some(is_up))) => {}
                _ = has_started.wait_for(Option::is_some) => {}
            }
            if *started.borrow() == Some(false) {
                health.send_modify(|health| health.is_dead = true);
            }
        }
        let readiness = async {
            match self.readiness {
                Some(probe) => {
                    probe
                        .follow(|is_up| health.send_modify(|health| health.is_ready = is_up))
                        .await;
                }
                None => health.send_modify(|health| health.is_ready = true),
            }
        };
        let liveness = async {
            if let Some(probe) = self.liveness {
                probe
                    .follow(|is_up| health.send_modify(|health| health.is_dead |= !is_up))
                    .await;
            }
        };
        let ((), ()) = tokio::join!(readiness, liveness);
    }
}

impl Probe {
    fn read(probe: &Written, container: &Container, address: Address) -> Result<Self> {
        let get = probe.http_get.as_ref().context("it is not by HTTP")?;
        ensure!(
            get.scheme.as_deref().unwrap_or("HTTP") == "HTTP",
            "it is not by plain HTTP"
        );
        // What a pod calls its loopback is played by its own address.
        let host = get.host.as_deref().unwrap_or_default();
        ensure!(
            host.is_empty() || host == "127.0.0.1",
            "it asks another host, {host}"
        );
        let seconds = |value: Option<i32>, default: i32| {
            Duration::from_secs(u64::try_from(value.unwrap_or(default)).unwrap_or(0))
        };
        // The defaults of k8s.io/kubernetes: pkg/apis/core/v1/defaults.go.
        Ok(Self {
            address: SocketAddr::from((address.real(), port(&get.port, container)?)),
            path: get.path.clone().unwrap_or_else(|| "/".to_owned()),
            delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            failures: probe.failure_threshold.unwrap_or(3),
            successes: probe.success_threshold.unwrap_or(1),
        })
    }

    /// Asks for ever, and tells whether it is up whenever enough answers in a row were the same.
    async fn follow(&self, mut tell: impl FnMut(bool)) {
        tokio::time::sleep(self.delay).await;
        let mut turns = tokio::time::interval(self.period);
        let (mut last, mut row) = (false, 0);
        loop {
            let _ = turns.tick().await;
            let answer = tokio::time::timeout(self.timeout, http_status(self.address, &self.path)).await;
            let is_up = answer.is_ok_and(|status| status.is_ok_and(|status| (200..400).contains(&status)));
            row = if is_up == last { row + 1 } else { 1 };
            last = is_up;
            if row >= if is_up { self.successes } else { self.failures } {
                tell(is_up);
            }
        }
    }
}

fn port(port: &IntOrString, container: &Container) -> Result<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            match ports.find(|port| port.name.as_deref() == Some(name)) {
                Some(port) => port.container_port,
                None => bail!("no port of the container is called {name}"),
            }
        }
    };
    u16::try_from(number).with_context(|| format!("{number} is no port"))
}
