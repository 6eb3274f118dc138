//! Judges whether callwatch has caught up with the simulated world, and whether anything was lost.

use super::{DemoError, Ending, OLD_CALLS, Show};
use crate::{
    call::{CallId, RecordHash},
    demo::{
        balance::{Balance, DestinationBalance},
        world::Receiver,
    },
    name::Name,
    store::{KnownCall, StoreError},
};

impl Show {
    /// Whether the store knows every call as it is, no delivery is pending, and everything owed has arrived.
    pub(super) async fn has_caught_up(&self) -> Result<bool, StoreError> {
        Ok(self.books.owed().is_empty()
            && self.stale().await? == 0
            && self.nodes.store.destinations().await?.values().all(|it| it.tally.unfinished() == 0))
    }

    /// How many calls have a record in the store that is not, byte for byte, that of the simulated API.
    async fn stale(&self) -> Result<u64, StoreError> {
        const PAGE: usize = 500;
        let mut stale = 0;
        for (source, callem) in &self.world.sources {
            let mut up_to_date = 0;
            let mut after: Option<CallId> = None;
            loop {
                let page = self.nodes.store.known(source, after.as_ref(), PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.id.clone());
                let is_up_to_date = |call: &&KnownCall| {
                    let record = callem.record(call.id.as_str());
                    record.is_some_and(|record| RecordHash::of(record.as_bytes()) == call.record)
                };
                up_to_date += page.iter().filter(is_up_to_date).count();
            }
            stale += callem.len().saturating_sub(up_to_date) as u64;
        }
        Ok(stale)
    }

    /// The lines of the summary, and whether anything was lost.
    pub(super) async fn summarize(&mut self) -> Result<(Vec<String>, Ending), DemoError> {
        let standings = self.nodes.store.destinations().await?;
        let destination = |((name, receiver), refused): (&(Name, Receiver), &u64)| DestinationBalance {
            tally: standings.get(name).map(|it| it.tally).unwrap_or_default(),
            refused: *refused,
            provoked: if matches!(receiver, Receiver::Webhook(_)) { self.provoked } else { 0 },
            has_ids: receiver.has_ids(),
            edits: receiver.edits(),
            name: name.clone(),
        };
        let sources = &self.world.sources;
        let balance = Balance {
            lasted: self.lasted,
            waited: self.waited,
            books: &self.books,
            old_calls: u64::from(OLD_CALLS) * sources.len() as u64,
            stale: self.stale().await?,
            requests: sources.iter().map(|(_, callem)| callem.request_counts().total()).sum(),
            events: self.nodes.events(),
            kills: self.nodes.kills,
            destinations: self.world.destinations.iter().zip(&self.refused).map(destination).collect(),
            own_config: !self.promised,
        };
        let ending = if balance.problems().is_empty() { Ending::NoneLost } else { Ending::Lost };
        Ok((balance.lines(self.style), ending))
    }
}
