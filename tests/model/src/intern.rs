//! Interned values: states hold small numbers instead of values, and equal values have equal numbers.
//!
//! The numbers depend on the order of exploration, so they mean something within one check only.

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

use dashmap::{DashMap, Entry};

/// The number of a value.
pub(crate) struct Id<T> {
    number: u32,
    of: std::marker::PhantomData<fn() -> T>,
}

/// All values of one type, by their numbers.
pub(crate) struct Interner<T> {
    ids: DashMap<Arc<T>, u32>,
    values: RwLock<Vec<Arc<T>>>,
}

impl<T: Eq + Hash> Interner<T> {
    pub(crate) fn id(&self, value: T) -> Id<T> {
        let number = match self.ids.entry(Arc::new(value)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let mut values = self.values.write().unwrap_or_else(PoisonError::into_inner);
                let number = u32::try_from(values.len()).unwrap_or(u32::MAX);
                values.push(Arc::clone(new.key()));
                drop(new.insert(number));
                number
            }
        };
        Id::new(number)
    }

    pub(crate) fn get(&self, id: Id<T>) -> Arc<T> {
        let values = self.values.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&values[id.number as usize])
    }
}

impl<T: Eq + Hash> Default for Interner<T> {
    fn default() -> Interner<T> {
        Interner {
            ids: DashMap::new(),
            values: RwLock::new(Vec::new()),
        }
    }
}

impl<T> Id<T> {
    fn new(number: u32) -> Id<T> {
        Id {
            number,
            of: std::marker::PhantomData,
        }
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Id<T> {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Id<T>) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Id<T> {}

impl<T> Hash for Id<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.number)
    }
}
