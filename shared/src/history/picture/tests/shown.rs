//! Pictures of what is crowded, tiny, long, or at an edge: one page (`pictures.html`, for a browser), looked at when it changes, and a
//! picture that is a file of its own (`race.svg`).

use jiff::Timestamp;

use super::*;
use crate::generated::assert_written;
use crate::history::tests::at;
use crate::history::{Outcome, Span};

/// A timeline of these phases, each from a time to the next one's; the last time is the end.
fn of_phases(phases: &[(&str, Phase)], end: &str) -> Timeline {
    let ends = phases.iter().skip(1).map(|(time, _)| *time).chain([end]);
    let spans = phases.iter().zip(ends).map(|((from, phase), to)| Span {
        phase: *phase,
        from: at(from),
        to: at(to),
        about: false,
    });
    Timeline {
        node: "n".to_owned(),
        from: at(phases[0].0),
        to: at(end),
        outcome: Outcome::Rebooted,
        spans: spans.collect(),
        ..Timeline::default()
    }
}

/// 20 min: wanted, draining from 02:02, delaying from 02:08, sealed from 02:12, returning from 02:18.
fn usual() -> Timeline {
    of_phases(
        &[
            ("02:00:00", Phase::Wanted),
            ("02:02:00", Phase::Draining),
            ("02:08:00", Phase::Delaying),
            ("02:12:00", Phase::Sealed),
            ("02:18:00", Phase::Returning),
        ],
        "02:20:00",
    )
}

fn with_uncordons(all: &[(&str, &str, Answer)]) -> Timeline {
    let mut timeline = usual();
    let asked = all.iter().map(|(time, by, answer)| Uncordon {
        at: at(time),
        until: None,
        count: 1,
        by: (*by).to_owned(),
        answer: *answer,
        reason: String::new(),
    });
    timeline.uncordons = asked.collect();
    timeline
}

fn with_pods(all: &[(&str, u64)], about: bool) -> Timeline {
    let mut timeline = usual();
    let pods = all.iter().map(|(time, on)| Pods {
        at: at(time),
        on: *on,
        about,
    });
    timeline.pods = pods.collect();
    timeline
}

/// As many users as given, a second apart.
fn crowd(users: usize, apart: usize) -> Timeline {
    let all: Vec<(String, String)> = (0..users)
        .map(|index| {
            let seconds = index * apart;
            let time = format!("02:{:02}:{:02}", 3 + seconds / 60, seconds % 60);
            (time, format!("system:serviceaccount:ns:controller-{index}"))
        })
        .collect();
    let asked: Vec<(&str, &str, Answer)> = all
        .iter()
        .map(|(time, by)| (time.as_str(), by.as_str(), Answer::Denied))
        .collect();
    with_uncordons(&asked)
}

fn moment(time: &str, what: Event) -> Moment {
    Moment {
        at: at(time),
        what,
        says: String::new(),
    }
}

fn of_uncordons() -> Vec<(&'static str, Timeline)> {
    use Answer::{Allowed, Deferred, Denied, Passed, Unknown};
    let mut counted = with_uncordons(&[("02:04:00", "op", Denied), ("02:09:00", "op", Denied)]);
    counted.uncordons[0].until = Some(at("02:08:30"));
    counted.uncordons[0].count = 7;
    let each = [
        ("02:04:00", "a", Denied),
        ("02:07:00", "b", Deferred),
        ("02:10:00", "c", Allowed),
        ("02:13:00", "d", Passed),
        ("02:16:00", "e", Unknown),
    ];
    let of_two = [
        ("02:04:00", "a", Denied),
        ("02:04:10", "b", Denied),
        ("02:04:50", "a", Denied),
        ("02:04:55", "a", Passed),
        ("02:06:00", "a", Denied),
    ];
    let long = "system:serviceaccount:ns:a-name-that-is-far-too-long-for-a-label";
    vec![
        (
            "Each answer has a shape, a label, and a line of the legend.",
            with_uncordons(&each),
        ),
        (
            "Two users close together: two of a share a label, and b has its own; the third of a is too far.",
            with_uncordons(&of_two),
        ),
        (
            "One that is counted 7 times is a mark and a line until the last; the next of the same user is close to that.",
            counted,
        ),
        (
            "A name that is too long is cut, and a label at the right edge stays inside.",
            with_uncordons(&[("02:19:50", long, Denied)]),
        ),
        (
            "Five users: five rows of labels, and none is dropped.",
            crowd(5, 5),
        ),
        (
            "Seven users, too many for the rows: all share one label, of several.",
            crowd(7, 5),
        ),
        (
            "Twelve of one user, 70 s apart: the labels of those within 160 units are joined until all fit.",
            {
                let mut all = crowd(12, 70);
                for one in &mut all.uncordons {
                    one.by = "system:serviceaccount:ns:a-long-name-of-a-controller".to_owned();
                }
                all
            },
        ),
    ]
}

fn of_pods() -> Vec<(&'static str, Timeline)> {
    let one = with_pods(&[("02:02:00", 3), ("02:05:00", 0), ("02:10:00", 1)], false);
    let mut told = with_pods(&[("02:02:00", 3), ("02:04:00", 0)], false);
    told.moments = vec![moment("02:12:30", Event::Reboot)];
    let mut called_off = with_pods(&[("02:02:00", 3)], false);
    called_off.outcome = Outcome::CalledOff;
    vec![
        (
            "One pod goes down with the node: its cross is at the seal, 02:12.",
            one,
        ),
        ("No pod is left at the reboot: no cross.", told),
        (
            "Called off: nothing goes down, though 3 pods are there.",
            called_off,
        ),
        (
            "Only sums are known: a slope from 40 to 0 that ends where the drain does.",
            with_pods(&[("02:02:00", 40), ("02:08:00", 0)], true),
        ),
        (
            "Numbers at the turns 8, 2, 6 and 1; none at 5 on the way down or at 4 on the way up.",
            with_pods(
                &[
                    ("02:00:00", 8),
                    ("02:03:00", 5),
                    ("02:05:00", 2),
                    ("02:07:00", 4),
                    ("02:08:00", 6),
                    ("02:11:00", 1),
                ],
                false,
            ),
        ),
        (
            "A number that stays is no turn: 5 at the start, 5 at the end, and nothing between.",
            with_pods(
                &[("02:00:00", 5), ("02:04:00", 5), ("02:07:00", 5), ("02:11:00", 5)],
                false,
            ),
        ),
    ]
}

/// Pods whose numbers stand close together.
fn of_many_pods() -> Vec<(&'static str, Timeline)> {
    let mut at_the_edge = with_pods(&[("02:02:00", 9), ("02:19:59", 4)], false);
    at_the_edge.moments = vec![moment("02:19:59", Event::Reboot)];
    vec![
        (
            "A number that is noted twice: 6 is told where it is reached, and not where it ends.",
            with_pods(
                &[
                    ("02:02:00", 8),
                    ("02:05:00", 2),
                    ("02:08:00", 6),
                    ("02:14:00", 6),
                    ("02:17:00", 1),
                ],
                true,
            ),
        ),
        (
            "Turns close together: a number that would cover the one before is left out.",
            with_pods(
                &[
                    ("02:02:00", 100),
                    ("02:02:05", 90),
                    ("02:02:10", 120),
                    ("02:02:15", 80),
                    ("02:03:00", 0),
                ],
                false,
            ),
        ),
        (
            "Where it is said that 30 pods go down, a number is left out, but for 0.",
            with_pods(
                &[
                    ("02:02:00", 40),
                    ("02:09:00", 20),
                    ("02:11:50", 30),
                    ("02:14:00", 10),
                    ("02:15:00", 12),
                    ("02:17:00", 0),
                    ("02:19:40", 1),
                ],
                false,
            ),
        ),
        ("What is said at the right edge stays inside.", at_the_edge),
    ]
}

fn of_axes() -> Vec<(&'static str, Timeline)> {
    let wait = |until: &str| {
        of_phases(
            &[
                ("02:00:00", Phase::Wanted),
                (until, Phase::Draining),
                ("02:12:00", Phase::Sealed),
                ("02:18:00", Phase::Returning),
            ],
            "02:20:00",
        )
    };
    let days = |days: i64| {
        let mut timeline = usual();
        timeline.to = at("02:02:00") + jiff::SignedDuration::from_hours(24 * days);
        timeline.spans.truncate(2);
        timeline.spans[1].to = timeline.to;
        timeline.outcome = Outcome::GoesOn;
        timeline
    };
    let just_now = of_phases(
        &[("02:00:00", Phase::Wanted), ("02:20:00", Phase::Draining)],
        "02:20:00",
    );
    vec![
        (
            "A wait of 8 min of 20, two fifths, is not cut: the axis begins 8 min before the cordon.",
            wait("02:08:00"),
        ),
        (
            "A second more, and it is cut: the wait has 140 units, and the axis begins with 0.",
            wait("02:08:01"),
        ),
        (
            "The drain begins as the picture ends: the axis is not cut.",
            just_now,
        ),
        (
            "Half a minute has ticks of seconds.",
            of_phases(
                &[("02:00:00", Phase::Draining), ("02:00:20", Phase::Sealed)],
                "02:00:30",
            ),
        ),
        (
            "A wait only: the axis counts since the first that is known.",
            of_phases(&[("02:00:00", Phase::Wanted)], "08:00:00"),
        ),
        ("Three days have ticks of hours.", days(3)),
        ("Three hundred days have ticks of many days, in hours.", days(300)),
    ]
}

fn of_phases_and_moments() -> Vec<(&'static str, Timeline)> {
    let mut busy = of_phases(
        &[
            ("02:00:00", Phase::Wanted),
            ("02:00:02", Phase::Draining),
            ("02:00:04", Phase::Delaying),
            ("02:06:00", Phase::Draining),
            ("02:06:03", Phase::Delaying),
            ("02:18:00", Phase::Sealed),
            ("02:19:57", Phase::Returning),
        ],
        "02:20:00",
    );
    busy.moments = vec![
        moment("02:18:00", Event::Reboot),
        moment("02:18:30", Event::Failed),
        moment("02:18:31", Event::Failed),
        moment("02:19:00", Event::Reboot),
        moment("02:20:00", Event::GivenBack),
    ];
    busy.spans[4].about = true;
    let mut twice = usual();
    twice.moments = [
        ("02:09:00", Event::Failed),
        ("02:09:01", Event::Failed),
        ("02:11:00", Event::Failed),
        ("02:11:01", Event::Forced),
    ]
    .map(|(time, what)| moment(time, what))
    .to_vec();
    let mut crowded = usual();
    let events = [Event::Failed, Event::Forced, Event::CalledOff];
    let flags = (0..9).map(|index| moment(&format!("02:1{}:0{index}", 3 + index / 4), events[index % 3]));
    crowded.moments = flags.collect();
    let mut uncordoned = usual();
    drop(uncordoned.spans.drain(1..2));
    uncordoned.uncordons = with_uncordons(&[("02:10:00", "jo", Answer::Passed)]).uncordons;
    vec![
        (
            "Phases without room for their names have them below, each once; the drain that came again has none.",
            busy,
        ),
        (
            "Failed twice within a unit is one flag; failed later, and forced, are flags of their own.",
            twice,
        ),
        (
            "Flags close together are in rows, and those beyond five rows are left out; each has its guide.",
            crowded,
        ),
        (
            "Without a drain, the cordon begins with the first phase after the wait, and ends with the uncordon that passed.",
            uncordoned,
        ),
    ]
}

fn of_narrow_phases() -> Vec<(&'static str, Timeline)> {
    let narrow = of_phases(
        &[
            ("02:00:00", Phase::Wanted),
            ("02:18:50", Phase::Draining),
            ("02:19:10", Phase::Sealed),
        ],
        "02:20:00",
    );
    vec![
        (
            "Draining and sealed after a long wait: the axis is cut, and the phases share the rest.",
            narrow,
        ),
        (
            "Sealed for a minute, and back for one: neither name has room, by a few units.",
            of_phases(
                &[
                    ("02:00:00", Phase::Draining),
                    ("02:18:00", Phase::Sealed),
                    ("02:19:00", Phase::Returning),
                ],
                "02:20:00",
            ),
        ),
        ("Nothing is known.", Timeline::default()),
    ]
}

#[test]
fn pictures_show_what_is_said_above_them() {
    let all = [
        of_uncordons(),
        of_pods(),
        of_many_pods(),
        of_axes(),
        of_phases_and_moments(),
        of_narrow_phases(),
    ]
    .concat();
    let sections = all.iter().enumerate().map(|(index, (about, timeline))| {
        let (id, title) = (format!("p{index}"), format!("Picture {index}"));
        page::section(timeline, &id, &title, about)
    });
    let sections: String = sections.collect();
    let text = page::document("Pictures", &page::styles(None), &sections);
    assert_written("src/history/picture/tests/pictures.html", &text, "shown");
}

#[test]
fn a_picture_that_is_a_file_is_shown_with_its_heading() {
    let mut timeline = with_uncordons(&[("02:10:00", "jo", Answer::Passed)]);
    timeline.node = "worker-1".to_owned();
    timeline.why = "a long reason of many words for a reboot "
        .repeat(4)
        .trim()
        .to_owned();
    assert_written("src/history/picture/tests/race.svg", &file(&timeline), "shown");
}

#[test]
fn a_line_below_the_heading_has_as_many_words_as_fit_in_140_characters() {
    // What the summary has before these words.
    let before = "rebooted, took 20 min; asked by ".len();
    for (length, lines) in [(139 - before, 1), (140 - before, 1), (141 - before, 2)] {
        let mut timeline = usual();
        // With a blank in it, and `;` after it.
        timeline.why = format!("{} b", "a".repeat(length - 3));
        let (text, height) = heading(&timeline);
        let first = text.lines().nth(1).unwrap();
        assert_eq!(first.contains(" b;"), lines == 1, "{length}: {text}");
        let count = u32::try_from(text.lines().count()).unwrap();
        assert!(
            (height - (HEAD + HEAD_LINE * f64::from(count - 1))).abs() < 0.01,
            "{height}: {text}"
        );
    }
}

#[test]
fn an_axis_has_at_most_sixteen_ticks_and_one_where_it_ends() {
    let mut ages = Timeline {
        from: Timestamp::MIN,
        to: Timestamp::MAX,
        ..Timeline::default()
    };
    assert_eq!(Scale::of(&ages).ticks().len(), 16);
    (ages.from, ages.to) = (at("02:00:00"), at("02:20:00"));
    let ticks = Scale::of(&ages).ticks();
    let (x, text) = ticks.last().unwrap();
    assert_eq!(
        (format!("{x:.0}"), text.as_str()),
        (format!("{RIGHT:.0}"), "20 min")
    );
}

#[test]
fn a_label_in_any_row_touches_no_other_and_the_sixth_row_is_not_shown() {
    let width = text_width("aaaa", SMALL);
    assert!((width - 4.0 * 0.58 * SMALL).abs() < 1e-9 && (text_width("é", SMALL) - SMALL).abs() < 1e-9);
    let at = |all: &[f64]| {
        let flags: Vec<Flag> = all.iter().map(|x| Flag::new(*x, "aaaa", SMALL)).collect();
        let places = flags::placed_or_dropped(&flags, 900.0);
        let rows = format!("{:.1}", flags::rows(&places));
        let places = places.iter().map(|place| place.map(|place| (place.x, place.row)));
        (places.collect::<Vec<_>>(), rows)
    };
    // Each label begins 5 units right of its mark, and there are 5 units between two.
    let apart = width + 5.0;
    assert_eq!(at(&[]), (vec![], "0.0".to_owned()));
    assert_eq!(at(&[100.0]), (vec![Some((105.0, 0.0))], "1.0".to_owned()));
    let beside = at(&[100.0, 100.0 + apart + 0.001]);
    assert_eq!(beside.1, "1.0");
    assert_eq!(at(&[100.0, 100.0 + apart - 0.001]).1, "2.0");
    assert_eq!(at(&[895.0]).0, [Some((900.0 - width, 0.0))]);
    let (places, rows) = at(&[100.0; 6]);
    assert_eq!((places.iter().flatten().count(), rows.as_str()), (5, "5.0"));
    assert_eq!(places[0], None);
}

/// A second is a fiftieth of a unit here, so each of the distances below is exactly the one that is compared with.
#[test]
fn a_number_that_touches_the_one_before_or_what_is_said_of_the_pods_is_left_out() {
    let numbers = |down: Option<i64>, pods: &[(i64, u64)]| -> Vec<String> {
        let begin = at("02:00:00");
        let after = |seconds: i64| begin + jiff::SignedDuration::from_secs(seconds);
        let mut timeline = Timeline {
            from: begin,
            to: after(41_200),
            outcome: Outcome::Rebooted,
            ..Timeline::default()
        };
        if let Some(down) = down {
            timeline.happened(after(down), Event::Reboot, "");
        }
        let pods = pods.iter().map(|(seconds, on)| Pods {
            at: after(*seconds),
            on: *on,
            about: false,
        });
        timeline.pods = pods.collect();
        let svg = figure(&timeline, "x");
        let document = roxmltree::Document::parse(&svg).unwrap();
        let counts = elements(&document, "count");
        counts
            .iter()
            .map(|node| node.text().unwrap().to_owned())
            .collect()
    };
    assert_eq!(numbers(None, &[(0, 9), (619, 4)]), ["9"]);
    assert_eq!(numbers(None, &[(0, 9), (620, 4)]), ["9", "4"]);
    assert_eq!(numbers(Some(269), &[(0, 9)]), [] as [&str; 0]);
    assert_eq!(numbers(Some(270), &[(0, 9)]), ["9"]);
    assert_eq!(numbers(Some(2), &[(0, 100), (11_814, 7)]), [] as [&str; 0]);
    assert_eq!(numbers(Some(2), &[(0, 100), (11_815, 7)]), ["7"]);
}

#[test]
fn two_flags_of_one_word_are_one_if_they_are_less_than_a_unit_apart() {
    let begin = at("02:00:00");
    // A second is a unit.
    let flags = |apart: jiff::SignedDuration| {
        let mut timeline = Timeline {
            from: begin,
            to: begin + jiff::SignedDuration::from_secs(824),
            ..Timeline::default()
        };
        timeline.happened(begin, Event::Failed, "");
        timeline.happened(begin + apart, Event::Failed, "");
        figure(&timeline, "x").matches(">failed<").count()
    };
    assert_eq!(flags(jiff::SignedDuration::from_secs(1)), 2);
    assert_eq!(flags(jiff::SignedDuration::from_millis(999)), 1);
}

#[test]
fn a_moment_in_a_wait_that_is_cut_is_within_its_140_units() {
    let timeline = of_phases(
        &[("02:00:00", Phase::Wanted), ("02:16:00", Phase::Draining)],
        "02:20:00",
    );
    let scale = Scale::of(&timeline);
    for (time, x) in [
        ("02:00:00", "112.0"),
        ("02:04:00", "147.0"),
        ("02:16:00", "252.0"),
        ("02:18:00", "594.0"),
        ("02:20:00", "936.0"),
    ] {
        assert_eq!(format!("{:.1}", scale.x(at(time))), x, "{time}");
    }
}
