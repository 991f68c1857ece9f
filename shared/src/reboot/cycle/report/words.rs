//! The closed sets of words in the fields `reason`, `by` and `next` of a log line, and in the labels of metrics. Each word is a row with
//! its meaning.
//!
//! Not here: the reports that carry these words, see [`super::Report`].

use crate::quote::quoted;
use crate::reboot::blocker::{Blocker, sentences};
use crate::reboot::cycle::Failure;
use crate::reboot::drain::Progress;

/// Defines an enum whose variants are words in a log line or values of a label. One row for each: the variant, the word, and its meaning.
macro_rules! words {
    ($(#[$about:meta])* $type:ident { $($name:ident $(($value:ty))? $word:literal $meaning:literal)+ }) => {
        $(#[$about])*
        pub enum $type {
            $(#[doc = $meaning] $name $(($value))?,)+
        }

        impl $type {
            /// Each word with its meaning.
            pub const WORDS: &[(&'static str, &'static str)] = &[$(($word, $meaning),)+];

            /// The word in a log line or in a label.
            pub fn word(&self) -> &'static str {
                match self { $(Self::$name { .. } => $word,)+ }
            }
        }
    };
}

words! {
    /// What undid a drain, or may have.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    Disturbance {
        Uncordoned "uncordoned" "Somebody cleared the cordon"
        Untainted "untainted" "Somebody removed the taint"
        Tampered "tampered" "Somebody else changed one of the marks"
        Pods(Vec<String>) "pods" "Pods landed on the node"
        Gap "gap" "The watch has a gap, so nobody knows what happened meanwhile"
        SealOver "seal_over" "The reboot command was not run within 10 s of the seal, or it had no effect"
    }
}

words! {
    /// What the agent does after a disturbance.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    Next {
        DrainAgain "drain_again" "The node is cordoned and drained again"
        CallOff "call_off" "The reboot is called off"
    }
}

words! {
    /// Why a reboot was called off.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    CallOff {
        NoLongerWanted "no_longer_wanted" "What asked for it is gone: the host's sentinel, or the request on the Node"
        Cancelled(String) "cancelled" "A person cancelled it; `why` is their reason"
        Blocked(Vec<Blocker>) "blocked" "Something postponed the reboot of the drained node for longer than a drain may take; `why` says what"
        DrainTimeout(Option<Progress>) "drain_timeout" "The drain took longer than `--drain-timeout`; `why` says how far it came"
        Unevictable(String) "unevictable" "A pod can never be evicted; `why` names it and every PodDisruptionBudget that selects it"
        Disturbed(Disturbance) "disturbed" "The drain was disturbed, and `--on-uncordon=abort` is set"
        TooManyRedrains(Disturbance) "too_many_redrains" "The drain was disturbed more often than `--redrains` allows"
        HoldLost "hold_lost" "The marks are no longer on the Node, or belong to another hold"
        EntryLost "entry_lost" "The node's entry in the lock is gone"
        Unproven "unproven" "Only the marks on the Node show the hold; neither the host's record nor the lock knows it"
    }
}

words! {
    /// How a drain went on or ended.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    DrainResult {
        Begun "begun" "The node was cordoned, and its drain began"
        Done "done" "Nothing was left to evict"
        Forced "forced" "Given up after `--drain-timeout`, and rebooted with pods left, by `--force-reboot`"
        Disturbed "disturbed" "Something undid it, or may have"
    }
}

words! {
    /// Why an eviction was refused.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    EvictionRefused {
        Budget "budget" "A PodDisruptionBudget allows none now"
        Other "other" "A webhook, a missing permission, two budgets of one pod, or no answer"
    }
}

words! {
    /// Why nobody knows how long an evicted pod was missing.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    Unmeasured {
        TooLong "too_long" "No replacement was Ready within 15 minutes, or its controller's pods could not be listed"
        TooMany "too_many" "Too many controllers or pods were followed already, or the controller's list of pods is larger than 4 MiB"
        Unlabelled "unlabelled" "The pod has no label by which its controller's pods can be listed"
    }
}

words! {
    /// Why a final check did not end in a seal, beside what disturbed it ([`Disturbance`]).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    Unsealed {
        Blocked "blocked" "Something postpones the reboot; counted at each look"
        Cancelled "cancelled" "A person cancelled it"
        HoldLost "hold_lost" "The marks were no longer on the Node, or belonged to another hold"
        EntryLost "entry_lost" "The node's entry in the lock was gone"
        NoLongerWanted "no_longer_wanted" "The request that asked for it was taken off the Node"
        Conflict "conflict" "Others wrote the Node or the lock faster, again and again"
        Refused "refused" "The API server refused a request"
        Unanswered "unanswered" "A request had no answer"
    }
}

words! {
    /// What became of a reboot.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    RebootResult {
        Issued "issued" "The reboot command was accepted"
        Failed "failed" "The reboot command failed"
        Stuck "stuck" "The host does not go down"
        Returned "returned" "Another boot proves that the host has rebooted"
    }
}

impl Disturbance {
    /// The pods that landed on the node, if that is the disturbance.
    pub(super) fn pods(&self) -> Option<&[String]> {
        match self {
            Disturbance::Pods(pods) => Some(pods),
            Disturbance::Uncordoned
            | Disturbance::Untainted
            | Disturbance::Tampered
            | Disturbance::Gap
            | Disturbance::SealOver => None,
        }
    }
}

impl CallOff {
    /// What disturbed the drain, if that is why.
    pub(super) fn disturbance(&self) -> Option<&Disturbance> {
        match self {
            CallOff::Disturbed(by) | CallOff::TooManyRedrains(by) => Some(by),
            CallOff::NoLongerWanted
            | CallOff::Cancelled(_)
            | CallOff::Blocked(_)
            | CallOff::DrainTimeout(_)
            | CallOff::Unevictable(_)
            | CallOff::HoldLost
            | CallOff::EntryLost
            | CallOff::Unproven => None,
        }
    }

    /// Why in a sentence, if the word alone does not say it all.
    pub(super) fn why(&self) -> Option<String> {
        match self {
            CallOff::Cancelled(why) => Some(quoted(why)),
            CallOff::Blocked(blockers) => Some(sentences(blockers)),
            CallOff::DrainTimeout(progress) => progress.as_ref().map(Progress::to_string),
            CallOff::Unevictable(why) => Some(why.clone()),
            CallOff::NoLongerWanted
            | CallOff::Disturbed(_)
            | CallOff::TooManyRedrains(_)
            | CallOff::HoldLost
            | CallOff::EntryLost
            | CallOff::Unproven => None,
        }
    }
}

impl Unsealed {
    /// What calls a reboot off in the final check, if that is what the check itself has found.
    pub(in crate::reboot::cycle) fn by(reason: &CallOff) -> Option<Unsealed> {
        match reason {
            CallOff::Cancelled(_) => Some(Unsealed::Cancelled),
            CallOff::HoldLost => Some(Unsealed::HoldLost),
            CallOff::EntryLost => Some(Unsealed::EntryLost),
            CallOff::NoLongerWanted => Some(Unsealed::NoLongerWanted),
            // A disturbance is counted as such, and a blocker at each look at it. The others do not come from a check.
            CallOff::Blocked(_)
            | CallOff::DrainTimeout(_)
            | CallOff::Unevictable(_)
            | CallOff::Disturbed(_)
            | CallOff::TooManyRedrains(_)
            | CallOff::Unproven => None,
        }
    }
}

impl From<&Failure> for Unsealed {
    fn from(failure: &Failure) -> Unsealed {
        match failure {
            Failure::Conflict => Unsealed::Conflict,
            Failure::NotFound | Failure::Refused(_) => Unsealed::Refused,
            Failure::Unknown(_) => Unsealed::Unanswered,
        }
    }
}
