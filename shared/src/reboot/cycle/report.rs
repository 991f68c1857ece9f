//! The reports of the cycle: what operators are told. Each report is one row of a table, which gives its log line, its Event on
//! the Node, its count in the metrics, and its row in `docs/events.md`.
//!
//! Not here: writing reports (the agent), and deciding when to report something (the cycle).

use std::collections::BTreeSet;

use super::input::Shutdown;
use crate::hold::{DeferredUncordon, Hold};
use crate::host::BootEvidence;
use crate::quote::quoted;
use crate::reboot::blocker::{Blocker, kinds, sentences};
use crate::reboot::drain::Progress;
use crate::reboot::readiness::Missing;

mod fields;
mod message;
mod words;

#[cfg(test)]
mod tests;

pub use fields::Fields;
pub use message::{Message, Told};
pub use words::{
    CallOff, Disturbance, DrainResult, EvictionRefused, Next, RebootResult, Unmeasured, Unsealed,
};

use fields::{first_pods, joined};

/// How much attention a report asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// All is as it should be.
    Info,
    /// Worth a look if it goes on.
    Warning,
    /// A bug in the agent, a reboot command that failed, or a host that does not reboot.
    Error,
}

/// How the Events of a report follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// A step of the reboot. Each is an Event of its own, and ends what the node waited for.
    Step,
    /// The node waits for this until the next step or another wait: one Event, which is counted and written again while it goes on.
    Wait,
    /// The node waits for this, which ends at a time that the report says: one Event, which is not written again while it goes on.
    Timed,
    /// Something that the cycle reports again while it goes on: one Event, which is counted.
    Repeated,
    /// Something beside the steps. Each is an Event of its own, and what the node waits for goes on.
    Remark,
}

/// Something that is counted in the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Count {
    /// A wish that was stamped.
    Wish,
    /// A drain, by its result.
    Drain(DrainResult),
    /// A disturbance of a drain, by its kind ([`Disturbance::word`]). It is a result of that drain too.
    Disturbance(&'static str),
    /// An eviction that the API server accepted.
    Eviction,
    /// An eviction that was refused or had no answer, by why.
    EvictionRefused(EvictionRefused),
    /// A final check that did not end in a seal, by what it found: a word of [`Unsealed`] or of [`Disturbance`].
    Unsealed(&'static str),
    /// A reboot, by its result.
    Reboot(RebootResult),
    /// A reboot that was called off, by its reason ([`CallOff::word`]).
    CalledOff(&'static str),
    /// A request that failed and is tried again, by what it is for.
    Retry(&'static str),
    /// An answer that the cycle did not expect, which is a bug.
    UnexpectedAnswer,
}

/// One report without its values, as `docs/events.md` lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The name of the log line, see [`Report::event`].
    pub event: &'static str,
    /// The level of the log line, see [`Report::level`].
    pub level: Level,
    /// How its Events follow each other, see [`Report::course`].
    pub course: Course,
    /// The reason of the Event on the Node, see [`Report::reason`].
    pub reason: Option<&'static str>,
    /// The text of the log line; two if a value decides between them.
    pub texts: &'static [&'static str],
    /// The names of the log line's fields beside `event`, `node` and `holder`.
    pub fields: &'static [&'static str],
    /// What the report means, and what to do.
    pub meaning: &'static str,
}

/// The given expression, or `None` for a part that the row leaves out.
macro_rules! or_none {
    () => {
        None
    };
    ($given:expr) => {
        $given
    };
}

/// The given course of a row, or a step for a row that names none.
macro_rules! or_step {
    () => {
        Course::Step
    };
    ($course:ident) => {
        Course::$course
    };
}

/// Defines the reports, one row for each. The parts of a row, in this order:
///
/// * the variant, with a name for each value;
/// * the `event` and the level of the log line; then its [`Course`], unless it is a step, and the reason of the Event, if there is to be
///   one on the Node (`as Wait "Reason"`);
/// * `says`: the text of the log line and of the Event; `or … if …;` if a value decides between two texts;
/// * `with …;`: the other fields of the log line ([`Fields`]), each as a value or as an `Option`;
/// * `counts …;`: what the report counts in the metrics, as an `Option`;
/// * `sends …;`: the message to people, as an `Option`;
/// * `means`: what the report means and what to do, for `docs/events.md`.
macro_rules! reports {
    ($(
        $(#[$doc:meta])*
        $name:ident $(($($value:ident: $value_type:ty),+))? $({ $($(#[$field_doc:meta])* $field:ident: $field_type:ty),+ })?
            $event:literal $level:ident $(as $course:ident)? $($reason:literal)?
            says $text:literal $(or $other:literal if $condition:expr;)?
            $(with $($key:ident = $given:expr),+;)?
            $(counts $count:expr;)?
            $(sends $message:expr;)?
            means $meaning:literal
    )+) => {
        /// Something that operators are told: a log line and, for some reports, an Event on the Node.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Report {
            $($(#[$doc])* $name $(($($value_type),+))? $({ $($(#[$field_doc])* $field: $field_type),+ })?,)+
        }

        #[expect(unused_variables, reason = "each part of a row takes the values that it needs")]
        impl Report {
            /// Each report without its values, in the order of the table.
            pub const ROWS: &[Row] = &[$(Row {
                event: $event,
                level: Level::$level,
                course: or_step!($($course)?),
                reason: or_none!($(Some($reason))?),
                texts: &[$text $(, $other)?],
                fields: &[$($(stringify!($key)),+)?],
                meaning: $meaning,
            },)+];

            /// The name of the log line. A name never changes its meaning.
            pub fn event(&self) -> &'static str {
                match self { $(Self::$name { .. } => $event,)+ }
            }

            /// How much attention the report asks for.
            pub fn level(&self) -> Level {
                match self { $(Self::$name { .. } => Level::$level,)+ }
            }

            /// The course that its row says.
            fn course_of_row(&self) -> Course {
                match self { $(Self::$name { .. } => or_step!($($course)?),)+ }
            }

            /// The reason of the Event on the Node, if there is one.
            pub fn reason(&self) -> Option<&'static str> {
                match self { $(Self::$name { .. } => or_none!($(Some($reason))?),)+ }
            }

            /// The text of the log line.
            pub fn text(&self) -> &'static str {
                match self {
                    $(Self::$name $(($($value),+))? $({ $($field),+ })? => {
                        $(if $condition { return $other; })?
                        $text
                    })+
                }
            }

            /// The other fields of the log line.
            pub fn fields(&self) -> Fields {
                match self {
                    $(Self::$name $(($($value),+))? $({ $($field),+ })? => Fields {
                        $($($key: Option::from($given),)+)?
                        ..Fields::default()
                    },)+
                }
            }

            /// What the report counts in the metrics, if anything.
            pub fn count(&self) -> Option<Count> {
                match self {
                    $(Self::$name $(($($value),+))? $({ $($field),+ })? => or_none!($($count)?),)+
                }
            }

            /// The message to people, if the report is one.
            pub fn message(&self) -> Option<Message> {
                match self {
                    $(Self::$name $(($($value),+))? $({ $($field),+ })? => or_none!($($message)?),)+
                }
            }
        }
    };
}

reports! {
    /// The host is going down, or does not say whether it is: the agent only waits.
    HostBusy(shutdown: Shutdown)
        "host_busy" Warning as Repeated "RebootHostBusy"
        says "the host is going down, as its init or logind says: the agent only waits; \
              if the host stays up, look at its jobs with systemctl list-jobs, or cancel the shutdown with shutdown -c"
        or "the host does not say whether it is going down: the agent only waits; \
            if its init hangs, look at the host; a host without systemd needs a --shutdown-check-command of its own" if shutdown.unknown().is_some();
        with reason = if shutdown.unknown().is_some() { "unknown" } else { "shutdown" },
            why = shutdown.unknown().cloned();
        means "The agent touches nothing while the host may be going down. `reason=shutdown`: wait for the host. \
               `reason=unknown`: the host could not be asked; fix what `why` names"

    /// An earlier agent process of this boot told the host to reboot for this hold. The shutdown may not show yet, so the agent waits.
    HostTold(holder: String)
        "host_told" Warning as Repeated "RebootHostTold"
        says "an earlier agent process told the host to reboot for this hold: \
              waiting until the host goes down, or --reboot-timeout is over; if it does not go down, look at the host"
        with why = holder.clone();
        means "The agent restarted after it had begun the reboot; `why` names the hold. Nothing to do: the agent \
               goes on when the host has booted, or when `--reboot-timeout` is over"

    /// The marks on the Node belong to another Node object or cannot be read, so the agent leaves them alone.
    Foreign(why: String)
        "marks_foreign" Warning as Repeated "HoldNotOurs"
        says "the agent leaves the marks on the Node alone; if no reboot is under way, remove them by hand: \
              a denied uncordon of the Node prints the commands, and so does docs/operating.md, under 'A holder that is dead'"
        with why = why.clone();
        means "The marks cannot be read, or name another Node object, as `why` says. The agent waits for a person: \
               [operating.md](operating.md#marks-that-an-agent-does-not-trust) has the commands"

    /// The agent restarted, found its own hold, and goes on from that hold's phase.
    Resumed(hold: Hold)
        "resumed" Info "RebootResumed"
        says "found our own hold on the Node: going on from its phase"
        with phase = hold.phase.as_str();
        means "The agent restarted and found its own hold, in this `phase`. Nothing to do"

    /// Neither the host's record nor the lock knows the hold that the agent found on its Node, so the agent trusts it as little as it can.
    Unproven
        "unproven" Warning as Remark "HoldUnproven"
        says "neither the host's record nor the lock knows the hold on the Node: if the host has booted since its marks were written, \
              the cordon is given back as they say; if not, the marks are removed and the cordon stays"
        means "Somebody else may have written the marks. Look at the Node: uncordon it if nobody wants it cordoned, cordon it again \
               if the cordon was yours; see [operating.md](operating.md#marks-that-an-agent-does-not-trust)"

    /// The host has booted since the node was cordoned, as this evidence shows.
    Booted(evidence: BootEvidence)
        "booted" Info
        says "the host has booted since its node was cordoned"
        with by = evidence.as_str().to_owned();
        means "The agent goes on with the node's return; `by` is what shows the new boot. Nothing to do"

    /// These blockers postpone the reboot.
    Blocked(blockers: Vec<Blocker>)
        "blocked" Warning as Wait "RebootBlocked"
        says "the reboot is postponed"
        with by = kinds(blockers.iter().map(Blocker::kind)), why = sentences(blockers);
        sends (!opens_by_itself(blockers)).then_some(Message::Blocked);
        means "`by` names what postpones the reboot: the table says what to do about each kind. A node that is \
               drained already waits for `--drain-timeout`, or without one for `--reboot-timeout`; then the reboot is called off, \
               and at once if the window opens later than that"

    /// A question about a blocker has had no answer for longer than `--blocker-timeout`, so it blocks no longer.
    BlockerWaived(blocker: Blocker)
        "blocker_waived" Warning as Remark "RebootBlockerWaived"
        says "nobody answered for longer than --blocker-timeout: the reboot no longer waits for that answer"
        with why = blocker.to_string();
        means "`why` says who was asked, since when there is no answer, and what to fix. Reported once until there is an answer again"

    /// A cancel on the Node has no effect. The text says why, and what to write instead.
    Ignored(why: String)
        "annotation_ignored" Warning as Remark "RebootAnnotationIgnored"
        says "an annotation on the Node has no effect"
        with why = why.clone();
        means "`why` says what is wrong with the cancel, the deferred uncordon or the request, and the command that has the intended effect"

    /// The agent has written its wish for a reboot on the Node.
    Wished {
        /// The identity of the wish.
        holder: String,
        /// The request that asks for it, in words; `None` if the host alone does.
        request: Option<String>
    }
        "wished" Info "RebootWanted"
        says "a reboot is wanted"
        with by = request.clone();
        counts Some(Count::Wish);
        means "The sentinel asks for a reboot, or a person by a request (`by`), and the Node shows it. The agent now waits for the lock. Nothing to do"

    /// The Node is not in this agent's pool, so no reboot begins.
    NotInPool
        "not_in_pool" Warning as Remark "RebootNotInPool"
        says "no reboot begins: the Node's labels do not match --pool-selector; label the Node, or take the agent off it"
        means "The Node is not in the pool of this agent. Label the Node, or run the pool's agents only on the pool's nodes"

    /// The lock is full, and these are the nodes that have it.
    LockHeld(nodes: BTreeSet<String>)
        "lock_held" Info as Wait "RebootWaitsForLock"
        says "waiting for the lock: other nodes have it, as many as --concurrency allows; \
              kubectl get nodes -L cordonhold.dev/phase shows them"
        with by = joined(nodes);
        means "`by` names the nodes that have the lock. Nothing to do: this node's turn comes"

    /// The same nodes have had the lock for as long as a reboot may take. Each text names one, since when, and how its Node looks.
    LockStalled(holders: Vec<String>)
        "lock_stalled" Warning as Wait "RebootLockStalled"
        says "waiting for the lock: the same nodes have had it for longer than a reboot takes: look at them; \
              if a node never comes back, delete its Node, which frees its place (kured's only once its TTL is over); \
              a place of kured's without a TTL, or one that a person took, has to be removed from the annotation"
        with by = holders.join("; ");
        means "`by` names each holder, since when it holds the lock, and how its Node looks. Bring it back, or delete its Node if it is \
               gone for good; see [operating.md](operating.md#a-holder-that-is-dead)"

    /// The annotation that holds the lock cannot be read.
    LockUnreadable(why: String)
        "lock_unreadable" Warning as Wait "RebootLockUnreadable"
        says "waiting: the lock cannot be read"
        with why = why.clone();
        means "No node of the pool begins a reboot until the agents can read the annotation that holds the lock. `why` says what is wrong \
               with it, and where it is"

    /// This node has got the lock.
    Locked
        "locked" Info "RebootLocked"
        says "this node has the lock"
        means "The node has a place in the lock; the agent cordons it next. Nothing to do"

    /// The node is cordoned and the drain begins.
    Draining {
        /// Whether somebody had cordoned the node before the reboot was prepared.
        was_unschedulable: bool,
        /// Which drain of this hold it is, counted from 1.
        round: u8
    }
        "draining" Info "RebootDraining"
        says "the node is cordoned and held: draining it"
        with was_unschedulable = *was_unschedulable, round = *round;
        counts Some(Count::Drain(DrainResult::Begun));
        sends Some(Message::Drain);
        means "`was_unschedulable` is true if somebody had cordoned the node before; then it stays cordoned after the reboot, unless an uncordon is kept meanwhile. \
               `round` counts the drains of this hold, from 1. Nothing to do"

    /// The drain goes on, and this is how far it has come.
    Progress(progress: Progress)
        "drain_progress" Info as Remark
        says "waiting for pods to leave the node"
        with why = progress.to_string();
        means "`why` says how many pods have left, and which are still there. Nothing to do"

    /// The drain is blocked, and this is how far it has come. Reported when the blockers change, and while they stay.
    DrainBlocked(progress: Progress)
        "drain_blocked" Warning as Repeated "RebootDrainBlocked"
        says "the drain is blocked and keeps trying: fix what blocks it, limit the drain with --drain-timeout, or cancel the reboot"
        with why = progress.to_string();
        means "`why` names what blocks the drain, such as PodDisruptionBudgets, webhooks, owners that put pods back, or attached volumes. \
               Help those pods leave, or cancel the reboot; `--drain-timeout` limits the wait"

    /// The drain took longer than `--drain-timeout`, and `--force-reboot` goes on without its end. The value is the last known
    /// progress of the drain.
    Forced(progress: Option<Progress>)
        "forced" Warning "RebootForced"
        says "the drain took longer than --drain-timeout: going on although pods are left, by --force-reboot"
        with why = progress.as_ref().map(Progress::to_string);
        counts Some(Count::Drain(DrainResult::Forced));
        means "`why` says what is left on the node. If such pods must not go down with the node, run without `--force-reboot`"

    /// Pods of these owners stay and go down with the node, because their owner put them back each time they were evicted.
    PodsKept(controllers: BTreeSet<String>)
        "pods_left" Warning as Remark "RebootPodsLeft"
        says "pods that tolerate the taints of the cordon and of Cordonhold were put back on the node three times: \
              they stay, and go down with the node; --returning-pods=wait would wait for them"
        with by = joined(controllers);
        means "`by` names the pods' owners. If those pods should leave, remove their toleration of the taint `cordonhold.dev/rebooting`"

    /// Nothing is left to evict, or the drain was given up; the delay before the reboot begins.
    Delaying {
        /// Whether the drain was given up because of `--force-reboot`.
        is_forced: bool
    }
        "delaying" Info "RebootDrained"
        says "the drain is over: --reboot-delay begins"
        or "the drain is given up: --reboot-delay begins" if *is_forced;
        counts (!is_forced).then_some(Count::Drain(DrainResult::Done));
        means "The agent watches the node for `--reboot-delay`, then makes the final check. Nothing to do"

    /// Something undid the drain, or may have.
    Disturbed {
        /// What undid it.
        by: Disturbance,
        /// What the agent does now.
        next: Next
    }
        "disturbed" Warning "RebootDisturbed"
        says "the drain was disturbed: its result no longer counts"
        with reason = by.word(), next = next.word(),
            pods = by.pods().map(first_pods), pod_count = by.pods().map(<[String]>::len);
        counts Some(Count::Disturbance(by.word()));
        means "`reason` says what happened, `next` what the agent does now; `pods` names the first of the pods that landed on the node, \
               `pod_count` says how many there are. Find out who uncordons the node or puts pods on it"

    /// The seal is on the Node, and the agent runs the reboot command now.
    Sealed {
        /// Which reboot command of this hold comes next, counted from 1.
        attempt: u8
    }
        "sealed" Info "RebootSealed"
        says "the final check has passed: rebooting now"
        with round = *attempt;
        sends Some(Message::Reboot { attempt: *attempt });
        means "The agent runs the reboot command next; `round` counts the commands of this hold, from 1. While the node is sealed a cancel does nothing, except after two reboot commands \
               that came to nothing (`still_sealed`). Nothing to do"

    /// The reboot command was accepted.
    Rebooting
        "rebooting" Info "Rebooting"
        says "the reboot command was accepted"
        counts Some(Count::Reboot(RebootResult::Issued));
        means "The host goes down. Nothing to do"

    /// The reboot command failed.
    RebootFailed(why: String)
        "reboot_failed" Error "RebootFailed"
        says "the reboot command, signal or call failed: try it on the host, or name another with --reboot-command or --reboot-method"
        with why = why.clone();
        counts Some(Count::Reboot(RebootResult::Failed));
        sends Some(Message::Failed);
        means "`why` is what the command or logind said, why the signal was not sent, or why it is unclear whether it worked. \
               Fix the host, `--reboot-command` or `--reboot-method`. \
               The agent asks the host whether it goes down: at once, or after `--reboot-timeout` if it is unclear. \
               If not, the node is drained again; after the second command it stays sealed instead (`still_sealed`)"

    /// The reboot command was run and the host does not go down. The node stays sealed.
    StillSealed(why: String)
        "still_sealed" Error as Wait "RebootStuck"
        says "the host does not go down: the node stays cordoned until somebody has looked at the host"
        with why = why.clone();
        counts Some(Count::Reboot(RebootResult::Stuck));
        sends Some(Message::Stuck);
        means "Look at the host; `why` says what the agent waits for. If two reboot commands had no effect, cancel the hold, or \
               remove what asks for the reboot"

    /// A cancel came after the seal, so the reboot goes on. The text is the cancel's reason.
    TooLateToCancel(why: String)
        "too_late_to_cancel" Warning as Remark "RebootTooLateToCancel"
        says "a cancel came too late: the final check has passed, and the reboot goes on"
        with why = quoted(why);
        means "The host may be going down already; `why` is the reason in the cancel. \
               To keep the node from its next reboot, pause it"

    /// The host has booted; the agent waits for the node to be Ready.
    Returned
        "returned" Info "Rebooted"
        says "the host has booted: waiting for the node to be Ready; kubectl describe node says what is missing"
        counts Some(Count::Reboot(RebootResult::Returned));
        means "The node is uncordoned once it is Ready, has what `--ready-when` names, and `--soak` is over. If it does not become Ready, \
               look at its kubelet"

    /// The node is Ready and lacks something that `--ready-when` names, so its cordon is not given back yet. Reported when that changes.
    ReturnWaits(missing: Vec<Missing>)
        "return_waits" Info as Wait "RebootReturnWaits"
        says "the node is back and stays cordoned: it lacks something that --ready-when names"
        with by = kinds(missing.iter().map(Missing::kind)), why = sentences(missing);
        means "`why` names what is missing: a `condition` of the Node, an expression (`cel`), or `daemonset_pods` that are not Ready. `unknown`: the API server \
               could not be asked. Nothing to do, unless it goes on for minutes"

    /// The node is Ready and has what `--ready-when` names: the soak begins.
    Soaking
        "soaking" Info "RebootNodeReady"
        says "the node is Ready: its cordon is given back after --soak"
        means "The node must stay Ready for `--soak`; if it does not, the soak begins anew. Nothing to do"

    /// The node is not ready after `--ready-timeout`. It stays cordoned, and the agent goes on waiting.
    ReturnOverdue(missing: Vec<Missing>)
        "return_overdue" Warning as Wait "RebootReturnOverdue"
        says "the host is back, and its node is not ready after --ready-timeout: it stays cordoned until it is; \
              a cancel of the reboot gives the cordon back all the same"
        with by = kinds(missing.iter().map(Missing::kind)), why = sentences(missing);
        means "`why` names what is missing: `ready` (look at the kubelet), a `condition` of the Node, an expression (`cel`), `daemonset_pods` that are not Ready, \
               or `unknown` (the API server could not be asked). Bring it there, or cancel the reboot, which uncordons the node as it is. \
               Reported again each time that `--ready-timeout` is over"

    /// Somebody asked for an uncordon while the node was held. It is done when the hold ends.
    UncordonDeferred(uncordon: DeferredUncordon)
        "uncordon_deferred" Info as Remark "UncordonDeferred"
        says "somebody asked for an uncordon while the node is held: it is done when the hold ends, unless cordonhold.dev/keep-cordoned is set"
        with by = quoted(&uncordon.user);
        means "`by` is the user who asked, as the webhook noted it on the Node (mode `defer`). Nothing to do; set `cordonhold.dev/keep-cordoned` \
               if the node is to stay cordoned after the reboot"

    /// The node's cordon is as it was before the reboot was prepared, or as a person wants it.
    GivenBack {
        /// Whether the node stays cordoned.
        unschedulable: bool,
        /// Whether the host has booted, rather than the reboot been called off.
        is_back: bool,
        /// The user whose deferred uncordon was done.
        wanted_by: Option<String>
    }
        "given_back" Info "RebootGivenBack"
        says "the marks are removed, and so is the cordon, unless the node is to stay cordoned"
        or "the marks are removed, and so is the cordon, as somebody asked for it while the node was held" if wanted_by.is_some();
        with unschedulable = *unschedulable, by = wanted_by.as_deref().map(quoted);
        sends (*is_back && !unschedulable).then_some(Message::Uncordon);
        means "`unschedulable` is true if the node stays cordoned, because somebody had cordoned it before or set \
               `cordonhold.dev/keep-cordoned`. Then uncordon it yourself. `by` is the user whose uncordon was deferred while the node was held, and is done now"

    /// The lock entry is kept until `--lock-release-delay` is over.
    ReleaseDelayed
        "release_delayed" Info "RebootReleaseDelayed"
        says "the lock is kept until --lock-release-delay is over"
        means "The next node begins after `--lock-release-delay`. Nothing to do"

    /// The lock entry is gone; the cycle is over.
    Released
        "released" Info "RebootReleased"
        says "the lock is released: the cycle is over"
        means "The next node may begin. Nothing to do"

    /// The reboot is called off, and the cordon is given back.
    CalledOff(reason: CallOff)
        "called_off" Warning "RebootCalledOff"
        says "the reboot is called off"
        with reason = reason.word(),
            by = reason.disturbance().map(|by| by.word().to_owned()),
            why = reason.why(),
            pods = reason.disturbance().and_then(Disturbance::pods).map(first_pods),
            pod_count = reason.disturbance().and_then(Disturbance::pods).map(<[String]>::len);
        counts Some(Count::CalledOff(reason.word()));
        sends Some(Message::CalledOff);
        means "`reason` says why; if the drain was disturbed, `by` says by what, and `pods` and `pod_count` are as in `disturbed`. \
               The agent waits for `--backoff`, then begins again if the host still asks for a reboot"

    /// The same request was refused again and again. The agent keeps trying.
    Refused {
        /// What the request is for.
        what: &'static str,
        /// How it is refused.
        why: String
    }
        "refused" Warning as Repeated "RebootRefused"
        says "a request is refused again and again, and the reboot waits for it: fix what the refusal names"
        with reason = *what, why = why.clone();
        means "`reason` is what the agent tries to do, and `why` is the refusal. Fix what it names; the agent keeps trying"

    /// A request failed and is tried again.
    Retrying {
        /// What the request is for.
        what: &'static str,
        /// How it failed.
        why: String
    }
        "retrying" Warning as Remark
        says "a request failed and is tried again"
        with reason = *what, why = why.clone();
        counts Some(Count::Retry(what));
        means "`reason` is what the agent tries to do, and `why` is how it failed. Nothing to do, unless it goes on for minutes"

    /// An answer came that this stage of the cycle does not expect, which is a bug in the agent.
    Unexpected {
        /// The stage of the cycle.
        stage: &'static str,
        /// What the answer was to.
        answer: &'static str
    }
        "unexpected_answer" Error as Remark "RebootAgentBug"
        says "the agent got an answer that it did not expect, which is a bug in the agent: it ends in two minutes, and the next process goes on from the host's record, else the lock's entry, else the Node"
        with stage = *stage, answer = *answer;
        counts Some(Count::UnexpectedAnswer);
        means "A bug in the agent: report it with `stage` and `answer`. Two minutes later the agent ends; the kubelet starts it again, and \
               it goes on from the host's record, else the lock's entry, else the marks on the Node"
}

/// Whether nothing but a closed window blocks.
fn opens_by_itself(blockers: &[Blocker]) -> bool {
    let is_window = |blocker: &Blocker| matches!(blocker, Blocker::OutsideWindow { .. });
    blockers.iter().all(is_window)
}

impl Report {
    /// How its Events follow each other. Nobody needs to be reminded of a window, which may open in days.
    pub fn course(&self) -> Course {
        match self {
            Report::Blocked(blockers) if opens_by_itself(blockers) => Course::Timed,
            report => report.course_of_row(),
        }
    }

    /// The report as one sentence, which is the note of its Event.
    pub fn sentence(&self) -> String {
        self.sentence_of(self.text())
    }

    /// Another text in place of the report's, followed by the fields that say why.
    pub fn sentence_of(&self, text: &str) -> String {
        self.fields().sentence(text)
    }
}
