//! The scenarios to explore: the protocol with all its rules under many faults, the same with one rule off, for each rule, and stock kured.

use cordonhold_shared::reboot::cycle::OnUncordon;

use crate::rule::Rule;
use crate::violation::Violation;
use crate::world::Faults;

/// A scenario to explore.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent choices, each named")]
pub struct Scenario {
    pub name: &'static str,
    pub nodes: u8,
    /// How many nodes may be in a reboot at once.
    pub concurrency: usize,
    pub faults: Faults,
    pub on_uncordon: OnUncordon,
    pub redrains_max: u8,
    /// Whether there is a `--lock-release-delay`.
    pub delays_release: bool,
    /// Whether a node that is back must show more than Ready.
    pub gates_return: bool,
    pub force_reboot: bool,
    /// Whether the webhook defers an uncordon of a held node (mode `defer`), and people rely on it.
    pub defers: bool,
    /// Nodes that an admin has cordoned before the start.
    pub cordoned: Vec<u8>,
    /// Nodes with a second agent.
    pub second_agents: Vec<u8>,
    /// Nodes where stock kured runs instead of an agent.
    pub kured: Vec<u8>,
    /// Whether the webhook also protects nodes that kured holds.
    pub protects_kured: bool,
    /// Whether kured has a `--lock-ttl`.
    pub kured_lock_ttl: bool,
    /// Whether a watch may deliver late; otherwise it delivers at once.
    pub watches_lag: bool,
    /// Whether a host may show its shutdown late.
    pub hosts_lag: bool,
    /// How many holds a node may stamp.
    pub stamps_max: u8,
    /// Whether the checker also asks of each state that it comes to rest without further faults, and is clean then (NOTHING-STUCK).
    pub checks_rest: bool,
    pub hosts: Hosts,
    /// What the owner of a node's pod does when the pod is evicted.
    pub owner: Owner,
    /// Whether the sentinel is still there after a boot.
    pub sentinel_stays: bool,
    /// The violations that end the exploration when found. If empty, any violation does.
    pub stops_at: Vec<Violation>,
    /// A bound at which the exploration may stop, and why that is enough; `None` if it must be complete.
    pub bound: Option<Bound>,
    pub off: Vec<Rule>,
}

/// What the owner of a node's pod does when the pod is evicted, and what the pod tolerates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The pod goes to another node.
    Ordinary,
    /// The pod is put back for ever, and tolerates cordon and taint.
    Tolerant,
    /// The pod tolerates neither, and is put back without the scheduler, more than three times. Then it goes to another node.
    Binding,
}

/// What shows that a host has booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    Ordinary,
    /// Nothing shows it: after a boot the host looks as before.
    BootStays,
    /// Only userspace starts again: the boot id and `/run` stay, and init counts the soft reboots.
    Soft,
}

/// A bound at which the exploration of a large scenario stops.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// The number of states to generate.
    pub states: usize,
    pub reason: &'static str,
}

impl Scenario {
    pub fn new(name: &'static str, nodes: u8, concurrency: usize) -> Scenario {
        Scenario {
            name,
            nodes,
            concurrency,
            faults: Faults::default(),
            on_uncordon: OnUncordon::Redrain,
            redrains_max: 1,
            delays_release: false,
            gates_return: false,
            force_reboot: false,
            defers: false,
            cordoned: Vec::new(),
            second_agents: Vec::new(),
            kured: Vec::new(),
            protects_kured: false,
            kured_lock_ttl: false,
            watches_lag: true,
            hosts_lag: true,
            stamps_max: 2,
            checks_rest: false,
            hosts: Hosts::Ordinary,
            owner: Owner::Ordinary,
            sentinel_stays: false,
            stops_at: Vec::new(),
            bound: None,
            off: Vec::new(),
        }
    }
}

/// A counterexample: what is violated without a rule, or with stock kured.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// Its number: C1 to C13, or D1 to D7 for kured's defects. `None` for the others.
    pub number: Option<&'static str>,
    /// The rules that are off: more than one if a second rule would prevent the same violation. Empty for kured's defects, except D1,
    /// where the rule is off by which the webhook prevents it.
    pub off: Vec<Rule>,
    pub scenario: Scenario,
    /// One of these must be found.
    pub expects: Vec<Violation>,
}

const NONE: Faults = Faults {
    crashes: 0,
    lost_answers: 0,
    lost_requests: 0,
    late_writes: 0,
    uncordons: 0,
    stripped_uncordons: 0,
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
    forgeries: 0,
    altered_writes: 0,
    copied_writes: 0,
    blocks: 0,
    cleanings: 0,
    kured_restarts: 0,
    kured_expiries: 0,
};

/// Scenarios without a violation that are explored completely within a test run.
pub fn quick() -> Vec<Scenario> {
    let mut all = deferring();
    all.extend(ordinary());
    all.extend(postponed());
    all.extend(tampered());
    all
}

/// Scenarios in mode `defer`, on a node that an admin had cordoned, so that only an uncordon makes it schedulable.
#[rustfmt::skip]
fn deferring() -> Vec<Scenario> {
    let one = |name, faults| Scenario {
        faults,
        defers: true,
        cordoned: vec![0],
        checks_rest: true,
        ..Scenario::new(name, 1, 1)
    };
    vec![
        one("two uncordons are deferred, crash", Faults { uncordons: 2, crashes: 1, ..NONE }),
        one("an uncordon is deferred, cancel, failed drain", Faults { uncordons: 1, cancels: 1, drain_timeouts: 1, ..NONE }),
        one("an uncordon is deferred, failed drain, admin's cordon", Faults { uncordons: 1, drain_timeouts: 1, admin_cordons: 1, ..NONE }),
        one("an uncordon is deferred, strip, crash", Faults { uncordons: 1, strips: 1, webhook_failures: 1, crashes: 1, ..NONE }),
        one("a deferred uncordon is removed, crash", Faults { uncordons: 1, stripped_uncordons: 1, webhook_failures: 1, crashes: 1, renewals: 1, ..NONE }),
        one("a lapsed hold, uncordon, cordon, crash", Faults { uncordons: 1, expiries: 1, recordons: 1, crashes: 1, ..NONE }),
        Scenario {
            delays_release: true,
            ..one("an uncordon is deferred, release delay, lost answer", Faults { uncordons: 1, lost_answers: 1, ..NONE })
        },
    ]
}

/// Scenarios in which a blocker postpones the reboot, or a node that is back lacks something.
fn postponed() -> Vec<Scenario> {
    let faults = Faults {
        blocks: 2,
        crashes: 1,
        cancels: 1,
        ..NONE
    };
    let one = |name| Scenario {
        faults,
        checks_rest: true,
        ..Scenario::new(name, 1, 1)
    };
    vec![
        one("the reboot is postponed, crash, cancel"),
        Scenario {
            gates_return: true,
            ..one("the return is postponed, crash, cancel")
        },
    ]
}

/// Scenarios with forged marks, writes altered by another webhook, an emptied `/run`, and unusual boots.
#[rustfmt::skip]
fn tampered() -> Vec<Scenario> {
    let one = |name, faults| Scenario {
        faults,
        checks_rest: true,
        ..Scenario::new(name, 1, 1)
    };
    vec![
        one("forgery, lost answer", Faults { forgeries: 1, webhook_failures: 1, lost_answers: 1, ..NONE }),
        one("forgery, crash", Faults { forgeries: 1, webhook_failures: 1, crashes: 1, ..NONE }),
        one("forgery, late write", Faults { forgeries: 1, webhook_failures: 1, late_writes: 1, ..NONE }),
        one("two forgeries", Faults { forgeries: 2, webhook_failures: 1, ..NONE }),
        Scenario {
            on_uncordon: OnUncordon::Abort,
            ..one("forgery, uncordon, abort", Faults { forgeries: 1, uncordons: 1, webhook_failures: 1, ..NONE })
        },
        one("a write is altered", Faults { altered_writes: 1, lost_answers: 1, crashes: 1, ..NONE }),
        one("a write arrives twice, strip, crash", Faults { copied_writes: 1, strips: 1, webhook_failures: 1, crashes: 1, ..NONE }),
        one("/run is cleaned, crash", Faults { cleanings: 1, crashes: 1, ..NONE }),
        one("/run is cleaned, crash, forgery", Faults { cleanings: 1, crashes: 1, forgeries: 1, webhook_failures: 1, ..NONE }),
        one("/run is cleaned, crash, strip", Faults { cleanings: 1, crashes: 1, strips: 1, webhook_failures: 1, ..NONE }),
        Scenario {
            hosts: Hosts::BootStays,
            sentinel_stays: true,
            ..one("boots that look alike, crash", Faults { crashes: 1, ..NONE })
        },
        Scenario {
            hosts: Hosts::Soft,
            sentinel_stays: true,
            ..one("soft reboots, crash, forgery", Faults { crashes: 1, forgeries: 1, webhook_failures: 1, ..NONE })
        },
    ]
}

#[rustfmt::skip]
fn ordinary() -> Vec<Scenario> {
    let of = |name, nodes, faults| Scenario {
        faults,
        checks_rest: true,
        ..Scenario::new(name, nodes, 1)
    };
    let two = |name, faults| of(name, 2, faults);
    let one = |name, faults| of(name, 1, faults);
    vec![
        two("no fault", NONE),
        two("crash", Faults { crashes: 1, ..NONE }),
        two("lost answer", Faults { lost_answers: 1, ..NONE }),
        two("lost request", Faults { lost_requests: 1, ..NONE }),
        one("late write", Faults { late_writes: 1, ..NONE }),
        two("uncordon, webhook down", Faults { uncordons: 1, webhook_failures: 1, ..NONE }),
        Scenario {
            cordoned: vec![0],
            ..one("an admin's cordon, cancel", Faults { cancels: 1, ..NONE })
        },
        one("watch gap, failed reboot", Faults { watch_gaps: 1, failed_reboots: 1, ..NONE }),
        Scenario {
            owner: Owner::Tolerant,
            ..one("a pod that its owner puts back, uncordon, crash", Faults { uncordons: 1, webhook_failures: 1, crashes: 1, ..NONE })
        },
        Scenario {
            owner: Owner::Binding,
            ..one("a pod that is bound to its node again and again, uncordon", Faults { uncordons: 1, webhook_failures: 1, ..NONE })
        },
        two("bind in flight", Faults { schedulings: 1, ..NONE }),
        one("pause, renewal, failed drain", Faults { pauses: 1, renewals: 1, drain_timeouts: 1, ..NONE }),
        Scenario {
            nodes: 1,
            ..two("failed drain, crash, admin's cordon", Faults { drain_timeouts: 1, crashes: 1, admin_cordons: 1, ..NONE })
        },
        Scenario {
            delays_release: true,
            ..two("release delay, crash", Faults { crashes: 1, ..NONE })
        },
        Scenario {
            nodes: 1,
            ..two("Node deleted, crash, admin's cordon", Faults { deletions: 1, crashes: 1, admin_cordons: 1, ..NONE })
        },
        Scenario {
            force_reboot: true,
            ..two("forced reboot, uncordon, webhook down", Faults { drain_timeouts: 1, uncordons: 1, webhook_failures: 1, ..NONE })
        },
        two("foreign reboot", Faults { foreign_reboots: 1, ..NONE }),
        Scenario {
            second_agents: vec![0],
            ..two("two agents on one node", Faults { crashes: 1, ..NONE })
        },
        Scenario {
            kured: vec![1],
            protects_kured: true,
            kured_lock_ttl: true,
            ..two("kured on the same lock", Faults { crashes: 1, uncordons: 1, ..NONE })
        },
        Scenario {
            on_uncordon: OnUncordon::Abort,
            ..one("abort on uncordon", Faults { uncordons: 1, webhook_failures: 1, ..NONE })
        },
        Scenario {
            watches_lag: false,
            stamps_max: 1,
            ..Scenario::new("three nodes, N = 2", 3, 2)
        },
    ]
}

/// Scenarios with more faults at once, on more nodes. One that does not end within minutes stops at a bound.
pub fn deep() -> Vec<Scenario> {
    let mut all = many_faults();
    for scenario in &mut all {
        scenario.bound = Some(DEEP);
    }
    all
}

/// The bound of large scenarios: about a minute, and half a GiB of memory.
const DEEP: Bound = Bound {
    states: 4_000_000,
    reason: "the search is breadth first, so it covers every run with fewer steps than the depth above; longer runs are left to the simulation",
};

#[rustfmt::skip]
fn many_faults() -> Vec<Scenario> {
    let two = |name, faults| Scenario {
        faults,
        ..Scenario::new(name, 2, 1)
    };
    let rests = |scenario| Scenario { checks_rest: true, ..scenario };
    let three = |name, faults| Scenario {
        faults,
        watches_lag: false,
        ..Scenario::new(name, 3, 2)
    };
    vec![
        rests(Scenario {
            on_uncordon: OnUncordon::Abort,
            ..two("abort on uncordon, two nodes", Faults { uncordons: 1, webhook_failures: 1, ..NONE })
        }),
        rests(two("late write, two nodes", Faults { late_writes: 1, ..NONE })),
        rests(two("pause, renewal, failed drain, two nodes", Faults { pauses: 1, renewals: 1, drain_timeouts: 1, ..NONE })),
        rests(two("watch gap, failed reboot, two nodes", Faults { watch_gaps: 1, failed_reboots: 1, ..NONE })),
        rests(Scenario {
            cordoned: vec![0],
            ..two("an admin's cordon, cancel, two nodes", Faults { cancels: 1, ..NONE })
        }),
        rests(two("crash 2", Faults { crashes: 2, ..NONE })),
        rests(two("crash, late write", Faults { crashes: 1, late_writes: 1, ..NONE })),
        rests(two("crash, strip, webhook down", Faults { crashes: 1, strips: 1, webhook_failures: 1, ..NONE })),
        rests(Scenario {
            watches_lag: false,
            ..two("failed drain, crash, admin's cordon", Faults { drain_timeouts: 1, crashes: 1, admin_cordons: 1, ..NONE })
        }),
        rests(Scenario {
            force_reboot: true,
            ..two("forced reboot, crash, strip, webhook down", Faults { drain_timeouts: 1, crashes: 1, strips: 1, webhook_failures: 1, ..NONE })
        }),
        rests(two("Node deleted", Faults { deletions: 1, ..NONE })),
        two("crash, uncordon, expiry, webhook down", Faults { crashes: 1, uncordons: 1, expiries: 1, webhook_failures: 1, ..NONE }),
        two("crash, uncordon, recordon, strip, webhook down", Faults { crashes: 1, uncordons: 1, recordons: 1, strips: 1, webhook_failures: 1, ..NONE }),
        Scenario {
            cordoned: vec![0],
            ..two("cancel, admin's cordon and uncordon, crash", Faults { crashes: 1, cancels: 1, admin_cordons: 1, uncordons: 1, ..NONE })
        },
        two("entry removed, crash, uncordon", Faults { removed_entries: 1, crashes: 1, uncordons: 1, ..NONE }),
        two("Node deleted, crash", Faults { deletions: 1, crashes: 1, ..NONE }),
        two("planted cancel, uncordon, crash", Faults { planted_cancels: 1, uncordons: 1, crashes: 1, ..NONE }),
        two("two reboots each, crash", Faults { more_wishes: 2, crashes: 1, ..NONE }),
        two("bind in flight, uncordon, webhook down, crash", Faults { schedulings: 1, uncordons: 1, webhook_failures: 1, crashes: 1, ..NONE }),
        Scenario {
            second_agents: vec![0],
            ..two("two agents on one node", Faults { crashes: 2, late_writes: 1, ..NONE })
        },
        Scenario {
            kured: vec![1],
            protects_kured: true,
            kured_lock_ttl: true,
            ..two("kured on the same lock", Faults { crashes: 1, late_writes: 1, uncordons: 1, kured_expiries: 1, ..NONE })
        },
        Scenario {
            kured: vec![2],
            protects_kured: true,
            ..three("three nodes, one kured's", Faults { crashes: 1, late_writes: 1, ..NONE })
        },
        three("three nodes, late write", Faults { late_writes: 1, ..NONE }),
        three("three nodes, crash", Faults { crashes: 1, ..NONE }),
        three("three nodes, uncordon, webhook down", Faults { uncordons: 1, webhook_failures: 1, ..NONE }),
    ]
}

/// The counterexamples: each rule turned off, in the smallest scenario that shows what it prevents; and stock kured.
pub fn counterexamples() -> Vec<Counterexample> {
    let mut all = numbered();
    all.extend(unnumbered());
    all.extend(found());
    all.extend(deferred());
    all.extend(kureds());
    for example in &mut all {
        example.scenario.stops_at.clone_from(&example.expects);
    }
    all
}

#[rustfmt::skip]
fn numbered() -> Vec<Counterexample> {
    use Rule as P;
    use Violation as W;
    let one = |number, rule, faults, expects: &[W]| without(Some(number), rule, 1, faults, expects);
    let two = |number, rule, faults, expects: &[W]| without(Some(number), rule, 2, faults, expects);
    // The host goes down while its Node is deleted and created again.
    let mut first = one("C3c", P::AskHostFirst, Faults { crashes: 1, deletions: 1, ..NONE }, &[W::DownUnsealed]);
    first.scenario.hosts_lag = false;
    // A wish is cancelled on a node that an admin has cordoned before.
    let mut wish = one("C8", P::WishLeavesCordon, Faults { cancels: 1, ..NONE }, &[W::WrongCordon]);
    wish.scenario.cordoned = vec![0];
    // `HeldNodesFillSlots` prevents the same violation, so it is off too.
    let mut order = two("C10", P::NodeBeforeLock, Faults { drain_timeouts: 1, ..NONE }, &[W::TooManyBetween]);
    order.also_without(P::HeldNodesFillSlots);
    // `RebootIsRecorded` prevents the same violation, so it is off too.
    let mut boot = one("C12", P::BootIdOfCordon, Faults { foreign_reboots: 1, crashes: 1, more_wishes: 1, ..NONE }, &[W::DownUnsealed]);
    boot.also_without(P::RebootIsRecorded);
    vec![
        two("C1", P::DropReadsNodeAfterLock, NONE, &[W::LiveEntryDropped]),
        one("C2", P::EvidenceNotTime, Faults { pauses: 1, ..NONE }, &[W::DownUnsealed]),
        one("C3a", P::AskHostOnResume, Faults { crashes: 1, ..NONE }, &[W::DownUnsealed]),
        one("C3b", P::NoReissueOnResume, Faults { crashes: 1, ..NONE }, &[W::RebootWithoutSeal]),
        first,
        one("C4a", P::UndoIsCas, Faults { late_writes: 1, drain_timeouts: 1, crashes: 1, ..NONE }, &[W::DownUnsealed]),
        two("C4b", P::StampIsCas, Faults { late_writes: 1, crashes: 1, ..NONE }, &[W::LiveEntryDropped]),
        one("C4c", P::RenewalIsCas, Faults { late_writes: 1, renewals: 1, drain_timeouts: 1, ..NONE }, &[W::Stuck]),
        one("C5", P::MarksOutliveUntil, Faults { expiries: 1, strips: 1, ..NONE }, &[W::MarksChanged]),
        two("C6", P::FreshIds, Faults { deletions: 1, ..NONE }, &[W::LiveEntryDropped]),
        one("C7", P::WasDecidedOnce, Faults { crashes: 1, ..NONE }, &[W::WrongCordon]),
        wish,
        one("C9", P::CancelIsPermitted, Faults { planted_cancels: 1, uncordons: 1, ..NONE }, &[W::HeldUncordoned]),
        order,
        one("C11", P::SealOnWatchedVersion, Faults { webhook_failures: 1, uncordons: 1, recordons: 1, ..NONE }, &[W::SealedAfterDisturbance]),
        one("C11", P::GapsAreTold, Faults { webhook_failures: 1, uncordons: 1, recordons: 1, watch_gaps: 1, ..NONE }, &[W::SealedAfterDisturbance]),
        boot,
        one("C13", P::Deadline, Faults { pauses: 1, ..NONE }, &[W::RebootAfterDeadline]),
    ]
}

#[rustfmt::skip]
fn unnumbered() -> Vec<Counterexample> {
    use Rule as P;
    use Violation as W;
    let one = |rule, faults, expects: &[W]| without(None, rule, 1, faults, expects);
    let two = |rule, faults, expects: &[W]| without(None, rule, 2, faults, expects);
    // Admission allows an uncordon of an admin's cordon before the hold, and it lands after.
    let mut verdict = one(P::VerdictBoundToVersion, Faults { uncordons: 1, ..NONE }, &[W::HeldUncordoned]);
    verdict.scenario.cordoned = vec![0];
    let mut twins = one(P::LockFile, NONE, &[W::DownUnsealed]);
    twins.scenario.second_agents = vec![0];
    // `ConfirmedEntryIsWaitedOut` prevents the same violation, so it is off too.
    let mut recorded = one(P::RebootIsRecorded, Faults { crashes: 1, webhook_failures: 1, strips: 1, ..NONE }, &[W::DownUnsealed]);
    recorded.also_without(P::ConfirmedEntryIsWaitedOut);
    let mut ttl = two(P::OurTtl, NONE, &[W::LiveEntryDropped]);
    ttl.scenario.kured = vec![1];
    ttl.scenario.kured_lock_ttl = true;
    vec![
        two(P::StampBeforeAcquire, NONE, &[W::LiveEntryDropped]),
        one(P::SealIsCas, Faults { webhook_failures: 1, uncordons: 1, ..NONE }, &[W::SealedWithoutCordon]),
        verdict,
        one(P::GivenBackIsRecorded, Faults { crashes: 1, drain_timeouts: 1, admin_cordons: 1, ..NONE }, &[W::WrongCordon]),
        one(P::Confirm, Faults { removed_entries: 1, ..NONE }, &[W::SealedUnconfirmed]),
        two(P::SealedEntryOutlivesMarks, Faults { webhook_failures: 1, strips: 1, ..NONE }, &[W::TooManyDown]),
        one(P::EntryNamesUid, Faults { deletions: 1, crashes: 1, admin_cordons: 1, ..NONE }, &[W::WrongCordon]),
        two(P::HeldNodesFillSlots, Faults { removed_entries: 1, ..NONE }, &[W::TooManyDown]),
        one(P::Taint, Faults { webhook_failures: 1, uncordons: 1, schedulings: 1, ..NONE }, &[W::DownUnderNewPods]),
        twins,
        ttl,
        recorded,
        one(P::RebootIsRecorded, Faults { crashes: 1, deletions: 1, ..NONE }, &[W::DownUnsealed]),
        one(P::ShutdownShowsInTime, Faults { crashes: 1, ..NONE }, &[W::DownUnsealed]),
    ]
}

/// Counterexamples that were reported from outside, each with the number of its report.
#[rustfmt::skip]
fn found() -> Vec<Counterexample> {
    use Rule as P;
    use Violation as W;
    let one = |number, rule, faults, expects: &[W]| without(Some(number), rule, 1, faults, expects);
    let forged = Faults { forgeries: 1, webhook_failures: 1, ..NONE };
    let mut aborts = one("A6b", P::MemoryOverNode, Faults { uncordons: 1, ..forged }, &[W::WrongCordon]);
    aborts.scenario.on_uncordon = OnUncordon::Abort;
    let mut lost = one("A6d", P::GivenBackIsProven, Faults { strips: 1, crashes: 1, ..forged }, &[W::Stuck]);
    lost.scenario.checks_rest = true;
    let mut alike = one("P1", P::AttemptsAreCounted, NONE, &[W::TooManyReboots]);
    alike.scenario.hosts = Hosts::BootStays;
    alike.scenario.sentinel_stays = true;
    let mut put_back = one("P4", P::ReturnsAreCounted, NONE, &[W::SealedUnlisted]);
    put_back.scenario.owner = Owner::Tolerant;
    let mut bound = one("P4", P::TolerationsAreRead, NONE, &[W::SealedUnlisted]);
    bound.scenario.owner = Owner::Binding;
    let confirmed = Faults { cleanings: 1, crashes: 1, strips: 1, webhook_failures: 1, ..NONE };
    vec![
        put_back,
        bound,
        one("S3", P::ConfirmedEntryIsWaitedOut, confirmed, &[W::DownUnsealed]),
        one("A1", P::WritesAreProven, Faults { lost_requests: 1, ..forged }, &[W::RebootWithoutSeal]),
        one("A1", P::ConflictsAreUnknown, Faults { copied_writes: 1, ..NONE }, &[W::WrongCordon]),
        one("A6e", P::AnswersAreRead, Faults { altered_writes: 1, ..NONE }, &[W::SealedWithoutCordon, W::SealedAfterDisturbance]),
        aborts,
        lost,
        alike,
    ]
}

/// Counterexamples to LAST-WISH, on a node that an admin had cordoned.
#[rustfmt::skip]
fn deferred() -> Vec<Counterexample> {
    use Rule as P;
    use Violation as W;
    let one = |rule, faults, expects: &[W]| {
        let mut example = without(None, rule, 1, faults, expects);
        example.scenario.defers = true;
        example.scenario.cordoned = vec![0];
        example
    };
    let uncordon = Faults { uncordons: 1, ..NONE };
    // The second hold, which ends as the first does, finds the uncordon of the first.
    let inherited = Faults { drain_timeouts: 2, admin_cordons: 1, ..uncordon };
    let removed = Faults { stripped_uncordons: 1, webhook_failures: 1, crashes: 1, ..uncordon };
    vec![
        one(P::DeniedIsAWish, uncordon, &[W::LastWish]),
        one(P::FirstUncordonStays, uncordon, &[W::Stuck]),
        one(P::EndsDoTheUncordon, uncordon, &[W::LastWish]),
        one(P::UncordonIsReadInSwap, Faults { drain_timeouts: 1, ..uncordon }, &[W::LastWish]),
        one(P::NoUncordonIsInherited, inherited, &[W::WrongCordon]),
        one(P::UncordonIsCopied, removed, &[W::LastWish]),
        one(P::DoneIsNoted, Faults { expiries: 1, ..uncordon }, &[W::LastWish, W::WrongCordon]),
    ]
}

/// The known defects of stock kured. The webhook prevents D1. It cannot prevent D3, D4 and D7: that takes another agent in place of kured.
#[rustfmt::skip]
fn kureds() -> Vec<Counterexample> {
    let kured = |number, nodes: u8, faults, expects| Counterexample {
        number: Some(number),
        off: Vec::new(),
        scenario: Scenario {
            faults,
            kured: (0..nodes).collect(),
            protects_kured: true,
            ..Scenario::new(number, nodes, 1)
        },
        expects: vec![expects],
    };
    let uncordon = Faults { uncordons: 1, ..NONE };
    let mut unprotected = kured("D1", 1, uncordon, Violation::KuredRebootsUncordoned);
    unprotected.also_without(Rule::KuredsNodeIsHeld);
    let mut stale = kured("D3", 1, uncordon, Violation::KuredRebootsUncordoned);
    stale.scenario.cordoned = vec![0];
    vec![
        unprotected,
        stale,
        kured("D4", 1, Faults { kured_restarts: 1, ..NONE }, Violation::KuredUncordonsUnrebooted),
        kured("D7", 2, Faults { kured_expiries: 1, ..NONE }, Violation::KuredTooMany),
    ]
}

impl Counterexample {
    fn also_without(&mut self, rule: Rule) {
        self.off.push(rule);
        self.scenario.off.push(rule);
    }
}

fn without(
    number: Option<&'static str>,
    rule: Rule,
    nodes: u8,
    faults: Faults,
    expects: &[Violation],
) -> Counterexample {
    let mut example = Counterexample {
        number,
        off: Vec::new(),
        scenario: Scenario {
            faults,
            checks_rest: expects.contains(&Violation::Stuck) || expects.contains(&Violation::LastWish),
            ..Scenario::new(number.unwrap_or("without"), nodes, 1)
        },
        expects: expects.to_vec(),
    };
    example.also_without(rule);
    example
}
