//! Fields that change in most answers although the call does not, like signed addresses of recordings. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::planner::Slot;
use crate::{call::Call, change, kind::Kinds, snapshot::Snapshot, time::Timestamp};

/// How many calls are watched at a time.
const WATCHED: usize = 32;
/// How often a call must have been looked at before it counts.
const LOOKS: u32 = 6;
/// When a call has been looked at this often, its counts are halved, so that older looks weigh less.
const MEMORY: u32 = 48;
/// A call gives its place to another after this many pages that did not show it.
const PAGES: u64 = 30;
/// The most different fields that are counted for a call.
const FIELDS: usize = 64;

/// Finds fields that change at most looks, in most of the calls watched, though these calls are over and should rest.
#[derive(Debug, Default)]
pub struct Flapping {
    watched: HashMap<Slot, Looks>,
    named: BTreeSet<String>,
    page: u64,
}

#[derive(Debug, Default)]
struct Looks {
    count: u32,
    /// How many of them showed each field changed.
    changes: BTreeMap<String, u32>,
    /// The page that showed it last.
    page: u64,
}

impl Flapping {
    /// Counts a look at a call that was over already. `differing` are its fields that changed since the look before.
    pub fn looked(&mut self, slot: Slot, differing: &[String]) {
        if self.watched.len() >= WATCHED && !self.watched.contains_key(&slot) {
            return;
        }
        let looks = self.watched.entry(slot).or_default();
        looks.page = self.page;
        looks.count += 1;
        for field in differing {
            if let Some(count) = looks.changes.get_mut(field) {
                *count += 1;
            } else if looks.changes.len() < FIELDS {
                looks.changes.insert(field.clone(), 1);
            }
        }
        if looks.count >= MEMORY {
            looks.count /= 2;
            looks.changes.values_mut().for_each(|count| *count /= 2);
        }
    }

    /// A page has been looked at. Returns the fields that have just been found to flap; each is named once.
    pub fn page_done(&mut self) -> Vec<String> {
        self.page += 1;
        let page = self.page;
        self.watched.retain(|_, looks| page - looks.page <= PAGES);
        let known: Vec<_> = self.watched.values().filter(|looks| looks.count >= LOOKS).collect();
        let mut calls: BTreeMap<&String, usize> = BTreeMap::new();
        for looks in &known {
            for (field, _) in looks.changes.iter().filter(|(_, changes)| **changes * 2 > looks.count) {
                *calls.entry(field).or_default() += 1;
            }
        }
        let most = |calls: usize| calls * 2 > known.len();
        let found: Vec<String> = calls
            .into_iter()
            .filter(|(field, calls)| most(*calls) && !self.named.contains(*field))
            .map(|(field, _)| field.clone())
            .collect();
        self.named.extend(found.iter().cloned());
        found
    }

    /// Whether this field was found to flap, so that its value says nothing.
    pub fn includes(&self, field: &str) -> bool {
        self.named.contains(field)
    }
}

/// The fields that differ between each of these answers and the next in most of the calls that are over.
pub fn in_answers(answers: &[Vec<Call>]) -> Vec<String> {
    let mut always: Option<BTreeSet<String>> = None;
    for pair in answers.windows(2) {
        let (mut calls, mut counts) = (0, BTreeMap::<String, usize>::new());
        for now in pair[1].iter().filter(|call| call.is_over()) {
            let Some(before) = pair[0].iter().find(|before| before.id() == now.id() && before.is_over())
            else {
                continue;
            };
            calls += 1;
            let before = Snapshot::first(before, Kinds::NONE, Timestamp::default());
            for path in change::diff(Some(&before), now).iter().flat_map(|change| change.fields.paths()) {
                *counts.entry(path).or_default() += 1;
            }
        }
        let most: BTreeSet<String> =
            counts.into_iter().filter(|(_, count)| count * 2 > calls).map(|(path, _)| path).collect();
        always = Some(match always {
            Some(always) => &always & &most,
            None => most,
        });
    }
    always.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }

    #[test]
    fn a_field_that_differs_in_most_calls_at_most_looks_is_named_once() {
        let mut flapping = Flapping::default();
        let mut named = vec![];
        for _ in 0..200 {
            for slot in 0..3 {
                flapping.looked(slot, &field("recordingUrl"));
            }
            named.extend(flapping.page_done());
        }
        assert_eq!(named, ["recordingUrl"]);
        assert!(flapping.includes("recordingUrl") && !flapping.includes("updatedAt"));
    }

    #[test]
    fn a_change_of_every_call_or_many_changes_of_one_are_news() {
        let mut flapping = Flapping::default();
        for page in 0..200 {
            for slot in 0..20 {
                // A release adds a field everywhere; one call is edited again and again.
                let differs = page == 50 || slot == 7;
                flapping.looked(slot, &field("summary")[..usize::from(differs)]);
            }
            assert_eq!(flapping.page_done(), [""; 0]);
        }
    }

    #[test]
    fn what_is_counted_is_bounded_and_calls_that_are_gone_make_room() {
        let mut flapping = Flapping::default();
        for page in 0..1000u32 {
            let fields: Vec<String> = (0..1000).map(|n| format!("{page}-{n}")).collect();
            flapping.looked(page, &fields);
            flapping.page_done();
        }
        assert!(flapping.watched.len() <= WATCHED);
        assert!(flapping.watched.values().all(|looks| looks.changes.len() <= FIELDS));
        assert!(flapping.watched.keys().any(|slot| *slot > 900));
    }
}
