//! Watches: the events of the log after a version, for one selector.

use std::rc::Rc;

use super::{ApiServer, Commit, Key, Resource, Selector, Status, Stored};

/// A watch, and the version that it has reached.
#[derive(Clone, Debug)]
pub struct Watch {
    pub resource: Resource,
    pub namespace: String,
    pub selector: Selector,
    pub cursor: u64,
}

/// What an event does to the selected objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

/// One event of a watch.
#[derive(Clone, Debug)]
pub struct WatchEvent {
    pub kind: EventKind,
    pub version: u64,
    /// The object; for a deletion, its last version.
    pub object: Stored,
}

impl ApiServer {
    /// Opens a watch of all events after this version. The error is a 410 if the log does not reach back that far.
    pub fn watch(&self, key: &Key, selector: Selector, version: u64) -> Result<Watch, Status> {
        if version < self.compacted {
            return Err(Status::expired());
        }
        Ok(Watch {
            resource: key.resource,
            namespace: key.namespace.clone(),
            selector,
            cursor: version,
        })
    }

    /// The events that the watch has not delivered yet, up to this version, inclusive. The error is a 410 if the log no longer has them.
    pub fn events(&self, watch: &mut Watch, up_to: u64) -> Result<Vec<WatchEvent>, Status> {
        if watch.cursor < self.compacted {
            return Err(Status::expired());
        }
        let events = self
            .commits_after(watch.cursor)
            .take_while(|commit| commit.version <= up_to)
            .filter_map(|commit| watch.event(commit))
            .collect();
        watch.cursor = watch.cursor.max(up_to);
        Ok(events)
    }
}

impl Watch {
    /// Whether the watch delivers an event for this commit.
    pub fn sees(&self, commit: &Commit) -> bool {
        self.kind(commit).is_some()
    }

    fn kind(&self, commit: &Commit) -> Option<EventKind> {
        if commit.key.resource != self.resource
            || !(self.namespace.is_empty() || self.namespace == commit.key.namespace)
        {
            return None;
        }
        let selects = |object: &Option<Stored>| {
            object
                .as_ref()
                .is_some_and(|object| self.selector.matches(object))
        };
        match (selects(&commit.old), selects(&commit.new)) {
            (false, true) => Some(EventKind::Added),
            (true, true) => Some(EventKind::Modified),
            (true, false) => Some(EventKind::Deleted),
            (false, false) => None,
        }
    }

    fn event(&self, commit: &Commit) -> Option<WatchEvent> {
        let kind = self.kind(commit)?;
        let object = match kind {
            EventKind::Added | EventKind::Modified => commit.new.as_ref(),
            EventKind::Deleted => commit.old.as_ref(),
        }?;
        Some(WatchEvent {
            kind,
            version: commit.version,
            object: Rc::clone(object),
        })
    }
}
