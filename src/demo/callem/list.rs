//! The calls of a simulated project, and the order in which they are listed.

use std::{collections::HashMap, fmt, sync::Arc};

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The order of the list. The vendor's documentation does not say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The call added last comes first.
    #[default]
    NewestFirst,
    /// The call added first comes first.
    OldestFirst,
    /// The call added or changed last comes first.
    ByUpdate,
    /// A random order.
    Shuffled {
        /// Whether every request gets another order.
        every_request: bool,
    },
}

/// Calls, kept as the bytes that are served. The cost of a page depends on its length, not on the number of calls.
#[derive(Default)]
pub(super) struct CallList {
    calls: HashMap<Arc<str>, Entry>,
    order: Order,
    /// Every call with its rank, lowest first if `sorted`. Pages are taken from the end.
    ranked: Vec<(u64, Arc<str>)>,
    sorted: bool,
    /// Counts additions and changes.
    clock: u64,
    /// Makes one shuffle differ from the next.
    salt: u64,
}

struct Entry {
    body: Box<str>,
    added: u64,
    changed: u64,
    /// The number of the answer that first gave out the body.
    given_out: Option<u64>,
}

impl CallList {
    #[track_caller]
    pub fn put(&mut self, call: &Value) {
        let Some(id) = call.get("id").and_then(Value::as_str) else {
            panic!("a simulated call needs an `id` of type string");
        };
        self.put_text(id, call.to_string());
    }

    /// The same for a call whose record is this text, which need not be JSON.
    pub fn put_text(&mut self, id: &str, body: String) {
        let body = body.into_boxed_str();
        self.clock += 1;
        let now = self.clock;
        let id: Arc<str> = match self.calls.get_mut(id) {
            Some(entry) => {
                (entry.body, entry.changed, entry.given_out) = (body, now, None);
                if self.order != Order::ByUpdate {
                    return;
                }
                self.unrank(id).unwrap_or_else(|| id.into())
            }
            None => {
                let id: Arc<str> = id.into();
                self.calls.insert(Arc::clone(&id), Entry { body, added: now, changed: now, given_out: None });
                id
            }
        };
        let rank = self.rank(&id);
        // Most calls are added at the end, which keeps a sorted list sorted.
        self.sorted &= self.ranked.last().is_none_or(|(last, _)| *last <= rank);
        self.ranked.push((rank, id));
    }

    pub fn get(&self, id: &str) -> Option<&str> {
        self.calls.get(id).map(|entry| &*entry.body)
    }

    /// The number of the answer that first gave out a call as it is now.
    pub fn given_out(&self, id: &str) -> Option<u64> {
        self.calls.get(id)?.given_out
    }

    /// Notes that the answer of this number gives out a call.
    pub fn give_out(&mut self, id: &str, answer: u64) {
        if let Some(entry) = self.calls.get_mut(id) {
            entry.given_out.get_or_insert(answer);
        }
    }

    pub fn remove(&mut self, id: &str) -> bool {
        self.unrank(id);
        self.calls.remove(id).is_some()
    }

    pub fn len(&self) -> usize {
        self.calls.len()
    }

    pub fn set_order(&mut self, order: Order) {
        self.order = order;
        self.rank_all();
    }

    /// The ids of at most `limit` calls after the first `offset`.
    pub fn page(&mut self, offset: usize, limit: usize) -> Vec<Arc<str>> {
        if self.order == (Order::Shuffled { every_request: true }) {
            self.salt += 1;
            self.rank_all();
        }
        if !self.sorted {
            self.ranked.sort();
            self.sorted = true;
        }
        self.ranked.iter().rev().skip(offset).take(limit).map(|(_, id)| Arc::clone(id)).collect()
    }

    fn rank_all(&mut self) {
        let mut ranked = std::mem::take(&mut self.ranked);
        for (rank, id) in &mut ranked {
            *rank = self.rank(id);
        }
        self.ranked = ranked;
        self.sorted = false;
    }

    fn rank(&self, id: &str) -> u64 {
        let (added, changed) = self.calls.get(id).map_or((0, 0), |entry| (entry.added, entry.changed));
        match self.order {
            Order::NewestFirst => added,
            Order::OldestFirst => u64::MAX - added,
            Order::ByUpdate => changed,
            Order::Shuffled { .. } => xxh3_64_with_seed(id.as_bytes(), self.salt),
        }
    }

    /// Takes a call off the list. The search begins with the latest, which it mostly is.
    fn unrank(&mut self, id: &str) -> Option<Arc<str>> {
        let at = self.ranked.iter().rposition(|(_, other)| &**other == id)?;
        Some(self.ranked.remove(at).1)
    }
}

impl fmt::Debug for CallList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallList")
            .field("calls", &self.len())
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}
