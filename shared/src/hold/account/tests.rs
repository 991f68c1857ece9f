//! Tests of the account: what a reboot leaves in it, whatever stood there and whatever the clock says.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::hold::{Hold, Holder, NodePatch, Proof, Terms};

const CREATED: &str = "2026-11-23T10:00:00.000000001Z";
const TERMS: Terms = Terms {
    reboot: SignedDuration::ZERO,
    release: SignedDuration::ZERO,
};

/// A Node, and what its agent writes there.
struct Run {
    node: NodeView,
    hold: Hold,
}

impl Run {
    fn new() -> Run {
        let holder = Holder {
            node_uid: "u".to_owned(),
            created: CREATED.to_owned(),
        };
        Run {
            node: NodeView::default(),
            hold: Hold::wish(holder, Proof::new(1)),
        }
    }

    fn stamped(at: &str) -> Run {
        let mut run = Run::new();
        run.write(Some(Phase::Wanted), at, &Tally::default());
        run
    }

    /// The patch that begins this phase, or gives the cordon back, with what has happened since the last one.
    fn patch(&self, begins: Option<Phase>, adds: &Tally) -> NodePatch {
        let leaves = |phase| self.hold.written(phase, Proof::new(2));
        let node = &self.node;
        let patch = match begins {
            Some(Phase::Wanted) => NodePatch::stamp(node, leaves(Phase::Wanted)),
            Some(Phase::Draining) => NodePatch::cordon(node, leaves(Phase::Draining), true),
            Some(Phase::Delaying) => NodePatch::delay(node, leaves(Phase::Delaying)),
            Some(Phase::Sealed) => NodePatch::seal(node, leaves(Phase::Sealed)),
            Some(Phase::Returning) => NodePatch::returning(node, leaves(Phase::Returning)),
            None => NodePatch::give_back(node, &self.hold, Proof::new(3)),
        };
        patch.accounted(node, "file /run/reboot-required", adds)
    }

    fn write(&mut self, begins: Option<Phase>, at: &str, adds: &Tally) {
        self.write_at(begins, at.parse().unwrap(), adds);
    }

    fn write_at(&mut self, begins: Option<Phase>, at: Timestamp, adds: &Tally) {
        self.node = self.patch(begins, adds).applied(&self.node, at, &TERMS);
    }

    /// Writes these phases at these times, and then the give-back.
    fn go_on(&mut self, phases: &[(Phase, &str)], end: &str) {
        for (phase, at) in phases {
            self.write(Some(*phase), at, &Tally::default());
        }
        self.write(None, end, &Tally::default());
    }

    fn annotate(&mut self, key: &str, value: &str) {
        let annotations = &mut self.node.metadata.annotations;
        drop(annotations.insert(key.to_owned(), value.to_owned()));
    }

    fn running(&self) -> Account {
        let reading = account(&self.node);
        reading.clone().present().unwrap_or_else(|| panic!("{reading:?}"))
    }

    fn last(&self) -> Account {
        let reading = last_reboot(&self.node);
        reading.clone().present().unwrap_or_else(|| panic!("{reading:?}"))
    }
}

fn seconds(account: &Account) -> Vec<(Phase, u64)> {
    account.seconds.clone().into_iter().collect()
}

const WAY: [(Phase, &str); 4] = [
    (Phase::Draining, "2026-11-23T10:00:12.9Z"),
    (Phase::Delaying, "2026-11-23T10:05:12Z"),
    (Phase::Sealed, "2026-11-23T10:05:13Z"),
    (Phase::Returning, "2026-11-23T10:07:13Z"),
];
const END: &str = "2026-11-23T10:08:00Z";

#[test]
fn the_account_of_a_reboot_says_when_why_how_long_how_often_disturbed_and_at_what_cost() {
    let mut run = Run::stamped("2026-11-23T10:00:00.5Z");
    assert_eq!(
        run.node.annotation(keys::REBOOT_ACCOUNT),
        Some(
            r#"{"created":"2026-11-23T10:00:00.000000001Z","why":"file /run/reboot-required","phase":"wanted","since":"2026-11-23T10:00:00Z"}"#
        )
    );
    run.write(Some(Phase::Draining), WAY[0].1, &Tally::default());
    let mut tally = Tally {
        evicted: 31,
        refused: 4,
        ..Tally::default()
    };
    tally.disturbed("uncordoned");
    tally.disturbed("uncordoned");
    run.write(Some(Phase::Delaying), WAY[1].1, &tally);
    let running = run.running();
    assert_eq!((running.phase, running.evicted), (Some(Phase::Delaying), 31));
    run.go_on(&WAY[2..], END);
    assert_eq!(run.node.annotation(keys::REBOOT_ACCOUNT), None);
    assert_eq!(
        run.node.annotation(keys::LAST_REBOOT),
        Some(
            r#"{"created":"2026-11-23T10:00:00.000000001Z","why":"file /run/reboot-required","ended":"2026-11-23T10:08:00Z","seconds":{"wanted":12,"draining":300,"delaying":1,"sealed":120,"returning":47},"disturbed":{"uncordoned":2},"evicted":31,"refused":4}"#
        )
    );
}

#[test]
fn a_phase_that_is_entered_again_adds_up() {
    let mut run = Run::stamped("2026-11-23T10:00:00Z");
    run.go_on(
        &[
            (Phase::Draining, "2026-11-23T10:00:10Z"),
            (Phase::Delaying, "2026-11-23T10:01:10Z"),
            (Phase::Draining, "2026-11-23T10:01:20Z"),
            (Phase::Draining, "2026-11-23T10:01:25Z"),
            (Phase::Delaying, "2026-11-23T10:02:20Z"),
        ],
        "2026-11-23T10:02:21Z",
    );
    let expected = [(Phase::Wanted, 10), (Phase::Draining, 120), (Phase::Delaying, 11)];
    assert_eq!(seconds(&run.last()), expected);
}

#[test]
fn a_renewal_leaves_the_account_as_it_is() {
    let run = Run::stamped("2026-11-23T10:00:00Z");
    let renewal = NodePatch::renew(&run.node, run.hold.clone(), None);
    let renewed = renewal.applied(&run.node, END.parse().unwrap(), &TERMS);
    assert_ne!(renewed, run.node);
    assert_eq!(account(&renewed), account(&run.node));
}

#[test]
fn a_reboot_that_is_called_off_leaves_the_account_of_the_one_before() {
    let mut run = Run::stamped("2026-11-23T10:00:00Z");
    run.go_on(&WAY, END);
    let before = run.last();
    run.write(Some(Phase::Wanted), "2026-11-23T11:00:00Z", &Tally::default());
    run.write(Some(Phase::Draining), "2026-11-23T11:00:01Z", &Tally::default());
    let undo = NodePatch::give_back(&run.node, &run.hold, Proof::new(3));
    run.node = undo.applied(&run.node, "2026-11-23T11:00:02Z".parse().unwrap(), &TERMS);
    assert_eq!(account(&run.node), Reading::Absent);
    assert_eq!(run.last(), before);
}

/// What may stand in an annotation that anybody may write, and that no agent has written for this hold.
fn not_of_this_hold() -> Vec<String> {
    let of = |created: &str, rest: &str| format!(r#"{{"created":"{created}"{rest}}}"#);
    let phase = r#","phase":"draining","since":"2026-11-23T10:00:00Z""#;
    let words = (0..20).map(|number| format!(r#""{}":1"#, "x".repeat(number + 1)));
    let words = words.collect::<Vec<_>>().join(",");
    vec![
        "garbage".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "2026-11-23T10:00:00Z".to_owned(),
        of("2026-11-22T10:00:00Z", phase),
        of(CREATED, ""),
        of(CREATED, r#","phase":"pondering","since":"2026-11-23T10:00:00Z""#),
        of(CREATED, r#","phase":"draining","since":"soon""#),
        of(CREATED, &format!(r#"{phase},"seconds":{{"draining":-1}}"#)),
        of(CREATED, &format!(r#"{phase},"evicted":1.5"#)),
        of(CREATED, &format!(r#"{phase},"disturbed":{{{words}}}"#)),
        of(CREATED, &format!(r#"{phase},"disturbed":{{"<b>":1}}"#)),
        of(CREATED, &format!(r#"{phase},"why":"{}""#, "x".repeat(1_000_000))),
        "\u{0}".repeat(1_000_000),
    ]
}

#[test]
fn fail_safe_reading_what_is_no_account_of_this_hold_is_dropped_and_the_rest_is_partial() {
    for garbage in not_of_this_hold() {
        let mut run = Run::stamped("2026-11-23T10:00:00Z");
        run.write(Some(Phase::Draining), WAY[0].1, &Tally::default());
        run.annotate(keys::REBOOT_ACCOUNT, &garbage);
        let named: String = garbage.chars().take(100).collect();
        run.go_on(&WAY[1..], END);
        let last = run.last();
        assert!(last.partial, "{named}: {last:?}");
        let counted = [(Phase::Delaying, 1), (Phase::Sealed, 120), (Phase::Returning, 47)];
        assert_eq!(seconds(&last), counted, "{named}");
        assert_eq!(last.created, CREATED);
    }
    let mut run = Run::stamped("2026-11-23T10:00:00Z");
    run.annotate(keys::REBOOT_ACCOUNT, &not_of_this_hold()[0]);
    let Reading::Malformed(why) = account(&run.node) else {
        panic!()
    };
    assert!(why.contains(keys::REBOOT_ACCOUNT), "{why}");
}

#[test]
fn a_stamp_begins_a_whole_account_whatever_stood_there() {
    for garbage in not_of_this_hold() {
        let mut run = Run::new();
        run.annotate(keys::REBOOT_ACCOUNT, &garbage);
        run.annotate(keys::LAST_REBOOT, &garbage);
        run.write(Some(Phase::Wanted), "2026-11-23T10:00:00Z", &Tally::default());
        run.go_on(&WAY, END);
        assert!(!run.last().partial);
    }
}

#[test]
fn a_clock_that_is_behind_after_the_boot_counts_no_time_twice_and_ends_no_reboot_before_its_wish() {
    for (boot, end, sealed, returning, ended) in [
        // It is set before the cordon is given back: the time of the boot counts as that of the return.
        ("1970-01-01T00:00:09Z", END, 0, 167, END),
        (
            "1970-01-01T00:00:09Z",
            "1970-01-01T00:00:59Z",
            0,
            0,
            "2026-11-23T10:00:00Z",
        ),
        // It was only ever ahead by little.
        ("2026-11-23T10:05:12Z", END, 0, 167, END),
    ] {
        let mut run = Run::stamped("2026-11-23T10:00:00Z");
        run.go_on(&[&WAY[..3], &[(Phase::Returning, boot)]].concat(), end);
        let last = run.last();
        assert!(last.partial, "{last:?}");
        assert_eq!(
            seconds(&last)[3..],
            [(Phase::Sealed, sealed), (Phase::Returning, returning)]
        );
        assert_eq!(last.ended, Some(ended.parse().unwrap()));
    }
}

#[test]
fn writes_that_differ_in_their_accounts_alone_are_copies() {
    let run = Run::stamped("2026-11-23T10:00:00Z");
    let mut tally = Tally::default();
    let before = run.patch(Some(Phase::Draining), &tally);
    tally.disturbed("uncordoned");
    let after = run.patch(Some(Phase::Draining), &tally);
    assert_ne!(before, after);
    assert!(before.is_copy(&after));
    assert!(!before.is_copy(&run.patch(Some(Phase::Delaying), &tally)));
}

#[test]
fn what_a_write_has_put_on_the_node_is_no_longer_counted() {
    let mut tally = Tally::default();
    tally.disturbed("pods");
    let sent = tally.clone();
    tally.disturbed("pods");
    tally.disturbed("gap");
    tally.evicted = 3;
    tally.written(&sent);
    let left = Tally {
        disturbed: BTreeMap::from([("gap", 1), ("pods", 1)]),
        evicted: 3,
        refused: 0,
    };
    assert_eq!(tally, left);
    let all = tally.clone();
    tally.written(&all);
    assert_eq!(tally, Tally::default());
}

/// The value of an annotation that anybody may write: text, JSON that is nearly an account, or an account of this hold.
fn any_value() -> impl Strategy<Value = String> {
    let any_account = (
        prop_oneof![Just(CREATED.to_owned()), "\\PC{0,40}"],
        "\\PC{0,400}",
        proptest::option::of(proptest::sample::select(&Phase::ALL)),
        proptest::option::of(-10_000_000_000_i64..10_000_000_000),
        proptest::collection::btree_map(proptest::sample::select(&Phase::ALL), any::<u64>(), 0..5),
        proptest::collection::btree_map("[a-z_]{0,30}", any::<u64>(), 0..14),
        any::<(u64, u64, bool)>(),
    );
    let account = any_account.prop_map(|(created, why, phase, since, seconds, disturbed, rest)| {
        let account = Account {
            created,
            why,
            phase,
            since: since.map(|since| Timestamp::from_second(since).unwrap()),
            ended: None,
            seconds,
            disturbed,
            evicted: rest.0,
            refused: rest.1,
            partial: rest.2,
        };
        account.render()
    });
    prop_oneof![
        account,
        ".{0,40}",
        "\\{(\"(created|phase|since)\":\"?[a-z0-9]{0,5}\"?,?){0,3}\\}"
    ]
}

fn any_way() -> impl Strategy<Value = Vec<(Phase, i64)>> {
    let phase = proptest::sample::select(&Phase::ALL[1..]);
    proptest::collection::vec((phase, 1_700_000_000..1_900_000_000_i64), 0..12)
}

proptest! {
    #[test]
    fn whatever_stands_there_the_agent_writes_an_account_of_its_hold_in_bounds(
        running in proptest::option::of(any_value()), way in any_way(), why in "\\PC{0,400}",
    ) {
        let mut run = Run::new();
        if let Some(value) = running {
            run.annotate(keys::REBOOT_ACCOUNT, &value);
        }
        let mut tally = Tally::default();
        for word in ["uncordoned", "untainted", "tampered", "pods", "gap", "seal_over"] {
            tally.disturbed(word);
        }
        for (phase, at) in way {
            let leaves = run.hold.written(phase, Proof::new(2));
            let patch = NodePatch::returning(&run.node, leaves).accounted(&run.node, &why, &tally);
            run.node = patch.applied(&run.node, Timestamp::from_second(at).unwrap(), &TERMS);
            let text = run.node.annotation(keys::REBOOT_ACCOUNT).unwrap();
            prop_assert!(text.len() <= ACCOUNT_MAX, "{} bytes", text.len());
            prop_assert!(text.contains(CREATED) && text.contains(phase.as_str()), "{}", text);
        }
        run.write(None, END, &tally);
        let text = run.node.annotation(keys::LAST_REBOOT).unwrap();
        prop_assert!(text.len() <= ACCOUNT_MAX && text.contains(CREATED), "{}", text);
        prop_assert_eq!(run.node.annotation(keys::REBOOT_ACCOUNT), None);
    }

    #[test]
    fn the_phases_never_add_up_to_more_than_the_time_since_the_stamp(way in any_way(), end in 1_700_000_000..1_900_000_000_i64) {
        let mut run = Run::stamped(CREATED);
        let stamped: Timestamp = CREATED.parse().unwrap();
        let mut times = vec![end];
        for (phase, at) in way {
            run.write_at(Some(phase), Timestamp::from_second(at).unwrap(), &Tally::default());
            times.push(at);
        }
        run.write_at(None, Timestamp::from_second(end).unwrap(), &Tally::default());
        let last = run.last();
        let sum: u64 = last.seconds.values().sum();
        let latest = times.into_iter().max().unwrap().max(stamped.as_second());
        prop_assert!(i64::try_from(sum).unwrap() <= latest - stamped.as_second());
        // Nothing is lost where no clock went back.
        let ended = last.ended.unwrap().as_second();
        if !last.partial {
            prop_assert_eq!(i64::try_from(sum).unwrap(), ended - stamped.as_second());
        }
    }
}

#[test]
fn an_account_is_read_up_to_its_bound_with_a_reason_of_one_line_and_whole() {
    let read = |text: String| {
        let mut run = Run::new();
        run.annotate(keys::REBOOT_ACCOUNT, &text);
        account(&run.node)
    };
    let text = r#"{"created":"c","why":"one\ntwo","phase":"wanted","since":"2026-11-23T10:00:00Z"}"#;
    let why = read(text.to_owned()).present().map(|account| account.why);
    assert!(
        why.as_deref()
            .is_some_and(|why| !why.contains('\n') && why.contains("two")),
        "{why:?}"
    );
    let padded = |bytes: usize| format!("{text}{}", " ".repeat(bytes - text.len()));
    assert!(matches!(read(padded(ACCOUNT_MAX)), Reading::Present(_)));
    assert!(matches!(read(padded(ACCOUNT_MAX + 1)), Reading::Malformed(_)));
    for part in [r#","phase":"wanted""#, r#","since":"2026-11-23T10:00:00Z""#] {
        assert!(
            matches!(read(text.replace(part, "")), Reading::Malformed(_)),
            "{part}"
        );
    }
}

/// kured and the lock keep fewer digits than the Node does.
#[test]
fn an_account_goes_on_with_the_time_of_the_wish_as_the_hold_writes_it() {
    let mut run = Run::stamped("2026-11-23T10:00:00.5Z");
    let text = run
        .node
        .annotation(keys::REBOOT_ACCOUNT)
        .unwrap()
        .replace(CREATED, "2026-11-23T11:00:00.000000001+01:00");
    run.annotate(keys::REBOOT_ACCOUNT, &text);
    run.write(Some(Phase::Draining), WAY[0].1, &Tally::default());
    assert_eq!(
        (run.running().created.as_str(), run.running().partial),
        (CREATED, false)
    );
}
