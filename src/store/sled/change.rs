//! Changes of deliveries: written first in groups, in the order in which they happened, and later moved to the blocks
//! of their deliveries.
//!
//! ```text
//! `x` group:         head: the destinations, a list of texts in postcard
//!                    body: per change its delivery's number: u64 LE │ place of its destination: u16 LE │ length: u32 LE │ change
//! `f` block, group:  head: per change its delivery's place in the block: u16 LE │ where it ends in the body: u32 LE
//!                    body: the changes
//! change: a [`Change`] in postcard
//! ```
//!
//! Only changes that were carried out are written, so that reading them again gives the same result.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{entry::to_batch, fault::Fault, value};
use crate::{
    event::EventId,
    store::{Attempt, DeliveryRecord, DeliveryStateKind, Verdict},
    time::Timestamp,
};

/// A change of one delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Change<'a> {
    /// An attempt ended, with this verdict.
    Attempt { at: Timestamp, took_ms: u64, result: &'a str, response: &'a str, verdict: Follows<'a> },
    /// The delivery waits in this batch from now on.
    Hold { batch: &'a str },
    /// The delivery is due from `at` on.
    Release { at: Timestamp },
    /// Another event tells the delivery.
    Merge { at: Timestamp, into: &'a str },
    /// A person made the delivery due after this many attempts; it was in state `was` before.
    Retry { at: Timestamp, attempts: u32, was: Stage },
    /// The delivery was forgotten; it was in state `was` before.
    Forget { was: Stage },
}

/// A [`Verdict`] as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Follows<'a> {
    Delivered,
    Retry(Timestamp),
    Dead(&'a str),
}

/// A [`DeliveryStateKind`] as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Stage {
    Pending,
    Held,
    Delivered,
    Merged,
    Dead,
}

impl From<DeliveryStateKind> for Stage {
    fn from(kind: DeliveryStateKind) -> Self {
        match kind {
            DeliveryStateKind::Pending => Self::Pending,
            DeliveryStateKind::Held => Self::Held,
            DeliveryStateKind::Delivered => Self::Delivered,
            DeliveryStateKind::Merged => Self::Merged,
            DeliveryStateKind::Dead => Self::Dead,
        }
    }
}

impl<'a> Change<'a> {
    pub(super) fn of_attempt(attempt: &'a Attempt, verdict: &'a Verdict) -> Self {
        Self::Attempt {
            at: attempt.at,
            took_ms: attempt.took_ms,
            result: &attempt.result,
            response: &attempt.response,
            verdict: match verdict {
                Verdict::Delivered => Follows::Delivered,
                Verdict::Retry(due) => Follows::Retry(*due),
                Verdict::Dead(reason) => Follows::Dead(reason),
            },
        }
    }

    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Fault> {
        value::from_compact(bytes)
    }

    /// Carries the change out on a record; returns whether the delivery is still there.
    pub(super) fn apply(&self, record: &mut DeliveryRecord) -> Result<bool, Fault> {
        let done = match *self {
            Self::Attempt { at, took_ms, result, response, verdict } => {
                let attempt =
                    Attempt { at, took_ms, result: result.to_owned(), response: response.to_owned() };
                let verdict = match verdict {
                    Follows::Delivered => Verdict::Delivered,
                    Follows::Retry(due) => Verdict::Retry(due),
                    Follows::Dead(reason) => Verdict::Dead(reason.to_owned()),
                };
                record.settle(record.attempts.saturating_add(1), attempt, verdict)
            }
            Self::Hold { batch } => record.hold(to_batch(batch)?),
            Self::Release { at } => record.release(at),
            Self::Merge { at, into } => record.merge(at, EventId::from(into)),
            Self::Retry { at, .. } => record.retry(at),
            Self::Forget { .. } => return Ok(false),
        };
        if done { Ok(true) } else { Err(Fault::Damaged("a change does not fit its delivery")) }
    }
}

/// The body of a group as it will be written.
#[derive(Default)]
pub(super) struct GroupWriter {
    destinations: Vec<String>,
    body: Vec<u8>,
    changes: usize,
}

impl GroupWriter {
    pub(super) fn add(&mut self, number: u64, destination: &str, change: &Change<'_>) -> Result<(), Fault> {
        let known = self.destinations.iter().rposition(|known| known == destination);
        let place = known.unwrap_or_else(|| {
            self.destinations.push(destination.to_owned());
            self.destinations.len() - 1
        });
        let place = u16::try_from(place).map_err(|_| Fault::Damaged("a group has too many destinations"))?;
        self.body.extend(number.to_le_bytes());
        self.body.extend(place.to_le_bytes());
        let at = self.body.len();
        self.body.extend([0; 4]);
        self.body = postcard::to_extend(change, std::mem::take(&mut self.body))
            .map_err(|_| Fault::Damaged("a change cannot be written"))?;
        let len = (self.body.len() - at - 4) as u32;
        self.body[at..at + 4].copy_from_slice(&len.to_le_bytes());
        self.changes += 1;
        Ok(())
    }

    /// The number of changes.
    pub(super) fn len(&self) -> usize {
        self.changes
    }

    /// The size it will have, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// The head and the body of the value.
    pub(super) fn parts(&self) -> Result<(Vec<u8>, &[u8]), Fault> {
        Ok((value::to_compact(&self.destinations)?, &self.body))
    }
}

/// A change of a group, not decoded yet.
#[derive(Clone, Copy)]
pub(super) struct Grouped<'b> {
    pub(super) number: u64,
    pub(super) destination: &'b str,
    pub(super) change: &'b [u8],
    /// Where the change begins in the body.
    pub(super) at: usize,
}

/// Splits a group into its changes.
pub(super) fn grouped<'b>(head: &'b [u8], body: &'b [u8]) -> Result<Vec<Grouped<'b>>, Fault> {
    let destinations: Vec<&str> = value::from_compact(head)?;
    fn next<'b>(rest: &mut &'b [u8], destinations: &[&'b str]) -> Option<Grouped<'b>> {
        let (number, after) = rest.split_first_chunk()?;
        let (place, after) = after.split_first_chunk()?;
        let (len, after) = after.split_first_chunk()?;
        let (change, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        *rest = after;
        let destination = destinations.get(usize::from(u16::from_le_bytes(*place)))?;
        Some(Grouped { number: u64::from_le_bytes(*number), destination, change, at: 0 })
    }
    let mut rest = body;
    let mut all = vec![];
    while !rest.is_empty() {
        let next = next(&mut rest, &destinations).ok_or(Fault::Damaged("a group of changes breaks off"))?;
        all.push(Grouped { at: body.len() - rest.len() - next.change.len(), ..next });
    }
    Ok(all)
}

/// The changes of a block's deliveries as they will be written.
#[derive(Default)]
pub(super) struct FoldedWriter {
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
}

impl FoldedWriter {
    pub(super) fn add(&mut self, place: u16, change: &[u8]) {
        self.body.extend(change);
        self.head.extend(place.to_le_bytes());
        self.head.extend((self.body.len() as u32).to_le_bytes());
    }

    /// Adds changes that were folded before.
    pub(super) fn add_all(&mut self, head: &[u8], body: &[u8]) {
        for (place, range) in folded(head) {
            self.add(place, body.get(range).unwrap_or_default());
        }
    }
}

/// Reads the head of a block's folded changes: for each change the place of its delivery, and its range in the body.
pub(super) fn folded(head: &[u8]) -> impl Iterator<Item = (u16, Range<usize>)> {
    let mut from = 0;
    head.chunks_exact(6).map(move |item| {
        let place = u16::from_le_bytes([item[0], item[1]]);
        let to = u32::from_le_bytes([item[2], item[3], item[4], item[5]]) as usize;
        let range = from..to;
        from = to;
        (place, range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Vec<Change<'static>> {
        let at = Timestamp::from_millis(4);
        let attempt = |verdict| Change::Attempt { at, took_ms: 3, result: "200 OK", response: "ok", verdict };
        vec![
            attempt(Follows::Retry(at)),
            attempt(Follows::Delivered),
            attempt(Follows::Dead("gone")),
            Change::Hold { batch: "quiet" },
            Change::Release { at },
            Change::Merge { at, into: "evt_1" },
            Change::Retry { at, attempts: 7, was: Stage::Dead },
            Change::Forget { was: Stage::Held },
        ]
    }

    #[test]
    fn groups_come_back_and_halves_of_them_do_not() {
        let mut writer = GroupWriter::default();
        for (number, change) in (0..).zip(changes()) {
            writer.add(number, if number % 2 == 0 { "crm" } else { "mail" }, &change).unwrap();
        }
        let (head, body) = writer.parts().unwrap();
        let read = grouped(&head, body).unwrap();
        assert_eq!(read.len(), writer.len());
        for ((number, change), read) in (0..).zip(changes()).zip(read) {
            assert_eq!(
                (read.number, read.destination),
                (number, if number % 2 == 0 { "crm" } else { "mail" })
            );
            assert_eq!(Change::read(read.change).unwrap(), change);
        }
        assert!(grouped(&head, &body[..body.len() - 1]).is_err());
    }

    #[test]
    fn folded_changes_are_found_by_their_place() {
        let mut writer = FoldedWriter::default();
        writer.add(7, b"one");
        writer.add(4095, b"");
        writer.add(7, b"three");
        let read: Vec<_> = folded(&writer.head).map(|(place, range)| (place, &writer.body[range])).collect();
        assert_eq!(read, [(7, &b"one"[..]), (4095, b""), (7, b"three")]);
    }
}
