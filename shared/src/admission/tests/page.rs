//! Holds `docs/reasons.md` against the reasons: a section for each, with the text that people read, as an example of it gives it.
//!
//! With `CORDONHOLD_WRITE_MANUAL` set, the test writes what comes from the code into the page first.
//! Not here: what the sections say about looking and mending, which is written by hand.

use std::path::Path;

use super::deferral::{by_admin, earlier, wanted};
use super::kured::{SURELY_OVER, edit, locks, seen, silent, single, uncordon, verdict_of};
use super::*;
use crate::generated::assert_written;

/// What a section says by hand, in this order, unless its requests simply pass.
const PARTS: [&str; 3] = ["**What it means.** ", "**How to look.** ", "**How to mend it.** "];

/// An update of the Node by an admin, who may cancel or not.
fn by_stranger(old: NodeView, new: NodeView, may_override: bool) -> Verdict {
    let facts = Facts {
        may_override: Known::Is(may_override),
        ..Facts::default()
    };
    verdict_of(ask(stranger(), old, new, &facts, &policy(), now()))
}

/// A request for a reboot by an admin, who may ask or not.
fn asking(text: &str, may_reboot: bool) -> Verdict {
    let facts = Facts {
        may_reboot: Known::Is(may_reboot),
        ..Facts::default()
    };
    let new = annotate(free(), keys::REBOOT_WANTED, text);
    verdict_of(ask(stranger(), free(), new, &facts, &policy(), now()))
}

/// An uncordon under stock kured's lock.
fn under_kured(node: &NodeView, lock: Option<&str>) -> Verdict {
    let fresh = Known::Is(locks(lock));
    verdict_of(uncordon(stranger(), node, silent(), fresh, &kured_policy()))
}

/// A request with this reason; `None` for a reason whose requests pass without a word, or with one that changes with each version.
fn example(reason: Reason) -> Option<Verdict> {
    let marked = || annotate(free(), keys::KURED_REBOOT_IN_PROGRESS, "2026-01-01T00:00:00Z");
    let sealed = || cancelled(held_in("sealed"));
    let late = at("2026-01-01T00:20:31Z");
    Some(match reason {
        Reason::NotOwnNode => verdict(requester(AGENT, &["node-1"]), held(), uncordoned(held())),
        Reason::NoOverride => by_stranger(held(), cancelled(held()), false),
        Reason::BadCancel => by_stranger(held(), annotate(held(), keys::CANCEL, "the disk is broken"), true),
        Reason::CancelAlone => by_stranger(held(), uncordoned(cancelled(held())), true),
        Reason::NoRequest => asking("2026-01-01T00:04:00Z a new kernel", false),
        Reason::BadRequest => asking("please", true),
        Reason::SpoofedHold => verdict(stranger(), free(), held()),
        Reason::Cancelled => verdict(stranger(), cancelled(held()), uncordoned(cancelled(held()))),
        Reason::TooLate => verdict(stranger(), sealed(), uncordoned(sealed())),
        Reason::Lapsed => verdict_of(ask(
            stranger(),
            held(),
            uncordoned(held()),
            &Facts::default(),
            &policy(),
            late,
        )),
        Reason::Held => verdict(stranger(), held(), uncordoned(held())),
        Reason::Deferred => {
            let policy = Policy {
                modes: Mode::Defer.into(),
                ..policy()
            };
            let kept = wanted(held(), &by_admin());
            verdict_of(ask(stranger(), held(), kept, &Facts::default(), &policy, now()))
        }
        Reason::TamperedHold => verdict(stranger(), held(), without(held(), keys::UNTIL)),
        Reason::TamperedTaint => verdict(stranger(), held(), untainted(held())),
        Reason::ForgedWish => verdict(stranger(), held(), wanted(held(), &earlier())),
        Reason::StrayProbe => verdict(stranger(), free(), annotate(free(), keys::PROBE, "2026-01-01T00:05:00Z doctor")),
        Reason::HeldDeleted => deleted(&held(), &policy(), now()),
        Reason::KuredHeld => under_kured(&free(), Some(&single(NODE, 0))),
        Reason::KuredMarked => under_kured(&marked(), None),
        Reason::KuredExpired => under_kured(&free(), Some(&single(NODE, SURELY_OVER))),
        Reason::NotOwnEntry => edit(requester(KURED, &[NODE]), Some(&single("node-1", 0)), None),
        Reason::LockEdited => edit(stranger(), Some(&single(NODE, 0)), None),
        Reason::LockUnreadable => under_kured(&free(), Some("{")),
        Reason::LookupFailed => {
            let facts = Facts {
                kured_lock: Known::Failed("the API server did not answer within 2 s".to_owned()),
                watched_kured_lock: Known::Is(seen(locks(None))),
                ..Facts::default()
            };
            let new = uncordoned(free());
            verdict_of(ask(stranger(), free(), new, &facts, &kured_policy(), now()))
        }
        Reason::MalformedReview => Verdict::unjudged(reason, Mode::Enforce, "the review has no object"),
        Reason::InternalError => {
            let request = Request::update(stranger(), held(), uncordoned(held()));
            Verdict::defect(&request, &policy(), "the decision panicked")
        }
        Reason::NothingOfOurs
        | Reason::Owner
        | Reason::Override
        | Reason::Requested
        | Reason::NotHeld
        // Its answer has the version.
        | Reason::Probed
        | Reason::Exempt
        | Reason::KuredOwner
        | Reason::OwnEntry => return None,
    })
}

/// The reasons in the order of the page: what is denied first, what simply passes last.
fn in_order() -> Vec<Reason> {
    let of = |outcome: Outcome| {
        Reason::ALL
            .iter()
            .copied()
            .filter(move |reason| reason.outcome() == outcome)
    };
    of(Outcome::Deny)
        .chain(of(Outcome::Flag))
        .chain(of(Outcome::Allow))
        .collect()
}

/// What the code says of a reason: the rule, and the text that people read.
fn generated(reason: Reason) -> String {
    let rule = reason.rule();
    let outcome = match reason.outcome() {
        Outcome::Deny => "Denied",
        Outcome::Flag => "Passes, with a warning",
        Outcome::Allow => "Passes",
    };
    let Some(verdict) = example(reason) else {
        return format!("{outcome}: {rule}.\n");
    };
    assert_eq!(
        (verdict.reason, verdict.outcome),
        (reason, reason.outcome()),
        "the example of {}",
        reason.code()
    );
    let warnings: Vec<String> = verdict
        .warnings
        .iter()
        .map(|text| format!("Warning: {text}"))
        .collect();
    let text = match verdict.outcome {
        Outcome::Deny => verdict.message,
        Outcome::Flag | Outcome::Allow => warnings.join("\n"),
    };
    assert!(!text.is_empty(), "nobody is told of {}", reason.code());
    format!("{outcome}: {rule}.\n\n```text\n{text}\n```\n")
}

/// The page with what the code says of each reason; the rest of it stays.
fn with_reasons(page: &str) -> String {
    let mut parts = page.split("\n### `");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_once('`').unwrap();
        let by_hand = [PARTS[0], "## "].map(|start| rest.find(&format!("\n{start}")).unwrap_or(rest.len()));
        let by_hand = &rest[by_hand.into_iter().min().unwrap()..];
        let reason = Reason::ALL.iter().find(|reason| reason.code() == code);
        let reason =
            reason.unwrap_or_else(|| panic!("docs/reasons.md has a section of {code}, which is no reason"));
        text.extend(["\n### `", code, "`\n\n", &generated(*reason), by_hand]);
    }
    text
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the page is a file")]
fn the_manual_has_a_section_for_each_reason_with_the_text_that_people_read() {
    let file = "../docs/reasons.md";
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let page = with_reasons(&page);
    assert_written(file, &page, "manual");

    let sections: Vec<&str> = page.split("\n### `").skip(1).collect();
    let codes: Vec<&str> = sections
        .iter()
        .filter_map(|section| section.split('`').next())
        .collect();
    let reasons = in_order();
    let wanted: Vec<&str> = reasons.iter().map(|reason| reason.code()).collect();
    assert_eq!(codes, wanted, "a section for each reason, in this order");
    for (section, reason) in sections.iter().zip(reasons) {
        if reason.outcome() == Outcome::Allow {
            continue;
        }
        let told: Vec<&str> = section
            .lines()
            .filter(|line| PARTS.iter().any(|part| line.starts_with(part)))
            .collect();
        assert_eq!(
            told.len(),
            PARTS.len(),
            "{} lacks one of {PARTS:?}",
            reason.code()
        );
        assert!(
            told.iter()
                .zip(PARTS)
                .all(|(line, part)| line.len() > part.len() && line.starts_with(part)),
            "{}",
            reason.code()
        );
    }
}
