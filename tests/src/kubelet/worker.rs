//! The life of one pod: its volumes, its process and its probes, up to its deletion.
//!
//! Not here: what its process needs before it starts, see `prepare`.

use std::future::pending;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::probe::{Health, Probes};
use super::status::{Shown, State};
use super::volumes::Volumes;
use super::{Crash, PodName, Shared, Slot, lock};

use prepare::{Prepared, Unprepared};

mod prepare;

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
    name: PodName,
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
    /// A worker for this pod, of which `pod` has the newest version.
    pub(super) fn new(
        shared: Arc<Shared>,
        name: PodName,
        uid: String,
        pod: watch::Receiver<Option<Pod>>,
        node: String,
    ) -> Self {
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
        self.unmount();
    }

    /// Removes what was mounted.
    fn unmount(&self) {
        let directory = self.directory();
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                eprintln!("kubelet: failed to remove {}: {error}", directory.display());
            }
            _ => {}
        }
    }

    /// Where the pod's volumes are, and its kubeconfig.
    fn directory(&self) -> PathBuf {
        self.shared.directory.join(&self.uid)
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
        let (mut volumes, prepared) = loop {
            match self.prepare(&mut volumes).await {
                Ok(prepared) => match volumes.take() {
                    Some(volumes) => break (volumes, prepared),
                    None => continue,
                },
                Err(Unprepared(reason, error)) => self.wait(reason, &error).await,
            }
            tokio::time::sleep(REFRESH_EVERY).await;
        };
        loop {
            self.powered().await;
            let Prepared { ports, line, .. } = &prepared;
            let started = prepared.address.check_free(ports.iter().copied());
            match started.and_then(|()| self.shared.start(&self.node, &self.name, line)) {
                Ok(None) => continue,
                Ok(slot) => self.slot = slot,
                Err(error) => {
                    self.wait("CreateContainerError", &error).await;
                    tokio::time::sleep(REFRESH_EVERY).await;
                    continue;
                }
            }
            let since = Timestamp::now();
            let begun = Instant::now();
            let end = self.watch(&mut volumes, prepared.probes.clone(), since).await;
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
        if let End::Exited(status) = end
            && !(is_over && status.success())
        {
            let crash = Crash {
                pod: self.name.clone(),
                status,
            };
            self.shared.node(&self.node, |node| node.crashes.push(crash));
        }
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
            // If the machine went down meanwhile, nobody is there to say that the pod has ended.
            if !self.is_on() {
                continue;
            }
            let mut now = DeleteParams::default().grace_period(0);
            now.preconditions = Some(Preconditions {
                uid: Some(self.uid.clone()),
                resource_version: None,
            });
            match self.pods().delete(&self.name.name, &now).await {
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

    fn is_on(&self) -> bool {
        self.shared.node(&self.node, |node| *node.power.borrow())
    }

    fn pod(&self) -> Option<Pod> {
        self.pod.borrow().clone()
    }

    /// The pods of its namespace.
    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.shared.client.clone(), &self.name.namespace)
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
        let Some(patch) = shown.patch(&pod).filter(|_| self.is_on()) else {
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
        drop(
            self.pods()
                .patch_status(&self.name.name, &PatchParams::default(), &Patch::Strategic(patch))
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
}

fn seconds(grace: Option<i64>) -> Duration {
    Duration::from_secs(grace.and_then(|grace| u64::try_from(grace).ok()).unwrap_or(0))
}
