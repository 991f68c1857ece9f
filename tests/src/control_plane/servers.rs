//! The configuration files and the command lines of the programs of a control plane.
//!
//! Not here: starting them in their order, see [`super`].

use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cordonhold_shared::keys;
use serde_json::{Value, json};

use super::{
    CONTROLLER_MANAGER, DOWN_ANNOTATION, FULL_GRACE_ANNOTATION, KWOK, NODE_ADDRESS, Pods, SCHEDULER,
    random_id,
};
use crate::assets::Assets;
use crate::audit;
use crate::identity::Identity;
use crate::process::{CommandLine, Kennel, Process};

/// The controllers that run: only those for nodes, pods, evictions, aggregated roles and `ServiceAccounts`. Each further one costs start-up time.
const CONTROLLERS: [&str; 12] = [
    "clusterrole-aggregation-controller",
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "taint-eviction-controller",
];
/// What our own pods need beside these if they really run: endpoints of their Services, and the Job of an uninstall.
const CONTROLLERS_OF_PODS: [&str; 2] = ["endpointslice-controller", "job-controller"];

/// How soon a node whose kubelet is silent is not Ready. By default it takes about a minute.
const REAL_NODE_MONITOR: [&str; 2] = ["--node-monitor-period=1s", "--node-monitor-grace-period=12s"];
/// The address of the Service `kubernetes`: the first of the range. Only pods of a real node call it.
pub(crate) const SERVICE: &str = "10.0.0.1";

/// Paths of the configuration files of the programs.
pub(super) struct Files {
    directory: PathBuf,
    pods: Pods,
}

impl Files {
    pub(super) fn write(directory: &Path, assets: &Assets, pods: Pods) -> Result<Self> {
        let certificates =
            cordonhold_certs_dev::issue(&["127.0.0.1", "localhost", SERVICE].map(str::to_owned))
                .context("failed to issue the API server's certificate")?;
        let tokens: Vec<(Identity, String)> = Identity::ALL
            .into_iter()
            .map(|identity| Ok((identity, random_id()?)))
            .collect::<Result<_>>()?;
        let lines: Vec<String> = tokens
            .iter()
            .map(|(identity, token)| {
                format!(
                    "{token},{user},{user},{}",
                    identity.groups(),
                    user = identity.user()
                )
            })
            .collect();
        let stages = std::fs::read_to_string(&assets.stages)
            .with_context(|| format!("failed to read {}", assets.stages.display()))?;
        let files = [
            ("ca.crt", certificates.ca_pem),
            ("apiserver.crt", certificates.cert_pem),
            // Also signs the tokens: nothing here outlives the test.
            ("apiserver.key", certificates.key_pem),
            ("tokens.csv", lines.join("\n")),
            ("stages.yaml", changed_stages(&stages, pods)?),
            ("egress.json", egress(&egress_socket(directory)?).to_string()),
            ("audit-policy.json", audit::policy().to_string()),
        ];
        for (name, content) in files {
            let path = directory.join(name);
            std::fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))?;
        }
        for (identity, token) in &tokens {
            std::fs::write(token_file(directory, *identity), token).context("failed to write a token")?;
        }
        Ok(Self {
            directory: directory.to_owned(),
            pods,
        })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.directory.join(name).to_string_lossy().into_owned()
    }
}

/// The file with the token of an identity.
pub(super) fn token_file(directory: &Path, identity: Identity) -> PathBuf {
    directory.join(format!("{}.token", identity.user()))
}

/// KWOK's stages, changed: the one that makes Nodes Ready skips those with [`DOWN_ANNOTATION`], and those for pods skip ours if they really run.
/// Pods with [`FULL_GRACE_ANNOTATION`] end when their grace does, and the others at once.
fn changed_stages(stages: &str, pods: Pods) -> Result<String> {
    let mut documents: Vec<Value> =
        serde_saphyr::from_multiple(stages).context("failed to read KWOK's stages")?;
    let is_up =
        json!({ "key": format!(".metadata.annotations[\"{DOWN_ANNOTATION}\"]"), "operator": "DoesNotExist" });
    add_condition(&mut documents, "node-initialize", is_up)?;
    if pods == Pods::OursRun {
        let (label, value) = keys::PART_OF;
        let label = format!(".metadata.labels[\"{label}\"]");
        let is_others = json!({ "key": label, "operator": "NotIn", "values": [value] });
        for stage in ["pod-ready", "pod-complete", "pod-delete"] {
            add_condition(&mut documents, stage, is_others.clone())?;
        }
    }
    let annotation = format!(".metadata.annotations[\"{FULL_GRACE_ANNOTATION}\"]");
    let mut late = stage(&mut documents, "pod-delete")?.clone();
    late["metadata"]["name"] = json!("pod-delete-late");
    late["spec"]["delay"] = json!({ "durationFrom": { "expressionFrom": ".metadata.deletionTimestamp" } });
    documents.push(late);
    for (stage, operator) in [("pod-delete", "DoesNotExist"), ("pod-delete-late", "Exists")] {
        add_condition(
            &mut documents,
            stage,
            json!({ "key": annotation, "operator": operator }),
        )?;
    }
    Ok(documents
        .iter()
        .map(Value::to_string)
        .collect::<Vec<_>>()
        .join("\n---\n"))
}

/// Lets KWOK act by this stage only where one more condition is true.
fn add_condition(stages: &mut [Value], stage: &str, condition: Value) -> Result<()> {
    let conditions = self::stage(stages, stage)?
        .pointer_mut("/spec/selector/matchExpressions")
        .and_then(Value::as_array_mut)
        .with_context(|| format!("KWOK's stage {stage} has no matchExpressions; another version of KWOK?"))?;
    conditions.push(condition);
    Ok(())
}

fn stage<'a>(stages: &'a mut [Value], name: &str) -> Result<&'a mut Value> {
    stages
        .iter_mut()
        .find(|document| document["metadata"]["name"] == name)
        .with_context(|| format!("KWOK's stages have no {name}; another version of KWOK?"))
}

/// Makes the API server send what is meant for a Service or a node to a socket, as it does in a cluster whose control plane is not on the pod
/// network. Only webhooks and nodes are reached by it; a webhook that is named by a URL is not.
fn egress(socket: &Path) -> Value {
    json!({
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [{
            "name": "cluster",
            "connection": {
                "proxyProtocol": "HTTPConnect",
                "transport": { "uds": { "udsName": socket } },
            },
        }],
    })
}

/// The path of that socket. Nobody listens there unless our own pods run. An error if the kernel takes no path as long as that.
pub(super) fn egress_socket(directory: &Path) -> Result<PathBuf> {
    let socket = directory.join("egress");
    let _ = SocketAddr::from_pathname(&socket).with_context(|| {
        format!(
            "failed to name a socket {}, which has {} bytes: set TMPDIR to a directory with a shorter path, such as /tmp",
            socket.display(),
            socket.as_os_str().len()
        )
    })?;
    Ok(socket)
}

/// A member of etcd.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Of its process, too.
    pub(super) name: String,
    pub(super) client_port: u16,
    pub(super) peer_port: u16,
}

/// The URL of a member of etcd by one of its ports.
pub(super) fn etcd_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Texts as one, with commas between them.
fn list(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(",")
}

/// The command of one of these members of etcd.
pub(super) fn etcd_command(
    assets: &Assets,
    files: &Files,
    member: &Member,
    members: &[Member],
) -> CommandLine {
    let (client, peer) = (etcd_url(member.client_port), etcd_url(member.peer_port));
    let all = members.iter();
    let cluster = list(all.map(|member| format!("{}={}", member.name, etcd_url(member.peer_port))));
    CommandLine::new(&assets.etcd).args([
        format!("--name={}", member.name),
        format!(
            "--data-dir={}",
            files.path(&format!("etcd-{}", member.client_port))
        ),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster={cluster}"),
        "--log-level=warn".to_owned(),
        // Faster, and nothing has to survive a crash of the machine.
        "--unsafe-no-fsync".to_owned(),
    ])
}

/// The command of an API server that finds etcd at these URLs.
pub(super) fn apiserver_command(
    assets: &Assets,
    files: &Files,
    port: u16,
    etcd_urls: impl Iterator<Item = String>,
) -> CommandLine {
    CommandLine::new(&assets.kube_apiserver).args([
        format!("--etcd-servers={}", list(etcd_urls)),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        // The API server refuses loopback endpoints for its own Service, and nobody uses that Service here.
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", files.path("apiserver.crt")),
        format!("--tls-private-key-file={}", files.path("apiserver.key")),
        format!("--token-auth-file={}", files.path("tokens.csv")),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        format!("--egress-selector-config-file={}", files.path("egress.json")),
        // The names of the nodes lead nowhere.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--audit-policy-file={}", files.path("audit-policy.json")),
        format!("--audit-log-path={}", audit::log_path(&files.directory).display()),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", files.path("apiserver.crt")),
        format!(
            "--service-account-signing-key-file={}",
            files.path("apiserver.key")
        ),
    ])
}

/// Starts the clients of the API server.
pub(super) fn start_clients(assets: &Assets, kennel: &Kennel, files: &Files) -> Result<Vec<Process>> {
    let kubeconfig = kubeconfig_path(&files.directory, Identity::Admin.user());
    let kubeconfig_flag = format!("--kubeconfig={}", kubeconfig.display());
    let mut kwok = CommandLine::new(&assets.kwok).args([
        kubeconfig_flag.clone(),
        format!("--config={}", files.path("stages.yaml")),
        "--manage-all-nodes=true".to_owned(),
        "--node-lease-duration-seconds=40".to_owned(),
    ]);
    let mut controllers = CONTROLLERS.to_vec();
    if files.pods == Pods::OursRun {
        kwok = kwok.arg(format!("--node-ip={NODE_ADDRESS}"));
    }
    if files.pods != Pods::Played {
        controllers.extend(CONTROLLERS_OF_PODS);
    }
    let mut manager = CommandLine::new(&assets.kube_controller_manager).args([
        kubeconfig_flag,
        format!("--controllers={}", controllers.join(",")),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=1000".to_owned(),
        format!("--root-ca-file={}", files.path("ca.crt")),
    ]);
    if files.pods == Pods::Real {
        manager = manager.args(REAL_NODE_MONITOR);
    }
    let scheduler_config = files.path("scheduler.json");
    let configuration = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": { "kubeconfig": kubeconfig, "qps": 500, "burst": 1000 },
        "leaderElection": { "leaderElect": false },
    });
    std::fs::write(&scheduler_config, configuration.to_string())
        .context("failed to write the scheduler's configuration")?;
    let scheduler = CommandLine::new(&assets.kube_scheduler).args([
        format!("--config={scheduler_config}"),
        "--secure-port=0".to_owned(),
    ]);
    let kwok = (files.pods != Pods::Real).then_some((KWOK, kwok));
    let others = [(CONTROLLER_MANAGER, manager), (SCHEDULER, scheduler)];
    kwok.into_iter()
        .chain(others)
        .map(|(name, line)| kennel.start(name, &line))
        .collect()
}

/// The path of the kubeconfig of this user.
pub(super) fn kubeconfig_path(directory: &Path, user: &str) -> PathBuf {
    directory.join(format!("{user}.kubeconfig"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_has_a_path_that_the_kernel_takes_or_the_error_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let (mut taken, mut refused) = (0, 0);
        for length in 1..120 {
            let inner = directory.path().join("d".repeat(length));
            std::fs::create_dir(&inner).unwrap();
            match egress_socket(&inner) {
                Ok(socket) => {
                    drop(UnixListener::bind(socket).unwrap());
                    taken += 1;
                }
                Err(error) => {
                    let said = format!("{error:#}");
                    assert!(said.contains("TMPDIR") && said.contains("bytes"), "{said}");
                    refused += 1;
                }
            }
        }
        assert!(taken > 0 && refused > 0, "{taken} {refused}");
    }
}
