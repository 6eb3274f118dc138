//! Snapshots, checkpoints, memos and ledgers: values that are kept for others and returned as they were.

use std::collections::BTreeMap;

use ::sled::IVec;
use serde_json::Value;

use super::{Engine, start::BAD_KEY};
use crate::{
    batch::BatchKey,
    call::CallId,
    event::Subject,
    name::Name,
    snapshot::Snapshot,
    store::{
        Claim, Duty, KnownCall,
        sled::{
            fault::Fault,
            keys::{self, Key},
            remembered::{self, Stored},
            value,
        },
    },
    time::Timestamp,
};

impl Engine {
    pub(in crate::store::sled) fn snapshots(
        &self,
        source: &Name,
        calls: &[CallId],
    ) -> Result<Vec<Option<Snapshot>>, Fault> {
        let find = |call| match self.staged.view.parts(&keys::snapshot(source, call))? {
            Some((head, body)) => Ok(Some(Stored { head, body }.snapshot(call)?)),
            None => Ok(None),
        };
        calls.iter().map(find).collect()
    }

    pub(in crate::store::sled) fn known(
        &self,
        source: &Name,
        after: Option<&CallId>,
        limit: usize,
    ) -> Result<Vec<KnownCall>, Fault> {
        let prefix = keys::snapshots(source);
        let after = after.map(|call| keys::snapshot(source, call));
        let page = self.disk.scan(&prefix, after.as_ref()).take(limit);
        page.map(|item| Ok(known(&prefix, &item?)?.0)).collect()
    }

    /// Looks at up to `scan` snapshots after `after`, shrinks those of calls settled before `before`, and returns
    /// where to go on; `None` when there is nothing after that.
    pub(in crate::store::sled) fn shrink(
        &mut self,
        claim: &Claim,
        source: &Name,
        before: Timestamp,
        after: Option<&CallId>,
        scan: usize,
    ) -> Result<Option<CallId>, Fault> {
        self.claims.check(claim)?;
        let prefix = keys::snapshots(source);
        let mut last = None;
        let after = after.map(|call| keys::snapshot(source, call));
        for item in self.disk.scan(&prefix, after.as_ref()).take(scan) {
            let (KnownCall { id, .. }, shrunk) = known(&prefix, &item?)?;
            let key = keys::snapshot(source, &id);
            // Read through what is staged: a commit of the same group may have replaced it.
            if !shrunk && let Some((head, body)) = self.staged.view.parts(&key)? {
                let mut snapshot = Stored { head, body }.snapshot(&id)?;
                if snapshot.is_settled(before) {
                    snapshot.shrink();
                    let stored = Stored::of(&id, &snapshot)?;
                    self.staged.view.put_bytes(&key, &stored.head, &stored.body)?;
                }
            }
            last = Some(id);
        }
        Ok(last)
    }

    pub(in crate::store::sled) fn checkpoint(&self, duty: &Duty) -> Result<Option<Value>, Fault> {
        self.staged.view.get(&keys::checkpoint(duty))
    }

    pub(super) fn remember_memo(
        &mut self,
        destination: &Name,
        lane: &Subject,
        memo: Option<&Value>,
        at: Timestamp,
    ) -> Result<(), Fault> {
        let key = keys::memo(destination, lane);
        match memo {
            Some(memo) => {
                self.staged.view.put_bytes(&key, &at.as_millis().to_le_bytes(), &value::to_json(memo)?)
            }
            None => self.staged.view.remove(&key),
        }
    }

    pub(in crate::store::sled) fn memos(
        &self,
        destination: &Name,
        lanes: &[Subject],
    ) -> Result<Vec<Option<Value>>, Fault> {
        lanes.iter().map(|lane| self.staged.view.get(&keys::memo(destination, lane))).collect()
    }

    pub(in crate::store::sled) fn ledgers(
        &self,
        destination: &Name,
    ) -> Result<BTreeMap<BatchKey, Value>, Fault> {
        let prefix = keys::ledgers(destination);
        let all = self.disk.scan(&prefix, None).map(|item| {
            let (key, sealed) = item?;
            let batch = keys::batch_of_ledger(&prefix, &key).ok_or(BAD_KEY)?;
            Ok((batch, self.staged.view.read(&Key::from(key), &sealed)?))
        });
        all.collect()
    }
}

/// Reads what stands in front of a snapshot; also whether the snapshot is shrunk.
fn known(prefix: &Key, (key, bytes): &(IVec, IVec)) -> Result<(KnownCall, bool), Fault> {
    let id = std::str::from_utf8(prefix.rest(key)).map_err(|_| BAD_KEY)?;
    remembered::known(id.into(), value::unseal(key, bytes)?.head)
}
