//! What people are told of the cycle. Each report is one row of a table: its log line, its Event on the Node, its count in the
//! metrics and its row in `agent/EVENTS.md` all follow from that row.
//!
//! Not here: who writes them (the agent), and when something is reported (the cycle).

use std::collections::BTreeSet;

use super::input::Shutdown;
use crate::hold::Hold;
use crate::host::BootEvidence;
use crate::quote::quoted;
use crate::reboot::blocker::{Blocker, kinds, sentences};
use crate::reboot::drain::Progress;

mod fields;
mod words;

#[cfg(test)]
mod tests;

pub use fields::Fields;
pub use words::{CallOff, Disturbance, Next};

use fields::{first_pods, joined};

/// How much attention a report asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Info,
    /// Worth a look, if it goes on.
    Warning,
    /// A defect of the agent, or a host that does not reboot.
    Error,
}

/// What a report counts in the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// A drain, by what became of it.
    Drain(&'static str),
    /// A reboot, by what became of it.
    Reboot(&'static str),
    /// A reboot that was called off, by the word of its reason.
    CalledOff(&'static str),
    /// A request that is tried again, by what it is for.
    Retry(&'static str),
    /// An answer that nobody expected.
    UnexpectedAnswer,
}

/// A report without its values, for a page about all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// [`Report::event`].
    pub event: &'static str,
    /// [`Report::level`].
    pub level: Level,
    /// [`Report::reason`].
    pub reason: Option<&'static str>,
    /// One text or, where a value decides, two.
    pub texts: &'static [&'static str],
    /// The further fields of the log line.
    pub fields: &'static [&'static str],
    /// What it means, and what to do.
    pub meaning: &'static str,
}

/// What a row may leave out.
macro_rules! or_none {
    () => {
        None
    };
    ($given:expr) => {
        $given
    };
}

/// One row for each report, in this order:
///
/// * the variant, with a name for each value;
/// * the `event` of its log line and its level; then, where people should see it on the Node, the reason of the Event;
/// * `says`: the text of the line and of the Event; `or … if …;` where a value decides between two texts;
/// * `with …;`: the further fields of the line ([`Fields`]), each as a value or as an `Option`;
/// * `counts …;`: what it counts in the metrics, as an `Option`;
/// * `means`: for the page, what it means and what to do.
macro_rules! reports {
    ($(
        $(#[$doc:meta])*
        $name:ident $(($($value:ident: $value_type:ty),+))? $({ $($(#[$field_doc:meta])* $field:ident: $field_type:ty),+ })?
            $event:literal $level:ident $($reason:literal)?
            says $text:literal $(or $other:literal if $condition:expr;)?
            $(with $($key:ident = $given:expr),+;)?
            $(counts $count:expr;)?
            means $meaning:literal
    )+) => {
        /// What people are told: a log line and, where it matters, an Event on the Node.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Report {
            $($(#[$doc])* $name $(($($value_type),+))? $({ $($(#[$field_doc])* $field: $field_type),+ })?,)+
        }

        #[expect(unused_variables, reason = "each part of a row takes the values that it needs")]
        impl Report {
            /// Every report.
            pub const ROWS: &[Row] = &[$(Row {
                event: $event,
                level: Level::$level,
                reason: or_none!($(Some($reason))?),
                texts: &[$text $(, $other)?],
                fields: &[$($(stringify!($key)),+)?],
                meaning: $meaning,
            },)+];

            /// The name of its log line, which never changes its meaning.
            pub fn event(&self) -> &'static str {
                match self { $(Self::$name { .. } => $event,)+ }
            }

            /// How much attention it asks for.
            pub fn level(&self) -> Level {
                match self { $(Self::$name { .. } => Level::$level,)+ }
            }

            /// The reason of the Event on the Node, if there is one.
            pub fn reason(&self) -> Option<&'static str> {
                match self { $(Self::$name { .. } => or_none!($(Some($reason))?),)+ }
            }

            /// The text of its log line.
            pub fn text(&self) -> &'static str {
                match self {
                    $(Self::$name $(($($value),+))? $({ $($field),+ })? => {
                        $(if $condition { return $other; })?
                        $text
                    })+
                }
            }

            /// The further fields of its log line.
            pub fn fields(&self) -> Fields {
                match self {
                    $(Self::$name $(($($value),+))? $({ $($field),+ })? => Fields {
                        $($($key: Option::from($given),)+)?
                        ..Fields::default()
                    },)+
                }
            }

            /// What it counts in the metrics.
            pub fn count(&self) -> Option<Count> {
                match self {
                    $(Self::$name $(($($value),+))? $({ $($field),+ })? => or_none!($($count)?),)+
                }
            }
        }
    };
}

reports! {
    /// The host is going down, or cannot be asked: the agent only waits.
    HostBusy(shutdown: Shutdown)
        "host_busy" Warning
        says "the host is going down, as its init or logind says: only waiting; \
              where it stays up, look at its jobs with systemctl list-jobs, or call the shutdown off with shutdown -c"
        or "the host does not say whether it is going down: only waiting; \
            where its init hangs, look at the host; a host without systemd needs a --shutdown-check-command of its own" if shutdown.unknown().is_some();
        with reason = if shutdown.unknown().is_some() { "unknown" } else { "shutdown" },
            why = shutdown.unknown().cloned();
        means "The agent touches nothing while the host may be going down. `reason=shutdown`: wait for the host. \
               `reason=unknown`: the host could not be asked; mend what `why` names"

    /// An agent of this boot told the host to reboot for this hold, and its shutdown may not show yet.
    HostTold(holder: String)
        "host_told" Warning
        says "an agent of this boot told the host to reboot for this hold: waiting until it goes down, or --reboot-timeout is over; \
              where nothing takes it down, look at the host"
        with why = holder.clone();
        means "The agent was started anew after the reboot command; `why` is the hold that it was run for. Nothing to do: the agent \
               goes on when the host has booted, or when `--reboot-timeout` is over"

    /// The marks on the Node are not ours, or cannot be read: the agent leaves them alone.
    Foreign(why: String)
        "marks_foreign" Warning "HoldNotOurs"
        says "the marks on the Node are not ours to touch: where no reboot is under way, remove them by hand: \
              a denied uncordon of the Node prints the commands, and so does OPERATING.md (A holder that is dead)"
        with why = why.clone();
        means "The marks cannot be read, or name another Node object, as `why` says. The agent waits for a person: \
               [OPERATING.md](../OPERATING.md#marks-that-an-agent-does-not-trust) has the commands"

    /// The agent found its own hold in this phase and goes on.
    Resumed(hold: Hold)
        "resumed" Info
        says "going on from where the agent before was"
        with phase = hold.phase.as_str();
        means "The agent was started anew and found its own hold in this `phase`. Nothing to do"

    /// Neither the host's record nor the lock knows the hold that the agent found: what it says is believed only where it must be.
    Unproven
        "unproven" Warning "HoldUnproven"
        says "neither the host nor the lock knows the hold on the Node: where the host has not booted, \
              the marks go and the cordon stays; else the cordon is given back as the marks say"
        means "Somebody else may have written the marks. Look at the Node: uncordon it if nobody wants it cordoned, cordon it again \
               if the cordon was yours; see [OPERATING.md](../OPERATING.md#marks-that-an-agent-does-not-trust)"

    /// The host has booted since the node was cordoned, and this shows it.
    Booted(evidence: BootEvidence)
        "booted" Info
        says "the host has booted since its node was cordoned"
        with by = evidence.as_str().to_owned();
        means "The agent goes on with the way back; `by` is what shows the new boot. Nothing to do"

    /// This postpones the reboot.
    Blocked(blockers: Vec<Blocker>)
        "blocked" Warning "RebootBlocked"
        says "the reboot is postponed"
        with by = kinds(blockers), why = sentences(blockers);
        means "`by` names the kinds of what postpones the reboot: `node_paused` or `pool_paused` (remove the annotation \
               `cordonhold.dev/pause` from the Node or from the object that carries the lock), `unavailable` (bring the Nodes that `why` \
               names back, or allow more with `--max-unavailable`). A node that is drained already waits for as long as a drain may take; \
               then the reboot is called off"

    /// A person has written something on the Node that ends or keeps nothing: what, and what to write instead.
    Ignored(why: String)
        "annotation_ignored" Warning "RebootAnnotationIgnored"
        says "what a person wrote on the Node does nothing"
        with why = why.clone();
        means "A cancel has no effect. `why` says which, and the command that has one"

    /// The wish is on the Node.
    Wished(holder: String)
        "wished" Info "RebootWanted"
        says "a reboot is wanted"
        means "The sentinel asks for a reboot, and the Node says so. The agent now waits for the lock. Nothing to do"

    /// The Node is not of the pool that this agent is for.
    NotInPool
        "not_in_pool" Warning "RebootNotInPool"
        says "no new reboot: the Node's labels do not match --pool-selector: label the Node, or take the agent off it"
        means "Label the Node, or run this pool's agents on its own nodes alone"

    /// The lock is full: these nodes fill it.
    LockHeld(nodes: BTreeSet<String>)
        "lock_held" Info
        says "waiting: other nodes are in a reboot, as many as --concurrency allows; \
              kubectl get nodes -L cordonhold.dev/phase shows them"
        with by = joined(nodes);
        means "`by` names the nodes that fill the lock. Nothing to do: this node's turn comes"

    /// The same nodes have filled the lock for as long as a reboot may take: each, since when, and how its Node looks.
    LockStalled(holders: Vec<String>)
        "lock_stalled" Warning "RebootLockStalled"
        says "waiting: the same nodes have held the lock for longer than a reboot takes: look at them; \
              one that never comes back frees its place when its Node is deleted, \
              an entry that kured wrote when it is taken out of the annotation"
        with by = holders.join("; ");
        means "`by` names each holder, since when it holds the lock, and how its Node looks. Bring it back, or delete its Node if it is \
               gone for good; see [OPERATING.md](../OPERATING.md#a-holder-that-is-dead)"

    /// The lock's record cannot be read.
    LockUnreadable(why: String)
        "lock_unreadable" Warning "RebootLockUnreadable"
        says "waiting: the lock cannot be read"
        with why = why.clone();
        means "No node of the pool begins a reboot until the agents can read the annotation of the lock. `why` says what is wrong with it, \
               and where"

    /// The lock is ours.
    Locked
        "locked" Info
        says "the lock is ours"
        means "The node may be rebooted now; it is cordoned next. Nothing to do"

    /// The node is cordoned and the drain begins. `was_unschedulable` is what the cordon was; `round` counts from 1.
    Draining {
        /// What the cordon was.
        was_unschedulable: bool,
        /// The first drain of this hold is 1.
        round: u8
    }
        "draining" Info "RebootDraining"
        says "the node is cordoned and held: draining it"
        with was_unschedulable = *was_unschedulable, round = *round;
        counts Some(Count::Drain("begun"));
        means "`was_unschedulable` is whether somebody had cordoned the node before; it is then cordoned afterwards too. \
               `round` counts the drains of this hold, from 1. Nothing to do"

    /// How far the drain has come.
    Progress(progress: Progress)
        "drain_progress" Info
        says "waiting for pods to leave the node"
        with why = progress.to_string();
        means "`why` says how many pods have left, and which are still there. Nothing to do"

    /// How far it has come, where somebody keeps pods or volumes there: not before, others than before, or still.
    DrainBlocked(progress: Progress)
        "drain_blocked" Warning "RebootDrainBlocked"
        says "the drain is blocked, and goes on trying: mend what blocks it, limit it with --drain-timeout, or cancel the reboot"
        with why = progress.to_string();
        means "`why` names the PodDisruptionBudgets, webhooks or volumes that keep pods on the node. Help those pods leave, or cancel the \
               reboot; `--drain-timeout` bounds the wait"

    /// The drain took too long, and this is what it leaves behind, as last told:
    /// the reboot goes on over it, by `--force-reboot`.
    Forced(progress: Option<Progress>)
        "forced" Warning "RebootForced"
        says "the drain took too long: the reboot goes on under the pods that are left, by --force-reboot"
        with why = progress.as_ref().map(Progress::to_string);
        counts Some(Count::Drain("forced"));
        means "`--drain-timeout` is over, and `why` says what is left. If such pods must not go down with the node, run without \
               `--force-reboot`"

    /// These pods go down with the node: each time one was evicted, its owner put it back.
    PodsKept(controllers: BTreeSet<String>)
        "pods_left" Warning "RebootPodsLeft"
        says "pods that tolerate cordon and taint were put back three times: they are left, and go down with the node; \
              --returning-pods=wait would wait for them"
        with by = joined(controllers);
        means "`by` names the pods' owners. If those pods should leave, let them not tolerate the taint `cordonhold.dev/rebooting`"

    /// Nothing is left to evict, or the reboot is forced; the delay begins.
    Delaying {
        /// Whether the drain was given up, by `--force-reboot`.
        is_forced: bool
    }
        "delaying" Info
        says "the drain is over: the delay begins"
        or "the drain is given up: the delay begins" if *is_forced;
        counts (!is_forced).then_some(Count::Drain("done"));
        means "The agent watches the node for `--reboot-delay`, then makes the final check. Nothing to do"

    /// What the drain had achieved no longer holds; this is what happens now.
    Disturbed {
        /// What happened.
        by: Disturbance,
        /// What happens now.
        next: Next
    }
        "disturbed" Warning "RebootDisturbed"
        says "what the drain had achieved no longer holds"
        with reason = by.word(), next = next.word(),
            pods = by.pods().map(first_pods), pod_count = by.pods().map(<[String]>::len);
        counts Some(Count::Drain("disturbed"));
        means "`reason` says what happened, `next` what the agent does now; `pods` names the first of the pods that landed on the node, \
               `pod_count` how many they are. Find out who uncordons the node or puts pods on it"

    /// The seal is on the Node; the reboot is issued now.
    Sealed
        "sealed" Info
        says "the final check is passed: rebooting now"
        means "The node stayed cordoned and empty since its drain. The reboot can no longer be cancelled. Nothing to do"

    /// The reboot command was accepted.
    Rebooting
        "rebooting" Info "Rebooting"
        says "the reboot command was accepted"
        counts Some(Count::Reboot("issued"));
        means "The host goes down. Nothing to do"

    /// The reboot command failed.
    RebootFailed(why: String)
        "reboot_failed" Error "RebootFailed"
        says "the reboot command failed: try it on the host, or name another with --reboot-command"
        with why = why.clone();
        counts Some(Count::Reboot("failed"));
        means "`why` is what the command said. Mend the host or `--reboot-command`. The node is drained again; one hold leads to two \
               reboot commands at most"

    /// The reboot was issued and the host does not go down: the node stays sealed.
    StillSealed(why: String)
        "still_sealed" Error "RebootStuck"
        says "the host does not go down: the node stays cordoned until somebody has looked at the host"
        with why = why.clone();
        counts Some(Count::Reboot("stuck"));
        means "Look at the host; `why` says what the agent waits for. Where two reboot commands came to nothing, cancel the hold, or \
               remove what asks for the reboot"

    /// A cancel came after the seal.
    TooLateToCancel(why: String)
        "too_late_to_cancel" Warning "RebootTooLateToCancel"
        says "a cancel came after the final check"
        with why = quoted(why);
        means "The reboot goes on, because the host may be going down already; `why` is the reason in the cancel. \
               To keep the node from its next reboot, pause it"

    /// The host has booted; the agent waits for the node to be Ready.
    Returned
        "returned" Info "Rebooted"
        says "the host has booted: waiting for the node to be Ready; kubectl describe node says what it lacks"
        counts Some(Count::Reboot("returned"));
        means "The node is uncordoned once it is Ready, and `--soak` is over. If it does not become Ready, look at its kubelet"

    /// The node's cordon is as it was before: `unschedulable` says which.
    GivenBack {
        /// Whether the node is cordoned.
        unschedulable: bool
    }
        "given_back" Info "RebootGivenBack"
        says "the cordon is as it was before"
        with unschedulable = *unschedulable;
        means "`unschedulable` is whether the node stays cordoned: because somebody had cordoned it before, or wants it to stay so. \
               Then uncordon it yourself"

    /// The lock entry is kept until `--lock-release-delay` is over.
    ReleaseDelayed
        "release_delayed" Info
        says "the lock is kept until the release delay is over"
        means "The next node begins after `--lock-release-delay`. Nothing to do"

    /// The lock entry is gone; the cycle is over.
    Released
        "released" Info
        says "the lock is released: the cycle is over"
        means "The next node may begin. Nothing to do"

    /// The reboot is called off; the cordon is given back.
    CalledOff(reason: CallOff)
        "called_off" Warning "RebootCalledOff"
        says "the reboot is called off"
        with reason = reason.word(),
            by = reason.disturbance().map(|by| by.word().to_owned()),
            why = reason.why(),
            pods = reason.disturbance().and_then(Disturbance::pods).map(first_pods),
            pod_count = reason.disturbance().and_then(Disturbance::pods).map(<[String]>::len);
        counts Some(Count::CalledOff(reason.word()));
        means "`reason` says why; where the drain was disturbed, `by` says by what, and `pods` and `pod_count` are as in `disturbed`. \
               The agent waits for `--backoff`, then wishes again if the host still asks for a reboot"

    /// The API server has refused this again and again; it is tried on.
    Refused {
        /// What the request is for.
        what: &'static str,
        /// What the API server says.
        why: String
    }
        "refused" Warning "RebootRefused"
        says "this is refused again and again, and the reboot waits for it: mend what `why` names"
        with reason = *what, why = why.clone();
        means "`reason` is what the agent tries, `why` what the API server or a webhook answers. Let it pass: the agent goes on trying"

    /// A request failed and is tried again.
    Retrying {
        /// What the request is for.
        what: &'static str,
        /// How it failed.
        why: String
    }
        "retrying" Warning
        says "a request failed and is tried again"
        with reason = *what, why = why.clone();
        counts Some(Count::Retry(what));
        means "`reason` is what the agent tries, `why` how it failed. Nothing to do, unless it goes on for minutes"

    /// An answer came that this stage of the cycle does not expect.
    Unexpected {
        /// The stage.
        stage: &'static str,
        /// The answer.
        answer: &'static str
    }
        "unexpected_answer" Error
        says "an answer came that was not expected, which is a defect of the agent: in two minutes it ends, and starts anew from what is on the Node"
        with stage = *stage, answer = *answer;
        counts Some(Count::UnexpectedAnswer);
        means "A defect of the agent: report it with `stage` and `answer`. Two minutes later the agent ends; the kubelet starts it again, and \
               it goes on from what is on the Node"
}

impl Report {
    /// The report as one sentence, as an Event says it.
    pub fn sentence(&self) -> String {
        self.fields().sentence(self.text())
    }
}
