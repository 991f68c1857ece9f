//! What a watch of some objects tells of them.
//!
//! Not here: how a watch is kept up, and what follows from a change.

/// The code by which an API server says that it no longer has a version (k8s.io/apimachinery: `NewResourceExpired`).
pub const TOO_OLD: u16 = 410;

/// What became known of the objects that are watched.
#[derive(Clone, Debug)]
pub enum Change<T> {
    /// All there is, now: the watch begins here.
    Listed(Vec<T>),
    /// This object was created or changed.
    Present(T),
    /// This object was deleted.
    Gone(T),
    /// What happened between the last change and the next is unknown.
    Gap,
}
