//! What the silences of a node are in each phase, and what is done about the ones that are there.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const REBOOT_TIMEOUT: Duration = Duration::from_mins(30);
const PHASES: [Phase; 4] = [Phase::Draining, Phase::Delaying, Phase::Sealed, Phase::Returning];

fn start() -> Timestamp {
    "2026-11-29T10:00:00Z".parse().unwrap()
}

fn after(seconds: u64) -> Moment {
    Moment {
        now: Uptime::after(Duration::from_secs(seconds)),
        wall: later(
            start(),
            SignedDuration::try_from(Duration::from_secs(seconds)).unwrap(),
        ),
    }
}

fn holder(created: &str) -> Holder {
    Holder {
        node_uid: "uid-1".to_owned(),
        created: created.to_owned(),
    }
}

fn by(phase: Phase) -> Held {
    Held::By(holder("2026-11-29T09:00:00Z"), phase)
}

fn sets() -> Vec<Vec<Matcher>> {
    let of = |text: &str| text.parse::<Matchers>().unwrap().of("n");
    vec![of("node=%s"), of(r#"instance=~"%s(:[0-9]+)?""#)]
}

/// An Alertmanager that carries out every step.
#[derive(Default)]
struct Alertmanager {
    silences: Vec<Found>,
    made: usize,
}

impl Alertmanager {
    fn carry_out(&mut self, steps: Vec<Step>, at: Moment) {
        for step in steps {
            match step {
                Step::Create {
                    holder,
                    matchers,
                    ends,
                } => {
                    self.made += 1;
                    self.silences.push(Found {
                        id: self.made.to_string(),
                        holder,
                        matchers,
                        starts: at.wall,
                        ends,
                    });
                }
                Step::Extend(found, ends) => {
                    let known = self.silences.iter_mut().find(|known| known.id == found.id);
                    known.unwrap().ends = ends;
                }
                Step::Cut(found) => self.silences.retain(|known| known.id != found.id),
            }
        }
        self.silences.retain(|known| known.ends > at.wall);
    }

    /// What is left of each silence, in seconds.
    fn left(&self, at: Moment) -> Vec<i64> {
        let left = |found: &Found| found.ends.duration_since(at.wall).as_secs();
        self.silences.iter().map(left).collect()
    }
}

/// Does what is due, and gives the steps.
fn act(keeper: &mut Keeper, there: &mut Alertmanager, at: Moment) -> usize {
    if keeper.due(at).is_none_or(|due| due > at.now) {
        return 0;
    }
    let steps = keeper.steps(&sets(), &there.silences, at);
    let count = steps.len();
    there.carry_out(steps, at);
    keeper.succeeded(at);
    count
}

#[test]
fn a_silence_is_made_at_the_cordon_extended_while_the_hold_lives_and_cut_when_it_is_given_back() {
    let (mut keeper, mut there) = (Keeper::new(REBOOT_TIMEOUT), Alertmanager::default());
    let _ = keeper.show("uid-1", Held::Nothing, after(0));
    assert_eq!(act(&mut keeper, &mut there, after(0)), 0);
    assert_eq!(keeper.due(after(0)), None);
    let _ = keeper.show("uid-1", by(Phase::Wanted), after(10));
    assert_eq!(act(&mut keeper, &mut there, after(10)), 0);
    assert_eq!(there.silences, []);

    let _ = keeper.show("uid-1", by(Phase::Draining), after(20));
    assert_eq!(act(&mut keeper, &mut there, after(20)), 2);
    assert_eq!(there.left(after(20)), [600, 600]);
    for second in 21..4_000 {
        let _ = act(&mut keeper, &mut there, after(second));
        assert!(
            there.left(after(second)).iter().all(|left| *left >= 120),
            "{second}"
        );
        assert_eq!(there.silences.len(), 2);
    }
    assert_eq!(there.made, 2);

    let _ = keeper.show("uid-1", by(Phase::Delaying), after(4_000));
    let _ = act(&mut keeper, &mut there, after(4_000));
    let _ = keeper.show("uid-1", by(Phase::Sealed), after(4_030));
    assert_eq!(act(&mut keeper, &mut there, after(4_030)), 2);
    assert_eq!(there.left(after(4_030)), [1_800, 1_800]);
    assert_eq!(keeper.due(after(4_030)), None);

    // The next process, after the boot.
    let mut keeper = Keeper::new(REBOOT_TIMEOUT);
    let _ = keeper.show("uid-1", Held::Unknown, after(4_200));
    assert_eq!(keeper.due(after(4_200)), None);
    let _ = keeper.show("uid-1", by(Phase::Returning), after(4_210));
    assert_eq!(act(&mut keeper, &mut there, after(4_210)), 0);
    let _ = keeper.show("uid-1", Held::Nothing, after(4_230));
    assert_eq!(act(&mut keeper, &mut there, after(4_230)), 2);
    assert_eq!(there.silences, []);
    assert_eq!(keeper.due(after(4_230)), None);
}

#[test]
fn the_silence_of_a_seal_ends_reboot_timeout_after_it_however_long_the_agent_lives_and_is_restarted() {
    let (mut keeper, mut there) = (Keeper::new(REBOOT_TIMEOUT), Alertmanager::default());
    let _ = keeper.show("uid-1", by(Phase::Draining), after(0));
    let _ = act(&mut keeper, &mut there, after(0));
    let _ = keeper.show("uid-1", by(Phase::Sealed), after(60));
    for second in 60..4_000 {
        let _ = act(&mut keeper, &mut there, after(second));
        if second % 600 == 0 {
            keeper = Keeper::new(REBOOT_TIMEOUT);
            let _ = keeper.show("uid-1", by(Phase::Sealed), after(second));
        }
        there.silences.retain(|found| found.ends > after(second).wall);
        let end = i64::try_from(1_860 - second.min(1_860)).unwrap();
        assert!(
            there.left(after(second)).iter().all(|left| *left == end),
            "{second}"
        );
        assert_eq!(there.silences.is_empty(), second >= 1_860, "{second}");
    }
    // It came to nothing: the node is drained again, and silenced again.
    let _ = keeper.show("uid-1", by(Phase::Draining), after(4_000));
    assert_eq!(act(&mut keeper, &mut there, after(4_000)), 2);
}

#[test]
fn what_an_earlier_process_or_hold_left_is_taken_over_or_cut_and_of_two_one_is_left() {
    let set = sets().remove(0);
    let silence = |id: &str, holder: Holder, ends: u64| Found {
        id: id.to_owned(),
        holder,
        matchers: set.clone(),
        starts: start(),
        ends: after(ends).wall,
    };
    let mine = holder("2026-11-29T09:00:00Z");
    let found = [
        silence("short", mine.clone(), 200),
        silence("long", mine.clone(), 290),
        silence("earlier", holder("2026-11-28T09:00:00Z"), 500),
        silence(
            "another-node",
            Holder {
                node_uid: "uid-2".to_owned(),
                ..mine.clone()
            },
            500,
        ),
        Found {
            matchers: sets().remove(1),
            ..silence("other-alerts", mine, 500)
        },
    ];
    let only = [set.clone()];
    let steps = |held: Held| {
        let mut keeper = Keeper::new(REBOOT_TIMEOUT);
        let _ = keeper.show("uid-1", held, after(0));
        let steps = keeper.steps(&only, &found, after(0)).into_iter();
        let named = steps.map(|step| match step {
            Step::Create { .. } => "create".to_owned(),
            Step::Extend(found, ends) => format!(
                "extend {} by {}",
                found.id,
                ends.duration_since(found.ends).as_secs()
            ),
            Step::Cut(found) => format!("cut {}", found.id),
        });
        named.collect::<Vec<_>>()
    };
    assert_eq!(
        steps(by(Phase::Draining)),
        ["extend long by 310", "cut short", "cut earlier"]
    );
    assert_eq!(steps(Held::Nothing), ["cut short", "cut long", "cut earlier"]);
    assert_eq!(steps(by(Phase::Wanted)), ["cut short", "cut long", "cut earlier"]);
    assert_eq!(steps(Held::Unknown), [""; 0]);
    assert_eq!(steps(by(Phase::Sealed)), [""; 0]);
}

#[test]
fn failures_are_tried_again_with_growing_pauses_and_a_cut_until_a_look_has_shown_that_nothing_is_left() {
    let mut keeper = Keeper::new(REBOOT_TIMEOUT);
    let _ = keeper.show("uid-1", by(Phase::Draining), after(0));
    let mut second = 0;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        drop(keeper.steps(&sets(), &[], after(second)));
        keeper.failed(after(second), 0);
        let due = keeper.due(after(second)).unwrap().since_start().as_secs();
        pauses.push(due - second);
        second = due;
    }
    assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
    // The hold ends: it is tried at once, and then until it works.
    let _ = keeper.show("uid-1", Held::Nothing, after(second));
    assert_eq!(keeper.due(after(second)), Some(after(second).now));
    for _ in 0..10 {
        keeper.failed(after(second), 0);
        pauses.push(keeper.due(after(second)).unwrap().since_start().as_secs() - second);
    }
    assert_eq!(pauses[8..], [2, 4, 8, 16, 32, 60, 60, 60, 60, 60]);
    assert_eq!(keeper.steps(&sets(), &[], after(second)), []);
    keeper.succeeded(after(second));
    assert_eq!(keeper.due(after(second)), None);
}

#[test]
fn a_cut_that_fails_is_given_up_once_everything_has_ended_by_itself_and_tried_again_after_the_next_hold() {
    let mut keeper = Keeper::new(REBOOT_TIMEOUT);
    let _ = keeper.show("uid-1", Held::Nothing, after(100));
    let mut second = 100;
    let mut give_up = |keeper: &mut Keeper| {
        while let Some(due) = keeper.due(after(second)) {
            second = due.since_start().as_secs();
            assert_eq!(keeper.steps(&sets(), &[], after(second)), []);
            keeper.failed(after(second), 0);
        }
        second
    };
    // It is half an hour from the start, and the longest pause is a minute.
    assert!((1_900..1_960).contains(&give_up(&mut keeper)));
    let _ = keeper.show("uid-1", by(Phase::Draining), after(10_000));
    assert_eq!(keeper.steps(&sets(), &[], after(10_000)).len(), 2);
    let _ = keeper.show("uid-1", Held::Nothing, after(20_000));
    assert!((21_800..21_860).contains(&give_up(&mut keeper)));
    // A lease is the longest where a reboot has less time than that.
    let mut keeper = Keeper::new(Duration::from_mins(1));
    let _ = keeper.show("uid-1", Held::Nothing, after(0));
    keeper.failed(after(599), 0);
    assert!(keeper.due(after(599)).is_some());
    keeper.failed(after(600), 0);
    assert_eq!(keeper.due(after(600)), None);
}

#[test]
fn a_silence_that_is_found_for_two_sets_is_cut_once() {
    let both = sets();
    let (mut keeper, mut there) = (Keeper::new(REBOOT_TIMEOUT), Alertmanager::default());
    let _ = keeper.show("uid-1", by(Phase::Draining), after(0));
    assert_eq!(act(&mut keeper, &mut there, after(0)), 2);
    let _ = keeper.show("uid-1", Held::Nothing, after(10));
    let twice = [there.silences.clone(), there.silences.clone()].concat();
    let steps = keeper.steps(&both, &twice, after(10));
    let cuts: Vec<Step> = there.silences.into_iter().map(Step::Cut).collect();
    assert_eq!(steps, cuts);
}

#[test]
fn a_node_that_was_created_anew_is_not_silenced_for_the_hold_before_whose_silences_are_cut() {
    let (mut keeper, mut there) = (Keeper::new(REBOOT_TIMEOUT), Alertmanager::default());
    let _ = keeper.show("uid-1", by(Phase::Draining), after(0));
    assert_eq!(act(&mut keeper, &mut there, after(0)), 2);
    let mut during = keeper.clone();
    // The cycle has not let go of the hold yet.
    for phase in PHASES {
        let (mut keeper, mut there) = (keeper.clone(), Alertmanager::default());
        let _ = keeper.show("uid-2", by(phase), after(10));
        assert_eq!(act(&mut keeper, &mut there, after(10)), 0, "{phase:?}");
        assert_eq!(keeper.due(after(10)), None);
    }
    let _ = keeper.show("uid-2", by(Phase::Draining), after(10));
    assert_eq!(act(&mut keeper, &mut there, after(10)), 2);
    assert_eq!(there.silences, []);

    // Or it works for the next hold already, of the new Node.
    let mut there = Alertmanager::default();
    let _ = during.show("uid-1", by(Phase::Delaying), after(10));
    assert_eq!(act(&mut during, &mut there, after(10)), 2);
    let next = Holder {
        node_uid: "uid-2".to_owned(),
        created: "2026-11-29T10:00:00Z".to_owned(),
    };
    let _ = during.show("uid-2", Held::By(next.clone(), Phase::Draining), after(20));
    assert_eq!(act(&mut during, &mut there, after(20)), 4);
    assert!(there.silences.iter().all(|found| found.holder == next));
}

#[test]
fn a_node_whose_uid_is_unknown_gets_no_silence() {
    let mut keeper = Keeper::new(REBOOT_TIMEOUT);
    let _ = keeper.show("", by(Phase::Draining), after(0));
    assert_eq!(keeper.due(after(0)), None);
}

#[test]
fn what_is_sent_is_what_alertmanager_reads_and_its_answers_are_read() {
    let set = sets().remove(1);
    let listed = wire::list(&set);
    assert_eq!(
        listed.path,
        "/api/v2/silences?expired=false&filter=instance%3D%7E%22n%28%3A%5B0%2D9%5D%2B%29%3F%22"
    );
    let create = Step::Create {
        holder: holder("2026-11-29T09:00:00Z"),
        matchers: set.clone(),
        ends: after(600).wall,
    };
    let made = wire::request(&create, "n", start()).body.unwrap();
    assert_eq!(
        made,
        json!({
            "matchers": [{ "name": "instance", "value": "n(:[0-9]+)?", "isRegex": true, "isEqual": true }],
            "startsAt": "2026-11-29T09:50:00Z",
            "endsAt": "2026-11-29T10:10:00Z",
            "createdBy": "cordonhold-agent",
            "comment": "Cordonhold reboots node n; ends by itself if the agent dies; hold uid-1/2026-11-29T09:00:00Z",
        })
    );
    let mut shown = made;
    shown["id"] = json!("4f6f-1");
    shown["updatedAt"] = json!("2026-11-29T10:00:00.123Z");
    shown["status"] = json!({ "state": "active" });
    let mut expired = shown.clone();
    expired["status"]["state"] = json!("expired");
    let mut of_a_person = shown.clone();
    of_a_person["createdBy"] = json!("ada");
    let mut without_hold = shown.clone();
    without_hold["comment"] = json!("disk");
    let body = json!([shown, expired, of_a_person, without_hold]).to_string();
    let found = wire::read_list(body.as_bytes()).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].id.as_str(), &found[0].matchers), ("4f6f-1", &set));
    let extended = wire::request(&Step::Extend(found[0].clone(), after(900).wall), "n", start());
    let body = extended.body.unwrap();
    assert_eq!(
        (&body["id"], &body["startsAt"], &body["endsAt"]),
        (
            &json!("4f6f-1"),
            &json!("2026-11-29T09:50:00Z"),
            &json!("2026-11-29T10:15:00Z")
        )
    );
    let cut = wire::request(&Step::Cut(found[0].clone()), "n", start());
    assert_eq!(
        (cut.method, cut.path.as_str()),
        (wire::Method::Delete, "/api/v2/silence/4f6f-1")
    );
    assert_eq!(wire::read_posted(br#"{"silenceID":"4f6f-2"}"#), Ok(()));
    assert_eq!(wire::refusal(b"\"bad matcher\""), "'bad matcher'");
}

#[test]
fn an_answer_that_cannot_be_used_says_why_within_a_bound() {
    let long = format!("<html>{}</html>", "ü".repeat(10_000));
    for body in ["", "<html>login</html>", &long, "{}", "[{}]", "null", "[1]"] {
        let why = wire::read_list(body.as_bytes()).unwrap_err();
        assert!(
            why.contains("not one of Alertmanager") && why.len() < 1_000,
            "{why}"
        );
    }
    for body in ["", "<html>", "{}", r#"{"silenceID":1}"#] {
        assert!(
            wire::read_posted(body.as_bytes())
                .unwrap_err()
                .contains("not one of Alertmanager")
        );
    }
}

#[test]
fn the_words_of_http_are_those_of_the_requests() {
    use wire::Method::{Delete, Get, Post};
    assert_eq!(
        [Get, Post, Delete].map(wire::Method::as_str),
        ["GET", "POST", "DELETE"]
    );
}

/// Each of these has an id of its own, so that it is told which one was read.
#[test]
fn of_the_silences_that_are_there_only_ours_that_have_not_ended_are_read() {
    let silence = |id: &str, by: &str, state: &str| {
        json!({
            "id": id, "status": { "state": state }, "matchers": [{ "name": "node", "value": "n", "isRegex": false }],
            "startsAt": "2026-11-29T09:50:00Z", "endsAt": "2026-11-29T10:10:00Z", "createdBy": by, "comment": "x; hold uid-1/y",
        })
    };
    let body = json!([
        silence("ours", "cordonhold-agent", "active"),
        silence("pending", "cordonhold-agent", "pending"),
        silence("expired", "cordonhold-agent", "expired"),
        silence("ada's", "ada", "active"),
    ]);
    let found = wire::read_list(body.to_string().as_bytes()).unwrap();
    let ids: Vec<&str> = found.iter().map(|found| found.id.as_str()).collect();
    assert_eq!(ids, ["ours", "pending"]);
    // Before Alertmanager 0.22 no matcher was negative, and none said so.
    assert_eq!(found[0].matchers, sets().remove(0));
}

#[test]
fn an_answer_that_cannot_be_used_is_shown_from_its_beginning() {
    assert!(
        wire::read_list(b"<html>login")
            .unwrap_err()
            .ends_with(": '<html>login'")
    );
    assert!(
        wire::read_posted(b"<html>login")
            .unwrap_err()
            .ends_with(": '<html>login'")
    );
    assert_eq!(wire::refusal(b"<html>login"), "'<html>login'");
}

#[test]
fn a_silence_is_extended_once_less_than_half_of_its_lease_is_left() {
    let (mut keeper, mut there) = (Keeper::new(REBOOT_TIMEOUT), Alertmanager::default());
    let _ = keeper.show("uid-1", by(Phase::Draining), after(0));
    assert_eq!(act(&mut keeper, &mut there, after(0)), 2);
    for (second, steps) in [(1, 0), (60, 0), (300, 0), (301, 2)] {
        assert_eq!(
            keeper.steps(&sets(), &there.silences, after(second)).len(),
            steps,
            "{second}"
        );
    }
}

#[test]
fn the_silence_of_a_seal_is_wished_for_until_it_ends_and_only_by_who_saw_the_hold_before() {
    let is_wished = |keeper: &Keeper, second| keeper.wish(after(second)) != Wish::AsTheyAre;
    let mut keeper = Keeper::new(REBOOT_TIMEOUT);
    let _ = keeper.show("uid-1", by(Phase::Delaying), after(0));
    let _ = keeper.show("uid-1", by(Phase::Sealed), after(100));
    for (second, expected) in [(100, true), (1_899, true), (1_900, false), (2_000, false)] {
        assert_eq!(is_wished(&keeper, second), expected, "{second}");
    }
    let mut of_another = Keeper::new(REBOOT_TIMEOUT);
    let before = Held::By(holder("2026-11-29T08:00:00Z"), Phase::Delaying);
    let _ = of_another.show("uid-1", before, after(0));
    let _ = of_another.show("uid-1", by(Phase::Sealed), after(100));
    assert!(!is_wished(&of_another, 100));
}

fn any_held() -> impl Strategy<Value = Held> {
    prop_oneof![
        Just(Held::Unknown),
        Just(Held::Nothing),
        prop::sample::select(&PHASES[..]).prop_map(by),
        Just(Held::By(holder("2026-11-29T09:30:00Z"), Phase::Draining)),
    ]
}

proptest! {
    /// Whatever the hold does and whatever fails: no silence ends later than a lease ahead, or the time for a reboot after a seal.
    #[test]
    fn no_silence_outlives_its_lease(
        turns in prop::collection::vec((any_held(), 1_u64..900, any::<bool>(), 0_u8..8), 1..40)
    ) {
        let (mut keeper, mut there) = (Keeper::new(REBOOT_TIMEOUT), Alertmanager::default());
        let (mut second, mut sealed) = (0, None);
        for (held, pause, is_down, restarts) in turns {
            if restarts == 0 {
                keeper = Keeper::new(REBOOT_TIMEOUT);
            }
            if matches!(&held, Held::By(_, Phase::Sealed)) && keeper.held != held {
                sealed = Some(second);
            }
            let _ = keeper.show("uid-1", held.clone(), after(second));
            for turn in 0..pause {
                if keeper.due(after(second)).is_some_and(|due| due <= after(second).now) {
                    let steps = keeper.steps(&sets(), &there.silences, after(second));
                    if is_down {
                        keeper.failed(after(second), second);
                    } else {
                        there.carry_out(steps, after(second));
                        keeper.succeeded(after(second));
                    }
                }
                let bound = match sealed {
                    Some(sealed) => (sealed + 1_800).max(second + 600),
                    None => second + 600,
                };
                prop_assert!(there.silences.iter().all(|found| found.ends <= after(bound).wall));
                prop_assert!(there.silences.len() <= 2);
                // A try that failed before is followed by the next one within the longest pause.
                if held == Held::Nothing && !is_down && turn >= 60 {
                    prop_assert!(there.silences.is_empty());
                }
                second += 1;
                there.silences.retain(|found| found.ends > after(second).wall);
            }
        }
    }
}
