//! Calls that were forgotten: a write that was prepared before must not bring them back.

use std::collections::HashSet;

use super::{Commit, Settlement};
use crate::{
    call::CallId,
    event::{Event, Subject},
    name::Name,
    summary,
};

/// Calls that were forgotten.
#[derive(Default)]
pub(super) struct Forgotten(HashSet<Subject>);

impl Forgotten {
    pub(super) fn add(&mut self, source: &Name, call: &CallId) {
        self.0.insert(Subject::Call { source: source.clone(), call: call.clone() });
    }

    /// Takes out of a source's commit what would bring such a call back.
    pub(super) fn keep_out_of_commit(&self, source: &Name, commit: &mut Commit) {
        if self.0.is_empty() {
            return;
        }
        for (call, snapshot) in &mut commit.snapshots {
            let subject = Subject::Call { source: source.clone(), call: call.clone() };
            if self.0.contains(&subject) && !snapshot.is_forgotten() {
                snapshot.forget();
            }
        }
        commit.events.retain(|new| !self.0.contains(&new.event.subject));
    }

    /// Takes out of a settlement what would bring such a call back.
    pub(super) fn keep_out_of_settlement(&self, settlement: &mut Settlement) {
        if self.0.is_empty() {
            return;
        }
        for (_, memo) in settlement.memos.iter_mut().filter(|(lane, _)| self.0.contains(lane)) {
            *memo = None;
        }
        if let Some(merge) = &mut settlement.merge
            && let Some(event) = self.without(&merge.event)
        {
            merge.event = event;
        }
    }

    /// An event that stands for several without those calls; `None` when it tells of none of them.
    fn without(&self, event: &Event) -> Option<Event> {
        summary::without(event, |subject| self.0.contains(subject)).map(|(event, _)| event)
    }
}
