//! A request for a reboot is used at most once: no two holds name the same one, nor one that is older than a request used before.

use cordonhold_shared::lock::Entry;
use jiff::Timestamp;

use super::Found;
use crate::Invariant;

/// What is known of the requests of one node.
#[derive(Debug, Default)]
pub(super) struct Requested {
    /// The last request that was used, and the `created` of the hold that has used it.
    last: Option<(Timestamp, String)>,
}

impl Requested {
    /// Checks an entry that the node's own agent has added.
    pub(super) fn acquired(&mut self, entry: &Entry) -> Found {
        let at = entry.requested_at()?;
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
