//! A request for a reboot is used at most once: no two holds name the same one, nor one that is older than a request used before.
//! And a node whose host never asks is rebooted for a request that is there: its entry names one, and its Node shows it when it is sealed.

use cordonhold_shared::hold::{self, Phase};
use cordonhold_shared::lock::Entry;
use jiff::Timestamp;

use super::{Found, Oracle, writes_marks};
use crate::Invariant;
use crate::api_server::Commit;

/// What is known of the requests of one node.
#[derive(Debug, Default)]
pub(super) struct Requested {
    /// The last request that was used, and the `created` of the hold that has used it.
    last: Option<(Timestamp, String)>,
    /// Whether its host never asks for a reboot.
    is_quiet: bool,
}

impl Requested {
    pub(super) fn new(is_quiet: bool) -> Requested {
        Requested { last: None, is_quiet }
    }

    /// Checks an entry that the node's own agent has added.
    pub(super) fn acquired(&mut self, entry: &Entry) -> Found {
        let Some(at) = entry.requested_at() else {
            let what = format!("{}: nothing asks for the hold {}", entry.node, entry.created);
            return self.is_quiet.then_some((Invariant::RequestThere, what));
        };
        let last = self.last.replace((at, entry.created.clone()));
        let (before, by) = last.filter(|(_, by)| *by != entry.created)?;
        (at <= before).then(|| {
            let what = format!(
                "{}: the hold {} uses the request of {at}, and the hold {by} has used that of {before}",
                entry.node, entry.created
            );
            (Invariant::RequestUsedOnce, what)
        })
    }
}

impl Oracle {
    /// Checks that the Node that an agent seals shows the request for which it has acquired the lock, or a later one.
    pub(super) fn seals_for_request(&self, commit: &Commit, index: usize) -> Found {
        let requested = &self.nodes.get(index)?.requested;
        let (node, (agent, _)) = (commit.new.as_ref()?.node(), commit.caller.process?);
        let hold = hold::read(node).present()?;
        let is_seal = agent == index && hold.phase == Phase::Sealed && writes_marks(commit);
        let of_hold = requested.last.as_ref();
        let at = of_hold.filter(|(_, created)| *created == hold.holder.created);
        let shown = hold::requested_at(node);
        let is_there = at.is_some_and(|(at, _)| shown.is_some_and(|shown| shown >= *at));
        (is_seal && requested.is_quiet && !is_there).then(|| {
            let what = format!("node-{index} is sealed for the request {at:?}, and its Node shows {shown:?}");
            (Invariant::RequestThere, what)
        })
    }
}
