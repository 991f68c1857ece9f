//! Which pods leave, when each is evicted, and what the cycle is told.

use jiff::Timestamp;

use super::*;

mod properties;

const WALL: &str = "2026-01-01T00:00:00Z";

fn pod(uid: &str) -> PodView {
    let mut pod = PodView::default();
    uid.clone_into(&mut pod.metadata.uid);
    "default".clone_into(&mut pod.metadata.namespace);
    uid.clone_into(&mut pod.metadata.name);
    pod
}

fn ending(uid: &str) -> PodView {
    let mut pod = pod(uid);
    pod.metadata.deletion_timestamp = Some(WALL.to_owned());
    pod
}

fn mirror(uid: &str) -> PodView {
    let mut pod = pod(uid);
    drop(
        pod.metadata
            .annotations
            .insert("kubernetes.io/config.mirror".to_owned(), "x".to_owned()),
    );
    pod
}

fn of(kind: &str, name: &str, uid: &str) -> PodView {
    let mut pod = pod(uid);
    pod.metadata
        .owner_references
        .push(crate::reboot::pod::OwnerReference {
            api_version: "apps/v1".to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            controller: true,
            ..crate::reboot::pod::OwnerReference::default()
        });
    pod
}

fn of_daemon_set(uid: &str) -> PodView {
    of("DaemonSet", "log", uid)
}

fn of_replica_set(uid: &str) -> PodView {
    of("ReplicaSet", "operator", uid)
}

fn with_priority(uid: &str, priority: i32) -> PodView {
    let mut pod = pod(uid);
    pod.spec.priority = priority;
    pod
}

fn log() -> DaemonSet {
    DaemonSet {
        namespace: "default".to_owned(),
        name: "log".to_owned(),
    }
}

fn blocked(budget: &str) -> Evicted {
    Evicted::Blocked {
        budget: Some(budget.to_owned()),
        why: format!("The disruption budget {budget} needs 1 healthy pods and has 1 currently"),
        retry_after: None,
    }
}

fn second(seconds: u64) -> Uptime {
    Uptime::after(Duration::from_secs(seconds))
}

/// A drain with a clock of its own.
struct Run {
    drain: Drain,
    now: Uptime,
}

impl Run {
    fn new(options: Options, delay: Duration) -> Run {
        Run {
            drain: Drain::new(options, delay, Uptime::START),
            now: Uptime::START,
        }
    }

    fn listed(options: Options, pods: &[PodView]) -> Run {
        let mut run = Run::new(options, Duration::ZERO);
        run.observe(Change::Listed(pods.to_vec()));
        run
    }

    fn at(&self) -> Moment {
        let start: Timestamp = WALL.parse().unwrap();
        Moment {
            now: self.now,
            wall: start + self.now.since_start(),
        }
    }

    fn observe(&mut self, change: Change<PodView>) {
        let at = self.at();
        self.drain.observe(change, at);
    }

    /// The uids of the pods to evict now. Each counts as under way until the drain is told what became of it.
    fn evictions(&mut self) -> Vec<String> {
        let tasks = self.drain.take_due(self.now, 0).into_iter();
        let uids = tasks.filter_map(|task| match task {
            Task::Evict(pod) => Some(pod.metadata.uid),
            _ => None,
        });
        uids.collect()
    }

    fn note(&mut self, done: Done) -> Option<Trouble> {
        let at = self.at();
        self.drain.note(done, at, 100)
    }

    fn evicted(&mut self, uid: &str, evicted: Evicted) -> Option<Trouble> {
        self.note(Done::Evicted(uid.to_owned(), evicted))
    }

    fn tell(&mut self) -> Vec<DrainNews> {
        self.drain.tell(self.now)
    }

    fn next(&self) -> Uptime {
        self.drain.next_due(self.now, 0).unwrap()
    }

    /// Moves the clock to the next time that something is due.
    fn pass(&mut self) {
        assert!(self.next() > self.now, "it would never sleep");
        self.now = self.next();
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

fn run(pods: &[PodView]) -> Run {
    Run::listed(Options::default(), pods)
}

#[test]
fn a_drain_is_not_over_before_the_first_list() {
    let mut drain = Run::new(Options::default(), Duration::ZERO);
    drain.wait(60);
    assert!(drain.tell().is_empty() && drain.next() > drain.now);
    assert_eq!(run(&[mirror("a")]).tell(), [DrainNews::Drained(BTreeSet::new())]);
}

#[test]
fn pods_that_are_ending_are_waited_for_and_not_evicted() {
    let mut run = run(&[ending("a"), pod("b")]);
    assert_eq!(run.evictions(), ["b"]);
    run.observe(Change::Gone(pod("b")));
    run.wait(86_400);
    assert!(!run.tell().contains(&DrainNews::Drained(BTreeSet::new())));
    run.observe(Change::Gone(ending("a")));
    assert_eq!(run.tell(), [DrainNews::Drained(BTreeSet::new())]);
}

#[test]
fn no_more_are_evicted_at_once_than_there_is_room() {
    let options = Options {
        parallel: 2,
        ..Options::default()
    };
    let mut run = Run::listed(options, &[pod("a"), pod("b"), pod("c")]);
    assert_eq!(run.evictions(), ["a", "b"]);
    assert!(run.drain.take_due(run.now, 2).is_empty());
    assert_eq!(run.drain.take_due(run.now, 1), [Task::Evict(pod("c"))]);
}

#[test]
fn nothing_is_evicted_before_the_delay_is_over() {
    let delayed = |pods: &[PodView]| {
        let mut run = Run::new(Options::default(), Duration::from_secs(3));
        run.observe(Change::Listed(pods.to_vec()));
        run
    };
    let mut run = delayed(&[pod("a")]);
    assert!(run.evictions().is_empty());
    run.pass();
    assert_eq!((run.now, run.evictions()), (second(3), vec!["a".to_owned()]));
    // With nobody there to be warned it would delay for nothing.
    assert_eq!(delayed(&[]).tell(), [DrainNews::Drained(BTreeSet::new())]);
}

/// kured lists the pods once and misses those that arrive later (its defect D2).
#[test]
fn d2_a_pod_that_arrives_during_the_drain_is_evicted_too() {
    let mut run = run(&[pod("a")]);
    assert_eq!(run.evictions(), ["a"]);
    run.observe(Change::Present(pod("b")));
    run.observe(Change::Gone(pod("a")));
    assert!(run.tell().is_empty());
    assert_eq!(run.evictions(), ["b"]);
    run.observe(Change::Gone(pod("b")));
    assert_eq!(run.tell(), [DrainNews::Drained(BTreeSet::new())]);
}

#[test]
fn a_pod_that_arrives_after_the_drain_is_told_once() {
    let mut run = run(&[]);
    assert_eq!(run.tell(), [DrainNews::Drained(BTreeSet::new())]);
    run.observe(Change::Present(pod("a")));
    assert_eq!(run.tell(), [DrainNews::PodArrived("default/a".to_owned())]);
    run.observe(Change::Present(pod("a")));
    run.observe(Change::Listed(vec![pod("a")]));
    assert!(run.tell().is_empty() && run.evictions().is_empty());
}

#[test]
fn a_list_after_a_gap_forgets_who_left_and_finds_who_came() {
    let mut run = run(&[pod("a"), pod("b")]);
    run.observe(Change::Gap);
    run.observe(Change::Listed(vec![pod("b"), pod("c")]));
    assert_eq!(run.evictions(), ["b", "c"]);
}

/// kubectl evicts by name, and so also hits a pod of the same name that is on another node by now (kubereboot/kured issue 1169).
#[test]
fn a_namesake_is_another_pod() {
    let mut run = run(&[pod("a")]);
    assert_eq!(run.evictions(), ["a"]);
    let mut namesake = pod("b");
    "a".clone_into(&mut namesake.metadata.name);
    run.observe(Change::Gone(pod("a")));
    run.observe(Change::Present(namesake.clone()));
    // The answer about the first says nothing about the second.
    assert_eq!(run.evicted("a", Evicted::Accepted), None);
    assert_eq!(run.drain.take_due(run.now, 0), [Task::Evict(namesake)]);
}

#[test]
fn what_a_drain_costs_is_counted_by_pod_and_by_refusal() {
    let mut run = run(&[pod("a"), pod("b"), pod("c")]);
    assert_eq!(run.evictions().len(), 3);
    // Sent again because its pod does not go, it is the same pod.
    drop(run.evicted("a", Evicted::Accepted));
    drop(run.evicted("a", Evicted::Accepted));
    // The watch was faster than the answer.
    run.observe(Change::Gone(pod("b")));
    drop(run.evicted("b", Evicted::Accepted));
    drop(run.evicted("c", blocked("web")));
    drop(run.evicted("c", Evicted::Failed("no answer".to_owned())));
    drop(run.evicted("c", Evicted::Never("two budgets".to_owned())));
    let cost = Cost {
        evicted: 2,
        refused: 2,
    };
    assert_eq!(run.drain.take_cost(), cost);
    assert_eq!(run.drain.take_cost(), Cost::default());
}

/// kured's pause is 0 s since kubectl 0.35: five tries a second for one pod (its defect D13).
#[test]
fn d13_a_blocked_pod_is_tried_after_pauses_that_grow_and_its_budget_is_named() {
    let mut run = run(&[pod("a")]);
    let mut tries = 0;
    while run.now < second(60) {
        if !run.evictions().is_empty() {
            tries += 1;
            let trouble = run.evicted("a", blocked("web"));
            // Told once.
            assert_eq!(trouble.is_some(), tries == 1, "try {tries}");
            let named = trouble.is_none_or(|trouble| trouble.budget.as_deref() == Some("default/web"));
            assert!(named);
        }
        drop(run.tell());
        run.pass();
    }
    assert!((10..=16).contains(&tries), "{tries} tries in a minute");
    drop(run.evictions());
    assert!(
        run.evicted("a", blocked("db")).is_some(),
        "another budget is news"
    );
}

#[test]
fn the_api_servers_own_pause_is_kept_within_a_bound() {
    for (asked, waited) in [(3, 3), (600, 10)] {
        let mut run = run(&[pod("a")]);
        drop(run.evictions());
        let Evicted::Blocked { budget, why, .. } = blocked("web") else {
            unreachable!()
        };
        let retry_after = Some(Duration::from_secs(asked));
        drop(run.evicted(
            "a",
            Evicted::Blocked {
                budget,
                why,
                retry_after,
            },
        ));
        let pause = run.drain.pods.next_eviction(run.now, false).unwrap();
        let (pause, longest) = (pause.since_start(), Duration::from_secs(waited));
        assert!(pause <= longest && pause >= longest.mul_f64(0.8), "{pause:?}");
    }
}

/// kubectl, and so kured, ends the drain at the first refusal of this kind. Here the eviction is tried again.
#[test]
fn a_webhook_that_refuses_once_does_not_disqualify_a_pod() {
    let mut run = run(&[pod("a")]);
    for why in [
        "admission webhook denied the request",
        "an internal error",
        "no answer",
    ] {
        assert_eq!(run.evictions(), ["a"], "{why}");
        let trouble = run.evicted("a", Evicted::Failed(why.to_owned())).unwrap();
        assert_eq!((trouble.of.as_str(), trouble.why.as_str()), ("default/a", why));
        run.now = run.drain.pods.next_eviction(run.now, false).unwrap();
    }
    assert_eq!(run.evictions(), ["a"]);
    run.observe(Change::Gone(pod("a")));
    assert_eq!(run.tell(), [DrainNews::Drained(BTreeSet::new())]);
}

#[test]
fn an_accepted_eviction_that_ends_nothing_is_sent_again() {
    let mut run = run(&[pod("a")]);
    drop(run.evictions());
    drop(run.evicted("a", Evicted::Accepted));
    assert_eq!(run.drain.pods.next_eviction(run.now, false), Some(second(30)));
    run.observe(Change::Present(ending("a")));
    assert_eq!(run.drain.pods.next_eviction(run.now, false), None);
}

#[test]
fn an_answer_that_comes_after_the_pod_ended_changes_nothing() {
    let mut run = run(&[pod("a")]);
    drop(run.evictions());
    run.observe(Change::Present(ending("a")));
    drop(run.evicted("a", blocked("web")));
    assert!(run.evictions().is_empty());
    run.observe(Change::Gone(ending("a")));
    assert_eq!(run.evicted("a", blocked("web")), None);
    assert_eq!(run.tell(), [DrainNews::Drained(BTreeSet::new())]);
}

#[test]
fn a_pod_that_should_be_gone_is_given_up_after_the_skip_wait() {
    let options = Options {
        skip_wait: Some(SignedDuration::from_secs(30)),
        ..Options::default()
    };
    let mut run = Run::listed(options, &[ending("a")]);
    while !run.tell().contains(&DrainNews::Drained(BTreeSet::new())) {
        run.pass();
    }
    assert_eq!(run.now, second(30));
    // It is still there, and no newcomer.
    run.observe(Change::Present(ending("a")));
    assert!(run.tell().is_empty());
}

#[test]
fn pods_of_a_daemon_set_stay_once_it_is_known_to_exist() {
    let mut run = run(&[of_daemon_set("a"), of_daemon_set("b")]);
    assert!(run.tell().is_empty());
    assert_eq!(run.drain.take_due(run.now, 0), [Task::LookUp(log())]);
    assert!(run.drain.take_due(run.now, 0).is_empty(), "one look is enough");
    assert_eq!(run.note(Done::LookedUp(log(), Ok(true))), None);
    assert!(!run.drain.is_over());
    assert_eq!(run.tell(), [DrainNews::Drained(BTreeSet::new())]);
    assert!(run.drain.is_over());
    run.observe(Change::Present(of_daemon_set("c")));
    assert!(run.tell().is_empty());
}

#[test]
fn only_the_pods_of_the_daemon_set_that_does_not_exist_are_orphans() {
    let mut run = run(&[of("DaemonSet", "net", "a"), of_daemon_set("b")]);
    while !run.drain.take_due(run.now, 0).is_empty() {}
    drop(run.note(Done::LookedUp(log(), Ok(false))));
    assert_eq!(run.evictions(), ["b"]);
}

#[test]
fn orphans_of_a_daemon_set_that_does_not_exist_are_evicted() {
    let mut run = run(&[of_daemon_set("a")]);
    drop(run.drain.take_due(run.now, 0));
    drop(run.note(Done::LookedUp(log(), Ok(false))));
    assert_eq!(run.evictions(), ["a"]);
    run.observe(Change::Present(of_daemon_set("b")));
    assert_eq!(run.evictions(), ["b"]);
}

#[test]
fn an_orphan_that_shows_after_the_drain_is_an_arrival() {
    let mut run = run(&[]);
    assert_eq!(run.tell(), [DrainNews::Drained(BTreeSet::new())]);
    run.observe(Change::Present(of_daemon_set("a")));
    assert!(run.tell().is_empty());
    assert_eq!(run.drain.take_due(run.now, 0), [Task::LookUp(log())]);
    drop(run.note(Done::LookedUp(log(), Ok(false))));
    assert_eq!(run.tell(), [DrainNews::PodArrived("default/a".to_owned())]);
}

#[test]
fn a_daemon_set_that_cannot_be_looked_up_keeps_the_drain_open_and_says_so() {
    let mut run = run(&[of_daemon_set("a")]);
    for round in 0..3 {
        assert_eq!(run.drain.take_due(run.now, 0), [Task::LookUp(log())]);
        let trouble = run.note(Done::LookedUp(log(), Err("forbidden".to_owned())));
        assert_eq!(trouble.is_some(), round == 0);
        run.now = run.drain.pods.next_look_up().unwrap();
    }
    run.wait(5);
    let told = run.tell();
    let [DrainNews::Progress(progress)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(progress.blockers, ["DaemonSet default/log cannot be looked up"]);
}

#[test]
fn waves_go_by_priority_and_the_next_waits_for_the_one_before() {
    let options = Options {
        by_priority: true,
        ..Options::default()
    };
    let critical = 2_000_000_000;
    let pods = [
        with_priority("c", critical),
        with_priority("b", 0),
        with_priority("a", -5),
        with_priority("d", 0),
    ];
    let mut run = Run::listed(options, &pods);
    assert_eq!(run.evictions(), ["a"]);
    drop(run.evicted("a", Evicted::Accepted));
    assert!(run.evictions().is_empty());
    run.observe(Change::Gone(pod("a")));
    assert_eq!(run.evictions(), ["b", "d"]);
    run.observe(Change::Gone(pod("b")));
    // A late pod of a lower priority goes first.
    run.observe(Change::Present(with_priority("e", -5)));
    run.observe(Change::Gone(pod("d")));
    assert_eq!(run.evictions(), ["e"]);
    run.observe(Change::Gone(pod("e")));
    assert_eq!(run.evictions(), ["c"]);
}

/// The pods are gone, and volumes are waited for at most this long.
fn emptied(volumes: Duration) -> Run {
    let options = Options {
        volumes: Some(volumes),
        ..Options::default()
    };
    Run::listed(options, &[])
}

#[test]
fn volumes_are_waited_for_when_the_pods_are_gone() {
    let mut run = emptied(Duration::from_secs(60));
    assert!(run.tell().is_empty());
    assert_eq!(run.drain.take_due(run.now, 0), [Task::ListVolumes]);
    assert_eq!(
        run.note(Done::Volumes(Err("forbidden".to_owned())))
            .map(|trouble| trouble.why)
            .as_deref(),
        Some("forbidden")
    );
    while run.drain.take_due(run.now, 0).is_empty() {
        run.pass();
        drop(run.tell());
    }
    let again = run.note(Done::Volumes(Err("forbidden".to_owned())));
    assert_eq!(again, None, "it is told once");
    for attached in [vec!["csi-1".to_owned()], Vec::new()] {
        assert!(!run.tell().contains(&DrainNews::Drained(BTreeSet::new())));
        while run.drain.take_due(run.now, 0).is_empty() {
            run.pass();
            drop(run.tell());
        }
        drop(run.note(Done::Volumes(Ok(attached))));
    }
    assert_eq!(run.tell(), [DrainNews::Drained(BTreeSet::new())]);
    assert!(run.now < second(10), "{:?}", run.now);
}

#[test]
fn volumes_that_stay_are_named_and_left_behind_when_their_time_is_up() {
    let mut run = emptied(Duration::from_secs(20));
    let mut told = run.tell();
    while !told.contains(&DrainNews::Drained(BTreeSet::new())) {
        if !run.drain.take_due(run.now, 0).is_empty() {
            drop(run.note(Done::Volumes(Ok(vec!["csi-1".to_owned()]))));
        }
        run.pass();
        told = run.tell();
    }
    assert_eq!(run.now, second(20));
    let [DrainNews::Progress(progress), DrainNews::Drained(_)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(progress.attached, ["csi-1"]);
}

#[test]
fn volumes_listed_before_a_pod_came_late_say_nothing_of_its_volumes() {
    let mut run = emptied(Duration::from_secs(60));
    assert!(run.tell().is_empty());
    assert_eq!(run.drain.take_due(run.now, 0), [Task::ListVolumes]);
    run.observe(Change::Present(ending("1")));
    assert!(run.tell().is_empty());
    run.observe(Change::Gone(ending("1")));
    assert!(run.tell().is_empty());
    // One list at a time.
    assert_eq!(run.drain.take_due(run.now, 1), []);
    assert_eq!(run.note(Done::Volumes(Ok(Vec::new()))), None);
    assert!(run.tell().is_empty(), "that list is older than the pod");
    assert_eq!(run.drain.take_due(run.now, 0), [Task::ListVolumes]);
    assert_eq!(run.note(Done::Volumes(Ok(Vec::new()))), None);
    assert_eq!(run.tell(), [DrainNews::Drained(BTreeSet::new())]);
}

#[test]
fn progress_is_told_at_a_bounded_rate_and_only_where_it_is_news() {
    let pods: Vec<PodView> = (10..50).map(|number| pod(&number.to_string())).collect();
    let mut run = run(&pods);
    let mut told = Vec::new();
    let mut left = pods.iter();
    for _ in 0..600 {
        if let Some(pod) = left.next() {
            run.observe(Change::Gone(pod.clone()));
            run.observe(Change::Present(ending("99")));
        }
        for input in run.tell() {
            told.push((run.now.since_start().as_secs(), input));
        }
        run.wait(1);
    }
    let times: Vec<u64> = told.iter().map(|(time, _)| *time).collect();
    assert_eq!(times, [5, 20, 35, 50, 350], "then only a reminder");
    let DrainNews::Progress(progress) = &told[0].1 else {
        panic!("{told:?}")
    };
    assert_eq!(
        progress.to_string(),
        "6 gone, 35 left (1 ending); waiting for pods default/16, default/17, default/18, default/19, default/20"
    );
}

#[test]
fn a_drain_is_blocked_by_pods_that_cannot_leave_and_by_volumes_that_stay() {
    let named = || vec!["db/pg".to_owned()];
    assert!(!Progress::default().is_blocked());
    let of_pods = Progress {
        blockers: named(),
        ..Progress::default()
    };
    let of_volumes = Progress {
        attached: named(),
        ..Progress::default()
    };
    assert!(of_pods.is_blocked() && of_volumes.is_blocked());
}

#[test]
fn progress_names_who_blocks_within_bounds() {
    let mut run = run(&[pod("a"), pod("b")]);
    drop(run.evictions());
    drop(run.evicted("a", blocked("web")));
    drop(run.evicted("b", Evicted::Failed("x".repeat(10_000))));
    run.wait(5);
    let told = run.tell();
    let [DrainNews::Progress(progress)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert!(progress.is_blocked());
    let text = progress.to_string();
    assert!(
        text.starts_with("0 gone, 2 left; blocked by PodDisruptionBudget default/web, xxx"),
        "{text}"
    );
    assert!(text.len() < 1_000, "{}", text.len());
}

/// A controller puts its pod back after each eviction, although the pod does not tolerate the cordon: the drain does not end, its evictions
/// become rare, and its progress names the controller.
/// A run with this pod of a controller that puts each of its pods back at once, and how many seconds each of them waited for its eviction.
fn put_back(mut run: Run, rounds: u64) -> (Run, Vec<u64>) {
    let mut waited = Vec::new();
    for round in 0..rounds {
        let mut seconds = 0;
        while run.evictions().is_empty() {
            run.wait(1);
            seconds += 1;
        }
        waited.push(seconds);
        let uid = format!("p{round}");
        assert_eq!(run.evicted(&uid, Evicted::Accepted), None);
        let mut leaving = of_replica_set(&uid);
        leaving.metadata.deletion_timestamp = Some(WALL.to_owned());
        run.observe(Change::Present(leaving.clone()));
        run.observe(Change::Present(of_replica_set(&format!("p{}", round + 1))));
        run.observe(Change::Gone(leaving));
        assert!(!run.drain.is_over());
    }
    (run, waited)
}

#[test]
fn a_controller_that_puts_its_pods_back_is_slowed_down_and_named() {
    let (mut run, waited) = put_back(run(&[of_replica_set("p0")]), 10);
    assert_eq!(waited, [0, 0, 0, 0, 5, 10, 20, 40, 60, 60]);
    run.wait(20);
    let told = run.tell();
    let [DrainNews::Progress(progress)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert!(progress.is_blocked() && progress.blockers[0].starts_with("ReplicaSet default/operator"));
}

#[test]
fn a_pod_that_was_there_beside_one_that_was_leaving_is_not_one_that_was_put_back() {
    let mut leaving = of_replica_set("a");
    leaving.metadata.deletion_timestamp = Some(WALL.to_owned());
    let mut run = run(&[leaving.clone(), of_replica_set("p0")]);
    run.observe(Change::Gone(leaving));
    assert_eq!(put_back(run, 5).1, [0, 0, 0, 0, 5]);
}

/// Ten pods of one controller that were there from the beginning do not count as put back, although one of them is being deleted.
#[test]
fn pods_that_were_there_when_the_drain_began_do_not_wait() {
    let mut leaving = of_replica_set("a");
    leaving.metadata.deletion_timestamp = Some(WALL.to_owned());
    let pods: Vec<PodView> = std::iter::once(leaving)
        .chain((0..9).map(|number| of_replica_set(&format!("p{number}"))))
        .collect();
    assert_eq!(run(&pods).evictions().len(), 9);
}

/// This pod with these tolerations, given as JSON.
fn tolerant(mut pod: PodView, tolerations: &str) -> PodView {
    pod.spec.tolerations = serde_json::from_str(tolerations).unwrap();
    pod
}

const ALL: &str = r#"[{"operator":"Exists"}]"#;
const CORDON_ALONE: &str =
    r#"[{"key":"node.kubernetes.io/unschedulable","operator":"Exists","effect":"NoSchedule"}]"#;

impl Run {
    /// Evicts this pod, and its owner puts the next one in its place.
    /// Returns whether there was anything to evict within two minutes.
    fn replaces(&mut self, old: &PodView, new: &PodView) -> bool {
        let mut seconds = 0;
        while self.evictions().is_empty() {
            self.wait(1);
            seconds += 1;
            if seconds > 120 {
                return false;
            }
        }
        assert_eq!(self.evicted(&old.metadata.uid, Evicted::Accepted), None);
        let mut leaving = old.clone();
        leaving.metadata.deletion_timestamp = Some(WALL.to_owned());
        self.observe(Change::Present(leaving.clone()));
        self.observe(Change::Present(new.clone()));
        self.observe(Change::Gone(leaving));
        true
    }
}

#[test]
fn found_p4_what_its_owner_puts_back_three_times_stays_if_it_tolerates_the_drain() {
    let owner = BTreeSet::from(["ReplicaSet default/operator".to_owned()]);
    for (tolerations, returning, times) in [
        (ALL, Returning::Leave, 3),
        (CORDON_ALONE, Returning::Leave, 9),
        ("[]", Returning::Leave, 9),
        (ALL, Returning::Wait, 9),
    ] {
        let pod = |number: usize| tolerant(of_replica_set(&format!("p{number}")), tolerations);
        let options = Options {
            returning,
            ..Options::default()
        };
        let mut run = Run::listed(options, &[pod(0)]);
        let replaced = (0..9).take_while(|number| run.replaces(&pod(*number), &pod(number + 1)));
        assert_eq!(replaced.count(), times, "{tolerations} {returning:?}");
        let told = run.tell();
        if times == 9 {
            assert!(!run.drain.is_over(), "{tolerations} {returning:?}: {told:?}");
            continue;
        }
        let [DrainNews::Progress(progress), DrainNews::Drained(kept)] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert_eq!(kept, &owner);
        let words = progress.to_string();
        assert_eq!(
            words,
            "3 gone, 0 left; staying because their owner puts them back default/p3"
        );
        // It goes by itself, and comes again: that is no arrival. One of another owner is.
        run.observe(Change::Gone(pod(3)));
        run.observe(Change::Present(pod(4)));
        assert_eq!(run.tell(), []);
        let other = tolerant(of("ReplicaSet", "web", "w"), ALL);
        run.observe(Change::Present(other));
        assert_eq!(run.tell(), [DrainNews::PodArrived("default/w".to_owned())]);
    }
}

/// Many replicas that the scheduler puts here in one round count as put back once.
#[test]
fn found_p4_ten_pods_at_once_are_not_put_back_ten_times() {
    let pod = |round: usize, number: usize| tolerant(of_replica_set(&format!("p{round}-{number}")), ALL);
    let of_round = |round| (0..10).map(|number| pod(round, number)).collect::<Vec<_>>();
    let mut run = Run::listed(Options::default(), &of_round(0));
    for round in 0..3 {
        assert_eq!(run.evictions().len(), 10, "round {round}");
        for pod in of_round(round) {
            assert_eq!(run.evicted(&pod.metadata.uid, Evicted::Accepted), None);
            run.observe(Change::Gone(pod));
        }
        for pod in of_round(round + 1) {
            run.observe(Change::Present(pod));
        }
    }
    assert!(run.evictions().is_empty());
    run.wait(10);
    assert!(matches!(
        run.tell().as_slice(),
        [DrainNews::Progress(_), DrainNews::Drained(_)]
    ));
}

/// A replacement may come only after the old pod has gone: a `StatefulSet` creates it only then, or the scheduler had no room for it before.
#[test]
fn found_p4_a_drain_waits_for_a_tolerant_pod_to_come_back_after_it_has_gone() {
    let tolerates = |uid: &str| tolerant(of_replica_set(uid), ALL);
    let is_over = |told: &[DrainNews]| told.iter().any(|told| matches!(told, DrainNews::Drained(_)));
    let mut run = run(&[tolerates("p0")]);
    assert_eq!(run.evictions().len(), 1);
    run.observe(Change::Gone(tolerates("p0")));
    run.wait(9);
    assert!(!is_over(&run.tell()));
    run.observe(Change::Present(tolerates("p1")));
    assert_eq!(run.evictions().len(), 1);
    run.observe(Change::Gone(tolerates("p1")));
    let due = run.drain.next_due(run.now, 0);
    assert!(due.is_some_and(|due| due <= run.now + Duration::from_secs(10)));
    run.wait(10);
    assert!(is_over(&run.tell()));

    // Nobody puts back what is nobody's, or what is kept away.
    for pod in [tolerant(pod("p"), ALL), of_replica_set("p")] {
        let mut run = Run::listed(Options::default(), std::slice::from_ref(&pod));
        assert_eq!(run.evictions().len(), 1);
        run.observe(Change::Gone(pod));
        assert!(is_over(&run.tell()));
    }
}

#[test]
fn found_p18_a_pod_that_can_never_be_evicted_is_told_once() {
    let mut run = run(&[pod("a")]);
    assert_eq!(run.evictions().len(), 1);
    let trouble = run.evicted("a", Evicted::Never("two budgets".to_owned()));
    assert_eq!(trouble.map(|trouble| trouble.why), Some("two budgets".to_owned()));
    assert_eq!(
        run.tell(),
        [DrainNews::Unevictable("default/a: two budgets".to_owned())]
    );
    assert_eq!(run.tell(), []);
}
