//! Changes of deliveries, by their destination's owner and by people.

use super::Engine;
use crate::{
    name::Name,
    store::{
        Action, Claim, DeliveryStateKind, Duty, Merge, NewDelivery, Pause, PauseChange, Settlement,
        StoreError, Token,
        sled::{
            change::{Change, Stage},
            entry::Entry,
            fault::Fault,
            keys::{self, block_of},
            value,
        },
    },
    time::Timestamp,
};

impl Engine {
    pub(in crate::store::sled) fn settle(
        &mut self,
        claim: &Claim,
        settlement: &mut Settlement,
    ) -> Result<(), Fault> {
        self.claims.check(claim)?;
        self.forgotten.keep_out_of_settlement(settlement);
        let Duty::Destination(destination) = &claim.duty else {
            return Err(Fault::Refused(StoreError::Mistake("only deliveries of a destination are settled")));
        };
        settlement.check().map_err(Fault::Refused)?;
        let Settlement { at, outcomes, holds, releases, forgets, merge, ledgers, memos, pause, lazy } =
            settlement;
        self.staged.durable |= !*lazy;
        for outcome in outcomes {
            let number = outcome.token.0;
            let attempts = self.outbox.changed(number).map_or(0, |changed| changed.attempts);
            if outcome.number == attempts.saturating_add(1) {
                self.change(number, destination, &Change::of_attempt(&outcome.attempt, &outcome.verdict))?;
            }
        }
        for (Token(number), batch) in holds {
            self.change(*number, destination, &Change::Hold { batch: &batch.to_string() })?;
        }
        for Token(number) in releases {
            self.change(*number, destination, &Change::Release { at: *at })?;
        }
        for Token(number) in forgets {
            if self.standing(destination, *number) == Some(DeliveryStateKind::Held) {
                self.change(*number, destination, &Change::Forget { was: Stage::Held })?;
                self.tidy_entry(*number)?;
            }
        }
        if let Some(merge) = merge {
            self.merge(destination, *at, merge)?;
        }
        for (batch, ledger) in ledgers {
            let key = keys::ledger(destination, batch);
            match ledger {
                Some(ledger) => self.staged.view.put(&key, ledger)?,
                None => self.staged.view.remove(&key)?,
            }
        }
        for (lane, memo) in memos {
            self.remember_memo(destination, lane, memo.as_ref(), *at)?;
        }
        match pause {
            Some(PauseChange::Begin(pause)) => drop(self.pause(destination, pause.clone())?),
            Some(PauseChange::End) => drop(self.resume(destination)?),
            None => {}
        }
        Ok(())
    }

    fn merge(&mut self, destination: &Name, at: Timestamp, merge: &Merge) -> Result<(), Fault> {
        let Merge { tokens, event, sequence } = merge;
        let new =
            NewDelivery { destination: destination.clone(), sequence: *sequence, created: at, hold: None };
        if self.add(event, &[new])? > 0 {
            for Token(number) in tokens {
                self.change(*number, destination, &Change::Merge { at, into: event.id.as_str() })?;
            }
        }
        Ok(())
    }

    pub(super) fn standing(&self, destination: &Name, number: u64) -> Option<DeliveryStateKind> {
        self.outbox.destinations.get(destination)?.standing(number)
    }

    fn pause(&mut self, destination: &Name, pause: Pause) -> Result<bool, Fault> {
        let begins = self.pauses.get(destination).is_none_or(|now| pause.outlasts(now));
        if begins {
            self.staged.view.put(&keys::pause(destination), &pause)?;
            self.pauses.insert(destination.clone(), pause);
        }
        Ok(begins)
    }

    fn resume(&mut self, destination: &Name) -> Result<bool, Fault> {
        self.staged.view.remove(&keys::pause(destination))?;
        Ok(self.pauses.remove(destination).is_some())
    }

    /// Carries out an action of a person. Each token must be named only once.
    pub(in crate::store::sled) fn act(&mut self, action: Action) -> Result<usize, Fault> {
        self.staged.durable = true;
        let mut count = 0;
        match action {
            Action::Retry { tokens, at } => {
                let mut entry = None;
                for Token(number) in tokens {
                    let Some((destination, was)) = self.whose(number, &mut entry)? else { continue };
                    let attempts = match was {
                        DeliveryStateKind::Delivered | DeliveryStateKind::Merged => continue,
                        DeliveryStateKind::Dead => self.record(number)?.map_or(0, |record| record.attempts),
                        _ => self.outbox.changed(number).map_or(0, |changed| changed.attempts),
                    };
                    let change = Change::Retry { at, attempts, was: was.into() };
                    count += usize::from(self.act_on(number, &destination, &change)?);
                }
            }
            Action::Resend { tokens, to, at } => {
                let mut entry = None;
                for token in tokens {
                    let Some((own, state)) = self.whose(token.0, &mut entry)? else { continue };
                    let destination = to.as_ref().unwrap_or(&own);
                    if *destination == own && state != DeliveryStateKind::Delivered {
                        continue;
                    }
                    let Some(json) = self.bodies(&[token])?.pop().flatten() else { continue };
                    count += usize::from(self.add_again(&value::from_json(&json)?, destination, at)?);
                }
            }
            Action::Drop { tokens } => {
                let mut entry = None;
                for Token(number) in tokens {
                    let Some((destination, was)) = self.whose(number, &mut entry)? else { continue };
                    let is_done = self.act_on(number, &destination, &Change::Forget { was: was.into() })?;
                    count += usize::from(is_done);
                    if let Some(entry) = entry.as_ref().filter(|_| is_done) {
                        self.remove_if_gone(entry)?;
                    }
                }
            }
            Action::Forget { calls, tokens, events } => count = self.forget(&calls, &tokens, &events)?,
            Action::Pause { destination, pause } => {
                count = self.pause(&destination, pause)?.into();
                self.arrived.insert(destination);
            }
            Action::Resume { destination } => {
                count = self.resume(&destination)?.into();
                self.arrived.insert(destination);
            }
        }
        Ok(count)
    }

    /// The destination and the state of a delivery; `None` when it does not exist.
    pub(super) fn whose(
        &mut self,
        number: u64,
        entry: &mut Option<Entry>,
    ) -> Result<Option<(Name, DeliveryStateKind)>, Fault> {
        if !self.have_block(block_of(number))? {
            return Ok(None);
        }
        if entry.as_ref().is_none_or(|entry| !entry.contains(number)) {
            *entry = Entry::of(&self.staged.view, number)?;
        }
        let Some(entry) = entry else { return Ok(None) };
        let destination = self.names.get(entry.head(number)?.destination);
        let sums = self.outbox.block(block_of(number));
        let stage = sums.and_then(|sums| self.outbox.stage(sums, destination.as_str(), number));
        Ok(stage.map(|stage| (destination, stage)))
    }

    pub(super) fn act_on(
        &mut self,
        number: u64,
        destination: &Name,
        change: &Change<'_>,
    ) -> Result<bool, Fault> {
        let done = self.change(number, destination, change)?;
        if done {
            self.outbox.of(destination).acts.note(number);
            self.arrived.insert(destination.clone());
        }
        Ok(done)
    }
}
