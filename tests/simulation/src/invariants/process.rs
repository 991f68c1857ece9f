//! What a process of an agent learned when it started: from the host's record, the Node and the lock. After that it relies only
//! on its memory.

use std::collections::BTreeMap;

use cordonhold_shared::Reading;
use cordonhold_shared::hold::Phase;
use cordonhold_shared::host::HostRecord;
use cordonhold_shared::lock::Record;
use cordonhold_shared::node::NodeView;
use cordonhold_shared::reboot::cycle::{self, Failure, Input};
use cordonhold_shared::reboot::lock_object::LockView;

use super::{Held, Known, Oracle};

/// The current process on a node, and what it found when it started.
#[derive(Debug, Default)]
pub(super) struct Process {
    number: u64,
    /// The boot in which each process ran, by the process's number.
    boots: BTreeMap<u64, u64>,
    /// The `created` of the hold in the host's record; `None` without a record.
    record: Option<String>,
    recorded_phase: Option<Phase>,
    /// The `created` of the hold in the lock's entry; `None` without an entry.
    entry: Option<String>,
    /// Whether its Node showed the complete wish of a hold that had been cordoned already, and no sealed entry said more.
    was_shown_wish: bool,
    /// The Node as the process read it last, before it read the lock.
    shown: Option<NodeView>,
    /// Whether it has read the host's record, the Node and the lock. From then on it relies on its memory.
    has_begun: bool,
    /// The `created` of the hold for which it wrote a wish or an entry itself.
    made: Option<String>,
    /// The `created` of the hold that it has sent a cordon for, and whether its watch has had a gap since.
    cordons: Option<(String, bool)>,
}

impl Process {
    /// Whether the process made this hold itself, or found it in the host's record or in the lock.
    pub(super) fn knows(&self, created: &str) -> bool {
        self.made.as_deref() == Some(created) || self.was_told(created) || self.found_entry(created)
    }

    /// The Node as the process read it when it started.
    pub(super) fn believed(&self) -> Option<&NodeView> {
        self.shown.as_ref()
    }

    /// Whether its Node showed the complete wish of a hold that had been cordoned already, and no sealed entry said more.
    pub(super) fn was_shown_wish(&self) -> bool {
        self.was_shown_wish
    }

    /// Whether the host's record said that this hold was about to be cordoned.
    pub(super) fn was_told_of_cordon(&self, created: &str) -> bool {
        self.was_told(created) && self.recorded_phase == Some(Phase::Draining)
    }

    /// Whether the process has sent a cordon for this hold, and its watch has had a gap since.
    pub(super) fn missed_its_cordon(&self, created: &str) -> bool {
        self.cordons
            .as_ref()
            .is_some_and(|(of, has_gap)| of == created && *has_gap)
    }

    /// Notes that a process wrote a wish or an entry for this hold.
    pub(super) fn makes(&mut self, process: u64, created: &str) {
        if process == self.number {
            self.made = Some(created.to_owned());
        }
    }

    /// Whether the host's record named this hold.
    pub(super) fn was_told(&self, created: &str) -> bool {
        self.record.as_deref() == Some(created)
    }

    /// Whether the lock had an entry for this hold.
    pub(super) fn found_entry(&self, created: &str) -> bool {
        self.entry.as_deref() == Some(created)
    }

    /// The boot in which a process ran.
    pub(super) fn boot_of(&self, process: u64) -> Option<u64> {
        self.boots.get(&process).copied()
    }
}

impl Oracle {
    pub(crate) fn started(&mut self, index: usize, number: u64, boot: u64) {
        if let Some(known) = self.nodes.get_mut(index) {
            let mut boots = std::mem::take(&mut known.process.boots);
            let _ = boots.insert(number, boot);
            known.process = Process {
                number,
                boots,
                ..Process::default()
            };
        }
    }

    /// Notes that an agent sends a cordon for this hold.
    pub(crate) fn cordons(&mut self, index: usize, created: &str) {
        if let Some(known) = self.nodes.get_mut(index) {
            let cordons = &mut known.process.cordons;
            if cordons.as_ref().is_none_or(|(of, _)| of != created) {
                *cordons = Some((created.to_owned(), false));
            }
        }
    }

    /// Notes that an agent writes its host's record, before it writes the Node.
    pub(crate) fn writes_down(&mut self, index: usize, record: &HostRecord) {
        let created = record.holder.split_once('/').map_or("", |(_, created)| created);
        if let Some(known) = self
            .nodes
            .get_mut(index)
            .filter(|_| record.phase != Some(Phase::Wanted))
        {
            known.doubt(created);
        }
    }

    /// Notes what a process reads when it starts: first the host's record, then its Node, then the lock.
    pub(crate) fn told(&mut self, index: usize, input: &Input) {
        let Some(Known { process, held, .. }) = self.nodes.get_mut(index) else {
            return;
        };
        if let (Input::Event(cycle::Event::Gap), Some((_, has_gap))) = (input, &mut process.cordons) {
            *has_gap = true;
        }
        if process.has_begun {
            return;
        }
        match input {
            Input::Answer(cycle::Answer::Host(state)) => {
                let created = state
                    .record
                    .as_ref()
                    .and_then(|record| record.holder.split_once('/'));
                process.record = created.map(|(_, created)| created.to_owned());
                process.recorded_phase = state.record.as_ref().and_then(|record| record.phase);
            }
            Input::Answer(cycle::Answer::Node(Ok(node))) => process.shown = Some(node.clone()),
            Input::Answer(cycle::Answer::Lock(Ok(LockView {
                record: Reading::Malformed(_),
                ..
            }))) => {}
            Input::Answer(cycle::Answer::Lock(Ok(lock))) => {
                process.begins(lock.record.as_ref().present(), held.as_ref(), index);
            }
            Input::Answer(cycle::Answer::Lock(Err(Failure::NotFound))) => {
                process.begins(None, held.as_ref(), index);
            }
            _ => {}
        }
    }
}

impl Process {
    fn begins(&mut self, record: Option<&Record>, held: Option<&Held>, index: usize) {
        let entry = record.and_then(|record| record.of_node(&format!("node-{index}")));
        let is_sealed = entry.is_some_and(|entry| entry.sealed);
        self.was_shown_wish = held
            .zip(self.shown.as_ref())
            .is_some_and(|(held, node)| !is_sealed && held.is_wish(node));
        self.entry = entry.map(|entry| entry.created.clone());
        self.has_begun = true;
    }
}
