//! What is true of every drain, whatever the pods and the API server do: what it evicts, how many times, and that it ends.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::reboot::pod;

/// A pod that appears.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Ending,
    Mirror,
    /// Of the DaemonSet that exists.
    Log,
    /// Of a DaemonSet that is gone.
    Orphan,
    FinishedOfLog,
    OfReplicaSet,
    /// Its owner wants it here: it tolerates cordon and taint.
    Tolerant,
    LowPriority,
}

fn orphan() -> DaemonSet {
    DaemonSet {
        namespace: "default".to_owned(),
        name: "orphan".to_owned(),
    }
}

impl Kind {
    fn pod(self, uid: &str) -> PodView {
        match self {
            Kind::Plain => pod(uid),
            Kind::Ending => ending(uid),
            Kind::Mirror => mirror(uid),
            Kind::Log => of_daemon_set(uid),
            Kind::Orphan => of("DaemonSet", &orphan().name, uid),
            Kind::FinishedOfLog => {
                let mut pod = of_daemon_set(uid);
                "Succeeded".clone_into(&mut pod.status.phase);
                pod
            }
            Kind::OfReplicaSet => of_replica_set(uid),
            Kind::Tolerant => tolerant(of("ReplicaSet", "tolerant", uid), ALL),
            Kind::LowPriority => with_priority(uid, -1),
        }
    }
}

const KINDS: [Kind; 9] = [
    Kind::Plain,
    Kind::Ending,
    Kind::Mirror,
    Kind::Log,
    Kind::Orphan,
    Kind::FinishedOfLog,
    Kind::OfReplicaSet,
    Kind::Tolerant,
    Kind::LowPriority,
];

/// What happens to the node, or what the API server answers.
#[derive(Clone, Debug)]
enum Event {
    Arrives(Kind),
    /// This pod gets a deletion timestamp.
    Ends(Index),
    Goes(Index),
    /// The watch lost its place: what happens to this pod meanwhile is only seen in the list.
    Gap(Index),
    /// A task that is under way succeeds.
    Succeeds(Index),
    /// It fails, or a budget blocks it: to be asked again after so many seconds.
    Fails(Index, Option<u64>),
    /// So many milliseconds pass.
    Passes(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => proptest::sample::select(&KINDS).prop_map(Event::Arrives),
        2 => any::<Index>().prop_map(Event::Ends),
        2 => any::<Index>().prop_map(Event::Goes),
        1 => any::<Index>().prop_map(Event::Gap),
        4 => any::<Index>().prop_map(Event::Succeeds),
        3 => (any::<Index>(), proptest::option::of(1..20_u64)).prop_map(|(which, after)| Event::Fails(which, after)),
        4 => prop_oneof![1..3000_u64, 1..60_000_u64].prop_map(Event::Passes),
    ]
}

/// Options of a drain, and the delay before the first eviction.
fn any_options() -> impl Strategy<Value = (Options, Duration)> {
    let skip_wait = proptest::option::of((0..60_i64).prop_map(SignedDuration::from_secs));
    let returning = proptest::sample::select(vec![Returning::Leave, Returning::Wait]);
    let volumes = proptest::option::of((0..20_u64).prop_map(Duration::from_secs));
    (0..5_u64, 0..4_usize, any::<bool>(), skip_wait, returning, volumes).prop_map(
        |(delay, parallel, by_priority, skip_wait, returning, volumes)| {
            let options = Options {
                parallel,
                by_priority,
                skip_wait,
                returning,
                volumes,
            };
            (options, Duration::from_secs(delay))
        },
    )
}

/// A node with its pods, and a drain of it.
struct World {
    run: Run,
    options: Options,
    /// No eviction before.
    begin: Uptime,
    pods: BTreeMap<String, PodView>,
    count: usize,
    under_way: Vec<Task>,
    kinds: BTreeMap<String, Kind>,
    /// The `DaemonSets` of which the drain was told whether they exist.
    answered: BTreeSet<DaemonSet>,
    /// No eviction of this pod before.
    not_before: BTreeMap<String, Uptime>,
    told_progress: Option<Uptime>,
    /// How many pods have left: those that had to leave for certain, and those that may have been allowed to stay.
    gone: (usize, usize),
    drained: Option<BTreeSet<String>>,
}

impl World {
    fn new(options: Options, delay: Duration, kinds: &[Kind]) -> World {
        let mut world = World {
            run: Run::new(options.clone(), delay),
            options,
            begin: Uptime::START + delay,
            pods: BTreeMap::new(),
            count: 0,
            under_way: Vec::new(),
            kinds: BTreeMap::new(),
            answered: BTreeSet::new(),
            not_before: BTreeMap::new(),
            told_progress: None,
            gone: (0, 0),
            drained: None,
        };
        for kind in kinds {
            drop(world.place(*kind));
        }
        world.list();
        world
    }

    fn place(&mut self, kind: Kind) -> PodView {
        self.count += 1;
        let pod = kind.pod(&format!("p{}", self.count));
        self.kinds.extend([(pod.metadata.uid.clone(), kind)]);
        drop(self.pods.insert(pod.metadata.uid.clone(), pod.clone()));
        pod
    }

    fn list(&mut self) {
        let pods = self.pods.values().cloned().collect();
        self.run.observe(Change::Listed(pods));
    }

    fn pick(&self, which: Index) -> Option<PodView> {
        let pods: Vec<&PodView> = self.pods.values().collect();
        (!pods.is_empty()).then(|| (*which.get(&pods)).clone())
    }

    fn goes(&mut self, pod: PodView) {
        self.leaves(&pod);
        self.run.observe(Change::Gone(pod));
    }

    fn leaves(&mut self, pod: &PodView) {
        drop(self.pods.remove(&pod.metadata.uid));
        match self.kinds[&pod.metadata.uid] {
            Kind::Mirror | Kind::Log => {}
            Kind::Orphan | Kind::Tolerant => self.gone.1 += 1,
            Kind::Plain | Kind::Ending | Kind::FinishedOfLog | Kind::OfReplicaSet | Kind::LowPriority => {
                self.gone.0 += 1;
            }
        }
    }

    fn ends(&mut self, mut pod: PodView) {
        pod.metadata.deletion_timestamp = Some(self.run.at().wall.to_string());
        drop(self.pods.insert(pod.metadata.uid.clone(), pod.clone()));
        self.run.observe(Change::Present(pod));
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Arrives(kind) => {
                let pod = self.place(*kind);
                self.run.observe(Change::Present(pod));
            }
            Event::Ends(which) => {
                if let Some(pod) = self.pick(*which) {
                    self.ends(pod);
                }
            }
            Event::Goes(which) => {
                if let Some(pod) = self.pick(*which) {
                    self.goes(pod);
                }
            }
            Event::Gap(which) => {
                self.run.observe(Change::Gap);
                if let Some(lost) = self.pick(*which) {
                    self.leaves(&lost);
                }
                drop(self.place(Kind::OfReplicaSet));
                self.list();
            }
            Event::Succeeds(which) if !self.under_way.is_empty() => {
                let task = self.under_way.remove(which.index(self.under_way.len()));
                self.succeeds(task);
            }
            Event::Fails(which, after) if !self.under_way.is_empty() => {
                let task = self.under_way.remove(which.index(self.under_way.len()));
                self.fails(task, *after);
            }
            Event::Succeeds(_) | Event::Fails(..) => {}
            Event::Passes(milliseconds) => self.run.now += Duration::from_millis(*milliseconds),
        }
        self.turn();
    }

    fn succeeds(&mut self, task: Task) {
        match task {
            Task::Evict(pod) => {
                let uid = pod.metadata.uid;
                drop(self.run.evicted(&uid, Evicted::Accepted));
                self.pause(&uid, Duration::from_secs(30));
            }
            Task::LookUp(daemon_set) => {
                let exists = daemon_set == log();
                self.answered.extend([daemon_set.clone()]);
                drop(self.run.note(Done::LookedUp(daemon_set, Ok(exists))));
            }
            Task::ListVolumes => drop(self.run.note(Done::Volumes(Ok(Vec::new())))),
        }
    }

    fn fails(&mut self, task: Task, after: Option<u64>) {
        let why = "it says no".to_owned();
        match task {
            Task::Evict(pod) => {
                let retry_after = after.map(Duration::from_secs);
                let uid = pod.metadata.uid;
                let blocked = Evicted::Blocked {
                    budget: None,
                    why,
                    retry_after,
                };
                drop(self.run.evicted(&uid, blocked));
                // A fifth less, and never more than ten seconds.
                let pause = retry_after
                    .unwrap_or(Duration::from_secs(1))
                    .min(Duration::from_secs(10));
                self.pause(&uid, pause * 4 / 5);
            }
            Task::LookUp(daemon_set) => drop(self.run.note(Done::LookedUp(daemon_set, Err(why)))),
            Task::ListVolumes => drop(self.run.note(Done::Volumes(Err(why)))),
        }
    }

    fn pause(&mut self, uid: &str, pause: Duration) {
        let _ = self.not_before.insert(uid.to_owned(), self.run.now + pause);
    }

    /// As the driver does after each input: takes the news for the cycle, and begins what is due.
    fn turn(&mut self) {
        for news in self.run.tell() {
            self.hears(news);
        }
        let before = self.under_way.len();
        let tasks = self.run.drain.take_due(self.run.now, before);
        let room = self.options.parallel.max(1).saturating_sub(before);
        let begun = tasks.iter().filter(|task| **task != Task::ListVolumes).count();
        assert!(begun <= room, "{begun} tasks where there is room for {room}");
        for task in &tasks {
            self.may_begin(task);
        }
        self.under_way.extend(tasks);
        let next = self.run.drain.next_due(self.run.now, self.under_way.len());
        assert!(
            next.is_none_or(|next| next > self.run.now),
            "it would never sleep"
        );
    }

    fn may_begin(&self, task: &Task) {
        assert!(!self.under_way.contains(task), "twice at once: {task:?}");
        let Task::Evict(pod) = task else { return };
        assert!(self.drained.is_none(), "after the drain was over: {pod:?}");
        assert_eq!(self.pods.get(&pod.metadata.uid), Some(pod), "not on this node");
        let must_leave = match self.kinds[&pod.metadata.uid] {
            Kind::Mirror | Kind::Log => false,
            Kind::Orphan => self.answered.contains(&orphan()),
            _ => true,
        };
        assert!(must_leave && pod.metadata.deletion_timestamp.is_none(), "{pod:?}");
        let is_same =
            |other: &&Task| matches!(other, Task::Evict(other) if other.metadata.uid == pod.metadata.uid);
        assert_eq!(
            self.under_way.iter().filter(is_same).count(),
            0,
            "twice at once: {pod:?}"
        );
        assert!(self.run.now >= self.begin, "before the delay was over");
        let not_before = self.not_before.get(&pod.metadata.uid);
        assert!(
            not_before.is_none_or(|time| *time <= self.run.now),
            "again too soon: {pod:?}"
        );
    }

    fn hears(&mut self, news: DrainNews) {
        match news {
            DrainNews::Drained(kept) => {
                let pods: Vec<PodView> = self.pods.values().cloned().collect();
                let wall = self.run.at().wall;
                // The very question of the final check.
                let missing = BTreeSet::from([orphan()]);
                let left = pod::left(&pods, &missing, &kept, self.options.skip_wait, wall);
                assert_eq!(left, [""; 0], "drained");
                assert!(
                    pod::daemon_sets(&pods).is_subset(&self.answered),
                    "nobody knows yet"
                );
                assert_eq!(self.drained.replace(kept), None, "drained twice");
            }
            DrainNews::Progress(progress) => {
                let (surely, perhaps) = self.gone;
                let counted = surely..=surely + perhaps;
                assert!(counted.contains(&progress.gone), "{counted:?}: {progress:?}");
                let last = self.told_progress.replace(self.run.now);
                // The last word is said with the end.
                let is_soon = last.is_some_and(|last| self.run.now < last + Duration::from_secs(15));
                assert!(!is_soon || self.run.drain.is_over(), "told twice within 15 s");
            }
            DrainNews::PodArrived(name) => assert!(self.drained.is_some(), "{name}"),
            DrainNews::Unevictable(why) => panic!("{why}"),
        }
    }

    /// From here on nobody stands in the way: everything succeeds, and what is evicted or ending goes.
    fn finish(&mut self) {
        for _ in 0..400 {
            if self.drained.is_some() {
                return;
            }
            for task in std::mem::take(&mut self.under_way) {
                let evicted = match &task {
                    Task::Evict(pod) => self.pods.get(&pod.metadata.uid).cloned(),
                    _ => None,
                };
                self.succeeds(task);
                if let Some(pod) = evicted {
                    self.goes(pod);
                }
            }
            let ending = self
                .pods
                .values()
                .filter(|pod| pod.metadata.deletion_timestamp.is_some());
            for pod in ending.cloned().collect::<Vec<_>>() {
                self.goes(pod);
            }
            self.turn();
            if self.under_way.is_empty() && self.drained.is_none() {
                self.run.pass();
                self.turn();
            }
        }
        panic!("it does not end: {:?}", self.run.drain);
    }
}

proptest! {
    #[test]
    fn a_drain_evicts_what_must_leave_once_at_a_time_and_ends(
        (options, delay) in any_options(),
        kinds in proptest::collection::vec(proptest::sample::select(KINDS.to_vec()), 0..6),
        events in proptest::collection::vec(any_event(), 0..40),
    ) {
        let mut world = World::new(options, delay, &kinds);
        world.turn();
        for event in &events {
            world.happens(event);
        }
        world.finish();
    }
}
