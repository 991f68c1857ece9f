//! The structure of pictures: where marks are, that labels stay apart, and that the XML is one.

use proptest::prelude::*;

use super::*;
use crate::history::tests::picture_of;
use crate::history::{Moment, Pods, Uncordon, page};

mod shown;

/// The elements of a class, each with its attribute `d` of the first path in it, or of itself.
fn elements<'a>(document: &'a roxmltree::Document<'a>, class: &str) -> Vec<roxmltree::Node<'a, 'a>> {
    let is_of = |node: &roxmltree::Node<'_, '_>| {
        node.attribute("class")
            .is_some_and(|all| all.split(' ').any(|one| one == class))
    };
    document.descendants().filter(is_of).collect()
}

/// Where a path begins.
fn begins(node: &roxmltree::Node<'_, '_>) -> f64 {
    let mut all = node.descendants();
    let path = all.find_map(|node| node.attribute("d")).unwrap();
    path.trim_start_matches('M')
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// A label that is drawn.
#[derive(Debug)]
struct Label {
    x: f64,
    y: f64,
    width: f64,
    text: String,
}

/// The labels of a picture: all texts but the names of lanes, the heading and what is below the axis, which have places of their own.
fn labels(svg: &str) -> Vec<Label> {
    let document = roxmltree::Document::parse(svg).unwrap();
    let mut labels = Vec::new();
    for node in document.descendants().filter(|node| node.has_tag_name("text")) {
        let classes = node.attribute("class").unwrap();
        let class = classes.split(' ').next().unwrap();
        let size = match class {
            "moment" | "name" | "killed" => SIZE,
            "small" | "by" | "count" => SMALL,
            _ => continue,
        };
        let number = |key| node.attribute(key).unwrap().parse().unwrap();
        let text = node.text().unwrap_or_default().to_owned();
        let x: f64 = number("x");
        let width = text_width(&text, size);
        let is_middle = classes.contains("mid");
        labels.push(Label {
            x: if is_middle { x - width / 2.0 } else { x },
            y: number("y"),
            width,
            text,
        });
    }
    labels
}

/// No label covers another, or leaves the picture.
fn are_apart(svg: &str) {
    let labels = labels(svg);
    for (index, one) in labels.iter().enumerate() {
        assert!(
            one.x >= 0.0 && one.x + one.width <= WIDTH,
            "{one:?} leaves the picture"
        );
        for other in labels.iter().skip(index + 1) {
            // Texts are written in tenths.
            let beside = one.x + one.width <= other.x + 0.2 || other.x + other.width <= one.x + 0.2;
            let above = (one.y - other.y).abs() >= SMALL - 1.0;
            assert!(beside || above, "{one:?} covers {other:?}");
        }
    }
}

#[test]
fn each_uncordon_is_one_mark_at_its_time() {
    let timeline = picture_of(&[
        (Answer::Denied, "02:05:00", "a"),
        (Answer::Deferred, "02:10:00", "b"),
        (Answer::Passed, "02:20:00", "c"),
    ]);
    let svg = file(&timeline);
    let document = roxmltree::Document::parse(&svg).unwrap();
    let marks = elements(&document, "mark");
    assert_eq!(marks.len(), 3);
    // From 02:00:00 to 02:20:00, over the width of the axis; a shape begins a few units beside its middle.
    let middle = |part: f64| LEFT + part * (RIGHT - LEFT);
    for (mark, (part, beside)) in marks.iter().zip([(0.25, -5.0), (0.5, -3.0), (1.0, -2.0)]) {
        let expected = middle(part) + beside;
        // The reboot began half a second later.
        assert!(
            (begins(mark) - expected).abs() < 0.6,
            "{} instead of {expected}",
            begins(mark)
        );
    }
    let shapes: Vec<&str> = marks
        .iter()
        .map(|mark| mark.attribute("class").unwrap())
        .collect();
    assert_eq!(shapes, ["mark denied", "mark deferred", "mark passed"]);
    let titles = marks
        .iter()
        .map(|mark| mark.first_element_child().unwrap().text().unwrap());
    assert!(
        titles
            .zip(["a", "b", "c"])
            .all(|(title, by)| title.contains(&format!("by {by}:")))
    );
}

#[test]
fn the_legend_of_whichever_answers_keeps_within_the_picture() {
    let all = [
        Answer::Denied,
        Answer::Deferred,
        Answer::Allowed,
        Answer::Passed,
        Answer::Unknown,
    ];
    for which in 1..1 << all.len() {
        let given = all
            .iter()
            .enumerate()
            .filter(|(place, _)| which & (1 << place) != 0);
        let given: Vec<_> = given.map(|(_, answer)| (*answer, "02:05:00", "a")).collect();
        let svg = file(&picture_of(&given));
        let document = roxmltree::Document::parse(&svg).unwrap();
        let faint = elements(&document, "faint");
        let says = faint.iter().filter_map(|text| Some((text, text.text()?)));
        let legend: Vec<_> = says.filter(|(_, says)| says.starts_with("an uncordon")).collect();
        assert_eq!(legend.len(), given.len());
        for (text, says) in legend {
            let x: f64 = text.attribute("x").unwrap().parse().unwrap();
            let end = x + text_width(says, SMALL);
            assert!(end <= RIGHT, "{says} ends at {end} beside {given:?}");
        }
    }
}

#[test]
fn a_picture_has_a_role_a_title_and_a_description_and_its_patterns_are_its_own() {
    let timeline = picture_of(&[(Answer::Denied, "02:06:00", "a")]);
    let svg = figure(&timeline, "x1");
    let document = roxmltree::Document::parse(&svg).unwrap();
    let root = document.root_element();
    assert_eq!(root.attribute("role"), Some("img"));
    let ids: Vec<&str> = root.attribute("aria-labelledby").unwrap().split(' ').collect();
    for id in &ids {
        assert!(
            document
                .descendants()
                .any(|node| node.attribute("id") == Some(id)),
            "{id}"
        );
    }
    let desc = document
        .descendants()
        .find(|node| node.has_tag_name("desc"))
        .unwrap();
    assert!(desc.text().unwrap().contains("1 denied"), "{desc:?}");
    assert!(
        svg.contains("url(#x1-draining)") && svg.contains("id=\"x1-draining\""),
        "{svg}"
    );
}

#[test]
fn labels_stay_apart_at_the_density_of_a_storm() {
    let times: Vec<String> = (0..300)
        .map(|index| format!("02:{:02}:{:02}", 5 + index / 60, index % 60))
        .collect();
    for users in [1, 3, 40] {
        let names: Vec<String> = (0..users)
            .map(|user| format!("system:serviceaccount:ns:controller-{user}"))
            .collect();
        let asked: Vec<(Answer, &str, &str)> = times
            .iter()
            .enumerate()
            .map(|(index, time)| {
                let answer = if index % 50 == 0 {
                    Answer::Passed
                } else {
                    Answer::Denied
                };
                (answer, time.as_str(), names[index % users].as_str())
            })
            .collect();
        let svg = drawn(&picture_of(&asked), "x", true);
        let document = roxmltree::Document::parse(&svg).unwrap();
        assert_eq!(elements(&document, "mark").len(), 300, "each has its mark");
        assert!(
            labels(&svg).iter().any(|label| label.text.contains("denied")),
            "{svg}"
        );
        are_apart(&svg);
    }
}

#[test]
fn the_pods_that_go_down_are_said_and_a_long_wait_is_cut() {
    let mut timeline = picture_of(&[(Answer::Passed, "02:12:00", "a")]);
    timeline.from = "2026-11-27T20:00:00Z".parse().unwrap();
    timeline.spans[0].from = timeline.from;
    timeline.pods = [("02:05:00", 40), ("02:09:00", 0), ("02:13:00", 12)]
        .map(|(time, on)| Pods {
            at: format!("2026-11-28T{time}Z").parse().unwrap(),
            on,
            about: false,
        })
        .to_vec();
    let svg = drawn(&timeline, "x", false);
    let labels = labels(&svg);
    assert!(svg.contains("class=\"break\""), "{svg}");
    assert!(
        labels
            .iter()
            .any(|label| label.text == "12 pods go down with the node")
    );
    are_apart(&svg);
    let says = |text: &str| labels.iter().any(|label| label.text == text);
    for text in ["wanted", "draining", "cordon", "drained", "seal, reboot", "back"] {
        assert!(says(text), "{text}: {labels:?}");
    }
    // The rest of the axis has the scale of the 15 min that it shows.
    let document = roxmltree::Document::parse(&svg).unwrap();
    let ticks: Vec<&str> = elements(&document, "tick")
        .iter()
        .filter_map(roxmltree::Node::text)
        .collect();
    assert!(ticks.contains(&"0 min") && ticks.contains(&"10 min"), "{ticks:?}");
}

#[test]
fn nothing_at_all_is_a_picture_too() {
    are_apart(&drawn(&Timeline::default(), "x", true));
}

fn answer() -> impl Strategy<Value = Answer> {
    prop::sample::select(vec![
        Answer::Denied,
        Answer::Deferred,
        Answer::Allowed,
        Answer::Passed,
        Answer::Unknown,
    ])
}

proptest! {
    #[test]
    fn whatever_others_wrote_a_picture_is_xml_and_its_labels_stay_apart(
        asked in prop::collection::vec((answer(), 0i64..4000, ".{0,40}"), 0..60),
        pods in prop::collection::vec((0i64..4000, 0u64..200), 0..20),
        moments in prop::collection::vec(0i64..4000, 0..12),
        name in ".{0,60}",
        why in ".{0,60}",
    ) {
        let mut timeline = picture_of(&[]);
        timeline.node = name;
        timeline.why = why;
        let begin = timeline.from;
        let after = |seconds: i64| super::super::later(begin, seconds);
        let mut asked = asked;
        asked.sort_by_key(|(_, seconds, _)| *seconds);
        timeline.uncordons = asked.into_iter().map(|(answer, seconds, by)| Uncordon {
            at: after(seconds), until: None, count: 1, by, answer, reason: String::new(),
        }).collect();
        timeline.pods = pods.into_iter().map(|(seconds, on)| Pods { at: after(seconds), on, about: false }).collect();
        timeline.pods.sort_by_key(|pods| pods.at);
        timeline.moments = moments.into_iter().map(|seconds| Moment {
            at: after(seconds), what: Event::CalledOff, says: String::new(),
        }).collect();
        timeline.moments.sort_by_key(|moment| moment.at);
        let svg = drawn(&timeline, "x", true);
        let document = roxmltree::Document::parse(&svg);
        prop_assert!(document.is_ok(), "{:?}", document.err());
        are_apart(&svg);
        let html = page::section(&timeline, "x", "", "");
        let document = roxmltree::Document::parse(&html);
        prop_assert!(document.is_ok(), "{:?}", document.err());
    }
}
