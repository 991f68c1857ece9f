//! A real control plane on loopback: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and KWOK in place of kubelets.
//!
//! It stops when the value that [`ControlPlane::start`] returns is dropped, and when the calling process ends, even by SIGKILL.
//! Not here: Cordonhold's own programs and manifests, see `install`, `webhook` and `machine`.

use std::iter::once;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::AGENT_ACCOUNT;
use crate::assets::{Assets, Kubernetes};
use crate::audit;
use crate::identity::{self, Credential, Endpoint, Identity, Impersonation, ORDINARY_CONTROLLER};
use crate::process::{CommandLine, Kennel, Process, TemporaryDirectory, log_tail};
use crate::programs::{self, Program};
use crate::wait;

use servers::{Files, Member, apiserver_command, etcd_command, kubeconfig_path, start_clients};

pub(crate) use servers::SERVICE;

mod etcd;
mod servers;

/// While a Node has this annotation, KWOK does not make it Ready.
pub const DOWN_ANNOTATION: &str = "cordonhold.test/down";
/// A pod with this annotation takes all of its grace to end.
pub(crate) const FULL_GRACE_ANNOTATION: &str = "cordonhold.test/full-grace";

/// The address in the status of all nodes if our own pods run, for `kubectl logs`: the API server sends there what it asks a kubelet. One of
/// documentation (RFC 5737), so it is nowhere, and without it KWOK's nodes have none.
pub(crate) const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

const ETCD: &str = "etcd";
const APISERVER: &str = "kube-apiserver";
/// Names of the processes that are clients of the API server.
const KWOK: &str = "kwok";
const CONTROLLER_MANAGER: &str = "kube-controller-manager";
const SCHEDULER: &str = "kube-scheduler";

/// Longest start. It usually takes 3 s; a busy machine with a cold disk needs longer.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
const NODES_READY_TIMEOUT: Duration = Duration::from_mins(3);
/// How many times the servers are started, each time with other ports: a port that was free can be taken before the program opens it.
const PORT_ATTEMPTS: usize = 4;
/// Most members of etcd, of which it can lose one.
pub(crate) const ETCD_MEMBERS_MAX: usize = 3;
/// Those of a control plane that loses none.
pub(crate) const ETCD_MEMBERS: usize = 1;

/// What to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Number of nodes, named `node-0` and so on.
    pub nodes: usize,
}

/// A server of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// The member of etcd with this number, from 0.
    Etcd(usize),
    ApiServer,
}

impl Server {
    fn name(self) -> String {
        match self {
            Self::Etcd(0) => ETCD.to_owned(),
            Self::Etcd(number) => format!("{ETCD}-{number}"),
            Self::ApiServer => APISERVER.to_owned(),
        }
    }
}

/// Who runs the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pods {
    /// KWOK plays all of them: they are there, and do nothing.
    Played,
    /// [`crate::kubelet`] runs our own, which [`cordonhold_shared::keys::PART_OF`] marks, as processes. KWOK plays all others.
    OursRun,
    /// A kubelet runs all of them, see [`crate::real_node`]. There is no KWOK.
    Real,
}

/// A running control plane.
pub struct ControlPlane {
    client: Client,
    endpoint: Endpoint,
    assets: Assets,
    kennel: Kennel,
    files: Files,
    /// The command lines of etcd and the API server, to start them again.
    lines: Lines,
    // Dropped in this order: first the clients of the API server, the directory last.
    processes: Vec<Process>,
    directory: Arc<TemporaryDirectory>,
}

impl ControlPlane {
    /// Starts only etcd and the API server, so that no controller writes anything.
    pub async fn start_alone() -> Result<Self> {
        let plane = Self::start_servers(Kubernetes::chosen()?, &[], Pods::Played, ETCD_MEMBERS).await?;
        create_default_service_account(&plane.client).await?;
        grant_ordinary_controller(&plane.client).await?;
        Ok(plane)
    }

    /// Starts the whole control plane and waits until its nodes are Ready.
    pub async fn start(options: Options) -> Result<Self> {
        Self::start_with(options, &[]).await
    }

    /// The same, with these further flags of the API server.
    pub async fn start_with(options: Options, flags: &[&str]) -> Result<Self> {
        Self::start_on(Kubernetes::chosen()?, options, flags).await
    }

    /// The same on this release of Kubernetes.
    pub async fn start_on(kubernetes: Kubernetes, options: Options, flags: &[&str]) -> Result<Self> {
        Self::start_all(kubernetes, options, flags, Pods::Played, ETCD_MEMBERS).await
    }

    /// The same on the chosen release, with so many members of etcd.
    pub(crate) async fn start_with_etcd(options: Options, members: usize) -> Result<Self> {
        Self::start_all(Kubernetes::chosen()?, options, &[], Pods::Played, members).await
    }

    /// The same on the chosen release, but our own pods wait for [`crate::kubelet`].
    pub(crate) async fn start_for_kubelet(options: Options, flags: &[&str]) -> Result<Self> {
        Self::start_all(Kubernetes::chosen()?, options, flags, Pods::OursRun, ETCD_MEMBERS).await
    }

    /// The same without any node: one of [`crate::real_node`] makes its own.
    pub(crate) async fn start_for_real_node() -> Result<Self> {
        let options = Options { nodes: 0 };
        Self::start_all(Kubernetes::Newest, options, &[], Pods::Real, ETCD_MEMBERS).await
    }

    async fn start_all(
        kubernetes: Kubernetes,
        options: Options,
        flags: &[&str],
        pods: Pods,
        etcd_members: usize,
    ) -> Result<Self> {
        let mut plane = Self::start_servers(kubernetes, flags, pods, etcd_members).await?;
        plane.start_clients()?;
        plane
            .wait_ready(options)
            .await
            .map_err(|error| plane.explain(error))?;
        Ok(plane)
    }

    async fn start_servers(
        kubernetes: Kubernetes,
        flags: &[&str],
        pods: Pods,
        etcd_members: usize,
    ) -> Result<Self> {
        let assets = Assets::of(kubernetes)?;
        let [leash] = programs::build([Program::Leash])?;
        let directory = Arc::new(TemporaryDirectory::new(&leash)?);
        let kennel = Kennel::new(&leash, directory.path())?;
        let files = Files::write(directory.path(), &assets, pods)?;
        let (endpoint, client, lines, mut servers) =
            start_servers(&assets, &kennel, &files, flags, etcd_members).await?;
        servers.reverse();
        Ok(Self {
            client,
            endpoint,
            assets,
            kennel,
            files,
            lines,
            processes: servers,
            directory,
        })
    }

    fn start_clients(&mut self) -> Result<()> {
        let clients = start_clients(&self.assets, &self.kennel, &self.files)?;
        drop(self.processes.splice(0..0, clients));
        Ok(())
    }

    async fn wait_ready(&mut self, options: Options) -> Result<()> {
        create_default_service_account(&self.client).await?;
        grant_ordinary_controller(&self.client).await?;
        let names: Vec<String> = (0..options.nodes)
            .map(|number| format!("node-{number}"))
            .collect();
        for name in &names {
            create_node(&self.client, name).await?;
        }
        wait::until("the API server's readyz", READY_TIMEOUT, || async {
            Ok(is_ready(&self.client).await?.then_some(()))
        })
        .await?;
        for name in &names {
            self.wait_node_ready(name, true).await?;
        }
        Ok(())
    }

    /// A client with cluster-admin rights.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// A client that impersonates `somebody`.
    pub async fn client_as(&self, somebody: &Impersonation) -> Result<Client> {
        identity::client(&self.kubeconfig(Identity::Admin), Some(somebody)).await
    }

    /// A client that uses this kubeconfig.
    pub async fn client_from(&self, kubeconfig: &Path) -> Result<Client> {
        identity::client(kubeconfig, None).await
    }

    pub fn kubeconfig(&self, identity: Identity) -> PathBuf {
        kubeconfig_path(self.directory(), identity.user())
    }

    /// A file with the token of this identity.
    pub(crate) fn token_file(&self, identity: Identity) -> PathBuf {
        servers::token_file(self.directory(), identity)
    }

    /// The directory with all files of this control plane; removed with it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub fn assets(&self) -> &Assets {
        &self.assets
    }

    /// The kennel, to start processes that end with this control plane.
    pub fn kennel(&self) -> &Kennel {
        &self.kennel
    }

    /// A command that runs kubectl as this identity.
    pub fn kubectl(&self, identity: Identity) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.assets.kubectl);
        let _ = command
            .arg("--kubeconfig")
            .arg(self.kubeconfig(identity))
            .env("HOME", self.directory())
            .kill_on_drop(true);
        command
    }

    /// Like [`Self::kubectl`], for [`CommandLine::run`].
    pub fn kubectl_line(&self, identity: Identity) -> CommandLine {
        CommandLine::new(&self.assets.kubectl)
            .arg("--kubeconfig")
            .arg(self.kubeconfig(identity))
            .env("HOME", self.directory())
    }

    /// Adds a node and waits until it is Ready.
    pub async fn add_node(&self, name: &str) -> Result<()> {
        create_node(&self.client, name).await?;
        self.wait_node_ready(name, true).await
    }

    /// With `down`, makes the node not Ready before it returns. Without, lets KWOK make it Ready again.
    pub async fn set_down(&self, node: &str, down: bool) -> Result<()> {
        set_down(&self.client, node, down).await
    }

    /// Waits until the node is Ready, or not Ready, as `ready` says.
    pub async fn wait_node_ready(&self, node: &str, ready: bool) -> Result<()> {
        wait_node_ready(&self.client, node, ready).await
    }

    /// A new token of a ServiceAccount, bound to `pod` if one is given.
    pub async fn service_account_token(
        &self,
        namespace: &str,
        name: &str,
        pod: Option<&Pod>,
    ) -> Result<String> {
        service_account_token(&self.client, namespace, name, pod, TOKEN_LIFETIME).await
    }

    /// The path of the socket to which the API server sends what is meant for a Service or a node.
    pub(crate) fn egress_socket(&self) -> Result<PathBuf> {
        servers::egress_socket(self.directory())
    }

    /// Sends a signal to this server.
    pub fn signal(&self, server: Server, signal: Signal) -> Result<()> {
        let name = server.name();
        let mut processes = self.processes.iter();
        let process = processes.find(|process| process.name() == name);
        process
            .with_context(|| format!("{name} does not run"))?
            .signal(signal)
    }

    /// Kills the member of etcd with this number (SIGKILL). What it has written stays.
    pub fn stop_etcd(&mut self, number: usize) {
        let name = Server::Etcd(number).name();
        self.processes.retain(|process| process.name() != name);
    }

    /// Starts that member again on the same ports, and waits until the API server answers.
    pub async fn start_etcd(&mut self, number: usize) -> Result<()> {
        let (member, line) = self.lines.etcd.get(number).context("no such member of etcd")?;
        self.processes.push(self.kennel.start(&member.name, line)?);
        self.wait_answers().await
    }

    /// The port at which etcd serves the API server; of its first member, if it has more.
    pub fn etcd_port(&self) -> Result<u16> {
        let (member, _) = self.lines.etcd.first().context("there is no etcd")?;
        Ok(member.client_port)
    }

    /// Starts one more API server, which finds etcd at this port. It ends with this control plane.
    pub async fn start_further_api_server(&mut self, name: &str, etcd_port: u16) -> Result<Endpoint> {
        let [port] = free_ports()?;
        let etcd = once(servers::etcd_url(etcd_port));
        // The last of a repeated flag counts.
        let line = apiserver_command(&self.assets, &self.files, port, etcd).arg(format!(
            "--audit-log-path={}",
            self.files.path(&format!("{name}.audit"))
        ));
        let apiserver = self.kennel.start(name, &line)?;
        self.processes.insert(0, apiserver);
        let endpoint = Endpoint {
            url: format!("https://127.0.0.1:{port}"),
            ..self.endpoint.clone()
        };
        let path = self.directory().join(format!("{name}.kubeconfig"));
        let token = std::fs::read_to_string(self.files.path(&format!("{}.token", Identity::Admin.user())))
            .context("failed to read a token")?;
        endpoint.write_kubeconfig(&path, Identity::Admin.user(), &Credential::Token(token))?;
        let client = identity::client(&path, None).await?;
        wait::until(&format!("{name} to answer"), READY_TIMEOUT, || async {
            Ok(is_ready(&client).await?.then_some(()))
        })
        .await?;
        Ok(endpoint)
    }

    /// Kills everything (SIGKILL). What etcd has written stays.
    pub fn stop(&mut self) {
        self.processes.clear();
    }

    /// Starts everything again after [`Self::stop`], on the same ports.
    pub async fn start_again(&mut self) -> Result<()> {
        for (member, line) in &self.lines.etcd {
            self.processes.push(self.kennel.start(&member.name, line)?);
        }
        self.start_api_server().await
    }

    /// Kills the API server (SIGKILL), as if its machine died: requests under way are cut off. Also ends KWOK, controllers and scheduler.
    pub fn stop_api_server(&mut self) {
        self.processes
            .retain(|process| ![APISERVER, KWOK, CONTROLLER_MANAGER, SCHEDULER].contains(&process.name()));
    }

    /// Starts the API server again on the same port, and then its clients. Clients that had kept running could wait a minute
    /// before they connect again.
    pub async fn start_api_server(&mut self) -> Result<()> {
        let apiserver = self.kennel.start(APISERVER, &self.lines.apiserver)?;
        // First in the list, so that it ends before etcd does.
        self.processes.insert(0, apiserver);
        self.wait_answers().await?;
        // A new KWOK does not touch a node until the previous KWOK's lease on it has expired.
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        drop(
            leases
                .delete_collection(&DeleteParams::default(), &ListParams::default())
                .await
                .context("failed to delete the nodes' leases")?,
        );
        self.start_clients()
    }

    async fn wait_answers(&mut self) -> Result<()> {
        wait::until("the API server to answer again", READY_TIMEOUT, || async {
            Ok(is_ready(&self.client).await?.then_some(()))
        })
        .await
        .map_err(|error| self.explain(error))
    }

    /// All requests of agents and of the webhook to the API server, in the order of its log.
    pub fn requests_of_ours(&self) -> Result<Vec<audit::Asked>> {
        audit::read(self.directory())
    }

    /// All requests of agents to the API server, in the order of its log.
    pub fn requests_of_agents(&self) -> Result<Vec<audit::Asked>> {
        let mut asked = self.requests_of_ours()?;
        asked.retain(|asked| asked.account == AGENT_ACCOUNT);
        Ok(asked)
    }

    /// Returns the likely cause of this error: the error of a process of the control plane that has ended early. If none has, returns the
    /// error itself.
    fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        let ended = self
            .processes
            .iter_mut()
            .find_map(|process| process.check_running().err());
        ended.unwrap_or(error)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // SIGKILL, not SIGTERM: on SIGTERM etcd and the API server would keep their ports for seconds.
        for process in &mut self.processes {
            process.kill();
        }
    }
}

/// Lifetime of a token. Longer than any test, so that it is never renewed.
const TOKEN_LIFETIME: Duration = Duration::from_hours(12);

/// The command lines of the servers.
struct Lines {
    etcd: Vec<(Member, CommandLine)>,
    apiserver: CommandLine,
}

/// Starts etcd and the API server and waits until they answer. Tries other ports if theirs are taken.
async fn start_servers(
    assets: &Assets,
    kennel: &Kennel,
    files: &Files,
    flags: &[&str],
    etcd_members: usize,
) -> Result<(Endpoint, Client, Lines, Vec<Process>)> {
    for _ in 1..PORT_ATTEMPTS {
        match try_servers(assets, kennel, files, flags, etcd_members).await {
            Err(error) if format!("{error:#}").contains("address already in use") => {}
            other => return other,
        }
    }
    try_servers(assets, kennel, files, flags, etcd_members).await
}

async fn try_servers(
    assets: &Assets,
    kennel: &Kennel,
    files: &Files,
    flags: &[&str],
    etcd_members: usize,
) -> Result<(Endpoint, Client, Lines, Vec<Process>)> {
    let [api_port, ports @ ..] = free_ports::<{ 1 + 2 * ETCD_MEMBERS_MAX }>()?;
    let members = members(&ports, etcd_members);
    let flags = flags.iter().map(|flag| (*flag).to_owned());
    let urls = members.iter().map(|member| servers::etcd_url(member.client_port));
    let lines = Lines {
        apiserver: apiserver_command(assets, files, api_port, urls).args(flags),
        etcd: members
            .iter()
            .map(|member| (member.clone(), etcd_command(assets, files, member, &members)))
            .collect(),
    };
    let etcd = lines.etcd.iter();
    let mut servers: Vec<Process> = etcd
        .map(|(member, line)| kennel.start(&member.name, line))
        .collect::<Result<_>>()?;
    servers.push(kennel.start(APISERVER, &lines.apiserver)?);
    let endpoint = Endpoint {
        url: format!("https://127.0.0.1:{api_port}"),
        ca_file: files.directory().join("ca.crt"),
    };
    for identity in Identity::ALL {
        let token = std::fs::read_to_string(servers::token_file(files.directory(), identity))
            .context("failed to read a token")?;
        let path = kubeconfig_path(files.directory(), identity.user());
        endpoint.write_kubeconfig(&path, identity.user(), &Credential::Token(token))?;
    }
    let client = identity::client(&kubeconfig_path(files.directory(), Identity::Admin.user()), None).await?;
    let answered = wait::until("the API server to answer", READY_TIMEOUT, || {
        let ended = servers
            .iter_mut()
            .find_map(|process| process.check_running().err());
        let client = client.clone();
        async move {
            match ended {
                Some(error) => Ok(Some(Err(error))),
                None => Ok(answers(&client).await.then_some(Ok(()))),
            }
        }
    })
    .await;
    answered.map_err(|error| {
        error.context(format!(
            "its log ends:\n{}",
            log_tail(&kennel.log_path(APISERVER))
        ))
    })??;
    Ok((endpoint, client, lines, servers))
}

/// So many members of etcd, with two of these ports each.
fn members(ports: &[u16], count: usize) -> Vec<Member> {
    let ports = ports.as_chunks::<2>().0.iter().take(count);
    let members = ports
        .enumerate()
        .map(|(number, [client_port, peer_port])| Member {
            name: Server::Etcd(number).name(),
            client_port: *client_port,
            peer_port: *peer_port,
        });
    members.collect()
}

async fn answers(client: &Client) -> bool {
    // Reads a namespace: unlike /version, that needs etcd and RBAC to work.
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    namespaces
        .get_opt("default")
        .await
        .is_ok_and(|namespace| namespace.is_some())
}

async fn is_ready(client: &Client) -> Result<bool> {
    let request = http::Request::get("/readyz")
        .body(Vec::new())
        .context("failed to build a request")?;
    Ok(client.request_text(request).await? == "ok")
}

/// Creates the ServiceAccount `default` in the namespace `default`, which pods need. Otherwise a controller creates it later.
async fn create_default_service_account(client: &Client) -> Result<()> {
    let account: ServiceAccount = serde_json::from_value(json!({ "metadata": { "name": "default" } }))?;
    match Api::default_namespaced(client.clone())
        .create(&PostParams::default(), &account)
        .await
    {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        other => other
            .map(drop)
            .context("failed to create the ServiceAccount default"),
    }
}

async fn grant_ordinary_controller(client: &Client) -> Result<()> {
    use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
    let role: ClusterRole = serde_json::from_value(json!({
        "metadata": { "name": ORDINARY_CONTROLLER },
        "rules": [
            { "apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch", "update", "patch"] },
            { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"] },
        ],
    }))?;
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": { "name": ORDINARY_CONTROLLER },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ORDINARY_CONTROLLER },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": ORDINARY_CONTROLLER }],
    }))?;
    let parameters = PostParams::default();
    drop(
        Api::all(client.clone())
            .create(&parameters, &role)
            .await
            .context("failed to create a ClusterRole")?,
    );
    drop(
        Api::all(client.clone())
            .create(&parameters, &binding)
            .await
            .context("failed to create a ClusterRoleBinding")?,
    );
    Ok(())
}

async fn create_node(client: &Client, name: &str) -> Result<()> {
    let node: Node = serde_json::from_value(json!({
        "metadata": {
            "name": name,
            "labels": { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64" },
        },
        "status": {
            // Without it, KWOK takes the other addresses away when it makes the Node Ready once more.
            "addresses": [{ "type": "Hostname", "address": name }],
            "allocatable": { "cpu": "64", "memory": "256Gi", "pods": "1000" },
            "capacity": { "cpu": "64", "memory": "256Gi", "pods": "1000" },
        },
    }))?;
    let created = Api::all(client.clone())
        .create(&PostParams::default(), &node)
        .await;
    created
        .map(drop)
        .with_context(|| format!("failed to create the Node {name}"))
}

pub(crate) async fn set_down(client: &Client, node: &str, down: bool) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let parameters = PatchParams::default();
    let mark = if down { json!("true") } else { Value::Null };
    let annotation = json!({ "metadata": { "annotations": { DOWN_ANNOTATION: mark } } });
    drop(
        nodes
            .patch(node, &parameters, &Patch::Merge(annotation))
            .await
            .with_context(|| format!("failed to mark the Node {node}"))?,
    );
    if down {
        // After the annotation: without it, KWOK would undo this at once.
        let status = json!({ "status": { "conditions": [
            { "type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "the machine is down" },
        ] } });
        drop(
            nodes
                .patch_status(node, &parameters, &Patch::Strategic(status))
                .await
                .with_context(|| format!("failed to make the Node {node} not Ready"))?,
        );
    }
    Ok(())
}

pub(crate) async fn wait_node_ready(client: &Client, name: &str, ready: bool) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let what = format!(
        "the Node {name} to be {}",
        if ready { "Ready" } else { "not Ready" }
    );
    wait::until(&what, NODES_READY_TIMEOUT, || async {
        let node = nodes.get(name).await?;
        Ok((is_node_ready(&node) == ready).then_some(()))
    })
    .await
}

/// Whether a Node is Ready and has no not-ready taint, so that pods can be scheduled.
pub fn is_node_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let taints = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        && !taints
            .iter()
            .any(|taint| taint.key == "node.kubernetes.io/not-ready")
}

pub(crate) async fn service_account_token(
    client: &Client,
    namespace: &str,
    name: &str,
    pod: Option<&Pod>,
    lifetime: Duration,
) -> Result<String> {
    let bound =
        pod.map(|pod| json!({ "kind": "Pod", "apiVersion": "v1", "name": pod.name_any(), "uid": pod.uid() }));
    let request: TokenRequest = serde_json::from_value(json!({
        "metadata": {},
        "spec": { "audiences": [], "expirationSeconds": lifetime.as_secs(), "boundObjectRef": bound },
    }))?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let answer = accounts
        .create_token_request(name, &PostParams::default(), &request)
        .await
        .with_context(|| format!("failed to get a token of the ServiceAccount {namespace}/{name}"))?;
    Ok(answer
        .status
        .context("the TokenRequest came back without a token")?
        .token)
}

/// Different TCP ports on loopback that are free now.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let listeners: Vec<TcpListener> = (0..N)
        .map(|_| TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))))
        .collect::<std::io::Result<_>>()
        .context("failed to find a free port on 127.0.0.1")?;
    let ports: Vec<u16> = listeners
        .iter()
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .collect::<std::io::Result<_>>()
        .context("failed to read a port")?;
    match ports.try_into() {
        Ok(ports) => Ok(ports),
        Err(_) => bail!("failed to find the number of ports asked for"),
    }
}

/// A new random UUID, from the kernel.
pub(crate) fn random_id() -> Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid")
        .context("failed to read a random UUID from /proc")?;
    Ok(text.trim().to_owned())
}
