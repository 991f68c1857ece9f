//! A machine for a node: its directory, its power switch, and the real agent on it, with a token of the agent's pod on that node.
//!
//! A reboot changes the directory and the Node as on a real machine, whoever asked for it.
//! Not here: what the directory contains, see `host`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cordonhold_shared::hold::Phase;
use cordonhold_shared::keys;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::JoinHandle;

use crate::control_plane::{ControlPlane, service_account_token, set_down, wait_node_ready};
use crate::host::{BootKind, Host, RebootCommand};
use crate::identity::{Credential, Endpoint};
use crate::kubelet::{Kubelet, PodName};
use crate::process::{CommandLine, Environment, Kennel, Process, log_tail};
use crate::programs::{self, Program};
use crate::wait;
use crate::{AGENT_ACCOUNT, NAMESPACE};

/// How long a reboot takes: long enough for agents and controllers to see that the node is down.
const DOWN_TIME: Duration = Duration::from_secs(3);
/// Longest wait for the agent's pod: the DaemonSet controller creates it, KWOK runs it.
const AGENT_POD_TIMEOUT: Duration = Duration::from_secs(90);
/// Lifetime of the agent's token, as a kubelet requests it. Renewed at half of it here; a kubelet renews when 20 % are left
/// (k8s.io/kubernetes: pkg/kubelet/token).
const TOKEN_LIFETIME: Duration = Duration::from_hours(1);
/// Longest end after SIGTERM. The agent waits up to 15 s for evictions that it has sent; the manifests allow it 30 s.
const TERMINATION_TIMEOUT: Duration = Duration::from_secs(20);
const TOKEN_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// What the machine recorded of one reboot.
#[derive(Debug, Clone)]
pub struct RebootRecord {
    /// When the machine went down.
    pub at: Timestamp,
    /// `namespace/name` of each pod on the node at that moment, except those that a drain leaves.
    pub pods: Vec<String>,
    /// The Node's `spec.unschedulable` at that moment.
    pub unschedulable: bool,
    /// Whether the Node was sealed at that moment, by its phase.
    pub sealed: bool,
    /// The boot id after the reboot.
    pub boot_id: String,
}

/// What the Node of a machine showed when that went down.
#[derive(Debug, Clone)]
pub(crate) struct AtEnd {
    pub(crate) pods: Vec<String>,
    pub(crate) unschedulable: bool,
    pub(crate) sealed: bool,
}

/// The machine of a node. Its tasks and its agent end when it is dropped.
pub struct Machine {
    power: Arc<Power>,
    tasks: Vec<JoinHandle<()>>,
}

/// The state that the machine's tasks share.
struct Power {
    node: String,
    host: Host,
    client: Client,
    agent: AsyncMutex<Agent>,
    /// What runs the pods on it, if they really run: then the agent is one of them.
    kubelet: Option<Kubelet>,
    records: watch::Sender<Vec<RebootRecord>>,
    /// The first failure of a task. Errors of those who wait for the machine show it.
    failure: Mutex<Option<String>>,
}

/// The agent's process, and what is needed to start it.
struct Agent {
    kennel: Kennel,
    name: String,
    directory: PathBuf,
    endpoint: Endpoint,
    arguments: Vec<String>,
    environment: Environment,
    /// `None` until an agent is started for the first time. From then on each boot starts this program.
    program: Option<PathBuf>,
    process: Option<Process>,
}

impl Machine {
    /// Creates a machine without an agent. Its root is `hosts/NODE` in the control plane's directory.
    pub async fn new(plane: &ControlPlane, node: &str) -> Result<Self> {
        Self::create(plane, node, None).await
    }

    /// Creates a machine on which this kubelet runs the node's pods.
    pub async fn with_kubelet(plane: &ControlPlane, node: &str, kubelet: &Kubelet) -> Result<Self> {
        let machine = Self::create(plane, node, Some(kubelet.clone())).await?;
        kubelet.add_host(node, machine.host());
        Ok(machine)
    }

    async fn create(plane: &ControlPlane, node: &str, kubelet: Option<Kubelet>) -> Result<Self> {
        let host = Host::create(hosts_directory(plane).join(node))?;
        let name = format!("agent-{node}");
        let directory = plane.directory().join("agents").join(node);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("failed to create {}", directory.display()))?;
        let agent = Agent {
            kennel: plane.kennel().clone(),
            name,
            directory,
            endpoint: plane.endpoint().clone(),
            arguments: Vec::new(),
            environment: Environment::new(),
            program: None,
            process: None,
        };
        let (records, _) = watch::channel(Vec::new());
        let power = Arc::new(Power {
            node: node.to_owned(),
            host,
            client: plane.client(),
            agent: AsyncMutex::new(agent),
            kubelet,
            records,
            failure: Mutex::new(None),
        });
        power.report_boot_id().await?;
        // Opened here, not in the task, so that an early reboot command finds a reader. Opened for writing too, so that the
        // reader sees no end of file when a writer closes the FIFO.
        let initctl = pipe::OpenOptions::new()
            .read_write(true)
            .open_receiver(power.host.initctl())
            .with_context(|| format!("failed to open {}", power.host.initctl().display()))?;
        let button = tokio::spawn(watch_button(Arc::clone(&power), initctl));
        Ok(Self {
            power,
            tasks: vec![button],
        })
    }

    /// The same machine once more. It ends with the first.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            power: Arc::clone(&self.power),
            tasks: Vec::new(),
        }
    }

    pub fn node(&self) -> &str {
        &self.power.node
    }

    pub fn host(&self) -> &Host {
        &self.power.host
    }

    /// Touches the sentinel file.
    pub fn request_reboot(&self) -> Result<()> {
        self.power.host.request_reboot()
    }

    /// Sets what the reboot command does from its next run on.
    pub fn set_reboot_command(&self, command: RebootCommand) -> Result<()> {
        self.power.host.set_reboot_command(command)
    }

    /// Sets the kind of all reboots from now on.
    pub fn set_boot_kind(&self, kind: BootKind) {
        self.power.host.set_boot_kind(kind);
    }

    /// All reboots since this machine was created, also those that no agent asked for. One is listed once the machine is down.
    pub fn reboots(&self) -> Vec<RebootRecord> {
        self.power.records.borrow().clone()
    }

    /// Waits for the `n`-th reboot (from 1) to begin.
    pub async fn wait_for_reboot(&self, n: usize, bound: Duration) -> Result<RebootRecord> {
        let mut records = self.power.records.subscribe();
        let reached = tokio::time::timeout(bound, records.wait_for(|records| records.len() >= n)).await;
        let records = reached
            .with_context(|| {
                let node = self.node();
                format!("{node} had no reboot {n} in {bound:?}; {}", self.account())
            })?
            .context("the machine's power has ended")?;
        Ok(records[n - 1].clone())
    }

    /// Like [`wait::until`]; an error also shows the end of the agent's log.
    pub async fn wait_until<T, F>(&self, what: &str, bound: Duration, ask: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<Option<T>>>,
    {
        wait::until(what, bound, ask)
            .await
            .with_context(|| self.account())
    }

    /// A text with the failure of this machine, if any, and the end of its agent's log.
    fn account(&self) -> String {
        let failure = self.power.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = failure.as_deref().unwrap_or("the machine had no failure");
        let log = log_tail(&self.agent_log());
        format!("{failure}; the end of its agent's log:\n{log}")
    }

    /// Reboots the machine, without being asked by an agent. Returns when the node is Ready again.
    pub async fn power_cycle(&self) -> Result<()> {
        self.power.cycle().await
    }

    /// Cuts the power, without telling the API server. The boot after it is done, up to [`Self::restore_power`].
    pub async fn cut_power(&self) -> Result<()> {
        let power = &self.power;
        power.host.begin_shutdown()?;
        power.agent.lock().await.process = None;
        if let Some(kubelet) = &power.kubelet {
            kubelet.power_off(&power.node);
        }
        power.host.boot()
    }

    /// Brings the node back after [`Self::cut_power`].
    pub async fn restore_power(&self) -> Result<()> {
        self.power.report_boot_id().await?;
        if let Some(kubelet) = &self.power.kubelet {
            kubelet.power_on(self.node());
        }
        Ok(())
    }

    /// Lets the agent find the API server here from its next start on.
    pub async fn set_endpoint(&self, endpoint: Endpoint) {
        self.power.agent.lock().await.endpoint = endpoint;
    }

    /// Sets variables of the agent's environment from its next start on.
    pub async fn set_environment(&self, environment: Environment) {
        self.power.agent.lock().await.environment = environment;
    }

    /// Starts the agent on this machine, with these further arguments.
    pub async fn start_agent(&mut self, arguments: &[String]) -> Result<()> {
        let [program] = programs::build([Program::Agent])?;
        self.start_program(&program, arguments).await
    }

    /// Starts this program as the agent on this machine, with these further arguments.
    pub async fn start_program(&mut self, program: &Path, arguments: &[String]) -> Result<()> {
        let pod = self.power.wait_agent_pod().await?;
        let mut agent = self.power.agent.lock().await;
        agent.arguments = arguments.to_vec();
        agent.program = Some(program.to_owned());
        agent.write_credentials(&self.power.client, &pod).await?;
        agent.start(&self.power.node, &self.power.host)?;
        drop(agent);
        if self.tasks.len() == 1 {
            self.tasks
                .push(tokio::spawn(keep_token(Arc::clone(&self.power), pod.uid())));
        }
        Ok(())
    }

    /// Kills the agent (SIGKILL). The next boot starts it again, as a kubelet would; so does [`restart_agent`](Self::restart_agent).
    pub async fn kill_agent(&self) {
        self.power.agent.lock().await.process = None;
    }

    /// Ends the agent by SIGTERM, as a kubelet ends a container. An error if it does not exit with 0.
    pub async fn terminate_agent(&self) -> Result<()> {
        let mut agent = self.power.agent.lock().await;
        let process = agent.process.as_mut().context("no agent runs")?;
        let status = process.terminate(TERMINATION_TIMEOUT).await?;
        agent.process = None;
        ensure!(
            status.success(),
            "the agent of {} ended with {status}",
            self.node()
        );
        Ok(())
    }

    /// Waits until the agent has another pod than `before`, and gives the agent a token of the new pod.
    pub async fn wait_new_agent_pod(&self, before: Option<&str>) -> Result<()> {
        let what = format!("another pod of the agent's DaemonSet on {}", self.node());
        let pod = wait::until(&what, AGENT_POD_TIMEOUT, || async {
            let pod = self.power.agent_pod().await?;
            Ok(pod.filter(|pod| pod.metadata.uid.as_deref() != before))
        })
        .await?;
        self.power
            .agent
            .lock()
            .await
            .write_credentials(&self.power.client, &pod)
            .await
    }

    /// The uid of the agent's pod; `None` if there is no pod.
    pub async fn agent_pod_uid(&self) -> Result<Option<String>> {
        Ok(self.power.agent_pod().await?.and_then(|pod| pod.uid()))
    }

    /// Kills the agent and starts it again with the same arguments.
    pub async fn restart_agent(&self) -> Result<()> {
        let mut agent = self.power.agent.lock().await;
        agent.process = None;
        agent.start(&self.power.node, &self.power.host)
    }

    /// Sends a signal to the agent, which must run.
    pub async fn signal_agent(&self, signal: Signal) -> Result<()> {
        let agent = self.power.agent.lock().await;
        agent.process.as_ref().context("no agent runs")?.signal(signal)
    }

    /// The process id of the agent; `None` if it does not run.
    pub async fn agent_id(&self) -> Option<u32> {
        let mut agent = self.power.agent.lock().await;
        let process = agent.process.as_mut()?;
        process.exited().is_none().then(|| process.id())
    }

    /// Checks that the agent has not ended by itself, now or, if it runs as a pod, ever. The error has the end of its log.
    pub async fn check_agent(&self) -> Result<()> {
        if let Some(kubelet) = &self.power.kubelet {
            let mut crashes = kubelet.crashes_on(self.node()).into_iter();
            if let Some(crash) = crashes.find(|crash| is_agent(&crash.pod)) {
                bail!(
                    "the agent's pod {} ended early ({}); the end of its log:\n{}",
                    crash.pod.name,
                    crash.status,
                    log_tail(&kubelet.log_path(&crash.pod))
                );
            }
        }
        let mut agent = self.power.agent.lock().await;
        agent.process.as_mut().map_or(Ok(()), Process::check_running)
    }

    /// The log of the agent. If it runs as a pod, of one with a process, or else of one that had a process.
    pub fn agent_log(&self) -> PathBuf {
        let Some(kubelet) = &self.power.kubelet else {
            return self.own_agent_log();
        };
        let mut pods = kubelet.pods_on(self.node());
        pods.extend(kubelet.running_on(self.node()));
        let last = pods.into_iter().rfind(is_agent);
        last.map_or_else(|| self.own_agent_log(), |pod| kubelet.log_path(&pod))
    }

    /// The log of an agent that this machine has started.
    fn own_agent_log(&self) -> PathBuf {
        // The path depends on the node's name only, so the process's lock is not needed.
        self.power
            .host
            .root()
            .join("../../logs")
            .join(format!("agent-{}.log", self.node()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        for task in &self.tasks {
            task.abort();
        }
        // Others may have the machine once more. If a task that is being aborted has the agent, the agent ends with it.
        if let Ok(mut agent) = self.power.agent.try_lock() {
            agent.process = None;
        }
    }
}

fn is_agent(pod: &PodName) -> bool {
    pod.name.starts_with(AGENT_ACCOUNT)
}

/// The directory with the roots of all machines.
pub fn hosts_directory(plane: &ControlPlane) -> PathBuf {
    plane.directory().join("hosts")
}

/// Creates a machine for each node.
pub async fn machines(plane: &ControlPlane, nodes: &[String]) -> Result<Vec<Machine>> {
    let mut machines = Vec::new();
    for node in nodes {
        machines.push(Machine::new(plane, node).await?);
    }
    Ok(machines)
}

impl Power {
    /// Carries out a reboot, in the order in which a real machine does it.
    async fn cycle(&self) -> Result<()> {
        let at = Timestamp::now();
        let seen = at_end(&self.client, &self.node).await?;
        self.host.begin_shutdown()?;
        let mut agent = self.agent.lock().await;
        agent.process = None;
        if let Some(kubelet) = &self.kubelet {
            kubelet.power_off(&self.node);
        }
        self.host.boot()?;
        let record = RebootRecord {
            at,
            pods: seen.pods,
            unschedulable: seen.unschedulable,
            sealed: seen.sealed,
            boot_id: self.host.boot_id()?,
        };
        self.records.send_modify(|records| records.push(record));
        let returned = self.down_and_up().await;
        // As a kubelet does: the agent starts even if the Node failed to come back.
        if let Some(kubelet) = &self.kubelet {
            kubelet.power_on(&self.node);
        }
        if agent.program.is_some() {
            agent.start(&self.node, &self.host)?;
        }
        returned
    }

    /// Makes the Node not Ready, reports the new boot id, and makes the Node Ready.
    async fn down_and_up(&self) -> Result<()> {
        set_down(&self.client, &self.node, true).await?;
        tokio::time::sleep(DOWN_TIME).await;
        self.report_boot_id().await?;
        set_down(&self.client, &self.node, false).await?;
        wait_node_ready(&self.client, &self.node, true).await
    }

    async fn report_boot_id(&self) -> Result<()> {
        let status = json!({ "status": { "nodeInfo": { "bootID": self.host.boot_id()? } } });
        let nodes: Api<Node> = Api::all(self.client.clone());
        let patched = nodes
            .patch_status(&self.node, &PatchParams::default(), &Patch::Merge(status))
            .await;
        patched
            .map(drop)
            .with_context(|| format!("failed to set the boot id of the Node {}", self.node))
    }

    async fn wait_agent_pod(&self) -> Result<Pod> {
        let what = format!(
            "a running pod of the agent's DaemonSet on {} (are the manifests installed?)",
            self.node
        );
        wait::until(&what, AGENT_POD_TIMEOUT, || self.agent_pod()).await
    }

    async fn agent_pod(&self) -> Result<Option<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let on_node = ListParams::default().fields(&format!("spec.nodeName={}", self.node));
        let listed = pods
            .list(&on_node)
            .await
            .context("failed to list the agents' pods")?;
        Ok(listed.items.into_iter().find(|pod| {
            let account = pod
                .spec
                .as_ref()
                .and_then(|spec| spec.service_account_name.as_deref());
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            account == Some(AGENT_ACCOUNT)
                && phase == Some("Running")
                && pod.metadata.deletion_timestamp.is_none()
        }))
    }

    fn note_failure(&self, error: &anyhow::Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = failure.get_or_insert_with(|| format!("{error:#}"));
        eprintln!("machine {}: {error:#}", self.node);
    }
}

impl Agent {
    fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    async fn write_credentials(&self, client: &Client, pod: &Pod) -> Result<()> {
        let token =
            service_account_token(client, NAMESPACE, AGENT_ACCOUNT, Some(pod), TOKEN_LIFETIME).await?;
        let file = self.directory.join("token");
        replace(&file, &token)?;
        self.endpoint
            .write_kubeconfig(&self.kubeconfig(), AGENT_ACCOUNT, &Credential::TokenFile(file))
    }

    fn start(&mut self, node: &str, host: &Host) -> Result<()> {
        ensure!(self.process.is_none(), "the agent of {node} runs already");
        let program = self
            .program
            .as_ref()
            .with_context(|| format!("the agent of {node} was never started"))?;
        let line = CommandLine::new(program)
            .args([
                "--node-id",
                node,
                "--lock-namespace",
                NAMESPACE,
                "--period",
                "1s",
                "--metrics-port",
                "0",
            ])
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(host.agent_arguments())
            .args(&self.arguments)
            .envs(&self.environment);
        self.process = Some(self.kennel.start(&self.name, &line)?);
        Ok(())
    }
}

async fn watch_button(power: Arc<Power>, initctl: pipe::Receiver) {
    let mut lines = BufReader::new(initctl).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line != "reboot" {
            continue;
        }
        if let Err(error) = power.cycle().await {
            power.note_failure(&error.context("failed to carry out a reboot"));
        }
    }
}

/// Renews the agent's token: when half of its lifetime is over, and when the pod was replaced.
async fn keep_token(power: Arc<Power>, mut uid: Option<String>) {
    let mut issued = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(TOKEN_CHECK_INTERVAL).await;
        let Ok(Some(pod)) = power.agent_pod().await else {
            continue;
        };
        if pod.uid() == uid && issued.elapsed() < TOKEN_LIFETIME / 2 {
            continue;
        }
        match power
            .agent
            .lock()
            .await
            .write_credentials(&power.client, &pod)
            .await
        {
            Ok(()) => {
                uid = pod.uid();
                issued = tokio::time::Instant::now();
            }
            Err(error) => power.note_failure(&error.context("failed to renew the agent's token")),
        }
    }
}

/// What the Node of a machine shows that has just gone down.
pub(crate) async fn at_end(client: &Client, node: &str) -> Result<AtEnd> {
    let pods: Api<Pod> = Api::all(client.clone());
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let listed = pods.list(&on_node).await;
    let listed = listed.with_context(|| format!("failed to list the pods of {node}"))?;
    let node = Api::<Node>::all(client.clone())
        .get(node)
        .await
        .with_context(|| format!("failed to get the Node {node}"))?;
    let evictable = listed
        .iter()
        .filter(|pod| drain_evicts(pod))
        .map(|pod| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()));
    let phase = node.labels().get(keys::PHASE).map(String::as_str);
    Ok(AtEnd {
        pods: evictable.collect(),
        sealed: phase == Some(Phase::Sealed.as_str()),
        unschedulable: node.spec.and_then(|spec| spec.unschedulable).unwrap_or(false),
    })
}

/// Whether `kubectl drain --ignore-daemonsets` would evict a pod: not one of a DaemonSet, and no mirror pod.
pub fn drain_evicts(pod: &Pod) -> bool {
    let by_daemon_set = pod
        .owner_references()
        .iter()
        .any(|owner| owner.kind == "DaemonSet" && owner.controller == Some(true));
    !by_daemon_set && !pod.annotations().contains_key("kubernetes.io/config.mirror")
}

/// Replaces a file by a rename, because the agent may read it at any moment.
pub(crate) fn replace(path: &Path, content: &str) -> Result<()> {
    let unfinished = path.with_extension("new");
    std::fs::write(&unfinished, content)
        .with_context(|| format!("failed to write {}", unfinished.display()))?;
    std::fs::rename(&unfinished, path).with_context(|| format!("failed to replace {}", path.display()))
}
