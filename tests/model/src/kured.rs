//! Stock kured on the same lock, after its source (kubereboot/kured: cmd/kured/main.go, pkg/daemonsetlock/daemonsetlock.go).
//!
//! It reads its Node once and never again, its entries expire by their TTL, and if it holds the lock when it starts it assumes
//! that the node was rebooted.

use cordonhold_shared::lock::{Entry, Record};

use crate::players::Who;
use crate::protocol::{Action, Protocol, name, small};
use crate::rule::Rule;
use crate::violation::Violation;
use crate::world::{Kured, KuredAt, Power, State};

impl Kured {
    /// Whether this kured holds the lock, or believes that it does.
    pub(crate) fn is_between(&self) -> bool {
        !matches!(self.at, KuredAt::Idle | KuredAt::Acquiring(_))
    }
}

impl Protocol {
    pub(crate) fn kured_actions(&self, state: &State, index: usize, actions: &mut Vec<Action>) {
        let id = small(index);
        let kured = &state.kureds[index];
        let node = &state.nodes[usize::from(kured.node)];
        let waits = match kured.at {
            KuredAt::Idle => !node.wants || kured.acquired > 1 || node.power != Power::Up,
            KuredAt::Rebooting | KuredAt::Down => true,
            _ => false,
        };
        if !waits {
            actions.push(Action::Kured(id));
        }
        let works = matches!(
            kured.at,
            KuredAt::Cordoning | KuredAt::Draining | KuredAt::Delaying
        );
        if works && state.left.kured_restarts > 0 {
            actions.push(Action::KuredRestarts(id));
        }
        if kured.is_between() && !kured.expired && state.left.kured_expiries > 0 {
            actions.push(Action::KuredExpires(id));
        }
    }

    pub(crate) fn kured_restarts(&self, state: &mut State, index: usize) -> bool {
        state.left.kured_restarts -= 1;
        state.kureds[index].at = KuredAt::Starting;
        true
    }

    pub(crate) fn kured_goes_down(&self, state: &mut State, node: u8) {
        for kured in state.kureds.iter_mut().filter(|kured| kured.node == node) {
            kured.at = KuredAt::Down;
        }
    }

    pub(crate) fn kured_boots(&self, state: &mut State, node: u8) {
        for kured in state.kureds.iter_mut().filter(|kured| kured.node == node) {
            kured.at = KuredAt::Starting;
            kured.rebooted = true;
        }
    }

    pub(crate) fn kured_step(&self, state: &mut State, index: usize) -> bool {
        let kured = state.kureds[index].clone();
        let own = usize::from(kured.node);
        let next = match kured.at {
            KuredAt::Starting => self.kured_starts(state, &kured),
            KuredAt::Uncordoning => {
                if !kured.rebooted {
                    state.violate(Violation::KuredUncordonsUnrebooted);
                }
                let _ = self.uncordon(state, kured.node, Who::Kured);
                KuredAt::Releasing
            }
            KuredAt::Releasing => {
                let mut record = (*self.records.get(state.lock.record)).clone();
                record.entries.retain(|entry| entry.node != name(kured.node));
                self.put_record(state, rewritten(record));
                state.kureds[index].expired = false;
                KuredAt::Idle
            }
            KuredAt::Idle => {
                let view = self.views.get(state.nodes[own].view);
                state.kureds[index].was_unschedulable = view.spec.unschedulable;
                KuredAt::Acquiring(state.lock.version)
            }
            KuredAt::Acquiring(version) => self.kured_acquires(state, index, version),
            KuredAt::Cordoning => {
                // kured's defect D3: it does not cordon a node that was cordoned when it read it.
                if !kured.was_unschedulable {
                    let mut view = (*self.views.get(state.nodes[own].view)).clone();
                    view.spec.unschedulable = true;
                    self.put_view(state, kured.node, view);
                }
                KuredAt::Draining
            }
            KuredAt::Draining => {
                state.nodes[own].pods = 0;
                KuredAt::Delaying
            }
            KuredAt::Delaying => {
                let is_cordoned = self.views.get(state.nodes[own].view).spec.unschedulable;
                // Once kured's own TTL has expired the entry, the webhook does not protect the node. That is a documented limit.
                let is_under_pods = !is_cordoned || state.nodes[own].pods > 0;
                if is_under_pods && !kured.expired {
                    state.violate(Violation::KuredRebootsUncordoned);
                }
                state.nodes[own].power = Power::GoingDown;
                KuredAt::Rebooting
            }
            at @ (KuredAt::Rebooting | KuredAt::Down) => at,
        };
        state.kureds[index].at = next;
        true
    }

    fn kured_starts(&self, state: &State, kured: &Kured) -> KuredAt {
        let record = self.records.get(state.lock.record);
        let own = record.entries.iter().find(|entry| entry.node == name(kured.node));
        match own.filter(|_| !kured.expired) {
            Some(entry) if !entry.metadata.unschedulable => KuredAt::Uncordoning,
            Some(_) => KuredAt::Releasing,
            None => KuredAt::Idle,
        }
    }

    fn kured_acquires(&self, state: &mut State, index: usize, version: u8) -> KuredAt {
        if state.lock.version != version {
            return KuredAt::Idle;
        }
        let own = state.kureds[index].node;
        let mut record = rewritten((*self.records.get(state.lock.record)).clone());
        if record.entries.len() >= self.scenario.concurrency {
            let is_live = |entry: &Entry| !self.kured_calls_expired(state, entry);
            let dropped_live = record
                .entries
                .iter()
                .any(|entry| entry.is_ours() && !is_live(entry));
            record.entries.retain(is_live);
            if dropped_live {
                state.violate(Violation::LiveEntryDropped);
            }
        }
        if record.entries.len() >= self.scenario.concurrency {
            return KuredAt::Idle;
        }
        let kured = &mut state.kureds[index];
        kured.acquired += 1;
        kured.expired = false;
        kured.rebooted = false;
        let created = format!("2026-11-23T0{own}:{:02}:00.5Z", kured.acquired);
        let mut entry = Entry::new(&name(own), "", &created, kured.was_unschedulable);
        entry.ttl_nanos = 0;
        record.entries.push(entry);
        self.put_record(state, record);
        KuredAt::Cordoning
    }

    /// Whether kured takes an entry for expired: by the entry's TTL, or by kured's own TTL if that is 0 (`effectiveTTL`).
    fn kured_calls_expired(&self, state: &State, entry: &Entry) -> bool {
        if entry.is_ours() {
            return self.scenario.kured_lock_ttl && self.is_off(Rule::OurTtl);
        }
        state
            .kureds
            .iter()
            .any(|kured| kured.expired && entry.node == name(kured.node))
    }
}

/// A record as kured rewrites it: it keeps only the fields that kured knows.
fn rewritten(mut record: Record) -> Record {
    for entry in &mut record.entries {
        entry.node_uid = String::new();
        entry.sealed = false;
        entry.boot_id = String::new();
        entry.init = String::new();
        entry.attempts = 0;
        entry.given_back = false;
        entry.write = None;
        entry.rest.clear();
    }
    record
}
