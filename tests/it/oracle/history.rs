//! The calls of the simulated API, and the states that each of them goes through.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use callwatch::demo::callem::SimulatedCallem;
use serde_json::{Value, json};

use crate::rig::record;

/// How many calls are there before callwatch starts.
const OLD: usize = 150;

/// How many calls change at once in a burst.
const BURST: usize = 200;

/// The size in bytes of a large transcript: more than the store writes in one batch.
const GIANT: usize = 600_000;

/// A call's record as it was for a while.
pub struct State {
    pub record: Arc<Value>,
    /// Byte for byte as it is served.
    pub text: String,
    /// The number of the answer that first gave it out.
    given_out: Option<u64>,
}

/// All states of a call, in order.
#[derive(Default)]
pub struct History {
    /// Whether it was there before callwatch started. Then its first state is not news.
    pub is_old: bool,
    /// At least one.
    pub states: Vec<State>,
    /// Whether it was deleted in the end.
    pub is_deleted: bool,
}

pub struct Histories {
    pub callem: SimulatedCallem,
    pub calls: BTreeMap<String, History>,
    /// How many answers had been given when each process of callwatch ended.
    ends: Vec<u64>,
    /// The answers during which the source's task was replaced by another one: it may not have committed what it got.
    replacements: Vec<RangeInclusive<u64>>,
}

impl Histories {
    /// Starts the API with the calls that are there from the beginning.
    pub async fn new() -> Self {
        let callem = SimulatedCallem::start().await.unwrap();
        callem.set_rate_limit(None);
        let mut histories = Self { callem, calls: BTreeMap::new(), ends: vec![], replacements: vec![] };
        for n in 0..OLD {
            histories.change(&format!("old{n:05}"), |call| {
                call["createdAt"] = "2025-12-15T14:00:00.000Z".into();
                finish(call, n as u64 * 7 % 600);
                analyze(call, n);
            });
        }
        histories.calls.values_mut().for_each(|history| history.is_old = true);
        histories
    }

    /// The API key of the process that runs now. Requests of a killed process that are still on their way have an old
    /// key and are refused, so that their answers do not count as given out.
    pub fn key(&self) -> String {
        format!("ck_live_{:060}", self.ends.len())
    }

    /// Notes that the process has ended.
    pub fn end_of_life(&mut self) {
        let ended = self.ends.len() + 1;
        self.callem.set_key(&format!("ck_live_{ended:060}"));
        self.ends.push(self.callem.answers());
    }

    /// Makes the API accept the key of the process that is about to start.
    pub fn begin(&self) {
        self.callem.set_key(&self.key());
    }

    /// Whether this state must have been committed: callwatch commits an answer before it makes the next request, and
    /// the process that got the state made another request.
    pub fn was_committed(&self, state: &State) -> bool {
        let end = |answer: u64| self.ends.iter().find(|end| **end >= answer);
        let is_doubtful = |answer: u64| self.replacements.iter().any(|answers| answers.contains(&answer));
        state
            .given_out
            .is_some_and(|answer| !is_doubtful(answer) && end(answer).is_some_and(|end| *end > answer))
    }

    /// Notes that the source's task was replaced by another one between this answer and now.
    pub fn task_replaced(&mut self, since: u64) {
        self.replacements.push(since..=self.callem.answers());
    }

    /// Notes the present states that have been given out.
    pub fn note(&mut self) {
        for (id, history) in self.calls.iter_mut().filter(|(_, history)| !history.is_deleted) {
            history.states.last_mut().unwrap().given_out = self.callem.given_out(id);
        }
    }

    /// Brings a call into its next state, or adds a new call in its first.
    fn change(&mut self, id: &str, change: impl FnOnce(&mut Value)) {
        let history = self.calls.entry(id.to_owned()).or_default();
        let mut call = match history.states.last_mut() {
            Some(state) => {
                state.given_out = self.callem.given_out(id);
                Value::clone(&state.record)
            }
            None => {
                let mut call = record(id, "live");
                // In the future, so that the call is news whenever the baseline begins.
                call["createdAt"] = "2100-01-01T00:00:00.000Z".into();
                call
            }
        };
        change(&mut call);
        // No two states of a call are the same.
        call["revision"] = history.states.len().into();
        self.callem.add(call.clone());
        let text = self.callem.record(id).unwrap();
        history.states.push(State { record: Arc::new(call), text, given_out: None });
    }

    fn delete(&mut self, id: &str) {
        let history = self.calls.get_mut(id).unwrap();
        history.states.last_mut().unwrap().given_out = self.callem.given_out(id);
        history.is_deleted = true;
        self.callem.delete(id);
    }

    /// Changes a few calls: some start, some go on, some are deleted. `old` says whether calls that were there before
    /// callwatch started may change, too.
    pub fn go_on(&mut self, random: &mut fastrand::Rng, old: bool) {
        for _ in 0..random.usize(1..4) {
            self.start(random);
        }
        let ids = self.present(old);
        for id in &ids {
            let odds = if self.is_live(id) { 2 } else { 1 + ids.len() / 5 };
            if random.usize(..odds) == 0 {
                self.live_on(id, random);
            }
        }
        if random.u8(..4) == 0 {
            self.delete(&ids[random.usize(..ids.len())]);
        }
        if random.u8(..12) == 0 {
            let id = self.start(random);
            self.change(&id, |call| {
                call["transcript"] = json!([{ "role": "user", "content": "x".repeat(GIANT) }]);
            });
        }
    }

    /// Adds a call that is over, long and unhappy when it is first seen, so that several rules fire on one observation
    /// whatever else happens.
    pub fn begin_with_all(&mut self) {
        let id = format!("call{:05}", self.calls.len());
        self.change(&id, |call| {
            finish(call, 400);
            analyze(call, 0);
        });
    }

    /// Changes a great many calls at once.
    pub fn burst(&mut self, random: &mut fastrand::Rng) {
        let mut ids = self.present(true);
        random.shuffle(&mut ids);
        ids.truncate(BURST);
        ids.iter().for_each(|id| self.live_on(id, random));
    }

    fn present(&self, old: bool) -> Vec<String> {
        let present = |history: &History| !history.is_deleted && (old || !history.is_old);
        self.calls.iter().filter(|(_, history)| present(history)).map(|(id, _)| id.clone()).collect()
    }

    fn is_live(&self, id: &str) -> bool {
        self.calls[id].states.last().unwrap().record["status"] == "live"
    }

    fn start(&mut self, random: &mut fastrand::Rng) -> String {
        let id = format!("call{:05}", self.calls.len());
        let is_over = random.u8(..4) == 0;
        let duration = random.u64(30..600);
        self.change(&id, |call| {
            if is_over {
                finish(call, duration);
            }
        });
        id
    }

    /// Ends or analyzes a call, or edits it.
    fn live_on(&mut self, id: &str, random: &mut fastrand::Rng) {
        let (live, step, number) = (self.is_live(id), random.u8(..8), random.usize(..1000));
        self.change(id, |call| match step {
            _ if live => {
                finish(call, number as u64);
                if step < 6 {
                    analyze(call, number);
                }
            }
            0..=3 => analyze(call, number),
            4 => call["duration"] = number.into(),
            5 => call["summary"] = format!("Edited: {number} <b> & \"quotes\" é").into(),
            6 => call["note"] = json!({ "by": number, "nested": [1, null, 2.5e-3] }),
            _ => {
                call.as_object_mut().unwrap().remove("note");
                call["transcript"].as_array_mut().unwrap().push(json!({ "role": "user", "content": "So." }));
            }
        });
    }
}

fn finish(call: &mut Value, duration: u64) {
    call["status"] = "completed".into();
    call["duration"] = duration.into();
    call["summary"] = format!("They spoke for {duration} seconds.").into();
}

fn analyze(call: &mut Value, number: usize) {
    let sentiment = ["negative", "neutral", "positive"][number % 3];
    call["callAnalysis"] =
        json!({ "sentiment": sentiment, "appointmentBooked": number.is_multiple_of(2), "n": number });
}
