//! What is explored: the protocol as it is under many faults, and without each of its protections.

use crate::property::Wrong;
use crate::protection::Protection;
use crate::protocol::Scenario;
use crate::world::Faults;

/// A protection, switched off, and what then goes wrong.
#[derive(Clone, Debug)]
pub struct Counterexample {
    pub protection: Protection,
    pub scenario: Scenario,
    /// One of these must be found.
    pub expects: Vec<Wrong>,
}

const NONE: Faults = Faults {
    crashes: 0,
    lost_answers: 0,
    lost_requests: 0,
    late_writes: 0,
    uncordons: 0,
    recordons: 0,
    expiries: 0,
    webhook_failures: 0,
    strips: 0,
    cancels: 0,
    planted_cancels: 0,
    deletions: 0,
    removed_entries: 0,
    watch_gaps: 0,
    schedulings: 0,
    renewals: 0,
    drain_timeouts: 0,
    failed_reboots: 0,
    pauses: 0,
    foreign_reboots: 0,
    admin_cordons: 0,
    more_wishes: 0,
    kured_restarts: 0,
    kured_expiries: 0,
};

/// Everything is right, in scenarios that are explored whole within a test run.
pub fn quick() -> Vec<Scenario> {
    let two = |name, faults| Scenario {
        faults,
        checks_rest: true,
        ..Scenario::new(name, 2, 1)
    };
    vec![
        two("two nodes, no fault", NONE),
        two("one crash", Faults { crashes: 1, ..NONE }),
        two("lost answer", Faults { lost_answers: 1, ..NONE }),
        two("lost request", Faults { lost_requests: 1, ..NONE }),
        Scenario {
            checks_rest: false,
            ..two("late write", Faults { late_writes: 1, ..NONE })
        },
        two("uncordon, webhook down", Faults { uncordons: 1, webhook_failures: 1, ..NONE }),
        Scenario {
            cordoned: vec![0],
            ..two("admin's cordon, cancel", Faults { cancels: 1, uncordons: 1, ..NONE })
        },
        two("watch gap, failed reboot", Faults { watch_gaps: 1, failed_reboots: 1, ..NONE }),
        two("pod bound late", Faults { schedulings: 1, ..NONE }),
        two("Node deleted", Faults { deletions: 1, ..NONE }),
        two("pause", Faults { pauses: 1, ..NONE }),
        two("foreign reboot", Faults { foreign_reboots: 1, ..NONE }),
    ]
}

/// The same and more at length.
pub fn deep() -> Vec<Scenario> {
    let two = |name, faults| Scenario {
        faults,
        ..Scenario::new(name, 2, 1)
    };
    let three = |name, faults| Scenario {
        faults,
        watches_lag: false,
        ..Scenario::new(name, 3, 2)
    };
    vec![
        two("crash 2", Faults { crashes: 2, ..NONE }),
        two("crash, uncordon, webhook down", Faults { crashes: 1, uncordons: 1, webhook_failures: 1, ..NONE }),
        two("crash, late write", Faults { crashes: 1, late_writes: 1, ..NONE }),
        three("three nodes, no fault", NONE),
        three("three nodes, crash", Faults { crashes: 1, ..NONE }),
    ]
}

/// Each protection off alone, in the smallest scenario that shows what it is for.
pub fn counterexamples() -> Vec<Counterexample> {
    use Protection as P;
    use Wrong as W;
    let one = |protection, faults, expects: &[W]| without(protection, 1, faults, expects);
    let two = |protection, faults, expects: &[W]| without(protection, 2, faults, expects);
    let mut all = vec![
        two(P::DropReadsNodeAfterLock, NONE, &[W::LiveEntryDropped]),
        one(P::EvidenceNotTime, Faults { pauses: 1, ..NONE }, &[W::DownUnsealed]),
        one(P::AskHostOnResume, Faults { crashes: 1, ..NONE }, &[W::DownUnsealed]),
        one(P::NoReissueOnResume, Faults { crashes: 1, ..NONE }, &[W::RebootWithoutSeal]),
        one(P::UndoIsCas, Faults { late_writes: 1, drain_timeouts: 1, crashes: 1, ..NONE }, &[W::DownUnsealed]),
        two(P::StampIsCas, Faults { late_writes: 1, crashes: 1, ..NONE }, &[W::LiveEntryDropped, W::TooManyDown]),
        one(P::RenewalIsCas, Faults { late_writes: 1, renewals: 1, drain_timeouts: 1, ..NONE }, &[W::Stuck]),
        one(P::MarksOutliveUntil, Faults { expiries: 1, strips: 1, ..NONE }, &[W::MarksChanged]),
        two(P::FreshIds, Faults { deletions: 1, ..NONE }, &[W::LiveEntryDropped]),
        one(P::WasDecidedOnce, Faults { crashes: 1, ..NONE }, &[W::WrongCordon]),
        one(P::CancelIsPermitted, Faults { planted_cancels: 1, uncordons: 1, ..NONE }, &[W::HeldUncordoned]),
        one(
            P::SealOnWatchedVersion,
            Faults { webhook_failures: 1, uncordons: 1, recordons: 1, ..NONE },
            &[W::SealedAfterDisturbance],
        ),
        one(
            P::GapsAreTold,
            Faults { webhook_failures: 1, uncordons: 1, recordons: 1, watch_gaps: 1, ..NONE },
            &[W::SealedAfterDisturbance],
        ),
        one(P::BootIdOfCordon, Faults { foreign_reboots: 1, crashes: 1, more_wishes: 1, ..NONE }, &[W::DownUnsealed]),
        one(P::Deadline, Faults { pauses: 1, ..NONE }, &[W::RebootAfterDeadline]),
        two(P::StampBeforeAcquire, NONE, &[W::LiveEntryDropped]),
        one(P::SealIsCas, Faults { webhook_failures: 1, uncordons: 1, ..NONE }, &[W::SealedWithoutCordon]),
        one(P::Confirm, Faults { removed_entries: 1, ..NONE }, &[W::SealedUnconfirmed]),
        two(
            P::SealedEntryOutlivesMarks,
            Faults { webhook_failures: 1, strips: 1, ..NONE },
            &[W::TooManyDown],
        ),
        two(P::HeldNodesFillSlots, Faults { removed_entries: 1, ..NONE }, &[W::TooManyDown]),
        one(
            P::Taint,
            Faults { webhook_failures: 1, uncordons: 1, schedulings: 1, ..NONE },
            &[W::DownUnderNewPods],
        ),
        one(P::ShutdownShowsInTime, Faults { crashes: 1, ..NONE }, &[W::DownUnsealed]),
    ];
    // Held Nodes fill their slots, so this one has to be off too.
    let mut order = two(P::NodeBeforeLock, Faults { drain_timeouts: 1, ..NONE }, &[W::TooManyBetween]);
    order.scenario.off.push(P::HeldNodesFillSlots);
    all.push(order);
    // An uncordon of an admin's cordon, admitted before the hold.
    let mut verdict = one(P::VerdictBoundToVersion, Faults { uncordons: 1, ..NONE }, &[W::HeldUncordoned]);
    verdict.scenario.cordoned = vec![0];
    all.push(verdict);
    // A wish that is cancelled on a node that an admin had cordoned.
    let mut wish = one(P::WishLeavesCordon, Faults { cancels: 1, ..NONE }, &[W::WrongCordon]);
    wish.scenario.cordoned = vec![0];
    all.push(wish);
    // A host that is going down under an agent whose Node was created anew.
    let mut first = one(P::AskHostFirst, Faults { crashes: 1, deletions: 1, ..NONE }, &[W::DownUnsealed]);
    first.scenario.hosts_lag = false;
    all.push(first);
    let mut twins = one(P::LockFile, NONE, &[W::DownUnsealed]);
    twins.scenario.second_agents = vec![0];
    all.push(twins);
    let mut ttl = two(P::OurTtl, NONE, &[W::LiveEntryDropped]);
    ttl.scenario.kured = vec![1];
    ttl.scenario.kured_lock_ttl = true;
    all.push(ttl);
    all.extend(kureds());
    all
}

/// Stock kured by itself: its known defects.
fn kureds() -> Vec<Counterexample> {
    let kured = |protection, nodes: u8, faults, expects: Wrong| {
        let mut example = without(protection, nodes, faults, &[expects]);
        example.scenario.kured = (0..nodes).collect();
        example.scenario.protects_kured = true;
        example
    };
    let uncordon = Faults { uncordons: 1, ..NONE };
    let mut stale = kured(Protection::VerdictBoundToVersion, 1, uncordon, Wrong::KuredRebootsUncordoned);
    stale.scenario.off.clear();
    stale.scenario.cordoned = vec![0];
    vec![
        kured(Protection::KuredsNodeIsHeld, 1, uncordon, Wrong::KuredRebootsUncordoned),
        stale,
    ]
}

fn without(protection: Protection, nodes: u8, faults: Faults, expects: &[Wrong]) -> Counterexample {
    Counterexample {
        protection,
        scenario: Scenario {
            faults,
            off: vec![protection],
            checks_rest: expects.contains(&Wrong::Stuck),
            ..Scenario::new("a protection off", nodes, 1)
        },
        expects: expects.to_vec(),
    }
}
