//! The driver, whose calls each test answers itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::hold::Signs;
use crate::host::{Boot, HostRecord};
use crate::keys;
use crate::lock::Share;
use crate::reboot::api_status::Failed;
use crate::reboot::blocker::budgets::Drainable;
use crate::reboot::blocker::pods::PodRule;
use crate::reboot::blocker::{Blocker, Found, Preflight, Rules};
use crate::reboot::cycle::{Failure, HostState, OnUncordon, Shutdown};
use crate::reboot::line::PATIENCE;
use crate::reboot::lock_object::{LockView, LockWrite};
use crate::reboot::prometheus::AlertFilter;
use crate::selector::Selector;

mod line;
mod pool;
mod readiness;
mod requests;
mod standing;
mod windows;

const WALL: Timestamp = Timestamp::UNIX_EPOCH;
const BOOT: &str = "boot-1";

fn lock_object(carrier: Carrier, name: &str, key: &str) -> LockObject {
    LockObject {
        carrier,
        namespace: "ns".to_owned(),
        name: name.to_owned(),
        key: key.to_owned(),
    }
}

fn setup() -> Setup {
    Setup {
        settings: Settings {
            node: "node-0".to_owned(),
            pool: Selector::default(),
            concurrency: Share::Count(1),
            verify: true,
            on_uncordon: OnUncordon::Redrain,
            redrains_max: 1,
            delays_release: false,
            gates_return: false,
            reboots_kept: 0,
            keeps_interval: false,
            asked_by: None,
            signs: Signs::default(),
            force_reboot: false,
        },
        timing: Timing {
            period: Duration::from_hours(1),
            drain_delay: Duration::ZERO,
            drain_timeout: None,
            reboot_delay: Duration::ZERO,
            reboot_timeout: Duration::from_mins(30),
            ready_timeout: Duration::from_mins(30),
            soak: Duration::ZERO,
            lock_release_delay: Duration::ZERO,
            backoff: Duration::from_mins(5),
        },
        drain: drain::Options {
            parallel: 1,
            ..drain::Options::default()
        },
        rules: Rules::default(),
        ready_when: Vec::new(),
        lock: LockObjects {
            lease: lock_object(Carrier::Lease, "lease", keys::LOCK),
            daemon_set: lock_object(Carrier::DaemonSet, "kured", keys::KURED_LOCK),
            first: Carrier::DaemonSet,
            otherwise: Some(Carrier::Lease),
        },
        carrier: Carrier::Lease,
        windows: Windows::default(),
        must_end: None,
        patience: PATIENCE,
        takes_requests: true,
    }
}

/// A driver with the host, the Node and the Lease that it acts on. kured's DaemonSet does not exist.
struct Shell {
    driver: Driver,
    now: Uptime,
    wall: Timestamp,
    chances: u64,
    is_wanted: bool,
    is_sentinel_readable: bool,
    shutdown: Shutdown,
    boot: &'static str,
    node: NodeView,
    lease: Value,
    version: u32,
    /// The epoch of each source's watch.
    epochs: [u64; 3],
    /// The name of each call so far, such as `ReadNode`.
    log: Vec<String>,
    taken: Vec<Input>,
}

impl Shell {
    fn new(setup: Setup) -> Shell {
        let mut node = NodeView::default();
        setup.settings.node.clone_into(&mut node.metadata.name);
        node.metadata.uid = "uid".to_owned();
        node.metadata.resource_version = "1".to_owned();
        node.status.node_info.boot_id = BOOT.to_owned();
        Shell {
            driver: Driver::new(setup, Uptime::START),
            now: Uptime::START,
            wall: WALL,
            chances: 0,
            is_wanted: false,
            is_sentinel_readable: true,
            shutdown: Shutdown::No,
            boot: BOOT,
            node,
            lease: json!({ "metadata": { "name": "lease", "resourceVersion": "1", "annotations": {} } }),
            version: 1,
            epochs: [0; 3],
            log: Vec::new(),
            taken: Vec::new(),
        }
    }

    /// A driver at rest, on a node that wants no reboot.
    fn idle() -> Shell {
        let mut shell = Shell::new(setup());
        assert_eq!(shell.run(), None);
        assert!(shell.driver.cycle().is_idle() && !shell.driver.is_open());
        shell.log.clear();
        shell.taken.clear();
        shell
    }

    fn at(&self) -> Moment {
        Moment {
            now: self.now,
            wall: self.wall,
        }
    }

    fn next(&mut self) -> Option<Effect> {
        self.chances += 1;
        assert!(self.chances < 1_000, "it never comes to rest: {:?}", self.log);
        let chance = Chance {
            proof: u128::from(self.chances),
            number: self.chances,
        };
        let effect = self.driver.next(self.at(), chance);
        match &effect {
            Some(Effect::Watch { source, epoch, .. }) => self.epochs[*source as usize] = *epoch,
            Some(Effect::Took(input)) => self.taken.push(input.clone()),
            Some(Effect::Call(call)) => {
                let text = format!("{call:?}");
                let name = text.split(|c: char| !c.is_alphanumeric()).next();
                self.log.extend(name.map(str::to_owned));
            }
            _ => {}
        }
        effect
    }

    /// Goes on to the next call. `None` if something else has to happen first.
    fn next_call(&mut self) -> Option<Call> {
        loop {
            if let Effect::Call(call) = self.next()? {
                return Some(call);
            }
        }
    }

    /// Answers each call up to the reboot command, and returns that. `None` if something else has to happen first.
    fn run(&mut self) -> Option<Call> {
        loop {
            let call = self.next_call()?;
            if matches!(call, Call::Reboot { .. }) {
                return Some(call);
            }
            let reply = self.carry_out(call);
            self.driver.replied(reply, self.at());
        }
    }

    fn carry_out(&mut self, call: Call) -> Reply {
        match call {
            Call::LookAtSentinel => {
                let found = self.is_sentinel_readable.then_some(self.is_wanted);
                Reply::Sentinel(found, "libc6".to_owned())
            }
            Call::AskHost => Reply::Host(HostState {
                boot: Boot {
                    id: self.boot.to_owned(),
                    init: "1.0".to_owned(),
                },
                shutdown: self.shutdown.clone(),
                record: None,
                told: None,
            }),
            Call::WriteRecord(_) => Reply::Recorded(Ok(())),
            Call::Forget => Reply::Forgotten,
            Call::Reboot { .. } => Reply::Rebooted(Ok(())),
            Call::ReadNode(_) => Reply::Node(Ok(self.node.clone())),
            Call::ListNodes(_) => Reply::Nodes(Ok(Vec::new())),
            Call::CountNodes { .. } => Reply::Pool(Ok(crate::reboot::cycle::PoolCount::default())),
            Call::PatchNode { .. } => {
                let Some(Ask::PatchNode(patch)) = self.driver.asked() else {
                    panic!("{:?}", self.driver.asked())
                };
                self.node = patch.applied(&self.node, self.wall, &setup().timing.terms());
                self.version += 1;
                self.node.metadata.resource_version = self.version.to_string();
                Reply::Node(Ok(self.node.clone()))
            }
            Call::ReadLock(Carrier::DaemonSet) => Reply::Lock(Err(gone("kured"))),
            Call::ReadLock(Carrier::Lease) | Call::ApplyLease(_) => Reply::Lock(Ok(self.lease())),
            Call::PatchLock { body, .. } => {
                self.version += 1;
                let annotations = self.lease["metadata"]["annotations"].as_object_mut().unwrap();
                annotations.extend(body["metadata"]["annotations"].as_object().unwrap().clone());
                annotations.retain(|_, value| !value.is_null());
                self.lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
                Reply::Lock(Ok(self.lease()))
            }
            Call::ListPods | Call::ListAllPods => Reply::Pods(Ok(Vec::new())),
            Call::LookUp(_) => Reply::Missing(Ok(BTreeSet::new())),
            Call::Query(_) => Reply::Found(Ok(Found::Series(Vec::new()))),
            Call::ListBlockingPods(_) => Reply::Found(Ok(Found::Pods(BTreeSet::new()))),
            Call::AskObject(_) => Reply::Found(Ok(Found::Truth(false))),
            Call::ListBudgets => Reply::Found(Ok(Found::Drainable(Drainable::default()))),
            Call::ListInhibitors => Reply::Found(Ok(Found::Inhibitors(BTreeSet::new()))),
        }
    }

    fn lease(&self) -> CarrierView {
        serde_json::from_value(self.lease.clone()).unwrap()
    }

    fn observed(&mut self, observed: Observed) {
        let epoch = self.epochs[observed.source() as usize];
        self.driver.observed(epoch, observed, self.at());
    }

    fn replied(&mut self, reply: Reply) {
        self.driver.replied(reply, self.at());
    }

    /// Begins this request, as if the cycle had asked for it.
    fn ask(&mut self, ask: Ask) -> Option<Call> {
        self.driver.asked = Some(ask);
        self.next_call()
    }

    /// The answer that the replies to its calls have led to.
    fn answer(&mut self) -> Option<Answer> {
        match self.driver.input.take() {
            Some(Input::Answer(answer)) => Some(answer),
            _ => None,
        }
    }
}

fn gone(name: &str) -> Failed {
    Failed {
        failure: Failure::NotFound,
        gone: Some(name.to_owned()),
    }
}

fn record() -> HostRecord {
    let json = json!({ "holder": "uid/2026-11-23T10:00:00Z", "write": "1" });
    serde_json::from_value(json).unwrap()
}

fn pod(name: &str) -> PodView {
    let json = json!({ "metadata": { "name": name, "namespace": "ns", "uid": name } });
    serde_json::from_value(json).unwrap()
}

fn node(version: &str) -> NodeView {
    let mut node = NodeView::default();
    node.metadata.resource_version = version.to_owned();
    node
}

#[test]
fn a_reboot_is_one_call_after_the_other() {
    let mut shell = Shell::idle();
    shell.is_wanted = true;
    shell.now += Duration::from_hours(1);
    assert_eq!(shell.run(), None);
    assert_eq!(
        shell.log.join(" "),
        "LookAtSentinel ReadNode WriteRecord PatchNode \
         ReadLock ReadLock ListNodes ReadNode ReadLock ReadLock PatchLock WriteRecord PatchNode"
    );
    shell.log.clear();
    // The drain finds nothing, and the delay is none.
    shell.observed(Observed::Pods(Change::Listed(Vec::new())));
    let reboot = shell.run();
    assert_eq!(
        shell.log.join(" "),
        "WriteRecord PatchNode ReadNode ReadLock ReadLock ListPods LookUp \
         ReadLock ReadLock PatchLock WriteRecord PatchNode Reboot"
    );
    assert!(matches!(reboot, Some(Call::Reboot { .. })), "{reboot:?}");
}

#[test]
fn the_account_on_the_node_has_the_reason_of_the_sentinel_and_the_cost_of_the_drain() {
    let mut setup = setup();
    setup.settings.asked_by = Some("file /run/reboot-required".to_owned());
    let mut shell = Shell::new(setup);
    assert_eq!(shell.run(), None);
    shell.is_wanted = true;
    shell.now += Duration::from_hours(1);
    assert_eq!(shell.run(), None);
    shell.observed(Observed::Pods(Change::Listed(vec![pod("a")])));
    let epoch = shell.epochs[Source::Pods as usize];
    let evict = Effect::Drain(epoch, Task::Evict(pod("a")));
    while shell.next() != Some(evict.clone()) {}
    let accepted = Done::Evicted("a".to_owned(), drain::Evicted::Accepted);
    assert_eq!(shell.driver.done(epoch, accepted, shell.at(), 0), None);
    shell.observed(Observed::Pods(Change::Gone(pod("a"))));
    assert!(shell.run().is_some(), "no reboot: {:?}", shell.log);
    let account = crate::hold::account(&shell.node).present().unwrap();
    assert_eq!(account.why, "file /run/reboot-required: libc6");
    assert_eq!((account.evicted, account.refused), (1, 0));
}

#[test]
fn the_deadline_of_the_reboot_command_runs_from_before_the_seal() {
    let mut shell = Shell::idle();
    shell.is_wanted = true;
    shell.now += Duration::from_hours(1);
    assert_eq!(shell.run(), None);
    shell.observed(Observed::Pods(Change::Listed(Vec::new())));
    let (mut armed, mut deadline) = (None, None);
    while deadline.is_none() {
        match shell.next().unwrap() {
            Effect::Armed(Timer::Deadline) => armed = Some(shell.now),
            Effect::Call(Call::Reboot { deadline: end, .. }) => deadline = end,
            Effect::Call(call) => {
                // Every call takes its time.
                shell.now += Duration::from_secs(1);
                let reply = shell.carry_out(call);
                shell.replied(reply);
            }
            _ => {}
        }
    }
    let allowed = deadline.zip(armed).map(|(end, armed)| end.since(armed));
    assert_eq!(allowed, Some(Duration::from_secs(10)));
    assert!(armed < Some(shell.now), "the seal takes time");
    // Where it does not run, it is over.
    shell.replied(Reply::Rebooted(Ok(())));
    while shell.next().is_some() {}
    shell.driver.timers.disarm(Timer::Deadline);
    let reboot = shell.ask(Ask::Reboot { record: record() });
    assert!(
        matches!(reboot, Some(Call::Reboot { deadline: None, .. })),
        "{reboot:?}"
    );
}

#[test]
fn while_a_call_is_open_nothing_but_its_answer_is_delivered() {
    let mut shell = Shell::idle();
    assert_eq!(
        shell.ask(Ask::ReadNode),
        Some(Call::ReadNode("node-0".to_owned()))
    );
    let at = shell.at();
    shell.driver.timers.arm(Timer::Delay, Dates::default(), at, 0);
    shell.now += Duration::from_hours(2);
    shell.observed(Observed::Node(Change::Present(node("7"))));
    assert_eq!(shell.next(), None);
    assert!(shell.driver.is_open());
    assert_eq!(shell.driver.next_wake(shell.now), None);
    // The reply to another call is none.
    shell.replied(Reply::Forgotten);
    shell.replied(Reply::Sentinel(Some(true), String::new()));
    shell.replied(Reply::Nodes(Ok(Vec::new())));
    assert_eq!(shell.next(), None);
    let answer = Answer::Node(Ok(node("8")));
    shell.replied(Reply::Node(Ok(node("8"))));
    while shell.next().is_some() {}
    assert_eq!(shell.taken.first(), Some(&Input::Answer(answer)));
}

#[test]
fn whatever_is_ready_comes_first_by_chance() {
    let mut first = BTreeSet::new();
    for number in 0..3 {
        let mut shell = Shell::idle();
        let at = shell.at();
        shell.driver.timers.arm(Timer::Delay, Dates::default(), at, 0);
        shell.now += Duration::from_hours(1);
        shell.observed(Observed::Node(Change::Gap));
        let chance = Chance { proof: 1, number };
        let _ = first.insert(format!("{:?}", shell.driver.next(shell.at(), chance)));
    }
    assert_eq!(first.len(), 3, "{first:?}");
}

#[test]
fn what_a_replaced_or_stopped_watch_still_tells_does_not_count() {
    let mut shell = Shell::idle();
    let old = shell.epochs[Source::Node as usize];
    // Told before it is replaced, and not taken yet; and told after.
    shell.observed(Observed::Node(Change::Present(node("7"))));
    shell.driver.acts.push_back(Act::Watch(None));
    let effect = shell.next();
    let Some(Effect::Watch {
        source: Source::Node,
        epoch,
        from: None,
    }) = effect
    else {
        panic!("{effect:?}")
    };
    shell
        .driver
        .observed(old, Observed::Node(Change::Present(node("8"))), shell.at());
    assert_eq!(shell.next(), None);
    shell
        .driver
        .observed(epoch, Observed::Node(Change::Present(node("9"))), shell.at());
    while shell.next().is_some() {}
    assert_eq!(shell.taken, [Input::Event(Event::Seen(node("9")))]);
    shell.driver.acts.push_back(Act::WatchLock(true));
    shell.driver.acts.push_back(Act::WatchLock(false));
    while shell.next().is_some() {}
    shell.observed(Observed::Lock(Change::Listed(Vec::new())));
    assert_eq!(shell.next(), None);
}

#[test]
fn a_lock_that_moved_is_watched_where_it_is_now() {
    let mut shell = Shell::idle();
    shell.driver.acts.push_back(Act::WatchLock(true));
    while shell.next().is_some() {}
    let old = shell.epochs[Source::Lock as usize];
    let lock = LockView {
        carrier: Carrier::DaemonSet,
        ..LockView::default()
    };
    shell.driver.input = Some(Input::Answer(Answer::Lock(Ok(lock))));
    assert_eq!(shell.next(), Some(Effect::LockMoved));
    assert!(matches!(shell.next(), Some(Effect::Watch { source: Source::Lock, epoch, .. }) if epoch > old));
    assert_eq!(shell.driver.lock_object().name, "kured");
    while shell.next().is_some() {}
    // It is still there.
    let lock = LockView {
        carrier: Carrier::DaemonSet,
        ..LockView::default()
    };
    shell.driver.input = Some(Input::Answer(Answer::Lock(Ok(lock))));
    while let Some(effect) = shell.next() {
        assert_ne!(effect, Effect::LockMoved);
    }
}

#[test]
fn only_what_changes_the_lock_is_told_of_its_watch() {
    let mut shell = Shell::idle();
    shell.driver.acts.push_back(Act::WatchLock(true));
    while shell.next().is_some() {}
    for _ in 0..3 {
        let lease = shell.lease();
        shell.observed(Observed::Lock(Change::Present(lease)));
    }
    while shell.next().is_some() {}
    assert_eq!(shell.taken, [Input::Event(Event::LockChanged)]);
    // A new watch of the Node shows nothing of the lock. What a new watch of the lock begins with may be a change.
    for (act, told) in [(Act::Watch(None), 1), (Act::WatchLock(true), 2)] {
        shell.driver.acts.push_back(act);
        while shell.next().is_some() {}
        let lease = shell.lease();
        shell.observed(Observed::Lock(Change::Present(lease)));
        while shell.next().is_some() {}
        let is_change = |input: &&Input| **input == Input::Event(Event::LockChanged);
        assert_eq!(shell.taken.iter().filter(is_change).count(), told);
    }
}

#[test]
fn only_the_watch_of_a_node_ends_when_its_object_is_deleted() {
    let ends = [Source::Node, Source::Lock, Source::Pods].map(Source::ends_with_object);
    assert_eq!(ends, [true, false, false]);
}

#[test]
fn a_waiter_that_something_blocks_looks_at_the_lock_less_often() {
    for (is_paused, least, most) in [(false, 8, 10), (true, 24, 30)] {
        let mut shell = Shell::idle();
        shell.is_wanted = true;
        if is_paused {
            let pause = (keys::PAUSE.to_owned(), "wait".to_owned());
            shell.node.metadata.annotations.extend([pause]);
        } else {
            let by_hand = json!({ keys::LOCK: r#"{"nodeID":"manual"}"# });
            shell.lease["metadata"]["annotations"] = by_hand;
        }
        shell.now += Duration::from_hours(1);
        assert_eq!(shell.run(), None);
        let pause = shell.driver.timers.end(Timer::Poll).unwrap().since(shell.now);
        assert!(
            (Duration::from_secs(least)..=Duration::from_secs(most)).contains(&pause),
            "{pause:?}"
        );
    }
}

#[test]
fn the_count_of_the_pool_and_reads_of_pods_that_fail_are_answers() {
    let mut shell = Shell::idle();
    assert!(matches!(shell.ask(Ask::CountPool), Some(Call::CountNodes { .. })));
    let pool = crate::reboot::cycle::PoolCount::default();
    shell.replied(Reply::Pool(Ok(pool.clone())));
    assert_eq!(shell.answer(), Some(Answer::Pool(Ok(pool))));

    let refused = || Failure::Refused("no".to_owned());
    let list = || Ask::ListPods(BTreeSet::new());
    assert_eq!(shell.ask(list()), Some(Call::ListPods));
    shell.replied(Reply::Pods(Err(refused().into())));
    assert_eq!(shell.answer(), Some(Answer::PodsLeft(Err(refused()))));
    assert_eq!(shell.ask(list()), Some(Call::ListPods));
    shell.replied(Reply::Pods(Ok(vec![pod("a")])));
    assert!(matches!(shell.next_call(), Some(Call::LookUp(_))));
    shell.replied(Reply::Missing(Err(refused().into())));
    assert_eq!(shell.answer(), Some(Answer::PodsLeft(Err(refused()))));
}

#[test]
fn after_a_pause_the_sentinel_is_looked_at_at_once() {
    let mut shell = Shell::new(setup());
    shell.shutdown = Shutdown::UnderWay;
    assert_eq!(shell.run(), None);
    shell.log.clear();
    shell.shutdown = Shutdown::No;
    // The period is an hour, and the host is asked again after two seconds.
    shell.now += Duration::from_secs(2);
    assert_eq!(shell.run(), None);
    assert_eq!(
        shell.log.join(" "),
        "AskHost ReadNode ReadLock ReadLock Forget LookAtSentinel"
    );
    assert_eq!(
        shell.driver.next_wake(shell.now),
        Some(shell.now + Duration::from_hours(1))
    );
}

#[test]
fn a_wish_is_later_than_the_one_before_though_the_clock_goes_back() {
    let mut driver = Driver::new(setup(), Uptime::START);
    let later = WALL + SignedDuration::from_hours(1);
    let wishes = [later, WALL, WALL, later].map(|wall| driver.new_wish(wall));
    assert_eq!(
        wishes,
        [
            "1970-01-01T01:00:00.000000000Z",
            "1970-01-01T01:00:00.000000001Z",
            "1970-01-01T01:00:00.000000002Z",
            "1970-01-01T01:00:00.000000003Z",
        ]
    );
}

#[test]
fn a_sentinel_that_cannot_be_looked_at_tells_nothing() {
    let mut shell = Shell::idle();
    shell.now += Duration::from_hours(1);
    assert_eq!(shell.next_call(), Some(Call::LookAtSentinel));
    shell.replied(Reply::Sentinel(None, String::new()));
    assert_eq!(shell.next(), None);
    assert_eq!(
        shell.driver.next_wake(shell.now),
        Some(shell.now + Duration::from_hours(1))
    );
}

#[test]
fn the_hosts_record_is_removed_before_the_next_request() {
    let mut shell = Shell::idle();
    shell.driver.acts.push_back(Act::Forget);
    assert_eq!(shell.ask(Ask::ReadNode), Some(Call::Forget));
    assert_eq!(shell.next(), None);
    shell.replied(Reply::Forgotten);
    assert_eq!(shell.next_call(), Some(Call::ReadNode("node-0".to_owned())));
}

#[test]
fn a_drain_goes_on_while_a_call_is_open_and_what_an_older_one_did_does_not_count() {
    let mut shell = Shell::idle();
    shell.driver.acts.push_back(Act::StartDrain);
    while shell.next().is_some() {}
    let old = shell.epochs[Source::Pods as usize];
    assert_eq!(
        shell.ask(Ask::ReadNode),
        Some(Call::ReadNode("node-0".to_owned()))
    );
    shell.observed(Observed::Pods(Change::Listed(vec![pod("a")])));
    assert_eq!(shell.next(), Some(Effect::Drain(old, Task::Evict(pod("a")))));
    assert_eq!(shell.next(), None);
    let failed = || Done::Evicted("a".to_owned(), drain::Evicted::Failed("why".to_owned()));
    let trouble = shell.driver.done(old, failed(), shell.at(), 0);
    assert_eq!(trouble.map(|trouble| trouble.of), Some("ns/a".to_owned()));
    assert!(shell.driver.next_wake(shell.now).is_some());
    // The next drain has one eviction under way, and that is all that may be.
    shell.driver.acts.push_back(Act::StartDrain);
    while shell.next().is_some() {}
    shell.observed(Observed::Pods(Change::Listed(vec![pod("b"), pod("c")])));
    let new = shell.epochs[Source::Pods as usize];
    assert_eq!(shell.next(), Some(Effect::Drain(new, Task::Evict(pod("b")))));
    assert_eq!(shell.driver.done(old, failed(), shell.at(), 0), None);
    assert_eq!(shell.next(), None);
    let accepted = Done::Evicted("b".to_owned(), drain::Evicted::Accepted);
    assert_eq!(shell.driver.done(new, accepted, shell.at(), 0), None);
    assert_eq!(shell.next(), Some(Effect::Drain(new, Task::Evict(pod("c")))));
}

#[test]
fn without_the_hosts_record_nothing_is_sent_to_the_node() {
    let mut shell = Shell::idle();
    let patch = |record| {
        let mut patch = crate::hold::NodePatch::end_release_delay(&node("7"));
        patch.record = record;
        Ask::PatchNode(patch)
    };
    assert_eq!(
        shell.ask(patch(Some(record()))),
        Some(Call::WriteRecord(record()))
    );
    shell.replied(Reply::Recorded(Err("full".to_owned())));
    let refused = Failure::Refused("full".to_owned());
    assert_eq!(shell.answer(), Some(Answer::Patched(Err(refused))));
    assert_eq!(
        shell.ask(patch(Some(record()))),
        Some(Call::WriteRecord(record()))
    );
    shell.replied(Reply::Recorded(Ok(())));
    let call = shell.next_call();
    assert!(matches!(call, Some(Call::PatchNode { .. })), "{call:?}");
    shell.replied(Reply::Node(Ok(node("8"))));
    assert_eq!(shell.answer(), Some(Answer::Patched(Ok(node("8")))));
    assert!(matches!(shell.ask(patch(None)), Some(Call::PatchNode { .. })));
}

#[test]
fn the_lock_is_read_on_the_lease_only_where_the_daemon_set_does_not_exist() {
    let mut shell = Shell::idle();
    assert_eq!(shell.ask(Ask::ReadLock), Some(Call::ReadLock(Carrier::DaemonSet)));
    // A proxy's 404 names no object.
    shell.replied(Reply::Lock(Err(Failure::NotFound.into())));
    assert_eq!(shell.answer(), Some(Answer::Lock(Err(Failure::NotFound))));
    assert_eq!(shell.ask(Ask::ReadLock), Some(Call::ReadLock(Carrier::DaemonSet)));
    shell.replied(Reply::Lock(Err(gone("kured"))));
    assert_eq!(shell.next_call(), Some(Call::ReadLock(Carrier::Lease)));
    shell.replied(Reply::Lock(Err(gone("lease"))));
    assert_eq!(shell.answer(), Some(Answer::Lock(Ok(LockView::default()))));
}

#[test]
fn a_lease_is_created_before_it_is_written_and_never_over_what_somebody_wrote() {
    let write = |carrier| {
        Ask::WriteLock(LockWrite {
            carrier,
            version: None,
            record: crate::lock::Record::default(),
            ends_reboot: false,
            uses: None,
        })
    };
    let mut shell = Shell::idle();
    for (annotations, expected) in [
        (json!({}), None),
        (
            json!({ keys::LOCK: "{}" }),
            Some(Answer::LockWritten(Err(Failure::Conflict))),
        ),
    ] {
        shell.lease["metadata"]["annotations"] = annotations;
        let call = shell.ask(write(Carrier::Lease));
        assert!(matches!(call, Some(Call::ApplyLease(_))), "{call:?}");
        let lease = shell.lease();
        shell.replied(Reply::Lock(Ok(lease)));
        assert_eq!(shell.answer(), expected);
        if expected.is_none() {
            let swap = shell.next_call();
            assert!(matches!(swap, Some(Call::PatchLock { .. })), "{swap:?}");
            let lease = shell.lease();
            shell.replied(Reply::Lock(Ok(lease)));
            assert_eq!(shell.answer(), Some(Answer::LockWritten(Ok(()))));
        }
    }
    // kured's DaemonSet is never created, and nothing is sent.
    shell.driver.asked = Some(write(Carrier::DaemonSet));
    let effect = shell.next();
    let Some(Effect::Took(Input::Answer(Answer::LockWritten(Err(Failure::Refused(why)))))) = effect else {
        panic!("{effect:?}")
    };
    assert!(why.contains("DaemonSet ns/kured does not exist"), "{why}");
}

#[test]
fn a_peer_is_gone_only_where_the_api_server_names_it() {
    let mut shell = Shell::idle();
    for (failed, expected) in [
        (gone("node-1"), Ok(None)),
        (gone("node-2"), Err(Failure::NotFound)),
        (Failure::NotFound.into(), Err(Failure::NotFound)),
    ] {
        let peer = "node-1".to_owned();
        assert_eq!(shell.ask(Ask::ReadPeer(peer.clone())), Some(Call::ReadNode(peer)));
        shell.replied(Reply::Node(Err(failed)));
        assert_eq!(shell.answer(), Some(Answer::Peer(expected)));
    }
}

#[test]
fn an_answer_that_no_request_has_is_reported_and_then_ends_the_process() {
    let mut shell = Shell::idle();
    shell.driver.input = Some(Input::Answer(Answer::PodsLeft(Ok(Vec::new()))));
    let mut told = Vec::new();
    while let Some(effect) = shell.next() {
        told.push(effect);
    }
    let Some(Effect::Report(Report::Unexpected { stage, answer })) = told.pop() else {
        panic!("{told:?}");
    };
    // It goes on for as long as the report takes to be seen.
    let end = shell.now + DEFECT_SHOWN;
    assert_eq!(shell.driver.next_wake(shell.now), Some(end));
    shell.now = end;
    assert_eq!(shell.next(), Some(Effect::End(Defect { stage, answer })));
    assert_eq!(shell.next(), None);
}

const CEPH: &str = "ceph.rook.io/v1/CephCluster/rook-ceph/main: self.status.ceph.health != 'HEALTH_OK'";

fn batch() -> PodRule {
    PodRule::of_selector("app=batch".parse().unwrap())
}

/// A driver that asks others, with its own reads of a `ListBlockers` answered.
fn asking(timeout: Option<Duration>) -> Shell {
    let mut shell = Shell::idle();
    shell.driver.setup.rules = Rules {
        alerts: Some(AlertFilter::default()),
        promql: vec!["ceph_health_status > 0".to_owned()],
        pods: vec![batch()],
        objects: vec![CEPH.parse().unwrap()],
        preflight: None,
        inhibitors: true,
        timeout,
        ..Rules::default()
    };
    shell
}

/// Answers the reads of the Node and the lock; the first question to others.
fn first_question(shell: &mut Shell) -> Option<Call> {
    let mut call = shell.ask(Ask::ListBlockers);
    while let Some(Call::ReadNode(_) | Call::ReadLock(_)) = call {
        let reply = shell.carry_out(call?);
        shell.replied(reply);
        call = next_question(shell);
    }
    call
}

/// The next call of the open request, unless it has its answer.
fn next_question(shell: &mut Shell) -> Option<Call> {
    if shell.driver.input.is_some() {
        return None;
    }
    shell.next_call()
}

fn series(names: &[&str]) -> Found {
    let result: Vec<Value> = names
        .iter()
        .map(|name| json!({ "metric": { "alertname": name }, "value": [1, "1"] }))
        .collect();
    let body = json!({ "status": "success", "data": { "resultType": "vector", "result": result } });
    Found::Series(crate::reboot::prometheus::read(body.to_string().as_bytes()).unwrap())
}

#[test]
fn others_are_asked_one_after_the_other_and_all_that_blocks_is_named() {
    let mut shell = asking(None);
    assert_eq!(first_question(&mut shell), Some(Call::Query("ALERTS".to_owned())));
    shell.replied(Reply::Found(Ok(series(&["NodeDown"]))));
    assert_eq!(
        shell.next_call(),
        Some(Call::Query("ceph_health_status > 0".to_owned()))
    );
    shell.replied(Reply::Found(Err("connection refused".to_owned())));
    assert_eq!(shell.next_call(), Some(Call::ListBlockingPods(batch())));
    let pods = BTreeSet::from(["default/job".to_owned()]);
    shell.replied(Reply::Found(Ok(Found::Pods(pods.clone()))));
    assert_eq!(shell.next_call(), Some(Call::AskObject(CEPH.parse().unwrap())));
    shell.replied(Reply::Found(Ok(Found::Truth(true))));
    assert_eq!(shell.next_call(), Some(Call::ListInhibitors));
    let holders = BTreeSet::from(["apt (packages are changed)".to_owned()]);
    shell.replied(Reply::Found(Ok(Found::Inhibitors(holders.clone()))));
    let unanswered = Blocker::Unanswered {
        question: "--blocker-promql='ceph_health_status > 0'".to_owned(),
        since: WALL,
        why: "connection refused".to_owned(),
    };
    let alerts = Blocker::Alerts(BTreeSet::from(["NodeDown".to_owned()]));
    let object = Blocker::Object {
        object: "ceph.rook.io/v1/CephCluster/rook-ceph/main".to_owned(),
        expression: "self.status.ceph.health != 'HEALTH_OK'".to_owned(),
    };
    let pods = Blocker::Pods {
        flag: "--blocking-pod-selector",
        names: pods,
    };
    let all = vec![alerts, unanswered, pods, object, Blocker::Inhibitors(holders)];
    assert!(shell.driver.is_blocked);
    assert_eq!(shell.answer(), Some(Answer::Blockers(Ok(all))));
}

#[test]
fn where_the_node_or_the_lock_blocks_nobody_else_is_asked() {
    let mut shell = asking(None);
    drop(
        shell
            .node
            .metadata
            .annotations
            .insert(keys::PAUSE.to_owned(), "sale".to_owned()),
    );
    assert_eq!(first_question(&mut shell), None);
    let paused = vec![Blocker::NodePaused("sale".to_owned())];
    assert_eq!(shell.answer(), Some(Answer::Blockers(Ok(paused))));
}

#[test]
fn a_question_without_an_answer_blocks_until_blocker_timeout_and_is_told_once_when_it_no_longer_does() {
    let mut shell = asking(Some(Duration::from_mins(10)));
    let mut waived = 0;
    let mut ask_all = |shell: &mut Shell, answers: bool| {
        let mut call = first_question(shell);
        while let Some(open) = call {
            let reply = match open {
                Call::Query(_) if !answers => Reply::Found(Err("no route to host".to_owned())),
                open => shell.carry_out(open),
            };
            shell.replied(reply);
            let told = |effect: &Effect| matches!(effect, Effect::Report(Report::BlockerWaived(_)));
            waived += shell.driver.effects.iter().filter(|effect| told(effect)).count();
            call = next_question(shell);
        }
        let Some(Answer::Blockers(Ok(blockers))) = shell.answer() else {
            panic!("no blockers")
        };
        (blockers.len(), waived)
    };
    assert_eq!(ask_all(&mut shell, false), (2, 0));
    for seconds in [299, 300] {
        shell.now += Duration::from_secs(seconds);
        assert_eq!(ask_all(&mut shell, false), (2, 0));
    }
    shell.now += Duration::from_secs(1);
    assert_eq!(ask_all(&mut shell, false), (0, 2));
    assert_eq!(ask_all(&mut shell, false), (0, 2), "told once");
    // An answer begins the time anew.
    assert_eq!(ask_all(&mut shell, true), (0, 2));
    assert_eq!(ask_all(&mut shell, false), (2, 2));
    // So does a time in which nobody asked, such as one with a full lock: there may have been an answer.
    shell.now += Duration::from_hours(24);
    assert_eq!(ask_all(&mut shell, false), (2, 2));
}

#[test]
fn budgets_are_looked_at_before_the_lock_and_not_when_the_node_is_drained() {
    let mut shell = asking(None);
    shell.driver.setup.rules = Rules {
        preflight: Some(Preflight { skip_wait: None }),
        ..Rules::default()
    };
    let pod = json!({
        "metadata": { "name": "web", "namespace": "shop", "labels": { "app": "web" } },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] },
    });
    let budget = json!({
        "metadata": { "name": "tight", "namespace": "shop" },
        "spec": { "selector": { "matchLabels": { "app": "web" } } },
        "status": { "disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1 },
    });
    assert_eq!(first_question(&mut shell), Some(Call::ListBudgets));
    shell.replied(Reply::Found(Ok(Found::Drainable(Drainable {
        pods: vec![serde_json::from_value(pod).unwrap()],
        missing: BTreeSet::new(),
        budgets: vec![serde_json::from_value(budget).unwrap()],
    }))));
    let Some(Answer::Blockers(Ok(blockers))) = shell.answer() else {
        panic!("no blockers")
    };
    let said = blocker::sentences(&blockers);
    assert!(
        said.contains("the budget shop/tight allows no eviction now (shop/web)"),
        "{said}"
    );

    let phase = (keys::PHASE.to_owned(), "delaying".to_owned());
    shell.node.metadata.labels.extend([phase]);
    assert_eq!(first_question(&mut shell), None);
    assert_eq!(shell.answer(), Some(Answer::Blockers(Ok(Vec::new()))));
}
