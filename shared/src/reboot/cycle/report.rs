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
    /// What the report means.
    pub meaning: &'static str,
    /// Where to look.
    pub look: &'static str,
    /// What to do about it.
    pub mend: &'static str,
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
/// * `means`, `look` and `mend`: what the report means, where to look and what to do, for `docs/events.md`. Sentences are separated by a
///   line break, and the last one has no full stop.
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
            look $look:literal
            mend $mend:literal
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
                look: $look,
                mend: $mend,
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
        means "The host may be going down, so the agent touches nothing.\n\
               `reason=shutdown`: its init or logind says that it goes down.\n\
               `reason=unknown`: the host could not be asked; `why` says what was asked and how it failed"
        look "On the host: `systemctl list-jobs`, and `systemd-inhibit --list` for what delays a shutdown"
        mend "`shutdown`: wait for the host.\n\
               If it is to stay up, cancel the shutdown on it: `shutdown -c`.\n\
               `unknown`: fix what `why` names.\n\
               A host without systemd needs [flags of its own](agent.md#hosts-without-systemd)"

    /// An earlier agent process of this boot told the host to reboot for this hold. The shutdown may not show yet, so the agent waits.
    HostTold(holder: String)
        "host_told" Warning as Repeated "RebootHostTold"
        says "an earlier agent process told the host to reboot for this hold: \
              waiting until the host goes down, or --reboot-timeout is over; if it does not go down, look at the host"
        with why = holder.clone();
        means "An earlier agent process told the host to reboot, and then the agent restarted.\n\
               It waits until the host has booted, or until `--reboot-timeout` is over; `why` names the hold"
        look "On the host: `systemctl list-jobs` shows whether it goes down"
        mend "Nothing to do, unless the host does not go down: then find out on the host what keeps it"

    /// The marks on the Node belong to another Node object or cannot be read, so the agent leaves them alone.
    Foreign(why: String)
        "marks_foreign" Warning as Repeated "HoldNotOurs"
        says "the agent leaves the marks on the Node alone; if no reboot is under way, remove them by hand: \
              a denied uncordon of the Node prints the commands, and so does docs/operating.md, under 'A holder that is dead'"
        with why = why.clone();
        means "The marks on the Node cannot be read, or name another Node object, as `why` says.\n\
               The agent leaves them alone and waits for a person"
        look "`kubectl get node NAME -o yaml`: the label, the annotations and the taint that begin with `cordonhold.dev/`"
        mend "If no reboot is under way, remove the marks by hand: [operating.md](operating.md#marks-that-an-agent-does-not-trust) has \
               the commands"

    /// The agent restarted, found its own hold, and goes on from that hold's phase.
    Resumed(hold: Hold)
        "resumed" Info "RebootResumed"
        says "found our own hold on the Node: going on from its phase"
        with phase = hold.phase.as_str();
        means "The agent restarted, found its own hold in this `phase`, and goes on from there"
        look "`kubectl get node NAME -L cordonhold.dev/phase`"
        mend "Nothing to do"

    /// Neither the host's record nor the lock knows the hold that the agent found on its Node, so the agent trusts it as little as it can.
    Unproven
        "unproven" Warning as Remark "HoldUnproven"
        says "neither the host's record nor the lock knows the hold on the Node: if the host has booted since its marks were written, \
              the cordon is given back as they say; if not, the marks are removed and the cordon stays"
        means "The Node has the marks of a hold that neither the record on the host nor the lock knows, so somebody else may have \
               written them.\n\
               If they name an earlier boot of the host than this one, the agent gives the cordon back as they say.\n\
               If not, it removes them, and the cordon stays"
        look "`kubectl get node NAME`: whether the node is cordoned now"
        mend "If nobody wants it cordoned: `kubectl uncordon NAME`.\n\
               If the cordon was yours and is gone: `kubectl cordon NAME`.\n\
               [operating.md](operating.md#marks-that-an-agent-does-not-trust) has more"

    /// The host has booted since the node was cordoned, as this evidence shows.
    Booted(evidence: BootEvidence)
        "booted" Info
        says "the host has booted since its node was cordoned"
        with by = evidence.as_str().to_owned();
        means "The host has booted since its node was cordoned, and the agent goes on with the node's return.\n\
               `by` is what shows the new boot"
        look "`kubectl get node NAME -L cordonhold.dev/phase`"
        mend "Nothing to do"

    /// These blockers postpone the reboot.
    Blocked(blockers: Vec<Blocker>)
        "blocked" Warning as Wait "RebootBlocked"
        says "the reboot is postponed"
        with by = kinds(blockers.iter().map(Blocker::kind)), why = sentences(blockers);
        sends (!opens_by_itself(blockers)).then_some(Message::Blocked);
        means "Something postpones the reboot: `by` has its kind, and `why` the details.\n\
               A node that is drained already waits for `--drain-timeout` at most, or without one for `--reboot-timeout`; then its \
               reboot is called off.\n\
               If the next window opens later than that, its reboot is called off at once"
        look "`kubectl cordonhold why NAME`"
        mend "As the table says for each kind"

    /// A question about a blocker has had no answer for longer than `--blocker-timeout`, so it blocks no longer.
    BlockerWaived(blocker: Blocker)
        "blocker_waived" Warning as Remark "RebootBlockerWaived"
        says "nobody answered for longer than --blocker-timeout: the reboot no longer waits for that answer"
        with why = blocker.to_string();
        means "A blocker has given no answer for longer than `--blocker-timeout`, so the reboot no longer waits for it.\n\
               This is said once, until there is an answer again"
        look "`why` says who was asked, and since when there is no answer"
        mend "Fix what `why` names, such as an address or a permission"

    /// A cancel on the Node has no effect. The text says why, and what to write instead.
    Ignored(why: String)
        "annotation_ignored" Warning as Remark "RebootAnnotationIgnored"
        says "an annotation on the Node has no effect"
        with why = why.clone();
        means "A cancel, a deferred uncordon or a request on the Node has no effect; `why` says why not"
        look "`kubectl get node NAME -o yaml`: the annotation that `why` names"
        mend "Run the command that `why` has; it does what was meant"

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
        means "The host asks for a reboot by its sentinel, or a person by a request (`by`), and the Node shows it.\n\
               The agent now waits for the lock, and for what postpones the reboot"
        look "`kubectl cordonhold why NAME`"
        mend "Nothing to do"

    /// The Node is not in this agent's pool, so no reboot begins.
    NotInPool
        "not_in_pool" Warning as Remark "RebootNotInPool"
        says "no reboot begins: the Node's labels do not match --pool-selector; label the Node, or take the agent off it"
        means "The Node's labels do not match the `--pool-selector` of its agent, so no reboot begins"
        look "`kubectl get node NAME --show-labels`, and the selectors: `kubectl -n cordonhold get leases -o yaml`, the annotations \
               `cordonhold.dev/pool-selector`"
        mend "Label the Node: `kubectl label node NAME KEY=VALUE`.\n\
               Or let the pool's agents run only on the pool's nodes: [Pools](install.md#pools)"

    /// The lock is full, and these are the nodes that have it.
    LockHeld(nodes: BTreeSet<String>)
        "lock_held" Info as Wait "RebootWaitsForLock"
        says "waiting for the lock: other nodes have it, as many as --concurrency allows; \
              kubectl get nodes -L cordonhold.dev/phase shows them"
        with by = joined(nodes);
        means "Other nodes have the lock, as many as `--concurrency` allows; `by` names them"
        look "`kubectl get nodes -L cordonhold.dev/phase`"
        mend "Nothing to do: this node's turn comes"

    /// The same nodes have had the lock for as long as a reboot may take. Each text names one, since when, and how its Node looks.
    LockStalled(holders: Vec<String>)
        "lock_stalled" Warning as Wait "RebootLockStalled"
        says "waiting for the lock: the same nodes have had it for longer than a reboot takes: look at them; \
              if a node never comes back, delete its Node, which frees its place (kured's only once its TTL is over); \
              a place of kured's without a TTL, or one that a person took, has to be removed from the annotation"
        with by = holders.join("; ");
        means "The same nodes have had the lock for longer than a reboot takes.\n\
               `by` names each of them, since when it has its place, and how its Node looks"
        look "`kubectl cordonhold status`, and `kubectl cordonhold why` for each node that `by` names"
        mend "Bring that node back.\n\
               If it is gone for good: `kubectl delete node` with its name, which frees its place.\n\
               For a dead agent, a place of kured's, or one that a person took: [a holder that is \
               dead](operating.md#a-holder-that-is-dead)"

    /// The annotation that holds the lock cannot be read.
    LockUnreadable(why: String)
        "lock_unreadable" Warning as Wait "RebootLockUnreadable"
        says "waiting: the lock cannot be read"
        with why = why.clone();
        means "The agents cannot read the annotation that holds the lock, so no node of the pool begins a reboot.\n\
               Or they cannot read which requests were used, or have no room there: then only requests wait.\n\
               `why` says which it is, where the annotation is, and what is wrong with it"
        look "`kubectl -n cordonhold get lease cordonhold-default -o yaml`, or the object that `why` names"
        mend "Correct the annotation that `why` names.\n\
               If that is `cordonhold.dev/lock`, and no node of the pool is held, it can be removed: `kubectl -n cordonhold annotate \
               lease cordonhold-default cordonhold.dev/lock-`.\n\
               If it is `cordonhold.dev/requests-used`, do not remove it: [Ask for a reboot](operating.md#ask-for-a-reboot) says why, \
               and `why` says what to do"

    /// This node has got the lock.
    Locked
        "locked" Info "RebootLocked"
        says "this node has the lock"
        means "The node has a place in the lock; the agent cordons it next"
        look "`kubectl get node NAME -L cordonhold.dev/phase`"
        mend "Nothing to do"

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
        means "The node is cordoned, and its pods are evicted.\n\
               `was_unschedulable` is true if somebody had cordoned the node before; then it stays cordoned after the reboot, unless an \
               uncordon is kept meanwhile.\n\
               `round` counts the drains of this hold, from 1"
        look "`kubectl cordonhold why NAME` shows how far the drain is"
        mend "Nothing to do"

    /// The drain goes on, and this is how far it has come.
    Progress(progress: Progress)
        "drain_progress" Info as Remark
        says "waiting for pods to leave the node"
        with why = progress.to_string();
        means "Pods have yet to leave the node: `why` says how many have left, and which are still there"
        look "`kubectl get pods --all-namespaces --field-selector spec.nodeName=NAME`"
        mend "Nothing to do"

    /// The drain is blocked, and this is how far it has come. Reported when the blockers change, and while they stay.
    DrainBlocked(progress: Progress)
        "drain_blocked" Warning as Repeated "RebootDrainBlocked"
        says "the drain is blocked and keeps trying: fix what blocks it, limit the drain with --drain-timeout, or cancel the reboot"
        with why = progress.to_string();
        means "Something keeps pods on the node, and the agent keeps trying.\n\
               `why` names it, such as a PodDisruptionBudget, a webhook, an owner that puts its pods back, or an attached volume"
        look "`kubectl cordonhold why NAME`; for a budget, `kubectl -n NAMESPACE describe poddisruptionbudget BUDGET`"
        mend "Help those pods leave: let more pods of the budget be Ready, or remove what else keeps them.\n\
               The drain then goes on by itself.\n\
               To call the reboot off: `kubectl cordonhold cancel NAME --reason TEXT`.\n\
               So that it does not last again: `--drain-timeout` limits a drain"

    /// The drain took longer than `--drain-timeout`, and `--force-reboot` goes on without its end. The value is the last known
    /// progress of the drain.
    Forced(progress: Option<Progress>)
        "forced" Warning "RebootForced"
        says "the drain took longer than --drain-timeout: going on although pods are left, by --force-reboot"
        with why = progress.as_ref().map(Progress::to_string);
        counts Some(Count::Drain(DrainResult::Forced));
        means "The drain took longer than `--drain-timeout`, and `--force-reboot` lets the reboot go on.\n\
               `why` says what is left on the node; it goes down with the node"
        look "`kubectl get pods --all-namespaces --field-selector spec.nodeName=NAME`"
        mend "Nothing to do, if such pods may go down with the node.\n\
               If they must not, run without `--force-reboot`"

    /// Pods of these owners stay and go down with the node, because their owner put them back each time they were evicted.
    PodsKept(controllers: BTreeSet<String>)
        "pods_left" Warning as Remark "RebootPodsLeft"
        says "pods that tolerate the taints of the cordon and of Cordonhold were put back on the node three times: \
              they stay, and go down with the node; --returning-pods=wait would wait for them"
        with by = joined(controllers);
        means "Pods that tolerate the taints of the cordon and of Cordonhold were put back on the node three times.\n\
               They stay, and go down with the node; `by` names their owners"
        look "`kubectl get pods --all-namespaces --field-selector spec.nodeName=NAME`"
        mend "Nothing to do, if they may go down with the node.\n\
               If they should leave, remove their toleration of the taint `cordonhold.dev/rebooting`.\n\
               If the drain is to wait for them, set `--returning-pods=wait`"

    /// Nothing is left to evict, or the drain was given up; the delay before the reboot begins.
    Delaying {
        /// Whether the drain was given up because of `--force-reboot`.
        is_forced: bool
    }
        "delaying" Info "RebootDrained"
        says "the drain is over: --reboot-delay begins"
        or "the drain is given up: --reboot-delay begins" if *is_forced;
        counts (!is_forced).then_some(Count::Drain(DrainResult::Done));
        means "The drain is over, or was given up by `--force-reboot`.\n\
               The agent watches the node for `--reboot-delay`, then makes the final check"
        look "`kubectl get node NAME -L cordonhold.dev/phase`"
        mend "Nothing to do"

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
        means "Something undid the drain, or may have, so the agent does not reboot the node as it is.\n\
               `reason` says what happened, `next` what the agent does now.\n\
               `pods` names the first of the pods that landed on the node, `pod_count` says how many there are"
        look "Who it was, if the webhook saw it: `kubectl -n cordonhold logs -l app.kubernetes.io/name=cordonhold-webhook --tail=-1 | \
               grep '\"node\":\"NAME\"'`.\n\
               If it did not, the API server's own audit log knows"
        mend "Keep that program from the node: [who-uncordons.md](who-uncordons.md).\n\
               If the webhook's mode is `audit` or `warn`, set `enforce`; if it was down, see \
               [CordonholdUncordonedWhileHeld](runbooks/CordonholdUncordonedWhileHeld.md)"

    /// The seal is on the Node, and the agent runs the reboot command now.
    Sealed {
        /// Which reboot command of this hold comes next, counted from 1.
        attempt: u8
    }
        "sealed" Info "RebootSealed"
        says "the final check has passed: rebooting now"
        with round = *attempt;
        sends Some(Message::Reboot { attempt: *attempt });
        means "The final check has passed, and the agent runs the reboot command next.\n\
               `round` counts the commands of this hold, from 1.\n\
               While the node is sealed a cancel does nothing, except after two reboot commands that came to nothing (`still_sealed`)"
        look "`kubectl get node NAME -L cordonhold.dev/phase`"
        mend "Nothing to do"

    /// The reboot command was accepted.
    Rebooting
        "rebooting" Info "Rebooting"
        says "the reboot command was accepted"
        counts Some(Count::Reboot(RebootResult::Issued));
        means "The reboot command was accepted, and the host goes down"
        look "`kubectl get node NAME --watch`"
        mend "Nothing to do"

    /// The reboot command failed.
    RebootFailed(why: String)
        "reboot_failed" Error "RebootFailed"
        says "the reboot command, signal or call failed: try it on the host, or name another with --reboot-command or --reboot-method"
        with why = why.clone();
        counts Some(Count::Reboot(RebootResult::Failed));
        sends Some(Message::Failed);
        means "The reboot command, signal or call failed.\n\
               `why` is what the command or logind said, why the signal was not sent, or why it is unclear whether it worked.\n\
               The agent asks the host whether it goes down: at once, or after `--reboot-timeout` if it is unclear.\n\
               If not, the node is drained again; after the second command it stays sealed instead (`still_sealed`)"
        look "On the host: `journalctl -b`, and the command itself, if the node may go down now"
        mend "Fix the host, `--reboot-command` or `--reboot-method`.\n\
               [CordonholdRebootFailed](runbooks/CordonholdRebootFailed.md) has each case"

    /// The reboot command was run and the host does not go down. The node stays sealed.
    StillSealed(why: String)
        "still_sealed" Error as Wait "RebootStuck"
        says "the host does not go down: the node stays cordoned until somebody has looked at the host"
        with why = why.clone();
        counts Some(Count::Reboot(RebootResult::Stuck));
        sends Some(Message::Stuck);
        means "The host does not go down, and the node stays cordoned; `why` says what the agent waits for"
        look "On the host: `systemctl list-jobs`, `systemd-inhibit --list`, `journalctl -b`"
        mend "If two reboot commands had no effect: `kubectl cordonhold cancel NAME --reason TEXT`, or remove what asks for the reboot.\n\
               If the host may still go down, a cancel does nothing: mend what keeps the host"

    /// A cancel came after the seal, so the reboot goes on. The text is the cancel's reason.
    TooLateToCancel(why: String)
        "too_late_to_cancel" Warning as Remark "RebootTooLateToCancel"
        says "a cancel came too late: the final check has passed, and the reboot goes on"
        with why = quoted(why);
        means "A cancel came after the final check, and the reboot goes on: the host may be going down already.\n\
               `why` is the reason in the cancel"
        look "`kubectl get node NAME -L cordonhold.dev/phase`"
        mend "Wait until the node is back.\n\
               To keep it from its next reboot: `kubectl cordonhold pause NAME --reason TEXT`"

    /// The host has booted; the agent waits for the node to be Ready.
    Returned
        "returned" Info "Rebooted"
        says "the host has booted: waiting for the node to be Ready; kubectl describe node says what is missing"
        counts Some(Count::Reboot(RebootResult::Returned));
        means "The host has booted, and the agent waits for its node.\n\
               The node is uncordoned once it is Ready, has what `--ready-when` names, and `--soak` is over"
        look "`kubectl describe node NAME`: the conditions"
        mend "Nothing to do, unless it does not become Ready: then look at its kubelet"

    /// The node is Ready and lacks something that `--ready-when` names, so its cordon is not given back yet. Reported when that changes.
    ReturnWaits(missing: Vec<Missing>)
        "return_waits" Info as Wait "RebootReturnWaits"
        says "the node is back and stays cordoned: it lacks something that --ready-when names"
        with by = kinds(missing.iter().map(Missing::kind)), why = sentences(missing);
        means "The node is Ready, and stays cordoned until it has what `--ready-when` names.\n\
               `why` names what is missing: a `condition` of the Node, an expression (`cel`), or `daemonset_pods` that are not Ready.\n\
               `unknown`: the API server could not be asked"
        look "`kubectl describe node NAME`: the conditions, and the pods on the node"
        mend "Nothing to do, unless it goes on for minutes: then mend what `why` names"

    /// The node is Ready and has what `--ready-when` names: the soak begins.
    Soaking
        "soaking" Info "RebootNodeReady"
        says "the node is Ready: its cordon is given back after --soak"
        means "The node is Ready, and must stay so for `--soak`; if it does not, the soak begins again"
        look "`kubectl get node NAME -L cordonhold.dev/phase`"
        mend "Nothing to do"

    /// The node is not ready after `--ready-timeout`. It stays cordoned, and the agent goes on waiting.
    ReturnOverdue(missing: Vec<Missing>)
        "return_overdue" Warning as Wait "RebootReturnOverdue"
        says "the host is back, and its node is not ready after --ready-timeout: it stays cordoned until it is; \
              a cancel of the reboot gives the cordon back all the same"
        with by = kinds(missing.iter().map(Missing::kind)), why = sentences(missing);
        means "The host is back, and its node is not ready after `--ready-timeout`.\n\
               `why` names what is missing: `ready` (the kubelet), a `condition` of the Node, an expression (`cel`), `daemonset_pods` \
               that are not Ready, or `unknown` (the API server could not be asked).\n\
               It is said again each time that `--ready-timeout` is over"
        look "`kubectl describe node NAME`: the conditions, and the pods on the node"
        mend "Mend what `why` names.\n\
               Or cancel the reboot, which gives the cordon back with the node as it is: `kubectl cordonhold cancel NAME --reason TEXT`"

    /// Somebody asked for an uncordon while the node was held. It is done when the hold ends.
    UncordonDeferred(uncordon: DeferredUncordon)
        "uncordon_deferred" Info as Remark "UncordonDeferred"
        says "somebody asked for an uncordon while the node is held: it is done when the hold ends, unless cordonhold.dev/keep-cordoned is set"
        with by = quoted(&uncordon.user);
        means "Somebody asked for an uncordon while the node is held, and the webhook kept it (mode `defer`): it is done when the hold \
               ends.\n\
               `by` is the user who asked"
        look "`kubectl get node NAME -o yaml`: the annotation `cordonhold.dev/uncordon-wanted`"
        mend "Nothing to do.\n\
               If the node is to stay cordoned after the reboot: `kubectl cordonhold keep NAME --reason TEXT`"

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
        means "The hold is over: its marks are removed, and so is the cordon, unless the node is to stay cordoned.\n\
               `unschedulable` is true if it stays cordoned, because somebody had cordoned it before or set \
               `cordonhold.dev/keep-cordoned`.\n\
               `by` is the user whose uncordon was deferred while the node was held, and is done now"
        look "`kubectl get node NAME`: whether it is cordoned"
        mend "Nothing to do, if the node is schedulable.\n\
               If it stays cordoned, uncordon it yourself once nobody needs the cordon: `kubectl uncordon NAME`"

    /// The lock entry is kept until `--lock-release-delay` is over.
    ReleaseDelayed
        "release_delayed" Info "RebootReleaseDelayed"
        says "the lock is kept until --lock-release-delay is over"
        means "The node keeps its place in the lock until `--lock-release-delay` is over; then the next node may begin"
        look "`kubectl cordonhold status`"
        mend "Nothing to do"

    /// The lock entry is gone; the cycle is over.
    Released
        "released" Info "RebootReleased"
        says "the lock is released: the cycle is over"
        means "The node has no place in the lock any more, and the next node may begin"
        look "`kubectl cordonhold status`"
        mend "Nothing to do"

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
        means "The reboot is called off: `reason` and `why` say why.\n\
               If the drain was disturbed, `by` says by what, and `pods` and `pod_count` are as in `disturbed`.\n\
               The agent waits for `--backoff`, then begins again if the host still asks for a reboot"
        look "`kubectl cordonhold why NAME`"
        mend "Mend what `reason` and `why` name; the table has each reason.\n\
               To keep the agent from trying again: `kubectl cordonhold pause NAME --reason TEXT`"

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
        means "The API server or a webhook refuses a request again and again, and the reboot waits for it.\n\
               `reason` is what the agent tries to do, and `why` is the refusal"
        look "`kubectl cordonhold why NAME`, and the agent's log: `kubectl -n cordonhold get pods -o wide` shows which pod is on the node"
        mend "Fix what `why` names, such as a permission or another webhook; the agent keeps trying"

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
        means "A request failed, and is tried again.\n\
               `reason` is what the agent tries to do, and `why` is how it failed"
        look "The lines that follow in the agent's log"
        mend "Nothing to do, unless it goes on for minutes: then fix what `why` says"

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
        means "The agent got an answer that it did not expect, which is a bug in the agent.\n\
               Two minutes later it ends; the kubelet starts it again, and it goes on from the host's record, else the lock's entry, \
               else the marks on the Node"
        look "The agent's log: the lines with `unexpected_answer`, which have `stage` and `answer`"
        mend "Report it with `stage` and `answer`: [CordonholdDefect](runbooks/CordonholdDefect.md)"
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
