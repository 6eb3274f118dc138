//! The batches of a destination, and the deliveries that wait in them.

use std::collections::{BTreeMap, BTreeSet};

use crate::{batch::BatchKey, store::Token};

/// The batches in which deliveries wait, each with a small number that is used again once the batch is empty.
#[derive(Default)]
pub(super) struct Held {
    batches: Vec<Option<(BatchKey, BTreeSet<Token>)>>,
    numbers: BTreeMap<BatchKey, u32>,
    free: Vec<u32>,
    /// How many deliveries wait, in all batches.
    count: usize,
}

impl Held {
    /// Adds a delivery to a batch; returns the batch's number.
    pub(super) fn add(&mut self, key: BatchKey, token: Token) -> u32 {
        let number = match self.numbers.get(&key) {
            Some(number) => *number,
            None => {
                let number = self.free.pop().unwrap_or_else(|| {
                    self.batches.push(None);
                    // The number fits, because there are no more batches than deliveries.
                    (self.batches.len() - 1) as u32
                });
                self.batches[number as usize] = Some((key.clone(), BTreeSet::new()));
                self.numbers.insert(key, number);
                number
            }
        };
        if let Some((_, tokens)) = &mut self.batches[number as usize] {
            self.count += usize::from(tokens.insert(token));
        }
        number
    }

    /// Takes a delivery out of a batch. An empty batch is forgotten.
    pub(super) fn remove(&mut self, number: u32, token: Token) {
        let batch = &mut self.batches[number as usize];
        if let Some((key, tokens)) = batch {
            self.count -= usize::from(tokens.remove(&token));
            if tokens.is_empty() {
                self.numbers.remove(key);
                self.free.push(number);
                *batch = None;
            }
        }
    }

    /// How many deliveries wait, in all batches.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The batch with this number.
    pub(super) fn key(&self, number: u32) -> Option<&BatchKey> {
        self.batches.get(number as usize)?.as_ref().map(|(key, _)| key)
    }

    /// Whether anything waits in a batch.
    pub(super) fn has(&self, key: &BatchKey) -> bool {
        self.numbers.contains_key(key)
    }

    /// The deliveries that wait in a batch, in order.
    pub(super) fn tokens(&self, key: &BatchKey) -> Vec<Token> {
        let number = self.numbers.get(key);
        let batch = number.and_then(|number| self.batches.get(*number as usize)?.as_ref());
        batch.map(|(_, tokens)| tokens.iter().copied().collect()).unwrap_or_default()
    }
}
