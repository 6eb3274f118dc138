//! The feed of a destination, and the events of its deliveries.

use ::sled::IVec;

use super::Engine;
use crate::{
    event::EventId,
    store::{
        Claim, DeliveryStateKind, Duty, Entry as Change, Feed, Hold, Pending, Position, Standing, StoreError,
        Token,
        sled::{
            entry::{Entry, EventsHead},
            fault::Fault,
            keys::{self, Key},
            value,
        },
    },
    time::Deadline,
};

impl Engine {
    /// A page of a destination's feed. A position holds the number up to which deliveries were handed out, and the
    /// latest act of a person that was taken into account.
    pub(in crate::store::sled) fn pending(
        &mut self,
        claim: &Claim,
        after: Position,
        limit: usize,
    ) -> Result<Feed, Fault> {
        self.claims.check(claim)?;
        let Duty::Destination(destination) = &claim.duty else {
            return Err(Fault::Refused(StoreError::Mistake("only a destination has a feed")));
        };
        let pause = self.pauses.get(destination).cloned();
        let of = self.outbox.of(destination);
        let Position(mut told, mut acts) = after;
        let mut numbers = vec![];
        if after == Position::START {
            acts = of.acts.begin();
        }
        for (act, number) in of.acts.since(acts).take(limit) {
            // A delivery that was not handed out yet is read in its turn, as it is then.
            if number <= told {
                numbers.push(number);
            }
            acts = act;
        }
        let missing = limit - numbers.len();
        let new = of.unfinished(told, missing);
        told = match new.last() {
            Some(last) if new.len() == missing => *last,
            _ if missing == 0 => told,
            _ => self.progress.next - 1,
        };
        numbers.extend(new);
        let mut entry = None;
        let mut entries = Vec::with_capacity(numbers.len());
        for number in numbers {
            entries.push(match self.standing(destination, number) {
                Some(standing) => Change::Unfinished(self.as_pending(number, standing, &mut entry)?),
                None => Change::Gone(Token(number)),
            });
        }
        Ok(Feed { entries, next: Position(told, acts), pause })
    }

    fn as_pending(
        &mut self,
        number: u64,
        standing: DeliveryStateKind,
        entry: &mut Option<Entry>,
    ) -> Result<Pending, Fault> {
        if entry.as_ref().is_none_or(|entry| !entry.contains(number)) {
            *entry = Entry::of(&self.staged.view, number)?;
        }
        let head = entry.as_ref().ok_or(Fault::Damaged("the head of a delivery is missing"))?.head(number)?;
        let changed = self.outbox.changed(number);
        let standing = if standing == DeliveryStateKind::Held {
            let hold = head.hold()?;
            let happened = hold.as_ref().map_or(head.created, |hold| hold.happened);
            let batch = changed.and_then(|changed| changed.batch.as_deref().cloned());
            let batch = batch.or(hold.map(|hold| hold.batch));
            Standing::Held(Hold {
                batch: batch.ok_or(Fault::Damaged("a held delivery has no batch"))?,
                happened,
            })
        } else {
            Standing::Due(changed.map_or(Deadline::at_once(head.created), |changed| changed.due))
        };
        Ok(Pending {
            token: Token(number),
            event: EventId::from(head.event),
            subject: head.subject(&self.names)?,
            rule: self.names.get(head.rule),
            sequence: head.sequence,
            created: head.created,
            attempts: changed.map_or(0, |changed| changed.attempts),
            restart: changed.and_then(|changed| changed.restart.as_deref().copied()),
            standing,
        })
    }

    /// The events of deliveries, as JSON.
    pub(in crate::store::sled) fn bodies(&self, tokens: &[Token]) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        let view = &self.staged.view;
        let mut found: Option<(u64, u64, Key, IVec)> = None;
        let mut bodies = Vec::with_capacity(tokens.len());
        for Token(number) in tokens {
            if self.is_gone(*number)? {
                bodies.push(None);
                continue;
            }
            let missing = || Fault::Damaged("the event of a delivery is missing");
            if found.as_ref().is_none_or(|(first, end, ..)| !(*first..*end).contains(number)) {
                found = None;
                if let Some((key, sealed)) = view.last_up_to(&keys::all_events(), &keys::events(*number))? {
                    let first = keys::last_number(&key).ok_or_else(missing)?;
                    let value = value::unseal(&key, &sealed)?;
                    let end = first + EventsHead::read(value.head)?.len() as u64;
                    found = Some((first, end, Key::from(key.clone()), sealed)).filter(|_| *number < end);
                }
            }
            let (first, _, key, sealed) = found.as_ref().ok_or_else(missing)?;
            let value = value::unsealed(sealed)?;
            let place = usize::try_from(number - first).map_err(|_| missing())?;
            let range = EventsHead::read(value.head)?.range(place).ok_or_else(missing)?;
            bodies.push(Some(view.slice(key, value, range)?.into_owned()));
        }
        Ok(bodies)
    }
}
