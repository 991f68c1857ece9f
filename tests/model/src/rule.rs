//! The rules of the protocol, each of which can be off.
//!
//! That does not reach into the decisions: it changes what an agent is told or what becomes of its writes, so that
//! it behaves as one without that rule would. A check that finds nothing with a rule off would prove nothing.

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// One rule of the protocol. C1 to C13 are the counterexamples to the protocol without it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule { $($(#[$doc])* $name,)+ }

        impl Rule {
            pub const ALL: &[Rule] = &[$(Rule::$name,)+];
        }
    };
}

rules! {
    /// C1: before an entry is dropped its Node is read, after the lock and not from a cache.
    DropReadsNodeAfterLock,
    /// C2: a reboot that was issued is given up by evidence, not because time is up.
    EvidenceNotTime,
    /// C3a: an agent that starts asks the host for a shutdown under way before it goes on from a seal.
    AskHostOnResume,
    /// C3b: an agent that starts on a seal never reboots on it.
    NoReissueOnResume,
    /// C3c: an agent that starts asks the host before anything else, also where its Node shows no hold.
    AskHostFirst,
    /// C4a: the patch of an undo is a compare-and-swap.
    UndoIsCas,
    /// C4b: the stamp is a compare-and-swap.
    StampIsCas,
    /// C4c: a renewal is a compare-and-swap.
    RenewalIsCas,
    /// C5: marks are their owner's alone, whatever `until` says.
    MarksOutliveUntil,
    /// C6: a hold that was lost is never written again with its old id.
    FreshIds,
    /// C7: what the cordon was is decided once.
    WasDecidedOnce,
    /// The patch that gives the cordon back says so: a cordon found later is somebody else's.
    GivenBackIsRecorded,
    /// C8: the end of a wish leaves the cordon as it is.
    WishLeavesCordon,
    /// C9: a cancel needs a permission of its own from the stamp on, and an agent looks for one before it cordons.
    CancelIsPermitted,
    /// C10: the Node is given back before the lock is released.
    NodeBeforeLock,
    /// C11: the seal names the version that the watch has reached.
    SealOnWatchedVersion,
    /// C11: a watch that lost its place says so.
    GapsAreTold,
    /// C12: the boot id is that of the cordon patch, not of the stamp.
    BootIdOfCordon,
    /// C13: nothing is issued on a seal past its deadline.
    Deadline,
    /// The wish is on the Node before there is an entry in the lock.
    StampBeforeAcquire,
    /// The seal is a compare-and-swap, not a look.
    SealIsCas,
    /// A verdict of the webhook holds for the version that it saw (the API server's own doing).
    VerdictBoundToVersion,
    /// The entry is confirmed by a write before the seal.
    Confirm,
    /// A confirmed entry outlives stripped marks until another boot.
    SealedEntryOutlivesMarks,
    /// An entry names the Node object that it is about: one created anew under its name is another.
    EntryNamesUid,
    /// Held Nodes fill a slot even where somebody removed their entry.
    HeldNodesFillSlots,
    /// The taint keeps pods away where the cordon was cleared.
    Taint,
    /// One agent at a time on a host.
    LockFile,
    /// No kured expires an entry of ours, whatever its `--lock-ttl`.
    OurTtl,
    /// The host's record says until when a reboot that it was told may come; the next process in this boot waits for that, and
    /// asks the host again.
    RebootIsRecorded,
    /// An assumption: a host shows its shutdown before `--reboot-timeout` has passed.
    ShutdownShowsInTime,
    /// kured's node is protected by the webhook, because kured does not look again.
    KuredsNodeIsHeld,
    /// A1: a write whose answer was lost is settled by its proof, not by marks that anybody can have written.
    WritesAreProven,
    /// A1: what a write was answered with is compared whole: another webhook may have dropped cordon or taint.
    AnswersAreRead,
    /// A6: what the cordon was is what this process wrote, not what the Node says.
    MemoryOverNode,
    /// A6: a cordon counts as given back by the proof of the write that did it, not because the Node says so.
    GivenBackIsProven,
    /// P4: a pod is left on the node only after its owner has put it back three times within this drain.
    ReturnsAreCounted,
    /// P4: a pod that cordon or taint keep away is never left, however often it comes back.
    TolerationsAreRead,
    /// S3: where the host's record is gone, a confirmed entry alone says that a reboot may have been set off.
    ConfirmedEntryIsWaitedOut,
    /// A1: a write that conflicts may have lost to a copy of itself.
    ConflictsAreUnknown,
    /// P1: the attempts of a hold are counted where a reboot does not reach.
    AttemptsAreCounted,
}
