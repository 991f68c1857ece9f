//! The rules of the protocol, each of which can be turned off.
//!
//! With a rule off, the checker must find the violation that the rule prevents; otherwise the model would prove nothing.
//! Turning a rule off does not change the decisions. It changes what an agent is told, or what happens to its writes, so that the
//! agent behaves as one without the rule would.

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// A rule of the protocol. C1 to C13 number the counterexamples that appear without it; A, P and S number reports from
        /// outside.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule { $($(#[$doc])* $name,)+ }

        impl Rule {
            pub const ALL: &[Rule] = &[$(Rule::$name,)+];
        }
    };
}

rules! {
    /// C1: before an entry is dropped, its Node is read, after the lock and not from a cache.
    DropReadsNodeAfterLock,
    /// C2: a reboot that was issued is given up on evidence, not because its time is over.
    EvidenceNotTime,
    /// C3a: an agent that starts asks the host whether a shutdown is under way, before it goes on from a seal.
    AskHostOnResume,
    /// C3b: an agent that finds a seal when it starts never reboots on that seal.
    NoReissueOnResume,
    /// C3c: an agent that starts asks the host before anything else, also where its Node shows no hold.
    AskHostFirst,
    /// C4a: the patch of an undo is a compare-and-swap.
    UndoIsCas,
    /// C4b: the stamp is a compare-and-swap.
    StampIsCas,
    /// C4c: a renewal is a compare-and-swap.
    RenewalIsCas,
    /// C5: only their owner may change marks, also after `until`.
    MarksOutliveUntil,
    /// C6: a hold that was lost is never written again with its old id.
    FreshIds,
    /// C7: what the cordon was is decided once.
    WasDecidedOnce,
    /// The patch that gives the cordon back names the hold, so a cordon found later is known to be somebody else's.
    GivenBackIsRecorded,
    /// C8: the end of a wish leaves the cordon as it is.
    WishLeavesCordon,
    /// C9: from the stamp on, a cancel needs its own permission, and the agent looks for a cancel before it cordons.
    CancelIsPermitted,
    /// C10: the Node is given back before the lock is released.
    NodeBeforeLock,
    /// C11: the seal names the version that the watch has reached.
    SealOnWatchedVersion,
    /// C11: a watch that lost its place reports a gap.
    GapsAreTold,
    /// C12: the boot that counts is the one at the cordon patch, not the one at the stamp.
    BootIdOfCordon,
    /// C13: no reboot is issued after the seal's deadline.
    Deadline,
    /// The wish is written on the Node before the entry is written in the lock.
    StampBeforeAcquire,
    /// The seal is a compare-and-swap, not only a check.
    SealIsCas,
    /// A verdict of the webhook holds only for the version that it saw. The API server ensures this.
    VerdictBoundToVersion,
    /// The entry is confirmed by a write before the seal.
    Confirm,
    /// A confirmed entry stays until another boot, even if the marks are removed.
    SealedEntryOutlivesMarks,
    /// An entry names the uid of its Node: a new Node of the same name is another one.
    EntryNamesUid,
    /// A held Node fills a slot even if somebody removed its entry.
    HeldNodesFillSlots,
    /// The taint keeps pods away if the cordon is cleared.
    Taint,
    /// Only one agent runs on a host at a time.
    LockFile,
    /// kured never expires our entries, whatever its `--lock-ttl`.
    OurTtl,
    /// The host's record says until when a reboot that was commanded may come. The next process in the same boot waits until then,
    /// and asks the host again.
    RebootIsRecorded,
    /// An assumption: a host shows its shutdown before `--reboot-timeout` has passed.
    ShutdownShowsInTime,
    /// The webhook protects kured's node, because kured does not check it again before the reboot.
    KuredsNodeIsHeld,
    /// A1: whether a write without an answer landed is decided by its proof, not by marks that anybody may have written.
    WritesAreProven,
    /// A1: the answer to a write is compared with everything that was written: another webhook may have removed cordon or taint.
    AnswersAreRead,
    /// A6: what the cordon was is what this process wrote, not what the Node says.
    MemoryOverNode,
    /// A6: a cordon counts as given back only if the proof of that write says so, not because the Node says so.
    GivenBackIsProven,
    /// P4: a pod is left on the node only after its owner has put it back three times within this drain.
    ReturnsAreCounted,
    /// P4: a pod that cordon or taint would keep away is never left on the node, however often it comes back.
    TolerationsAreRead,
    /// S3: without the host's record, a confirmed entry is enough to assume that a reboot may have been commanded.
    ConfirmedEntryIsWaitedOut,
    /// A1: a write that conflicts may have lost to a copy of itself.
    ConflictsAreUnknown,
    /// P1: the attempts of a hold are counted in places that survive a reboot.
    AttemptsAreCounted,
    /// An uncordon of a held node is not only denied but deferred (mode `defer`).
    DeniedIsAWish,
    /// The first deferred uncordon stays as it was written, whoever asks again.
    FirstUncordonStays,
    /// Whatever ends a hold does the uncordon that was deferred until then.
    EndsDoTheUncordon,
    /// The end of a hold reads the deferred uncordon inside its compare-and-swap.
    UncordonIsReadInSwap,
    /// A new hold takes over no deferred uncordon.
    NoUncordonIsInherited,
    /// The host's record and the lock's entry have a copy of the deferred uncordon.
    UncordonIsCopied,
    /// An uncordon that passes because the hold has lapsed is noted in the same write.
    DoneIsNoted,
}
