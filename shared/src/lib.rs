//! The domain of Cordonhold: its words, its records and its decisions.
//!
//! No I/O, no clock, no async and no Kubernetes client: what is decided here is a function of its arguments,
//! so that a test, a model and a simulation run the very code that a node runs.
//! The webhook and the agent observe, ask this crate, and perform.

#![warn(missing_docs)]

// What both programs read.
pub mod backoff;
pub mod hold;
pub mod host;
pub mod keys;
pub mod kured;
pub mod lock;
pub mod names;
pub mod node;
pub mod quote;
pub mod selector;
pub mod watch;

// What the webhook decides.
pub mod admission;

// What the agent decides.
pub mod reboot;

/// A value that somebody else may have written: parsing it has three outcomes, and none of them is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reading<T> {
    /// Nothing is there.
    #[default]
    Absent,
    /// It is there and understood.
    Present(T),
    /// It is there and cannot be understood: held, and by someone else. The text says what is wrong.
    Malformed(String),
}

impl<T> Reading<T> {
    /// The value, if it is there and understood.
    pub fn present(self) -> Option<T> {
        match self {
            Reading::Present(value) => Some(value),
            Reading::Absent | Reading::Malformed(_) => None,
        }
    }

    /// The same reading of a borrowed value.
    pub fn as_ref(&self) -> Reading<&T> {
        match self {
            Reading::Absent => Reading::Absent,
            Reading::Present(value) => Reading::Present(value),
            Reading::Malformed(why) => Reading::Malformed(why.clone()),
        }
    }
}
