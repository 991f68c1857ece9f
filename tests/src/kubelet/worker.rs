//! The life of one pod: its volumes, its process and its probes, up to its deletion.

use std::future::pending;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::command::{CREDENTIALS, Surroundings, program};
use super::network::Address;
use super::probe::{Health, Probes};
use super::status::{Shown, State};
use super::volumes::Volumes;
use super::{Shared, Slot, lock};
use crate::host::Host;
use crate::identity::{Credential, Endpoint};
use crate::process::CommandLine;

/// How often a worker looks at its process.
const TURN: Duration = Duration::from_millis(50);
/// How often it looks at what is mounted, and tries again what failed.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// The first pause before a process that ended is started again, the longest, and how long one must run to be forgiven
/// (kubernetes/kubernetes: `pkg/kubelet/kubelet.go`, `client-go/util/flowcontrol/backoff.go`). The first start after an end comes at once.
const BACKOFF_MIN: Duration = Duration::from_secs(10);
const BACKOFF_MAX: Duration = Duration::from_mins(5);
const BACKOFF_RESET: Duration = Duration::from_mins(10);

/// What a pod's task knows.
pub(super) struct Worker {
    shared: Arc<Shared>,
    /// The pod as the API server has it; `None` once it is gone there.
    pod: watch::Receiver<Option<Pod>>,
    node: String,
    name: String,
    uid: String,
    shown: Option<Shown>,
    slot: Option<Slot>,
    backoff: Duration,
    /// What was written last of the status, and when.
    told: Option<((State, bool), Instant)>,
}

/// How a process ended.
enum End {
    /// By itself, or because its liveness probe failed.
    Exited(ExitStatus),
    /// The machine went down.
    Lost,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, pod: watch::Receiver<Option<Pod>>, node: String) -> Self {
        let (name, uid) = pod.borrow().as_ref().map_or_else(Default::default, |pod| {
            (pod.name_any(), pod.uid().unwrap_or_default())
        });
        Self {
            shared,
            pod,
            node,
            name,
            uid,
            shown: None,
            slot: None,
            backoff: Duration::ZERO,
            told: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut deleted = self.pod.clone();
        let is_deleted = |pod: &Option<Pod>| {
            pod.as_ref()
                .is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
        };
        tokio::select! {
            // Also when the sender is gone: then everything ends.
            _ = deleted.wait_for(is_deleted) => {}
            () = self.live() => {}
        }
        self.terminate().await;
        self.shared.network.release(&self.uid);
        self.shared
            .node(&self.node, |node| drop(node.slots.remove(&self.name)));
    }

    /// Runs the pod for as long as it is wanted.
    async fn live(&mut self) {
        let phase = self
            .pod()
            .and_then(|pod| pod.status.and_then(|status| status.phase));
        if matches!(phase.as_deref(), Some("Succeeded" | "Failed")) {
            return pending().await;
        }
        self.powered().await;
        let mut volumes = None;
        let (mut volumes, probes, line) = loop {
            match self.prepare(&mut volumes).await {
                Ok((probes, line)) => match volumes.take() {
                    Some(volumes) => break (volumes, probes, line),
                    None => continue,
                },
                Err(Unprepared(reason, error)) => self.wait(reason, &error).await,
            }
            tokio::time::sleep(REFRESH_EVERY).await;
        };
        loop {
            self.powered().await;
            match self.shared.start(&self.node, &self.name, &line) {
                Ok(None) => continue,
                Ok(slot) => self.slot = slot,
                Err(error) => {
                    self.wait("RunContainerError", &error).await;
                    tokio::time::sleep(REFRESH_EVERY).await;
                    continue;
                }
            }
            let since = Timestamp::now();
            let begun = Instant::now();
            let end = self.watch(&mut volumes, probes.clone(), since).await;
            self.ended(end, since, begun.elapsed()).await;
        }
    }

    /// Shows how the process ended, and returns when the next is due: never, if none is.
    async fn ended(&mut self, end: End, since: Timestamp, ran: Duration) {
        let code = match &end {
            End::Exited(status) => status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            End::Lost => 137,
        };
        let at = Timestamp::now();
        let ended = State::Terminated { code, since, at };
        let policy = self.pod().and_then(|pod| pod.spec?.restart_policy);
        let is_over = match policy.as_deref() {
            Some("Never") => true,
            Some("OnFailure") => code == 0,
            _ => false,
        };
        if is_over {
            self.show(|shown| {
                shown.state = ended;
                shown.is_over = true;
            });
            return self.hold_status().await;
        }
        self.show(|shown| {
            shown.last = Some(ended);
            shown.restarts += 1;
        });
        if matches!(end, End::Lost) {
            return;
        }
        if ran >= BACKOFF_RESET {
            self.backoff = Duration::ZERO;
        }
        let due = Instant::now() + self.backoff;
        let message = format!("back-off {:?}; it ended with {code}", self.backoff);
        self.backoff = (self.backoff * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
        let waits = State::Waiting {
            reason: "CrashLoopBackOff",
            message,
        };
        while Instant::now() < due {
            self.show(|shown| shown.state = waits.clone());
            self.tell().await;
            tokio::time::sleep(TURN).await;
        }
    }

    /// Follows the running process to its end.
    async fn watch(&mut self, volumes: &mut Volumes, probes: Probes, since: Timestamp) -> End {
        let (sender, health) = watch::channel(Health::default());
        let mut asking = JoinSet::new();
        drop(asking.spawn(probes.ask(sender)));
        let mut refreshed = Instant::now();
        loop {
            if let Some(end) = self.look() {
                return end;
            }
            let found = *health.borrow();
            if found.is_dead {
                let grace = self
                    .pod()
                    .and_then(|pod| pod.spec?.termination_grace_period_seconds);
                self.stop(seconds(grace)).await;
                return self.look().unwrap_or(End::Lost);
            }
            self.show(|shown| {
                shown.state = State::Running { since };
                shown.is_ready = found.is_ready;
            });
            self.tell().await;
            if refreshed.elapsed() >= REFRESH_EVERY {
                refreshed = Instant::now();
                // What is mounted stays as it was if a Secret is gone or the API server does not answer.
                if let Some(pod) = self.pod() {
                    drop(volumes.refresh(&pod).await);
                }
            }
            tokio::time::sleep(TURN).await;
        }
    }

    /// How the process has ended; `None` while it runs.
    fn look(&self) -> Option<End> {
        let slot = self.slot.as_ref()?;
        let mut process = lock(slot);
        match process.as_mut() {
            None => Some(End::Lost),
            Some(running) => {
                let status = running.exited()?;
                drop(process.take());
                Some(End::Exited(status))
            }
        }
    }

    /// Ends the process by SIGTERM, and by SIGKILL when `grace` is over.
    async fn stop(&mut self, grace: Duration) {
        let Some(slot) = self.slot.clone() else {
            return;
        };
        let deadline = Instant::now() + grace;
        let signal = |signal| lock(&slot).as_ref().map(|process| process.signal(signal));
        drop(signal(Signal::TERM));
        loop {
            if let Some(process) = lock(&slot).as_mut() {
                if process.exited().is_some() {
                    return;
                }
                if Instant::now() >= deadline {
                    return process.kill();
                }
            } else {
                return;
            }
            // A pod that is gone from the API server was deleted by force.
            if self.pod().is_none() {
                return drop(lock(&slot).take());
            }
            tokio::time::sleep(TURN).await;
        }
    }

    /// Ends the pod, and then deletes it for good.
    async fn terminate(&mut self) {
        loop {
            self.powered().await;
            let Some(pod) = self.pod() else {
                return self.stop(Duration::ZERO).await;
            };
            self.stop(seconds(pod.metadata.deletion_grace_period_seconds))
                .await;
            let pods: Api<Pod> =
                Api::namespaced(self.shared.client.clone(), &pod.namespace().unwrap_or_default());
            let mut now = DeleteParams::default().grace_period(0);
            now.preconditions = Some(Preconditions {
                uid: Some(self.uid.clone()),
                resource_version: None,
            });
            match pods.delete(&self.name, &now).await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => return,
                Err(_) => tokio::time::sleep(REFRESH_EVERY).await,
            }
        }
    }

    /// Waits until the machine is on, or the pod is gone.
    async fn powered(&mut self) {
        let mut power = self.shared.node(&self.node, |node| node.power.subscribe());
        let mut pod = self.pod.clone();
        tokio::select! {
            _ = power.wait_for(|is_on| *is_on) => {}
            _ = pod.wait_for(Option::is_none) => {}
        }
    }

    fn pod(&self) -> Option<Pod> {
        self.pod.borrow().clone()
    }

    /// Changes what is shown of the pod.
    fn show(&mut self, change: impl FnOnce(&mut Shown)) {
        if let Some(shown) = &mut self.shown {
            change(shown);
        }
    }

    /// Writes the status if the API server's differs.
    async fn tell(&mut self) {
        let (Some(pod), Some(shown)) = (self.pod(), &self.shown) else {
            return;
        };
        let is_on = self.shared.node(&self.node, |node| *node.power.borrow());
        let Some(patch) = shown.patch(&pod).filter(|_| is_on) else {
            return;
        };
        // What was just written may not be in the list yet, and a write that failed is tried again later.
        if self
            .told
            .as_ref()
            .is_some_and(|(told, at)| *told == shown.state_and_ready() && at.elapsed() < REFRESH_EVERY)
        {
            return;
        }
        self.told = Some((shown.state_and_ready(), Instant::now()));
        let pods: Api<Pod> =
            Api::namespaced(self.shared.client.clone(), &pod.namespace().unwrap_or_default());
        drop(
            pods.patch_status(&self.name, &PatchParams::default(), &Patch::Strategic(patch))
                .await,
        );
    }

    async fn hold_status(&mut self) {
        loop {
            self.tell().await;
            tokio::time::sleep(REFRESH_EVERY).await;
        }
    }

    async fn wait(&mut self, reason: &'static str, error: &anyhow::Error) {
        let message = format!("{error:#}");
        self.show(|shown| shown.state = State::Waiting { reason, message });
        self.tell().await;
    }

    async fn prepare(&mut self, volumes: &mut Option<Volumes>) -> Result<(Probes, CommandLine), Unprepared> {
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
        let container = only_container(&pod).map_err(refuse("CreateContainerError"))?;
        let program =
            program(container.image.as_deref().unwrap_or_default()).map_err(refuse("ErrImagePull"))?;
        let probes = Probes::of(container, address).map_err(refuse("CreateContainerError"))?;
        let directory = shared.directory.join(&self.uid);
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
        Ok((probes, line))
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
        let kubeconfig = self.shared.directory.join(&self.uid).join("kubeconfig");
        if let Some((_, directory)) = mounts.iter().find(|(path, _)| path == CREDENTIALS) {
            let endpoint = Endpoint {
                url: self.shared.endpoint.url.clone(),
                ca_file: directory.join("ca.crt"),
            };
            endpoint.write_kubeconfig(
                &kubeconfig,
                &self.name,
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

/// Why a pod has no process yet: the reason that its status shows, and the error.
struct Unprepared(&'static str, anyhow::Error);

fn only_container(pod: &Pod) -> Result<&Container> {
    let spec = pod.spec.as_ref().context("a pod without a spec")?;
    ensure!(
        spec.containers.len() == 1 && spec.init_containers.iter().flatten().next().is_none(),
        "only a pod with one container and no init container is played here"
    );
    Ok(&spec.containers[0])
}

fn seconds(grace: Option<i64>) -> Duration {
    Duration::from_secs(grace.and_then(|grace| u64::try_from(grace).ok()).unwrap_or(0))
}
