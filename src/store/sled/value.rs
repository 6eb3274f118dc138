//! How a value stands in the tree: sealed with a checksum over its key and itself, so that damage done by the disk or the
//! tree below is noticed and never believed.
//!
//! ```text
//! in one piece:  2: u8 │ body │ sum
//! in parts:      1: u8 │ length of head: u32 LE │ number of chunks: u32 LE │ head │ body │ sum
//! sum: xxh3-64 of the key and all before, u64 LE
//! ```
//!
//! A body above [`CHUNK`] is cut into chunks, each sealed in one piece under a key of its own
//! ([`keys::chunk`](super::keys::chunk)): sled writes a page that is larger than a quarter of a segment to a file of its
//! own, which it never syncs. All chunks but the last are [`CHUNK`] long, so that a part of a body can be read without the
//! rest.

use std::ops::Range;

use serde::{Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::Xxh3;

use super::{fault::Fault, overlay::Writes};

/// This number is a later one than that of [`PARTED`], in which the schema of every store can be read.
const PLAIN: u8 = 2;
const PARTED: u8 = 1;

/// The longest body in one piece, in bytes. A page holds up to about twenty values and must stay below 1 MiB.
pub(super) const CHUNK: usize = 32 << 10;

const SUM: usize = 8;

/// A value read back.
#[derive(Clone, Copy, Default)]
pub(super) struct Value<'b> {
    /// The part that can be read without the body.
    pub(super) head: &'b [u8],
    /// The body; empty when it is in chunks.
    pub(super) body: &'b [u8],
    /// How many chunks the body is in; 0 when it is here.
    pub(super) chunks: u32,
}

/// Seals a value for its key.
pub(super) fn seal(key: &[u8], value: Value<'_>) -> Vec<u8> {
    let Value { head, body, chunks } = value;
    let mut bytes = Vec::with_capacity(9 + head.len() + body.len() + SUM);
    if head.is_empty() && chunks == 0 {
        bytes.push(PLAIN);
    } else {
        bytes.push(PARTED);
        bytes.extend((head.len() as u32).to_le_bytes());
        bytes.extend(chunks.to_le_bytes());
        bytes.extend(head);
    }
    bytes.extend(body);
    bytes.extend(checksum(key, &bytes).to_le_bytes());
    bytes
}

/// Opens what was sealed for this key.
pub(super) fn unseal<'b>(key: &[u8], bytes: &'b [u8]) -> Result<Value<'b>, Fault> {
    let (sealed, sum) = bytes.split_last_chunk::<SUM>().ok_or(Fault::Damaged("a value is too short"))?;
    if u64::from_le_bytes(*sum) != checksum(key, sealed) {
        return Err(Fault::Damaged("a value does not match its checksum"));
    }
    unsealed(bytes)
}

/// Opens a value once more that [`unseal`] has checked before.
pub(super) fn unsealed(bytes: &[u8]) -> Result<Value<'_>, Fault> {
    let parted = |rest| {
        let (head_len, rest) = <[u8]>::split_first_chunk(rest)?;
        let (chunks, rest) = rest.split_first_chunk()?;
        let (head, body) = rest.split_at_checked(u32::from_le_bytes(*head_len) as usize)?;
        Some(Value { head, body, chunks: u32::from_le_bytes(*chunks) })
    };
    let sealed = bytes.split_last_chunk::<SUM>().and_then(|(sealed, _)| sealed.split_first());
    let value = match sealed {
        Some((&PLAIN, body)) => Some(Value { body, ..Value::default() }),
        Some((&PARTED, rest)) => parted(rest),
        _ => None,
    };
    value.ok_or(Fault::Damaged("a value has an unknown format"))
}

fn checksum(key: &[u8], bytes: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(key);
    hasher.update(bytes);
    hasher.digest()
}

/// Where the items of a body end: u32 LE each. With it, in the head of a value, one item is read without the others.
#[derive(Clone, Copy)]
pub(super) struct Ends<'b>(pub(super) &'b [u8]);

impl Ends<'_> {
    pub(super) fn len(self) -> usize {
        self.0.len() / 4
    }

    /// Where an item stands in the body; `None` when there are fewer.
    pub(super) fn range(self, item: usize) -> Option<Range<usize>> {
        let end = |item: usize| Some(u32::from_le_bytes(*self.0.get(4 * item..)?.first_chunk()?) as usize);
        Some(if item == 0 { 0 } else { end(item - 1)? }..end(item)?)
    }
}

/// Writes as postcard.
pub(super) fn to_compact(value: &impl Serialize) -> Result<Vec<u8>, Fault> {
    postcard::to_stdvec(value).map_err(|_| Fault::Damaged("a value cannot be written"))
}

/// Reads what [`to_compact`] wrote.
pub(super) fn from_compact<'b, T: serde::Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, Fault> {
    postcard::from_bytes(bytes).map_err(|_| Fault::Damaged("a value cannot be read"))
}

/// Reads what [`to_compact`] wrote from the beginning of `bytes`, and returns what follows it.
pub(super) fn take_compact<'b, T: serde::Deserialize<'b>>(bytes: &'b [u8]) -> Result<(T, &'b [u8]), Fault> {
    postcard::take_from_bytes(bytes).map_err(|_| Fault::Damaged("a value cannot be read"))
}

/// Writes as JSON.
pub(super) fn to_json(value: &impl Serialize) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(value).map_err(|_| Fault::Damaged("a value cannot be written as JSON"))
}

/// Reads JSON that this store wrote.
pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    // A record of the API is read within serde_json's limit of nesting; what is stored wraps it in a few more
    // levels, and must be readable all the same.
    json.disable_recursion_limit();
    T::deserialize(&mut json).map_err(|_| Fault::Damaged("a value is not the JSON it should be"))
}

/// Writes as bytes: of each the key, a byte that says whether there is a value, and the value; texts of bytes
/// behind their length.
pub(super) fn from_writes(writes: &Writes) -> Vec<u8> {
    fn push(bytes: &mut Vec<u8>, part: &[u8]) {
        bytes.extend((part.len() as u32).to_le_bytes());
        bytes.extend(part);
    }
    let mut bytes = vec![];
    for (key, value) in writes {
        push(&mut bytes, key);
        bytes.push(u8::from(value.is_some()));
        push(&mut bytes, value.as_deref().unwrap_or_default());
    }
    bytes
}

/// Reads what [`from_writes`] wrote.
pub(super) fn to_writes(bytes: &[u8]) -> Result<Writes, Fault> {
    fn take<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
        let (len, rest) = bytes.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        *bytes = rest;
        Some(part)
    }
    fn write<'b>(bytes: &mut &'b [u8]) -> Option<(&'b [u8], Option<&'b [u8]>)> {
        let key = take(bytes)?;
        let (is_some, rest) = bytes.split_first()?;
        *bytes = rest;
        let value = take(bytes)?;
        Some((key, (*is_some == 1).then_some(value)))
    }
    let mut rest = bytes;
    let mut writes = Writes::new();
    while !rest.is_empty() {
        let (key, value) = write(&mut rest).ok_or(Fault::Damaged("the journal breaks off"))?;
        writes.insert(key.into(), value.map(Into::into));
    }
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_can_be_opened_with_its_key_only() {
        let sealed = seal(b"key", Value { head: b"head", body: b"body", chunks: 3 });
        let value = unseal(b"key", &sealed).unwrap();
        assert_eq!((value.head, value.body, value.chunks), (&b"head"[..], &b"body"[..], 3));
        assert!(unseal(b"kez", &sealed).is_err());
    }

    #[test]
    fn no_changed_bit_and_no_missing_byte_goes_unnoticed() {
        for sealed in [
            seal(b"key", Value { body: b"body", ..Value::default() }),
            seal(b"key", Value { head: b"head", body: b"", chunks: 2 }),
        ] {
            for bit in 0..sealed.len() * 8 {
                let mut changed = sealed.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(unseal(b"key", &changed).is_err(), "bit {bit}");
            }
            for len in 0..sealed.len() {
                assert!(unseal(b"key", &sealed[..len]).is_err(), "{len} bytes");
            }
        }
    }

    #[test]
    fn writes_come_back_and_half_of_them_do_not() {
        let writes = Writes::from([
            (b"".into(), Some(b"".into())),
            (b"gone".into(), None),
            (b"there".into(), Some(b"value".into())),
        ]);
        let bytes = from_writes(&writes);
        assert_eq!(to_writes(&bytes).unwrap(), writes);
        assert!(to_writes(&bytes[..bytes.len() - 1]).is_err());
    }
}
