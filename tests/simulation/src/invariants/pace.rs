//! SPREAD-BY and MIN-INTERVAL: looks at each acquire of the lock, whether the reboot that it begins keeps its distance from the others.

use std::collections::BTreeSet;
use std::time::Duration;

use cordonhold_shared::hold::{self, Hold, Phase};
use cordonhold_shared::lock::{self, EntryId};
use cordonhold_shared::reboot::moment::Uptime;

use super::{Found, Oracle};
use crate::Invariant;
use crate::api_server::{ApiServer, Commit, Key, Stored};

/// Times are noted in whole seconds, rounded down.
const ROUNDED: Duration = Duration::from_secs(1);

impl Oracle {
    /// Checks the acquire that an agent has just made for its node.
    pub(super) fn keeps_distance(&self, index: usize, server: &ApiServer, now: Uptime) -> Found {
        self.is_apart(index, server).or_else(|| self.is_paced(index, now))
    }

    /// No node in a reboot has another zone. One that has been given back, but whose entry is still there, is over.
    fn is_apart(&self, index: usize, server: &ApiServer) -> Found {
        let pace = Some(&self.pace).filter(|pace| pace.is_spread)?;
        let zone = |index: usize| pace.zones.get(index).cloned().flatten();
        let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != index);
        for (other, known) in others {
            let Some((created, _)) = &known.inside else {
                continue;
            };
            let name = format!("node-{other}");
            let node = server.object(&Key::node(&name)).map(|node| node.node());
            let entry = self.record.entry(&EntryId::new(&name, created));
            let is_over = entry.is_some_and(|entry| lock::is_over(entry, &BTreeSet::new(), node));
            if !is_over && (zone(index).is_none() || zone(index) != zone(other)) {
                let what = format!(
                    "node-{index} in {:?} begins a reboot while {name} in {:?} is in one",
                    zone(index),
                    zone(other)
                );
                return Some((Invariant::SpreadBy, what));
            }
        }
        None
    }

    /// The last reboot of the pool ended at least `--min-interval` ago. While its entry is in the lock, nobody else can know of its end.
    fn is_paced(&self, index: usize, now: Uptime) -> Found {
        let interval = self.pace.interval?;
        let (ended, node, created) = self.last_end.clone()?;
        let id = EntryId::new(&format!("node-{node}"), &created);
        let is_known = self.record.entry(&id).is_none();
        (is_known && now + ROUNDED < ended + interval).then(|| {
            let ago = now.since(ended);
            let what = format!(
                "node-{index} begins a reboot {ago:?} after that of node-{node} ended, within {interval:?}"
            );
            (Invariant::MinInterval, what)
        })
    }

    /// Notes the end of a reboot: its agent has given the cordon back after a boot.
    pub(super) fn note_end(&mut self, commit: &Commit, index: usize, now: Uptime) {
        let is_own = commit.caller.process.is_some_and(|(agent, _)| agent == index);
        let shown = |node: Option<&Stored>| node.and_then(|node| hold::read(node.node()).present());
        let before = shown(commit.old.as_ref()).filter(|hold| hold.phase == Phase::Returning);
        let is_over = is_own && shown(commit.new.as_ref()).is_none();
        // A power loss is nobody's reboot.
        let has_command = |hold: &Hold| {
            let known = self.nodes.get(index);
            known.is_some_and(|known| known.wish.has_command(&hold.holder.created))
        };
        if let Some(hold) = before.filter(|hold| is_over && has_command(hold)) {
            self.last_end = Some((now, index, hold.holder.created));
        }
    }
}
