//! What stands where in the tree. The first byte of a key says what it is; the order of keys is the order in
//! which things are asked for.
//!
//! | key | value |
//! |---|---|
//! | `m` | schema, number of writes, whether closed in good order |
//! | `s` source, call | a snapshot, with what a [`KnownCall`](crate::store::KnownCall) needs in front |
//! | `p` source | the planner's checkpoint |
//! | `e` event | an event |
//! | `d` event, destination | a delivery |
//! | `l` destination, source, call or batch, sequence, event | when it is due: a pending delivery in its lane |
//! | `q` destination, due, event | nothing: the head of a lane in the queue of what is due |
//! | `b` destination, batch, time made, event | nothing: a delivery that is held |
//! | `f` time, event, destination | nothing: when a delivery was finished |
//! | `t` destination | a [`Tally`](crate::store::Tally) |
//! | `h` destination | a [`Pause`](crate::store::Pause) |
//! | `g` destination, batch | the ledger of a batch |
//! | `c` key, number | a part of a value too large to stand in one piece |
//! | `j` | the journal of a write too large for one batch |
//!
//! Texts may hold any character. All but the last text of a key are escaped and terminated so that keys sort
//! as the texts do and no two lists of parts give the same key.

use crate::{
    batch::BatchKey,
    call::CallId,
    event::EventId,
    name::Name,
    store::{DeliveryId, DeliveryRecord},
    time::Timestamp,
};

/// A key or the beginning of one.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(Vec<u8>);

/// What a key stands for, as far as those who copy have to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Snapshot,
    Delivery,
    /// Part of something else, or made anew from the rest.
    Derived,
    /// Anything else.
    Other,
}

impl Kind {
    pub(super) fn of(key: &[u8]) -> Self {
        match key.first() {
            Some(b's') => Self::Snapshot,
            Some(b'd') => Self::Delivery,
            // Chunks go with their value, events with their deliveries.
            Some(b'b' | b'c' | b'e' | b'f' | b'j' | b'l' | b'm' | b'q' | b't') => Self::Derived,
            _ => Self::Other,
        }
    }

    /// Whether what stands there is copied for itself.
    pub(super) fn is_copied(self) -> bool {
        self != Self::Derived
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<::sled::IVec> for Key {
    fn from(key: ::sled::IVec) -> Self {
        Self(key.to_vec())
    }
}

impl Key {
    fn new(kind: u8) -> Self {
        Self(vec![kind])
    }

    /// Adds a text that something may follow: NUL becomes NUL 0xff, and NUL 0x01 ends it.
    fn text(mut self, text: &str) -> Self {
        for byte in text.bytes() {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(0xff);
            }
        }
        self.0.extend([0, 1]);
        self
    }

    /// Adds a text that nothing follows.
    fn last(mut self, text: &str) -> Self {
        self.0.extend(text.as_bytes());
        self
    }

    fn time(self, time: Timestamp) -> Self {
        // With the sign bit flipped, times before 1970 sort before those after.
        self.number((time.as_millis() as u64) ^ (1 << 63))
    }

    fn number(mut self, number: u64) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    /// Whether `key` begins with this.
    pub(super) fn is_prefix_of(&self, key: &[u8]) -> bool {
        key.starts_with(&self.0)
    }

    /// What follows this prefix in `key`; empty when it is not a prefix of it.
    pub(super) fn rest<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        key.strip_prefix(self.0.as_slice()).unwrap_or_default()
    }
}

pub(super) fn meta() -> Key {
    Key::new(b'm')
}

pub(super) fn all_snapshots() -> Key {
    Key::new(b's')
}

pub(super) fn snapshots(source: &Name) -> Key {
    all_snapshots().text(source.as_str())
}

pub(super) fn snapshot(source: &Name, call: &CallId) -> Key {
    snapshots(source).last(call.as_str())
}

pub(super) fn checkpoint(source: &Name) -> Key {
    Key::new(b'p').last(source.as_str())
}

pub(super) fn events() -> Key {
    Key::new(b'e')
}

pub(super) fn event(id: &EventId) -> Key {
    events().last(id.as_str())
}

/// The event that stands at `key`.
pub(super) fn event_of(key: &Key) -> Option<EventId> {
    std::str::from_utf8(events().rest(&key.0)).ok().map(EventId::from)
}

pub(super) fn deliveries() -> Key {
    Key::new(b'd')
}

pub(super) fn deliveries_of(event: &EventId) -> Key {
    deliveries().text(event.as_str())
}

pub(super) fn delivery(id: &DeliveryId) -> Key {
    deliveries_of(&id.event).last(id.destination.as_str())
}

pub(super) fn lane(record: &DeliveryRecord) -> Key {
    let (destination, source, about) = record.lane();
    Key::new(b'l').text(destination.as_str()).text(source).text(&about)
}

pub(super) fn in_lane(record: &DeliveryRecord) -> Key {
    lane(record).number(record.sequence).last(record.id.event.as_str())
}

/// When a delivery is due, as it stands beside its place in the lane.
pub(super) fn due_in_lane(due: Timestamp) -> [u8; 8] {
    due.as_millis().to_be_bytes()
}

/// Reads what [`due_in_lane`] wrote.
pub(super) fn to_due_in_lane(bytes: &[u8]) -> Option<Timestamp> {
    bytes.try_into().ok().map(|bytes| Timestamp::from_millis(i64::from_be_bytes(bytes)))
}

/// The event of a key that begins with the lane's.
pub(super) fn event_in_lane(lane: &Key, key: &[u8]) -> Option<EventId> {
    number_and_text(lane.rest(key)).map(|(_, event)| event.into())
}

pub(super) fn queue(destination: &Name) -> Key {
    Key::new(b'q').text(destination.as_str())
}

pub(super) fn in_queue(id: &DeliveryId, due: Timestamp) -> Key {
    queue(&id.destination).time(due).last(id.event.as_str())
}

/// When what stands in this queue at `key` is due, and its event.
pub(super) fn due_in_queue(queue: &Key, key: &[u8]) -> Option<(Timestamp, EventId)> {
    number_and_text(queue.rest(key)).map(|(number, event)| (to_time(number), event.into()))
}

pub(super) fn batch(destination: &Name, batch: &BatchKey) -> Key {
    Key::new(b'b').text(destination.as_str()).text(&batch.to_string())
}

pub(super) fn in_batch(batch: &Key, created: Timestamp, event: &EventId) -> Key {
    batch.clone().time(created).last(event.as_str())
}

/// When what is held in this batch at `key` was made, and its event.
pub(super) fn held_in_batch(batch: &Key, key: &[u8]) -> Option<(Timestamp, EventId)> {
    number_and_text(batch.rest(key)).map(|(number, event)| (to_time(number), event.into()))
}

pub(super) fn ledgers(destination: &Name) -> Key {
    Key::new(b'g').text(destination.as_str())
}

pub(super) fn ledger(destination: &Name, batch: &BatchKey) -> Key {
    ledgers(destination).last(&batch.to_string())
}

/// The batch of a ledger's key that begins with `ledgers`.
pub(super) fn batch_of_ledger(ledgers: &Key, key: &[u8]) -> Option<BatchKey> {
    std::str::from_utf8(ledgers.rest(key)).ok()?.parse().ok()
}

pub(super) fn finished() -> Key {
    Key::new(b'f')
}

pub(super) fn finished_at(id: &DeliveryId, at: Timestamp) -> Key {
    finished().time(at).text(id.event.as_str()).last(id.destination.as_str())
}

/// When the delivery that `key` stands for was finished, and which it is.
pub(super) fn what_finished(key: &[u8]) -> Option<(Timestamp, DeliveryId)> {
    let (number, ids) = finished().rest(key).split_first_chunk()?;
    let (event, destination) = split_text(ids)?;
    let destination = Name::from(std::str::from_utf8(destination).ok()?);
    Some((to_time(u64::from_be_bytes(*number)), DeliveryId { event: event.as_str().into(), destination }))
}

pub(super) fn tallies() -> Key {
    Key::new(b't')
}

pub(super) fn tally(destination: &Name) -> Key {
    tallies().last(destination.as_str())
}

pub(super) fn pauses() -> Key {
    Key::new(b'h')
}

pub(super) fn pause(destination: &Name) -> Key {
    pauses().last(destination.as_str())
}

/// The destination of a pause's key.
pub(super) fn paused(key: &[u8]) -> Option<Name> {
    std::str::from_utf8(pauses().rest(key)).ok().map(Name::from)
}

/// What the parts of the value at `of` begin with.
pub(super) fn chunks(of: &Key) -> Key {
    let mut key = Key::new(b'c');
    key.0.extend(&of.0);
    key
}

/// A part of the value at `of`.
pub(super) fn chunk(of: &Key, number: u32) -> Key {
    let mut key = chunks(of);
    key.0.extend(number.to_be_bytes());
    key
}

/// The journal's head: it is there when the journal is whole and has yet to be carried out.
pub(super) fn journal() -> Key {
    Key::new(b'j')
}

fn to_time(number: u64) -> Timestamp {
    Timestamp::from_millis((number ^ (1 << 63)) as i64)
}

fn number_and_text(bytes: &[u8]) -> Option<(u64, &str)> {
    let (number, text) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), std::str::from_utf8(text).ok()?))
}

/// Reads an escaped text; returns it and what follows.
fn split_text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut text = vec![];
    let mut rest = bytes;
    loop {
        match rest {
            [0, 1, after @ ..] => return Some((String::from_utf8(text).ok()?, after)),
            [0, 0xff, after @ ..] => {
                text.push(0);
                rest = after;
            }
            [0, ..] | [] => return None,
            [byte, after @ ..] => {
                text.push(*byte);
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        "[\u{0}\u{1}\u{2}a/\u{ff}]{0,4}"
    }

    fn id() -> impl Strategy<Value = DeliveryId> {
        (text(), text()).prop_map(|(event, destination)| DeliveryId {
            event: event.as_str().into(),
            destination: destination.into(),
        })
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        prop_oneof![any::<i64>(), -2..2_i64].prop_map(Timestamp::from_millis)
    }

    proptest! {
        #[test]
        fn deliveries_sort_as_their_ids_do(a in id(), b in id()) {
            prop_assert_eq!(delivery(&a).cmp(&delivery(&b)), a.cmp(&b));
        }

        #[test]
        fn what_is_due_sorts_by_time_and_can_be_read(a in (time(), id()), b in (time(), id())) {
            let place = |(due, id): &(Timestamp, DeliveryId)| in_queue(id, *due);
            let queue = queue(&a.1.destination);
            let read = due_in_queue(&queue, place(&a).as_ref());
            prop_assert_eq!(read, Some((a.0, a.1.event.clone())));
            let same_queue = queue.is_prefix_of(place(&b).as_ref());
            prop_assert_eq!(same_queue, a.1.destination == b.1.destination);
            if same_queue {
                let order = (a.0, &a.1.event).cmp(&(b.0, &b.1.event));
                prop_assert_eq!(place(&a).cmp(&place(&b)), order);
            }
        }

        #[test]
        fn what_is_held_sorts_by_time_and_can_be_read(a in (time(), id(), text()), b in (time(), id(), text())) {
            let of = |(_, id, name): &(Timestamp, DeliveryId, String)| {
                batch(&id.destination, &BatchKey::Group { rule: name.as_str().into(), by: 7 })
            };
            let place = |held: &(Timestamp, DeliveryId, String)| in_batch(&of(held), held.0, &held.1.event);
            let read = held_in_batch(&of(&a), place(&a).as_ref());
            prop_assert_eq!(read, Some((a.0, a.1.event.clone())));
            let same_batch = of(&a).is_prefix_of(place(&b).as_ref());
            prop_assert_eq!(same_batch, (&a.1.destination, &a.2) == (&b.1.destination, &b.2));
            if same_batch {
                let order = (a.0, &a.1.event).cmp(&(b.0, &b.1.event));
                prop_assert_eq!(place(&a).cmp(&place(&b)), order);
            }
        }

        #[test]
        fn what_is_finished_sorts_by_time_and_can_be_read(a in (time(), id()), b in (time(), id())) {
            let key = |(at, id): &(Timestamp, DeliveryId)| finished_at(id, *at);
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
            let read = what_finished(key(&a).as_ref());
            prop_assert_eq!(read, Some(a));
        }
    }
}
