//! What is wrong in a fleet, each with the command that mends it.
//!
//! Not here: what a node waits for in the ordinary course of things ([`super::Row`]).

use serde::Serialize;

use super::row::{DETAIL_MAX, STUCK, own_hold};
use super::{Look, command};
use crate::Reading;
use crate::admission::SKEW;
use crate::hold::{self, Hold, Phase};
use crate::keys;
use crate::lock::Entry;
use crate::node::NodeView;
use crate::quote::{one_line, quoted};
use crate::reboot::lock_object::Carrier;
use crate::span::span;

/// Makes the enum of the troubles from one row for each: name, code, and when there is one.
macro_rules! troubles {
    ($($name:ident $code:literal $when:literal)+) => {
        /// What is wrong. Codes never change; new ones may be added.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum TroubleKind {
            $(#[doc = $when] $name,)+
        }

        impl TroubleKind {
            /// Every kind.
            pub const ALL: &[TroubleKind] = &[$(TroubleKind::$name,)+];

            /// The code in JSON.
            pub fn code(self) -> &'static str {
                match self { $(TroubleKind::$name => $code,)+ }
            }

            /// When there is such a trouble, for the manual.
            pub fn when(self) -> &'static str {
                match self { $(TroubleKind::$name => $when,)+ }
            }
        }
    };
}

troubles! {
    ForeignMarks   "foreign-marks"   "the node carries marks that cannot be read, or that name another Node; no agent touches them"
    AgentSilent    "agent-silent"    "the agent of a held node has missed two renewals of `until`"
    NotBack        "not-back"        "a sealed node is not Ready, and the time for its reboot is over"
    NotGoingDown   "not-going-down"  "a sealed node is Ready in the boot before the reboot, and the time for its reboot is over, or its agent says that the host does not go down"
    Uncordoned     "uncordoned"      "a held node is schedulable"
    DrainBlocked   "drain-blocked"   "something blocks the drain of a node"
    Ignored        "ignored"         "a cancel, a deferred uncordon or a request on a Node has no effect"
    LockUnreadable "lock-unreadable" "the record of a lock cannot be read; no reboot begins"
    LockByHand     "lock-by-hand"    "a person has put an entry into the lock that stops the pool"
    PoolUnreadable "pool-unreadable" "the label selector of a pool cannot be read"
    NoWebhook      "no-webhook"      "the webhook's Deployment is there, but its configuration is not: every uncordon passes"
    WebhookDown    "webhook-down"    "no replica of the webhook is ready"
    CaMissing      "ca-missing"      "the webhook's configuration has no `caBundle`, so the API server cannot call the webhook"
    CaEnds         "ca-ends"         "the last CA in the `caBundle` has ended, or ends within 14 days"
}

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trouble {
    /// What kind of trouble it is.
    pub kind: TroubleKind,
    /// What it is about: `node NAME`, `pool NAME`, an object, or `webhook`.
    pub about: String,
    /// The Node's name, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What is wrong, in words.
    pub says: String,
    /// The command that mends it, or that shows how.
    pub command: String,
}

impl Trouble {
    fn of_node(kind: TroubleKind, node: &NodeView, says: &str, command: String) -> Trouble {
        Trouble {
            kind,
            about: format!("node {}", quoted(node.name())),
            node: Some(node.name().to_owned()),
            says: one_line(says, DETAIL_MAX),
            command,
        }
    }

    pub(super) fn new(kind: TroubleKind, about: String, says: &str, command: String) -> Trouble {
        Trouble {
            kind,
            about,
            node: None,
            says: one_line(says, DETAIL_MAX),
            command,
        }
    }
}

impl Look<'_> {
    /// What is wrong with this node.
    pub(super) fn troubles(&self, node: &NodeView) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        match own_hold(node) {
            Reading::Absent => {}
            Reading::Malformed(why) => troubles.push(Trouble::of_node(
                TroubleKind::ForeignMarks,
                node,
                &format!("its marks are no hold of this Node: {why}; it counts as held, and its agent leaves it alone"),
                command("release", node),
            )),
            Reading::Present(hold) => troubles.extend(self.troubles_of_hold(node, &hold)),
        }
        let has_marks = hold::has_marks(node);
        if let Some(hold::Ignored {
            why,
            command: instead,
            ..
        }) = hold::ignored(node)
        {
            let mends = if has_marks {
                command("cancel", node) + " --reason TEXT"
            } else {
                instead
            };
            troubles.push(Trouble::of_node(TroubleKind::Ignored, node, &why, mends));
        }
        if let Some(hold::Ignored { why, command, .. }) = self.ignored_request(node) {
            troubles.push(Trouble::of_node(TroubleKind::Ignored, node, &why, command));
        }
        troubles
    }

    /// Why the request on this Node leads to nothing, if it does not.
    fn ignored_request(&self, node: &NodeView) -> Option<hold::Ignored> {
        let flaw = match hold::reboot_request(node)? {
            Err(flaw) => flaw,
            Ok(_) if self.served(node).is_some() => return None,
            Ok(request) => request.judged(self.seen.used_up_to(node.name()), self.now)?,
        };
        Some(hold::ignored_request(node, flaw))
    }

    fn troubles_of_hold(&self, node: &NodeView, hold: &Hold) -> Vec<Trouble> {
        let is_held = hold.phase != Phase::Wanted;
        let mut troubles: Vec<Trouble> = self.trouble_of_agent(node, hold).into_iter().collect();
        if is_held && !node.spec.unschedulable {
            let says = "it is held but schedulable: somebody has uncordoned it, and its agent cordons it again while it lives";
            troubles.push(Trouble::of_node(
                TroubleKind::Uncordoned,
                node,
                says,
                command("why", node),
            ));
        }
        let progress = node
            .annotation(keys::DRAIN_PROGRESS)
            .filter(|_| hold.phase == Phase::Draining);
        if let Some((_, by)) = progress.and_then(|text| text.split_once("blocked by ")) {
            let by = by.split("; ").next().unwrap_or(by);
            let says = format!("its drain is blocked by {by}");
            troubles.push(Trouble::of_node(
                TroubleKind::DrainBlocked,
                node,
                &says,
                command("why", node),
            ));
        }
        troubles
    }

    /// What is wrong with the agent of a node, or with its host.
    fn trouble_of_agent(&self, node: &NodeView, hold: &Hold) -> Option<Trouble> {
        let created = hold.holder.created.parse().ok();
        let is_stuck = self
            .wait_of(node, created)
            .is_some_and(|told| told.reason == STUCK);
        let is_silent = hold.is_silent(self.now, SKEW);
        let ago = hold.until.map_or_else(
            || "it says no time until which it is held".to_owned(),
            |until| {
                let over = self.now.duration_since(until);
                if over.is_negative() {
                    format!("it is held until {until:.0}")
                } else {
                    format!("its time ended {} ago", span(over))
                }
            },
        );
        let (kind, says, mends) = match hold.phase {
            Phase::Sealed if !is_silent && !is_stuck => return None,
            Phase::Sealed if hold::has_rebooted(node, hold) => (
                TroubleKind::AgentSilent,
                format!(
                    "the host has rebooted, and its agent does not go on ({ago}): bring the agent back, or end the hold by hand"
                ),
                command("release", node),
            ),
            Phase::Sealed if !node.is_ready() => (
                TroubleKind::NotBack,
                format!(
                    "its host went down for a reboot and is not back ({ago}): bring the machine back; if it is gone for good, docs/operating.md has the way, in A holder that is dead"
                ),
                command("why", node),
            ),
            Phase::Sealed => (
                TroubleKind::NotGoingDown,
                format!(
                    "its host was told to reboot and does not go down ({ago}): look at the host, then cancel the reboot"
                ),
                command("cancel", node) + " --reason TEXT",
            ),
            Phase::Wanted | Phase::Draining | Phase::Delaying | Phase::Returning if !is_silent => {
                return None;
            }
            Phase::Wanted | Phase::Draining | Phase::Delaying | Phase::Returning => (
                TroubleKind::AgentSilent,
                format!(
                    "its agent does not renew its hold ({ago}): bring the agent back, or end the hold by hand"
                ),
                command("release", node),
            ),
        };
        Some(Trouble::of_node(kind, node, &says, mends))
    }

    /// What is wrong with the locks and the pools.
    pub(super) fn lock_troubles(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        for lock in &self.locks {
            let about = lock.object.clone();
            if let Err(why) = &lock.entries {
                let says = format!("no reboot begins: {why}");
                troubles.push(Trouble::new(
                    TroubleKind::LockUnreadable,
                    about.clone(),
                    &says,
                    lock.shows(),
                ));
            }
            if lock.entries().any(Entry::is_by_hand) {
                let says =
                    "a person has stopped the pool by an entry in the lock: remove the annotation to go on";
                troubles.push(Trouble::new(
                    TroubleKind::LockByHand,
                    about.clone(),
                    says,
                    lock.shows(),
                ));
            }
            if let Some((name, Err(why))) = &lock.pool {
                let says =
                    format!("the selector of the pool cannot be read, so its nodes are not known: {why}");
                let about = format!("pool {}", quoted(name));
                troubles.push(Trouble::new(
                    TroubleKind::PoolUnreadable,
                    about,
                    &says,
                    lock.shows(),
                ));
            }
        }
        troubles
    }
}

impl super::Lock {
    /// The command that shows the object.
    fn shows(&self) -> String {
        format!(
            "kubectl -n {} get {} {} -o yaml",
            quoted(&self.namespace),
            self.kind(),
            quoted(&self.name)
        )
    }

    fn kind(&self) -> &'static str {
        match self.carrier {
            Carrier::Lease => "lease",
            Carrier::DaemonSet => "daemonset",
        }
    }
}
