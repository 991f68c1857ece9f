//! AT-MOST-N: counts the nodes that fill a slot, from the acquire to the release.

use cordonhold_shared::Reading;
use cordonhold_shared::hold::{self, Phase};
use cordonhold_shared::keys;
use cordonhold_shared::lock::{Entry, EntryId, Record};
use cordonhold_shared::reboot::moment::Uptime;

use super::{Found, Oracle, phase, writes_marks};
use crate::Invariant;
use crate::agent::CALL_BOUND;
use crate::api_server::{Answer, ApiServer, Commit, Key, Request, Resource, Status, Stored, Verb};
use crate::world::World;

impl Oracle {
    pub(super) fn at_most_n(&self) -> Found {
        let inside: Vec<usize> = (0..self.nodes.len())
            .filter(|index| self.nodes[*index].inside.is_some())
            .collect();
        (inside.len() > self.concurrency).then(|| {
            let what = format!(
                "{} may be in a reboot at once, but nodes {inside:?} are",
                self.concurrency
            );
            (Invariant::AtMostN, what)
        })
    }

    /// Updates the slots by a commit of a Node. The cordon of a hold takes a slot; the end of the hold frees it, unless the lock
    /// still has its entry.
    pub(super) fn budget_of_node(&mut self, commit: &Commit, index: usize) {
        let Some(known) = self.nodes.get_mut(index) else {
            return;
        };
        let Some(new) = commit.new.as_ref().map(|new| new.node()) else {
            // The entry of a Node that is gone counts no more.
            known.inside = None;
            return;
        };
        let reading = hold::read(new);
        let is_own = commit.caller.process.is_some_and(|(agent, _)| agent == index);
        let created = match &reading {
            Reading::Present(hold) => Some(hold.holder.created.clone()),
            Reading::Absent | Reading::Malformed(_) => None,
        };
        let name = format!("node-{index}");
        let has_entry = |created: &str| self.record.entry(&EntryId::new(&name, created)).is_some();
        if is_own
            && writes_marks(commit)
            && phase(new) == Some(Phase::Draining)
            && let Some(created) = &created
            && known.exempt.as_ref() != Some(created)
        {
            known.inside = Some((created.clone(), new.metadata.uid.clone()));
        }
        let Some((inside, _)) = &known.inside else {
            return;
        };
        let is_shown = created.as_ref() == Some(inside);
        if !is_shown && !has_entry(inside) {
            // Somebody removed first the entry and then the marks. The agent may go on if the marks come back, but its confirm will
            // find no entry. So the hold takes no slot again.
            known.exempt = (!is_own).then(|| inside.clone());
            known.inside = None;
        } else if is_shown && !is_own && phase(new) == Some(Phase::Wanted) && !has_entry(inside) {
            // Somebody removed the entry and then wrote `wanted` past the webhook: now nothing shows the reboot.
            known.exempt = Some(inside.clone());
            known.inside = None;
        }
    }

    /// Notes which Nodes an agent has read.
    pub(super) fn read_peers(&mut self, request: &Request, result: &Result<Answer, Status>) {
        let Some((agent, _)) = request.caller.process else {
            return;
        };
        let is_node = request.key.resource == Resource::Nodes;
        match (&request.verb, result) {
            (Verb::Get, Ok(Answer::Object(node))) if is_node => {
                self.read_peer(agent, &request.key.name, Some(node));
            }
            (Verb::Get, Err(_)) if is_node => self.read_peer(agent, &request.key.name, None),
            (Verb::List(_), Ok(Answer::List(nodes, _))) if is_node => {
                for node in nodes {
                    self.read_peer(agent, node.name(), Some(node));
                }
            }
            _ => {}
        }
    }

    fn read_peer(&mut self, agent: usize, name: &str, node: Option<&Stored>) {
        if let Some(index) = World::index_of(name) {
            self.peers.entry((agent, index)).or_default().push(node.cloned());
        }
    }

    /// Updates the slots by a commit of the lock: acquired, released and dropped entries.
    pub(super) fn lock_changed(&mut self, commit: &Commit, server: &ApiServer, now: Uptime) -> Found {
        let record = match record_of(commit) {
            // Nobody acquires a lock that cannot be read. Its entries count until it can be read again.
            Reading::Malformed(_) => return None,
            Reading::Absent => Record::default(),
            Reading::Present(record) => record,
        };
        let before = std::mem::replace(&mut self.record, record);
        let agent = commit.caller.process.map(|(agent, _)| agent);
        for entry in &before.entries {
            if self.record.entry(&entry.id()).is_none() {
                let found = self.removed(entry, agent, server);
                if found.is_some() {
                    return found;
                }
            }
        }
        let added = self
            .record
            .entries
            .iter()
            .filter(|entry| before.entry(&entry.id()).is_none());
        // The exemption of `track-record.md`, until it is mended: nobody removes such an entry before the next agent wants the lock.
        let is_late = agent.is_some() && now.since(self.sent) > CALL_BOUND;
        let mut acquired = Vec::new();
        for entry in added {
            if is_late {
                let _ = self.late.insert(entry.id());
            }
            let own = World::index_of(&entry.node).filter(|index| agent == Some(*index));
            let Some(known) = own.and_then(|index| self.nodes.get_mut(index)) else {
                continue;
            };
            if let Some((_, process)) = commit.caller.process {
                if known.is_held(&entry.created) {
                    known.doubt(&entry.created);
                }
                known.process.makes(process, &entry.created);
            }
            let shown = server.object(&Key::node(&entry.node)).map(|node| node.node());
            if let Some((node, Reading::Present(hold))) = shown.map(|node| (node, hold::read(node)))
                && hold.holder.created == entry.created
            {
                known.inside = Some((entry.created.clone(), node.metadata.uid.clone()));
            }
            let found = known.requested.acquired(entry);
            if found.is_some() {
                return found;
            }
            acquired.extend(own);
        }
        acquired
            .into_iter()
            .find_map(|index| self.keeps_distance(index, server, now))
    }

    fn removed(&mut self, entry: &Entry, agent: Option<usize>, server: &ApiServer) -> Found {
        let index = World::index_of(&entry.node)?;
        let known = self.nodes.get_mut(index)?;
        if agent == Some(index) {
            known.wish.released(entry);
        } else {
            known.wish.entry_lost(entry);
        }
        let (inside, uid) = known
            .inside
            .clone()
            .filter(|(inside, _)| *inside == entry.created)?;
        let node = server.object(&Key::node(&entry.node)).map(|node| node.node());
        let shown = node.and_then(|node| hold::read(node).present());
        let is_shown = shown.as_ref().is_some_and(|hold| hold.holder.created == inside);
        match agent {
            Some(agent) if agent == index => known.inside = None,
            None => {
                // A person removed the entry. A hold on the Node still fills the slot; a wish does not, and its agent cannot know.
                if shown.is_none_or(|hold| hold.phase == Phase::Wanted) || !is_shown {
                    known.exempt = Some(inside);
                    known.inside = None;
                }
            }
            Some(other) => {
                known.inside = None;
                // Only what the other agent has read since the last write of the lock counts: it cannot know what was written later.
                let mut reads = self.peers.get(&(other, index)).into_iter().flatten();
                let has_evidence = reads.any(|read| {
                    let node = read.as_ref().map(|node| node.node());
                    let shown = node.and_then(|node| hold::read(node).present());
                    let is_shown = shown.is_some_and(|hold| hold.holder.created == inside);
                    let is_same_boot = node.is_some_and(|node| {
                        node.metadata.uid == uid && node.status.node_info.boot_id == entry.boot_id
                    });
                    !(is_shown || (entry.sealed && is_same_boot))
                });
                if !has_evidence {
                    let what = format!(
                        "agent {other} dropped the entry of {} without evidence",
                        entry.node
                    );
                    return Some((Invariant::AtMostN, what));
                }
                // Its marks were gone for a while. If somebody puts them back, its agent drains on, but its confirm will find no entry.
                known.exempt = Some(inside);
            }
        }
        None
    }
}

/// The lock's record after a commit.
pub(super) fn record_of(commit: &Commit) -> Reading<Record> {
    let text = commit.new.as_ref().and_then(|lease| lease.annotation(keys::LOCK));
    Record::read(text)
}
