//! Queries for deliveries.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
};

use super::Engine;
use crate::{
    name::Name,
    store::{
        DeliveryFilter, DeliveryRecord, DeliveryStateKind, DestinationStanding, Tally,
        query::says,
        sled::{
            block::{Sums, Trait},
            change::{self, Change, Follows},
            entry::{Entry, Head},
            fault::Fault,
            keys::{self, Key, block_of, number_of, numbers_of, place_of},
            value,
        },
    },
};

/// The most heads that are read in one slice, and the most blocks that are passed over.
const HEADS: usize = 2000;
const BLOCKS: usize = 200;

/// The changes of so many deliveries cost as much as one head.
const CHANGES_PER_HEAD: usize = 4;

/// A part of a result: deliveries, newest first, and the number below which the search goes on.
pub(in crate::store::sled) struct Found {
    pub(in crate::store::sled) items: Vec<DeliveryRecord>,
    pub(in crate::store::sled) below: Option<u64>,
}

/// Changes of a block's deliveries, not decoded yet.
#[derive(Default)]
pub(super) struct Changes {
    bodies: Vec<Vec<u8>>,
    /// For each place, its changes in their order: the index of the body, and the range in it.
    of: HashMap<u16, Vec<(usize, Range<usize>)>>,
}

impl Changes {
    fn add(&mut self, place: u16, range: Range<usize>) {
        // The caller pushes the body itself afterwards.
        self.of.entry(place).or_default().push((self.bodies.len(), range));
    }

    /// Changes of one delivery, in their order.
    pub(super) fn of(&self, place: u16) -> impl Iterator<Item = &[u8]> {
        let all = self.of.get(&place).into_iter().flatten();
        all.filter_map(|(body, range)| self.bodies.get(*body)?.get(range.clone()))
    }

    /// The places of the deliveries that failed last with this text.
    fn failed_with(&self, text: &str) -> Result<BTreeSet<u16>, Fault> {
        let text = text.to_lowercase();
        // Most failures are alike.
        let mut known: HashMap<&str, bool> = HashMap::new();
        let mut failed = BTreeSet::new();
        for place in self.of.keys() {
            let (mut last, mut reason) = (None, None);
            for change in self.of(*place) {
                match Change::read(change)? {
                    Change::Attempt { result, verdict, .. } => {
                        last = Some(result);
                        reason = if let Follows::Dead(reason) = verdict { Some(reason) } else { None };
                    }
                    Change::Retry { .. } => reason = None,
                    _ => {}
                }
            }
            let mut says = |said| *known.entry(said).or_insert_with(|| says(said, &text));
            if reason.into_iter().chain(last).any(&mut says) {
                failed.insert(*place);
            }
        }
        Ok(failed)
    }

    /// A delivery's record as these changes left it; `None` when they forgot it.
    pub(super) fn record(&self, mut record: DeliveryRecord) -> Result<Option<DeliveryRecord>, Fault> {
        for change in self.of(place_of(record.token.0)) {
            if !Change::read(change)?.apply(&mut record)? {
                return Ok(None);
            }
        }
        Ok(Some(record))
    }
}

impl Engine {
    pub(in crate::store::sled) fn destinations(&self) -> BTreeMap<Name, DestinationStanding> {
        let with_deliveries = self.outbox.destinations.iter().filter(|(_, of)| of.tally != Tally::default());
        let mut all: BTreeMap<Name, DestinationStanding> = with_deliveries
            .map(|(name, of)| (name.clone(), DestinationStanding { tally: of.tally, pause: None }))
            .collect();
        for (destination, pause) in &self.pauses {
            all.entry(destination.clone()).or_default().pause = Some(pause.clone());
        }
        all
    }

    /// Searches deliveries below a number, newest first, until enough are found or other jobs should have their turn.
    pub(in crate::store::sled) fn query(
        &mut self,
        filter: &DeliveryFilter,
        below: u64,
        limit: usize,
    ) -> Result<Found, Fault> {
        if let Some(event) = &filter.event {
            let mut numbers: Vec<_> =
                self.find(event)?.deliveries.into_iter().map(|(_, number)| number).collect();
            numbers.sort_unstable_by(|a, b| b.cmp(a));
            let mut items = vec![];
            for number in numbers.into_iter().filter(|number| *number < below) {
                items.extend(self.record(number)?.filter(|record| filter.matches(record)));
                if items.len() == limit {
                    break;
                }
            }
            return Ok(Found { items, below: None });
        }
        let mut found = Found { items: vec![], below: Some(below.min(self.progress.next)) };
        let (mut heads, mut blocks) = (0, 0);
        while let Some(below) =
            found.below.filter(|_| found.items.len() < limit && heads < HEADS && blocks < BLOCKS)
        {
            let Some(block) =
                below.checked_sub(1).and_then(|last| self.block_at_or_before(block_of(last)).transpose())
            else {
                return Ok(Found { below: None, ..found });
            };
            let block = block?;
            let from = numbers_of(block).start;
            heads += self.query_block(filter, block, below, limit, &mut found.items)?;
            blocks += 1;
            found.below = Some(from);
        }
        if found.items.len() >= limit {
            found.below = found.items.last().map(|record| record.token.0);
        }
        Ok(found)
    }

    /// The newest block that is not newer than this one.
    fn block_at_or_before(&self, block: u64) -> Result<Option<u64>, Fault> {
        let at_hand = self.outbox.blocks().rev().find(|at_hand| *at_hand <= block);
        let stored = self.disk.scan_back(&keys::all_blocks(), &keys::block(block)).next().transpose()?;
        Ok(at_hand.max(stored.and_then(|(key, _)| keys::last_number(&key))))
    }

    /// Searches a block; returns how many heads were read.
    fn query_block(
        &mut self,
        filter: &DeliveryFilter,
        block: u64,
        below: u64,
        limit: usize,
        items: &mut Vec<DeliveryRecord>,
    ) -> Result<usize, Fault> {
        let Some(sums) = self.sums(block)? else { return Ok(0) };
        if !may_match(filter, &sums) {
            return Ok(0);
        }
        let view = &self.staged.view;
        let (mut heads, mut wanted) = (0, vec![]);
        let failed = match &filter.error {
            Some(text) => {
                let may_be = |place| {
                    let number = number_of(block, place);
                    number < below && self.may_be(filter, &sums, number)
                };
                let changes = self.changes(block, may_be)?;
                heads += changes.of.len() / CHANGES_PER_HEAD;
                Some((changes.failed_with(text)?, changes))
            }
            None => None,
        };
        let mut entry: Option<Entry> = None;
        let range = numbers_of(block);
        let mut number = below.min(range.end).min(self.progress.next);
        while number > range.start && items.len() + wanted.len() < limit {
            number -= 1;
            let place = place_of(number);
            if sums.gone.contains(place) || !self.may_be(filter, &sums, number) {
                continue;
            }
            if failed.as_ref().is_some_and(|(failed, _)| !failed.contains(&place)) {
                continue;
            }
            if entry.as_ref().is_none_or(|entry| !entry.contains(number)) {
                entry = Entry::of(view, number)?;
            }
            let Some(entry) = &entry else {
                // Number 0 was never given, and forgotten deliveries may have been removed.
                continue;
            };
            let head = entry.head(number)?;
            heads += 1;
            let stage = || self.outbox.stage(&sums, head.destination, number);
            if matches(filter, &head) && filter.state.is_none_or(|state| stage() == Some(state)) {
                wanted.push(head.record(number, &self.names)?);
            }
        }
        let places: BTreeSet<u16> = wanted.iter().map(|record| place_of(record.token.0)).collect();
        let changes = match failed {
            Some((_, changes)) => changes,
            None => self.changes(block, |place| places.contains(&place))?,
        };
        for record in wanted {
            items.extend(changes.record(record)?);
        }
        Ok(heads)
    }

    /// Whether a delivery may be in the state asked for, as far as is known without its head.
    fn may_be(&self, filter: &DeliveryFilter, sums: &Sums, number: u64) -> bool {
        let place = place_of(number);
        match filter.state {
            Some(DeliveryStateKind::Dead) => sums.dead.contains(place),
            Some(DeliveryStateKind::Merged) => sums.merged.contains(place),
            Some(DeliveryStateKind::Delivered) => !sums.dead.contains(place) && !sums.merged.contains(place),
            Some(state) => match &filter.destination {
                Some(destination) => self.standing(destination, number) == Some(state),
                None => self.outbox.destinations.values().any(|of| of.standing(number) == Some(state)),
            },
            None => true,
        }
    }

    /// All that is known of a delivery; `None` when it does not exist.
    pub(super) fn record(&mut self, number: u64) -> Result<Option<DeliveryRecord>, Fault> {
        if self.is_gone(number)? {
            return Ok(None);
        }
        let Some(entry) = Entry::of(&self.staged.view, number)? else { return Ok(None) };
        let record = entry.head(number)?.record(number, &self.names)?;
        self.changes(block_of(number), |place| place == place_of(number))?.record(record)
    }

    /// The changes of some of a block's deliveries.
    pub(super) fn changes(&self, block: u64, is_wanted: impl Fn(u16) -> bool) -> Result<Changes, Fault> {
        let view = &self.staged.view;
        let mut all = Changes::default();
        for item in self.disk.scan(&keys::all_folded_of(block), None) {
            let (key, sealed) = item?;
            let value = value::unseal(&key, &sealed)?;
            let mut found = false;
            for (place, range) in change::folded(value.head).filter(|(place, _)| is_wanted(*place)) {
                all.add(place, range);
                found = true;
            }
            if found {
                all.bodies.push(view.body(&Key::from(key.clone()), value)?.into_owned());
            }
        }
        let unfolded = self.unfolded.range((numbers_of(block).start, 0)..(numbers_of(block).end, 0));
        let wanted = unfolded.filter(|(number, _)| is_wanted(place_of(*number)));
        let groups: BTreeSet<u64> = wanted.map(|(_, group)| *group).collect();
        let mut add = |head: &[u8], body: Vec<u8>| -> Result<(), Fault> {
            for grouped in change::grouped(head, &body)? {
                let place = place_of(grouped.number);
                if number_of(block, place) == grouped.number && is_wanted(place) {
                    all.add(place, grouped.at..grouped.at + grouped.change.len());
                }
            }
            all.bodies.push(body);
            Ok(())
        };
        for group in groups {
            let (head, body) =
                view.parts(&keys::group(group))?.ok_or(Fault::Damaged("a group of changes is missing"))?;
            add(&head, body)?;
        }
        if self.staged.group.len() > 0 {
            let (head, body) = self.staged.group.parts()?;
            add(&head, body.to_vec())?;
        }
        Ok(all)
    }
}

/// Whether a delivery of a block may match, as far as is known without its heads.
fn may_match(filter: &DeliveryFilter, sums: &Sums) -> bool {
    let tallies =
        sums.tallies.iter().filter(|(name, _)| filter.destination.as_ref().is_none_or(|of| of == *name));
    let of_state = |tally: &Tally| match filter.state {
        None => true,
        Some(DeliveryStateKind::Pending) => tally.pending > 0,
        Some(DeliveryStateKind::Held) => tally.held > 0,
        Some(DeliveryStateKind::Delivered) => tally.delivered > 0,
        Some(DeliveryStateKind::Merged) => tally.merged > 0,
        Some(DeliveryStateKind::Dead) => tally.dead > 0,
    };
    let traits = [
        filter.rule.as_ref().map(|rule| Trait::Rule(rule.as_str())),
        filter.source.as_ref().map(|source| Trait::Source(source.as_str())),
        filter.call.as_ref().map(|call| Trait::Call(call.as_str())),
    ];
    tallies.map(|(_, tally)| tally).any(of_state)
        && traits.into_iter().flatten().all(|of| sums.traits.may_have(of))
}

/// Whether a head matches, but for the state.
fn matches(filter: &DeliveryFilter, head: &Head<'_>) -> bool {
    // Failures are known from the changes.
    let DeliveryFilter { event: _, destination, rule, source, call, state: _, error: _ } = filter;
    destination.as_ref().is_none_or(|destination| destination.as_str() == head.destination)
        && rule.as_ref().is_none_or(|rule| head.rules().any(|told| told == rule.as_str()))
        && source.as_ref().is_none_or(|source| Some(source.as_str()) == head.source())
        && call.as_ref().is_none_or(|call| Some(call.as_str()) == head.call())
}
