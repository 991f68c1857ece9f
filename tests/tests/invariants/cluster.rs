//! A control plane with the manifests applied and the webhook registered: one that tests share, or a new one for a test that
//! needs its own.
//!
//! The shared one lives as long as the process. Each test creates its own Nodes there, so tests can run in parallel.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cordonhold_shared::admission::Reason;
use cordonhold_tests::control_plane::{ControlPlane, Options};
use cordonhold_tests::identity::{Identity, Impersonation};
use cordonhold_tests::install::{Rendered, install, manifests};
use cordonhold_tests::wait;
use cordonhold_tests::webhook::{Mode, Protection, Webhook, http_get};
use cordonhold_tests::{AGENT_ACCOUNT, NAMESPACE};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::fleet::unguarded_plane;

/// Longest time until a decision is in the log. A thread of the webhook writes it, which takes long only on a busy machine.
const LOG_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest run of one kubectl command that waits for nothing. It takes a second, and longer on a busy machine.
const KUBECTL_TIMEOUT: Duration = Duration::from_secs(60);

/// The runtime for all tests: a client only works in the runtime that created it.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a tokio runtime starts"));
static SHARED: OnceCell<Cluster> = OnceCell::const_new();
static FLEET: OnceCell<ControlPlane> = OnceCell::const_new();

/// A control plane, what is installed on it, and two clients.
pub(crate) struct Cluster {
    pub(crate) webhook: Webhook,
    pub(crate) rendered: Rendered,
    /// A client in `system:masters`.
    pub(crate) admin: Client,
    /// A client that may update and patch nodes, like the controllers that uncordon.
    pub(crate) controller: Client,
    pub(crate) plane: ControlPlane,
}

/// Runs a test on the shared cluster, with the manifests `base` and mode `enforce`.
pub(crate) fn on_shared<T>(test: T) -> Result<()>
where
    T: AsyncFnOnce(&'static Cluster) -> Result<()>,
{
    RUNTIME.block_on(async {
        let cluster = SHARED
            .get_or_try_init(async || {
                Box::pin(Cluster::start("base", Mode::Enforce, Protection::OwnHolds)).await
            })
            .await
            .context("failed to start the shared cluster")?;
        test(cluster).await
    })
}

/// Runs a test on the shared control plane that has no webhook.
pub(crate) fn on_fleet<T>(test: T) -> Result<()>
where
    T: AsyncFnOnce(&'static ControlPlane) -> Result<()>,
{
    RUNTIME.block_on(async {
        let plane = FLEET
            .get_or_try_init(async || Box::pin(unguarded_plane(1)).await)
            .await
            .context("failed to start the fleet")?;
        test(plane).await
    })
}

/// Runs a test that starts its own cluster.
pub(crate) fn alone<T>(test: T) -> Result<()>
where
    T: AsyncFnOnce() -> Result<()>,
{
    RUNTIME.block_on(test())
}

impl Cluster {
    /// A client of a new user who may patch Nodes and has this role of the manifests too.
    pub(crate) async fn somebody_with(&self, name: &str, role: &str) -> Result<Client> {
        let writes: ClusterRole = serde_json::from_value(json!({
            "metadata": { "name": name },
            "rules": [{ "apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"] }],
        }))?;
        drop(
            Api::<ClusterRole>::all(self.admin.clone())
                .create(&PostParams::default(), &writes)
                .await
                .context("failed to create a ClusterRole")?,
        );
        for role in [name, role] {
            let binding: ClusterRoleBinding = serde_json::from_value(json!({
                "metadata": { "name": format!("{name}-{role}") },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
                "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name }],
            }))?;
            drop(
                Api::<ClusterRoleBinding>::all(self.admin.clone())
                    .create(&PostParams::default(), &binding)
                    .await
                    .context("failed to create a ClusterRoleBinding")?,
            );
        }
        self.plane.client_as(&Impersonation::user(name)).await
    }

    pub(crate) async fn start(directory: &str, mode: Mode, protection: Protection) -> Result<Self> {
        Self::start_with(&manifests(directory), mode, protection, &[]).await
    }

    /// Starts a cluster whose webhook protects stock kured too, beside our own agents.
    pub(crate) async fn start_beside_kured() -> Result<Self> {
        Self::start(
            "overlays/kured-beside-agents",
            Mode::Enforce,
            Protection::OwnHoldsAndKured,
        )
        .await
    }

    /// Starts a cluster from any directory of manifests, with these further flags of the webhook.
    pub(crate) async fn start_with(
        directory: &Path,
        mode: Mode,
        protection: Protection,
        flags: &[&str],
    ) -> Result<Self> {
        let plane = ControlPlane::start(Options { nodes: 1 }).await?;
        let rendered = install(&plane, directory).await?;
        let webhook = Webhook::start_with(&plane, mode, protection, flags).await?;
        Self::of(plane, rendered, webhook).await
    }

    /// A cluster of what has been started and installed. The webhook is registered with it, and asked about `node-0`.
    pub(crate) async fn of(plane: ControlPlane, rendered: Rendered, webhook: Webhook) -> Result<Self> {
        webhook.register(&plane, &rendered, "node-0").await?;
        Ok(Self {
            webhook,
            rendered,
            admin: plane.client(),
            controller: plane.client_from(&plane.kubeconfig(Identity::Controller)).await?,
            plane,
        })
    }

    /// Runs kubectl with these words as a cluster-admin. The error has what it printed.
    pub(crate) async fn run_kubectl(&self, words: &[impl AsRef<OsStr>]) -> Result<()> {
        let line = self.plane.kubectl_line(Identity::Admin);
        let words = words.iter().map(AsRef::as_ref);
        let _printed = line.args(words).run("", KUBECTL_TIMEOUT).await?;
        Ok(())
    }

    /// A client with the identity of the agent on this node: its ServiceAccount and the node claim.
    pub(crate) async fn agent_on(&self, node: &str) -> Result<Client> {
        let agent = Impersonation::service_account(NAMESPACE, AGENT_ACCOUNT).on_node(node);
        self.plane.client_as(&agent).await
    }

    /// Waits until all counted decisions are in the webhook's log, and returns its length in bytes, for
    /// [`decisions_since`](Self::decisions_since).
    pub(crate) async fn log_length(&self) -> Result<usize> {
        self.wait_logged().await?;
        let log =
            std::fs::metadata(self.webhook.log_path()).context("failed to look at the webhook's log")?;
        Ok(usize::try_from(log.len())?)
    }

    /// Waits until each decision that the webhook has counted so far is in its log.
    async fn wait_logged(&self) -> Result<()> {
        let (_, page) = http_get(self.webhook.admin_address(), "/metrics").await?;
        let counted = logged_decisions(&page)?;
        wait::until("every decision in the webhook's log", LOG_TIMEOUT, || async {
            let logged = self.logged_since(0, "message", "decision")?.len();
            Ok((logged >= counted).then_some(()))
        })
        .await
    }

    /// All decisions after `length` bytes of the log whose `field` has this value. Waits for those that are counted but not
    /// logged yet.
    pub(crate) async fn decisions_since(
        &self,
        length: usize,
        field: &str,
        value: &str,
    ) -> Result<Vec<Value>> {
        self.wait_logged().await?;
        self.logged_since(length, field, value)
    }

    fn logged_since(&self, length: usize, field: &str, value: &str) -> Result<Vec<Value>> {
        let log = std::fs::read(self.webhook.log_path()).context("failed to read the webhook's log")?;
        let new = String::from_utf8_lossy(log.get(length..).unwrap_or_default()).into_owned();
        Ok(new
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| line["message"] == "decision" && line[field] == value)
            .collect())
    }

    /// The decision about this node after `length` bytes of the log.
    pub(crate) async fn decision_since(&self, length: usize, node: &str) -> Result<Value> {
        self.decision_with(length, "node", node).await
    }

    /// Waits for a decision after `length` bytes of the log whose `field` has this value.
    ///
    /// There can be several, because the API server asks again after a conflict. They must have the same verdict and reason.
    pub(crate) async fn decision_with(&self, length: usize, field: &str, value: &str) -> Result<Value> {
        let what = format!("a decision with {field} {value} in the webhook's log");
        let decisions = wait::until(&what, LOG_TIMEOUT, || async {
            let decisions = self.decisions_since(length, field, value).await?;
            Ok((!decisions.is_empty()).then_some(decisions))
        })
        .await?;
        for other in &decisions {
            ensure!(
                other["reason"] == decisions[0]["reason"] && other["verdict"] == decisions[0]["verdict"],
                "{decisions:?}"
            );
        }
        Ok(decisions[0].clone())
    }
}

/// The number of decisions that a page of metrics counts, without those that are never logged.
fn logged_decisions(page: &str) -> Result<usize> {
    let unlogged = format!("reason=\"{}\"", Reason::NothingOfOurs.code());
    page.lines()
        .filter(|line| line.starts_with("cordonhold_webhook_decisions_total{") && !line.contains(&unlogged))
        .filter_map(|line| line.rsplit(' ').next())
        .map(|count| {
            count
                .parse::<usize>()
                .with_context(|| format!("{count} is no count"))
        })
        .sum()
}
