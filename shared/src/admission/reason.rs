//! The reasons why a request passes or is denied. Messages, log, metrics, audit annotations, Events and flags all use their codes.
//!
//! Not here: which request gets which reason ([`super::decide`]).

use super::Outcome;

/// Whether a reason is about a hold of Cordonhold or of stock kured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A hold of Cordonhold, or no hold at all.
    Ours,
    /// A hold of stock kured, or its lock.
    Kured,
}

/// Makes the enum from one row for each reason: name, code, outcome in mode `enforce`, subject, and the rule that gives it.
/// The messages are in `text.rs`, which does not compile until a new reason has one.
macro_rules! reasons {
    ($($name:ident $code:literal $outcome:ident $subject:ident $rule:literal)+) => {
        /// Why a request passes or is denied. Codes never change; new ones may be added.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $rule] $name,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Reason] = &[$(Reason::$name,)+];

            /// The code in messages, log, metrics and flags. It never changes.
            pub fn code(self) -> &'static str {
                match self { $(Reason::$name => $code,)+ }
            }

            /// The outcome in mode `enforce`, unless a flag for this reason changes it.
            pub fn outcome(self) -> Outcome {
                match self { $(Reason::$name => Outcome::$outcome,)+ }
            }

            /// Whether the reason is about a hold of Cordonhold or of stock kured.
            pub fn subject(self) -> Subject {
                match self { $(Reason::$name => Subject::$subject,)+ }
            }

            /// When this reason is given, in a few words.
            pub fn rule(self) -> &'static str {
                match self { $(Reason::$name => $rule,)+ }
            }
        }
    };
}

reasons! {
    NothingOfOurs   "nothing-of-ours"  Allow Ours  "no uncordon, and no mark, cancel or request changed; not logged"
    Owner           "owner"            Allow Ours  "the node's own agent, by its ServiceAccount and its token's node; any agent that edits kured's lock"
    NotOwnNode      "not-own-node"     Deny  Ours  "any write by an agent's ServiceAccount to a Node that its token does not name"
    Override        "override"         Allow Ours  "a cancel, written alone, with the RBAC verb `override` on `rebootholds.cordonhold.dev`"
    NoOverride      "no-override"      Deny  Ours  "a cancel without the RBAC verb `override`"
    BadCancel       "bad-cancel"       Deny  Ours  "a cancel that ends nothing: it names no hold or another one, or gives no reason"
    CancelAlone     "cancel-alone"     Deny  Ours  "a cancel in the same request as an uncordon or a change of marks"
    Requested       "requested"        Allow Ours  "a request for a reboot, or its removal, with the RBAC verb `reboot` on `rebootholds.cordonhold.dev`"
    NoRequest       "no-request"       Deny  Ours  "a request for a reboot, or its removal, without the RBAC verb `reboot`; also on a Node that is created"
    BadRequest      "bad-request"      Deny  Ours  "a request for a reboot that leads to none: it begins with no time or with one that is too old or too far ahead, or gives no reason"
    SpoofedHold     "spoofed-hold"     Deny  Ours  "marks added to a Node that has none, or to a Node that is created"
    Cancelled       "cancelled"        Flag  Ours  "the Node's cancel names its hold: uncordon and removal of marks pass"
    TooLate         "too-late"         Deny  Ours  "the Node's cancel names its hold, but the reboot is under way"
    NotHeld         "not-held"         Allow Ours  "an uncordon of a Node that nobody holds"
    Lapsed          "lapsed"           Flag  Ours  "an uncordon more than 5 min 30 s after `until`"
    Held            "held"             Deny  Ours  "an uncordon of a held Node"
    Deferred        "deferred"         Flag  Ours  "an uncordon of a held Node that is kept until the hold ends, or the removal of such a one by its author"
    TamperedHold    "tampered-hold"    Deny  Ours  "an annotation or label of a hold, or one beside them that the agent acts on, changed by someone other than the node's agent"
    TamperedTaint   "tampered-taint"   Deny  Ours  "the taint of a hold changed by someone other than the node's agent"
    ForgedWish      "forged-wish"      Deny  Ours  "`cordonhold.dev/uncordon-wanted` removed by someone else, or written in another way than by this user's own uncordon under the present hold: for another hold or user, over an earlier uncordon, or through `nodes/status`"
    Probed          "probed"           Allow Ours  "a dry run that writes `cordonhold.dev/probe`: the question whether the webhook is there; the warning has its version, mode and replica"
    StrayProbe      "stray-probe"      Deny  Ours  "`cordonhold.dev/probe` written other than in a dry run, or through `nodes/status`"
    HeldDeleted     "held-deleted"     Flag  Ours  "the DELETE of a held Node; denied with `--on-delete=deny`"
    Exempt          "exempt"           Allow Ours  "a user or group of `--exempt-user` or `--exempt-group`"
    KuredHeld       "kured-held"       Deny  Kured "an uncordon of a Node that stock kured's lock names"
    KuredMarked     "kured-marked"     Flag  Kured "an uncordon of a Node that carries kured's mark; denied with `--protect-kured=marks`"
    KuredExpired    "kured-expired"    Flag  Kured "an uncordon of a Node whose entry in stock kured's lock has expired by its TTL"
    KuredOwner      "kured-owner"      Allow Kured "kured itself, on the node that its token names; with `--kured-token-without-node=allow` and a token that names none, on every node"
    OwnEntry        "own-entry"        Allow Kured "an edit of kured's lock with a pod's token that changes only its own node's entry or removes expired ones"
    NotOwnEntry     "not-own-entry"    Deny  Kured "an edit of kured's lock with a pod's token that changes another node's entry"
    LockEdited      "lock-edited"      Flag  Kured "an edit of kured's lock with a token that names no node, such as a person's"
    LockUnreadable  "lock-unreadable"  Deny  Kured "kured's lock cannot be understood"
    LookupFailed    "lookup-failed"    Deny  Ours  "the API server did not answer a lookup that the decision needs; for kured's lock `--on-lookup-failure=allow` makes it a flag"
    MalformedReview "malformed-review" Deny  Ours  "the review cannot be read"
    InternalError   "internal-error"   Deny  Ours  "a bug in the webhook; `cordonhold_webhook_panics_total` counts panics"
}

/// The reasons whose requests mode [`super::Mode::Defer`] can keep for later: all are about an uncordon of a held Node, or come with one.
const DEFERRABLE: [Reason; 3] = [Reason::Held, Reason::TooLate, Reason::TamperedTaint];

impl Reason {
    /// Whether requests with this reason can be kept for later: [`super::Mode::Defer`] is a mode of its own for them.
    pub fn is_deferrable(self) -> bool {
        DEFERRABLE.contains(&self)
    }

    /// Whether mode `defer` means something for the reason: it can be deferred, or says that something was.
    pub(super) fn takes_defer(self) -> bool {
        self.is_deferrable() || self == Reason::Deferred
    }
}
