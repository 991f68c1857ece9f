//! The cycle against a small world: one Node, one lock, some pods, one host.
//!
//! The world answers each request at once and atomically; a test changes it between any two requests.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::hold::{Holder, Phase};
use crate::lock::is_over;
use crate::node::{Condition, Taint};

const BOOT: &str = "boot-1";
const CREATED: &str = "2026-11-23T10:00:00.000000001Z";

struct World {
    node: NodeView,
    peers: BTreeMap<String, NodeView>,
    revision: u32,
    lock: Record,
    pods: Vec<String>,
    host: HostState,
    reboot: Result<(), RebootFailure>,
    /// What happened, in order.
    log: Vec<String>,
    /// Answers that fail instead, once each, by the request's name.
    fail: Vec<(&'static str, Failure, Applied)>,
}

/// Whether a write whose answer is lost was carried out.
#[derive(Clone, Copy, PartialEq)]
enum Applied {
    Yes,
    No,
}

impl World {
    fn new() -> World {
        let mut node = NodeView::default();
        node.metadata.name = "a".to_owned();
        node.metadata.uid = "uid-a".to_owned();
        node.metadata.resource_version = "1".to_owned();
        node.status.conditions.push(Condition {
            kind: "Ready".to_owned(),
            status: "True".to_owned(),
        });
        World {
            node,
            peers: BTreeMap::new(),
            revision: 1,
            lock: Record::default(),
            pods: vec!["default/web".to_owned()],
            host: HostState {
                boot_id: BOOT.to_owned(),
                shutdown: Shutdown::No,
            },
            reboot: Ok(()),
            log: Vec::new(),
            fail: Vec::new(),
        }
    }

    /// Somebody changes the Node.
    fn change(&mut self, change: impl FnOnce(&mut NodeView)) {
        change(&mut self.node);
        self.revision += 1;
        self.node.metadata.resource_version = self.revision.to_string();
    }

    fn phase(&self) -> Option<Phase> {
        hold::read(&self.node).present().map(|hold| hold.phase)
    }

    fn cancel(&mut self, reason: &str) {
        let created = hold::read(&self.node).present().unwrap().holder.created;
        self.change(|node| {
            let _ = node
                .metadata
                .annotations
                .insert(keys::CANCEL.to_owned(), format!("{created} {reason}"));
        });
    }

    fn patch(&mut self, patch: &NodePatch) -> Result<NodeView, Failure> {
        if patch.version != self.node.version() {
            return Err(Failure::Conflict);
        }
        let body = patch.body(
            "2026-11-23T10:00:00Z".parse().unwrap(),
            jiff::SignedDuration::from_mins(30),
        );
        self.change(|node| merge(node, &body));
        Ok(self.node.clone())
    }

    fn lock_view(&self) -> LockView {
        LockView {
            version: Some(self.lock.render(2).unwrap()),
            record: Reading::Present(self.lock.clone()),
            ..LockView::default()
        }
    }

    fn write_lock(&mut self, write: LockWrite) -> Result<(), Failure> {
        if write.version != self.lock_view().version {
            return Err(Failure::Conflict);
        }
        self.lock = write.record;
        Ok(())
    }

    fn answer(&mut self, request: Request) -> Input {
        let name = name_of(&request);
        self.log.push(name.to_owned());
        let failing = self
            .fail
            .iter()
            .position(|(failing, ..)| *failing == name)
            .map(|i| self.fail.remove(i));
        if let Some((_, failure, applied)) = failing {
            if applied == Applied::Yes {
                let _ = self.carry_out(request.clone());
            }
            return match request {
                Request::ReadNode => Input::Node(Err(failure)),
                Request::PatchNode(_) => Input::Patched(Err(failure)),
                Request::ReadLock => Input::Lock(Err(failure)),
                Request::WriteLock(_) => Input::LockWritten(Err(failure)),
                Request::ListPods => Input::PodsLeft(Err(failure)),
                other => panic!("{other:?} does not fail here"),
            };
        }
        self.carry_out(request)
    }

    fn carry_out(&mut self, request: Request) -> Input {
        match request {
            Request::AskHost => Input::Host(self.host.clone()),
            Request::ReadNode => Input::Node(Ok(self.node.clone())),
            Request::ReadPeer(name) => Input::Peer(Ok(self.peers.get(&name).cloned())),
            Request::ListHeld => Input::Held(Ok(self
                .peers
                .values()
                .chain([&self.node])
                .filter(|node| node.label(keys::PHASE).is_some())
                .cloned()
                .collect())),
            Request::ReadLock => Input::Lock(Ok(self.lock_view())),
            Request::WriteLock(write) => Input::LockWritten(self.write_lock(write)),
            Request::PatchNode(patch) => Input::Patched(self.patch(&patch)),
            Request::ListPods => Input::PodsLeft(Ok(self.pods.clone())),
            Request::Reboot => Input::RebootIssued(self.reboot.clone()),
        }
    }
}

fn name_of(request: &Request) -> &'static str {
    match request {
        Request::AskHost => "ask host",
        Request::ReadNode => "read node",
        Request::ReadPeer(_) => "read peer",
        Request::ListHeld => "list held",
        Request::ReadLock => "read lock",
        Request::WriteLock(_) => "write lock",
        Request::PatchNode(patch) => match patch.phase {
            Some(Some(phase)) => phase.as_str(),
            Some(None) => "give back",
            None => "renew",
        },
        Request::ListPods => "list pods",
        Request::Reboot => "reboot",
    }
}

/// A JSON merge patch, as far as the agent's patches go.
fn merge(node: &mut NodeView, body: &serde_json::Value) {
    let apply = |map: &mut BTreeMap<String, String>, changes: &serde_json::Value| {
        for (key, value) in changes.as_object().into_iter().flatten() {
            match value.as_str() {
                Some(value) => drop(map.insert(key.clone(), value.to_owned())),
                None => drop(map.remove(key)),
            }
        }
    };
    apply(&mut node.metadata.annotations, &body["metadata"]["annotations"]);
    apply(&mut node.metadata.labels, &body["metadata"]["labels"]);
    let Some(spec) = body["spec"].as_object() else {
        return;
    };
    if let Some(unschedulable) = spec.get("unschedulable") {
        node.spec.unschedulable = *unschedulable == json!(true);
    }
    if let Some(taints) = spec.get("taints") {
        node.spec.taints = serde_json::from_value::<Option<Vec<Taint>>>(taints.clone())
            .unwrap()
            .unwrap_or_default();
    }
}

/// An agent in a world.
struct Run {
    cycle: Cycle,
    world: World,
    reports: Vec<Report>,
    acts: Vec<Act>,
}

impl Run {
    fn new(policy: Policy) -> Run {
        let mut run = Run {
            cycle: Cycle::new(policy),
            world: World::new(),
            reports: Vec::new(),
            acts: Vec::new(),
        };
        run.feed(Input::Started);
        run
    }

    /// One input, and all the requests that follow from it.
    fn feed(&mut self, input: Input) {
        self.feed_until(input, "");
    }

    /// The same, but stops before this request; it is dropped, as by a crash.
    fn feed_until(&mut self, input: Input, before: &str) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let (cycle, outcome) = step(self.cycle.clone(), input);
            self.cycle = cycle;
            for act in outcome.acts {
                if let Act::Report(report) = &act {
                    self.reports.push(report.clone());
                }
                self.acts.push(act);
            }
            next = outcome
                .request
                .filter(|request| name_of(request) != before)
                .map(|r| self.world.answer(r));
        }
    }

    /// The watch delivers the Node as it is.
    fn see(&mut self) {
        self.feed(Input::Seen(self.world.node.clone()));
    }

    fn drain(&mut self) {
        self.world.pods.clear();
        self.feed(Input::Drained);
        self.see();
    }

    fn wish(&mut self) {
        self.feed(Input::Sentinel(Some(CREATED.to_owned())));
    }

    /// To the moment before the delay is over.
    fn reach_delay(&mut self) {
        self.wish();
        self.drain();
        assert_eq!(self.world.phase(), Some(Phase::Delaying));
    }

    /// A new process, which knows nothing.
    fn restart(&mut self) {
        self.cycle = Cycle::new(self.cycle.policy.clone());
        self.feed(Input::Started);
    }

    fn boot(&mut self) {
        self.world.host.boot_id = "boot-2".to_owned();
        self.restart();
    }

    fn rebooted(&self) -> bool {
        self.world.log.iter().any(|name| name == "reboot")
    }

    fn called_off(&self) -> Option<&Reason> {
        self.reports.iter().find_map(|report| match report {
            Report::CalledOff(reason) => Some(reason),
            _ => None,
        })
    }

    fn is_clean(&self) -> bool {
        let marks = keys::MARK_ANNOTATIONS
            .iter()
            .any(|key| self.world.node.annotation(key).is_some());
        !marks
            && self.world.node.label(keys::PHASE).is_none()
            && !self.world.node.is_tainted(keys::REBOOTING)
            && self.world.lock.entries.is_empty()
    }
}

fn policy() -> Policy {
    Policy {
        node: "a".to_owned(),
        concurrency: 1,
        verify: true,
        on_uncordon: OnUncordon::Redrain,
        redrains_max: 2,
    }
}

fn agent() -> Run {
    Run::new(policy())
}

#[test]
fn a_whole_reboot_goes_lock_cordon_drain_delay_seal_reboot_return() {
    let mut run = agent();
    run.reach_delay();
    assert!(run.world.node.spec.unschedulable);
    assert!(
        run.world.node.is_tainted(keys::REBOOTING) && run.world.node.is_tainted(keys::UNSCHEDULABLE_TAINT)
    );
    run.feed(Input::Due(Timer::Delay));
    assert_eq!(run.world.phase(), Some(Phase::Sealed));
    assert!(run.rebooted());
    run.boot();
    run.feed(Input::Due(Timer::Soak));
    assert!(run.is_clean() && !run.world.node.spec.unschedulable && run.cycle.is_idle());
    let order = [
        "ask host,read node,read lock",                 // start: nothing to resume
        "read node,wanted",                             // stamp
        "read lock,list held,write lock",               // acquire
        "read node,draining",                           // cordon
        "read node,delaying",                           // the drain has ended
        "list pods,read lock,write lock,sealed,reboot", // pods, confirm, seal, command
        "ask host,read node,read node,returning,read node,give back", // the Node first
        "read lock,write lock",                         // then the lock
    ];
    assert_eq!(run.world.log.join(","), order.join(","));
}

#[test]
fn cordon_given_back_whoever_cordoned() {
    for cordoned in [false, true] {
        let mut run = agent();
        run.world.change(|node| node.spec.unschedulable = cordoned);
        run.reach_delay();
        run.feed(Input::Due(Timer::Delay));
        run.boot();
        run.feed(Input::Due(Timer::Soak));
        assert!(run.is_clean());
        assert_eq!(run.world.node.spec.unschedulable, cordoned);
    }
}

#[test]
fn cordon_given_back_after_a_restart_in_each_phase_is_what_it_was() {
    // Written once: a restart repeats the cordon patch on a Node that is cordoned by us already (C7).
    let mut run = agent();
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    run.restart();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    run.drain();
    run.restart();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    run.drain();
    run.feed(Input::Due(Timer::Delay));
    run.boot();
    run.feed(Input::Due(Timer::Soak));
    assert!(run.is_clean() && !run.world.node.spec.unschedulable);
}

#[test]
fn cordon_given_back_leaves_the_cordon_of_others_alone_while_wanted() {
    // C8: a wish never touched the cordon.
    let mut run = agent();
    run.world.lock.entries.push(Entry::new("manual", "", false));
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Wanted));
    run.world.change(|node| node.spec.unschedulable = true);
    run.feed(Input::Sentinel(None));
    assert_eq!(run.called_off(), Some(&Reason::NoLongerWanted));
    assert!(run.world.node.spec.unschedulable && run.world.phase().is_none());
}

#[test]
fn cordon_given_back_when_the_marks_were_lost() {
    let mut run = agent();
    run.wish();
    run.world.change(|node| {
        node.metadata.annotations.clear();
        node.metadata.labels.clear();
    });
    let mut restarted = Run {
        world: World {
            log: Vec::new(),
            ..clone_world(&run.world)
        },
        ..agent()
    };
    run.see();
    assert_eq!(run.called_off(), Some(&Reason::HoldLost));
    assert!(run.is_clean() && !run.world.node.spec.unschedulable);
    // The same for a process that remembers nothing: the lock entry says what the cordon was.
    restarted.restart();
    assert!(restarted.is_clean() && !restarted.world.node.spec.unschedulable);
}

fn clone_world(world: &World) -> World {
    World {
        node: world.node.clone(),
        peers: world.peers.clone(),
        lock: world.lock.clone(),
        pods: world.pods.clone(),
        host: world.host.clone(),
        reboot: world.reboot.clone(),
        log: Vec::new(),
        fail: Vec::new(),
        ..*world
    }
}

#[test]
fn no_blind_reboot_over_a_cleared_cordon_even_if_it_was_put_back() {
    let mut run = agent();
    run.reach_delay();
    run.world.change(|node| node.spec.unschedulable = false);
    let uncordoned = run.world.node.clone();
    run.world.change(|node| node.spec.unschedulable = true);
    // The watch lags: the delay is over before it delivers what happened (C11).
    run.feed(Input::Due(Timer::Delay));
    assert!(!run.rebooted());
    run.feed(Input::Seen(uncordoned));
    assert!(!run.rebooted());
    let by = Disturbance::Uncordoned;
    assert!(run.reports.contains(&Report::Disturbed {
        by,
        next: Next::DrainAgain
    }));
    run.drain();
    run.feed(Input::Due(Timer::Delay));
    assert!(run.rebooted());
}

#[test]
fn no_blind_reboot_over_a_lost_taint_a_gap_or_a_pod() {
    type Disturb = fn(&mut Run);
    let disturbances: [(Disturb, Disturbance); 4] = [
        (
            |run| {
                run.world
                    .change(|node| node.spec.taints.retain(|taint| taint.key != keys::REBOOTING));
                run.see();
            },
            Disturbance::Untainted,
        ),
        (|run| run.feed(Input::Gap), Disturbance::Gap),
        (
            |run| run.feed(Input::PodArrived("default/late".to_owned())),
            Disturbance::Pods(vec!["default/late".to_owned()]),
        ),
        (
            |run| {
                run.world.pods.push("default/late".to_owned());
                run.feed(Input::Due(Timer::Delay));
            },
            Disturbance::Pods(vec!["default/late".to_owned()]),
        ),
    ];
    for (disturb, by) in disturbances {
        let mut run = agent();
        run.reach_delay();
        disturb(&mut run);
        assert!(!run.rebooted(), "{by:?}");
        assert!(run.reports.contains(&Report::Disturbed {
            by,
            next: Next::DrainAgain
        }));
        assert_eq!(run.world.phase(), Some(Phase::Draining));
        assert!(run.world.node.is_tainted(keys::REBOOTING));
    }
}

#[test]
fn no_blind_reboot_policy_abort_and_too_many_redrains_call_it_off() {
    let mut run = Run::new(Policy {
        on_uncordon: OnUncordon::Abort,
        ..policy()
    });
    run.reach_delay();
    run.world.change(|node| node.spec.unschedulable = false);
    run.see();
    assert_eq!(
        run.called_off(),
        Some(&Reason::Disturbed(Disturbance::Uncordoned))
    );
    assert!(run.is_clean() && !run.rebooted());
    run.wish();
    assert_eq!(run.world.phase(), None, "it backs off first");

    let mut run = agent();
    run.wish();
    for _ in 0..3 {
        run.world.change(|node| node.spec.unschedulable = false);
        run.see();
    }
    assert_eq!(
        run.called_off(),
        Some(&Reason::TooManyRedrains(Disturbance::Uncordoned))
    );
    assert!(run.is_clean() && !run.world.node.spec.unschedulable && !run.rebooted());
}

#[test]
fn no_blind_reboot_when_the_seal_loses_or_its_answer_does() {
    // A heartbeat: the seal waits for the watch and is tried again from the version that it delivers.
    let mut run = agent();
    run.reach_delay();
    run.world.change(|_| ());
    run.feed(Input::Due(Timer::Delay));
    assert!(!run.rebooted());
    run.see();
    assert!(run.rebooted());

    // Applied, the answer lost: read back. Not applied: drained again, and the cordon patch ends the lost one.
    for applied in [Applied::Yes, Applied::No] {
        let mut run = agent();
        run.reach_delay();
        run.world
            .fail
            .push(("sealed", Failure::Unknown("timeout".to_owned()), applied));
        run.feed(Input::Due(Timer::Delay));
        assert_eq!(run.rebooted(), applied == Applied::Yes);
        let phase = if applied == Applied::Yes {
            Phase::Sealed
        } else {
            Phase::Draining
        };
        assert_eq!(run.world.phase(), Some(phase));
    }
}

#[test]
fn no_blind_reboot_on_a_seal_that_another_process_made() {
    // C3: killed between the seal and the command.
    let mut run = agent();
    run.reach_delay();
    run.feed_until(Input::Due(Timer::Delay), "reboot");
    assert_eq!(run.world.phase(), Some(Phase::Sealed));
    run.restart();
    assert_eq!(run.world.phase(), Some(Phase::Sealed), "it waits the seal out");
    run.world.host.shutdown = Shutdown::UnderWay;
    run.feed(Input::Due(Timer::Deadline));
    assert_eq!(run.world.phase(), Some(Phase::Sealed), "the host goes down");
    run.world.host.shutdown = Shutdown::No;
    run.feed(Input::Due(Timer::Host));
    assert_eq!(
        run.world.phase(),
        Some(Phase::Draining),
        "nobody can issue it any more"
    );
    assert!(!run.rebooted());
}

#[test]
fn no_blind_reboot_past_the_seals_deadline() {
    // C13: a pause after the seal.
    let mut run = agent();
    run.world.reboot = Err(RebootFailure::Expired);
    run.reach_delay();
    run.feed(Input::Due(Timer::Delay));
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    let by = Disturbance::SealOver;
    assert!(run.reports.contains(&Report::Disturbed {
        by,
        next: Next::DrainAgain
    }));
    assert_eq!(run.world.lock.entries.len(), 1, "the entry is kept");
}

#[test]
fn no_blind_reboot_without_the_lock_entry() {
    let mut run = agent();
    run.reach_delay();
    run.world.lock.entries.clear();
    run.feed(Input::Due(Timer::Delay));
    assert_eq!(run.called_off(), Some(&Reason::EntryLost));
    assert!(!run.rebooted() && run.is_clean());
}

#[test]
fn without_verification_it_reboots_as_kured_does() {
    let mut run = Run::new(Policy {
        verify: false,
        ..policy()
    });
    run.wish();
    run.drain();
    assert!(!run.world.node.is_tainted(keys::REBOOTING));
    run.world.change(|node| node.spec.unschedulable = false);
    run.see();
    run.world.pods.push("default/late".to_owned());
    run.feed(Input::PodArrived("default/late".to_owned()));
    run.feed(Input::Due(Timer::Delay));
    assert!(
        run.rebooted(),
        "on a schedulable node with a pod: that is the hole"
    );
}

#[test]
fn nothing_stuck_a_reboot_that_failed_is_undone_only_on_evidence() {
    // C2: the command failed, but systemd hangs in a shutdown all the same.
    let mut run = agent();
    run.world.reboot = Err(RebootFailure::Failed("exit status 1".to_owned()));
    run.reach_delay();
    run.world.host.shutdown = Shutdown::UnderWay;
    run.feed(Input::Due(Timer::Delay));
    assert_eq!(run.world.phase(), Some(Phase::Sealed));
    run.feed(Input::Due(Timer::Reboot));
    assert_eq!(run.world.phase(), Some(Phase::Sealed), "time is no evidence");
    run.world.host.shutdown = Shutdown::No;
    run.feed(Input::Due(Timer::Host));
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    // Twice in vain: it stays sealed, keeps its entry, and says so.
    run.drain();
    run.feed(Input::Due(Timer::Delay));
    assert_eq!(run.world.phase(), Some(Phase::Sealed));
    assert!(matches!(run.reports.last(), Some(Report::StillSealed(_))));
    assert_eq!(run.world.lock.entries.len(), 1);
}

#[test]
fn nothing_stuck_each_write_may_fail_or_lose_its_answer() {
    let writes = [
        "wanted",
        "write lock",
        "draining",
        "delaying",
        "sealed",
        "returning",
        "give back",
    ];
    for write in writes {
        for applied in [Applied::Yes, Applied::No] {
            let mut run = agent();
            run.world
                .fail
                .push((write, Failure::Unknown("timeout".to_owned()), applied));
            for _ in 0..6 {
                run.wish();
                run.feed(Input::Due(Timer::Retry(1)));
                if run.world.phase() == Some(Phase::Draining) {
                    run.drain();
                }
                run.see();
                run.feed(Input::Due(Timer::Delay));
                if run.rebooted() && run.world.phase() == Some(Phase::Sealed) {
                    run.boot();
                }
                run.feed(Input::Due(Timer::Retry(1)));
                run.feed(Input::Due(Timer::Soak));
                run.feed(Input::Due(Timer::Backoff));
                if run.rebooted() && run.cycle.is_idle() {
                    break;
                }
            }
            assert!(run.rebooted(), "{write}");
            assert!(
                run.is_clean() && !run.world.node.spec.unschedulable,
                "{write}: {:?}",
                run.world.log
            );
        }
    }
}

#[test]
fn a_cancel_stops_it_before_the_seal_and_is_too_late_after() {
    let mut run = agent();
    run.reach_delay();
    run.world.cancel("the customer is on stage");
    run.see();
    assert_eq!(
        run.called_off(),
        Some(&Reason::Cancelled("the customer is on stage".to_owned()))
    );
    assert!(run.is_clean() && !run.rebooted() && run.world.node.annotation(keys::CANCEL).is_none());

    let mut run = agent();
    run.reach_delay();
    run.feed(Input::Due(Timer::Delay));
    run.world.cancel("too late");
    run.see();
    assert_eq!(run.world.phase(), Some(Phase::Sealed));
    assert!(matches!(run.reports.last(), Some(Report::TooLateToCancel(_))));
}

#[test]
fn a_cancel_planted_before_the_hold_names_nothing() {
    // C9: the stamp removes it; one that names the wish stops the cordon patch.
    let mut run = agent();
    run.world.change(|node| {
        let _ = node
            .metadata
            .annotations
            .insert(keys::CANCEL.to_owned(), "2020-01-01T00:00:00Z old".to_owned());
    });
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    assert!(run.world.node.annotation(keys::CANCEL).is_none());

    let mut run = agent();
    run.feed_until(Input::Sentinel(Some(CREATED.to_owned())), "read lock");
    run.world.cancel("planted");
    run.feed(Input::Lock(Ok(run.world.lock_view())));
    assert_eq!(run.called_off(), Some(&Reason::Cancelled("planted".to_owned())));
    assert!(run.is_clean());
}

#[test]
fn fail_safe_reading_marks_that_cannot_be_read_are_someone_elses() {
    let mut run = agent();
    run.world.change(|node| {
        let _ = node
            .metadata
            .labels
            .insert(keys::PHASE.to_owned(), "pondering".to_owned());
    });
    let before = run.world.node.clone();
    run.restart();
    run.wish();
    run.see();
    assert_eq!(run.world.node, before);
    assert!(matches!(run.reports.last(), Some(Report::Foreign(_))));
    // A person clears them: it goes on.
    run.world.change(|node| node.metadata.labels.clear());
    run.see();
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
}

#[test]
fn a_host_that_goes_down_or_cannot_be_asked_is_waited_for() {
    for shutdown in [Shutdown::UnderWay, Shutdown::Unknown("no systemctl".to_owned())] {
        let mut run = agent();
        run.reach_delay();
        run.world.host.shutdown = shutdown;
        run.restart();
        run.wish();
        run.see();
        assert_eq!(run.world.phase(), Some(Phase::Delaying));
        run.world.host.shutdown = Shutdown::No;
        run.feed(Input::Due(Timer::Host));
        assert_eq!(run.world.phase(), Some(Phase::Draining));
    }
}

fn peer(name: &str, created: &str, phase: Phase) -> NodeView {
    let mut node = World::new().node;
    node.metadata.name = name.to_owned();
    node.metadata.uid = format!("uid-{name}");
    let holder = Holder {
        node_uid: node.metadata.uid.clone(),
        created: created.to_owned(),
    };
    let _ = node
        .metadata
        .annotations
        .insert(keys::HOLDER.to_owned(), holder.to_string());
    let _ = node
        .metadata
        .labels
        .insert(keys::PHASE.to_owned(), phase.as_str().to_owned());
    node
}

#[test]
fn at_most_n_waits_for_a_live_entry_and_for_a_hold_without_entry() {
    let other = "2026-11-23T09:00:00Z";
    let mut with_entry = agent();
    with_entry.world.lock.entries.push(Entry::new("b", other, false));
    let _ = with_entry
        .world
        .peers
        .insert("b".to_owned(), peer("b", other, Phase::Wanted));
    let mut without_entry = agent();
    let _ = without_entry
        .world
        .peers
        .insert("b".to_owned(), peer("b", other, Phase::Sealed));
    for mut run in [with_entry, without_entry] {
        run.wish();
        assert_eq!(run.world.phase(), Some(Phase::Wanted));
        let holders = BTreeSet::from(["b".to_owned()]);
        assert!(run.reports.contains(&Report::LockHeld(holders)));
        // The other is done.
        run.world.peers.clear();
        run.world.lock.entries.clear();
        run.feed(Input::LockChanged);
        run.feed(Input::Due(Timer::Turn));
        assert_eq!(run.world.phase(), Some(Phase::Draining));
    }
}

#[test]
fn at_most_n_frees_the_entry_of_a_vanished_node_and_keeps_the_manual_lock() {
    let mut run = agent();
    run.world
        .lock
        .entries
        .push(Entry::new("b", "2026-11-23T09:00:00Z", false));
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    assert_eq!(run.world.lock.entries.len(), 1);

    let mut run = agent();
    run.world.lock.entries.push(Entry::new("manual", "", false));
    run.wish();
    assert_eq!(run.world.phase(), Some(Phase::Wanted));
    assert!(!is_over(&run.world.lock.entries[0], &BTreeSet::new(), None));
}

#[test]
fn nothing_stuck_a_soak_longer_than_a_renewal_ends() {
    let mut run = agent();
    run.reach_delay();
    run.feed(Input::Due(Timer::Delay));
    run.boot();
    run.acts.clear();
    run.feed(Input::Due(Timer::Renew));
    assert!(run.acts.contains(&Act::Arm(Timer::Renew)) && !run.acts.contains(&Act::Arm(Timer::Soak)));
    // A heartbeat under the last patch does not begin it anew either.
    run.world.fail.push(("give back", Failure::Conflict, Applied::No));
    run.feed(Input::Due(Timer::Soak));
    assert!(run.is_clean() && run.cycle.is_idle());
}

#[test]
fn nothing_stuck_a_node_that_never_gets_ready_is_said_again() {
    let mut run = agent();
    run.reach_delay();
    run.feed(Input::Due(Timer::Delay));
    run.world.change(|node| node.status.conditions.clear());
    run.boot();
    run.feed(Input::Due(Timer::Soak));
    run.feed(Input::Due(Timer::Renew));
    assert_eq!(run.world.phase(), Some(Phase::Returning));
    run.feed(Input::Due(Timer::Reboot));
    assert!(matches!(run.reports.last(), Some(Report::Retrying { .. })));
    assert_eq!(run.world.lock.entries.len(), 1, "it stops the line");
}

#[test]
fn the_hold_is_renewed_while_it_delays() {
    let mut run = agent();
    run.wish();
    // The drain ends while the API server is silent, and the renewal falls due in between.
    let silent = Failure::Unknown("timeout".to_owned());
    run.world.fail.push(("read node", silent, Applied::No));
    run.feed(Input::Drained);
    run.feed(Input::Due(Timer::Renew));
    run.acts.clear();
    run.feed(Input::Due(Timer::Retry(1)));
    assert_eq!(run.world.phase(), Some(Phase::Delaying));
    assert!(run.acts.contains(&Act::Arm(Timer::Renew)));
}

#[test]
fn a_pause_stops_a_wish_also_after_a_restart() {
    let mut run = agent();
    run.feed_until(Input::Sentinel(Some(CREATED.to_owned())), "read lock");
    assert_eq!(run.world.phase(), Some(Phase::Wanted));
    run.world.change(|node| {
        let _ = node
            .metadata
            .annotations
            .insert(keys::PAUSE.to_owned(), "on stage".to_owned());
    });
    run.restart();
    run.wish();
    assert_eq!(run.called_off(), Some(&Reason::Paused("on stage".to_owned())));
    assert!(run.is_clean() && !run.world.node.spec.unschedulable);
}

#[test]
fn cordon_given_back_restores_an_admins_cordon_that_another_cleared() {
    let mut run = Run::new(Policy {
        on_uncordon: OnUncordon::Abort,
        ..policy()
    });
    run.world.change(|node| node.spec.unschedulable = true);
    run.wish();
    run.world.change(|node| node.spec.unschedulable = false);
    run.see();
    assert!(run.is_clean() && run.world.node.spec.unschedulable);
}

#[test]
fn at_most_n_an_entry_that_names_no_node_fills_one_slot_and_no_more() {
    let mut run = Run::new(Policy {
        concurrency: 2,
        ..policy()
    });
    let nowhere = Entry::new("Not A Node", "2026-11-23T09:00:00Z", false);
    run.world.lock.entries.push(nowhere);
    run.feed_until(Input::Sentinel(Some(CREATED.to_owned())), "read peer");
    run.feed(Input::Peer(Err(Failure::Refused("no such name".to_owned()))));
    assert_eq!(run.world.phase(), Some(Phase::Draining));
    assert_eq!(run.world.lock.entries.len(), 2);
}

#[test]
fn nothing_stuck_a_wish_that_somebody_made_a_hold_is_undone() {
    // Two such nodes would fill each other's budget for ever.
    let mut run = agent();
    run.world.lock.entries.push(Entry::new("manual", "", false));
    run.wish();
    run.world.change(|node| {
        let _ = node
            .metadata
            .labels
            .insert(keys::PHASE.to_owned(), "sealed".to_owned());
    });
    run.see();
    assert_eq!(run.called_off(), Some(&Reason::Disturbed(Disturbance::Tampered)));
    assert_eq!(run.world.phase(), None);
}
