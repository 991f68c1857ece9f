//! Every key, name and verb that Cordonhold writes to or reads from the API server. Each is defined only here.
//!
//! The CEL and the labels of the manifests are made from them (`manifests/src/cel.rs`).
//! Not here: which names Kubernetes allows ([`crate::names`]).

/// Prefix of every label and annotation of Cordonhold.
pub const DOMAIN: &str = "cordonhold.dev/";

/// Whether this key of a label, an annotation, a taint or a condition is Cordonhold's, whoever wrote it. Everything that a program of
/// ours leaves on an object under a key of its own has such a key, so this rule is the list of what an uninstall takes off.
pub fn is_ours(key: &str) -> bool {
    key.starts_with(DOMAIN)
}

/// Annotation: `<Node uid>/<created>`, the identity of one hold.
pub const HOLDER: &str = "cordonhold.dev/holder";
/// Label: the phase of the hold. A label, so that `kubectl get nodes -L cordonhold.dev/phase` shows it.
pub const PHASE: &str = "cordonhold.dev/phase";
/// Annotation: until when the webhook keeps the node cordoned, RFC 3339.
pub const UNTIL: &str = "cordonhold.dev/until";
/// Annotation: the boot in which the node was cordoned, see [`crate::host::Boot`].
pub const BOOT_ID: &str = "cordonhold.dev/boot-id";
/// Annotation: `true` if someone else had cordoned the node before.
pub const WAS_UNSCHEDULABLE: &str = "cordonhold.dev/was-unschedulable";
/// Annotation: 128 random bits that prove which write of the agent left these marks.
pub const WRITE: &str = "cordonhold.dev/write";
/// Annotation: how many reboot commands may have been run for this hold.
pub const ATTEMPT: &str = "cordonhold.dev/attempt";
/// Taint (effect `NoSchedule`): keeps new pods away even if somebody clears the cordon.
pub const REBOOTING: &str = "cordonhold.dev/rebooting";

/// The marks that are annotations. The only other marks are [`PHASE`] and [`REBOOTING`].
pub const MARK_ANNOTATIONS: [&str; 6] = [HOLDER, UNTIL, BOOT_ID, WAS_UNSCHEDULABLE, WRITE, ATTEMPT];

/// Annotation that a person writes: `<created> <reason>` ends the hold that it names.
pub const CANCEL: &str = "cordonhold.dev/cancel";
/// Annotation that a person writes: `<RFC 3339> <reason>` asks for one reboot, see [`crate::hold::RebootRequest`]. Not a mark: it holds nothing.
pub const REBOOT_WANTED: &str = "cordonhold.dev/reboot-wanted";
/// Annotation that a person writes on a Node or on the lock object: no new reboot begins there.
pub const PAUSE: &str = "cordonhold.dev/pause";
/// Annotation that only a dry run writes: the webhook answers it with its version, its mode and its replica, see [`crate::admission::ProbeAnswer`].
/// Nothing should carry it.
pub const PROBE: &str = "cordonhold.dev/probe";
/// Annotation that a person writes: the node stays cordoned after its reboot.
pub const KEEP_CORDONED: &str = "cordonhold.dev/keep-cordoned";

/// Annotation: `<created> <RFC 3339, or - from a writer without a clock> <user>`: an uncordon that this user asked for while the hold was
/// there, and that is done when the hold ends; `done:` before the time notes one that passed. Not a mark. What it means is in [`crate::hold::DeferredUncordon`].
pub const UNCORDON_WANTED: &str = "cordonhold.dev/uncordon-wanted";

/// Annotation: `<created> <proof>` of the hold that was given back last, written by the patch that gave it back.
/// Not a mark: it does not hold the Node, and it stays there.
pub const GIVEN_BACK: &str = "cordonhold.dev/given-back";

/// Annotation: `<created> <RFC 3339>`, until when the lock entry of a hold that was given back is kept, see `--lock-release-delay`.
/// Not a mark: it does not hold the Node, but its entry stays in the lock while it is there. The agent removes it, then the entry.
pub const RELEASE_AT: &str = "cordonhold.dev/release-at";
/// Annotation: when the last reboots of the node ended, RFC 3339, separated by spaces; only with `--reboots-max`. Not a mark. Anybody may
/// remove it, which lets a node that reboots in a loop go on.
pub const REBOOTS: &str = "cordonhold.dev/reboots";
/// Annotation: the account of the reboot that goes on, as JSON, see [`crate::hold::Account`]. Not a mark, and nothing is decided by it.
pub const REBOOT_ACCOUNT: &str = "cordonhold.dev/reboot-account";
/// Annotation: what the agent replaced on its Node beside the marks, as JSON, to be put back later. Not a mark.
pub const REPLACED: &str = "cordonhold.dev/replaced";

/// The annotations beside the marks that only the agent may change while its Node carries marks, because it acts on what it reads there.
/// None of them makes a Node held. On a Node without marks anybody may change them, for example to end the delay of [`RELEASE_AT`].
pub const OWNERS_ANNOTATIONS: [&str; 3] = [REPLACED, GIVEN_BACK, RELEASE_AT];

/// Annotations that the webhook reads only for its messages. No rule depends on them.
pub const TOLD_ANNOTATIONS: [&str; 2] = [KEEP_CORDONED, DRAIN_PROGRESS];

/// Label that a person writes: with the value `disabled`, the DaemonSet runs no agent on the node.
/// While a Node carries marks, only its agent may set that value, because the hold would lose its agent. Anybody may let the agent back.
pub const AGENT: &str = "cordonhold.dev/agent";
/// The value of [`AGENT`] that keeps the agent away.
pub const DISABLED: &str = "disabled";
/// Annotation: how far the drain has come, for people. Not a mark.
pub const DRAIN_PROGRESS: &str = "cordonhold.dev/drain-progress";

/// Condition of a Node: whether it is held, with `--node-conditions`. Not a mark, and nothing is decided by it.
pub const HELD_CONDITION: &str = "cordonhold.dev/Held";

/// Annotation on the Lease of a pool: the lock's record.
pub const LOCK: &str = "cordonhold.dev/lock";
/// Annotation on the object that carries the lock: which requests ([`REBOOT_WANTED`]) were used, as JSON, see [`crate::lock::UsedRequests`].
pub const REQUESTS_USED: &str = "cordonhold.dev/requests-used";
/// Annotation on the Lease of a pool: the label selector of the pool's Nodes; empty for every Node.
pub const POOL_SELECTOR: &str = "cordonhold.dev/pool-selector";
/// Annotation with two values, each on objects of its own kind. On a Node: the account of its last reboot, as JSON, see
/// [`crate::hold::Account`]; not a mark, and nothing is decided by it. On the object that carries the lock: when the last reboot of the pool
/// ended, RFC 3339, for `--min-interval` and for people. No reader of one reads the other.
pub const LAST_REBOOT: &str = "cordonhold.dev/last-reboot";
/// Annotation on a DaemonSet that carries the lock: when an agent last wrote the lock. It makes sure that each write changes the object.
pub const LOCK_WRITTEN: &str = "cordonhold.dev/lock-written";

/// Taint that Kubernetes itself puts on a cordoned node (k8s.io/api: `core/v1/well_known_taints.go`).
pub const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";
/// Taint effect of [`REBOOTING`] and [`UNSCHEDULABLE_TAINT`].
pub const NO_SCHEDULE: &str = "NoSchedule";
/// Taint effect of `--prefer-no-schedule-taint`.
pub const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";

/// Annotation: with `true`, cluster-autoscaler does not remove the node (kubernetes/autoscaler: `cluster-autoscaler/FAQ.md`).
pub const SCALE_DOWN_DISABLED: &str = "cluster-autoscaler.kubernetes.io/scale-down-disabled";
/// Annotation: with `true`, Karpenter does not disrupt the node (karpenter.sh: Concepts, Disruption).
pub const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";
/// Annotation: with `true`, Karpenter does not repair the node, which may mean to reboot it (kubernetes-sigs/karpenter: pull request 3277).
pub const DO_NOT_REPAIR: &str = "karpenter.sh/do-not-repair";

/// Key in `userInfo.extra`: the node of the pod that a ServiceAccount token is bound to (KEP-4193).
pub const NODE_NAME_EXTRA: &str = "authentication.kubernetes.io/node-name";
/// Key in `userInfo.extra`: the pod that a ServiceAccount token is bound to (k8s.io/apiserver: pkg/authentication/serviceaccount/util.go).
pub const POD_NAME_EXTRA: &str = "authentication.kubernetes.io/pod-name";

/// API group of [`OVERRIDE_RESOURCE`].
pub const OVERRIDE_GROUP: &str = "cordonhold.dev";
/// Resource that exists only in RBAC: the permission to write [`CANCEL`] is the verb [`OVERRIDE_VERB`] on it, and that to write
/// [`REBOOT_WANTED`] the verb [`REBOOT_VERB`].
pub const OVERRIDE_RESOURCE: &str = "rebootholds";
/// RBAC verb on [`OVERRIDE_RESOURCE`] that permits to write [`CANCEL`].
pub const OVERRIDE_VERB: &str = "override";
/// RBAC verb on [`OVERRIDE_RESOURCE`] that permits to write [`REBOOT_WANTED`].
pub const REBOOT_VERB: &str = "reboot";
/// RBAC verb on [`OVERRIDE_RESOURCE`] by which the webhook configuration recognizes an agent, so that an agent's writes to its own Node
/// do not wait for the webhook.
pub const OWN_VERB: &str = "own";

/// RBAC verb on [`OVERRIDE_RESOURCE`] by which the policy recognizes people whose right to patch Nodes it narrows to the annotations that
/// are for people.
pub const ANNOTATE_VERB: &str = "annotate";

/// Field manager of every write of the agent.
pub const FIELD_MANAGER: &str = "cordonhold-agent";
/// Field manager of every write of the uninstall.
pub const UNINSTALL_MANAGER: &str = "cordonhold-uninstall";
/// Field manager of every write of `kubectl cordonhold`.
pub const KUBECTL_MANAGER: &str = "cordonhold-kubectl";
/// `reportingController` of the agents' Events.
pub const AGENT_CONTROLLER: &str = "cordonhold.dev/agent";

/// `reportingController` of the webhook's Events.
pub const WEBHOOK_CONTROLLER: &str = "cordonhold.dev/webhook";

/// The label that everything has that the manifests install, and each Secret that `certs` makes, and its value.
pub const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "cordonhold");
/// The agents' `DaemonSet`; that of another pool has this, a hyphen and the pool's name.
pub const AGENTS: &str = "cordonhold-agent";
/// How the name of a pool's Lease begins; the pool's name follows.
pub const LEASE_PREFIX: &str = "cordonhold-";

/// Annotation of kured: since when the node wants a reboot, RFC 3339 (kubereboot/kured: cmd/kured/main.go).
pub const KURED_REBOOT_IN_PROGRESS: &str = "weave.works/kured-reboot-in-progress";
/// Annotation of kured: when the node last wanted a reboot. kured never removes it.
pub const KURED_MOST_RECENT_REBOOT_NEEDED: &str = "weave.works/kured-most-recent-reboot-needed";

/// Stock kured's default lock annotation on its DaemonSet (kubereboot/kured: cmd/kured/main.go).
pub const KURED_LOCK: &str = "weave.works/kured-node-lock";
/// The name of [`KURED_LOCK`] in kured v2 (kubereboot/kured: pull request 1000).
pub const KURED_V2_LOCK: &str = "kured.dev/kured-node-lock";
/// The name of [`KURED_REBOOT_IN_PROGRESS`] in kured v2.
pub const KURED_V2_REBOOT_IN_PROGRESS: &str = "kured.dev/kured-reboot-in-progress";
