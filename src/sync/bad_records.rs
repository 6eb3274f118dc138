//! Records of answers that are not calls: which ones are known, and which have to be reported. Pure.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use crate::{call::RecordHash, time::Timestamp};

/// The bad records of a page are told at most this often.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The most bad records that are kept in mind.
const KNOWN: usize = 10_000;

/// A record that is not a call.
#[derive(Clone, Debug)]
pub struct BadRecord {
    /// Identifies the record: the hash of its bytes, or of its flaw where the bytes could not be read.
    pub hash: RecordHash,
    /// Its place in the list, from 0.
    pub place: u64,
    /// Its fault in a word.
    pub reason: &'static str,
    /// Its fault in words. Never quotes the record.
    pub why: String,
}

/// The bad records of a source: each is told once, until a page shows that it is gone. Lost with the process.
#[derive(Debug, Default)]
pub struct BadRecords {
    known: HashMap<RecordHash, Known>,
    /// When the bad records of each page were told last, by its offset.
    told: BTreeMap<u64, Timestamp>,
}

#[derive(Debug)]
struct Known {
    place: u64,
    reason: &'static str,
    is_told: bool,
}

impl BadRecords {
    /// How many of these were not there before.
    pub fn unknown(&self, bad: &[BadRecord]) -> usize {
        bad.iter().filter(|bad| !self.known.contains_key(&bad.hash)).count()
    }

    /// Takes in a page at `offset` with `all` records, of which `bad` are bad. Returns a sentence about them, and
    /// whether it is news: it names a bad record that was never reported, and none of this page was reported within
    /// `TOLD_EVERY`. `None` when no record is bad.
    pub fn on_page(
        &mut self,
        offset: u64,
        all: usize,
        bad: &[BadRecord],
        now: Timestamp,
    ) -> Option<(String, bool)> {
        let there: HashSet<RecordHash> = bad.iter().map(|bad| bad.hash).collect();
        let places = offset..offset + all as u64;
        // A bad record whose bytes differ in every answer counts as the same one, as long as the reason is the same.
        let mut replaced: HashMap<&str, usize> = HashMap::new();
        self.known.retain(|hash, known| {
            let is_gone = places.contains(&known.place) && !there.contains(hash);
            if is_gone && known.is_told {
                *replaced.entry(known.reason).or_default() += 1;
            }
            !is_gone
        });
        if self.known.len() + bad.len() > KNOWN {
            self.known.clear();
        }
        self.told.retain(|_, told| now.since(*told) < TOLD_EVERY);
        let mut is_news = false;
        for BadRecord { hash, place, reason, .. } in bad.iter().take(KNOWN) {
            let mut was_told = || {
                let replaced = replaced.get_mut(reason).filter(|count| **count > 0);
                replaced.map(|count| *count -= 1).is_some()
            };
            let is_told = self.known.get(hash).map_or_else(&mut was_told, |known| known.is_told);
            self.known.insert(*hash, Known { place: *place, reason, is_told });
            is_news |= !is_told;
        }
        let is_news = is_news && !self.told.contains_key(&offset);
        if is_news {
            self.told.insert(offset, now);
            for (_, known) in self.known.iter_mut().filter(|(hash, _)| there.contains(*hash)) {
                known.is_told = true;
            }
        }
        (!bad.is_empty()).then(|| (sentence(offset, all, bad), is_news))
    }
}

/// How many records are bad for each reason, with place and fault of the first.
fn sentence(offset: u64, all: usize, bad: &[BadRecord]) -> String {
    let mut reasons: BTreeMap<&str, (u64, &BadRecord)> = BTreeMap::new();
    for record in bad {
        reasons.entry(record.reason).or_insert((0, record)).0 += 1;
    }
    let one = |(count, first): (u64, &BadRecord)| {
        let (place, why) = (first.place - offset + 1, &first.why);
        match count {
            1 => format!("left out record {place} of the {all} of a page: {why}"),
            _ => format!("left out {count} of the {all} records of a page; of record {place}: {why}"),
        }
    };
    let mut text = reasons.into_values().map(one).collect::<Vec<_>>().join("; ");
    if offset > 0 {
        text.push_str(&format!(" (the page begins after {offset} records)"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(number: u128, place: u64, reason: &'static str) -> BadRecord {
        BadRecord { hash: RecordHash::from_u128(number), place, reason, why: format!("fault {number}") }
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::default().after(Duration::from_secs(secs))
    }

    #[test]
    fn a_bad_record_is_told_once_until_a_page_shows_that_it_is_gone() {
        let mut records = BadRecords::default();
        let mut is_news = |secs, bad: &[BadRecord]| {
            records.on_page(0, 10, bad, at(secs)).is_some_and(|(_, is_news)| is_news)
        };
        let a = bad(1, 3, "no id");
        assert!(is_news(0, std::slice::from_ref(&a)));
        assert!(!is_news(100, std::slice::from_ref(&a)));
        assert!(!is_news(200, &[bad(1, 4, "no id")]), "new calls push it down");
        assert!(!is_news(300, &[bad(2, 4, "no id")]), "it changes and stays bad");
        assert!(is_news(400, &[bad(2, 4, "no id"), bad(3, 5, "no id")]), "another one");
        assert!(!is_news(500, &[]));
        assert!(is_news(600, std::slice::from_ref(&a)), "it was well in between");
        assert!(!is_news(630, &[a.clone(), bad(9, 1, "no status")]), "at most one line a minute");
        assert!(is_news(660, &[a.clone(), bad(9, 1, "no status")]));
        assert!(!is_news(700, &[a, bad(9, 1, "no status")]));
    }

    #[test]
    fn pages_do_not_hide_each_others_bad_records() {
        let mut records = BadRecords::default();
        let mut said = |offset, secs, bad: &[BadRecord]| records.on_page(offset, 10, bad, at(secs));
        assert!(said(0, 0, &[bad(1, 3, "no id")]).unwrap().1);
        let (text, is_news) = said(10, 1, &[bad(2, 13, "no id"), bad(3, 14, "no id")]).unwrap();
        assert!(is_news);
        assert_eq!(
            text,
            "left out 2 of the 10 records of a page; of record 4: fault 2 (the page begins after 10 records)"
        );
        assert_eq!(said(20, 2, &[]), None);
        assert!(!said(0, 100, &[bad(1, 3, "no id")]).unwrap().1);
        assert!(!said(10, 101, &[bad(2, 13, "no id"), bad(3, 14, "no id")]).unwrap().1);
    }

    #[test]
    fn what_is_kept_in_mind_is_bounded() {
        let mut records = BadRecords::default();
        for page in 0..30u64 {
            let many: Vec<_> =
                (0..1000).map(|n| bad(u128::from(page * 1000 + n), page * 1000 + n, "no id")).collect();
            records.on_page(page * 1000, 1000, &many, at(0));
        }
        assert!(records.known.len() <= KNOWN);
    }
}
