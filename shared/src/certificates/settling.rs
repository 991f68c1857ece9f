//! Since when each CA has stood in every `caBundle`, by a clock that nobody can set.
//!
//! It is only remembered, so a process that starts waits anew before it lets a CA sign.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Bundle, Id};
use crate::reboot::moment::Uptime;

/// Since when each CA has stood in every `caBundle`.
#[derive(Clone, Debug, Default)]
pub struct Settling {
    since: BTreeMap<Id, Uptime>,
}

impl Settling {
    /// Takes a new reading of the `caBundle`s. `known` are the CAs that count as everywhere if there is no `caBundle`.
    pub fn see<'a>(&mut self, known: impl Iterator<Item = &'a Id>, bundles: &[Bundle], at: Uptime) {
        let bundles: Vec<BTreeSet<&Id>> = bundles.iter().map(Bundle::ids).collect();
        let standing = known.filter(|id| bundles.iter().all(|bundle| bundle.contains(id)));
        let since = standing.map(|id| (id.clone(), self.since.get(id).copied().unwrap_or(at)));
        self.since = since.collect();
    }

    /// How long this CA must still stand there, if it must for `settle` in all. A CA that was not everywhere at the last reading must for
    /// all of it.
    pub(super) fn left(&self, id: &Id, now: Uptime, settle: Duration) -> Duration {
        let stood = self.since.get(id).map(|since| now.since(*since));
        settle.saturating_sub(stood.unwrap_or_default())
    }
}
