//! The limit of connections on a port, and which connection is closed when a new one comes and all places are taken.
//!
//! A new connection takes the place of one that waits for its peer, so nobody can keep probes or the API server out by opening many idle
//! connections. The one to close comes from the address with the most connections. Of these it is one that has not sent a request yet, if
//! there is one, and of those the one that has waited longest.
//! Not here: how long a connection may wait at all (the server's own time limits).

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::sync::locked;

/// A bounded number of places for connections. Clones share them.
#[derive(Clone, Debug)]
pub struct Places {
    max: usize,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    /// Number of the last event, used instead of a clock.
    now: u64,
    taken: BTreeMap<u64, Taken>,
}

#[derive(Debug)]
struct Taken {
    peer: IpAddr,
    has_asked: bool,
    /// When it began to wait for its peer. `None` while a request of it is being answered.
    waits_since: Option<u64>,
    lost: Arc<Notify>,
}

/// The place of a connection, until this is dropped or another connection takes it.
#[derive(Debug)]
pub struct Place {
    number: u64,
    lost: Arc<Notify>,
    places: Places,
}

impl Places {
    /// `max` places, all free.
    pub fn new(max: usize) -> Places {
        Places {
            max,
            table: Arc::default(),
        }
    }

    /// A place for a new connection from this address, which counts as waiting for its peer from now on. `None`: the requests of all
    /// connections are being answered.
    pub fn take(&self, peer: IpAddr) -> Option<Place> {
        let mut table = self.table();
        if table.taken.len() >= self.max {
            let leaves = table.first_to_leave()?;
            if let Some(taken) = table.taken.remove(&leaves) {
                taken.lost.notify_one();
            }
        }
        let number = table.tick();
        let lost = Arc::new(Notify::new());
        let taken = Taken {
            peer: peer.to_canonical(),
            has_asked: false,
            waits_since: Some(number),
            lost: Arc::clone(&lost),
        };
        drop(table.taken.insert(number, taken));
        Some(Place {
            number,
            lost,
            places: self.clone(),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        locked(&self.table)
    }
}

impl Table {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    /// The number of the connection that must make room, by the order in the module's head. Called only if every place is taken.
    fn first_to_leave(&self) -> Option<u64> {
        let mut of_peer: HashMap<IpAddr, usize> = HashMap::new();
        for taken in self.taken.values() {
            *of_peer.entry(taken.peer).or_default() += 1;
        }
        let waiting = self.taken.iter().filter_map(|(number, taken)| {
            let neighbours = of_peer.get(&taken.peer).copied().unwrap_or_default();
            Some((Reverse(neighbours), taken.has_asked, taken.waits_since?, *number))
        });
        waiting.min().map(|(.., number)| number)
    }
}

impl Place {
    /// Notes that a request of the connection is being answered.
    pub fn works(&self) {
        self.change(|taken, _| {
            taken.has_asked = true;
            taken.waits_since = None;
        });
    }

    /// Notes that the connection waits for its peer to send a request or to read an answer.
    pub fn waits(&self) {
        self.change(|taken, now| taken.waits_since = Some(now));
    }

    /// Waits until another connection has taken the place.
    pub async fn lost(&self) {
        self.lost.notified().await;
    }

    fn change(&self, change: impl FnOnce(&mut Taken, u64)) {
        let mut table = self.places.table();
        let now = table.tick();
        if let Some(taken) = table.taken.get_mut(&self.number) {
            change(taken, now);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.places.table().taken.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::FutureExt as _;

    use super::*;

    fn peer(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn is_lost(place: &Place) -> bool {
        place.lost().now_or_never().is_some()
    }

    #[test]
    fn found_s4_the_one_that_has_waited_longest_makes_room() {
        let places = Places::new(2);
        let first = places.take(peer(1)).unwrap();
        let second = places.take(peer(1)).unwrap();
        // The first sends a request and waits again: now it is the newer one, and the only one that has sent a request.
        first.works();
        first.waits();
        let third = places.take(peer(1)).unwrap();
        assert!(is_lost(&second) && !is_lost(&first) && !is_lost(&third));
        // That the second ends only now does not free a place of another.
        drop(second);
        let fourth = places.take(peer(1)).unwrap();
        assert!(is_lost(&third) && !is_lost(&first) && !is_lost(&fourth));
    }

    #[test]
    fn found_s4_many_from_one_address_take_no_place_from_others() {
        let places = Places::new(4);
        let probe = places.take(peer(1)).unwrap();
        let idle: Vec<Place> = (0..9).filter_map(|_| places.take(peer(2))).collect();
        assert_eq!(idle.len(), 9);
        assert!(
            !is_lost(&probe),
            "the oldest of all, and the only one of its address"
        );
        assert_eq!(idle.iter().filter(|place| is_lost(place)).count(), 6);
    }

    #[test]
    fn found_s4_whoever_is_being_answered_stays() {
        let places = Places::new(1);
        let working = places.take(peer(1)).unwrap();
        working.works();
        assert!(places.take(peer(2)).is_none());
        // A peer that does not read its answer counts as waiting, too.
        working.waits();
        assert!(places.take(peer(2)).is_some() && is_lost(&working));
    }
}
