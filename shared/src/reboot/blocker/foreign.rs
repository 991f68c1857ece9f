//! Somebody else's reboots, for `--foreign-reboot`: the sign by which each program shows on a Node that it reboots the host.
//!
//! A new program is a new row. Not here: how many such Nodes are too many ([`super`]).

use std::fmt;

use crate::hold;
use crate::node::NodeView;

/// A program that reboots hosts without the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Foreign {
    /// Karpenter (kubernetes-sigs/karpenter: issue 3259 and pull request 3270).
    Karpenter,
    /// NVIDIA's MIG manager, started with `--with-reboot` (NVIDIA/mig-parted: `deployments/container/reconfigure-mig.sh`).
    NvidiaMig,
    /// A shutdown that the kubelet has been told of by logind, whoever asked for it (kubernetes/enhancements: KEP-6249).
    GracefulShutdown,
    /// Talos, which cordons a node before it reboots or upgrades it (siderolabs/talos: `pkg/machinery/constants/constants.go`).
    Talos,
    /// `OpenShift`'s Machine Config Operator (openshift/machine-config-operator: `pkg/daemon/constants/constants.go`).
    Mco,
}

/// What a Node shows during such a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// The condition of this type is `True`.
    Condition(&'static str),
    Label(&'static str, &'static str),
    Annotation(&'static str, &'static str),
}

impl Foreign {
    /// Every program, in the order of the manual.
    pub const ALL: [Foreign; 5] = [
        Foreign::Karpenter,
        Foreign::NvidiaMig,
        Foreign::GracefulShutdown,
        Foreign::Talos,
        Foreign::Mco,
    ];

    /// The program's name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Foreign::Karpenter => "karpenter",
            Foreign::NvidiaMig => "nvidia-mig",
            Foreign::GracefulShutdown => "graceful-shutdown",
            Foreign::Talos => "talos",
            Foreign::Mco => "mco",
        }
    }

    fn sign(self) -> Sign {
        match self {
            Foreign::Karpenter => Sign::Condition("Rebooting"),
            Foreign::NvidiaMig => Sign::Label("nvidia.com/mig.config.state", "rebooting"),
            Foreign::GracefulShutdown => Sign::Condition("GracefulNodeShutdownInProgress"),
            Foreign::Talos => Sign::Annotation("talos.dev/cordoned", "true"),
            Foreign::Mco => Sign::Annotation("machineconfiguration.openshift.io/state", "Rebooting"),
        }
    }

    /// Whether this Node shows such a reboot.
    pub fn is_shown_by(self, node: &NodeView) -> bool {
        match self.sign() {
            Sign::Condition(kind) => {
                let mut conditions = node.status.conditions.iter();
                conditions.any(|shown| shown.kind == kind && shown.status == "True")
            }
            Sign::Label(key, value) => node.label(key) == Some(value),
            Sign::Annotation(key, value) => node.annotation(key) == Some(value),
        }
    }

    /// Whether our own Node shows such a reboot, and it cannot be our own: a reboot command of ours that goes through logind makes the
    /// kubelet show a graceful shutdown too.
    pub(super) fn is_not_ours_on(self, node: &NodeView) -> bool {
        let has_tried = || hold::read(node).present().is_some_and(|hold| hold.attempts > 0);
        let may_be_ours = match self {
            Foreign::GracefulShutdown => has_tried(),
            Foreign::Karpenter | Foreign::NvidiaMig | Foreign::Talos | Foreign::Mco => false,
        };
        self.is_shown_by(node) && !may_be_ours
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.as_str();
        match self.sign() {
            Sign::Condition(kind) => write!(f, "{name}: condition {kind}=True"),
            Sign::Label(key, value) => write!(f, "{name}: label {key}={value}"),
            Sign::Annotation(key, value) => write!(f, "{name}: annotation {key}={value}"),
        }
    }
}
