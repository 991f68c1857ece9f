//! The values of the chart, typed: what people may set, what it means, and what it is by default.
//!
//! `values.yaml`, `values.schema.json` and the table of the page are made from these types and their comments.
//! Not here: what becomes of them (`chart/templates`), and the agent's flags, whose one list is the agent's manual (`flags.rs`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A part of a Kubernetes object, passed on as it is.
type Object = serde_json::Map<String, Value>;
/// A list of such parts.
type Objects = Vec<Value>;

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Values {
    /// What is installed: `agents` (the webhook and the agents), `protect-kured` (the webhook in front of stock kured), `mixed` (both, while
    /// you move from kured to the agents), `agents-only` (the agents without the webhook).
    pub mode: Mode,
    pub namespace: Namespace,
    pub images: Images,
    pub webhook: Webhook,
    pub policy: Policy,
    pub tls: Tls,
    pub agent: Agent,
    /// Further pools of nodes, each with agents, a lock and a budget of its own. The other nodes are the pool `default`.
    pub pools: Vec<Pool>,
    /// The agent's flags, which are kured's and more, by the names of kured's chart: `rebootDelay` is `--reboot-delay`. A list repeats the flag,
    /// `true` gives it without a value,
    /// an empty text leaves the default. docs/flags.md has them all.
    pub configuration: Object,
    pub kured: Kured,
    pub people: People,
    pub events: Events,
    pub monitoring: Monitoring,
    pub network_policy: NetworkPolicy,
    pub platform: Platform,
    pub uninstall: Uninstall,
    /// Not used here: a chart that this one is a part of may switch it on and off by this name.
    pub enabled: bool,
    /// Values that all charts of a release share. Not used here; Helm sets it in a chart of charts.
    pub global: Object,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            namespace: Namespace::default(),
            images: Images::default(),
            webhook: Webhook::default(),
            policy: Policy::default(),
            tls: Tls::default(),
            agent: Agent::default(),
            pools: Vec::new(),
            configuration: Object::new(),
            kured: Kured::default(),
            people: People::default(),
            events: Events::default(),
            monitoring: Monitoring::default(),
            network_policy: NetworkPolicy::default(),
            platform: Platform::default(),
            uninstall: Uninstall::default(),
            enabled: true,
            global: Object::new(),
        }
    }
}

impl Values {
    /// The defaults with these values over them, as Helm does it: objects are merged, everything else replaces. `null` gives the default back; Helm takes an
    /// object away by it, and refuses it for everything else.
    ///
    /// # Errors
    ///
    /// If there is no such value, or it has another type.
    pub fn with(over: Value) -> Result<Self, serde_json::Error> {
        let mut all = serde_json::to_value(Self::default())?;
        put_over(&mut all, over);
        serde_json::from_value(all)
    }
}

/// Puts one value over another, as Helm does it: objects are merged, `null` takes away, everything else replaces.
pub fn put_over(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    drop(under.remove(&key));
                } else {
                    put_over(under.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (under, over) => *under = over,
    }
}

/// Which halves are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    #[default]
    Agents,
    ProtectKured,
    Mixed,
    AgentsOnly,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Namespace {
    /// Whether the namespace is rendered too, with its Pod Security label: for `helm template` and Argo CD. `helm install` needs it off: Helm makes
    /// the namespace itself (`--create-namespace`), without that label.
    pub create: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Images {
    pub webhook: Image,
    pub agent: Image,
    /// Secrets with which the images are pulled, as in a pod's `imagePullSecrets`.
    pub pull_secrets: Objects,
}

impl Default for Images {
    fn default() -> Self {
        Self {
            webhook: Image::of("cordonhold-webhook"),
            agent: Image::of("cordonhold-agent"),
            pull_secrets: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Image {
    /// Where you pushed the image. The default names no registry that can exist, so that nobody else's image is pulled.
    pub repository: String,
    /// The tag; empty for the chart's `appVersion`.
    pub tag: String,
    /// A digest such as `sha256:…`, which takes the place of the tag.
    pub digest: String,
    /// `Always`, `IfNotPresent` or `Never`; empty for the cluster's own rule.
    pub pull_policy: String,
}

impl Image {
    /// A name under `.invalid` belongs to nobody and never resolves (RFC 6761).
    fn of(name: &str) -> Self {
        Self {
            repository: format!("repository-not-set.invalid/{name}"),
            ..Self::default()
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Webhook {
    /// What happens to a request that should not pass: `audit` (it passes, and is noted), `warn` (it passes with a warning), `enforce` (it is
    /// denied), `defer` (an uncordon is kept until the hold ends, everything else is denied).
    pub mode: WebhookMode,
    /// With `webhook.mode: defer`, what keeps the uncordons: `webhook`, `policy` (a `MutatingAdmissionPolicy`, Kubernetes 1.36 or later, which works while
    /// no replica runs), or `both`.
    pub defer_by: DeferBy,
    /// Another mode for a reason, such as `{kured-marked: warn}`. `cordonhold-webhook --help` has the reasons.
    pub mode_for: BTreeMap<String, WebhookMode>,
    /// Another mode for a user, such as `{"system:serviceaccount:gpu:driver-manager": enforce}`.
    pub mode_for_user: BTreeMap<String, WebhookMode>,
    /// Another mode for the members of a group.
    pub mode_for_group: BTreeMap<String, WebhookMode>,
    /// How many pods serve reviews.
    #[schemars(range(min = 1))]
    pub replicas: u32,
    /// The port of the pods. GKE and EKS let the control plane reach 10250 without a firewall rule of yours, because kubelets listen on it.
    /// With `hostNetwork` it must be another one than the kubelet's.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The port of probes and metrics, in plain HTTP.
    #[schemars(range(min = 1, max = 65535))]
    pub admin_port: u16,
    /// Whether the pods use the host's network: where the control plane cannot reach the pod network (EKS with an overlay network).
    pub host_network: bool,
    /// What the API server does with a request if the webhook does not answer: `Fail` refuses it, `Ignore` lets it pass; empty: `Ignore` if
    /// no mode is enforce or defer, else `Fail`. Edits of kured's lock by another node's pod are refused in any case, unless this says `Ignore`.
    pub failure_policy: FailurePolicy,
    /// What happens to the DELETE of a held Node: `flag` (it passes with a warning), `deny`.
    pub on_delete: OnDelete,
    pub exempt: Exempt,
    /// Resources of the container.
    pub resources: Object,
    /// Labels of the nodes that the pods may run on.
    pub node_selector: Object,
    /// Tolerations beside those for cordoned and control plane nodes.
    pub tolerations: Objects,
    /// Affinity of the pods: by default, apart from each other and away from nodes that are about to be rebooted.
    pub affinity: Object,
    /// As in a pod.
    pub topology_spread_constraints: Objects,
    /// Priority class of the pods; empty for none.
    pub priority_class_name: String,
    /// Annotations of the Deployment.
    pub annotations: Object,
    /// Annotations of the webhook configurations, such as `admissions.enforcer/disabled: "true"` (AKS).
    pub configuration_annotations: Object,
    /// Annotations of the pods.
    pub pod_annotations: Object,
    /// Labels of the pods.
    pub pod_labels: Object,
    pub service: Service,
    /// Further arguments; `cordonhold-webhook --help` has them.
    pub extra_args: Vec<String>,
    /// Further environment variables, as in a container.
    pub extra_env: Objects,
    /// Further containers of the pods.
    pub extra_containers: Objects,
    /// Further volumes of the pods.
    pub extra_volumes: Objects,
    /// Further mounts of the container.
    pub extra_volume_mounts: Objects,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            mode: WebhookMode::Audit,
            defer_by: DeferBy::Webhook,
            mode_for: BTreeMap::new(),
            mode_for_user: BTreeMap::new(),
            mode_for_group: BTreeMap::new(),
            replicas: 2,
            port: 10250,
            admin_port: 8080,
            host_network: false,
            failure_policy: FailurePolicy::ByMode,
            on_delete: OnDelete::Flag,
            exempt: Exempt::default(),
            resources: object(
                json!({"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}),
            ),
            node_selector: object(json!({"kubernetes.io/os": "linux"})),
            tolerations: Vec::new(),
            affinity: object(json!({
                "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
                    "weight": 100,
                    "podAffinityTerm": {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "cordonhold-webhook"}},
                    },
                }]},
                "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
                    "weight": 100,
                    "preference": {"matchExpressions": [{"key": cordonhold_shared::keys::PHASE, "operator": "DoesNotExist"}]},
                }]},
            })),
            topology_spread_constraints: Vec::new(),
            priority_class_name: "system-cluster-critical".to_owned(),
            annotations: Object::new(),
            configuration_annotations: Object::new(),
            pod_annotations: Object::new(),
            pod_labels: Object::new(),
            service: Service::default(),
            extra_args: Vec::new(),
            extra_env: Vec::new(),
            extra_containers: Vec::new(),
            extra_volumes: Vec::new(),
            extra_volume_mounts: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WebhookMode {
    Audit,
    Warn,
    Enforce,
    Defer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeferBy {
    Webhook,
    Policy,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailurePolicy {
    #[serde(rename = "")]
    ByMode,
    Fail,
    Ignore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnDelete {
    Flag,
    Deny,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Exempt {
    /// Users who pass whatever is held, and whose requests never wait for the webhook.
    pub users: Vec<String>,
    /// Groups whose members pass whatever is held, and whose requests never wait for the webhook.
    pub groups: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Service {
    /// Annotations of the webhook's Service.
    pub annotations: Object,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// Whether policies of the API server keep the holds of Cordonhold's own agents too, also while no replica of the webhook runs, and without a webhook.
    /// They do what `webhook.mode` says: deny (`enforce`, `defer`), warn or note; they know no other mode for a reason, a user or a group. docs/policy.md
    /// says what they cannot do.
    pub enabled: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tls {
    /// Who issues the webhook's certificate: `self` (`cordonhold-webhook certs`, a Deployment of its own), `cert-manager`, `secret` (you: a Secret
    /// of type kubernetes.io/tls, and its CA in each `caBundle`).
    pub source: TlsSource,
    /// The Secret with `tls.crt` and `tls.key`. With `source: self`, what is in it is replaced: set no name of a Secret of yours.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub secret_name: String,
    /// With `source: self`, further arguments, such as lifetimes; `cordonhold-webhook certs --help` has them. The names of its objects are fixed.
    pub extra_args: Vec<String>,
    /// With `source: self`, resources of the container.
    pub resources: Object,
    pub cert_manager: CertManager,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            source: TlsSource::Itself,
            secret_name: "cordonhold-webhook-tls".to_owned(),
            extra_args: Vec::new(),
            resources: object(
                json!({"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}}),
            ),
            cert_manager: CertManager::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsSource {
    #[serde(rename = "self")]
    Itself,
    Secret,
    CertManager,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CertManager {
    /// With `source: cert-manager`, your issuer, such as `{kind: ClusterIssuer, name: your-ca}`; empty makes a CA for this certificate alone.
    pub issuer_ref: Object,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Agent {
    /// Whether the agents keep their lock on kured's DaemonSet; `mode: mixed` does so in any case.
    pub lock_on_daemonset: bool,
    /// Resources of the container.
    pub resources: Object,
    /// How a new version is rolled out, as in a DaemonSet.
    pub update_strategy: Object,
    /// By default all: a node may need a reboot, and must get its cordon back, whatever taints it has.
    pub tolerations: Objects,
    /// Labels of the nodes that get an agent.
    pub node_selector: Object,
    /// Further expressions that a node must match, as in a node affinity.
    pub node_expressions: Objects,
    /// Priority class of the pods; empty for none.
    pub priority_class_name: String,
    /// Annotations of the DaemonSet.
    pub annotations: Object,
    /// Annotations of the pods.
    pub pod_annotations: Object,
    /// Labels of the pods.
    pub pod_labels: Object,
    /// Further arguments, for what `configuration` cannot say.
    pub extra_args: Vec<String>,
    /// Further environment variables, as in a container.
    pub extra_env: Objects,
    /// Further containers of the pods.
    pub extra_containers: Objects,
    /// Init containers of the pods.
    pub extra_init_containers: Objects,
    /// Further volumes of the pods.
    pub extra_volumes: Objects,
    /// Further mounts of the container.
    pub extra_volume_mounts: Objects,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            lock_on_daemonset: false,
            resources: object(
                json!({"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "128Mi"}}),
            ),
            update_strategy: object(
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}}),
            ),
            tolerations: vec![json!({"operator": "Exists"})],
            node_selector: Object::new(),
            node_expressions: Vec::new(),
            priority_class_name: "system-node-critical".to_owned(),
            annotations: Object::new(),
            pod_annotations: Object::new(),
            pod_labels: Object::new(),
            extra_args: Vec::new(),
            extra_env: Vec::new(),
            extra_containers: Vec::new(),
            extra_init_containers: Vec::new(),
            extra_volumes: Vec::new(),
            extra_volume_mounts: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pool {
    /// The pool's name; its lock is the Lease `cordonhold-NAME`.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(max = 40))]
    pub name: String,
    /// The label whose value makes a node one of this pool, such as `node-role.kubernetes.io/control-plane`.
    #[schemars(regex(
        pattern = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
    ))]
    pub node_label: String,
    /// That value, which may be empty.
    #[serde(default)]
    #[schemars(regex(pattern = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"))]
    pub node_label_value: String,
    /// Flags of this pool's agents, over those of the top-level `configuration`.
    #[serde(default)]
    pub configuration: Object,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Kured {
    /// Namespace of kured's DaemonSet; empty: Helm asks the cluster.
    pub namespace: String,
    /// Name of kured's DaemonSet; empty: Helm asks the cluster.
    pub name: String,
    /// Who finds kured: `chart` (it is written into the manifests), `webhook` (the webhook looks for it while it runs, and the agents take
    /// `kube-system/kured`).
    pub found_by: FoundBy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FoundBy {
    #[default]
    Chart,
    Webhook,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct People {
    pub view: Viewers,
    pub pause: Pausers,
    #[serde(rename = "override")]
    pub cancel: Cancellers,
    pub reboot: Rebooters,
    /// Whether Kubernetes' own role `view`, and so `edit` and `admin`, includes `cordonhold-view`.
    pub aggregate_to_view: bool,
}

impl Default for People {
    fn default() -> Self {
        Self {
            view: Viewers::default(),
            pause: Pausers::default(),
            cancel: Cancellers::default(),
            reboot: Rebooters::default(),
            aggregate_to_view: true,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Viewers {
    /// Groups whose members get the role `cordonhold-view`, which shows holds and locks.
    pub groups: Vec<String>,
    /// Users who get the role `cordonhold-view`, which shows holds and locks.
    pub users: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Pausers {
    /// Groups whose members get the role `cordonhold-pause`: they may pause reboots and keep nodes cordoned, and change nothing else of a Node.
    pub groups: Vec<String>,
    /// Users who get the role `cordonhold-pause`: they may pause reboots and keep nodes cordoned, and change nothing else of a Node.
    pub users: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cancellers {
    /// Groups whose members get the role `cordonhold-override`: they may cancel a hold. They need `cordonhold-pause` too, or another right to annotate Nodes.
    pub groups: Vec<String>,
    /// Users who get the role `cordonhold-override`: they may cancel a hold. They need `cordonhold-pause` too, or another right to annotate Nodes.
    pub users: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rebooters {
    /// Groups whose members get the role `cordonhold-reboot`: they may ask for reboots, which agents with `rebootRequests` take. They need `cordonhold-pause` too, or another right to annotate Nodes.
    pub groups: Vec<String>,
    /// Users who get the role `cordonhold-reboot`: they may ask for reboots, which agents with `rebootRequests` take. They need `cordonhold-pause` too, or another right to annotate Nodes.
    pub users: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Events {
    /// Whether the right to write Events is for the namespace `default` alone, where Events about Nodes are.
    pub only_in_default: bool,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Monitoring {
    pub pod_monitor: PodMonitor,
    pub rules: Rules,
    pub dashboard: Dashboard,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodMonitor {
    /// Whether there is a `PodMonitor` for the Prometheus operator.
    pub enabled: bool,
    /// Its namespace; empty for the release's.
    pub namespace: String,
    /// Its labels, by which your Prometheus selects it.
    pub labels: Object,
    /// How often the metrics are read.
    pub interval: String,
}

impl Default for PodMonitor {
    fn default() -> Self {
        Self {
            enabled: false,
            namespace: String::new(),
            labels: Object::new(),
            interval: "60s".to_owned(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rules {
    /// Whether there is a `PrometheusRule` with the alerts of docs/alerts.md for the Prometheus operator.
    pub enabled: bool,
    /// Its namespace; empty for the release's.
    pub namespace: String,
    /// Its labels, by which your Prometheus selects it.
    pub labels: Object,
    /// Where your copy of `docs/runbooks` is, such as `https://wiki.example/cordonhold/runbooks`, without a slash at the end. Each alert
    /// then links to its page.
    pub runbook_url: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dashboard {
    /// Whether there is a `ConfigMap` with a dashboard for Grafana.
    pub enabled: bool,
    /// Its namespace; empty for the release's.
    pub namespace: String,
    /// Its labels, by which Grafana's sidecar finds it.
    pub labels: Object,
}

impl Default for Dashboard {
    fn default() -> Self {
        Self {
            enabled: false,
            namespace: String::new(),
            labels: object(json!({"grafana_dashboard": "1"})),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NetworkPolicy {
    /// Whether there is a `NetworkPolicy` for the webhook's pods.
    pub enabled: bool,
    /// The namespace that reads the metrics.
    pub monitoring_namespace: String,
    /// Where the API server's requests come from, as the `from` of a rule; empty for everywhere.
    pub api_server: Objects,
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        Self {
            enabled: false,
            monitoring_namespace: "monitoring".to_owned(),
            api_server: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Platform {
    /// How many pods of the priority classes `system-*-critical` the namespace may have: needed on GKE, where outside of kube-system there may be
    /// none without such a quota. At least nodes + replicas + 2. 0: no quota.
    pub critical_pods_quota: u32,
    /// Whether the platform chooses the webhook's user: on `OpenShift`, whose `restricted-v2` SCC refuses a fixed one.
    pub any_user: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Uninstall {
    /// Whether `helm uninstall` first runs a Job that ends the holds, and takes off the cluster what Cordonhold has written there.
    pub enabled: bool,
    /// How long that Job waits for holds to end, such as `30m`. Give `helm uninstall` some minutes more: its `--timeout` is 5m by default.
    pub timeout: String,
    /// What the Job does about a hold whose agent is silent: `stop` (it names the hold, and nothing is uninstalled), `give-back` (the node gets
    /// its cordon back in the agent's place, unless its host may be rebooting).
    pub dead_holds: DeadHolds,
}

impl Default for Uninstall {
    fn default() -> Self {
        Self {
            enabled: true,
            timeout: "30m".to_owned(),
            dead_holds: DeadHolds::Stop,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeadHolds {
    Stop,
    GiveBack,
}

/// A literal that is an object.
fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Object::new(),
    }
}
