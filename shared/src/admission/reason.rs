//! Why a request passes or does not: the one vocabulary of messages, log, metrics, audit annotations, Events and flags.
//!
//! Not here: which request has which reason ([`super::decide`]).

use super::Outcome;

/// Whose hold a reason is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Ours, or nobody's.
    Ours,
    /// Stock kured's.
    Kured,
}

/// One row for each reason: its name, its code, what it comes to in mode `enforce`, whose hold it is about, and when it is given.
/// What it says to people is in `text.rs`, which does not compile without it.
macro_rules! reasons {
    ($($name:ident $code:literal $outcome:ident $subject:ident $rule:literal)+) => {
        /// Why. The code is stable; new ones may be added.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $rule] $name,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Reason] = &[$(Reason::$name,)+];

            /// The stable code.
            pub fn code(self) -> &'static str {
                match self { $(Reason::$name => $code,)+ }
            }

            /// What it comes to in mode `enforce`, where no flag of its own says otherwise.
            pub fn outcome(self) -> Outcome {
                match self { $(Reason::$name => Outcome::$outcome,)+ }
            }

            /// Whose hold it is about.
            pub fn subject(self) -> Subject {
                match self { $(Reason::$name => Subject::$subject,)+ }
            }

            /// The rule that gives it, in a few words.
            pub fn rule(self) -> &'static str {
                match self { $(Reason::$name => $rule,)+ }
            }
        }
    };
}

reasons! {
    NothingOfOurs   "nothing-of-ours"  Allow Ours  "no cordon cleared, no mark, no cancel changed; not logged"
    Owner           "owner"            Allow Ours  "the agent of this very node (ServiceAccount and the token's node); an agent that edits kured's lock"
    NotOwnNode      "not-own-node"     Deny  Ours  "any write of an agent's ServiceAccount to a Node that its token does not name"
    Override        "override"         Allow Ours  "a cancel, written alone, with the RBAC verb `override` on `rebootholds.cordonhold.dev`"
    NoOverride      "no-override"      Deny  Ours  "a cancel without the RBAC verb `override`"
    BadCancel       "bad-cancel"       Deny  Ours  "a cancel that ends nothing: it names no hold or another one, or gives no reason"
    CancelAlone     "cancel-alone"     Deny  Ours  "a cancel together with anything else of ours"
    SpoofedHold     "spoofed-hold"     Deny  Ours  "marks put on a Node that has none, or created with it"
    Cancelled       "cancelled"        Flag  Ours  "the Node's cancel names its hold: uncordon and removal of marks pass"
    TooLate         "too-late"         Deny  Ours  "the Node's cancel names its hold, but the reboot is under way"
    NotHeld         "not-held"         Allow Ours  "an uncordon of a Node that nobody holds"
    Lapsed          "lapsed"           Flag  Ours  "an uncordon more than 5 min 30 s after `until`"
    Held            "held"             Deny  Ours  "an uncordon of a held Node"
    TamperedHold    "tampered-hold"    Deny  Ours  "an annotation or label of a hold, or what its agent obeys beside them, changed by someone else than its owner"
    TamperedTaint   "tampered-taint"   Deny  Ours  "the taint of a hold changed by someone else than its owner"
    HeldDeleted     "held-deleted"     Flag  Ours  "the DELETE of a held Node; denied with `--on-delete=deny`"
    Exempt          "exempt"           Allow Ours  "a user or group of `--exempt-user` or `--exempt-group`"
    KuredHeld       "kured-held"       Deny  Kured "an uncordon of a Node that stock kured's lock names"
    KuredMarked     "kured-marked"     Flag  Kured "an uncordon of a Node that carries kured's mark; denied with `--protect-kured=marks`"
    KuredExpired    "kured-expired"    Flag  Kured "an uncordon of a Node whose entry in stock kured's lock is over by its own TTL"
    KuredOwner      "kured-owner"      Allow Kured "kured itself, on the node that its token names; on every node where the token names none, with `--kured-token-without-node=allow`"
    OwnEntry        "own-entry"        Allow Kured "an edit of kured's lock by a pod's token, of the entry of its own node"
    NotOwnEntry     "not-own-entry"    Deny  Kured "an edit of kured's lock by a pod's token, of the entry of another node"
    LockEdited      "lock-edited"      Flag  Kured "an edit of kured's lock by people"
    LockUnreadable  "lock-unreadable"  Deny  Kured "kured's lock cannot be understood"
    LookupFailed    "lookup-failed"    Deny  Ours  "the API server did not answer what had to be known; for kured's lock `--on-lookup-failure=allow` makes it a flag"
    MalformedReview "malformed-review" Deny  Ours  "the review cannot be read"
    InternalError   "internal-error"   Deny  Ours  "a defect; `cordonhold_webhook_panics_total` counts panics"
}
