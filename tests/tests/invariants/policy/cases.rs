//! The table of cases: what somebody tries on a Node in some state, and what webhook and policy say to it.
//!
//! Not here: how each case is tried (`table.rs`).

use cordonhold_shared::admission::{Reason, UNREADABLE};
use cordonhold_shared::keys;
use cordonhold_shared::node::NodeView;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::state::State;
use crate::subject::{annotate, cordon, uncordon};

/// Who tries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// A cluster-admin, who may cancel too.
    Admin,
    /// A controller that may write Nodes.
    Controller,
    /// The agent of this Node.
    Owner,
    /// The agent of another Node.
    Elsewhere,
    /// The agent of another Node, which somebody has bound to cluster-admin.
    ElsewhereAsAdmin,
    /// The agent of this Node, which somebody has bound to cluster-admin.
    OwnerAsAdmin,
    /// A cluster-admin with the agent's name in another namespace, on this Node.
    Namesake,
}

impl Who {
    pub(super) const ALL: [Who; 7] = [
        Who::Admin,
        Who::Controller,
        Who::Owner,
        Who::Elsewhere,
        Who::ElsewhereAsAdmin,
        Who::OwnerAsAdmin,
        Who::Namesake,
    ];
}

/// What is tried.
#[derive(Clone, Copy)]
pub(super) enum Try {
    /// A JSON merge patch, made for the Node as it is.
    Patch(fn(&NodeView) -> Value),
    /// The same, of `nodes/status`.
    Status(fn(&NodeView) -> Value),
    /// A new Node with these fields.
    Create(fn() -> Value),
    Delete,
}

/// What the policy says, beside the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// The same; if it denies, for the same reason.
    Same,
    /// It lets pass what the webhook denies, because of this.
    Passes(&'static str),
    /// It denies what the webhook lets pass, for this reason, because of this.
    Denies(Reason, &'static str),
}

pub(super) struct Case {
    /// What is tried, for people.
    pub(super) what: &'static str,
    pub(super) state: State,
    pub(super) who: Who,
    pub(super) tries: Try,
    /// The webhook's reason. In mode `enforce` it says whether the request passes.
    pub(super) reason: Reason,
    pub(super) policy: Policy,
}

/// Makes the table: what is tried, the state of the Node, who tries it, how, the webhook's reason, and what the policy says if that is another
/// thing.
macro_rules! cases {
    ($($what:literal, $state:ident, $who:ident, $tries:expr, $reason:ident $(, $policy:expr)?;)+) => {
        /// All cases.
        pub(super) fn cases() -> Vec<Case> {
            vec![$(Case {
                what: $what,
                state: State::$state,
                who: Who::$who,
                tries: $tries,
                reason: Reason::$reason,
                policy: [$($policy,)? Policy::Same][0],
            },)+]
        }
    };
}

cases! {
    "an uncordon of a held node", Draining, Admin, UNCORDON, Held;
    "an uncordon of a held node", Draining, Controller, UNCORDON, Held;
    "an uncordon of a held node", Delaying, Admin, UNCORDON, Held;
    "an uncordon of a held node", Delaying, Controller, UNCORDON, Held;
    "an uncordon of a held node", Sealed, Admin, UNCORDON, Held;
    "an uncordon of a held node", Sealed, Controller, UNCORDON, Held;
    "an uncordon of a held node", Returning, Admin, UNCORDON, Held;
    "an uncordon of a held node", Returning, Controller, UNCORDON, Held;
    "an uncordon of a held node", UnknownPhase, Admin, UNCORDON, Held;
    "an uncordon of a held node", NoHolder, Admin, UNCORDON, Held;
    "an uncordon of a held node", UnreadableUntil, Admin, UNCORDON, Held;
    "an uncordon of a wish that cannot be read", UnreadableWish, Admin, UNCORDON, Held;
    "an uncordon of a hold whose holder has 200,000 characters", LongHolder, Admin, UNCORDON, Held;
    "an uncordon of a wish whose `until` has 200,000 characters", LongUntil, Admin, UNCORDON, Held;
    "an uncordon of a held node, with a label", Delaying, Controller, WITH_LABEL, Held;
    "an uncordon of a hold that was cancelled too late", SealedCancelled, Admin, UNCORDON, TooLate;

    "an uncordon of a free node", Cordoned, Controller, UNCORDON, NotHeld;
    "an uncordon of a wish", Wanted, Controller, UNCORDON, NotHeld;
    "an uncordon of a wish whose time has an offset, as no agent writes it", WishWithOffset, Controller, UNCORDON, NotHeld, OFFSET;
    "an uncordon after a cancel", Cancelled, Controller, UNCORDON, Cancelled;
    "an uncordon after a cancel of an unreadable hold", UnreadableCancelled, Controller, UNCORDON, Cancelled;
    "an uncordon of a sealed node after a cancel and `until`", SealedOver, Controller, UNCORDON, Cancelled;
    "an uncordon of a sealed node after a cancel and `until`, if nobody has written the Node since `until`", SealedQuiet, Controller, UNCORDON, Cancelled, QUIET;
    "an uncordon of a sealed node that was cancelled too late, and whose `until` has an offset, as no agent writes it", SealedOffset, Controller, UNCORDON, TooLate, SEALED_OFFSET;
    "an uncordon of a hold that has lapsed", Lapsed, Controller, UNCORDON, Lapsed;
    "an uncordon of a hold that has lapsed, noted as done", Lapsed, Admin, AND_DONE, Lapsed;
    "an uncordon of a hold that has lapsed while the node's kubelet is silent", LapsedQuiet, Controller, UNCORDON, Lapsed, SILENT;

    "an uncordon of a hold that has lapsed, of another Node of the same name", LapsedAnothers, Controller, UNCORDON, Lapsed, ANOTHER_UID;

    "an uncordon by the node's own agent", Delaying, Owner, UNCORDON, Owner;
    "an uncordon by the node's own agent, if it is bound to cluster-admin", Delaying, OwnerAsAdmin, UNCORDON, Owner, TOO_MIGHTY;
    "a mark put on a free node by its own agent, if it is bound to cluster-admin", Free, OwnerAsAdmin, UNTIL, Owner, TOO_MIGHTY_TO_HOLD;
    "an uncordon by the agent of another node", Delaying, Elsewhere, UNCORDON, NotOwnNode;
    "a label by the agent of another node", Delaying, Elsewhere, LABEL, NotOwnNode;
    "a label by the agent of another node", Free, Elsewhere, LABEL, NotOwnNode;
    "a cancel by the agent of another node", Delaying, Elsewhere, CANCEL, NotOwnNode;
    "a label on a free node by the agent of another node, if it is bound to cluster-admin", Free, ElsewhereAsAdmin, LABEL, NotOwnNode, AN_ADMIN;
    "an uncordon by a cluster-admin with the agent's name in another namespace", Delaying, Namesake, UNCORDON, Held;
    "a label by a cluster-admin with the agent's name in another namespace", Delaying, Namesake, LABEL, NothingOfOurs;

    "a mark removed", Wanted, Admin, NO_HOLDER, TamperedHold;
    "a mark removed", Delaying, Admin, NO_HOLDER, TamperedHold;
    "a mark removed", Lapsed, Admin, NO_HOLDER, TamperedHold;
    "a mark removed", Wanted, Controller, NO_PROOF, TamperedHold;
    "a mark removed", Delaying, Controller, NO_PROOF, TamperedHold;
    "a mark removed", Lapsed, Controller, NO_PROOF, TamperedHold;
    "the phase changed", Wanted, Admin, NEXT_PHASE, TamperedHold;
    "the phase changed", Delaying, Admin, NEXT_PHASE, TamperedHold;
    "the phase changed", Lapsed, Admin, NEXT_PHASE, TamperedHold;
    "the phase removed", Wanted, Controller, NO_PHASE, TamperedHold;
    "the phase removed", Delaying, Controller, NO_PHASE, TamperedHold;
    "the phase removed", Lapsed, Controller, NO_PHASE, TamperedHold;
    "`until` moved", Draining, Admin, EARLIER, TamperedHold;
    "a mark removed through `nodes/status`", Sealed, Admin, STATUS_NO_HOLDER, TamperedHold;
    "all marks removed with the cordon", Sealed, Admin, NO_MARKS, Held;
    "the taint removed", Draining, Controller, NO_TAINT, TamperedTaint;
    "a single mark removed", UntilAlone, Admin, NO_UNTIL, TamperedHold;
    "a single taint removed", TaintAlone, Admin, NO_TAINT, TamperedTaint;
    "a mark put on a free node", Free, Admin, UNTIL, SpoofedHold;
    "a holder put on a free node", Free, Namesake, HOLDER, SpoofedHold;
    "a phase put on a free node", Cordoned, Controller, DRAINING, SpoofedHold;
    "the taint put on a free node", Free, Controller, TAINT, SpoofedHold;
    "the taint put on a free node that has over 500 taints", ManyTaints, Controller, TAINT_MORE, SpoofedHold, TOO_MANY;
    "another taint put on a free node that has over 500 taints", ManyTaints, Controller, NO_TAINT, NothingOfOurs;
    "another taint put on a held node that has over 500 taints", HeldManyTaints, Controller, ANOTHER_TAINT, NothingOfOurs, TOO_MANY_HELD;
    "a label on a held node that has over 500 taints", HeldManyTaints, Controller, LABEL, NothingOfOurs;

    "all marks removed after a cancel", Cancelled, Controller, NO_MARKS, Cancelled;
    "all marks removed after a cancel of an unreadable hold", UnreadableCancelled, Controller, NO_MARKS, Cancelled;
    "the taint removed after a cancel", Cancelled, Controller, NO_TAINT, Cancelled;
    "a mark written after a cancel", Cancelled, Admin, UNTIL, TamperedHold;
    "an uncordon with a mark written, after a cancel", Cancelled, Admin, PROOF_AND_UNCORDON, Held;
    "all marks removed after a cancel that was too late", SealedCancelled, Admin, NO_MARKS, TooLate;
    "a mark removed after a cancel that was too late", SealedCancelled, Admin, NO_HOLDER, TooLate;

    "what the agent obeys, planted on a held node", Delaying, Admin, PLANTED, TamperedHold;
    "what the agent obeys, planted on a wish", Wanted, Admin, PLANTED, TamperedHold;
    "what the agent obeys, planted on a free node", Free, Admin, PLANTED, NothingOfOurs;
    "the agent taken off a held node", Delaying, Controller, DISABLED, TamperedHold;
    "the agent taken off a free node", Free, Controller, DISABLED, NothingOfOurs;
    "the agent taken off after a cancel", Cancelled, Controller, DISABLED, TamperedHold;

    "a cancel with the permission", Delaying, Admin, CANCEL, Override;
    "a cancel with the permission", Sealed, Admin, CANCEL, Override;
    "a cancel without the permission", Delaying, Controller, CANCEL, NoOverride;
    "a cancel of an unreadable hold", NoHolder, Admin, AS_UNREADABLE, Override;
    "a cancel removed", Cancelled, Admin, UNCANCEL, Override;
    "a cancel removed without the permission", Cancelled, Controller, UNCANCEL, NoOverride;
    "a cancel of another hold", Delaying, Admin, ANOTHERS, BadCancel;
    "a cancel as unreadable of a hold that can be read", Delaying, Admin, AS_UNREADABLE, BadCancel;
    "a cancel without a reason", Delaying, Admin, NO_REASON, BadCancel;
    "a cancel of a node without a hold", Free, Admin, ANOTHERS, BadCancel;
    "a cancel with an uncordon", Delaying, Admin, CANCEL_AND_UNCORDON, CancelAlone;
    "a cancel with a mark", Delaying, Admin, CANCEL_AND_MARK, CancelAlone;

    "a request for a reboot with the permission", Free, Admin, REQUEST, Requested;
    "a request for a reboot with the permission", Delaying, Admin, REQUEST, Requested;
    "a request for a reboot without the permission", Free, Controller, REQUEST, NoRequest;
    "a request for a reboot without the permission", Delaying, Controller, REQUEST, NoRequest;
    "a request for a reboot by the agent of another node", Free, Elsewhere, REQUEST, NotOwnNode;
    "a request for a reboot through `nodes/status`", Free, Admin, STATUS_REQUEST, Requested;
    "a request for a reboot that begins with no time", Free, Admin, REQUEST_NO_TIME, BadRequest;
    "a request for a reboot without a reason", Free, Admin, REQUEST_NO_REASON, BadRequest;
    "a request for a reboot of 200,000 characters", Free, Admin, REQUEST_LONG, Requested;
    "a request for a reboot whose time is more than a day ago", Free, Admin, REQUEST_STALE, BadRequest, NO_CLOCK;
    "a request for a reboot whose time is more than 5 minutes ahead", Free, Admin, REQUEST_AHEAD, BadRequest, NO_CLOCK;
    "a request for a reboot whose time has no seconds", Free, Admin, REQUEST_MINUTES, Requested, NO_SECONDS;
    "a request for a reboot whose reason is a no-break space", Free, Admin, REQUEST_BLANK, BadRequest, BLANK;
    "a request for a reboot with an uncordon", Delaying, Admin, REQUEST_AND_UNCORDON, Held;
    "a request for a reboot with an uncordon of a free node", Cordoned, Admin, REQUEST_AND_UNCORDON, Requested;
    "a request for a reboot with an uncordon of a free node, without the permission", Cordoned, Controller, REQUEST_AND_UNCORDON, NoRequest;
    "a node created with a request for a reboot", Free, Admin, CREATE_REQUESTED, Requested;

    "an uncordon that somebody notes on a held node by hand, to be done when the hold ends, without mode `defer`", Delaying, Admin, WANTED, Held, BY_HAND;
    "a kept uncordon in somebody else's name", Delaying, Controller, WANTED, ForgedWish;
    "a kept uncordon over an earlier one", Kept, Admin, WANTED, ForgedWish;
    "a kept uncordon on a free node", Free, Admin, WANTED_EARLIER, ForgedWish;
    "an uncordon noted as done that is not in the request", Delaying, Admin, DONE, ForgedWish;
    "a kept uncordon removed by somebody else", Kept, Admin, UNWANTED, ForgedWish;
    "a kept uncordon removed by its author", Kept, Controller, UNWANTED, Deferred;
    "a kept uncordon removed through `nodes/status`", Kept, Admin, STATUS_UNWANTED, ForgedWish;
    "a kept uncordon of an earlier hold removed", Cordoned, Controller, UNWANTED, NothingOfOurs;

    "a label", Free, Controller, LABEL, NothingOfOurs;
    "a label", Wanted, Controller, LABEL, NothingOfOurs;
    "a label", Delaying, Controller, LABEL, NothingOfOurs;
    "a label", LongHolder, Controller, LABEL, NothingOfOurs;
    "a label", LongUntil, Controller, LABEL, NothingOfOurs;
    "a label", UnknownPhase, Controller, LABEL, NothingOfOurs;
    "a pause", Free, Controller, PAUSE, NothingOfOurs;
    "a pause", Delaying, Controller, PAUSE, NothingOfOurs;
    "a cordon", Free, Controller, CORDON, NothingOfOurs;
    "a cordon", Delaying, Controller, CORDON, NothingOfOurs;
    "a heartbeat", Free, Admin, HEARTBEAT, NothingOfOurs;
    "a heartbeat", Wanted, Admin, HEARTBEAT, NothingOfOurs;
    "a heartbeat", Sealed, Admin, HEARTBEAT, NothingOfOurs;
    "a heartbeat", UnknownPhase, Admin, HEARTBEAT, NothingOfOurs;
    "a heartbeat", LongHolder, Admin, HEARTBEAT, NothingOfOurs;
    "a cancel of a hold whose holder has 200,000 characters", LongHolder, Admin, AS_UNREADABLE, Override;
    "another taint", Free, Controller, ANOTHER_TAINT, NothingOfOurs;
    "another taint", Delaying, Controller, ANOTHER_TAINT, NothingOfOurs;
    "another taint", Kept, Controller, ANOTHER_TAINT, NothingOfOurs;

    "a node created with a phase", Free, Admin, CREATE_IN_PHASE, SpoofedHold;
    "a node created with the taint", Free, Admin, CREATE_TAINTED, SpoofedHold;
    "a node created with the taint among over 1,000", Free, Admin, CREATE_TAINTED_MORE, SpoofedHold, TOO_MANY;
    "a node created without marks", Free, Admin, CREATE, NothingOfOurs;
    "a held node deleted", Delaying, Admin, Try::Delete, HeldDeleted;
    "a held node deleted", UnknownPhase, Admin, Try::Delete, HeldDeleted;
    "a sealed node deleted after a cancel that was too late", SealedCancelled, Admin, Try::Delete, TooLate;
    "a held node deleted after a cancel", Cancelled, Admin, Try::Delete, Cancelled;
    "a held node deleted after a cancel by the agent of another node, if it is bound to cluster-admin", Cancelled, ElsewhereAsAdmin, Try::Delete, NotOwnNode, AN_ADMIN;
    "a held node deleted whose hold has lapsed", Lapsed, Admin, Try::Delete, Lapsed;
    "a wish deleted", Wanted, Admin, Try::Delete, NothingOfOurs;
    "a free node deleted", Free, Admin, Try::Delete, NothingOfOurs;
}

const OFFSET: Policy = Policy::Denies(
    Reason::Held,
    "CEL reads only times as agents write them, in UTC. What it cannot read counts as held",
);
const QUIET: Policy = Policy::Denies(
    Reason::TooLate,
    "CEL has no clock: it takes the time from the kubelet's last heartbeat and from the last write of the Node. Write the cancel once more, with another reason, then it passes",
);
const SILENT: Policy = Policy::Denies(
    Reason::Held,
    "CEL has no clock: a hold lapses once a heartbeat of the node's kubelet is later than `until` and 5 min 30 s. A living kubelet writes one within 7 min 30 s with its default settings; for one that is gone, cancel the hold first",
);
const TOO_MIGHTY: Policy = Policy::Denies(
    Reason::Held,
    "CEL knows an agent by the verb `own`, which a cluster-admin has too, and tells the two apart by the verb `override`. Do not bind the agent's ServiceAccount to more than its role",
);
const TOO_MIGHTY_TO_HOLD: Policy = Policy::Denies(
    Reason::SpoofedHold,
    "as above: such an agent gets no hold, and reboots nothing",
);
const AN_ADMIN: Policy = Policy::Passes("as above: to CEL this is a cluster-admin");
const TOO_MANY: Policy =
    Policy::Passes("CEL has a cost budget, which a look at each of so many taints would use up");
const TOO_MANY_HELD: Policy = Policy::Denies(
    Reason::TamperedTaint,
    "as above. The taints before and after the write count together, and while a node is held, any change of so many counts as one of its hold",
);
const SEALED_OFFSET: Policy = Policy::Passes(
    "CEL reads only times as agents write them, in UTC. It cannot tell this one from an `until` that nobody can read, with which the webhook lets a cancelled hold go too",
);
const ANOTHER_UID: Policy = Policy::Denies(
    Reason::Held,
    "for the policy a hold lapses only if its holder is this very Node. Cancel the hold first",
);
const NO_CLOCK: Policy = Policy::Passes(
    "CEL has no clock. The agent ignores it; one that lies ahead counts from 5 minutes before its time on",
);
const NO_SECONDS: Policy = Policy::Denies(
    Reason::BadRequest,
    "CEL reads only times with seconds, as the plugin writes them",
);
const BLANK: Policy = Policy::Passes("to CEL only an ASCII character is blank. The agent ignores it");
const BY_HAND: Policy = Policy::Passes(
    "the policy does not know whether something defers uncordons. The node stays cordoned until the hold ends",
);

const UNCORDON: Try = Try::Patch(|_| uncordon());
const WITH_LABEL: Try =
    Try::Patch(|_| json!({ "metadata": { "labels": { "team": "a" } }, "spec": { "unschedulable": false } }));
const AND_DONE: Try = Try::Patch(|node| with_uncordon(wanted(node, "done:2026-11-29T10:05:00Z", "admin")));
const PROOF_AND_UNCORDON: Try = Try::Patch(|_| with_uncordon(annotate(keys::WRITE, Some("00"))));
const LABEL: Try = Try::Patch(|_| label());
const PAUSE: Try = Try::Patch(|_| annotate(keys::PAUSE, Some("no")));
const CORDON: Try = Try::Patch(|_| cordon());
const ANOTHER_TAINT: Try = Try::Patch(another_taint);
const HEARTBEAT: Try = Try::Status(|_| heartbeat());

const CANCEL: Try = Try::Patch(|node| cancel(node, "the rack is on fire"));
const NO_REASON: Try = Try::Patch(|node| cancel(node, " "));
const ANOTHERS: Try = Try::Patch(|_| annotate(keys::CANCEL, Some("2026-01-01T00:00:00Z no")));
const AS_UNREADABLE: Try =
    Try::Patch(|_| annotate(keys::CANCEL, Some(&format!("{UNREADABLE} the rack is on fire"))));
const UNCANCEL: Try = Try::Patch(|_| annotate(keys::CANCEL, None));
const CANCEL_AND_UNCORDON: Try = Try::Patch(|node| with_uncordon(cancel(node, "no")));
const CANCEL_AND_MARK: Try = Try::Patch(|node| {
    let mut body = cancel(node, "no");
    body["metadata"]["annotations"][keys::UNTIL] = Value::Null;
    body
});

/// A request that is made now: the core takes no old one.
fn requested(reason: &str) -> Value {
    annotate(
        keys::REBOOT_WANTED,
        Some(&format!("{:.9} {reason}", Timestamp::now())),
    )
}

const REQUEST: Try = Try::Patch(|_| requested("the test: a new kernel"));
const STATUS_REQUEST: Try = Try::Status(|_| requested("the test: a new kernel"));
const REQUEST_NO_TIME: Try = Try::Patch(|_| annotate(keys::REBOOT_WANTED, Some("please do")));
const REQUEST_NO_REASON: Try = Try::Patch(|_| requested(""));
const REQUEST_STALE: Try = Try::Patch(|_| {
    let at = Timestamp::now() - SignedDuration::from_hours(25);
    annotate(keys::REBOOT_WANTED, Some(&format!("{at:.9} the test")))
});
const REQUEST_AHEAD: Try = Try::Patch(|_| {
    let at = Timestamp::now() + SignedDuration::from_hours(6);
    annotate(keys::REBOOT_WANTED, Some(&format!("{at:.9} the test")))
});
const REQUEST_MINUTES: Try = Try::Patch(|_| {
    let at = Timestamp::now().strftime("%Y-%m-%dT%H:%MZ").to_string();
    annotate(keys::REBOOT_WANTED, Some(&format!("{at} the test")))
});
const REQUEST_BLANK: Try = Try::Patch(|_| requested("\u{a0}"));
const REQUEST_LONG: Try = Try::Patch(|_| requested(&"x".repeat(200_000)));
const REQUEST_AND_UNCORDON: Try = Try::Patch(|_| with_uncordon(requested("the test: a new kernel")));
const CREATE_REQUESTED: Try = Try::Create(|| requested("the test: a new kernel"));

const NO_HOLDER: Try = Try::Patch(|_| annotate(keys::HOLDER, None));
const STATUS_NO_HOLDER: Try = Try::Status(|_| annotate(keys::HOLDER, None));
const NO_PROOF: Try = Try::Patch(|_| annotate(keys::WRITE, None));
const NO_UNTIL: Try = Try::Patch(|_| annotate(keys::UNTIL, None));
const NO_PHASE: Try = Try::Patch(|_| phase(None));
const NO_TAINT: Try = Try::Patch(|_| json!({ "spec": { "taints": [maintenance()] } }));
const NO_MARKS: Try = Try::Patch(stripped);
const NEXT_PHASE: Try = Try::Patch(|_| phase(Some("returning")));
const DRAINING: Try = Try::Patch(|_| phase(Some("draining")));
const UNTIL: Try = Try::Patch(|_| annotate(keys::UNTIL, Some("2099-01-01T00:00:00Z")));
const EARLIER: Try = Try::Patch(|_| annotate(keys::UNTIL, Some("2020-01-01T00:00:00Z")));
const HOLDER: Try = Try::Patch(|_| annotate(keys::HOLDER, Some("a/2026-01-01T00:00:00Z")));
const TAINT: Try = Try::Patch(|_| tainted());
const TAINT_MORE: Try = Try::Patch(|node| with_taint(node, rebooting()));
const PLANTED: Try = Try::Patch(|_| annotate(keys::GIVEN_BACK, Some("2026-01-01T00:00:00Z 00")));
const DISABLED: Try = Try::Patch(|_| json!({ "metadata": { "labels": { keys::AGENT: keys::DISABLED } } }));

const WANTED: Try = Try::Patch(|node| wanted(node, "-", "admin"));
const WANTED_EARLIER: Try =
    Try::Patch(|_| annotate(keys::UNCORDON_WANTED, Some("2026-01-01T00:00:00Z - admin")));
const DONE: Try = Try::Patch(|node| wanted(node, "done:2026-11-29T10:05:00Z", "admin"));
const UNWANTED: Try = Try::Patch(|_| annotate(keys::UNCORDON_WANTED, None));
const STATUS_UNWANTED: Try = Try::Status(|_| annotate(keys::UNCORDON_WANTED, None));

const CREATE_IN_PHASE: Try = Try::Create(|| phase(Some("draining")));
const CREATE_TAINTED: Try = Try::Create(tainted);
const CREATE_TAINTED_MORE: Try = Try::Create(|| {
    let mut taints = many_taints(1000);
    taints.push(rebooting());
    json!({ "spec": { "taints": taints } })
});
const CREATE: Try = Try::Create(label);

/// The body, and an uncordon.
fn with_uncordon(mut body: Value) -> Value {
    body["spec"] = json!({ "unschedulable": null });
    body
}

fn heartbeat() -> Value {
    let at = "2026-01-01T00:00:00Z";
    json!({ "status": { "conditions": [
        { "type": "Ready", "status": "True", "reason": "a", "message": "b", "lastHeartbeatTime": at, "lastTransitionTime": at },
    ] } })
}

pub(super) fn rebooting() -> Value {
    json!({ "key": keys::REBOOTING, "effect": keys::NO_SCHEDULE })
}

/// A taint of somebody else.
fn maintenance() -> Value {
    json!({ "key": "example.org/maintenance", "effect": "NoSchedule" })
}

/// So many taints of others.
pub(super) fn many_taints(count: usize) -> Vec<Value> {
    (0..count)
        .map(|number| json!({ "key": format!("example.org/t{number}"), "effect": "NoSchedule" }))
        .collect()
}

fn another_taint(node: &NodeView) -> Value {
    with_taint(node, maintenance())
}

/// The Node's taints, and this one.
fn with_taint(node: &NodeView, taint: Value) -> Value {
    let mut taints = json!(node.spec.taints);
    if let Some(taints) = taints.as_array_mut() {
        taints.push(taint);
    }
    json!({ "spec": { "taints": taints } })
}

fn label() -> Value {
    json!({ "metadata": { "labels": { "team": "a" } } })
}

pub(super) fn phase(phase: Option<&str>) -> Value {
    json!({ "metadata": { "labels": { keys::PHASE: phase } } })
}

pub(super) fn tainted() -> Value {
    json!({ "spec": { "taints": [rebooting()] } })
}

/// The `created` of the hold on this Node.
pub(super) fn created(node: &NodeView) -> &str {
    let holder = node.annotation(keys::HOLDER).unwrap_or_default();
    holder.split_once('/').map_or("", |(_, created)| created)
}

pub(super) fn cancel(node: &NodeView, reason: &str) -> Value {
    annotate(keys::CANCEL, Some(&format!("{} {reason}", created(node))))
}

pub(super) fn wanted(node: &NodeView, time: &str, user: &str) -> Value {
    let text = format!("{} {time} {user}", created(node));
    annotate(keys::UNCORDON_WANTED, Some(&text))
}

/// Everything that a hold has put on the Node, taken off in one write, with the cordon.
fn stripped(node: &NodeView) -> Value {
    let marks = keys::MARK_ANNOTATIONS.into_iter();
    let carried = marks.filter(|key| node.annotation(key).is_some());
    let annotations: serde_json::Map<String, Value> =
        carried.map(|key| (key.to_owned(), Value::Null)).collect();
    json!({
        "metadata": { "annotations": annotations, "labels": { keys::PHASE: null } },
        "spec": { "unschedulable": null, "taints": null },
    })
}
