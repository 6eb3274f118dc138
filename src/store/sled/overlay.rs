//! The tree as it will be once the prepared writes are written.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ops::{Bound, Range},
};

use ::sled::IVec;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    fault::Fault,
    keys::{self, Key},
    tree::Tree,
    value::{self, CHUNK, Value},
};

/// Prepared writes: for each key the new value, or `None` to remove it.
pub(super) type Writes = BTreeMap<IVec, Option<IVec>>;

/// A value's head and body.
pub(super) type Parts = (Vec<u8>, Vec<u8>);

/// Reads the tree through the writes that are prepared, and collects them. Nothing reaches the tree.
pub(super) struct Overlay {
    tree: Tree,
    writes: Writes,
    bytes: usize,
}

impl Overlay {
    pub(super) fn new(tree: &Tree) -> Self {
        Self { tree: tree.clone(), writes: Writes::new(), bytes: 0 }
    }

    /// The writes that were prepared.
    pub(super) fn into_writes(self) -> Writes {
        self.writes
    }

    /// The number of keys that are prepared, and about how many bytes they have with their values.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.writes.len(), self.bytes)
    }

    /// The value at a key, sealed.
    pub(super) fn sealed(&self, key: &[u8]) -> Result<Option<IVec>, Fault> {
        match self.writes.get(key) {
            Some(prepared) => Ok(prepared.clone()),
            None => Ok(self.tree.get(key)?),
        }
    }

    /// The last key at or before `key` that begins with `prefix`, with the value that stands there.
    pub(super) fn last_up_to(&self, prefix: &Key, key: &Key) -> Result<Option<(IVec, IVec)>, Fault> {
        let range = (Bound::Included(prefix.as_ref()), Bound::Included(key.as_ref()));
        let prepared = self.writes.range::<[u8], _>(range);
        let mut prepared = prepared.rev().map(|(key, value)| (key.clone(), value.clone())).peekable();
        for item in self.tree.range::<&[u8]>(range).rev() {
            let (key, value) = item?;
            while let Some((newer, prepared)) = prepared.next_if(|(prepared, _)| *prepared >= key) {
                match prepared {
                    Some(value) => return Ok(Some((newer, value))),
                    None if newer == key => break,
                    None => {}
                }
            }
            if self.writes.get(&key).is_none_or(Option::is_some) {
                return Ok(Some((key, value)));
            }
        }
        Ok(prepared.find_map(|(key, value)| Some((key, value?))))
    }

    /// Reads a value's body.
    pub(super) fn bytes(&self, key: &Key) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.parts(key)?.map(|(_, body)| body))
    }

    /// Reads a value's head and body.
    pub(super) fn parts(&self, key: &Key) -> Result<Option<Parts>, Fault> {
        let Some(sealed) = self.sealed(key.as_ref())? else { return Ok(None) };
        let value = value::unseal(key.as_ref(), &sealed)?;
        Ok(Some((value.head.to_vec(), self.body(key, value)?.into_owned())))
    }

    /// The whole body of a value.
    pub(super) fn body<'b>(&self, key: &Key, value: Value<'b>) -> Result<Cow<'b, [u8]>, Fault> {
        if value.chunks == 0 {
            return Ok(value.body.into());
        }
        let mut body = vec![];
        for number in 0..value.chunks {
            self.read_chunk(key, number, |chunk| body.extend(chunk))?;
        }
        Ok(body.into())
    }

    /// A part of a value's body, read without the rest.
    pub(super) fn slice<'b>(
        &self,
        key: &Key,
        value: Value<'b>,
        range: Range<usize>,
    ) -> Result<Cow<'b, [u8]>, Fault> {
        const OUTSIDE: Fault = Fault::Damaged("a value is shorter than it should be");
        if value.chunks == 0 {
            return value.body.get(range).map(Into::into).ok_or(OUTSIDE);
        }
        let mut slice = Vec::with_capacity(range.len());
        for number in range.start / CHUNK..range.end.div_ceil(CHUNK) {
            let begins = number * CHUNK;
            self.read_chunk(key, number as u32, |chunk| {
                let from = range.start.saturating_sub(begins).min(chunk.len());
                let to = (range.end - begins).min(chunk.len());
                slice.extend(&chunk[from..to]);
            })?;
        }
        if slice.len() == range.len() { Ok(slice.into()) } else { Err(OUTSIDE) }
    }

    fn read_chunk(&self, of: &Key, number: u32, read: impl FnOnce(&[u8])) -> Result<(), Fault> {
        let key = keys::chunk(of, number);
        let chunk = self.sealed(key.as_ref())?.ok_or(MISSING_PART)?;
        read(value::unseal(key.as_ref(), &chunk)?.body);
        Ok(())
    }

    /// The value at a key as it stands in the tree, with its chunks; empty when there is none.
    pub(super) fn as_it_stands(&self, key: &Key) -> Result<Vec<(IVec, IVec)>, Fault> {
        let Some(sealed) = self.sealed(key.as_ref())? else { return Ok(vec![]) };
        let chunks = value::unseal(key.as_ref(), &sealed)?.chunks;
        let mut all = vec![(key.as_ref().into(), sealed)];
        for number in 0..chunks {
            let key = keys::chunk(key, number);
            let chunk = self.sealed(key.as_ref())?.ok_or(MISSING_PART)?;
            value::unseal(key.as_ref(), &chunk)?;
            all.push((key.as_ref().into(), chunk));
        }
        Ok(all)
    }

    /// Reads a value written with [`Overlay::put`].
    pub(super) fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, Fault> {
        self.bytes(key)?.map(|body| value::from_json(&body)).transpose()
    }

    /// Reads what was written with [`Overlay::put`] and found at `key`.
    pub(super) fn read<T: DeserializeOwned>(&self, key: &Key, sealed: &[u8]) -> Result<T, Fault> {
        value::from_json(&self.body(key, value::unseal(key.as_ref(), sealed)?)?)
    }

    /// Prepares to write a value.
    pub(super) fn put(&mut self, key: &Key, value: &impl Serialize) -> Result<(), Fault> {
        self.put_bytes(key, &[], &value::to_json(value)?)
    }

    /// Prepares to write a value of `body`, with a head that can be read without it.
    pub(super) fn put_bytes(&mut self, key: &Key, head: &[u8], body: &[u8]) -> Result<(), Fault> {
        let before = self.chunks(key)?;
        self.put_over(key, before, head, body);
        Ok(())
    }

    /// Prepares to write such a value at a key that has none.
    pub(super) fn put_new(&mut self, key: &Key, head: &[u8], body: &[u8]) {
        self.put_over(key, 0, head, body);
    }

    /// Prepares to write a value in the place of one with `before` chunks.
    fn put_over(&mut self, key: &Key, before: u32, head: &[u8], body: &[u8]) {
        let after = if body.len() <= CHUNK {
            self.set(key, Value { head, body, chunks: 0 });
            0
        } else {
            let mut number = 0;
            for body in body.chunks(CHUNK) {
                self.set(&keys::chunk(key, number), Value { body, ..Value::default() });
                number += 1;
            }
            self.set(key, Value { head, body: &[], chunks: number });
            number
        };
        for number in after..before {
            self.delete(&keys::chunk(key, number));
        }
    }

    /// Prepares to remove a value.
    pub(super) fn remove(&mut self, key: &Key) -> Result<(), Fault> {
        for number in 0..self.chunks(key)? {
            self.delete(&keys::chunk(key, number));
        }
        self.delete(key);
        Ok(())
    }

    /// How many chunks the value has now.
    fn chunks(&self, key: &Key) -> Result<u32, Fault> {
        match self.sealed(key.as_ref())? {
            Some(sealed) => Ok(value::unseal(key.as_ref(), &sealed)?.chunks),
            None => Ok(0),
        }
    }

    fn set(&mut self, key: &Key, value: Value<'_>) {
        let sealed = value::seal(key.as_ref(), value);
        self.bytes += key.as_ref().len() + sealed.len();
        self.writes.insert(key.as_ref().into(), Some(sealed.into()));
    }

    fn delete(&mut self, key: &Key) {
        self.bytes += key.as_ref().len();
        self.writes.insert(key.as_ref().into(), None);
    }
}

const MISSING_PART: Fault = Fault::Damaged("a part of a value is missing");

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*};

    use super::{super::tree, *};

    proptest! {
        #[test]
        fn what_is_prepared_hides_what_is_below(
            below in vec(0..9_u64, 0..9),
            prepared in vec((0..9_u64, any::<bool>()), 0..9),
            asked in 0..9_u64,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let (tree, _) = tree::open(folder.path(), 1 << 20).unwrap();
            let mut expected = BTreeMap::new();
            let mut written = Overlay::new(&tree);
            for number in below {
                written.put_new(&keys::heads(number), &[], b"below");
                expected.insert(number, b"below".as_slice());
            }
            for (key, value) in written.into_writes() {
                tree.insert(key, value.unwrap()).unwrap();
            }
            // Neighbouring keys that are not heads.
            tree.insert(keys::memo(&"crm".into(), &crate::event::Subject::Config), b"").unwrap();
            tree.insert(keys::group(1), b"").unwrap();
            let mut view = Overlay::new(&tree);
            for (number, is_there) in prepared {
                if is_there {
                    view.put_new(&keys::heads(number), &[], b"prepared");
                    expected.insert(number, b"prepared");
                } else {
                    view.remove(&keys::heads(number)).unwrap();
                    expected.remove(&number);
                }
            }
            let found = view.last_up_to(&keys::all_heads(), &keys::heads(asked)).unwrap();
            let found = found.map(|(key, sealed)| {
                (keys::last_number(&key).unwrap(), value::unseal(&key, &sealed).unwrap().body.to_vec())
            });
            let last = expected.range(..=asked).next_back();
            prop_assert_eq!(found, last.map(|(number, body)| (*number, body.to_vec())));
        }
    }

    #[test]
    fn a_part_of_a_long_value_is_read_without_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, _) = tree::open(folder.path(), 1 << 20).unwrap();
        let body: Vec<u8> = (0..3 * CHUNK + 5).map(|byte| (byte % 251) as u8).collect();
        let key = keys::events(1);
        let mut view = Overlay::new(&tree);
        view.put_new(&key, b"head", &body);
        let sealed = view.sealed(key.as_ref()).unwrap().unwrap();
        let value = value::unseal(key.as_ref(), &sealed).unwrap();
        for range in [0..0, 0..1, CHUNK - 1..CHUNK + 1, CHUNK..2 * CHUNK, 5..body.len()] {
            assert!(*view.slice(&key, value, range.clone()).unwrap() == body[range]);
        }
        assert!(view.slice(&key, value, 0..body.len() + 1).is_err());
        // The first chunk is not needed for what stands in the second.
        view.remove(&keys::chunk(&key, 0)).unwrap();
        assert!(view.slice(&key, value, CHUNK..CHUNK + 9).is_ok());
        assert!(view.slice(&key, value, 0..9).is_err());
    }
}
