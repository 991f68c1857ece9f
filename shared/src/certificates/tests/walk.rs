//! Walks through years, with two processes that act on what they read some time ago, and with faults: crashes, outages of months, CAs and
//! certificates deleted or made by hand, `caBundle`s stripped or replaced, webhooks that appear, clocks that are wrong.
//!
//! At each moment, each certificate that a replica may still serve must be trusted by each `caBundle` that nobody else has changed, also as
//! an API server sees it that learns late. Once nobody interferes any more, all must come right, and stay so.

use proptest::prelude::*;

use super::*;

/// How late an API server may learn of a `caBundle`. Less than the time for settling.
const LAG: Duration = Duration::from_mins(2);

#[derive(Clone, Copy, Debug)]
enum Event {
    Wait(Duration),
    /// A process reads the cluster and decides.
    Look(usize),
    /// A process does the next part of what it has decided, on what it has read.
    Act(usize),
    /// A process looks and acts, so many times.
    Work(usize, u8),
    Restart(usize),
    Strip(usize),
    Replace(usize),
    AddStranger(usize),
    DeleteAuthorities,
    DeleteLeaf,
    BreakLeaf,
    AddWebhook,
    /// Somebody makes a certificate by hand, and writes its CA alone into each `caBundle`.
    HandMade,
    SetClock(usize, SignedDuration),
}

/// What a process has read and decided, and which versions it has read.
#[derive(Clone, Debug)]
struct Intent {
    step: Step,
    known: Vec<Authority>,
    versions: Versions,
    /// Of `SignLeaf`: whether the first half is done.
    is_noted: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Versions {
    authorities: u64,
    leaf: u64,
    bundles: u64,
}

#[derive(Debug, Default)]
struct Process {
    settling: Settling,
    started: Duration,
    skew: SignedDuration,
    intent: Option<Intent>,
}

/// A certificate that a replica may serve until it ends.
#[derive(Debug)]
struct Served {
    issuer: Id,
    validity: Validity,
    /// From when on each API server must trust it.
    counts_from: Duration,
}

struct World {
    /// Time since the beginning.
    elapsed: Duration,
    authorities: Option<Vec<Authority>>,
    leaf: Reading<Leaf>,
    bundles: Vec<Bundle>,
    versions: Versions,
    /// What each `caBundle` was before, and until when.
    former: Vec<(Duration, Bundle)>,
    served: Vec<Served>,
    processes: [Process; 2],
    made: u64,
}

impl World {
    fn new() -> World {
        World {
            elapsed: Duration::ZERO,
            authorities: None,
            leaf: Reading::Absent,
            bundles: vec![bare("nodes"), bare("deletes")],
            versions: Versions::default(),
            former: Vec::new(),
            served: Vec::new(),
            processes: Default::default(),
            made: 0,
        }
    }

    fn time(&self) -> Timestamp {
        now() + signed(self.elapsed)
    }

    fn seen(&self) -> Seen {
        Seen {
            authorities: self.authorities.clone().map_or(Reading::Absent, Reading::Present),
            leaf: self.leaf_as_read(),
            bundles: self.bundles.clone(),
            of_cert_manager: None,
        }
    }

    /// Nobody can tell who signed it unless that CA is somewhere.
    fn leaf_as_read(&self) -> Reading<Leaf> {
        let known = self.authorities.iter().flatten().map(|ca| &ca.id);
        let found: BTreeSet<&Id> = known.chain(self.bundles.iter().flat_map(Bundle::ids)).collect();
        match self.leaf.clone() {
            Reading::Present(leaf) => Reading::Present(Leaf {
                issuer: leaf.issuer.filter(|issuer| found.contains(issuer)),
                ..leaf
            }),
            Reading::Absent => Reading::Absent,
            Reading::Malformed(why) => Reading::Malformed(why),
        }
    }

    fn look(&mut self, index: usize) -> Plan {
        let (seen, server, elapsed) = (self.seen(), self.time(), self.elapsed);
        let process = &mut self.processes[index];
        let clocks = Clocks {
            here: shifted(server, process.skew),
            server,
            uptime: Uptime::after(elapsed.saturating_sub(process.started)),
        };
        let known = self.authorities.clone().unwrap_or_default();
        process
            .settling
            .see(known.iter().map(|ca| &ca.id), &seen.bundles, clocks.uptime);
        let plan = decide(&seen, &process.settling, clocks, &lifetimes());
        process.intent = plan.steps.first().map(|step| Intent {
            step: step.clone(),
            known,
            versions: self.versions,
            is_noted: false,
        });
        plan
    }

    /// Does what was decided, unless a version has changed since.
    fn act(&mut self, index: usize) {
        let Some(intent) = self.processes[index].intent.take() else {
            return;
        };
        let is_current = match &intent.step {
            Step::WriteBundles { .. } => intent.versions.bundles == self.versions.bundles,
            Step::SignLeaf { .. } if intent.is_noted => intent.versions.leaf == self.versions.leaf,
            Step::Keep(_) | Step::AddAuthority { .. } | Step::SignLeaf { .. } | Step::DropAuthorities(_) => {
                intent.versions.authorities == self.versions.authorities
            }
        };
        if !is_current {
            return;
        }
        let mut known = intent.known.clone();
        match intent.step.clone() {
            Step::WriteBundles { webhooks, also } => {
                for name in webhooks {
                    let place = self
                        .bundles
                        .iter()
                        .position(|bundle| bundle.webhook == name)
                        .unwrap();
                    let also: Vec<Authority> = also.iter().map(|id| self.hand(id)).collect();
                    let authorities: Vec<&Authority> = known.iter().chain(&also).collect();
                    self.set_bundle(place, bundle(&name, &authorities));
                }
                return;
            }
            Step::Keep(keep) => {
                self.serve_by_hand(&keep);
                known.extend(keep);
            }
            Step::AddAuthority { validity, keep } => {
                self.serve_by_hand(&keep);
                known.extend(keep);
                self.made += 1;
                known.push(Authority {
                    id: id(&format!("ca-{:04}", self.made)),
                    validity,
                    has_key: true,
                    signed_until: None,
                });
                if self.authorities.is_none() {
                    self.forget_lost(&known, intent.versions.bundles);
                }
            }
            Step::SignLeaf { by, validity } if intent.is_noted => {
                self.serve(by, validity);
                return;
            }
            Step::SignLeaf { by, validity } => {
                let ca = known.iter_mut().find(|ca| ca.id == by).unwrap();
                ca.signed_until = ca.signed_until.max(Some(validity.to));
                self.processes[index].intent = Some(Intent {
                    is_noted: true,
                    ..intent
                });
            }
            Step::DropAuthorities(over) => known.retain(|ca| !over.contains(&ca.id)),
        }
        assert!(known.len() <= AUTHORITIES_MAX + 3, "{known:?}");
        self.authorities = Some(known);
        self.versions.authorities += 1;
    }

    fn set_bundle(&mut self, place: usize, new: Bundle) {
        let old = std::mem::replace(&mut self.bundles[place], new);
        self.former.push((self.elapsed, old));
        self.versions.bundles += 1;
    }

    fn serve(&mut self, issuer: Id, validity: Validity) {
        let time = self.time();
        // The first one ever, or after all have ended, waits for no API server.
        let lasting = self.served.iter().filter(|served| served.validity.to > time);
        let first = lasting.map(|served| served.counts_from).min();
        let counts_from = first.unwrap_or(self.elapsed + LAG).max(self.elapsed);
        self.leaf = Reading::Present(Leaf {
            issuer: Some(issuer.clone()),
            validity,
            fits: true,
            is_ours: true,
            of: String::new(),
        });
        self.versions.leaf += 1;
        if self.is_lost(&issuer) {
            return;
        }
        self.served.push(Served {
            issuer,
            validity,
            counts_from,
        });
    }

    /// From when its CA is kept on, a certificate that was made by hand must be trusted too.
    fn serve_by_hand(&mut self, keep: &[Authority]) {
        let Reading::Present(Leaf {
            issuer: Some(issuer),
            validity,
            is_ours: false,
            ..
        }) = &self.leaf
        else {
            return;
        };
        if keep.iter().any(|ca| ca.id == *issuer) {
            self.served.push(Served {
                issuer: issuer.clone(),
                validity: *validity,
                counts_from: self.elapsed + LAG,
            });
        }
    }

    fn make_by_hand(&mut self) {
        self.made += 1;
        let id = id(&format!("hand-{:04}", self.made));
        let lasts = |days: u32| Validity {
            from: shifted(self.time(), -signed(BACKDATE)),
            to: shifted(self.time(), signed(DAY * days)),
        };
        let (ca, validity) = (lasts(400), lasts(80));
        self.leaf = Reading::Present(Leaf {
            issuer: Some(id.clone()),
            validity,
            fits: true,
            is_ours: false,
            of: String::new(),
        });
        self.versions.leaf += 1;
        for place in 0..self.bundles.len() {
            let id = id.clone();
            self.tamper(place, |bundle| {
                bundle.trusted = Reading::Present(vec![Trusted { id, validity: ca }]);
            });
        }
    }

    /// The Secret of the CAs was gone. A CA that no `caBundle` of ours had either, when it was looked at, cannot come back.
    fn forget_lost(&mut self, known: &[Authority], bundles_read: u64) {
        let is_current = bundles_read == self.versions.bundles;
        let ours = self.bundles.iter().filter(|bundle| is_current && bundle.is_ours);
        let known: Vec<&Id> = ours
            .flat_map(Bundle::ids)
            .chain(known.iter().map(|ca| &ca.id))
            .collect();
        self.served.retain(|served| known.contains(&&served.issuer));
    }

    /// Whether the Secret of the CAs was deleted after this CA was chosen to sign, and nothing of it is left.
    fn is_lost(&self, issuer: &Id) -> bool {
        let known = self.authorities.iter().flatten();
        let ours = self.bundles.iter().filter(|bundle| bundle.is_ours);
        !known
            .map(|ca| &ca.id)
            .chain(ours.flat_map(Bundle::ids))
            .any(|id| id == issuer)
    }

    /// The CA with this id that is in a `caBundle`.
    fn hand(&self, id: &Id) -> Authority {
        let trusted = self
            .bundles
            .iter()
            .filter_map(|bundle| bundle.trusted.as_ref().present())
            .flatten();
        let ca = trusted.into_iter().find(|ca| ca.id == *id).unwrap();
        Authority {
            id: ca.id.clone(),
            validity: ca.validity,
            has_key: false,
            signed_until: None,
        }
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let (time, elapsed) = (self.time(), self.elapsed);
        self.served.retain(|served| served.validity.to > time);
        self.former
            .retain(|(until, _)| elapsed.saturating_sub(*until) < LAG);
        let views = self
            .bundles
            .iter()
            .chain(self.former.iter().map(|(_, bundle)| bundle));
        for view in views.filter(|bundle| bundle.is_ours) {
            for served in self.served.iter().filter(|served| elapsed >= served.counts_from) {
                prop_assert!(
                    view.ids().contains(&served.issuer),
                    "at {time}, {served:?} is distrusted by {view:?}; {:?}",
                    self.authorities
                );
            }
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), TestCaseError> {
        let stranger = authority("stranger", 0, None);
        match event {
            Event::Wait(time) => {
                // Checked where an API server has not learned of the last change yet, and where the end of each certificate may fall.
                let soon = time.min(LAG / 2);
                self.elapsed += soon;
                self.check()?;
                self.elapsed += time.saturating_sub(soon);
            }
            Event::Look(index) => drop(self.look(index)),
            Event::Act(index) => self.act(index),
            Event::Work(index, times) => {
                for _ in 0..times {
                    let _plan = self.look(index);
                    self.act(index);
                    self.check()?;
                    self.act(index);
                    self.check()?;
                }
            }
            Event::Restart(index) => {
                let started = self.elapsed;
                let skew = self.processes[index].skew;
                self.processes[index] = Process {
                    started,
                    skew,
                    ..Process::default()
                };
            }
            Event::Strip(place) => self.tamper(place, |bundle| bundle.trusted = Reading::Absent),
            Event::Replace(place) => self.tamper(place, |bundle| {
                bundle.trusted = Reading::Present(vec![Trusted {
                    id: stranger.id,
                    validity: stranger.validity,
                }]);
            }),
            Event::AddStranger(place) => self.tamper(place, |bundle| {
                if let Reading::Present(trusted) = &mut bundle.trusted {
                    trusted.push(Trusted {
                        id: stranger.id,
                        validity: stranger.validity,
                    });
                }
            }),
            Event::DeleteAuthorities => {
                self.authorities = None;
                self.versions.authorities += 1;
            }
            Event::DeleteLeaf => {
                self.leaf = Reading::Absent;
                self.versions.leaf += 1;
            }
            Event::BreakLeaf => {
                self.leaf = Reading::Malformed("broken".to_owned());
                self.versions.leaf += 1;
            }
            Event::AddWebhook if self.bundles.len() < 3 => {
                self.bundles.push(bare("mutates"));
                self.versions.bundles += 1;
            }
            Event::AddWebhook => {}
            Event::HandMade => self.make_by_hand(),
            Event::SetClock(index, skew) => self.processes[index].skew = skew,
        }
        self.check()
    }

    fn tamper(&mut self, place: usize, change: impl FnOnce(&mut Bundle)) {
        let mut bundle = self.bundles[place % self.bundles.len()].clone();
        change(&mut bundle);
        bundle.is_ours = false;
        self.set_bundle(place % self.bundles.len(), bundle);
    }

    /// A process works undisturbed until nothing is left to do now.
    fn rests(&mut self, index: usize) -> Result<(), TestCaseError> {
        for _ in 0..40 {
            let plan = self.look(index);
            prop_assert_eq!(&plan.problem, &None);
            if plan.steps.is_empty() {
                return Ok(());
            }
            self.act(index);
            self.act(index);
            self.check()?;
        }
        Err(TestCaseError::fail(format!(
            "no end: {:?} {:?}",
            self.authorities, self.leaf
        )))
    }

    fn is_right(&self) -> bool {
        let Some(known) = &self.authorities else {
            return false;
        };
        let wanted: BTreeSet<&Id> = known.iter().map(|ca| &ca.id).collect();
        let Reading::Present(leaf) = &self.leaf else {
            return false;
        };
        let time = self.time();
        leaf.fits
            && leaf.validity.from <= time
            && time < leaf.validity.to
            && leaf.issuer.as_ref().is_some_and(|issuer| wanted.contains(issuer))
            && self.bundles.iter().all(|bundle| bundle.ids() == wanted)
    }
}

fn event() -> impl Strategy<Value = Event> {
    let minutes = |minutes: u64| Duration::from_mins(minutes);
    let wait = prop_oneof![
        4 => (0..10_u64).prop_map(move |n| Event::Wait(minutes(n))),
        3 => (1..72_u64).prop_map(|hours| Event::Wait(Duration::from_hours(hours))),
        3 => (1..40_u64).prop_map(|days| Event::Wait(DAY * u32::try_from(days).unwrap())),
        1 => (40..400_u64).prop_map(|days| Event::Wait(DAY * u32::try_from(days).unwrap())),
    ];
    let index = 0..2_usize;
    let skew = prop_oneof![
        3 => (-290..290_i64).prop_map(SignedDuration::from_secs),
        1 => Just(SignedDuration::from_hours(-24 * 365 * 56)),
        1 => Just(SignedDuration::from_hours(24 * 365)),
        1 => (-900..900_i64).prop_map(SignedDuration::from_secs),
    ];
    prop_oneof![
        12 => wait,
        4 => index.clone().prop_map(Event::Look),
        4 => index.clone().prop_map(Event::Act),
        12 => (index.clone(), 1..8_u8).prop_map(|(index, times)| Event::Work(index, times)),
        1 => index.clone().prop_map(Event::Restart),
        1 => (0..3_usize).prop_map(Event::Strip),
        1 => (0..3_usize).prop_map(Event::Replace),
        1 => (0..3_usize).prop_map(Event::AddStranger),
        1 => Just(Event::DeleteAuthorities),
        1 => Just(Event::DeleteLeaf),
        1 => Just(Event::BreakLeaf),
        1 => Just(Event::AddWebhook),
        1 => Just(Event::HandMade),
        1 => (index, skew).prop_map(|(index, skew)| Event::SetClock(index, skew)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_what_is_served_is_trusted_and_all_comes_right(events in prop::collection::vec(event(), 1..150)) {
        let mut world = World::new();
        for event in events {
            world.happen(event)?;
        }
        for process in &mut world.processes {
            process.skew = SignedDuration::ZERO;
            process.intent = None;
        }
        // A person decides what no process may.
        if matches!(world.look(0).problem, Some(Problem::ForeignCertificate { .. })) {
            world.happen(Event::DeleteLeaf)?;
        }
        // A certificate that waits for a CA to settle is signed at the second visit.
        for _ in 0..3 {
            world.rests(0)?;
            world.elapsed += lifetimes().settle();
        }
        world.rests(0)?;
        prop_assert!(world.is_right(), "{:?} {:?} {:?}", world.authorities, world.leaf, world.bundles);
        // Three years with a visit every week, by one process or the other.
        for week in 0..160 {
            world.happen(Event::Wait(DAY * 7))?;
            prop_assert!(world.is_right(), "{:?} {:?}", world.authorities, world.leaf);
            world.rests(week % 2)?;
            // By then, what was kept from deleted Secrets has ended.
            let is_few = world.authorities.as_ref().is_some_and(|known| known.len() <= 3);
            prop_assert!(week < 30 || is_few, "{:?}", world.authorities);
        }
    }
}

#[test]
fn an_outage_of_59_days_is_noticed_by_nobody() {
    let mut world = World::new();
    world.rests(0).unwrap();
    for _ in 0..20 {
        // Up for so long that a renewal has just not come, then down.
        world.elapsed += DAY * 29;
        world.rests(0).unwrap();
        world.elapsed += DAY * 59;
        assert!(world.is_right(), "{:?}", world.leaf);
        world.check().unwrap();
        world.happen(Event::Restart(0)).unwrap();
        for _ in 0..2 {
            world.rests(0).unwrap();
            world.elapsed += lifetimes().settle();
        }
        world.rests(0).unwrap();
    }
}

/// A process that made a CA and then slept for as long as it lasts.
#[test]
fn a_ca_that_ended_before_it_signed_is_followed_by_another() {
    let mut world = World::new();
    for event in [
        Event::Work(0, 1),
        Event::Wait(DAY * 365),
        Event::Wait(Duration::ZERO),
        Event::Work(0, 4),
        Event::Wait(LAG),
    ] {
        world.happen(event).unwrap();
    }
    assert!(
        world.is_right(),
        "{:?} {:?} {:?}",
        world.authorities,
        world.leaf,
        world.bundles
    );
}
