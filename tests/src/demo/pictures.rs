//! The acts as pictures: the page of `cargo demo --html`.
//!
//! Not here: what was seen (`chronicle`), and how it is drawn (`cordonhold_shared::history`).

use cordonhold_shared::history::{Timeline, page};
use serde::{Deserialize, Serialize};

/// What an act showed on one node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scene {
    /// The number and the name of the act.
    pub act: String,
    /// What it is about.
    pub about: String,
    /// What happened to its node.
    pub timeline: Timeline,
}

/// The page of these scenes.
pub fn page(scenes: &[Scene]) -> String {
    let mut body = String::from(
        "<h1>One reboot, three times</h1>\n\
         <p>A node is drained for a reboot, and a controller uncordons it before the reboot comes. Everything below happened on a real \
         Kubernetes control plane, minutes before this page was written; simulated kubelets played the nodes.</p>\n",
    );
    for (index, scene) in scenes.iter().enumerate() {
        let title = format!("Act {}: {}", scene.act, scene.timeline.title());
        let about = scene.about.replace('\n', " ");
        body.push_str(&page::section(
            &scene.timeline,
            &format!("scene-{index}"),
            &title,
            &about,
        ));
    }
    page::document("Cordonhold: one reboot, three times", &page::styles(None), &body)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cordonhold_shared::history::{Answer, Event, Outcome, picture};
    use cordonhold_shared::hold::Phase;
    use jiff::Timestamp;

    use super::*;
    use crate::demo::chronicle::Chronicle;

    /// A node that was rebooted with a pod on it.
    fn seen() -> Timeline {
        let chronicle = Chronicle::default();
        let now = Timestamp::now;
        chronicle.pods("n", now(), 3);
        chronicle.uncordon("n", now(), Answer::Passed);
        for phase in Phase::ALL {
            chronicle.phase("n", Some(phase));
        }
        chronicle.pods("n", now(), 1);
        chronicle.uncordon("n", now(), Answer::Denied);
        chronicle.happened("n", now(), Event::Reboot, "");
        chronicle.phase("n", None);
        chronicle.of("n")
    }

    #[test]
    fn a_timeline_begins_with_the_wish_and_has_the_pods_of_before() {
        let timeline = seen();
        assert_eq!(timeline.outcome, Outcome::Rebooted);
        assert_eq!(timeline.spans.len(), Phase::ALL.len());
        let on: Vec<u64> = timeline.pods.iter().map(|pods| pods.on).collect();
        assert_eq!((on, timeline.pods[0].at), (vec![3, 1], timeline.from));
        // An uncordon before the wish is not part of it.
        assert_eq!(
            (timeline.count(Answer::Passed), timeline.count(Answer::Denied)),
            (0, 1)
        );
        assert_eq!(timeline.pods_at_reboot(), Some(1));
    }

    /// A run of the demo that was kept: `cargo demo --json tests/src/demo/recorded.json`.
    #[test]
    fn the_manual_has_the_pictures_of_a_recorded_run() {
        let scenes: Vec<Scene> = serde_json::from_str(include_str!("recorded.json")).unwrap();
        let hole = &scenes.first().unwrap().timeline;
        let guarded = &scenes.last().unwrap().timeline;
        assert!(
            hole.count(Answer::Passed) > 0 && hole.pods_at_reboot() > Some(0),
            "{hole:?}"
        );
        assert!(
            guarded.count(Answer::Denied) > 0
                && guarded.count(Answer::Passed) == 0
                && guarded.pods_at_reboot() == Some(0),
            "{guarded:?}"
        );
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        for (name, timeline) in [("race-open.svg", hole), ("race-closed.svg", guarded)] {
            let (path, drawn) = (docs.join(name), picture::file(timeline));
            if std::env::var_os("CORDONHOLD_WRITE_MANUAL").is_some() {
                std::fs::write(&path, &drawn).unwrap();
            }
            assert!(
                std::fs::read_to_string(&path).is_ok_and(|kept| kept == drawn),
                "docs/{name} is out of date: write it anew with `CORDONHOLD_WRITE_MANUAL=1 cargo test -p cordonhold-tests --lib pictures`"
            );
        }
    }

    #[test]
    fn the_page_has_a_picture_and_a_table_of_each_scene_and_needs_no_other_file() {
        let scene = Scene {
            act: "1 the hole".to_owned(),
            about: "an agent\nlike kured".to_owned(),
            timeline: seen(),
        };
        let html = page(&[scene.clone(), scene]);
        let count = |part: &str| html.matches(part).count();
        assert_eq!((count("<svg "), count("<table>"), count("<section ")), (2, 2, 2));
        assert!(html.contains("an agent like kured") && html.contains("1 pod goes down with the node"));
        assert!(count("src=") == 0 && count("http://") == count("http://www.w3.org/2000/svg"));
    }
}
