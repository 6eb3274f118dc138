//! A block: [`BLOCK`] deliveries of consecutive numbers. A start reads only the blocks, the heads
//! that they do not cover yet, and the groups after [`StoredBlock::through`].

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{
    entry::Head,
    keys::{BLOCK, numbers_of},
};
use crate::{
    batch::BatchKey,
    name::Name,
    store::{Restart, Tally},
    time::{Deadline, Timestamp},
};

/// The next numbers to be given, in postcard. Written by the fold and by purge; `o` and `x` may hold higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The number of the next delivery.
    pub(super) next: u64,
    /// The number of the next group.
    pub(super) group: u64,
}

impl Default for Progress {
    fn default() -> Self {
        Self { next: 1, group: 1 }
    }
}

/// A block as it is written, in postcard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredBlock {
    /// The changes of groups up to this one are included.
    pub(super) through: u64,
    /// Deliveries with numbers below this one are included. Every block but the last is covered to its end.
    pub(super) end: u64,
    /// The counts, and the traits by which deliveries are found.
    pub(super) sums: Sums,
    /// For each destination, the places of pending deliveries and of held ones.
    pub(super) unfinished: Vec<(Name, Places, Places)>,
    /// Unfinished deliveries that differ from their heads, by place.
    pub(super) changed: Vec<(u16, Changed)>,
}

impl StoredBlock {
    /// How many numbers of the block are included.
    pub(super) fn numbers(&self, block: u64) -> u64 {
        // No delivery has the number 0.
        self.end - numbers_of(block).start.max(1)
    }

    /// How many deliveries are in a state or gone: all of them, if the block is right.
    pub(super) fn counted(&self) -> u64 {
        let tallies = self.sums.tallies.values();
        let counted = tallies.map(|of| of.unfinished() + of.merged + of.delivered + of.dead).sum::<u64>();
        counted + self.sums.gone.len() as u64
    }
}

/// The counts and traits of a block, known without reading its deliveries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sums {
    /// For each destination, how many deliveries are in which state.
    pub(super) tallies: BTreeMap<Name, Tally>,
    /// The places of deliveries that were forgotten.
    pub(super) gone: Places,
    /// The places of deliveries that were given up.
    pub(super) dead: Places,
    /// The places of deliveries that are told by another event.
    pub(super) merged: Places,
    /// A time before which no delivery was finished; `None` when none is finished.
    pub(super) oldest: Option<Timestamp>,
    /// The rules, sources and calls of its deliveries.
    pub(super) traits: Traits,
}

/// How an unfinished delivery differs from its head.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Changed {
    /// How many attempts were made.
    pub(super) attempts: u32,
    /// When it is due, unless it is held.
    pub(super) due: Deadline,
    /// Where its retry schedule began anew.
    pub(super) restart: Option<Box<Restart>>,
    /// The batch that holds it, if it is held.
    pub(super) batch: Option<Box<BatchKey>>,
}

/// A set of places in a block: 512 bytes with a bit for each place. Stored as a list while there are few.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Places(Option<Box<[u64; WORDS]>>);

const WORDS: usize = (BLOCK / 64) as usize;

/// The longest list of places that is stored instead of the bits, because it is shorter.
const FEW: usize = 200;

impl Places {
    /// Adds a place; says whether it was new.
    pub(super) fn insert(&mut self, place: u16) -> bool {
        let words = self.0.get_or_insert_with(|| Box::new([0; WORDS]));
        let word = &mut words[usize::from(place) / 64 % WORDS];
        let bit = 1 << (place % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    pub(super) fn remove(&mut self, place: u16) {
        if let Some(words) = &mut self.0 {
            words[usize::from(place) / 64 % WORDS] &= !(1 << (place % 64));
        }
    }

    pub(super) fn contains(&self, place: u16) -> bool {
        self.0.as_ref().is_some_and(|words| words[usize::from(place) / 64 % WORDS] & (1 << (place % 64)) != 0)
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().flat_map(|words| words.iter()).map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = u16> {
        (0..BLOCK as u16).filter(|place| self.contains(*place))
    }
}

impl FromIterator<u16> for Places {
    fn from_iter<I: IntoIterator<Item = u16>>(places: I) -> Self {
        let mut all = Self::default();
        for place in places {
            all.insert(place);
        }
        all
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// [`Places`] as they are stored.
#[derive(Serialize, Deserialize)]
enum StoredPlaces {
    Few(Vec<u16>),
    Bits(Vec<u64>),
}

impl Serialize for Places {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stored = match &self.0 {
            Some(words) if self.len() > FEW => StoredPlaces::Bits(words.to_vec()),
            _ => StoredPlaces::Few(self.iter().collect()),
        };
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Places {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match StoredPlaces::deserialize(deserializer)? {
            StoredPlaces::Few(places) => Ok(places.into_iter().collect()),
            StoredPlaces::Bits(words) => {
                let words = <Box<[u64; WORDS]>>::try_from(words.into_boxed_slice());
                words.map(|words| Self(Some(words))).map_err(|_| D::Error::custom("not a block of places"))
            }
        }
    }
}

/// The rules, sources and calls of a block's deliveries, as a Bloom filter of 8 KiB. When each delivery has a call of
/// its own, about one block in a thousand is searched in vain.
#[derive(Clone, PartialEq)]
pub(super) struct Traits(Box<[u8]>);

const TRAIT_BYTES: usize = 8 << 10;

/// How many bits each trait sets.
const TRAIT_BITS: u64 = 5;

/// A trait with its kind, so that a rule and a source of the same name are told apart.
#[derive(Clone, Copy)]
pub(super) enum Trait<'a> {
    Rule(&'a str),
    Source(&'a str),
    Call(&'a str),
}

impl Traits {
    pub(super) fn add(&mut self, head: &Head<'_>) {
        let about = [head.source().map(Trait::Source), head.call().map(Trait::Call)];
        for bit in head.rules().map(Trait::Rule).chain(about.into_iter().flatten()).flat_map(bits) {
            self.0[bit / 8] |= 1 << (bit % 8);
        }
    }

    /// Whether a delivery may have this trait; false means that none has it.
    pub(super) fn may_have(&self, of: Trait<'_>) -> bool {
        bits(of).all(|bit| self.0[bit / 8] & (1 << (bit % 8)) != 0)
    }
}

/// The i-th bit is (low half + i × (high half | 1)) modulo the number of bits, of the text's xxh3-64 seeded with 1 for a
/// rule, 2 for a source, 3 for a call.
fn bits(of: Trait<'_>) -> impl Iterator<Item = usize> {
    let hash = match of {
        Trait::Rule(text) => xxh3_64_with_seed(text.as_bytes(), 1),
        Trait::Source(text) => xxh3_64_with_seed(text.as_bytes(), 2),
        Trait::Call(text) => xxh3_64_with_seed(text.as_bytes(), 3),
    };
    let (low, high) = (hash & 0xffff_ffff, hash >> 32 | 1);
    (0..TRAIT_BITS).map(move |i| ((low + i * high) % (TRAIT_BYTES as u64 * 8)) as usize)
}

impl Default for Traits {
    fn default() -> Self {
        Self(vec![0; TRAIT_BYTES].into())
    }
}

impl fmt::Debug for Traits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traits")
    }
}

impl Serialize for Traits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Traits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        if bytes.len() == TRAIT_BYTES {
            Ok(Self(bytes.into()))
        } else {
            Err(D::Error::custom("not a block's traits"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::value, *};

    #[test]
    fn a_block_comes_back_as_it_was() {
        for places in [vec![], vec![0, 4095], (0..4096).collect::<Vec<u16>>()] {
            let places: Places = places.into_iter().collect();
            let changed = Changed {
                attempts: 3,
                due: Deadline::new(Timestamp::from_millis(-1), Duration::from_secs(5)),
                restart: Some(Box::new(Restart { at: Timestamp::from_millis(9), attempts: 1 })),
                batch: Some(Box::new(BatchKey::Quiet)),
            };
            let block = StoredBlock {
                through: 7,
                end: 4096,
                sums: Sums {
                    tallies: [("crm".into(), Tally { dead: 2, ..Tally::default() })].into(),
                    gone: places.clone(),
                    dead: Places::default(),
                    merged: places.clone(),
                    oldest: Some(Timestamp::from_millis(1)),
                    traits: Traits::default(),
                },
                unfinished: vec![("crm".into(), places, Places::default())],
                changed: vec![(17, changed)],
            };
            let bytes = value::to_compact(&block).unwrap();
            assert_eq!(value::from_compact::<StoredBlock>(&bytes).unwrap(), block);
        }
    }

    #[test]
    fn traits_forget_nothing_and_tell_most_apart() {
        let calls: Vec<String> = (0..BLOCK).map(|call| format!("call {call}")).collect();
        let mut traits = Traits::default();
        for call in &calls {
            traits.add(&Head {
                event: "evt",
                destination: "crm",
                subject: super::super::entry::About::Call { source: "clinic", call },
                rule: "booked",
                sequence: 1,
                created: Timestamp::default(),
                hold: None,
                also: vec![],
            });
        }
        assert!(traits.may_have(Trait::Rule("booked")) && traits.may_have(Trait::Source("clinic")));
        assert!(calls.iter().all(|call| traits.may_have(Trait::Call(call))));
        let in_vain =
            (0..10_000).filter(|call| traits.may_have(Trait::Call(&format!("other {call}")))).count();
        assert!(in_vain < 50, "{in_vain}");
    }
}
