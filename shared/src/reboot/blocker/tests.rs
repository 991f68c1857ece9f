//! What blocks by our Node, the lock and the pool alone.

use super::*;
use crate::lock::Entry;
use crate::reboot::moment::Uptime;

fn node(name: &str) -> NodeView {
    let mut node = NodeView::default();
    name.clone_into(&mut node.metadata.name);
    node
}

fn labelled(name: &str, labels: &[(&str, &str)]) -> NodeView {
    let mut node = node(name);
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    node.metadata.labels.extend(labels.iter().map(owned));
    node
}

fn annotated(key: &str, value: &str) -> NodeView {
    let mut node = node("a");
    drop(node.metadata.annotations.insert(key.to_owned(), value.to_owned()));
    node
}

/// What blocks by our Node alone.
fn by_node(node: &NodeView, rules: &Rules) -> Vec<Blocker> {
    let lock = LockView::default();
    let facts = Facts {
        node,
        lock: &lock,
        pool: None,
        concurrency: Share::Count(1),
    };
    blockers(&facts, rules)
}

#[test]
fn each_node_selector_that_takes_our_node_blocks() {
    let selector = |text: &str| text.parse::<Selector>().unwrap();
    let rules = Rules {
        node_labels: vec![selector("role=db"), selector("!safe"), selector("tier in (x)")],
        ..Rules::default()
    };
    let found = by_node(&labelled("a", &[("role", "db")]), &rules);
    let blocker = |text: &str| Blocker::NodeLabels(text.to_owned());
    assert_eq!(found, [blocker("role=db"), blocker("!safe")]);
    assert!(found[0].to_string().contains("'role=db' selects this node"));
    assert_eq!(by_node(&labelled("a", &[("safe", "")]), &rules), []);
    assert!(!rules.needs_pool());
}

#[test]
fn a_node_annotation_blocks_by_its_key_or_by_its_key_and_value() {
    let annotation = |value: Option<&str>| Annotation {
        key: "example.com/hold".to_owned(),
        value: value.map(str::to_owned),
    };
    let rules = |value| Rules {
        node_annotations: vec![annotation(value)],
        ..Rules::default()
    };
    let blocks = |value, wanted| !by_node(&annotated("example.com/hold", value), &rules(wanted)).is_empty();
    assert!(blocks("", None) && blocks("no", None));
    assert!(blocks("yes", Some("yes")) && blocks("", Some("")));
    assert!(!blocks("no", Some("yes")) && !blocks("yes", Some("")));
    assert_eq!(by_node(&annotated("example.com/other", "yes"), &rules(None)), []);
    // What somebody wrote there is shown in bounds.
    let long = "x\n".repeat(1_000);
    let found = by_node(&annotated("example.com/hold", &long), &rules(None));
    let text = found[0].to_string();
    assert!(text.len() < 400 && !text.contains('\n'), "{text}");
}

/// A Node with a wish made at noon and these reboots.
fn wishing(reboots: &str) -> NodeView {
    let mut node = annotated(keys::REBOOTS, reboots);
    let holder = "uid/2026-11-29T12:00:00.000000001Z".to_owned();
    drop(node.metadata.annotations.insert(keys::HOLDER.to_owned(), holder));
    drop(
        node.metadata
            .labels
            .insert(keys::PHASE.to_owned(), "wanted".to_owned()),
    );
    node
}

#[test]
fn only_reboots_within_the_time_before_the_wish_are_a_loop() {
    let max = |count, hours| Rules {
        reboots_max: Some(RebootsMax {
            count,
            within: SignedDuration::from_hours(hours),
        }),
        ..Rules::default()
    };
    let blocks = |reboots, rules: &Rules| !by_node(&wishing(reboots), rules).is_empty();
    let two = "2026-11-29T09:00:00Z 2026-11-29T11:00:00Z";
    assert!(blocks(two, &max(2, 4)) && blocks(two, &max(1, 2)));
    assert!(!blocks(two, &max(3, 4)) && !blocks(two, &max(2, 2)) && !blocks(two, &max(1, 1)));
    // The clock was ahead when that was written.
    assert!(blocks("2027-01-01T00:00:00Z", &max(1, 1)));
    assert!(!blocks("", &max(1, 1)) && !blocks(two, &Rules::default()));
    // Times that nobody can go back from.
    assert!(blocks(two, &max(2, 10_000_000)));
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A moment this long after the start of the process, at noon, by a right clock.
fn after(minutes: u64) -> Moment {
    Moment {
        now: Uptime::after(Duration::from_mins(minutes)),
        wall: time("2026-11-29T12:00:00Z")
            .saturating_add(Duration::from_mins(minutes))
            .unwrap(),
    }
}

/// What blocks by a `--min-interval` of an hour when the last reboot ended then.
fn interval(memory: &mut Memory, last_reboot: Reading<Timestamp>, at: Moment) -> Option<Blocker> {
    let rules = Rules {
        min_interval: Some(SignedDuration::from_hours(1)),
        ..Rules::default()
    };
    let lock = LockView {
        last_reboot,
        ..LockView::default()
    };
    let facts = Facts {
        node: &wishing(""),
        lock: &lock,
        pool: None,
        concurrency: Share::Count(1),
    };
    assert_eq!(memory.min_interval(&facts, &Rules::default(), at), None);
    memory.min_interval(&facts, &rules, at)
}

#[test]
fn the_next_reboot_begins_when_the_interval_since_the_last_is_over_and_not_before() {
    let mut memory = Memory::default();
    let ended = time("2026-11-29T11:30:00Z");
    let look = |memory: &mut Memory, minutes| interval(memory, Reading::Present(ended), after(minutes));
    let blocker = look(&mut memory, 0).unwrap();
    assert!(
        blocker.to_string().contains("it goes on at 2026-11-29T12:30:00Z"),
        "{blocker}"
    );
    // The same blocker, so that it is told once.
    assert_eq!(look(&mut memory, 29), Some(blocker));
    assert_eq!(look(&mut memory, 30), None);
    assert_eq!(interval(&mut memory, Reading::Absent, after(0)), None);
    // An old time is over at once.
    let long_ago = Reading::Present(Timestamp::MIN);
    assert_eq!(interval(&mut Memory::default(), long_ago, after(0)), None);
}

#[test]
fn nothing_stuck_a_clock_that_is_ahead_blocks_no_longer_than_the_interval() {
    for ended in ["2026-11-29T12:10:00Z", "2036-01-01T00:00:00Z"]
        .map(time)
        .into_iter()
        .chain([Timestamp::MAX])
    {
        let mut memory = Memory::default();
        let look = |memory: &mut Memory, minutes| interval(memory, Reading::Present(ended), after(minutes));
        let blocker = look(&mut memory, 5).unwrap();
        assert!(
            blocker.to_string().contains("it goes on at 2026-11-29T13:05:00Z"),
            "{blocker}"
        );
        assert_eq!(look(&mut memory, 64), Some(blocker));
        assert_eq!(look(&mut memory, 65), None);
        // Our own clock is set back meanwhile.
        let back = Moment {
            wall: time("2016-01-01T00:00:00Z"),
            ..after(70)
        };
        assert_eq!(interval(&mut memory, Reading::Present(ended), back), None);
        // Another reboot begins another interval.
        let next = Reading::Present(time("2026-11-29T13:10:00Z"));
        assert!(interval(&mut memory, next, after(71)).is_some());
    }
}

#[test]
fn fail_safe_reading_an_end_that_cannot_be_read_blocks_and_says_what_to_remove() {
    let garbage = Reading::Malformed("'soon' is no time".to_owned());
    let blocker = interval(&mut Memory::default(), garbage, after(0)).unwrap();
    let text = blocker.to_string();
    assert!(
        text.contains("'soon' is no time") && text.contains(keys::LAST_REBOOT),
        "{text}"
    );
}

#[test]
fn a_node_that_has_the_lock_is_not_kept_back_by_a_reboot_that_ends_later() {
    let created = "2026-11-29T12:00:00.000000001Z";
    let lock = |node: &str, created: &str| LockView {
        last_reboot: Reading::Present(time("2026-11-29T12:00:00Z")),
        record: Reading::Present(Record {
            entries: vec![Entry::new(node, "uid", created, false)],
            max_owners: None,
        }),
        ..LockView::default()
    };
    let rules = Rules {
        min_interval: Some(SignedDuration::from_hours(1)),
        ..Rules::default()
    };
    let blocks = |lock: &LockView| {
        let facts = Facts {
            node: &wishing(""),
            lock,
            pool: None,
            concurrency: Share::Count(1),
        };
        Memory::default().min_interval(&facts, &rules, after(1)).is_some()
    };
    assert!(!blocks(&lock("a", created)));
    assert!(blocks(&lock("b", created)) && blocks(&lock("a", "2026-11-29T11:00:00Z")));
}

/// Another Node of the pool in this zone, with a hold in this phase.
fn other(name: &str, zone: Option<&str>, phase: Option<&str>) -> NodeView {
    let mut node = node(name);
    name.clone_into(&mut node.metadata.uid);
    let zone = zone.map(|zone| ("zone".to_owned(), zone.to_owned()));
    node.metadata.labels.extend(zone);
    if let Some(phase) = phase {
        let holder = format!("{name}/{CREATED}");
        drop(node.metadata.annotations.insert(keys::HOLDER.to_owned(), holder));
        drop(
            node.metadata
                .labels
                .insert(keys::PHASE.to_owned(), phase.to_owned()),
        );
    }
    node
}

const CREATED: &str = "2026-11-29T11:00:00.000000001Z";

/// A lock with entries of ours for these nodes, and one of kured.
fn locked(ours: &[&str], kureds: &[&str]) -> LockView {
    let entries = ours.iter().map(|name| Entry::new(name, name, CREATED, false));
    let kureds = kureds.iter().map(|name| Entry {
        ttl_nanos: 0,
        node_uid: String::new(),
        ..Entry::new(name, "", CREATED, false)
    });
    LockView {
        record: Reading::Present(Record {
            entries: entries.chain(kureds).collect(),
            max_owners: None,
        }),
        ..LockView::default()
    }
}

/// What blocks our Node beside these other Nodes of the pool, with room for this many.
fn in_pool(node: &NodeView, lock: &LockView, pool: &[NodeView], rules: &Rules, room: usize) -> Vec<Blocker> {
    let search = rules.look(node.name(), lock.clone());
    let mut count = PoolCount::default();
    for node in pool.iter().chain([node]) {
        count.add(node, &search);
    }
    while let Some(holder) = count.next_holder(&search) {
        count.add_holder(&holder, None, &search);
    }
    let facts = Facts {
        node,
        lock,
        pool: Some(&count),
        concurrency: Share::Count(room),
    };
    blockers(&facts, rules)
}

/// The others whose zone keeps our Node, in zone a, back.
fn kept_apart(ours: Option<&str>, lock: &LockView, pool: &[NodeView]) -> Vec<String> {
    let rules = Rules {
        spread_by: vec!["zone".to_owned()],
        ..Rules::default()
    };
    let found = in_pool(&other("a", ours, None), lock, pool, &rules, 9);
    match found.as_slice() {
        [] => Vec::new(),
        [Blocker::Spread { label, others, .. }] if label == "zone" => others.keys().cloned().collect(),
        found => panic!("{found:?}"),
    }
}

#[test]
fn nodes_of_one_value_reboot_together_and_of_two_never() {
    let zone_a = Some("a");
    let b = |zone| other("b", zone, Some("draining"));
    let lock = locked(&["b"], &[]);
    assert!(kept_apart(zone_a, &lock, &[b(zone_a)]).is_empty());
    assert_eq!(kept_apart(zone_a, &lock, &[b(Some("b"))]), ["b"]);
    // Without the label, a node is like no other, not even like one that has none either.
    for (ours, theirs) in [(None, zone_a), (zone_a, None), (None, None), (zone_a, Some(""))] {
        assert_eq!(
            kept_apart(ours, &lock, &[b(theirs)]),
            ["b"],
            "{ours:?} {theirs:?}"
        );
    }
    assert!(kept_apart(None, &LockView::default(), &[other("b", None, None)]).is_empty());
}

#[test]
fn every_node_in_a_reboot_counts_and_none_that_is_over() {
    let elsewhere = |name, phase| other(name, Some("b"), phase);
    let lock = locked(&["entry", "over", "gone", "a"], &["kured"]);
    let pool = [
        elsewhere("entry", Some("wanted")),
        elsewhere("held", Some("returning")),
        elsewhere("kured", None),
        // Its Node was read after the lock, and shows no hold any more.
        elsewhere("over", None),
        elsewhere("wish", Some("wanted")),
        elsewhere("idle", None),
    ];
    assert_eq!(kept_apart(Some("a"), &lock, &pool), ["entry", "held", "kured"]);
    // Marks that cannot be read may be a hold.
    let mut garbled = elsewhere("garbled", Some("draining"));
    drop(garbled.metadata.annotations.remove(keys::HOLDER));
    assert_eq!(
        kept_apart(Some("a"), &LockView::default(), &[garbled]),
        ["garbled"]
    );
    // The entry of an agent that waits until its release is due.
    let mut kept = elsewhere("over", None);
    let release = format!("{CREATED} 2026-11-29T12:00:00Z");
    drop(
        kept.metadata
            .annotations
            .insert(keys::RELEASE_AT.to_owned(), release),
    );
    assert_eq!(kept_apart(Some("a"), &locked(&["over"], &[]), &[kept]), ["over"]);
}

#[test]
fn a_holder_outside_of_the_pool_is_read_and_one_of_whom_nothing_is_known_is_like_no_other() {
    let lock = locked(&["inside", "outside", "refused"], &["kured"]);
    let rules = Rules {
        spread_by: vec!["zone".to_owned()],
        ..Rules::default()
    };
    let node = other("a", Some("a"), None);
    let search = rules.look("a", lock.clone());
    let mut count = PoolCount::default();
    count.add(&other("inside", Some("a"), Some("draining")), &search);
    assert_eq!(count.next_holder(&search).as_deref(), Some("outside"));
    count.add_holder(
        "outside",
        Some(&other("outside", Some("a"), Some("draining"))),
        &search,
    );
    assert_eq!(count.next_holder(&search).as_deref(), Some("refused"));
    count.add_unknown("refused", &search);
    // kured's entry does not end because its Node is gone.
    assert_eq!(count.next_holder(&search).as_deref(), Some("kured"));
    count.add_holder("kured", None, &search);
    assert_eq!(count.next_holder(&search), None);
    assert_eq!(count.size, 1, "only Nodes of the pool are counted");
    let facts = Facts {
        node: &node,
        lock: &lock,
        pool: Some(&count),
        concurrency: Share::Count(9),
    };
    let [Blocker::Spread { others, .. }] = &blockers(&facts, &rules)[..] else {
        panic!()
    };
    assert_eq!(others.keys().collect::<Vec<_>>(), ["kured", "refused"]);
}

#[test]
fn a_lock_full_of_strangers_is_not_read_without_bound() {
    let names: Vec<String> = (0..1_000).map(|number| format!("stranger-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let look = Rules::default().look("a", locked(&names, &[]));
    let mut count = PoolCount::default();
    let mut reads = 0;
    while let Some(name) = count.next_holder(&look) {
        reads += 1;
        count.add_holder(&name, None, &look);
    }
    assert_eq!(reads, 8);
    // Those of whom nothing is known count.
    assert_eq!(count.in_reboot.len(), 992);
}

/// A Node that shows this program's reboot.
fn rebooted_by(foreign: Foreign, mut node: NodeView) -> NodeView {
    let condition = |kind: &str| crate::node::Condition {
        kind: kind.to_owned(),
        status: "True".to_owned(),
        since: String::new(),
    };
    let mut labels = BTreeMap::new();
    let mut annotations = BTreeMap::new();
    match foreign {
        Foreign::Karpenter => node.status.conditions.push(condition("Rebooting")),
        Foreign::NvidiaMig => drop(labels.insert("nvidia.com/mig.config.state", "rebooting")),
        Foreign::GracefulShutdown => node
            .status
            .conditions
            .push(condition("GracefulNodeShutdownInProgress")),
        Foreign::Talos => drop(annotations.insert("talos.dev/cordoned", "true")),
        Foreign::Mco => drop(annotations.insert("machineconfiguration.openshift.io/state", "Rebooting")),
    }
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    node.metadata.labels.extend(labels.into_iter().map(owned));
    node.metadata
        .annotations
        .extend(annotations.into_iter().map(owned));
    node
}

/// The same Node when the reboot is over, or has not begun.
fn not_rebooted_by(foreign: Foreign, node: NodeView) -> NodeView {
    let mut node = rebooted_by(foreign, node);
    for condition in &mut node.status.conditions {
        "False".clone_into(&mut condition.status);
    }
    let metadata = &mut node.metadata;
    for value in metadata
        .labels
        .values_mut()
        .chain(metadata.annotations.values_mut())
    {
        "Done".clone_into(value);
    }
    node
}

fn looking_for(foreign: &[Foreign]) -> Rules {
    Rules {
        foreign: foreign.to_vec(),
        ..Rules::default()
    }
}

#[test]
fn each_program_that_reboots_hosts_is_seen_by_its_sign_and_leaves_no_room() {
    for foreign in Foreign::ALL {
        let blocks = |b: NodeView, room| {
            let found = in_pool(
                &node("a"),
                &LockView::default(),
                &[b],
                &looking_for(&[foreign]),
                room,
            );
            !found.is_empty()
        };
        assert!(blocks(rebooted_by(foreign, node("b")), 1), "{foreign}");
        assert!(!blocks(rebooted_by(foreign, node("b")), 2), "{foreign}");
        assert!(!blocks(not_rebooted_by(foreign, node("b")), 1), "{foreign}");
        // Only where it is asked for.
        let others: Vec<Foreign> = Foreign::ALL
            .into_iter()
            .filter(|other| *other != foreign)
            .collect();
        let found = in_pool(
            &node("a"),
            &LockView::default(),
            &[rebooted_by(foreign, node("b"))],
            &looking_for(&others),
            1,
        );
        assert_eq!(found, [], "{foreign}");
        // Our own node is left alone.
        let own = in_pool(
            &rebooted_by(foreign, node("a")),
            &LockView::default(),
            &[],
            &looking_for(&[foreign]),
            9,
        );
        assert_eq!(own, [Blocker::ForeignReboot(foreign)]);
    }
}

#[test]
fn foreign_reboots_and_ours_fill_the_budget_together_and_each_node_counts_once() {
    let rules = looking_for(&Foreign::ALL);
    let foreign = rebooted_by(Foreign::Mco, node("foreign"));
    // Held and in the lock, and its shutdown through logind shows too: that is our own reboot.
    let ours = rebooted_by(Foreign::GracefulShutdown, other("ours", None, Some("sealed")));
    let lock = locked(&["ours"], &[]);
    let pool = [foreign, ours, node("idle")];
    let found = in_pool(&node("a"), &lock, &pool, &rules, 2);
    let blocker = Blocker::ForeignReboots {
        foreign: BTreeMap::from([("foreign".to_owned(), Foreign::Mco)]),
        others: 1,
        allowed: 2,
    };
    assert_eq!(found, [blocker]);
    let text = found[0].to_string();
    assert!(
        text.contains("foreign (mco: annotation machineconfiguration.openshift.io/state=Rebooting)"),
        "{text}"
    );
    assert_eq!(in_pool(&node("a"), &lock, &pool, &rules, 3), []);
    // Without a foreign one, the lock alone decides.
    assert_eq!(in_pool(&node("a"), &lock, &pool[1..], &rules, 1), []);
}

#[test]
fn our_own_reboot_through_logind_is_not_taken_for_somebody_elses() {
    let rules = looking_for(&[Foreign::GracefulShutdown, Foreign::Karpenter]);
    let tried = |foreign, attempts: &str| {
        let mut node = rebooted_by(foreign, other("a", None, Some("draining")));
        drop(
            node.metadata
                .annotations
                .insert(keys::ATTEMPT.to_owned(), attempts.to_owned()),
        );
        in_pool(&node, &locked(&["a"], &[]), &[], &rules, 1)
    };
    assert_eq!(tried(Foreign::GracefulShutdown, "1"), []);
    assert_eq!(
        tried(Foreign::GracefulShutdown, "0"),
        [Blocker::ForeignReboot(Foreign::GracefulShutdown)]
    );
    // No command of ours makes Karpenter say that.
    assert_eq!(
        tried(Foreign::Karpenter, "1"),
        [Blocker::ForeignReboot(Foreign::Karpenter)]
    );
}

/// What people read in Events, on the Node and in `status`.
fn say(all: &[(Blocker, &str)]) {
    for (blocker, says) in all {
        assert_eq!(blocker.to_string(), *says);
    }
}

fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_blocker_that_was_asked_for_says_what_blocks_and_when_it_goes_on() {
    say(&[
        (
            Blocker::Unavailable {
                unready: names(&["b", "c"]),
                allowed: 1,
            },
            "Nodes that are not Ready: 2 (b, c), and --max-unavailable allows 1: bring them back, or allow more",
        ),
        (
            Blocker::Alerts(names(&["Down", "a b"])),
            "alerts are active in Prometheus: Down, 'a b': it goes on when they are resolved, or when --alert-filter-regexp ignores them",
        ),
        (
            Blocker::Series {
                expression: "up == 0".to_owned(),
                count: 3,
                first: "{job=x}".to_owned(),
            },
            "--blocker-promql='up == 0' returns 3 series, such as {job=x}: it goes on when it returns none",
        ),
        (
            Blocker::Pods {
                flag: "--blocking-pod-selector",
                names: names(&["web/a"]),
            },
            "pods on this node that --blocking-pod-selector selects: web/a: it goes on when they have ended or left",
        ),
        (
            Blocker::Object {
                object: "jobs/a".to_owned(),
                expression: "status.active > 0".to_owned(),
            },
            "'status.active > 0' is true of jobs/a (--blocker-object): it goes on when it is false",
        ),
    ]);
}

#[test]
fn a_blocker_of_hosts_and_other_nodes_says_what_blocks_and_when_it_goes_on() {
    let others = BTreeMap::from([("b".to_owned(), Some("b".to_owned())), ("c".to_owned(), None)]);
    let spread = |ours: Option<&str>| Blocker::Spread {
        label: "zone".to_owned(),
        ours: ours.map(str::to_owned),
        others: others.clone(),
    };
    say(&[
        (
            Blocker::Inhibitors(names(&["backup: runs"])),
            "programs on the host block its shutdown: 'backup: runs': it goes on when they no longer do; systemd-inhibit --list on the host shows them",
        ),
        (
            Blocker::NodeAnnotation {
                key: "example.com/hold".to_owned(),
                value: "yes".to_owned(),
            },
            "the Node has the annotation example.com/hold='yes', which --blocking-node-annotation names: it goes on when that is removed from the Node",
        ),
        (
            spread(Some("a")),
            "--spread-by=zone keeps nodes of different values apart: this node has zone=a, and these are in a reboot: b (zone=b), c (no such label): \
             it goes on when they are back",
        ),
        (
            spread(None),
            "--spread-by=zone keeps nodes of different values apart: this node has no such label, and these are in a reboot: b (zone=b), c (no such label): \
             it goes on when they are back",
        ),
        (
            Blocker::ForeignReboot(Foreign::Talos),
            "somebody else reboots this node (talos: annotation talos.dev/cordoned=true): it goes on when the Node no longer shows that",
        ),
        (
            Blocker::Unanswered {
                question: "Prometheus".to_owned(),
                since: time("2026-11-29T12:00:00.5Z"),
                why: "refused".to_owned(),
            },
            "Prometheus: no answer since 2026-11-29T12:00:00Z: refused; --blocker-timeout can limit how long that blocks",
        ),
    ]);
}

#[test]
fn of_many_names_ten_are_said_and_how_many_more_there_are() {
    for (count, more) in [(10, ""), (11, ", and 1 more"), (30, ", and 20 more")] {
        let names = (0..count).map(|index| format!("n{index:02}"));
        let said = Blocker::Alerts(names.collect()).to_string();
        assert!(said.contains(&format!("n08, n09{more}: it goes on")), "{said}");
    }
}

#[test]
fn of_the_questions_only_that_for_the_budgets_is_not_asked_at_the_end() {
    assert!(Question::Inhibitors.is_asked_at_the_end());
    assert!(Question::Promql("up == 0").is_asked_at_the_end());
    assert!(!Question::Budgets(Preflight { skip_wait: None }).is_asked_at_the_end());
}

#[test]
fn a_reboot_that_ended_as_the_time_before_the_wish_began_is_no_part_of_a_loop() {
    let rules = Rules {
        reboots_max: Some(RebootsMax {
            count: 1,
            within: SignedDuration::from_hours(1),
        }),
        ..Rules::default()
    };
    let blocks = |reboot: &str| !by_node(&wishing(reboot), &rules).is_empty();
    assert!(!blocks("2026-11-29T11:00:00.000000001Z"));
    assert!(blocks("2026-11-29T11:00:00.000000002Z"));
}

#[test]
fn nodes_that_are_not_ready_count_unless_they_are_ours_in_the_lock_or_held() {
    let unready = |name: &str| other(name, None, None);
    let ready: NodeView = serde_json::from_value(serde_json::json!({
        "metadata": { "name": "ready" }, "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    }))
    .unwrap();
    let pool = [
        unready("b"),
        unready("locked"),
        other("held", None, Some("draining")),
        ready,
    ];
    let rules = Rules {
        max_unavailable: Some(Share::Count(0)),
        ..Rules::default()
    };
    let found = in_pool(&unready("a"), &locked(&["locked"], &[]), &pool, &rules, 9);
    let expected = Blocker::Unavailable {
        unready: ["b".to_owned()].into(),
        allowed: 0,
    };
    assert_eq!(found, [expected]);
}

#[test]
fn a_field_selector_may_end_with_a_backslash_that_is_escaped_and_with_no_other() {
    let parse = |text: &str| text.parse::<pods::FieldSelector>();
    assert!(parse(r"metadata.name=a\\").is_ok());
    assert!(parse(r"metadata.name=a\").is_err());
    assert!(parse("metadata.name=a").is_ok());
}
