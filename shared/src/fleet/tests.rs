//! What is said of each node, pool and trouble, for every state of a fleet.

use serde_json::json;

use super::*;
use crate::hold::Holder;
use crate::reboot::lock_object::{CarrierView, LockObject, Metadata};

const NOW: &str = "2026-11-29T11:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn set(node: &mut NodeView, key: &str, value: &str) {
    drop(node.metadata.annotations.insert(key.to_owned(), value.to_owned()));
}

/// A Node that is Ready, and schedulable.
fn node(name: &str) -> NodeView {
    let ready = json!({ "type": "Ready", "status": "True" });
    serde_json::from_value(json!({
        "metadata": { "name": name, "uid": format!("uid-{name}"), "resourceVersion": "7" },
        "status": { "conditions": [ready], "nodeInfo": { "bootID": "b1" } },
    }))
    .unwrap()
}

/// A Node in this phase since 10:40, whose agent has renewed the hold.
fn held(name: &str, phase: Phase) -> NodeView {
    let mut node = node(name);
    let holder = Holder {
        node_uid: format!("uid-{name}"),
        created: "2026-11-29T10:40:00.000000001Z".to_owned(),
    };
    set(&mut node, keys::HOLDER, &holder.to_string());
    set(&mut node, keys::UNTIL, "2026-11-29T11:09:00Z");
    set(&mut node, keys::BOOT_ID, "b1/1.0");
    drop(
        node.metadata
            .labels
            .insert(keys::PHASE.to_owned(), phase.to_string()),
    );
    node.spec.unschedulable = phase != Phase::Wanted;
    node
}

fn created(node: &mut NodeView, created: &str) {
    let holder = format!("{}/{created}", node.metadata.uid);
    set(node, keys::HOLDER, &holder);
}

fn lock(carrier: Carrier, name: &str, annotations: &[(&str, &str)]) -> SeenLock {
    let annotations = annotations
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    SeenLock {
        object: LockObject {
            carrier,
            namespace: "cordonhold".to_owned(),
            name: name.to_owned(),
            key: match carrier {
                Carrier::Lease => keys::LOCK,
                Carrier::DaemonSet => keys::KURED_LOCK,
            }
            .to_owned(),
        },
        view: CarrierView {
            metadata: Metadata {
                name: name.to_owned(),
                resource_version: "3".to_owned(),
                annotations: annotations.collect(),
            },
        },
    }
}

/// The Lease of the pool `default` with entries of ours for these nodes.
fn lease(nodes: &[&str]) -> SeenLock {
    let entries: Vec<Entry> = nodes
        .iter()
        .map(|name| {
            Entry::new(
                name,
                &format!("uid-{name}"),
                "2026-11-29T10:40:00.000000001Z",
                false,
            )
        })
        .collect();
    let record = crate::lock::Record {
        entries,
        max_owners: Some(2),
    };
    let text = record.render().unwrap_or_default();
    let text: Vec<(&str, &str)> = if nodes.is_empty() {
        Vec::new()
    } else {
        vec![(keys::LOCK, &text)]
    };
    lock(Carrier::Lease, "cordonhold-default", &text)
}

fn told(node: &str, reason: &str, says: &str) -> Told {
    Told {
        node: node.to_owned(),
        reason: reason.to_owned(),
        note: says.to_owned(),
        since: "2026-11-29T10:55:00Z".parse().unwrap(),
        at: "2026-11-29T10:55:00Z".parse().unwrap(),
        count: 1,
    }
}

fn fleet(nodes: Vec<NodeView>, locks: Vec<SeenLock>, told: Vec<Told>) -> Fleet {
    let seen = Seen {
        locks,
        told,
        nodes,
        ..Seen::default()
    };
    Fleet::of(&seen, now())
}

fn row(fleet: &Fleet, name: &str) -> Row {
    fleet.nodes.iter().find(|row| row.node == name).unwrap().clone()
}

fn kinds(fleet: &Fleet) -> Vec<TroubleKind> {
    fleet.troubles.iter().map(|trouble| trouble.kind).collect()
}

#[test]
fn a_request_is_shown_until_it_is_used_and_then_only_while_its_hold_goes_on() {
    let text = "2026-11-29T10:39:00Z jo: a new kernel";
    let at: Timestamp = "2026-11-29T10:39:00Z".parse().unwrap();
    let mut asked = node("a");
    set(&mut asked, keys::REBOOT_WANTED, text);
    let mut held = held("a", Phase::Draining);
    set(&mut held, keys::REBOOT_WANTED, text);
    let used = crate::lock::UsedRequests::default()
        .with("a", at)
        .unwrap()
        .render();
    let mut entry = Entry::new("a", "uid-a", "2026-11-29T10:40:00.000000001Z", false);
    entry.requested_at = format!("{at:.9}");
    let record = crate::lock::Record {
        entries: vec![entry],
        max_owners: None,
    };
    let record = record.render().unwrap();
    let unused = lock(Carrier::Lease, "cordonhold-default", &[]);
    let forgotten = lock(
        Carrier::Lease,
        "cordonhold-default",
        &[(keys::REQUESTS_USED, &used)],
    );
    let serving = lock(
        Carrier::Lease,
        "cordonhold-default",
        &[(keys::REQUESTS_USED, &used), (keys::LOCK, &record)],
    );
    let shown = Some("jo: a new kernel");
    for (node, lock, requested, troubles) in [
        (asked.clone(), unused, shown, vec![]),
        (asked, forgotten, None, vec![TroubleKind::Ignored]),
        (held, serving, shown, vec![]),
    ] {
        let fleet = fleet(vec![node], vec![lock], Vec::new());
        assert_eq!(row(&fleet, "a").requested.as_deref(), requested);
        assert_eq!(kinds(&fleet), troubles);
        assert_eq!(row(&fleet, "a").is_idle(), requested.is_none());
    }
}

#[test]
fn each_phase_is_a_state_and_says_what_it_does() {
    let mut draining = held("draining", Phase::Draining);
    set(&mut draining, keys::DRAIN_PROGRESS, "3 gone, 2 left");
    let mut down = held("sealed", Phase::Sealed);
    down.status.conditions.clear();
    let mut booting = held("returning", Phase::Returning);
    booting.status.conditions.clear();
    let fleet = fleet(
        vec![
            held("wanted", Phase::Wanted),
            draining,
            held("delaying", Phase::Delaying),
            down,
            booting,
            node("idle"),
        ],
        vec![lease(&[])],
        Vec::new(),
    );
    for (name, state, detail) in [
        ("wanted", State::Wanted, "waits for its turn"),
        ("draining", State::Draining, "3 gone, 2 left"),
        ("delaying", State::Delaying, "drained; --reboot-delay runs"),
        ("sealed", State::Sealed, "the host is down"),
        (
            "returning",
            State::Returning,
            "has booted; waits until the node is Ready",
        ),
        ("idle", State::Idle, ""),
    ] {
        let row = row(&fleet, name);
        assert_eq!((row.state, row.detail.as_str()), (state, detail), "{name}");
        assert_eq!(row.since.is_some(), name != "idle");
    }
    // What needs a look comes first.
    let order: Vec<&str> = fleet.nodes.iter().map(|row| row.node.as_str()).collect();
    assert_eq!(
        order,
        ["sealed", "returning", "delaying", "draining", "wanted", "idle"]
    );
    assert_eq!(kinds(&fleet), []);
}

#[test]
fn the_phase_is_dated_by_the_account_if_that_is_of_this_phase() {
    let mut node = held("n", Phase::Draining);
    for (phase, since) in [
        ("draining", "2026-11-29T10:50:00Z"),
        ("wanted", "2026-11-29T10:40:00.000000001Z"),
    ] {
        let account = json!({ "created": "2026-11-29T10:40:00.000000001Z", "why": "file /x", "phase": phase, "since": "2026-11-29T10:50:00Z" });
        set(&mut node, keys::REBOOT_ACCOUNT, &account.to_string());
        let row = row(&fleet(vec![node.clone()], Vec::new(), Vec::new()), "n");
        assert_eq!(row.since, since.parse().ok(), "{phase}");
        assert_eq!(row.asked_by, "file /x");
    }
}

#[test]
fn the_oldest_wish_is_next_and_the_others_say_who_has_the_lock() {
    let mut old = held("old", Phase::Wanted);
    created(&mut old, "2026-11-29T08:00:00Z");
    let mut older_but_paused = held("paused", Phase::Wanted);
    created(&mut older_but_paused, "2026-11-29T07:00:00Z");
    set(&mut older_but_paused, keys::PAUSE, "the sale");
    let fleet = fleet(
        vec![
            held("young", Phase::Wanted),
            old,
            older_but_paused,
            held("works", Phase::Draining),
        ],
        vec![lease(&["works"])],
        Vec::new(),
    );
    let pool = &fleet.pools[0];
    assert_eq!((pool.name.as_str(), pool.nodes, pool.wishes), ("default", 4, 2));
    assert_eq!(
        (pool.next.as_deref(), pool.holders.as_slice()),
        (Some("old"), &["works".to_owned()][..])
    );
    assert_eq!(pool.lock, ["Lease cordonhold/cordonhold-default"]);
    assert_eq!(
        (row(&fleet, "old").queue, row(&fleet, "young").queue),
        (Some(1), Some(2))
    );
    assert_eq!(row(&fleet, "old").detail, "waits for the lock: works has it");
    assert_eq!(row(&fleet, "paused").detail, "this node is paused: 'the sale'");
    assert_eq!(row(&fleet, "paused").queue, None);
    assert!(row(&fleet, "works").lock.is_some_and(|place| place.ours));
}

#[test]
fn a_paused_pool_has_no_next_and_says_so() {
    let mut paused = lease(&[]);
    drop(
        paused
            .view
            .metadata
            .annotations
            .insert(keys::PAUSE.to_owned(), "release".to_owned()),
    );
    let fleet = fleet(vec![held("n", Phase::Wanted)], vec![paused], Vec::new());
    assert_eq!(
        (fleet.pools[0].next.as_deref(), fleet.pools[0].paused.as_deref()),
        (None, Some("release"))
    );
    assert_eq!(row(&fleet, "n").detail, "the pool is paused: 'release'");
}

#[test]
fn what_the_agent_said_last_is_told_without_the_text_that_every_such_event_has() {
    for (phase, reason, note, detail) in [
        (
            Phase::Wanted,
            "RebootBlocked",
            "the reboot is postponed: alert Down is firing",
            "alert Down is firing",
        ),
        (
            Phase::Wanted,
            "RebootWaitsForLock",
            "waiting for the lock",
            "waits for the lock: other has it",
        ),
        // No wait: what it did is over.
        (
            Phase::Wanted,
            "RebootWanted",
            "a reboot is wanted",
            "waits for the lock: other has it",
        ),
        (
            Phase::Delaying,
            "RebootBlocked",
            "the reboot is postponed: paused",
            "paused",
        ),
    ] {
        let fleet = fleet(
            vec![held("n", phase)],
            vec![lease(&["other"])],
            vec![told("n", reason, note)],
        );
        assert_eq!(row(&fleet, "n").detail, detail, "{reason}");
    }
    // An Event from before the wish is about an earlier one.
    let mut late = held("n", Phase::Wanted);
    created(&mut late, "2026-11-29T10:58:00Z");
    let fleet = fleet(
        vec![late],
        vec![lease(&[])],
        vec![told("n", "RebootBlocked", "x")],
    );
    assert_eq!(row(&fleet, "n").detail, "waits for its turn");
}

#[test]
fn kureds_nodes_are_shown_as_kureds_and_an_entry_that_has_expired_holds_none() {
    let entry =
        |ttl: i64| json!({ "nodeID": "n", "created": "2026-11-29T10:00:00Z", "TTL": ttl }).to_string();
    let mut wants = node("wants");
    set(&mut wants, keys::KURED_REBOOT_IN_PROGRESS, "2026-11-29T09:00:00Z");
    for (ttl, state) in [(0, State::Kured), (1, State::Idle)] {
        let kured = lock(Carrier::DaemonSet, "kured", &[(keys::KURED_LOCK, &entry(ttl))]);
        let fleet = fleet(vec![node("n"), wants.clone()], vec![kured], Vec::new());
        assert_eq!(row(&fleet, "n").state, state, "{ttl}");
        assert_eq!(row(&fleet, "wants").state, State::KuredWants);
        assert_eq!(fleet.pools, []);
    }
}

#[test]
fn pools_are_told_by_their_leases_and_a_shared_lock_counts_for_each_nodes_pool() {
    let mut gpu = held("gpu-1", Phase::Draining);
    drop(gpu.metadata.labels.insert("kind".to_owned(), "gpu".to_owned()));
    let record = crate::lock::Record {
        entries: vec![Entry::new(
            "gpu-1",
            "uid-gpu-1",
            "2026-11-29T10:40:00.000000001Z",
            false,
        )],
        max_owners: None,
    };
    let fleet = fleet(
        vec![gpu, node("n")],
        vec![
            lock(
                Carrier::Lease,
                "cordonhold-gpu",
                &[(keys::POOL_SELECTOR, "kind=gpu")],
            ),
            lock(
                Carrier::Lease,
                "cordonhold-rest",
                &[(keys::POOL_SELECTOR, "kind!=gpu")],
            ),
            lock(Carrier::Lease, "cordonhold-bad", &[(keys::POOL_SELECTOR, "((")]),
            lock(
                Carrier::DaemonSet,
                "kured",
                &[(keys::KURED_LOCK, &record.render().unwrap())],
            ),
        ],
        Vec::new(),
    );
    let of = |name: &str| fleet.pools.iter().find(|pool| pool.name == name).unwrap();
    assert_eq!(
        (of("gpu").nodes, of("gpu").holders.as_slice()),
        (1, &["gpu-1".to_owned()][..])
    );
    assert_eq!((of("rest").nodes, of("rest").holders.len()), (1, 0));
    assert_eq!(of("bad").nodes, 0);
    assert_eq!(row(&fleet, "n").pool.as_deref(), Some("rest"));
    assert_eq!(kinds(&fleet), [TroubleKind::PoolUnreadable]);
}

#[test]
fn a_node_is_idle_for_a_table_only_if_nobody_has_written_anything_on_it() {
    for key in [keys::PAUSE, keys::KEEP_CORDONED] {
        let mut node = node("n");
        set(&mut node, key, "jo");
        let row = row(&fleet(vec![node], Vec::new(), Vec::new()), "n");
        assert_eq!((row.state, row.is_idle()), (State::Idle, false), "{key}");
    }
    let idle = row(&fleet(vec![node("n")], Vec::new(), Vec::new()), "n");
    assert!(idle.is_idle());
    let held = row(
        &fleet(vec![held("n", Phase::Draining)], Vec::new(), Vec::new()),
        "n",
    );
    assert!(!held.is_idle());
}

#[test]
fn marks_without_a_holder_and_a_phase_are_no_hold() {
    let mut node = node("n");
    set(&mut node, keys::UNTIL, "2026-11-29T11:09:00Z");
    let row = row(&fleet(vec![node], Vec::new(), Vec::new()), "n");
    let says = "its marks are no hold of this Node: there is neither a holder nor a phase";
    assert_eq!((row.state, row.detail.as_str()), (State::Unreadable, says));
}

#[test]
fn a_sealed_and_a_returning_node_say_how_far_they_are() {
    let down = |mut node: NodeView| {
        node.status.conditions.clear();
        node
    };
    let over = |mut node: NodeView| {
        set(&mut node, keys::UNTIL, "2026-11-29T10:41:00Z");
        node
    };
    let (sealed, returning) = (held("n", Phase::Sealed), held("n", Phase::Returning));
    let late = "the time for its reboot is over, and it is not back";
    let stuck = told("n", "RebootStuck", "the command had no effect");
    let waits = told("n", "RebootBlocked", "the reboot is postponed: paused");
    for (node, told, detail) in [
        (sealed.clone(), None, "the reboot command runs"),
        (sealed.clone(), Some(&waits), "the reboot command runs"),
        (sealed.clone(), Some(&stuck), "the command had no effect"),
        (down(sealed.clone()), None, "the host is down"),
        (over(sealed.clone()), None, late),
        (over(down(sealed)), None, late),
        (
            returning.clone(),
            None,
            "is back and Ready; its cordon is given back after --soak",
        ),
        (down(returning), None, "has booted; waits until the node is Ready"),
    ] {
        let fleet = fleet(vec![node], Vec::new(), told.into_iter().cloned().collect());
        assert_eq!(row(&fleet, "n").detail, detail);
    }
}

#[test]
fn a_place_in_the_lock_that_is_kept_is_said_of_the_node() {
    let says = "its place in the lock is kept for a while";
    let mut kept = node("n");
    set(
        &mut kept,
        keys::RELEASE_AT,
        "2026-11-29T10:40:00Z 2026-11-29T11:05:00Z",
    );
    for (node, locks, detail) in [
        (kept, vec![], says),
        (node("n"), vec![lease(&["n"])], says),
        (node("n"), vec![lease(&["other"])], ""),
    ] {
        let fleet = fleet(vec![node], locks, Vec::new());
        assert_eq!(
            (row(&fleet, "n").state, row(&fleet, "n").detail.as_str()),
            (State::Idle, detail)
        );
    }
}

#[test]
fn a_wish_waits_in_the_queue_until_its_node_has_a_place_of_ours_in_the_lock() {
    let kureds = json!({ "nodeID": "n", "created": "2026-11-29T10:00:00Z", "TTL": 0 }).to_string();
    for (locks, queue) in [
        (vec![lease(&[])], Some(1)),
        (vec![lease(&["n"])], None),
        (
            vec![
                lease(&[]),
                lock(Carrier::DaemonSet, "kured", &[(keys::KURED_LOCK, &kureds)]),
            ],
            Some(1),
        ),
    ] {
        let fleet = fleet(vec![held("n", Phase::Wanted)], locks, Vec::new());
        assert_eq!(row(&fleet, "n").queue, queue);
    }
}

#[test]
fn the_last_ca_is_a_trouble_in_the_two_weeks_before_it_ends() {
    for (until, is_trouble) in [("2026-12-13T10:59:59Z", true), ("2026-12-13T11:00:00Z", false)] {
        let webhook = Webhook {
            ca_until: until.parse().ok(),
            ..Webhook::default()
        };
        let fleet = Fleet::of(
            &Seen {
                webhook,
                ..Seen::default()
            },
            now(),
        );
        assert_eq!(
            kinds(&fleet).contains(&TroubleKind::CaEnds),
            is_trouble,
            "{until}"
        );
    }
}

#[test]
fn words_and_codes_in_json_are_those_of_the_tables() {
    for state in State::ALL {
        assert_eq!(json!(state), state.as_str());
    }
    for kind in TroubleKind::ALL {
        assert_eq!(json!(kind), kind.code());
    }
}

mod troubles;

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(format!("uid-n/{NOW}")),
            Just("draining".to_owned()),
            Just("sealed".to_owned()),
            Just("true".to_owned()),
            "\\PC{0,200}|[ -~\n\t]{0,20}",
        ]
    }

    proptest! {
        /// Whatever others wrote, each line of the table is one line, and each trouble has a command.
        #[test]
        fn whatever_others_wrote_a_row_is_one_line_and_a_trouble_has_a_command(
            values in proptest::collection::vec(text(), 8), phase in text(), cordoned: bool,
        ) {
            let mut node = node("n");
            let keys = keys::MARK_ANNOTATIONS.into_iter().chain([keys::CANCEL, keys::PAUSE]);
            for (key, value) in keys.zip(values) {
                set(&mut node, key, &value);
            }
            drop(node.metadata.labels.insert(keys::PHASE.to_owned(), phase));
            node.spec.unschedulable = cordoned;
            let fleet = fleet(vec![node], vec![lease(&[])], Vec::new());
            prop_assert_eq!(fleet.nodes.len(), 1);
            let row = &fleet.nodes[0];
            prop_assert!(!row.detail.contains('\n') && row.detail.chars().count() <= 400);
            for trouble in &fleet.troubles {
                prop_assert!(trouble.command.starts_with("kubectl ") && !trouble.command.contains('\n'));
                prop_assert!(!trouble.says.contains('\n'));
            }
        }
    }
}
