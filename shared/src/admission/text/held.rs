//! The denial for a hold of ours: who holds the node, for how long, how far it is, and the one way out that is right for it now.
//!
//! Whether its agent is alive, only `until` tells here: an agent renews it for as long as it works.

use jiff::{SignedDuration, Timestamp};

use super::super::SKEW;
use super::webhook_in_the_way;
use crate::Reading;
use crate::hold::{self, CancelFlaw, Hold, Phase};
use crate::keys;
use crate::node::NodeView;
use crate::quote::{quoted, quoted_to};

/// Enough for who blocks a drain; which pods are left comes behind it.
const PROGRESS_CHARS: usize = 320;

/// A Node, and the hold that was read of it.
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
            "the marks of the hold on node {} are its agent's alone, and so is what it wrote beside them ({})",
            self.name(),
            keys::OWNERS_ANNOTATIONS.join(", ")
        );
        self.denial(&what, &self.way_out())
    }

    pub(super) fn taint(&self) -> String {
        let what = format!(
            "the taint {} of the hold on node {} is its agent's alone",
            keys::REBOOTING,
            self.name()
        );
        self.denial(&what, &self.way_out())
    }

    /// Somebody takes the agent off a Node that it holds, or moves the node between kured and the agents.
    pub(super) fn agent_label(&self) -> String {
        let (name, label, phase) = (self.name(), keys::AGENT, keys::PHASE);
        format!(
            "the label {label} of node {name} stays as it is while a hold is on it: the DaemonSet would take the agent away, \
             and nobody would give the cordon back: {}.{}\nThen change the label once {phase} is gone from the node: \
             kubectl get node {name} -L {phase}",
            self.describe(),
            self.way_out()
        )
    }

    /// It was cancelled, and the reboot may still come.
    pub(super) fn too_late(&self) -> String {
        let what = format!(
            "the hold of node {} was cancelled too late: its reboot is under way, and it stays cordoned",
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
                    "\nWait until it is back. Where it is not back by {end}, the same request passes then"
                )
            }
            None => {
                "\nWait until it is back: its hold names no time after which this passes".to_owned()
                    + &webhook_in_the_way()
            }
        };
        self.denial(&what, &way_out)
    }

    /// Somebody deletes the Node.
    pub(super) fn deleted(&self) -> String {
        let what = format!(
            "node {} is held for a reboot and is not deleted (the webhook runs with --on-delete=deny)",
            self.name()
        );
        let way_out = match self.phase_at_work() {
            Some(Phase::Wanted | Phase::Draining | Phase::Delaying | Phase::Returning) => format!(
                "\nTo delete it all the same, cancel its reboot first: {}",
                self.cancel_command()
            ),
            Some(Phase::Sealed) | None => self.way_out(),
        };
        self.denial(&what, &way_out)
    }

    /// A cancel that ends nothing, to whoever wrote it.
    pub(super) fn bad_cancel(&self, text: &str) -> String {
        let name = self.name();
        let Some(flaw) = hold::cancel_flaw(self.node, text) else {
            return format!("the cancel of node {name} is not taken");
        };
        let (why, text_shown) = (flaw.as_str(), quoted(text));
        let instead = match flaw {
            CancelFlaw::NoHold => {
                format!(
                    "To keep it from its next reboot: {}",
                    hold::pause_command(self.node)
                )
            }
            CancelFlaw::NamesNone | CancelFlaw::NamesAnother | CancelFlaw::NoReason => format!(
                "To cancel the reboot that is there: {}",
                hold::cancel_command(self.node, text)
            ),
        };
        format!("the cancel {text_shown} on node {name} would do nothing: {why}.\n{instead}")
    }

    /// What is not done and why, and the way past it.
    fn denial(&self, what: &str, way_out: &str) -> String {
        format!("{what}: {}.{}{way_out}", self.describe(), self.cancel_in_vain())
    }

    fn name(&self) -> String {
        quoted(self.node.name())
    }

    fn cancel_command(&self) -> String {
        hold::cancel_command(self.node, "")
    }

    /// Who, for how long, how far, what blocks; then the rest of what the marks say.
    fn describe(&self) -> String {
        let progress = self
            .node
            .annotation(keys::DRAIN_PROGRESS)
            .map(|progress| format!(" ({})", quoted_to(progress, PROGRESS_CHARS)))
            .unwrap_or_default();
        match self.hold {
            Reading::Present(hold) => of_hold(hold, &progress, self.now),
            Reading::Malformed(why) => {
                let shown = |text: Option<&str>| quoted(text.unwrap_or("none"));
                format!(
                    "its hold cannot be read, so it counts as held ({why}): holder {}, phase {}{progress}, until {}",
                    shown(self.node.annotation(keys::HOLDER)),
                    shown(self.node.label(keys::PHASE)),
                    shown(self.node.annotation(keys::UNTIL))
                )
            }
            Reading::Absent => "marks without a holder".to_owned(),
        }
    }

    /// The cancel that somebody has put on the Node already, if it ends nothing.
    fn cancel_in_vain(&self) -> String {
        let text = self.node.annotation(keys::CANCEL);
        let flaw = text.and_then(|text| hold::cancel_flaw(self.node, text));
        flaw.map_or_else(String::new, |flaw| {
            format!("\nThe cancel on it does nothing: {}.", flaw.as_str())
        })
    }

    /// The phase of a hold that its agent works on.
    fn phase_at_work(&self) -> Option<Phase> {
        match self.hold {
            Reading::Present(hold) if !hold.is_silent(self.now, SKEW) => Some(hold.phase),
            Reading::Present(_) | Reading::Malformed(_) | Reading::Absent => None,
        }
    }

    fn way_out(&self) -> String {
        let cancel = self.cancel_command();
        match self.phase_at_work() {
            Some(Phase::Sealed) => format!(
                "\nWait until it is back: its reboot is under way, and a cancel comes too late. \
                 Where an Event RebootStuck on the node says that the host does not go down: {cancel}"
            ),
            Some(Phase::Returning) => {
                format!(
                    "\nIt is back. To end the wait for it (the agent then gives the cordon back): {cancel}"
                )
            }
            Some(Phase::Wanted | Phase::Draining | Phase::Delaying) => {
                format!("\nTo call the reboot off (the agent then gives the cordon back): {cancel}")
            }
            None => self.by_hand(&cancel) + &webhook_in_the_way(),
        }
    }

    /// For a hold whose agent does not work on it. Without the uncordon where somebody wants the node cordoned, or nobody knows.
    fn by_hand(&self, cancel: &str) -> String {
        let (name, node) = (self.name(), self.node);
        let is_kept = node.annotation(keys::KEEP_CORDONED).is_some();
        let (uncordon, why_not) = match node.annotation(keys::WAS_UNSCHEDULABLE) {
            Some("false") if !is_kept => (format!("kubectl uncordon {name}; "), ""),
            Some("false") => (
                String::new(),
                "\nIt stays cordoned: somebody asked for that with cordonhold.dev/keep-cordoned.",
            ),
            Some("true") => (
                String::new(),
                "\nIt stays cordoned: somebody had cordoned it before its reboot was prepared.",
            ),
            _ => (
                String::new(),
                "\nIt stays cordoned: its marks do not say whether it was cordoned before. Uncordon it then if nobody wants it cordoned.",
            ),
        };
        let marks: Vec<String> = keys::MARK_ANNOTATIONS
            .iter()
            .map(|key| format!("{key}-"))
            .collect();
        format!(
            "\nIts agent does not work on it. Bring the agent back, or end the hold by hand.\
             \nFirst: {cancel}\
             \nThen: {uncordon}kubectl taint node {name} {}:{}-; kubectl label node {name} {}-; kubectl annotate node {name} {}{why_not}",
            keys::REBOOTING,
            keys::NO_SCHEDULE,
            keys::PHASE,
            marks.join(" ")
        )
    }
}

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

/// As people say it.
fn span(duration: SignedDuration) -> String {
    let (minutes, hours) = (duration.as_mins(), duration.as_hours());
    match (minutes, hours) {
        (0, _) => format!("{} s", duration.as_secs()),
        (_, 0) => format!("{minutes} min"),
        (_, 1..48) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}
