//! Plays the kubelets for our own pods, those with the label `app.kubernetes.io/part-of: cordonhold`, in any namespace: each is a process, with the
//! arguments, environment, files, token and probes that its object says. Two more play the pod network: addresses (`network`), and Services
//! (`service`).
//!
//! It deviates from a kubelet and a container in these things, and in no other that we know of:
//!
//! * A program is chosen by the last name of its image, `cordonhold-agent` or `cordonhold-webhook`. It runs as the user of the tests, without
//!   limits, capabilities or a root of its own; its host is the directory of a [`crate::machine`].
//! * The address of a pod is played by an address of the loopback. In arguments, `[::]` and the pod's own address are replaced by it, and so is
//!   the default of `--admin-listen`.
//! * There are no mounts: where an argument names a path in one, it gets the path of a directory. The ServiceAccount's token is named by
//!   `--kubeconfig`, because programs look for it at a fixed path.
//! * A changed Secret arrives within two seconds; a kubelet takes up to a minute and a half.
//! * A pod has one container and no init container, probes by HTTP, and volumes of Secrets, `ConfigMaps`, tokens, fields and empty
//!   directories. `fields` has the list of what is played. A pod with any other field stays in `CreateContainerError`, which names the field, and so
//!   does one whose port is taken on this machine. A pod of another image stays in `ErrImagePull`.
//! * A host that goes down kills its pods at once. systemd would end them by SIGTERM first.
//! * Of what the API server asks of a node, only logs are there (`logs`). All nodes have the same address in their status.
//!
//! Not here: nodes; KWOK keeps them alive. All other pods; KWOK plays them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use cordonhold_shared::keys;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use crate::control_plane::ControlPlane;
use crate::host::Host;
use crate::identity::Endpoint;
use crate::process::{CommandLine, Kennel, Process};
use crate::programs::{self, Program};

use network::{Address, Network};
pub use unread::UnreadLog;
use worker::Worker;

mod command;
mod fields;
pub mod image;
mod logs;
mod network;
mod probe;
mod service;
mod status;
mod unread;
mod volumes;
mod worker;

/// How often it lists the pods. A kubelet watches them.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What runs on the nodes of one control plane. A clone is the same.
#[derive(Clone)]
pub struct Kubelet(Arc<Shared>);

/// The tasks of a kubelet. They and all pods end when it is dropped.
pub struct Tasks {
    kubelet: Kubelet,
    /// One, which runs the others.
    tasks: JoinSet<()>,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.tasks.abort_all();
        // Machines and tasks that are still ending have clones of the kubelet, so its pods do not end with this one.
        let nodes: Vec<String> = self.kubelet.0.nodes().keys().cloned().collect();
        for node in nodes {
            self.kubelet.power_off(&node);
        }
    }
}

/// A pod, by its namespace and name. It is displayed as its process and its log are called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodName {
    pub namespace: String,
    pub name: String,
}

impl PodName {
    fn of(pod: &Pod) -> Self {
        Self {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
        }
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.namespace, self.name)
    }
}

/// The end of a pod's process that nobody wanted: it ended by itself, or did not answer its probes.
#[derive(Debug, Clone)]
pub struct Crash {
    pub pod: PodName,
    pub status: ExitStatus,
}

struct Shared {
    client: Client,
    endpoint: Endpoint,
    kennel: Kennel,
    directory: PathBuf,
    programs: BTreeMap<Program, PathBuf>,
    network: Network,
    /// Whether what the API server sends to a Service is dropped on its way.
    is_dropped: watch::Sender<bool>,
    nodes: Mutex<BTreeMap<String, Node>>,
}

/// The process of a pod, while it runs.
type Slot = Arc<Mutex<Option<Process>>>;

/// A node, as far as its pods need it.
struct Node {
    /// Whether its machine is on. A node without a machine is off.
    power: watch::Sender<bool>,
    host: Option<Host>,
    /// Of the pods that are on it.
    slots: BTreeMap<PodName, Slot>,
    crashes: Vec<Crash>,
}

impl Kubelet {
    /// Starts to run the pods that are bound to nodes with a machine (`add_host`).
    pub fn start(plane: &ControlPlane) -> Result<(Self, Tasks)> {
        let [agent, webhook] = programs::build([Program::Agent, Program::Webhook])?;
        let directory = plane.directory().join("pods");
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("failed to create {}", directory.display()))?;
        let shared = Arc::new(Shared {
            client: plane.client(),
            endpoint: plane.endpoint().clone(),
            kennel: plane.kennel().clone(),
            directory,
            programs: [(Program::Agent, agent), (Program::Webhook, webhook)].into(),
            network: Network::of(plane.endpoint())?,
            is_dropped: watch::Sender::new(false),
            nodes: Mutex::default(),
        });
        let socket = plane.egress_socket()?;
        let listener = UnixListener::bind(&socket)
            .with_context(|| format!("failed to listen at {}", socket.display()))?;
        let (of_nodes, logs) = logs::server(Arc::clone(&shared))?;
        let mut parts = JoinSet::new();
        drop(parts.spawn(logs));
        drop(parts.spawn(service::serve(listener, Arc::clone(&shared), of_nodes)));
        drop(parts.spawn(follow(Arc::clone(&shared))));
        let mut tasks = JoinSet::new();
        drop(tasks.spawn(supervise(parts)));
        let kubelet = Self(shared);
        let tasks = Tasks {
            kubelet: kubelet.clone(),
            tasks,
        };
        Ok((kubelet, tasks))
    }

    /// An error if pods could not listen on one of these ports of this machine.
    pub(crate) fn check_free(&self, ports: impl IntoIterator<Item = u16>) -> Result<()> {
        // Any address will do: what is looked for listens on all.
        let nobody = "nobody";
        let free = self.0.network.address(nobody)?.check_free(ports);
        self.0.network.release(nobody);
        free
    }

    /// Makes this the host of the pods on a node, and switches it on.
    pub(crate) fn add_host(&self, node: &str, host: &Host) {
        self.0.node(node, |node| {
            node.host = Some(host.clone());
            let _: bool = node.power.send_replace(true);
        });
    }

    /// Kills all pods on a node. They are started again by [`Self::power_on`]; until then nobody tells the API server about them.
    pub(crate) fn power_off(&self, node: &str) {
        self.0.node(node, |node| {
            let _: bool = node.power.send_replace(false);
            for slot in node.slots.values() {
                drop(lock(slot).take());
            }
        });
    }

    pub(crate) fn power_on(&self, node: &str) {
        self.0.node(node, |node| {
            let _: bool = node.power.send_replace(true);
        });
    }

    /// The path of the log of a pod, over all its processes.
    pub fn log_path(&self, pod: &PodName) -> PathBuf {
        self.0.log_path(pod)
    }

    /// Where the pod or node with this address in its status really is.
    pub fn real_address(&self, shown: Ipv4Addr) -> Option<Ipv4Addr> {
        self.0.network.find(shown).map(Address::real)
    }

    /// Drops what the API server sends to a Service, as a firewall does: without an answer, and in the middle of connections too.
    pub fn drop_service_traffic(&self, is_dropped: bool) {
        let _: bool = self.0.is_dropped.send_replace(is_dropped);
    }

    /// Starts the process of this pod again, and lets nobody read what it prints.
    pub async fn stop_reading(&self, pod: &PodName) -> Result<UnreadLog> {
        unread::start(&self.0, pod).await
    }

    /// The pods on this node that have had a process, and are not deleted for good.
    pub fn pods_on(&self, node: &str) -> Vec<PodName> {
        self.0.node(node, |node| node.slots.keys().cloned().collect())
    }

    /// All crashes on this node so far.
    pub fn crashes_on(&self, node: &str) -> Vec<Crash> {
        self.0.node(node, |node| node.crashes.clone())
    }

    /// The pods that have a process on this node now.
    pub fn running_on(&self, node: &str) -> Vec<PodName> {
        self.0.node(node, |node| {
            let running = node.slots.iter().filter(|(_, slot)| lock(slot).is_some());
            running.map(|(name, _)| name.clone()).collect()
        })
    }
}

impl Shared {
    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node<T>(&self, name: &str, look: impl FnOnce(&mut Node) -> T) -> T {
        let mut nodes = self.nodes();
        let node = nodes.entry(name.to_owned()).or_insert_with(|| Node {
            power: watch::Sender::new(false),
            host: None,
            slots: BTreeMap::new(),
            crashes: Vec::new(),
        });
        look(node)
    }

    /// The address of a pod. On the host's network it is that of the node.
    fn address(&self, pod: &Pod, node: &str) -> Result<Address> {
        let is_hosts = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
        if is_hosts {
            self.network.address(&format!("node/{node}"))
        } else {
            self.network.address(&pod.uid().unwrap_or_default())
        }
    }

    fn log_path(&self, pod: &PodName) -> PathBuf {
        self.kennel.log_path(&pod.to_string())
    }

    /// Starts the process of a pod, unless the node's machine is off.
    fn start(&self, node: &str, pod: &PodName, line: &CommandLine) -> Result<Option<Slot>> {
        self.node(node, |node| {
            if !*node.power.borrow() {
                return Ok(None);
            }
            let slot = node.slots.entry(pod.clone()).or_default();
            *lock(slot) = Some(self.kennel.start(&pod.to_string(), line)?);
            Ok(Some(Arc::clone(slot)))
        })
    }
}

fn lock(slot: &Slot) -> MutexGuard<'_, Option<Process>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says how a task has ended, if that was not by itself.
fn report(what: &str, ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        eprintln!("kubelet: {what} has failed: {error}");
    }
}

/// Runs the parts of the kubelet, and says which has ended: none of them should.
async fn supervise(mut parts: JoinSet<Result<()>>) {
    while let Some(ended) = parts.join_next().await {
        match ended {
            Ok(Ok(())) => eprintln!("kubelet: a part has ended"),
            Ok(Err(error)) => eprintln!("kubelet: a part has ended: {error:#}"),
            Err(error) => eprintln!("kubelet: a part has failed: {error}"),
        }
    }
}

/// A pod's task: how it hears of the pod, and what it is about.
struct Task {
    sender: watch::Sender<Option<Pod>>,
    handle: AbortHandle,
    pod: PodName,
    node: String,
}

/// Keeps a task for each pod, and tells it what the API server says about the pod.
async fn follow(shared: Arc<Shared>) -> Result<()> {
    let pods: Api<Pod> = Api::all(shared.client.clone());
    let (key, value) = keys::PART_OF;
    // From the API server's cache, because it is asked so often.
    let ours = ListParams::default()
        .labels(&format!("{key}={value}"))
        .match_any();
    let mut workers: BTreeMap<String, Task> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut turns = tokio::time::interval(LOOK_EVERY);
    loop {
        let _ = turns.tick().await;
        while let Some(ended) = tasks.try_join_next_with_id() {
            if let Err(error) = ended {
                failed(&shared, &workers, error.id(), &error);
            }
        }
        // Without an API server, what runs goes on, as with a kubelet.
        let Ok(listed) = pods.list(&ours).await else {
            continue;
        };
        let mut seen = BTreeSet::new();
        for pod in listed {
            let (Some(uid), Some(node)) = (
                pod.uid(),
                pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            ) else {
                continue;
            };
            let _: bool = seen.insert(uid.clone());
            if let Some(task) = workers.get(&uid) {
                drop(task.sender.send_replace(Some(pod)));
                continue;
            }
            let name = PodName::of(&pod);
            let (sender, receiver) = watch::channel(Some(pod));
            let worker = Worker::new(
                Arc::clone(&shared),
                name.clone(),
                uid.clone(),
                receiver,
                node.clone(),
            );
            let task = Task {
                sender,
                handle: tasks.spawn(worker.run()),
                pod: name,
                node,
            };
            drop(workers.insert(uid, task));
        }
        workers.retain(|uid, task| {
            if !seen.contains(uid) {
                drop(task.sender.send_replace(None));
            }
            seen.contains(uid) || !task.handle.is_finished()
        });
    }
}

/// Says which pod's task has failed, and ends its process, which nobody looks after any more.
fn failed(shared: &Shared, workers: &BTreeMap<String, Task>, id: Id, error: &JoinError) {
    let Some(task) = workers.values().find(|task| task.handle.id() == id) else {
        return eprintln!("kubelet: a pod's task has failed: {error}");
    };
    eprintln!("kubelet: the task of the pod {} has failed: {error}", task.pod);
    shared.node(&task.node, |node| drop(node.slots.remove(&task.pod)));
}
