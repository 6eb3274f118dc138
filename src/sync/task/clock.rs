//! What fires on the clock, as the source's task drives it.

use std::sync::Arc;

use super::Poller;
use crate::{
    call::CallId, kind::Kind, rule::Rule, snapshot::Snapshot, store::StoreError, sync::observe::Observations,
    time::Timestamp,
};

impl Poller {
    /// Fires the rules whose time has come.
    pub(super) async fn tell_the_time(&mut self) -> Result<(), StoreError> {
        for call in self.state.clockwork.take_due() {
            self.look_again(call).await?;
        }
        if self.planner.in_baseline() {
            return Ok(());
        }
        for rule in Arc::clone(&self.task.rules).iter() {
            self.tell_silence(rule).await?;
        }
        Ok(())
    }

    async fn look_again(&mut self, call: CallId) -> Result<(), StoreError> {
        let source = self.task.config.name.clone();
        let found = self.task.store.snapshots(&source, std::slice::from_ref(&call)).await?;
        let snapshot: Option<Snapshot> = found.into_iter().next().flatten();
        let Some(snapshot) = snapshot else { return Ok(()) };
        let mut observations = Observations::new();
        self.observer().observe_again(&call, &snapshot, &mut observations);
        self.commit(observations).await
    }

    /// When there is something to do for the clock, unless something is seen before.
    pub(super) fn clock_due(&self) -> Option<Timestamp> {
        let due = |rule| self.state.clockwork.silence_due(rule, self.settled());
        self.rules_here().filter_map(due).min()
    }

    /// The rules that look at this source.
    fn rules_here(&self) -> impl Iterator<Item = &Rule> {
        self.task.rules.iter().filter(|rule| rule.looks_at(&self.task.config.name))
    }

    /// When a source that was away has had the time to say what happened meanwhile.
    fn settled(&self) -> Timestamp {
        self.started.after(self.task.config.interval)
    }

    async fn tell_silence(&mut self, rule: &Rule) -> Result<(), StoreError> {
        let (settled, now) = (self.settled(), self.task.clock.wall());
        let Some(silence) = rule.silence.as_ref().filter(|_| rule.looks_at(&self.task.config.name)) else {
            return Ok(());
        };
        let Some(since) = self.state.clockwork.take_silence(rule, settled, now) else { return Ok(()) };
        self.tell(Kind::SourceSilent, since, &silence.details(since), std::slice::from_ref(rule)).await
    }
}
