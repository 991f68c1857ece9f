//! The denials for a Node that Cordonhold holds: since when and until when it is held, in which phase, and what to do now.
//!
//! A working agent keeps renewing `until`. So the agent counts as no longer at work once it has missed two renewals or, if the
//! Node is sealed, once `until` is over. Marks that cannot be read count as a hold that no agent works on.
//! Not here: stock kured's holds ([`super::kured`]).

use jiff::Timestamp;

use super::super::SKEW;
use super::webhook_in_the_way;
use crate::Reading;
use crate::hold::{self, CancelFlaw, DeferredUncordon, Hold, Phase};
use crate::keys;
use crate::node::NodeView;
use crate::quote::{quoted, quoted_to};
use crate::span::span;

/// Longest drain progress shown, in characters: enough for what blocks the drain. The list of pods that are left comes after that
/// and may be cut.
const PROGRESS_CHARS: usize = 320;

/// A Node, the hold that was read from it, and the time of the request.
pub(super) struct Held<'a> {
    pub(super) node: &'a NodeView,
    pub(super) hold: &'a Reading<Hold>,
    pub(super) now: Timestamp,
}

impl Held<'_> {
    pub(super) fn stays_cordoned(&self) -> String {
        let what = format!("node {} is held for a reboot and stays cordoned", self.name());
        self.denial(&what, &self.way_out())
    }

    pub(super) fn marks(&self) -> String {
        let what = format!(
            "only the agent of node {} may change the marks of the hold, and what it wrote beside them ({})",
            self.name(),
            keys::OWNERS_ANNOTATIONS.join(", ")
        );
        self.denial(&what, &self.way_out())
    }

    pub(super) fn taint(&self) -> String {
        let what = format!(
            "only the agent of node {} may change the taint {} of the hold",
            self.name(),
            keys::REBOOTING
        );
        self.denial(&what, &self.way_out())
    }

    /// The denial of the label that removes the agent from a Node that it holds.
    /// The label is also how a node moves between kured and the agents, so the message says how to set it later.
    pub(super) fn agent_label(&self) -> String {
        let (name, label, phase) = (self.name(), keys::AGENT, keys::PHASE);
        format!(
            "the label {label} of node {name} may not be set to {} while a hold is on the node: the DaemonSet would take the agent away, \
             and nobody would end the hold: {}.{}\nThen set the label once the label {phase} is gone from the node: \
             kubectl get node {name} -L {phase}",
            keys::DISABLED,
            self.describe(),
            self.way_out()
        )
    }

    /// The warning of an uncordon that is kept for the end of the hold. What matters comes first, since a long name makes the end be cut.
    pub(super) fn kept(&self) -> String {
        let phase = match self.hold {
            Reading::Present(hold) => format!("{} for {}", hold.phase, span(hold.age(self.now))),
            Reading::Malformed(_) | Reading::Absent => "its hold cannot be read".to_owned(),
        };
        format!(
            "node {} stays cordoned: its agent holds it for a reboot ({phase}). \
             The uncordon is kept, and done when the hold ends, unless somebody sets {} on the node",
            self.name(),
            keys::KEEP_CORDONED
        )
    }

    /// The denial for a hold that was cancelled when its reboot was already under way.
    pub(super) fn too_late(&self) -> String {
        let what = format!(
            "the hold of node {} was cancelled too late: its reboot is under way, and the node stays cordoned",
            self.name()
        );
        let until = self
            .node
            .annotation(keys::UNTIL)
            .and_then(|until| until.parse::<Timestamp>().ok());
        let end = until.and_then(|until| until.checked_add(SKEW).ok());
        let way_out = match end {
            Some(end) => {
                format!(
                    "\nWait until the node is back. If it is not back by {end}, the same request passes then"
                )
            }
            None => {
                "\nWait until the node is back: its hold has no time (until) after which this request passes"
                    .to_owned()
                    + &webhook_in_the_way()
            }
        };
        self.denial(&what, &way_out)
    }

    /// The denial of the DELETE of a held Node.
    pub(super) fn deleted(&self) -> String {
        let what = format!(
            "node {} is held for a reboot and may not be deleted (the webhook runs with --on-delete=deny)",
            self.name()
        );
        let way_out = match self.phase_at_work() {
            Some(Phase::Wanted | Phase::Draining | Phase::Delaying | Phase::Returning) => format!(
                "\nTo delete it anyway, cancel its reboot first: {}",
                self.cancel_command()
            ),
            Some(Phase::Sealed) | None => self.way_out(),
        };
        self.denial(&what, &way_out)
    }

    /// The denial of a cancel that would end nothing.
    pub(super) fn bad_cancel(&self, text: &str) -> String {
        let name = self.name();
        let Some(flaw) = hold::cancel_flaw(self.node, text) else {
            return format!("the cancel of node {name} was refused");
        };
        let (why, text_shown) = (flaw.as_str(), quoted(text));
        let instead = match flaw {
            CancelFlaw::NoHold => {
                format!(
                    "To keep the node from its next reboot: {}",
                    hold::pause_command(self.node)
                )
            }
            CancelFlaw::NamesNone | CancelFlaw::NamesAnother | CancelFlaw::NoReason => format!(
                "To cancel the current reboot: {}",
                hold::cancel_command(self.node, text)
            ),
        };
        format!("the cancel {text_shown} on node {name} would do nothing: {why}.\n{instead}")
    }

    /// The whole denial: `what` is denied, the hold that is the cause, a cancel that has no effect, and the `way_out`.
    fn denial(&self, what: &str, way_out: &str) -> String {
        format!("{what}: {}.{}{way_out}", self.describe(), self.cancel_in_vain())
    }

    fn name(&self) -> String {
        quoted(self.node.name())
    }

    fn cancel_command(&self) -> String {
        hold::cancel_command(self.node, "")
    }

    /// The hold in words: its age, phase and what blocks the drain first, since a warning is cut at its end; then the other marks.
    fn describe(&self) -> String {
        let progress = self
            .node
            .annotation(keys::DRAIN_PROGRESS)
            .map(|progress| format!(" ({})", quoted_to(progress, PROGRESS_CHARS)))
            .unwrap_or_default();
        let why = match self.hold {
            Reading::Present(hold) if hold.holder.names(self.node) => {
                return of_hold(hold, &progress, self.now);
            }
            Reading::Present(_) => {
                "its marks name another Node, so no agent works on them, and it counts as held".to_owned()
            }
            Reading::Malformed(why) => format!("its hold cannot be read, so it counts as held ({why})"),
            Reading::Absent => {
                return "it carries marks of a hold, but neither a holder nor a phase".to_owned();
            }
        };
        let shown = |text: Option<&str>| quoted(text.unwrap_or("none"));
        format!(
            "{why}: holder {}, phase {}{progress}, until {}",
            shown(self.node.annotation(keys::HOLDER)),
            shown(self.node.label(keys::PHASE)),
            shown(self.node.annotation(keys::UNTIL))
        )
    }

    /// Why the cancel that is already on the Node has no effect; empty if there is none, or it has one.
    fn cancel_in_vain(&self) -> String {
        let text = self.node.annotation(keys::CANCEL);
        let flaw = text.and_then(|text| hold::cancel_flaw(self.node, text));
        flaw.map_or_else(String::new, |flaw| {
            format!("\nThe cancel on it does nothing: {}.", flaw.as_str())
        })
    }

    /// The phase of the hold, if its agent still works on it. None works on marks that name another Node.
    fn phase_at_work(&self) -> Option<Phase> {
        match self.hold {
            Reading::Present(hold) if hold.holder.names(self.node) && !hold.is_silent(self.now, SKEW) => {
                Some(hold.phase)
            }
            Reading::Present(_) | Reading::Malformed(_) | Reading::Absent => None,
        }
    }

    /// What to do about the hold in its present phase, with the command.
    fn way_out(&self) -> String {
        let cancel = self.cancel_command();
        match self.phase_at_work() {
            Some(Phase::Sealed) => format!(
                "\nWait until the node is back: its reboot is under way, and a cancel comes too late. \
                 If an Event RebootStuck on the node says that the host does not go down: {cancel}"
            ),
            Some(Phase::Returning) => {
                format!(
                    "\nThe node is back, and its agent waits until it is Ready. \
                     To end that wait (the agent then gives the cordon back): {cancel}"
                )
            }
            Some(Phase::Wanted | Phase::Draining | Phase::Delaying) => {
                format!("\nTo call the reboot off (the agent then gives the cordon back): {cancel}")
            }
            None => self.by_hand(&cancel) + &webhook_in_the_way(),
        }
    }

    /// The commands that end a hold whose agent does not work on it.
    ///
    /// They uncordon if somebody asked for that under this hold, or the marks say that the node was schedulable before; but not if somebody
    /// asked to keep it cordoned.
    fn by_hand(&self, cancel: &str) -> String {
        let (name, node) = (self.name(), self.node);
        let is_kept = node.annotation(keys::KEEP_CORDONED).is_some();
        let deferred = hold::deferred_of_hold(node);
        let is_done = hold::done_under_hold(node).is_some();
        let uncordon = || format!("kubectl uncordon {name}; ");
        // In the order in which an agent gives the cordon back: what people want kept, what was asked for, what was before.
        let (uncordon, why) = match (&deferred, node.annotation(keys::WAS_UNSCHEDULABLE)) {
            (Some(_), _) | (None, Some("false")) if is_kept => (
                String::new(),
                "\nIt stays cordoned: somebody asked for that with cordonhold.dev/keep-cordoned.".to_owned(),
            ),
            (Some(deferred), _) => (uncordon(), asked_for(deferred)),
            (None, _) if is_done => (
                String::new(),
                "\nIts cordon stays as it is: it was uncordoned after the hold had lapsed, so a cordon that is there now is somebody else's."
                    .to_owned(),
            ),
            (None, Some("false")) => (uncordon(), String::new()),
            (None, Some("true")) => (
                String::new(),
                "\nIt stays cordoned: somebody had cordoned it before its reboot was prepared.".to_owned(),
            ),
            (None, _) => (
                String::new(),
                "\nIt stays cordoned: its marks do not say whether it was cordoned before. Uncordon it then if nobody wants it cordoned."
                    .to_owned(),
            ),
        };
        let wanted = node
            .annotation(keys::UNCORDON_WANTED)
            .map(|_| &keys::UNCORDON_WANTED);
        let marks: Vec<String> = keys::MARK_ANNOTATIONS
            .iter()
            .chain(wanted)
            .map(|key| format!("{key}-"))
            .collect();
        let is_its_own = matches!(self.hold, Reading::Present(hold) if hold.holder.names(node));
        let whose = if is_its_own {
            "The agent of this node is not working on the hold. Bring the agent back, or end the hold by hand."
        } else {
            "No agent will end this hold. If no reboot is under way, end it by hand."
        };
        format!(
            "\n{whose}\
             \nFirst: {cancel}\
             \nThen: {uncordon}kubectl taint node {name} {}:{}-; kubectl label node {name} {}-; kubectl annotate node {name} {}{why}",
            keys::REBOOTING,
            keys::NO_SCHEDULE,
            keys::PHASE,
            marks.join(" ")
        )
    }
}

/// Who asked for the uncordon that a dead holder will not do.
fn asked_for(deferred: &DeferredUncordon) -> String {
    let at = deferred.at.map_or_else(String::new, |at| format!(" at {at}"));
    let user = quoted(&deferred.user);
    format!(
        "\nIt is uncordoned: {user} asked for that{at}, and nobody else will do it once the hold is gone."
    )
}

/// A readable hold in words.
fn of_hold(hold: &Hold, progress: &str, now: Timestamp) -> String {
    let age = span(hold.age(now));
    let until = match hold.until {
        Some(until) if hold.is_silent(now, SKEW) => format!("until {until}, not renewed by its agent"),
        Some(until) => format!("until {until}"),
        None => "until its agent ends it".to_owned(),
    };
    format!(
        "its agent has held it for {age}, phase {}{progress}, since {}, {until}, holder {}",
        hold.phase,
        hold.holder.created,
        quoted(&hold.holder.to_string())
    )
}
