//! An agent in its world, and a pair of agents that share a lock.

use super::world::name_of;
use super::*;

/// An agent in a world.
#[derive(Clone)]
pub(super) struct Run {
    pub(super) cycle: Cycle,
    pub(super) world: World,
    pub(super) reports: Vec<Report>,
    pub(super) acts: Vec<Act>,
    pub(super) armed: BTreeSet<Timer>,
    wishes: u32,
    /// How many steps there were. Each is given random bits of its own.
    steps: u128,
    /// How many lines of the log [`Run::news`] has returned.
    told: usize,
}

impl Run {
    pub(super) fn new(policy: Settings) -> Run {
        let mut run = Run {
            world: World::new(&policy.node),
            cycle: Cycle::new(policy),
            reports: Vec::new(),
            acts: Vec::new(),
            armed: BTreeSet::new(),
            wishes: 0,
            steps: 0,
            told: 0,
        };
        run.feed(Input::Started);
        run.told = run.world.log.len();
        run
    }

    /// Gives the cycle an input, and carries out all the requests that follow from it.
    pub(super) fn feed(&mut self, input: Input) {
        self.tell(input);
        // If a write has lost its compare-and-swap, the watch delivers the versions up to the one that won. Not for a seal: there
        // the test says how far the watch lags.
        for _ in 0..3 {
            let has_lost = self.world.log.last().is_some_and(|last| {
                last.ends_with(" lost") && !matches!(last.as_str(), "write lock lost" | "sealed lost")
            });
            if !has_lost {
                break;
            }
            self.world.log.push("watch".to_owned());
            while self.see_next() {}
        }
    }

    /// Like [`Run::feed`], but the watch delivers only what the test says.
    pub(super) fn tell(&mut self, input: Input) {
        assert_eq!(self.feed_until(input, ""), None);
    }

    /// Like [`Run::tell`], but stops before this request and returns it, so that the test can send it later, after a crash or
    /// never.
    pub(super) fn feed_until(&mut self, input: Input, before: &str) -> Option<Ask> {
        let mut next = input;
        loop {
            self.steps += 1;
            let step = self.cycle.step(next, Proof::new(self.steps));
            for act in step.acts {
                match &act {
                    Act::Report(report) => self.reports.push(report.clone()),
                    Act::Arm(timer) => drop(self.armed.insert(known(*timer))),
                    Act::Disarm(timer) => drop(self.armed.remove(&known(*timer))),
                    Act::Forget => self.world.host.record = None,
                    Act::Watch(from) => self.watch(from.as_deref()),
                    _ => {}
                }
                self.acts.push(act);
            }
            let request = step.request?;
            if name_of(&request) == before {
                return Some(request);
            }
            next = self.world.answer(request);
        }
    }

    /// Carries out the request that [`Run::feed_until`] has returned, and all that follow.
    pub(super) fn send(&mut self, request: Option<Ask>) {
        let answer = self.world.answer(request.unwrap());
        self.feed(answer);
    }

    /// Begins a new watch: what an older one has not delivered yet is dropped.
    fn watch(&mut self, from: Option<&str>) {
        let from: Option<u32> = from.and_then(|from| from.parse().ok());
        let is_after = |node: &NodeView| {
            let version: u32 = node.version().parse().unwrap();
            from.is_some_and(|from| version > from)
        };
        self.world.undelivered.retain(is_after);
    }

    /// The watch delivers the Node as it is.
    pub(super) fn see(&mut self) {
        self.world.undelivered.clear();
        self.feed(Input::Event(Event::Seen(self.world.node.clone())));
    }

    /// The watch delivers the next version, however old. Returns whether there was one.
    pub(super) fn see_next(&mut self) -> bool {
        let next = self.world.undelivered.pop_front();
        let is_there = next.is_some();
        if let Some(node) = next {
            self.tell(Input::Event(Event::Seen(node)));
        }
        is_there
    }

    /// Ends a timer, which must be running.
    pub(super) fn due(&mut self, timer: Timer) {
        assert!(
            self.due_if_armed(timer),
            "{timer:?} does not run: {:?}",
            self.armed
        );
    }

    /// A waiter looks at the lock: by its turn if the lock has changed, else by the slow poll.
    fn look_at_the_lock(&mut self) {
        if !self.due_if_armed(Timer::Turn) {
            self.due(Timer::Poll);
        }
    }

    /// Ends a timer if it is running, and returns whether it was.
    pub(super) fn due_if_armed(&mut self, timer: Timer) -> bool {
        let is_armed = self.armed.remove(&known(timer));
        if is_armed {
            self.feed(Input::Event(Event::Due(timer)));
        }
        is_armed
    }

    pub(super) fn drain(&mut self) {
        self.world.pods.clear();
        self.feed(Input::Event(Event::Drain(DrainNews::Drained(BTreeSet::new()))));
        self.see();
    }

    pub(super) fn wish(&mut self) {
        assert_eq!(self.wish_until(""), None);
    }

    /// The sentinel asks for a reboot. Stops before this request and returns it. Each wish has a `created` of its own.
    pub(super) fn wish_until(&mut self, before: &str) -> Option<Ask> {
        self.wishes += 1;
        let created = format!("2026-11-23T10:00:00.{:09}Z", self.wishes);
        self.feed_until(
            Input::Event(Event::Sentinel(Some(Wanted::by_host(created)))),
            before,
        )
    }

    /// Runs the cycle until just before the delay is over.
    pub(super) fn reach_delay(&mut self) {
        self.wish();
        self.drain();
        assert_eq!(self.world.phase(), Some(Phase::Delaying));
    }

    /// Runs the cycle until the reboot command has run.
    pub(super) fn reach_reboot(&mut self) {
        self.reach_delay();
        self.due(Timer::Delay);
        assert_eq!((self.world.phase(), self.reboots()), (Some(Phase::Sealed), 1));
    }

    /// Replaces the agent by a new process, which remembers nothing.
    pub(super) fn restart(&mut self) {
        self.cycle = Cycle::new(self.cycle.settings.clone());
        self.armed.clear();
        self.feed(Input::Started);
    }

    pub(super) fn boot(&mut self) {
        self.boot_as(super::world::boot(&format!("boot-{}", self.world.boots + 1)));
    }

    /// The host boots, which empties its `/run`. `boot` is what it shows of the new boot.
    pub(super) fn boot_as(&mut self, boot: Boot) {
        self.world.boots += 1;
        self.world.host = HostState {
            boot,
            shutdown: Shutdown::No,
            record: None,
            told: None,
        };
        let boot_id = self.world.host.boot.id.clone();
        self.world.change(|node| node.status.node_info.boot_id = boot_id);
        self.restart();
    }

    /// Boots the host, and runs the cycle to its end.
    pub(super) fn boot_and_return(&mut self) {
        self.boot();
        while self.see_next() {}
        // A cancel ends the soak.
        let _ = self.due_if_armed(Timer::Soak);
        assert!(self.is_clean() && self.cycle.is_idle());
    }

    pub(super) fn reboots(&self) -> usize {
        self.world.log.iter().filter(|name| *name == "reboot").count()
    }

    pub(super) fn rebooted(&self) -> bool {
        self.reboots() > 0
    }

    /// The requests since the last call of this function, in order.
    pub(super) fn news(&mut self) -> String {
        let news = self.world.log[self.told..].join(",");
        self.told = self.world.log.len();
        news
    }

    pub(super) fn called_off(&self) -> Option<&CallOff> {
        self.reports.iter().find_map(|report| match report {
            Report::CalledOff(reason) => Some(reason),
            _ => None,
        })
    }

    pub(super) fn was_disturbed(&self, by: Disturbance) -> bool {
        let next = Next::DrainAgain;
        self.reports.contains(&Report::Disturbed { by, next })
    }

    /// Whether neither the Node nor the lock carries anything of ours. The cordon does not count.
    pub(super) fn is_clean(&self) -> bool {
        let is_ours = |entry: &Entry| entry.node == self.world.node.name();
        self.is_unmarked() && !self.world.lock.entries.iter().any(is_ours)
    }

    pub(super) fn is_unmarked(&self) -> bool {
        let node = &self.world.node;
        let marked = keys::MARK_ANNOTATIONS
            .iter()
            .any(|key| node.annotation(key).is_some());
        !marked && node.label(keys::PHASE).is_none() && !node.is_tainted(keys::REBOOTING)
    }
}

/// The timer without its count of retries, so that a test need not know the count.
fn known(timer: Timer) -> Timer {
    match timer {
        Timer::Retry(_) => Timer::Retry(0),
        timer => timer,
    }
}

/// Two agents, each on its own Node, that share a lock with one slot.
pub(super) struct Pair {
    a: Run,
    b: Run,
}

impl Pair {
    pub(super) fn new() -> Pair {
        Pair::of(&policy())
    }

    pub(super) fn of(policy: &Settings) -> Pair {
        let run = |node: &str| {
            Run::new(Settings {
                node: node.to_owned(),
                ..policy.clone()
            })
        };
        Pair {
            a: run("a"),
            b: run("b"),
        }
    }

    /// The agent a, in the world as b has left it.
    pub(super) fn a(&mut self) -> &mut Run {
        share(&self.b.world, &mut self.a.world);
        &mut self.a
    }

    /// The agent b, in the world as a has left it.
    pub(super) fn b(&mut self) -> &mut Run {
        share(&self.a.world, &mut self.b.world);
        &mut self.b
    }

    /// b looks at the lock again, and waits because this node holds it.
    pub(super) fn assert_b_waits_for(&mut self, node: &str) {
        let b = self.b();
        b.reports.clear();
        b.cycle.said = None;
        b.look_at_the_lock();
        let holders = BTreeSet::from([node.to_owned()]);
        assert_eq!(b.reports, [Report::LockHeld(holders)]);
        assert_eq!(b.world.phase(), Some(Phase::Wanted));
    }

    /// b looks at the lock again, finds it free, and goes on.
    pub(super) fn assert_b_goes_on(&mut self) {
        let b = self.b();
        b.look_at_the_lock();
        assert_eq!(b.world.phase(), Some(Phase::Draining));
        assert_eq!(b.world.lock.entries.len(), 1);
        assert_eq!(b.world.lock.entries[0].node, "b");
    }
}

fn share(from: &World, to: &mut World) {
    drop(to.peers.insert(from.node.name().to_owned(), from.node.clone()));
    if from.lock_revision > to.lock_revision {
        to.lock = from.lock.clone();
        to.lock_revision = from.lock_revision;
    }
}

pub(super) fn policy() -> Settings {
    Settings {
        node: "a".to_owned(),
        pool: Selector::default(),
        concurrency: Share::Count(1),
        verify: true,
        on_uncordon: OnUncordon::Redrain,
        redrains_max: 2,
        delays_release: false,
        gates_return: false,
        reboots_kept: 0,
        keeps_interval: false,
        asked_by: None,
        signs: Signs::default(),
        force_reboot: false,
    }
}

pub(super) fn agent() -> Run {
    Run::new(policy())
}
