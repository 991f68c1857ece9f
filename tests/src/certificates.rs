//! `cordonhold-webhook certs` on the real control plane, and replicas of the webhook that serve what it signs.
//!
//! A mount gets a changed Secret as the kubelet brings it, by a swap of one symlink. A balancer plays the Service.
//! Not here: what must hold, see `tests/tests/invariants/certificates.rs` and the `proof`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::certificates::record::{self, Stored};
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::control_plane::{ControlPlane, free_ports};
use crate::identity::Credential;
use crate::install::{Rendered, install, manifests};
use crate::mount::{Content, Mount};
use crate::process::{CommandLine, Kennel, Process};
use crate::programs::{self, Program};
use crate::webhook::{Mode, http_status};
use crate::{AGENT_ACCOUNT, NAMESPACE, WEBHOOK_ACCOUNT, wait};

pub mod proof;

/// The ServiceAccount of `certs`, whose rights are those of the manifests.
pub const ACCOUNT: &str = "cordonhold-certs";
pub const CA_SECRET: &str = "cordonhold-ca";
pub const SERVED_SECRET: &str = "cordonhold-webhook-tls";
pub use crate::webhook::CONFIGURATION;
/// The Node that is written to. No machine and no KWOK is behind it.
pub const NODE: &str = "certified";

/// Longest time until certificates are there and served. On an idle machine it takes five seconds.
pub const READY_TIMEOUT: Duration = Duration::from_secs(60);
const TERMINATE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the mount looks at the Secret, and the balancer at readiness.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// An API server with the manifests, with the webhook configurations pointing at `origin` and without any `caBundle`, and a Node.
pub async fn plane(origin: &str) -> Result<ControlPlane> {
    Ok(installed(origin).await?.0)
}

/// The same, with the manifests.
pub async fn installed(origin: &str) -> Result<(ControlPlane, Rendered)> {
    let plane = ControlPlane::start_alone().await?;
    let mut rendered: Rendered = install(&plane, &manifests("base")).await?;
    rendered.add_mode(Mode::Defer)?;
    let client = plane.client();
    let node: Node = serde_json::from_value(json!({ "metadata": { "name": NODE } }))?;
    drop(
        Api::all(client.clone())
            .create(&PostParams::default(), &node)
            .await?,
    );
    rendered.register_webhook(&client, origin, None).await?;
    Ok((plane, rendered))
}

/// Writes a kubeconfig for one process: another one may be reading its own at this moment.
async fn kubeconfig(plane: &ControlPlane, account: &str, process: &str) -> Result<PathBuf> {
    let token = plane.service_account_token(NAMESPACE, account, None).await?;
    let path = plane.directory().join(format!("{process}.kubeconfig"));
    plane
        .endpoint()
        .write_kubeconfig(&path, account, &Credential::Token(token))?;
    Ok(path)
}

/// A process of `cordonhold-webhook certs`, with a token of its ServiceAccount.
#[derive(Debug)]
pub struct Certs {
    name: String,
    kennel: Kennel,
    line: CommandLine,
    process: Option<Process>,
}

impl Certs {
    /// Starts a process of this name. Its certificate is for 127.0.0.1 too, where the API server calls the replicas.
    pub async fn start(plane: &ControlPlane, name: &str, flags: &[&str]) -> Result<Self> {
        let [program] = programs::build([Program::Webhook])?;
        let line = CommandLine::new(program)
            .args([
                "certs",
                "--also-for=127.0.0.1",
                "--namespace",
                NAMESPACE,
                "--instance",
                name,
                "--kubeconfig",
            ])
            .arg(kubeconfig(plane, ACCOUNT, name).await?)
            .arg("--admin-listen=127.0.0.1:0")
            .args(flags.iter().map(|flag| (*flag).to_owned()));
        let mut certs = Self {
            name: name.to_owned(),
            kennel: plane.kennel().clone(),
            line,
            process: None,
        };
        certs.start_again()?;
        Ok(certs)
    }

    /// The address that serves `/readyz` and `/metrics`. An error until it has started.
    pub fn admin_address(&self) -> Result<SocketAddr> {
        let lines = self.logged("keeping the certificates")?;
        let line = lines.last().context("it has not started yet")?;
        Ok(line["admin_listen"].as_str().unwrap_or_default().parse()?)
    }

    /// Kills the process (SIGKILL).
    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn start_again(&mut self) -> Result<()> {
        self.process = Some(self.kennel.start(&self.name, &self.line)?);
        Ok(())
    }

    /// Sends SIGTERM, and waits for the end. An error unless the exit code is 0.
    pub async fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it does not run")?;
        let status = process.terminate(TERMINATE_TIMEOUT).await?;
        ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }

    /// Waits until it says that all certificates are right.
    pub async fn wait_ready(&self) -> Result<()> {
        let what = format!(
            "{} to be ready; its log: {}",
            self.name,
            self.kennel.log_path(&self.name).display()
        );
        wait::until(&what, READY_TIMEOUT, || async {
            let status = http_status(self.admin_address()?, "/readyz").await?;
            Ok((status == 200).then_some(()))
        })
        .await
    }

    /// The lines of its log with this message.
    pub fn logged(&self, message: &str) -> Result<Vec<Value>> {
        let log =
            std::fs::read_to_string(self.kennel.log_path(&self.name)).context("failed to read a log")?;
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(lines.filter(|line| line["message"] == message).collect())
    }

    /// The CAs that have signed a certificate, by name.
    pub fn signers(&self) -> Result<BTreeSet<String>> {
        let signed = self.logged("signed a certificate")?;
        Ok(signed.iter().map(|line| line["ca"].to_string()).collect())
    }
}

/// The CAs in the Secret; empty if there is none.
pub async fn authorities(client: &Client) -> Result<Vec<Stored>> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let secret = secrets.get_opt(CA_SECRET).await?;
    let data = secret.and_then(|secret| secret.data).unwrap_or_default();
    let document = data.get(record::KEY).map(|value| value.0.as_slice());
    Ok(record::read(document).present().unwrap_or_default())
}

/// What is mounted of the certificate's Secret.
fn files(secret: &Secret) -> Content {
    let data = secret.data.iter().flatten();
    data.map(|(name, value)| (name.clone(), value.0.clone()))
        .collect()
}

/// A replica of the webhook with its mount.
#[derive(Debug)]
struct Replica {
    name: String,
    kennel: Kennel,
    line: CommandLine,
    listen: SocketAddr,
    admin: SocketAddr,
    process: Option<Process>,
}

impl Replica {
    async fn new(plane: &ControlPlane, number: usize, mount: &Path) -> Result<Self> {
        let [program] = programs::build([Program::Webhook])?;
        let name = format!("replica-{number}");
        let [port, admin_port] = free_ports()?;
        let (listen, admin) = (
            SocketAddr::from(([127, 0, 0, 1], port)),
            SocketAddr::from(([127, 0, 0, 1], admin_port)),
        );
        let line = CommandLine::new(program)
            .args([format!("--listen={listen}"), format!("--admin-listen={admin}")])
            .args([
                "--shutdown-delay=6s",
                "--no-events",
                "--agent-namespace",
                NAMESPACE,
            ])
            .args(["--agent-service-account", AGENT_ACCOUNT, "--kubeconfig"])
            .arg(kubeconfig(plane, WEBHOOK_ACCOUNT, &name).await?)
            .arg("--tls-cert-file")
            .arg(mount.join("tls.crt"))
            .arg("--tls-private-key-file")
            .arg(mount.join("tls.key"));
        Ok(Self {
            name,
            kennel: plane.kennel().clone(),
            line,
            listen,
            admin,
            process: None,
        })
    }

    async fn start(&mut self) -> Result<()> {
        self.process = Some(self.kennel.start(&self.name, &self.line)?);
        let what = format!(
            "{} to be ready; its log: {}",
            self.name,
            self.kennel.log_path(&self.name).display()
        );
        wait::until(&what, READY_TIMEOUT, || async {
            Ok((http_status(self.admin, "/readyz").await? == 200).then_some(()))
        })
        .await
    }

    async fn restart(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            let _: ExitStatus = process.terminate(TERMINATE_TIMEOUT).await?;
        }
        self.start().await
    }
}

/// Replicas of the webhook behind a balancer, each with a mount of the Secret.
pub struct Replicas {
    running: Vec<Replica>,
    /// How many connections the API server has opened.
    connections: Arc<AtomicU64>,
    tasks: JoinSet<Result<()>>,
    next: usize,
}

impl Replicas {
    /// Starts so many replicas once the Secret is there. `listener` is what the webhook configurations point at.
    pub async fn start(plane: &ControlPlane, count: usize, listener: TcpListener) -> Result<Self> {
        let mut tasks = JoinSet::new();
        let mut replicas = Vec::new();
        let secrets: Api<Secret> = Api::namespaced(plane.client(), NAMESPACE);
        for number in 0..count {
            let directory = plane.directory().join(format!("mount-{number}"));
            let mut mount = Mount::new(directory.clone())?;
            let secret = wait::until("the certificate's Secret", READY_TIMEOUT, || async {
                Ok(secrets.get_opt(SERVED_SECRET).await?)
            })
            .await?;
            mount.update(&files(&secret))?;
            drop(tasks.spawn(follow(mount, secrets.clone())));
            replicas.push(Replica::new(plane, number, &directory).await?);
        }
        let backends: Vec<_> = replicas
            .iter()
            .map(|replica| (replica.listen, replica.admin, Arc::new(AtomicBool::new(false))))
            .collect();
        for (_, admin, is_ready) in backends.clone() {
            drop(tasks.spawn(probe(admin, is_ready)));
        }
        let connections = Arc::new(AtomicU64::new(0));
        drop(tasks.spawn(balance(listener, backends, Arc::clone(&connections))));
        for replica in &mut replicas {
            replica.start().await?;
        }
        Ok(Self {
            running: replicas,
            connections,
            tasks,
            next: 0,
        })
    }

    /// Restarts the next replica in turn, as a rollout does, and waits until it is ready.
    pub async fn restart_next(&mut self) -> Result<()> {
        let index = self.next % self.running.len();
        self.next += 1;
        self.running[index].restart().await
    }

    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// An error if a mount or the balancer has failed.
    pub fn check(&mut self) -> Result<()> {
        match self.tasks.try_join_next() {
            Some(ended) => ended.context("a task of the harness ended")?,
            None => Ok(()),
        }
    }
}

async fn follow(mut mount: Mount, secrets: Api<Secret>) -> Result<()> {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // If the Secret is gone, the kubelet leaves the mount as it is.
        if let Some(secret) = secrets.get_opt(SERVED_SECRET).await? {
            mount.update(&files(&secret))?;
        }
    }
}

async fn probe(admin: SocketAddr, is_ready: Arc<AtomicBool>) -> Result<()> {
    loop {
        let answered = http_status(admin, "/readyz").await;
        is_ready.store(answered.is_ok_and(|status| status == 200), Ordering::Relaxed);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

type Backend = (SocketAddr, SocketAddr, Arc<AtomicBool>);

/// Passes each connection on to a ready replica, in turn.
async fn balance(listener: TcpListener, backends: Vec<Backend>, connections: Arc<AtomicU64>) -> Result<()> {
    let mut turn = 0;
    loop {
        let (mut client, _) = listener.accept().await?;
        let _ = connections.fetch_add(1, Ordering::Relaxed);
        turn += 1;
        let mut ready = (turn..turn + backends.len()).map(|index| &backends[index % backends.len()]);
        let to = ready
            .find(|(_, _, is_ready)| is_ready.load(Ordering::Relaxed))
            .map(|(listen, ..)| *listen);
        drop(tokio::spawn(async move {
            if let Some(to) = to
                && let Ok(mut replica) = TcpStream::connect(to).await
            {
                // Either side may end as it likes: the API server sees it.
                drop(copy_bidirectional(&mut client, &mut replica).await);
            }
        }));
    }
}

/// One request that the webhook must be asked about: an ordinary controller adds a mark, as a dry run. An error unless the webhook denied it.
pub async fn admit(controller: &Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(controller.clone());
    let mark = json!({ "metadata": { "annotations": { "cordonhold.dev/holder": "probe/2000-01-01T00:00:00.000000000Z" } } });
    let parameters = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    match nodes.patch(NODE, &parameters, &Patch::Merge(mark)).await {
        Ok(_) => anyhow::bail!("it passed"),
        Err(kube::Error::Api(status)) => {
            ensure!(
                status.code == 403 && status.message.contains("spoofed-hold"),
                "{} {}",
                status.code,
                status.message
            );
            Ok(())
        }
        Err(error) => Err(error).context("no answer"),
    }
}
