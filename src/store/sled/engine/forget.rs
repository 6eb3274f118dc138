//! Forgetting calls: nothing of them is left in the tree, not even where it would be overwritten later.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
};

use super::Engine;
use crate::{
    call::CallId,
    event::{Event, Subject},
    name::Name,
    store::{
        Token,
        sled::{
            change::Change,
            entry::{self, Entry},
            fault::Fault,
            keys::{self, Key, block_of, place_of},
            remembered::Stored,
            value,
        },
    },
};

impl Engine {
    /// Carries out [`Action::Forget`](crate::store::Action::Forget); returns how many deliveries were forgotten.
    pub(super) fn forget(
        &mut self,
        calls: &[(Name, CallId)],
        tokens: &[Token],
        events: &[Event],
    ) -> Result<usize, Fault> {
        // What other jobs have staged is searched as well, so it is written first.
        self.write()?;
        // A copy that is being taken may hold the calls already, and parts of entries that are about to change.
        self.dump = None;
        self.forget_calls(calls)?;
        let mut count = 0;
        let mut touched = BTreeSet::new();
        for Token(number) in tokens {
            let mut entry = None;
            let Some((destination, was)) = self.whose(*number, &mut entry)? else { continue };
            if self.act_on(*number, &destination, &Change::Forget { was: was.into() })? {
                count += 1;
            }
            touched.extend(entry.map(|entry| entry.first));
        }
        let mut new: HashMap<u64, HashMap<&str, Vec<u8>>> = HashMap::new();
        for event in events {
            for (_, number) in self.find(&event.id)?.deliveries {
                let Some(entry) = Entry::of(&self.staged.view, number)? else { continue };
                touched.insert(entry.first);
                new.entry(entry.first).or_default().insert(event.id.as_str(), value::to_json(event)?);
            }
        }
        if !touched.is_empty() {
            self.erase(&touched, &new)?;
        }
        self.staged.durable = true;
        Ok(count)
    }

    /// Forgets snapshots, and the memos about their calls.
    fn forget_calls(&mut self, calls: &[(Name, CallId)]) -> Result<(), Fault> {
        let mut lanes = HashSet::new();
        for (source, call) in calls {
            self.forgotten.add(source, call);
            let key = keys::snapshot(source, call);
            if let Some((head, body)) = self.staged.view.parts(&key)? {
                let mut snapshot = Stored { head, body }.snapshot(call)?;
                snapshot.forget();
                let stored = Stored::of(call, &snapshot)?;
                self.staged.view.put_bytes(&key, &stored.head, &stored.body)?;
            }
            let lane = Subject::Call { source: source.clone(), call: call.clone() };
            let memo = keys::memo(&"".into(), &lane);
            lanes.extend(keys::lane_of_memo(memo.as_ref()).map(<[u8]>::to_vec));
        }
        if lanes.is_empty() {
            return Ok(());
        }
        for item in self.disk.scan(&keys::all_memos(), None) {
            let key = Key::from(item?.0);
            if keys::lane_of_memo(key.as_ref()).is_some_and(|lane| lanes.contains(lane)) {
                self.staged.view.remove(&key)?;
            }
        }
        Ok(())
    }

    /// Erases the events of forgotten deliveries in these entries, in one write with their end, and then the changes of those
    /// deliveries, which hold what receivers answered. `new` holds events that take the place of others, by entry and id.
    fn erase(
        &mut self,
        entries: &BTreeSet<u64>,
        new: &HashMap<u64, HashMap<&str, Vec<u8>>>,
    ) -> Result<(), Fault> {
        for first in entries {
            let Some(entry) = Entry::of(&self.staged.view, *first)? else { continue };
            if !self.have_block(block_of(*first))? {
                continue;
            }
            let key = keys::events(*first);
            let Some((head, body)) = self.staged.view.parts(&key)? else { continue };
            let gone = self.outbox.block(block_of(*first)).map(|sums| sums.gone.clone()).unwrap_or_default();
            let ids: Vec<String> =
                entry.heads().map(|(_, head)| Ok(head?.event.to_owned())).collect::<Result<_, Fault>>()?;
            let (head, body) = entry::with_events(&head, &body, |deliveries, json| {
                if deliveries.iter().all(|place| gone.contains(place_of(first + place))) {
                    return Cow::Borrowed(&[]);
                }
                let id = deliveries.first().and_then(|place| ids.get(usize::try_from(*place).ok()?));
                let new = id.and_then(|id| new.get(first)?.get(id.as_str()));
                new.map_or(Cow::Borrowed(json), |new| Cow::Owned(new.clone()))
            })?;
            self.staged.view.put_bytes(&key, &head, &body)?;
            self.remove_if_gone(&entry)?;
        }
        self.write()?;
        // Changes are thinned out where they are folded.
        self.fold_to = u64::MAX;
        while self.is_folding() {
            self.fold(usize::MAX)?;
        }
        for block in entries.iter().map(|first| block_of(*first)).collect::<BTreeSet<_>>() {
            if self.have_block(block)? {
                self.thin_out(block)?;
            }
        }
        Ok(())
    }
}
