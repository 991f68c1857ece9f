//! The violations that the checker looks for: what can be seen when an invariant is broken.

use std::fmt;

/// A violation of an invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Violation {
    /// HELD-STAYS-CORDONED: the webhook let an uncordon of a held node pass.
    HeldUncordoned,
    /// HELD-STAYS-CORDONED: the webhook let somebody else change the marks.
    MarksChanged,
    /// NO-BLIND-REBOOT: a seal on a Node that is not cordoned, or not held by this hold.
    SealedWithoutCordon,
    /// NO-BLIND-REBOOT: a seal, although the cordon was disturbed since the drain.
    SealedAfterDisturbance,
    /// NO-BLIND-REBOOT: a seal, although no list of the pods was empty since the cordon was last broken or written.
    SealedUnlisted,
    /// NO-BLIND-REBOOT: a seal without a confirmed entry.
    SealedUnconfirmed,
    /// NO-BLIND-REBOOT: a reboot without a seal made by the same process.
    RebootWithoutSeal,
    /// NO-BLIND-REBOOT: a reboot after the seal's deadline.
    RebootAfterDeadline,
    /// NO-BLIND-REBOOT: the host goes down, but the seal of that reboot is no longer on the Node.
    DownUnsealed,
    /// NO-BLIND-REBOOT: the reboot kills pods that came after the seal.
    DownUnderNewPods,
    /// AT-MOST-N: more than N nodes between acquire and release.
    TooManyBetween,
    /// AT-MOST-N: the entry of a live hold was dropped.
    LiveEntryDropped,
    /// AT-MOST-N: more than N hosts in a reboot.
    TooManyDown,
    /// ONE-NODE-ONE-AGENT: an agent wrote to another node.
    OtherNode,
    /// CORDON-GIVEN-BACK: the cordon is not given back as it was.
    WrongCordon,
    /// NOTHING-STUCK: the system does not come to rest, or is not clean then.
    Stuck,
    /// LAST-WISH: at the end of a hold, or at rest, the cordon is not as the last legitimate wish has it.
    LastWish,
    /// ONE-WISH-TWO-REBOOTS: a third reboot command for one hold.
    TooManyReboots,
    /// D1, D3: kured reboots a node that others uncordoned, under its pods.
    KuredRebootsUncordoned,
    /// D4: kured gives the cordon back without a reboot.
    KuredUncordonsUnrebooted,
    /// D7: kured's lock lets more than N nodes through.
    KuredTooMany,
}

impl Violation {
    pub const ALL: [Violation; 21] = [
        Violation::HeldUncordoned,
        Violation::MarksChanged,
        Violation::SealedWithoutCordon,
        Violation::SealedAfterDisturbance,
        Violation::SealedUnlisted,
        Violation::SealedUnconfirmed,
        Violation::RebootWithoutSeal,
        Violation::RebootAfterDeadline,
        Violation::DownUnsealed,
        Violation::DownUnderNewPods,
        Violation::TooManyBetween,
        Violation::LiveEntryDropped,
        Violation::TooManyDown,
        Violation::OtherNode,
        Violation::WrongCordon,
        Violation::Stuck,
        Violation::LastWish,
        Violation::TooManyReboots,
        Violation::KuredRebootsUncordoned,
        Violation::KuredUncordonsUnrebooted,
        Violation::KuredTooMany,
    ];

    pub(crate) fn bit(self) -> u32 {
        1 << (self as u8)
    }

    /// The name under which the checker reports it.
    pub fn name(self) -> &'static str {
        match self {
            Violation::HeldUncordoned => "HELD-STAYS-CORDONED: an uncordon passed",
            Violation::MarksChanged => "HELD-STAYS-CORDONED: marks changed by others",
            Violation::SealedWithoutCordon => "NO-BLIND-REBOOT: sealed without cordon or hold",
            Violation::SealedAfterDisturbance => "NO-BLIND-REBOOT: sealed after a disturbance",
            Violation::SealedUnlisted => "NO-BLIND-REBOOT: sealed without a list of the pods",
            Violation::SealedUnconfirmed => "NO-BLIND-REBOOT: sealed without a confirmed entry",
            Violation::RebootWithoutSeal => "NO-BLIND-REBOOT: reboot without an own seal",
            Violation::RebootAfterDeadline => "NO-BLIND-REBOOT: reboot after the deadline",
            Violation::DownUnsealed => "NO-BLIND-REBOOT: down without the seal",
            Violation::DownUnderNewPods => "NO-BLIND-REBOOT: down under new pods",
            Violation::TooManyBetween => "AT-MOST-N: too many between acquire and release",
            Violation::LiveEntryDropped => "AT-MOST-N: a live entry dropped",
            Violation::TooManyDown => "AT-MOST-N: too many down",
            Violation::OtherNode => "ONE-NODE-ONE-AGENT: a write to another node",
            Violation::WrongCordon => "CORDON-GIVEN-BACK: another cordon than before",
            Violation::Stuck => "NOTHING-STUCK: at rest and not clean",
            Violation::LastWish => "LAST-WISH: a cordon that nobody wishes, or none where somebody does",
            Violation::TooManyReboots => "ONE-WISH-TWO-REBOOTS: a third reboot for one wish",
            Violation::KuredRebootsUncordoned => "kured: reboots an uncordoned node under its pods",
            Violation::KuredUncordonsUnrebooted => "kured: gives the cordon back without a reboot",
            Violation::KuredTooMany => "kured: too many hold its lock",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
