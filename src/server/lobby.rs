//! The connections that are open, and which of them has to go when there is no room for another.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

/// Bounds the number of connections. When all places are taken, the oldest connection that has no whole request under way
/// makes room, so that clients who are slow, or only sit there, keep nobody out.
#[derive(Debug)]
pub(super) struct Lobby {
    places: usize,
    guests: Mutex<VecDeque<Arc<Guest>>>,
}

/// An open connection.
#[derive(Debug, Default)]
pub(super) struct Guest {
    /// Whether a whole request has been read and is being answered.
    is_served: AtomicBool,
    /// Asks it to make room.
    leave: CancellationToken,
}

/// A place in the lobby; it is free again when this is dropped.
pub(super) struct Place {
    lobby: Arc<Lobby>,
    guest: Arc<Guest>,
}

/// As long as it lives, the connection does not have to make room.
pub(super) struct Served(Arc<Guest>);

impl Lobby {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places, guests: Mutex::default() })
    }

    /// A place for a new connection; `None` when every other one is being served.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        if guests.len() >= self.places {
            let waits = |guest: &Arc<Guest>| !guest.is_served.load(Ordering::Acquire);
            let oldest = guests.iter().position(waits)?;
            guests.remove(oldest)?.leave.cancel();
        }
        let guest = Arc::<Guest>::default();
        guests.push_back(Arc::clone(&guest));
        Some(Place { lobby: Arc::clone(self), guest })
    }
}

impl Place {
    pub(super) fn guest(&self) -> Arc<Guest> {
        Arc::clone(&self.guest)
    }

    /// Completes when the connection has to make room.
    pub(super) async fn is_needed(&self) {
        self.guest.leave.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut guests = self.lobby.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests.retain(|guest| !Arc::ptr_eq(guest, &self.guest));
    }
}

impl Guest {
    pub(super) fn serve(self: &Arc<Self>) -> Served {
        self.is_served.store(true, Ordering::Release);
        Served(Arc::clone(self))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.is_served.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_is_not_served_makes_room() {
        let lobby = Lobby::new(3);
        let places: Vec<_> = (0..3).map(|_| lobby.enter().unwrap()).collect();
        let served = places[0].guest().serve();
        let fourth = lobby.enter().unwrap();
        let asked: Vec<_> = places.iter().map(|place| place.guest.leave.is_cancelled()).collect();
        assert_eq!(asked, [false, true, false]);
        // A connection that was asked to leave has no place any more, whenever it goes.
        drop(places);
        let all_served: Vec<_> = (0..2).map(|_| lobby.enter().unwrap()).collect();
        let _served: Vec<_> = all_served.iter().chain([&fourth]).map(|place| place.guest().serve()).collect();
        assert!(lobby.enter().is_none());
        drop(served);
        drop(fourth);
        assert!(lobby.enter().is_some());
    }
}
