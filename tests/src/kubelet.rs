//! Plays the kubelets for the pods in our own namespace: each is a process, with the arguments, environment, files, token and probes that its
//! object says. Two more play the pod network: addresses (`network`), and Services (`service`).
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
//!   directories.
//!   Any other stays in `CreateContainerError`, with the reason. A pod of another image stays in `ErrImagePull`.
//! * A host that goes down kills its pods at once. systemd would end them by SIGTERM first.
//! * Of what the API server asks of a node, only logs are there (`logs`).
//!
//! Not here: nodes; KWOK keeps them alive. Pods of other namespaces; KWOK plays them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::NAMESPACE;
use crate::control_plane::ControlPlane;
use crate::host::Host;
use crate::identity::Endpoint;
use crate::process::{CommandLine, Kennel, Process};
use crate::programs::{self, Program};

use network::{Address, Network};
use worker::Worker;

mod command;
mod logs;
mod network;
mod probe;
mod service;
mod status;
mod volumes;
mod worker;

/// How often it lists the pods. A kubelet watches them.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What runs on the nodes of one control plane. A clone is the same.
#[derive(Clone)]
pub struct Kubelet(Arc<Shared>);

/// The tasks of a kubelet. They and all pods end when it is dropped.
pub struct Tasks {
    _tasks: JoinSet<()>,
}

struct Shared {
    client: Client,
    endpoint: Endpoint,
    kennel: Kennel,
    directory: PathBuf,
    programs: BTreeMap<Program, PathBuf>,
    network: Network,
    nodes: Mutex<BTreeMap<String, Node>>,
}

/// The process of a pod, while it runs.
type Slot = Arc<Mutex<Option<Process>>>;

/// A node, as far as its pods need it.
struct Node {
    /// Whether its machine is on. A node without a machine is off.
    power: watch::Sender<bool>,
    host: Option<Host>,
    /// Of the pods that have been on it, by their names.
    slots: BTreeMap<String, Slot>,
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
            nodes: Mutex::default(),
        });
        let socket = plane.egress_socket();
        let listener = UnixListener::bind(&socket)
            .with_context(|| format!("failed to listen at {}", socket.display()))?;
        let mut tasks = JoinSet::new();
        let (of_nodes, logs) = logs::server(Arc::clone(&shared))?;
        drop(tasks.spawn(logs));
        drop(tasks.spawn(service::serve(listener, Arc::clone(&shared), of_nodes)));
        drop(tasks.spawn(follow(Arc::clone(&shared))));
        Ok((Self(shared), Tasks { _tasks: tasks }))
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
    pub fn log_path(&self, pod: &str) -> PathBuf {
        self.0.kennel.log_path(pod)
    }

    /// The names of the pods that have a process on this node now.
    pub fn running_on(&self, node: &str) -> Vec<String> {
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

    /// Starts the process of a pod, unless the node's machine is off.
    fn start(&self, node: &str, pod: &str, line: &CommandLine) -> Result<Option<Slot>> {
        self.node(node, |node| {
            if !*node.power.borrow() {
                return Ok(None);
            }
            let slot = node.slots.entry(pod.to_owned()).or_default();
            *lock(slot) = Some(self.kennel.start(pod, line)?);
            Ok(Some(Arc::clone(slot)))
        })
    }
}

fn lock(slot: &Slot) -> MutexGuard<'_, Option<Process>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a task for each pod, and tells it what the API server says about the pod.
async fn follow(shared: Arc<Shared>) {
    let pods: Api<Pod> = Api::namespaced(shared.client.clone(), NAMESPACE);
    // From the API server's cache, because it is asked so often.
    let any = ListParams::default().match_any();
    let mut workers: BTreeMap<String, (watch::Sender<Option<Pod>>, AbortHandle)> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut turns = tokio::time::interval(LOOK_EVERY);
    loop {
        let _ = turns.tick().await;
        while tasks.try_join_next().is_some() {}
        // Without an API server, what runs goes on, as with a kubelet.
        let Ok(listed) = pods.list(&any).await else {
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
            if let Some((sender, _)) = workers.get(&uid) {
                drop(sender.send_replace(Some(pod)));
                continue;
            }
            let (sender, receiver) = watch::channel(Some(pod));
            let worker = Worker::new(Arc::clone(&shared), receiver, node);
            let task = tasks.spawn(worker.run());
            drop(workers.insert(uid, (sender, task)));
        }
        workers.retain(|uid, (sender, task)| {
            if !seen.contains(uid) {
                drop(sender.send_replace(None));
            }
            seen.contains(uid) || !task.is_finished()
        });
    }
}
