//! The keys of the tree. The first byte of a key tells its kind; numbers are u64, big-endian, so that keys sort as the
//! numbers do.
//!
//! Deliveries are numbered in the order of their commits, from 1; the number is the delivery's
//! [`Token`](crate::store::Token) and is never used again. [`BLOCK`] consecutive numbers are a *block*; a delivery's place
//! in its block is the remainder. Deliveries that were committed together are an *entry* of consecutive numbers, which
//! never reaches into a second block. Everything that changed deliveries and shares one write is a *group*; groups are
//! numbered from 1, too.
//!
//! | key | value | encoded by |
//! |---|---|---|
//! | `b` block | the unfinished deliveries of a block, and its counts | [`StoredBlock`](super::block::StoredBlock) |
//! | `c` key, u32 | a part of a value too large to stand in one piece | [`value`](super::value) |
//! | `e` first number of an entry | the events of its deliveries | [`entry`](super::entry) |
//! | `f` block, group | changes of a block's deliveries, moved there from `x` groups up to this one | [`change`](super::change) |
//! | `g` destination, batch | the ledger of a batch | JSON |
//! | `h` destination | a [`Pause`](crate::store::Pause) | JSON |
//! | `i` xxh3-64 of an event's id | the numbers of the deliveries of such events, u64 LE each | [`index`] |
//! | `j` | the journal of a write too large for one batch | [`value`](super::value) |
//! | `k` | the next numbers to be given | [`Progress`](super::block::Progress) |
//! | `m` | schema, number of writes, whether closed in good order | JSON |
//! | `n` destination, lane | a memo; in front when it was written, i64 LE | JSON |
//! | `o` first number of an entry | the heads of its deliveries | [`entry`](super::entry) |
//! | `p` duty | the checkpoint of a duty | JSON |
//! | `s` source, call | a snapshot; in front what a [`KnownCall`](crate::store::KnownCall) needs | [`remembered`](super::remembered) |
//! | `x` group | changes of deliveries, in their order | [`change`](super::change) |
//!
//! Texts may hold any character. All but the last text of a key are escaped and terminated so that keys sort as the texts
//! do and no two lists of parts give the same key.

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    batch::BatchKey,
    call::CallId,
    event::{EventId, Subject},
    name::Name,
    store::Duty,
};

/// How many consecutive numbers are a block.
pub(super) const BLOCK: u64 = 4096;

/// The block a delivery belongs to.
pub(super) const fn block_of(number: u64) -> u64 {
    number / BLOCK
}

/// A delivery's place in its block.
pub(super) const fn place_of(number: u64) -> u16 {
    (number % BLOCK) as u16
}

/// The number of a place in a block.
pub(super) const fn number_of(block: u64, place: u16) -> u64 {
    block * BLOCK + place as u64
}

/// The numbers of a block.
pub(super) const fn numbers_of(block: u64) -> std::ops::Range<u64> {
    block * BLOCK..(block + 1) * BLOCK
}

/// A key or the beginning of one.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(Vec<u8>);

/// The kind of value that a key leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    Block,
    Chunk,
    Events,
    Folded,
    Ledger,
    Pause,
    Index,
    Journal,
    Progress,
    Meta,
    Memo,
    Heads,
    Checkpoint,
    Snapshot,
    Group,
    /// No key of this schema.
    Unknown,
}

impl KeyKind {
    pub(super) fn of(key: &[u8]) -> Self {
        match key.first() {
            Some(b'b') => Self::Block,
            Some(b'c') => Self::Chunk,
            Some(b'e') => Self::Events,
            Some(b'f') => Self::Folded,
            Some(b'g') => Self::Ledger,
            Some(b'h') => Self::Pause,
            Some(b'i') => Self::Index,
            Some(b'j') => Self::Journal,
            Some(b'k') => Self::Progress,
            Some(b'm') => Self::Meta,
            Some(b'n') => Self::Memo,
            Some(b'o') => Self::Heads,
            Some(b'p') => Self::Checkpoint,
            Some(b's') => Self::Snapshot,
            Some(b'x') => Self::Group,
            _ => Self::Unknown,
        }
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

    /// Adds the last part of a key, which needs no terminator.
    fn last(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend(bytes.as_ref());
        self
    }

    fn number(mut self, number: u64) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    /// Whether `key` begins with this.
    pub(super) fn is_prefix_of(&self, key: &[u8]) -> bool {
        key.starts_with(&self.0)
    }

    /// The rest of `key` after this prefix; empty when `key` does not begin with it.
    pub(super) fn rest<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        key.strip_prefix(self.0.as_slice()).unwrap_or_default()
    }
}

/// All keys that begin with this letter.
pub(super) fn all(letter: u8) -> Key {
    Key::new(letter)
}

pub(super) fn meta() -> Key {
    Key::new(b'm')
}

pub(super) fn progress() -> Key {
    Key::new(b'k')
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

/// The key of a duty's checkpoint: the duty is a letter (`s`, `d`, `u`) and, when it has one, its name.
pub(super) fn checkpoint(duty: &Duty) -> Key {
    let key = Key::new(b'p');
    match duty {
        Duty::Source(name) => key.last(b"s").last(name.as_str()),
        Duty::Destination(name) => key.last(b"d").last(name.as_str()),
        Duty::Upkeep => key.last(b"u"),
    }
}

pub(super) fn all_heads() -> Key {
    Key::new(b'o')
}

pub(super) fn heads(first: u64) -> Key {
    all_heads().number(first)
}

pub(super) fn all_events() -> Key {
    Key::new(b'e')
}

pub(super) fn events(first: u64) -> Key {
    all_events().number(first)
}

pub(super) fn all_groups() -> Key {
    Key::new(b'x')
}

pub(super) fn group(group: u64) -> Key {
    all_groups().number(group)
}

pub(super) fn all_blocks() -> Key {
    Key::new(b'b')
}

pub(super) fn block(block: u64) -> Key {
    all_blocks().number(block)
}

pub(super) fn all_folded() -> Key {
    Key::new(b'f')
}

pub(super) fn all_folded_of(block: u64) -> Key {
    all_folded().number(block)
}

pub(super) fn folded(block: u64, group: u64) -> Key {
    all_folded_of(block).number(group)
}

/// The key at which the deliveries of an event are listed. Events with the same hash share it, so a reader compares
/// what it finds with the heads.
pub(super) fn index(event: &str) -> Key {
    Key::new(b'i').number(xxh3_64(event.as_bytes()))
}

/// The key at which the deliveries of the event with this id are listed.
pub(super) fn index_of(event: &EventId) -> Key {
    index(event.as_str())
}

/// The number at the end of a key of heads, events, groups, blocks or folded changes.
pub(super) fn last_number(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The first number of the entry whose events, or a part of them, stand at this key.
pub(super) fn entry_of(key: &[u8]) -> Option<u64> {
    let of_value = key.strip_prefix(b"c").unwrap_or(key);
    of_value.strip_prefix(b"e")?.first_chunk().map(|number| u64::from_be_bytes(*number))
}

/// The block of a key of folded changes.
pub(super) fn block_of_folded(key: &[u8]) -> Option<u64> {
    key.strip_prefix(b"f")?.first_chunk().map(|block| u64::from_be_bytes(*block))
}

pub(super) fn ledgers(destination: &Name) -> Key {
    Key::new(b'g').text(destination.as_str())
}

pub(super) fn ledger(destination: &Name, batch: &BatchKey) -> Key {
    ledgers(destination).last(batch.to_string())
}

/// The batch of a ledger's key that begins with `ledgers`.
pub(super) fn batch_of_ledger(ledgers: &Key, key: &[u8]) -> Option<BatchKey> {
    std::str::from_utf8(ledgers.rest(key)).ok()?.parse().ok()
}

pub(super) fn all_memos() -> Key {
    Key::new(b'n')
}

/// The key of a memo. A lane is a letter (`c`, `s`, `d`, `b`, `-`) and its names; the source of a call is ended like
/// the other texts.
pub(super) fn memo(destination: &Name, lane: &Subject) -> Key {
    let key = all_memos().text(destination.as_str());
    match lane {
        Subject::Call { source, call } => key.last(b"c").text(source.as_str()).last(call.as_str()),
        Subject::Source(name) => key.last(b"s").last(name.as_str()),
        Subject::Destination(name) => key.last(b"d").last(name.as_str()),
        Subject::Batch(batch) => key.last(b"b").last(batch.to_string()),
        Subject::Config => key.last(b"-"),
    }
}

/// The part of a memo's key behind its destination.
pub(super) fn lane_of_memo(key: &[u8]) -> Option<&[u8]> {
    let behind = key.strip_prefix(b"n")?;
    let end = behind.windows(2).position(|bytes| bytes == [0, 1])?;
    behind.get(end + 2..)
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

/// The prefix of the keys of all chunks of the value at `of`.
pub(super) fn chunks(of: &Key) -> Key {
    let mut key = Key::new(b'c');
    key.0.extend(&of.0);
    key
}

/// The key of a chunk of the value at `of`.
pub(super) fn chunk(of: &Key, number: u32) -> Key {
    let mut key = chunks(of);
    key.0.extend(number.to_be_bytes());
    key
}

/// The journal's head: it is there when the journal is whole and has yet to be carried out.
pub(super) fn journal() -> Key {
    Key::new(b'j')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        "[\u{0}\u{1}\u{2}a/\u{ff}]{0,4}"
    }

    fn lane() -> impl Strategy<Value = Subject> {
        prop_oneof![
            (text(), text())
                .prop_map(|(source, call)| Subject::Call { source: source.into(), call: call.into() }),
            text().prop_map(|name| Subject::Source(name.into())),
            text().prop_map(|name| Subject::Destination(name.into())),
            Just(Subject::Batch(BatchKey::Quiet)),
            Just(Subject::Config),
        ]
    }

    proptest! {
        #[test]
        fn snapshots_sort_as_their_ids_do(a in (text(), text()), b in (text(), text())) {
            let key = |(source, call): &(String, String)| snapshot(&source.as_str().into(), &call.as_str().into());
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
        }

        #[test]
        fn no_two_lanes_share_a_key(a in (text(), lane()), b in (text(), lane())) {
            let key = |(destination, lane): &(String, Subject)| memo(&destination.as_str().into(), lane);
            prop_assert_eq!(key(&a) == key(&b), a == b);
        }

        #[test]
        fn a_number_is_its_block_and_place(number in any::<u64>()) {
            prop_assert_eq!(number_of(block_of(number), place_of(number)), number);
        }
    }

    proptest! {
        #[test]
        fn a_memo_is_of_its_lane_whatever_its_destination(destination in text(), lane in lane()) {
            let key = memo(&destination.as_str().into(), &lane);
            let same = memo(&"crm".into(), &lane);
            prop_assert_eq!(lane_of_memo(key.as_ref()), lane_of_memo(same.as_ref()));
            let prefix = all_memos().text(&destination);
            prop_assert_eq!(lane_of_memo(key.as_ref()), Some(prefix.rest(key.as_ref())));
        }
    }

    #[test]
    fn numbers_sort_in_their_keys() {
        assert!(heads(255) < heads(256) && folded(1, 256) < folded(2, 1));
        assert_eq!(last_number(folded(3, 7).as_ref()), Some(7));
    }
}
