//! The marks on a Node: whatever is there, an unknown hold is held, and what an agent writes over it is read as it was written.
//!
//! An input is a line for each key. The first line has a letter for each of what is not an annotation.

use cordonhold_shared::admission::{Mode, Request, Requester, defer};
use cordonhold_shared::hold::{self, Hold, NodePatch, Phase, Proof, Terms};
use cordonhold_shared::keys;
use cordonhold_shared::lock;
use cordonhold_shared::node::{NodeView, Taint};
use jiff::SignedDuration;

use super::policy::{NOW, hold_of, judged, policy};
use super::text;

pub(super) const WORDS: &[&str] = &[
    "\n",
    "c",
    "t",
    "u/2026-11-23T10:00:00.000000000Z",
    "2026-11-23T10:00:00.000000000Z",
    "2099-01-01T00:00:00Z",
    "2000-01-01T00:00:00Z",
    "wanted",
    "draining",
    "delaying",
    "sealed",
    "returning",
    "true",
    "false",
    "unreadable",
    "done:2026-11-23T10:00:00Z",
    " - jo",
    " why",
];

/// The annotation on each line after the second, which is the phase.
const KEYS: [&str; 17] = [
    keys::HOLDER,
    keys::UNTIL,
    keys::BOOT_ID,
    keys::WAS_UNSCHEDULABLE,
    keys::WRITE,
    keys::ATTEMPT,
    keys::CANCEL,
    keys::UNCORDON_WANTED,
    keys::GIVEN_BACK,
    keys::RELEASE_AT,
    keys::KEEP_CORDONED,
    keys::DRAIN_PROGRESS,
    keys::REBOOT_WANTED,
    keys::REBOOTS,
    keys::REBOOT_ACCOUNT,
    keys::LAST_REBOOT,
    keys::REPLACED,
];
const TERMS: Terms = Terms {
    reboot: SignedDuration::from_mins(30),
    release: SignedDuration::from_mins(1),
};

pub(super) fn check(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let node = node(text);
    if let Some(hold) = hold_of(&node) {
        written_is_read(&node, &hold);
        cordon_given_back(&node, &hold);
        an_entry_stays_while_its_hold_does(&node, &hold);
    }
    for reading in [hold::account(&node), hold::last_reboot(&node)] {
        drop(reading);
    }
    let cancel = node.annotation(keys::CANCEL).unwrap_or_default();
    let _ = (hold::cancel_flaw(&node, cancel), hold::bad_request(&node, NOW));
    uncordoned(&node);
}

fn node(text: &str) -> NodeView {
    let mut lines = text.split('\n');
    let letters = lines.next().unwrap_or_default();
    let mut node = NodeView::default();
    "n-0".clone_into(&mut node.metadata.name);
    "u".clone_into(&mut node.metadata.uid);
    "7".clone_into(&mut node.metadata.resource_version);
    node.spec.unschedulable = letters.contains('c');
    if letters.contains('t') {
        node.spec.taints.push(Taint::no_schedule(keys::REBOOTING));
    }
    if let Some(phase) = lines.next().filter(|phase| !phase.is_empty()) {
        drop(
            node.metadata
                .labels
                .insert(keys::PHASE.to_owned(), phase.to_owned()),
        );
    }
    for (key, value) in KEYS.into_iter().zip(lines).filter(|(_, value)| !value.is_empty()) {
        drop(node.metadata.annotations.insert(key.to_owned(), value.to_owned()));
    }
    node
}

/// An agent that takes over these marks writes them anew, and finds them as it wrote them.
fn written_is_read(node: &NodeView, hold: &Hold) {
    for phase in [Phase::Draining, Phase::Delaying, Phase::Sealed, Phase::Returning] {
        let leaves = hold.written(phase, Proof::new(7));
        let patch = match phase {
            Phase::Wanted | Phase::Draining => NodePatch::cordon(node, leaves.clone(), true),
            Phase::Delaying => NodePatch::delay(node, leaves.clone()),
            Phase::Sealed => NodePatch::seal(node, leaves.clone()),
            Phase::Returning => NodePatch::returning(node, leaves.clone()),
        };
        let after = patch.applied(node, NOW, &TERMS);
        let read = hold_of(&after);
        assert!(
            read.as_ref().is_some_and(|read| read.is_same(&leaves)) && patch.is_shown_on(&after),
            "wrote {leaves:?}, read {read:?}"
        );
    }
}

/// CORDON-GIVEN-BACK and LAST-WISH: no mark is left, and the cordon is what it was unless a person wanted something else.
fn cordon_given_back(node: &NodeView, hold: &Hold) {
    let after = NodePatch::give_back(node, hold, Proof::new(7)).applied(node, NOW, &TERMS);
    assert!(!hold::has_marks(&after), "{after:?}");
    let by_people = [keys::CANCEL, keys::UNCORDON_WANTED, keys::KEEP_CORDONED];
    if by_people.iter().any(|key| node.annotation(key).is_some()) {
        return;
    }
    let as_before = match (hold.phase, hold.was_unschedulable) {
        (Phase::Wanted, _) | (_, None) => node.spec.unschedulable,
        (_, Some(was)) => was,
    };
    assert_eq!(after.spec.unschedulable, as_before, "{hold:?}");
}

/// AT-MOST-N: a Node that shows the hold of its entry is no evidence that the entry is over.
fn an_entry_stays_while_its_hold_does(node: &NodeView, hold: &Hold) {
    let entry = lock::Entry::new("n-0", "u", &hold.holder.created, false);
    let expired = std::collections::BTreeSet::new();
    assert!(!lock::is_over(&entry, &expired, Some(node)), "{hold:?}");
}

/// Somebody clears the cordon, alone or with all marks.
fn uncordoned(node: &NodeView) {
    let mut new = node.clone();
    new.spec.unschedulable = false;
    let mut bare = new.clone();
    bare.metadata.annotations.clear();
    bare.metadata.labels.clear();
    bare.spec.taints.clear();
    let requester = Requester {
        user: "jo".to_owned(),
        ..Requester::default()
    };
    for new in [new, bare] {
        let request = Request::update(requester.clone(), node.clone(), new);
        drop(judged(&request, &policy(Mode::Enforce)));
        let defers = policy(Mode::Defer);
        let Some(deferral) = defer(&request, &defers, NOW) else {
            continue;
        };
        // Mode defer keeps the cordon, and what it makes of the request passes its own validation or is denied by it, but opens nothing.
        let changed = deferral.changed(&request);
        drop(judged(&changed, &policy(Mode::Enforce)));
    }
}
