//! What must never be: the invariants of the design, each as what a checker sees when it is broken.

use std::fmt;

/// A way to break an invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Wrong {
    /// HELD-STAYS-CORDONED: the webhook let an uncordon of a held node pass.
    HeldUncordoned,
    /// HELD-STAYS-CORDONED: the webhook let somebody else change the marks.
    MarksChanged,
    /// NO-BLIND-REBOOT: a seal on a Node that is not cordoned, or not held by this hold.
    SealedWithoutCordon,
    /// NO-BLIND-REBOOT: a seal although the cordon was disturbed since the drain.
    SealedAfterDisturbance,
    /// NO-BLIND-REBOOT: a seal without a look at the pods within the unbroken cordon.
    SealedUnlisted,
    /// NO-BLIND-REBOOT: a seal without a confirmed entry.
    SealedUnconfirmed,
    /// NO-BLIND-REBOOT: a reboot without a seal of this very process.
    RebootWithoutSeal,
    /// NO-BLIND-REBOOT: a reboot after the seal's deadline.
    RebootAfterDeadline,
    /// NO-BLIND-REBOOT: the host goes down by a reboot whose seal is no longer on the Node.
    DownUnsealed,
    /// NO-BLIND-REBOOT: the reboot hits pods that came after the seal.
    DownUnderNewPods,
    /// AT-MOST-N: more than N nodes between acquire and release.
    TooManyBetween,
    /// AT-MOST-N: the entry of a live hold was dropped.
    LiveEntryDropped,
    /// AT-MOST-N: more than N hosts in a reboot.
    TooManyDown,
    /// ONE-NODE-ONE-AGENT: an agent wrote to another node.
    OtherNode,
    /// CORDON-GIVEN-BACK: the cordon is not what it was.
    WrongCordon,
    /// NOTHING-STUCK: at rest, and not clean.
    Stuck,
    /// ONE-WISH-TWO-REBOOTS: a third reboot command for one hold.
    TooManyReboots,
    /// D1, D3: kured reboots a node that others uncordoned, under its pods.
    KuredRebootsUncordoned,
    /// D4: kured gives the cordon back without a reboot.
    KuredUncordonsUnrebooted,
    /// D7: kured's lock lets more than N nodes through.
    KuredTooMany,
}

impl Wrong {
    pub const ALL: [Wrong; 20] = [
        Wrong::HeldUncordoned,
        Wrong::MarksChanged,
        Wrong::SealedWithoutCordon,
        Wrong::SealedAfterDisturbance,
        Wrong::SealedUnlisted,
        Wrong::SealedUnconfirmed,
        Wrong::RebootWithoutSeal,
        Wrong::RebootAfterDeadline,
        Wrong::DownUnsealed,
        Wrong::DownUnderNewPods,
        Wrong::TooManyBetween,
        Wrong::LiveEntryDropped,
        Wrong::TooManyDown,
        Wrong::OtherNode,
        Wrong::WrongCordon,
        Wrong::Stuck,
        Wrong::TooManyReboots,
        Wrong::KuredRebootsUncordoned,
        Wrong::KuredUncordonsUnrebooted,
        Wrong::KuredTooMany,
    ];

    pub(crate) fn bit(self) -> u32 {
        1 << (self as u8)
    }

    /// The name under which the checker reports it.
    pub fn name(self) -> &'static str {
        match self {
            Wrong::HeldUncordoned => "HELD-STAYS-CORDONED: an uncordon passed",
            Wrong::MarksChanged => "HELD-STAYS-CORDONED: marks changed by others",
            Wrong::SealedWithoutCordon => "NO-BLIND-REBOOT: sealed without cordon or hold",
            Wrong::SealedAfterDisturbance => "NO-BLIND-REBOOT: sealed after a disturbance",
            Wrong::SealedUnlisted => "NO-BLIND-REBOOT: sealed without a list of the pods",
            Wrong::SealedUnconfirmed => "NO-BLIND-REBOOT: sealed without a confirmed entry",
            Wrong::RebootWithoutSeal => "NO-BLIND-REBOOT: reboot without an own seal",
            Wrong::RebootAfterDeadline => "NO-BLIND-REBOOT: reboot after the deadline",
            Wrong::DownUnsealed => "NO-BLIND-REBOOT: down without the seal",
            Wrong::DownUnderNewPods => "NO-BLIND-REBOOT: down under new pods",
            Wrong::TooManyBetween => "AT-MOST-N: too many between acquire and release",
            Wrong::LiveEntryDropped => "AT-MOST-N: a live entry dropped",
            Wrong::TooManyDown => "AT-MOST-N: too many down",
            Wrong::OtherNode => "ONE-NODE-ONE-AGENT: a write to another node",
            Wrong::WrongCordon => "CORDON-GIVEN-BACK: another cordon than before",
            Wrong::Stuck => "NOTHING-STUCK: at rest and not clean",
            Wrong::TooManyReboots => "ONE-WISH-TWO-REBOOTS: a third reboot for one wish",
            Wrong::KuredRebootsUncordoned => "kured: reboots an uncordoned node under its pods",
            Wrong::KuredUncordonsUnrebooted => "kured: gives the cordon back without a reboot",
            Wrong::KuredTooMany => "kured: too many hold its lock",
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
