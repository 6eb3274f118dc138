//! The tree as it will be once what is being prepared has been written.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use ::sled::{IVec, Tree};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    fault::Fault,
    keys::{self, Key},
    value::{self, CHUNK, Value},
};

/// What is to be written: a new value for a key, or none.
pub(super) type Writes = BTreeMap<IVec, Option<IVec>>;

/// A value's head and body.
pub(super) type Parts = (Vec<u8>, Vec<u8>);

/// Reads through what is prepared to the tree below, and collects writes. Nothing reaches the tree.
pub(super) struct View<'t> {
    tree: &'t Tree,
    writes: Writes,
}

impl<'t> View<'t> {
    pub(super) fn new(tree: &'t Tree) -> Self {
        Self { tree, writes: Writes::new() }
    }

    /// What was prepared.
    pub(super) fn into_writes(self) -> Writes {
        self.writes
    }

    fn sealed(&self, key: &[u8]) -> Result<Option<IVec>, Fault> {
        match self.writes.get(key) {
            Some(prepared) => Ok(prepared.clone()),
            None => Ok(self.tree.get(key)?),
        }
    }

    /// Whether there is a value.
    pub(super) fn contains(&self, key: &Key) -> Result<bool, Fault> {
        Ok(self.sealed(key.as_ref())?.is_some())
    }

    /// Reads a value's body.
    pub(super) fn bytes(&self, key: &Key) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.parts(key)?.map(|(_, body)| body))
    }

    /// Reads a value's head and body.
    pub(super) fn parts(&self, key: &Key) -> Result<Option<Parts>, Fault> {
        self.sealed(key.as_ref())?.map(|sealed| self.parts_of(key, &sealed)).transpose()
    }

    /// Opens what was found at `key`.
    fn parts_of(&self, key: &Key, sealed: &[u8]) -> Result<Parts, Fault> {
        let value = value::unseal(key.as_ref(), sealed)?;
        let mut body = value.body.to_vec();
        for number in 0..value.chunks {
            let key = keys::chunk(key, number);
            let chunk = self.sealed(key.as_ref())?.ok_or(MISSING_PART)?;
            body.extend(value::unseal(key.as_ref(), &chunk)?.body);
        }
        Ok((value.head.to_vec(), body))
    }

    /// A value as it stands in the tree, with its chunks; empty when there is none.
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

    /// Reads a value written with [`View::put`].
    pub(super) fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, Fault> {
        self.bytes(key)?.map(|body| value::from_json(&body)).transpose()
    }

    /// Reads what was written with [`View::put`] and found at `key`.
    pub(super) fn read<T: DeserializeOwned>(&self, key: &Key, sealed: &[u8]) -> Result<T, Fault> {
        value::from_json(&self.parts_of(key, sealed)?.1)
    }

    /// Reads a value that must be there because something refers to it.
    pub(super) fn require<T: DeserializeOwned>(&self, key: &Key) -> Result<T, Fault> {
        self.get(key)?.ok_or(Fault::Damaged("something is referred to that is not there"))
    }

    /// Prepares a value.
    pub(super) fn put(&mut self, key: &Key, value: &impl Serialize) -> Result<(), Fault> {
        self.put_bytes(key, &[], &value::to_json(value)?)
    }

    /// Prepares a value where there is none.
    pub(super) fn put_new(&mut self, key: &Key, value: &impl Serialize) -> Result<(), Fault> {
        self.put_over(key, 0, &[], &value::to_json(value)?);
        Ok(())
    }

    /// Prepares a value of `body`, with something in front that can be read without it.
    pub(super) fn put_bytes(&mut self, key: &Key, head: &[u8], body: &[u8]) -> Result<(), Fault> {
        let before = self.chunks(key)?;
        self.put_over(key, before, head, body);
        Ok(())
    }

    /// Prepares a value in the place of one with `before` chunks.
    fn put_over(&mut self, key: &Key, before: u32, head: &[u8], body: &[u8]) {
        let after = if body.len() <= CHUNK {
            self.set(key, Value { head, body, chunks: 0 });
            0
        } else {
            let mut number = 0;
            for body in body.chunks(CHUNK) {
                self.set(&keys::chunk(key, number), Value { head: &[], body, chunks: 0 });
                number += 1;
            }
            self.set(key, Value { head, body: &[], chunks: number });
            number
        };
        for number in after..before {
            self.delete(&keys::chunk(key, number));
        }
    }

    /// Prepares a key that says all by itself.
    pub(super) fn mark(&mut self, key: &Key) {
        self.mark_with(key, &[]);
    }

    /// Prepares a key that says almost all by itself.
    pub(super) fn mark_with(&mut self, key: &Key, head: &[u8]) {
        self.set(key, Value { head, body: &[], chunks: 0 });
    }

    /// Prepares the end of a key written with [`View::mark`].
    pub(super) fn unmark(&mut self, key: &Key) {
        self.delete(key);
    }

    /// Prepares the end of a value.
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
        self.writes.insert(key.as_ref().into(), Some(sealed.into()));
    }

    fn delete(&mut self, key: &Key) {
        self.writes.insert(key.as_ref().into(), None);
    }

    /// The first key that begins with `prefix`, and its value's head.
    pub(super) fn first(&self, prefix: &Key) -> Result<Option<(IVec, Vec<u8>)>, Fault> {
        let mut written = None;
        for item in self.tree.scan_prefix(prefix) {
            let item = item?;
            if !self.writes.contains_key(&item.0) {
                written = Some(item);
                break;
            }
        }
        let prepared = self.prepared(prefix).find_map(|(key, value)| Some((key.clone(), value.clone()?)));
        let first = written.into_iter().chain(prepared).min();
        first.map(|(key, sealed)| Ok((key.clone(), value::unseal(&key, &sealed)?.head.to_vec()))).transpose()
    }

    /// All keys that begin with `prefix`, in their order.
    pub(super) fn keys(&self, prefix: &Key) -> Result<BTreeSet<IVec>, Fault> {
        let mut keys = self.tree.scan_prefix(prefix).keys().collect::<Result<BTreeSet<_>, _>>()?;
        for (key, value) in self.prepared(prefix) {
            if value.is_some() {
                keys.insert(key.clone())
            } else {
                keys.remove(key)
            };
        }
        Ok(keys)
    }

    /// What is prepared for keys that begin with `prefix`.
    fn prepared(&self, prefix: &Key) -> impl Iterator<Item = (&IVec, &Option<IVec>)> {
        self.writes
            .range::<[u8], _>((Bound::Included(prefix.as_ref()), Bound::Unbounded))
            .take_while(|(key, _)| prefix.is_prefix_of(key))
    }
}

const MISSING_PART: Fault = Fault::Damaged("a part of a value is missing");
