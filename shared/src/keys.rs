//! Every key, name and verb that Cordonhold writes or reads on the wire, once.
//!
//! The manifests repeat some of them in CEL and RBAC; a test holds the two against each other.

/// What every label and annotation of ours begins with.
pub const DOMAIN: &str = "cordonhold.dev/";

/// Annotation: `<Node uid>/<created>`, the identity of one hold.
pub const HOLDER: &str = "cordonhold.dev/holder";
/// Label: the phase of the hold. A label, so that `kubectl get nodes -L cordonhold.dev/phase` shows it.
pub const PHASE: &str = "cordonhold.dev/phase";
/// Annotation: RFC 3339, until when the webhook keeps the node cordoned.
pub const UNTIL: &str = "cordonhold.dev/until";
/// Annotation: the boot in which the node was cordoned, see [`crate::host::Boot`].
pub const BOOT_ID: &str = "cordonhold.dev/boot-id";
/// Annotation: `true` if someone else had cordoned the node before.
pub const WAS_UNSCHEDULABLE: &str = "cordonhold.dev/was-unschedulable";
/// Annotation: 128 random bits that only the agent's last write of the marks can have put there.
pub const WRITE: &str = "cordonhold.dev/write";
/// Annotation: how many reboot commands may have been run for this hold.
pub const ATTEMPT: &str = "cordonhold.dev/attempt";
/// Taint (effect `NoSchedule`): brings no pods even where the cordon was cleared.
pub const REBOOTING: &str = "cordonhold.dev/rebooting";

/// The marks that are annotations. With [`PHASE`] and [`REBOOTING`] they are all the marks there are.
pub const MARK_ANNOTATIONS: [&str; 6] = [HOLDER, UNTIL, BOOT_ID, WAS_UNSCHEDULABLE, WRITE, ATTEMPT];

/// Annotation, a person's: `<created> <reason>` ends the hold that it names.
pub const CANCEL: &str = "cordonhold.dev/cancel";
/// Annotation, a person's, on a Node or on the lock: no new reboot here.
pub const PAUSE: &str = "cordonhold.dev/pause";
/// Annotation, a person's: the node stays cordoned on return.
pub const KEEP_CORDONED: &str = "cordonhold.dev/keep-cordoned";

/// Annotation: `<created> <proof>` of the hold that was given back last, written by the very patch that did it.
/// Not a mark: it holds nothing, and stays.
pub const GIVEN_BACK: &str = "cordonhold.dev/given-back";

/// Annotation: `<created> <RFC 3339>`, how long the lock entry of a hold that was given back is kept, see `--lock-release-delay`.
/// Not a mark: it holds nothing, but its entry is not over while it is there. Its agent removes it, then the entry.
pub const RELEASE_AT: &str = "cordonhold.dev/release-at";
/// Annotation: what the agent replaced on its Node beside the marks, as JSON, to be put back. Not a mark.
pub const REPLACED: &str = "cordonhold.dev/replaced";

/// What is the owner's alone beside the marks, while a Node carries marks: the agent obeys what it reads there.
/// None of them makes a Node held. Without marks they are a person's too, who may end the delay of [`RELEASE_AT`].
pub const OWNERS_ANNOTATIONS: [&str; 3] = [REPLACED, GIVEN_BACK, RELEASE_AT];

/// Annotations that no rule of the webhook rests on, but what it says to people.
pub const TOLD_ANNOTATIONS: [&str; 2] = [KEEP_CORDONED, DRAIN_PROGRESS];

/// Label, a person's: with the value `disabled` the DaemonSet puts no agent on the node.
/// While a Node carries marks nobody else gives it that value: the hold would lose its agent. To let the agent back is anybody's.
pub const AGENT: &str = "cordonhold.dev/agent";
/// The value of [`AGENT`] that keeps the agent away.
pub const DISABLED: &str = "disabled";
/// Annotation: how far the drain has come, for people. Not a mark: nobody decides by it.
pub const DRAIN_PROGRESS: &str = "cordonhold.dev/drain-progress";

/// Annotation on the Lease of a pool: the lock's record.
pub const LOCK: &str = "cordonhold.dev/lock";
/// Annotation on the Lease of a pool: the label selector of its Nodes; empty for every Node.
pub const POOL_SELECTOR: &str = "cordonhold.dev/pool-selector";
/// Annotation on a DaemonSet that carries the lock: when an agent wrote the lock last, so that each write changes the object.
pub const LOCK_WRITTEN: &str = "cordonhold.dev/lock-written";

/// Taint that Kubernetes itself puts on a cordoned node (k8s.io/api: `core/v1/well_known_taints.go`).
pub const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";
/// Taint effect of both taints above.
pub const NO_SCHEDULE: &str = "NoSchedule";
/// Taint effect of `--prefer-no-schedule-taint`.
pub const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";

/// Annotation, `true`: cluster-autoscaler leaves the node alone (kubernetes/autoscaler: `cluster-autoscaler/FAQ.md`).
pub const SCALE_DOWN_DISABLED: &str = "cluster-autoscaler.kubernetes.io/scale-down-disabled";
/// Annotation, `true`: Karpenter leaves the node alone (karpenter.sh: Concepts, Disruption).
pub const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";

/// Key in `userInfo.extra` of a ServiceAccount token: the node of the pod that it is bound to (KEP-4193).
pub const NODE_NAME_EXTRA: &str = "authentication.kubernetes.io/node-name";

/// The virtual resource whose verb [`OVERRIDE_VERB`] permits to write [`CANCEL`].
pub const OVERRIDE_GROUP: &str = "cordonhold.dev";
/// See [`OVERRIDE_GROUP`].
pub const OVERRIDE_RESOURCE: &str = "rebootholds";
/// See [`OVERRIDE_GROUP`].
pub const OVERRIDE_VERB: &str = "override";
/// The verb on the same resource by which the webhook's configuration tells an agent: what it writes to its own Node waits for no webhook.
pub const OWN_VERB: &str = "own";

/// Field manager of every write of the agent.
pub const FIELD_MANAGER: &str = "cordonhold-agent";

/// Annotation of kured's: since when the node wants a reboot, RFC 3339 (kubereboot/kured: cmd/kured/main.go).
pub const KURED_REBOOT_IN_PROGRESS: &str = "weave.works/kured-reboot-in-progress";
/// Annotation of kured's: when the node wanted a reboot last. It stays.
pub const KURED_MOST_RECENT_REBOOT_NEEDED: &str = "weave.works/kured-most-recent-reboot-needed";

/// Stock kured's default lock annotation on its DaemonSet (kubereboot/kured: cmd/kured/main.go).
pub const KURED_LOCK: &str = "weave.works/kured-node-lock";
/// What [`KURED_LOCK`] becomes in kured v2 (kubereboot/kured: pull request 1000).
pub const KURED_V2_LOCK: &str = "kured.dev/kured-node-lock";
/// What [`KURED_REBOOT_IN_PROGRESS`] becomes in kured v2.
pub const KURED_V2_REBOOT_IN_PROGRESS: &str = "kured.dev/kured-reboot-in-progress";
