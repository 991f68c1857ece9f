//! The codes of what `doctor` finds. `docs/doctor.md` has a section for each.
//!
//! Not here: when a code is given ([`super::Diagnosis`]).

use serde::{Serialize, Serializer};

use crate::fleet::TroubleKind;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Something does not do what it is for.
    Problem,
    /// It works, but not as well or as safely as it could.
    Warning,
}

/// Makes the enum from one row for each code: name, code, severity, and when it is given.
macro_rules! codes {
    ($($name:ident $code:literal $severity:ident $when:literal)+) => {
        /// What `doctor` finds. Codes never change; new ones may be added.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $when] $name,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$name,)+];

            /// The code as people see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code,)+ }
            }

            /// How bad it is.
            pub fn severity(self) -> Severity {
                match self { $(Code::$name => Severity::$severity,)+ }
            }

            /// When it is given, for the manual.
            pub fn when(self) -> &'static str {
                match self { $(Code::$name => $when,)+ }
            }
        }
    };
}

codes! {
    WebhookGone        "CH101" Problem "the webhook's Deployment is there, but its configuration is not"
    WebhookDown        "CH102" Problem "no replica of the webhook is ready"
    ReplicasMissing    "CH103" Warning "fewer replicas of the webhook are ready than are wanted"
    NotTrusted         "CH104" Problem "the API server does not trust the certificate that the webhook serves"
    CaMissing          "CH105" Problem "the webhook's configuration has no `caBundle`"
    CaEnds             "CH106" Problem "the last CA in the `caBundle` has ended, or ends within 14 days"
    Unreachable        "CH107" Problem "the API server cannot reach the webhook"
    Unanswered         "CH108" Problem "the API server lets a probe pass without an answer of the webhook"
    NotEnforcing       "CH109" Warning "the webhook's mode denies nothing"
    FailsOpen          "CH110" Warning "an uncordon of a held node passes while the webhook does not answer"
    Unconditional      "CH111" Problem "a webhook of the configuration has no `matchConditions`"
    PodsRefused        "CH112" Problem "pods of Cordonhold cannot be created"
    AgentsNowhere      "CH201" Warning "a DaemonSet of agents selects no node"
    AgentsNotReady     "CH202" Warning "some agents are not ready"
    VersionsApart      "CH203" Warning "two parts have versions that are not supported beside each other"
    PoolsOverlap       "CH204" Problem "two pools select the same node"
    KuredBeside        "CH205" Problem "kured and the agents each keep a lock of their own"
    KuredUnprotected   "CH206" Warning "kured reboots nodes that the webhook does not protect"
    SeveralKureds      "CH207" Warning "several `DaemonSets` look like kured's"
    RightMissing       "CH208" Problem "a ServiceAccount lacks a permission that its program needs"
    AgentIsAdmin       "CH209" Problem "the agents' ServiceAccount may override holds, as a cluster-admin may"
    KubernetesTooOld   "CH301" Problem "the API server is older than Kubernetes 1.32"
    NodeClock          "CH302" Problem "the clock of a node is more than 30 s off that of the API server"
    OwnClock           "CH303" Warning "the clock of this machine is more than 30 s off that of the API server"
    PodSecurity        "CH304" Problem "the namespace does not admit the agents' pods"
    NoPolicies         "CH305" Warning "the API server has no `ValidatingAdmissionPolicy`"
    ForeignMarks       "CH401" Problem "a node carries marks that cannot be read, or that name another Node"
    AgentSilent        "CH402" Problem "nobody renews the hold of a node"
    NotBack            "CH403" Problem "a node has not come back from its reboot"
    NotGoingDown       "CH404" Problem "a node was told to reboot and does not go down"
    Uncordoned         "CH405" Problem "a held node is schedulable"
    DrainBlocked       "CH406" Warning "something blocks the drain of a node"
    Ignored            "CH407" Warning "a cancel, a deferred uncordon or a request on a Node has no effect"
    LockUnreadable     "CH408" Problem "the record of a lock cannot be read"
    LockByHand         "CH409" Warning "a person has put an entry into the lock that stops the pool"
    PoolUnreadable     "CH410" Problem "the label selector of a pool cannot be read"
    MayNotInstall      "CH501" Problem "before an install: you may not create what is to be installed"
    KuredThere         "CH502" Warning "before an install: kured is in the cluster"
    InstalledAlready   "CH503" Warning "before an install: Cordonhold is in the cluster already"
}

impl Code {
    /// The section about it, from the root of the repository.
    pub fn page(self) -> String {
        format!("docs/doctor.md#{}", self.as_str().to_ascii_lowercase())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What `status` calls a trouble has a code too.
impl From<TroubleKind> for Code {
    fn from(kind: TroubleKind) -> Code {
        match kind {
            TroubleKind::ForeignMarks => Code::ForeignMarks,
            TroubleKind::AgentSilent => Code::AgentSilent,
            TroubleKind::NotBack => Code::NotBack,
            TroubleKind::NotGoingDown => Code::NotGoingDown,
            TroubleKind::Uncordoned => Code::Uncordoned,
            TroubleKind::DrainBlocked => Code::DrainBlocked,
            TroubleKind::Ignored => Code::Ignored,
            TroubleKind::LockUnreadable => Code::LockUnreadable,
            TroubleKind::LockByHand => Code::LockByHand,
            TroubleKind::PoolUnreadable => Code::PoolUnreadable,
            TroubleKind::NoWebhook => Code::WebhookGone,
            TroubleKind::WebhookDown => Code::WebhookDown,
            TroubleKind::CaMissing => Code::CaMissing,
            TroubleKind::CaEnds => Code::CaEnds,
        }
    }
}
