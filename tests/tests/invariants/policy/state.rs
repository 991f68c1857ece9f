//! The states of a Node that the cases are tried on.
//!
//! Not here: how a Node gets into its state (`table.rs`).

use cordonhold_shared::hold::Phase;

/// The state of a Node that cases are tried on. None of them changes it: all are dry runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// Without marks, and schedulable.
    Free,
    /// Without marks, cordoned by a person, with an uncordon that was kept under a hold that is over.
    Cordoned,
    /// Without marks, with very many taints.
    ManyTaints,
    /// In `draining`, with very many taints.
    HeldManyTaints,
    /// A wish on a Node that a person has cordoned.
    Wanted,
    Draining,
    Delaying,
    Sealed,
    Returning,
    /// In `delaying`, cancelled.
    Cancelled,
    /// In `sealed`, cancelled before `until`.
    SealedCancelled,
    /// In `sealed`, cancelled after `until`, by the Node's last write; its kubelet is gone.
    SealedOver,
    /// In `sealed`, cancelled, after `until`; neither its kubelet nor anybody else has written the Node since.
    SealedQuiet,
    /// In `sealed`, cancelled before `until`, whose time has an offset, as no agent writes it.
    SealedOffset,
    /// `until` and the grace are over, and the kubelet has said so.
    Lapsed,
    /// The same, and its holder is another Node of this name.
    LapsedAnothers,
    /// `until` and the grace are over, and the kubelet has said nothing since.
    LapsedQuiet,
    UnknownPhase,
    NoHolder,
    UnreadableUntil,
    /// In `delaying`, with a holder that is as long as a Node can carry.
    LongHolder,
    /// A wish with an `until` that is as long as a Node can carry, on a cordoned Node.
    LongUntil,
    /// In an unknown phase, cancelled as unreadable.
    UnreadableCancelled,
    /// A wish whose `until` cannot be read, on a cordoned Node.
    UnreadableWish,
    /// A wish whose time has an offset, as no agent writes it, on a cordoned Node.
    WishWithOffset,
    /// Only the annotation `until`.
    UntilAlone,
    /// Only the taint.
    TaintAlone,
    /// Held, with an uncordon that is kept for the ordinary controller.
    Kept,
}

impl State {
    pub(super) const ALL: [State; 28] = [
        State::Free,
        State::Cordoned,
        State::ManyTaints,
        State::HeldManyTaints,
        State::Wanted,
        State::Draining,
        State::Delaying,
        State::Sealed,
        State::Returning,
        State::Cancelled,
        State::SealedCancelled,
        State::SealedOver,
        State::SealedQuiet,
        State::SealedOffset,
        State::Lapsed,
        State::LapsedAnothers,
        State::LapsedQuiet,
        State::UnknownPhase,
        State::NoHolder,
        State::UnreadableUntil,
        State::LongHolder,
        State::LongUntil,
        State::UnreadableCancelled,
        State::UnreadableWish,
        State::WishWithOffset,
        State::UntilAlone,
        State::TaintAlone,
        State::Kept,
    ];

    /// The phase that the hold on its Node begins with.
    pub(super) fn phase(self) -> Option<Phase> {
        match self {
            State::Free | State::Cordoned | State::ManyTaints | State::UntilAlone | State::TaintAlone => None,
            State::Wanted | State::UnreadableWish | State::WishWithOffset | State::LongUntil => {
                Some(Phase::Wanted)
            }
            State::Draining | State::HeldManyTaints => Some(Phase::Draining),
            State::Sealed
            | State::SealedCancelled
            | State::SealedOver
            | State::SealedQuiet
            | State::SealedOffset => Some(Phase::Sealed),
            State::Returning => Some(Phase::Returning),
            State::Delaying
            | State::Cancelled
            | State::Lapsed
            | State::LapsedQuiet
            | State::LapsedAnothers
            | State::LongHolder
            | State::UnknownPhase
            | State::NoHolder
            | State::UnreadableUntil
            | State::UnreadableCancelled
            | State::Kept => Some(Phase::Delaying),
        }
    }

    /// The name of its Node.
    pub(super) fn node(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}
