//! What postpones a reboot. The same list is asked for before the lock is taken, and again as the first step of the final check.
//!
//! A new kind of blocker needs a variant of [`Blocker`], the facts by which it is found, and its text.
//!
//! Not here: how those facts are read ([`crate::reboot::driver`]), and what the cycle does while something blocks.

use std::collections::BTreeSet;
use std::fmt;

use jiff::SignedDuration;

use crate::hold;
use crate::keys;
use crate::lock::{Record, Share};
use crate::node::NodeView;
use crate::quote::quoted;
use crate::reboot::lock_object::LockView;

/// Something that postpones a reboot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Blocker {
    /// No window is open, or none is open for long enough. While this blocks, nothing else is asked, so it stands alone.
    OutsideWindow {
        /// The windows, as people read them.
        windows: String,
        /// When a reboot may begin, in the time zone of the window that opens then. `None`: never.
        opens: Option<String>,
        /// How long the reboot takes that has to end in a window; `None` if it need not.
        needs: Option<SignedDuration>,
    },
    /// A person has paused this node, and written this.
    NodePaused(String),
    /// A person has paused the whole pool, and written this.
    PoolPaused(String),
    /// More Nodes of the pool than allowed are not Ready. Nodes in a reboot and our own do not count.
    Unavailable {
        /// The Nodes that are not Ready, by name.
        unready: BTreeSet<String>,
        /// How many may be.
        allowed: usize,
    },
}

impl Blocker {
    /// Its kind in one word, for a label.
    pub fn kind(&self) -> &'static str {
        match self {
            Blocker::OutsideWindow { .. } => "outside_window",
            Blocker::NodePaused(_) => "node_paused",
            Blocker::PoolPaused(_) => "pool_paused",
            Blocker::Unavailable { .. } => "unavailable",
        }
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Blocker::OutsideWindow {
                windows,
                opens,
                needs,
            } => outside(f, windows, opens.as_deref(), *needs),
            Blocker::NodePaused(word) => write!(
                f,
                "a person paused this node ({}): it goes on when the annotation {} is removed from the Node",
                quoted(word),
                keys::PAUSE
            ),
            Blocker::PoolPaused(word) => write!(
                f,
                "a person paused the pool ({}): it goes on when the annotation {} is removed from the lock's object",
                quoted(word),
                keys::PAUSE
            ),
            Blocker::Unavailable { unready, allowed } => {
                let names: Vec<&str> = unready.iter().map(String::as_str).collect();
                let (count, names) = (unready.len(), names.join(", "));
                write!(
                    f,
                    "Nodes that are not Ready: {count} ({names}), and --max-unavailable allows {allowed}: bring them back, or allow more"
                )
            }
        }
    }
}

/// Says that no window is open, or none for long enough, and when one opens.
fn outside(
    f: &mut fmt::Formatter<'_>,
    windows: &str,
    opens: Option<&str>,
    needs: Option<SignedDuration>,
) -> fmt::Result {
    match (opens, needs) {
        (Some(opens), None) => write!(
            f,
            "outside of the window: a reboot may begin again at {opens}; the window is {windows}"
        ),
        (Some(opens), Some(needs)) => write!(
            f,
            "a reboot, which takes {needs:#}, would not end in the window: one may begin at {opens}; the window is {windows}"
        ),
        (None, None) => write!(f, "outside of the window, which never opens: it is {windows}"),
        (None, Some(needs)) => write!(
            f,
            "a reboot takes {needs:#}, and the window is never open for that long: make it longer, or say how long a reboot takes with --expected-duration; it is {windows}"
        ),
    }
}

/// The kinds of these blockers, each once, separated by commas.
pub fn kinds(blockers: &[Blocker]) -> String {
    let kinds: BTreeSet<&str> = blockers.iter().map(Blocker::kind).collect();
    kinds.into_iter().collect::<Vec<_>>().join(",")
}

/// These blockers, each as a sentence, separated by semicolons.
pub fn sentences(blockers: &[Blocker]) -> String {
    let sentences: Vec<String> = blockers.iter().map(Blocker::to_string).collect();
    sentences.join("; ")
}

/// A count of the pool's Nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PoolCount {
    /// How many Nodes the pool has.
    pub size: usize,
    /// The Nodes that are not Ready and carry no hold, by name.
    pub unready: BTreeSet<String>,
}

impl PoolCount {
    /// Adds this Node to the count.
    pub fn add(&mut self, node: &NodeView) {
        self.size = self.size.saturating_add(1);
        if !node.is_ready() && !hold::is_held(&hold::read(node)) {
            let _ = self.unready.insert(node.name().to_owned());
        }
    }
}

/// What blocks a reboot of this node now. The count of the pool is there only with `--max-unavailable`.
pub fn blockers(node: &NodeView, lock: &LockView, pool: Option<(&PoolCount, Share)>) -> Vec<Blocker> {
    let record = lock.record.as_ref().present();
    let node_paused = paused(node).map(Blocker::NodePaused);
    let pool_paused = lock.paused.clone().map(Blocker::PoolPaused);
    let unavailable = pool.and_then(|(pool, share)| unavailable(node, record, pool, share));
    [node_paused, pool_paused, unavailable]
        .into_iter()
        .flatten()
        .collect()
}

/// What a person wrote on this Node to pause it, if one has.
pub fn paused(node: &NodeView) -> Option<String> {
    node.annotation(keys::PAUSE).map(str::to_owned)
}

/// The blocker that too many Nodes are not Ready, if they are. Nodes in a reboot do not count here: the lock counts them.
fn unavailable(node: &NodeView, record: Option<&Record>, pool: &PoolCount, share: Share) -> Option<Blocker> {
    let is_locked =
        |name: &str| record.is_some_and(|record| record.entries.iter().any(|entry| entry.node == name));
    let counts = |name: &&String| name.as_str() != node.name() && !is_locked(name);
    let unready: BTreeSet<String> = pool.unready.iter().filter(counts).cloned().collect();
    let allowed = share.of(pool.size);
    (unready.len() > allowed).then_some(Blocker::Unavailable { unready, allowed })
}
