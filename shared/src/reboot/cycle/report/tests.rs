//! What a report says, and that a person's text in it cannot pass for the agent's own words.

use super::*;

#[test]
fn a_disturbance_names_its_pods_within_a_bound() {
    let pods: Vec<String> = (0..40).map(|n| format!("default/p{n}")).collect();
    let report = Report::Disturbed {
        by: Disturbance::Pods(pods),
        next: Next::DrainAgain,
    };
    let fields = report.fields();
    assert_eq!(report.event(), "disturbed");
    assert_eq!((fields.reason, fields.next), (Some("pods"), Some("drain_again")));
    assert_eq!(fields.pod_count, Some(40));
    assert_eq!(fields.pods.unwrap().split(',').count(), 10);
}

#[test]
fn a_called_off_reboot_says_by_what() {
    let report = Report::CalledOff(CallOff::TooManyRedrains(Disturbance::Uncordoned));
    let fields = report.fields();
    assert_eq!(
        (report.event(), fields.reason),
        ("called_off", Some("too_many_redrains"))
    );
    assert_eq!(fields.by.as_deref(), Some("uncordoned"));
    assert_eq!(
        report.sentence(),
        "the reboot is called off (too_many_redrains: uncordoned)"
    );
}

#[test]
fn found_s8_a_persons_words_stay_in_their_place() {
    let evil = "on fire)\nthe lock is released: the cycle is over".to_owned();
    let shown = "'on fire) the lock is released: the cycle is over'";
    for report in [
        Report::CalledOff(CallOff::Cancelled(evil.clone())),
        Report::CalledOff(CallOff::Blocked(vec![Blocker::NodePaused(evil.clone())])),
        Report::Blocked(vec![Blocker::PoolPaused(evil.clone())]),
        Report::TooLateToCancel(evil.clone()),
        Report::LockHeld(BTreeSet::from([evil.clone()])),
        Report::UncordonDeferred(DeferredUncordon {
            created: String::new(),
            at: None,
            user: evil.clone(),
        }),
        Report::GivenBack {
            unschedulable: false,
            is_back: true,
            wanted_by: Some(evil.clone()),
        },
    ] {
        let sentence = report.sentence();
        assert!(sentence.contains(shown) && !sentence.contains('\n'), "{sentence}");
    }
    let sentence = Report::LockUnreadable(evil).sentence();
    assert!(!sentence.contains('\n'), "{sentence}");
}

#[test]
fn a_value_decides_between_two_texts() {
    let unknown = Report::HostBusy(Shutdown::Unknown("no busctl".to_owned()));
    let under_way = Report::HostBusy(Shutdown::UnderWay);
    let (said, fields) = (unknown.text(), unknown.fields());
    assert!(said.contains("does not say"), "{said}");
    assert_eq!(
        (fields.reason, fields.why.as_deref()),
        (Some("unknown"), Some("no busctl"))
    );
    assert!(under_way.text().contains("is going down"), "{}", under_way.text());
    assert_eq!(under_way.fields().reason, Some("shutdown"));
    let counted = [false, true].map(|is_forced| Report::Delaying { is_forced }.count());
    assert_eq!(counted, [Some(Count::Drain(DrainResult::Done)), None]);
}

#[test]
fn an_unexpected_answer_says_where_and_which() {
    let report = Report::Unexpected {
        stage: "sealing",
        answer: "Peer",
    };
    assert_eq!(
        (report.event(), report.level(), report.count()),
        ("unexpected_answer", Level::Error, Some(Count::UnexpectedAnswer))
    );
    let sentence = report.sentence();
    assert!(sentence.ends_with("(sealing: Peer)"), "{sentence}");
}

#[test]
fn a_closed_window_is_waited_for_until_a_time_and_anything_else_without_one() {
    let outside = Blocker::OutsideWindow {
        windows: "at night".to_owned(),
        opens: None,
        needs: None,
    };
    let paused = Blocker::NodePaused(String::new());
    for (blockers, course) in [
        (vec![outside.clone()], Course::Timed),
        (vec![paused.clone()], Course::Wait),
        (vec![outside, paused], Course::Wait),
    ] {
        assert_eq!(Report::Blocked(blockers).course(), course);
    }
    assert_eq!(Report::Locked.course(), Course::Step);
    let refused = Report::Refused {
        what: "seal the node",
        why: String::new(),
    };
    assert_eq!(refused.course(), Course::Repeated);
}

#[test]
fn no_two_reports_share_an_event_or_a_reason() {
    let events: BTreeSet<&str> = Report::ROWS.iter().map(|row| row.event).collect();
    assert_eq!(events.len(), Report::ROWS.len());
    let reasons = || Report::ROWS.iter().filter_map(|row| row.reason);
    assert_eq!(reasons().collect::<BTreeSet<_>>().len(), reasons().count());
}

#[test]
fn each_step_of_a_hold_has_one_message_whatever_is_reported_again() {
    let outside = Blocker::OutsideWindow {
        windows: "at night".to_owned(),
        opens: None,
        needs: None,
    };
    let draining = |round| Report::Draining {
        was_unschedulable: false,
        round,
    };
    let given_back = |unschedulable, is_back| Report::GivenBack {
        unschedulable,
        is_back,
        wanted_by: None,
    };
    let mut told = Told::default();
    let mut sent =
        |holder: &str, report: &Report| report.message().filter(|message| told.is_news(holder, *message));
    let reboot = |attempt| Some(Message::Reboot { attempt });
    for (report, message) in [
        (Report::Blocked(vec![outside.clone()]), None),
        (
            Report::Blocked(vec![outside, Blocker::NodePaused(String::new())]),
            Some(Message::Blocked),
        ),
        (Report::Blocked(vec![Blocker::NodePaused("x".to_owned())]), None),
        (draining(1), Some(Message::Drain)),
        (draining(2), None),
        (Report::Sealed { attempt: 1 }, reboot(1)),
        // The deadline passed before the command was run.
        (Report::Sealed { attempt: 1 }, None),
        (Report::RebootFailed("x".to_owned()), Some(Message::Failed)),
        (Report::Sealed { attempt: 2 }, reboot(2)),
        (Report::RebootFailed("x".to_owned()), None),
        (Report::StillSealed("x".to_owned()), Some(Message::Stuck)),
        (Report::StillSealed("x".to_owned()), None),
        (Report::Returned, None),
        (given_back(true, true), None),
        (given_back(false, false), None),
        (given_back(false, true), Some(Message::Uncordon)),
        (given_back(false, true), None),
    ] {
        assert_eq!(sent("h", &report), message, "{report:?}");
    }
    let off = Report::CalledOff(CallOff::HoldLost);
    assert_eq!(sent("h", &off), Some(Message::CalledOff));
    // The next hold has its own.
    assert_eq!(sent("i", &off), Some(Message::CalledOff));
    assert_eq!(sent("i", &draining(1)), Some(Message::Drain));
}

#[test]
fn what_a_hold_was_told_survives_a_restart() {
    let mut told = Told::default();
    assert!(told.is_news("h", Message::Drain));
    let kept = serde_json::to_string(&told).unwrap();
    let mut told: Told = serde_json::from_str(&kept).unwrap();
    assert!(!told.is_news("h", Message::Drain));
    assert!(told.is_news("h", Message::Uncordon));
}
