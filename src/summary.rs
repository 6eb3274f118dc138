//! Several events told as one.
//!
//! Deliveries of one destination that are held for the same reason wait in a *batch*. When the batch goes out, one
//! event stands for all of them, and its record is a [`Summary`].

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    batch::BatchKey,
    call::CallId,
    change::Changes,
    event::{Event, EventId, Subject},
    json::{self, Budget, Shallow},
    kind::Kinds,
    name::Name,
    snapshot::TRANSCRIPT,
    time::Timestamp,
};

/// The most events that a summary lists; of the others it only gives the number.
pub const MAX_ITEMS: usize = 50;

/// The summarizer holds up to this many items before it sorts them and drops all but the latest [`MAX_ITEMS`], so that
/// not every event costs a sort.
const MAX_HELD: usize = 2 * MAX_ITEMS;

/// The field that says how a caller felt.
pub const SENTIMENT: &str = "callAnalysis.sentiment";

/// An item of a summary holds a call's record, and its changes, whole up to this many bytes. Of longer ones it holds an
/// excerpt, as much as a message can show.
pub const MAX_ITEM: usize = 64 << 10;

/// The longest word for a sentiment, in characters.
const MAX_SENTIMENT: usize = 40;

/// Why events were told together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The rule's `group`.
    Group,
    /// The rule's `throttle`.
    Throttle,
    /// The rule's `count`: so many came in.
    Count,
    /// The rule's `digest`.
    Digest,
    /// The destination's quiet hours.
    Quiet,
}

impl From<&BatchKey> for Reason {
    fn from(batch: &BatchKey) -> Self {
        match batch {
            BatchKey::Group { .. } => Self::Group,
            BatchKey::Count { .. } => Self::Count,
            BatchKey::Throttle { .. } => Self::Throttle,
            BatchKey::Digest(_) => Self::Digest,
            BatchKey::Quiet | BatchKey::Alone => Self::Quiet,
        }
    }
}

/// The record of an event that tells several others.
#[derive(Serialize, Deserialize)]
pub struct Summary {
    /// The reason for telling them together.
    pub reason: Reason,
    /// When the first of them happened.
    pub since: Timestamp,
    /// How many events there are.
    pub count: u64,
    /// How many calls they are about; 0 in a summary that was stored before calls were counted.
    #[serde(default)]
    pub calls: u64,
    /// How many events there are of each rule; one that tells several rules counts for each of them.
    pub rules: BTreeMap<Name, u64>,
    /// How many calls have each `callAnalysis.sentiment`; calls without one are not counted.
    pub sentiments: BTreeMap<String, u64>,
    /// The latest of them, newest first, at most [`MAX_ITEMS`]; each with the call as it was when the summary was made,
    /// without its transcript, and as an excerpt when it is longer than [`MAX_ITEM`].
    pub items: Vec<Event>,
}

/// Summaries hold calls, which must not reach a log, so only what identifies them is shown.
impl fmt::Debug for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Summary")
            .field("reason", &self.reason)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Summary {
    /// The summary that `event` holds; `None` when the event stands for no others.
    ///
    /// # Errors
    /// When its record is not a summary, which a store could only bring back damaged.
    pub fn of(event: &Event) -> Result<Option<Self>, serde_json::Error> {
        event.subject.batch().map(|_| serde_json::from_str(event.record.get())).transpose()
    }

    /// Whether its items alone say all that it counts: none is left out, and none is an excerpt without its sentiment.
    fn is_told_by_its_items(&self) -> bool {
        let mut calls: HashMap<&Subject, Option<String>> = HashMap::new();
        for item in &self.items {
            calls.entry(&item.subject).or_insert_with(|| sentiment(&item.record));
        }
        let told = calls.into_values().flatten().count() as u64;
        self.items.len() as u64 == self.count && told == self.sentiments.values().sum::<u64>()
    }

    /// The rule of all of them, when they have the same.
    pub fn only_rule(&self) -> Option<&Name> {
        let mut rules = self.rules.keys();
        rules.next().filter(|_| rules.next().is_none())
    }
}

/// A summary without the listed events for which `left_out` is true, under the same id; `None` when the event is no
/// summary or lists none of them. Nothing may be left in the list.
pub fn without(event: &Event, left_out: impl Fn(&Subject) -> bool) -> Option<(Event, Summary)> {
    let mut summary = Summary::of(event).ok()??;
    let (out, left): (Vec<_>, Vec<_>) =
        std::mem::take(&mut summary.items).into_iter().partition(|item| left_out(&item.subject));
    if out.is_empty() {
        return None;
    }
    let mut calls: HashMap<&Subject, Option<String>> = HashMap::new();
    for item in &out {
        summary.count = summary.count.saturating_sub(1);
        for rule in item.rules() {
            summary.rules.entry(rule.clone()).and_modify(|count| *count = count.saturating_sub(1));
        }
        // The latest comes first.
        calls.entry(&item.subject).or_insert_with(|| sentiment(&item.record));
    }
    summary.calls = summary.calls.saturating_sub(calls.len() as u64);
    for sentiment in calls.into_values().flatten() {
        summary.sentiments.entry(sentiment).and_modify(|count| *count = count.saturating_sub(1));
    }
    summary.rules.retain(|_, count| *count > 0);
    summary.sentiments.retain(|_, count| *count > 0);
    summary.items = left;
    let record = serde_json::value::to_raw_value(&summary).ok()?.into();
    Some((Event { record, ..event.clone() }, summary))
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::Group, Self::Throttle, Self::Count, Self::Digest, Self::Quiet];

    /// The name that a summary of several rules has in place of a rule's.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Throttle => "throttle",
            Self::Count => "count",
            Self::Digest => "digest",
            Self::Quiet => "quiet-hours",
        }
    }
}

/// Makes one event of many. Keeps only the events that are listed, so that memory stays bounded.
pub struct Summarizer {
    summary: Summary,
    /// The latest sentiment of each call.
    sentiments: HashMap<(Name, CallId), Option<String>>,
    kinds: Kinds,
    /// Hash over the ids of all events, for the id of the one that tells them.
    content: Xxh3,
}

impl Summarizer {
    /// A summarizer without events.
    pub fn new(reason: Reason) -> Self {
        let summary = Summary {
            reason,
            since: Timestamp::from_millis(i64::MAX),
            count: 0,
            calls: 0,
            rules: BTreeMap::new(),
            sentiments: BTreeMap::new(),
            items: vec![],
        };
        Self { summary, sentiments: HashMap::new(), kinds: Kinds::NONE, content: Xxh3::new() }
    }

    /// Adds an event. Of a summary, the counts and the listed events are added, not the summary itself.
    pub fn add(&mut self, event: &Event) {
        self.content.update(event.id.as_str().as_bytes());
        self.kinds = self.kinds | event.kinds;
        let summary = &mut self.summary;
        if let Ok(Some(inner)) = Summary::of(event) {
            // Its calls may be those of another summary, too.
            if inner.is_told_by_its_items() {
                inner.items.iter().rev().for_each(|item| self.list(item));
                return;
            }
            summary.since = summary.since.min(inner.since);
            summary.count += inner.count;
            summary.calls += inner.calls;
            for (rule, count) in inner.rules {
                *summary.rules.entry(rule).or_default() += count;
            }
            for (sentiment, count) in inner.sentiments {
                *summary.sentiments.entry(sentiment).or_default() += count;
            }
            summary.items.extend(inner.items);
            self.keep_few();
        } else {
            self.list(event);
        }
    }

    /// Counts one event, and lists it.
    fn list(&mut self, event: &Event) {
        let summary = &mut self.summary;
        summary.since = summary.since.min(event.at);
        summary.count += 1;
        for rule in event.rules() {
            *summary.rules.entry(rule.clone()).or_default() += 1;
        }
        if let Subject::Call { source, call } = &event.subject {
            let sentiment = sentiment(&event.record);
            self.sentiments.insert((source.clone(), call.clone()), sentiment);
        }
        summary.items.push(item_of(event));
        self.keep_few();
    }

    fn keep_few(&mut self) {
        if self.summary.items.len() > MAX_HELD {
            self.keep_latest();
        }
    }

    /// How many events there are.
    pub fn count(&self) -> u64 {
        self.summary.count
    }

    /// The listed events about calls, by source, so that each can show its call as it is now.
    pub fn calls_by_source(&mut self) -> BTreeMap<Name, Vec<(CallId, &mut Event)>> {
        self.keep_latest();
        let mut by_source: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for item in &mut self.summary.items {
            if let Subject::Call { source, call } = item.subject.clone() {
                by_source.entry(source).or_default().push((call, item));
            }
        }
        by_source
    }

    /// The event that stands for all of them, told to `destination` at `now`; `None` when there are none.
    pub fn event(mut self, destination: &Name, batch: BatchKey, now: Timestamp) -> Option<Event> {
        self.keep_latest();
        let mut summary = self.summary;
        summary.calls += self.sentiments.len() as u64;
        for sentiment in self.sentiments.into_values().flatten() {
            *summary.sentiments.entry(sentiment).or_default() += 1;
        }
        for item in &mut summary.items {
            leave_out_transcript(item);
        }
        summary.items.first()?;
        let rule = summary.only_rule().cloned().unwrap_or_else(|| summary.reason.as_str().into());
        let content = self.content.digest128().to_be_bytes();
        Some(Event {
            id: EventId::compute(destination, &batch.to_string(), &rule, &content, 1),
            subject: Subject::Batch(batch),
            rule,
            also: vec![],
            kinds: self.kinds,
            changes: Changes::default(),
            at: now,
            record: serde_json::value::to_raw_value(&summary).ok()?.into(),
        })
    }

    fn keep_latest(&mut self) {
        self.summary.items.sort_by_key(|item| Reverse(item.at));
        self.summary.items.truncate(MAX_ITEMS);
    }
}

/// Replaces the call in an item of a summary by these fields of the call.
pub fn show(item: &mut Event, fields: &Map<String, Value>) {
    let is_whole = json::is_small(fields, MAX_ITEM);
    let excerpt = (!is_whole).then(|| json::excerpt_of_fields(fields, &mut Budget::share(MAX_ITEMS)));
    if let Ok(record) = serde_json::value::to_raw_value(excerpt.as_ref().unwrap_or(fields)) {
        item.record = record.into();
    }
}

/// The event as an item of a summary.
fn item_of(event: &Event) -> Event {
    let Event { id, subject, rule, also, kinds, changes, at, record } = event;
    let mut budget = Budget::share(MAX_ITEMS);
    let changes = match json::is_small(&changes.0, MAX_ITEM) {
        true => changes.clone(),
        false => Changes(json::excerpt_of_fields(&changes.0, &mut budget)),
    };
    let mut item = Event {
        id: id.clone(),
        subject: subject.clone(),
        rule: rule.clone(),
        also: also.clone(),
        kinds: *kinds,
        changes,
        at: *at,
        record: Arc::clone(record),
    };
    if record.get().len() > MAX_ITEM {
        leave_out_transcript(&mut item);
    }
    if item.record.get().len() > MAX_ITEM {
        let excerpt = json::excerpt(item.record.get(), &mut budget).unwrap_or_default();
        if let Ok(record) = serde_json::value::to_raw_value(&excerpt) {
            item.record = record.into();
        }
    }
    item
}

fn leave_out_transcript(event: &mut Event) {
    let rest = Shallow::read(event.record.get()).ok().and_then(|fields| fields.without(TRANSCRIPT));
    if let Some(record) = rest.and_then(|rest| RawValue::from_string(rest).ok()) {
        event.record = record.into();
    }
}

/// `callAnalysis.sentiment`, read without the rest of the record.
fn sentiment(record: &RawValue) -> Option<String> {
    let fields = Shallow::read(record.get()).ok()?;
    let analysis = Shallow::read(fields.get("callAnalysis")?.get()).ok()?;
    let sentiment = analysis.get("sentiment").filter(|value| value.get().starts_with('"'))?;
    Some(json::text(sentiment).chars().take(MAX_SENTIMENT).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::Kind;

    fn raw(value: &Value) -> Arc<RawValue> {
        serde_json::value::to_raw_value(value).unwrap().into()
    }

    /// What `rule` tells of a call, this many seconds after the first.
    fn event(number: u64, call: &str, rule: &str, sentiment: &str) -> Event {
        Event {
            id: EventId::test(number),
            subject: subject(call),
            rule: rule.into(),
            also: vec![],
            kinds: Kind::Ended.into(),
            changes: Changes::default(),
            at: at(number),
            record: raw(&json!({ "id": call, "callAnalysis": { "sentiment": sentiment }, "transcript": [] })),
        }
    }

    fn subject(call: &str) -> Subject {
        Subject::Call { source: "clinic".into(), call: call.into() }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_765_809_145_000 + 1000 * seconds.cast_signed())
    }

    fn told<'e>(events: impl IntoIterator<Item = &'e Event>) -> Event {
        let mut summarizer = Summarizer::new(Reason::Digest);
        for event in events {
            summarizer.add(event);
            assert!(summarizer.summary.items.len() <= MAX_HELD, "memory stays bounded");
        }
        summarizer.event(&"desk".into(), BatchKey::Quiet, at(1000)).unwrap()
    }

    /// Events, calls, rules and sentiments as numbers, and what is listed.
    fn totals(summary: &Summary) -> String {
        let Summary { count, calls, rules, sentiments, items, .. } = summary;
        let counts = |counts: Vec<String>| counts.join(" ");
        let rules = counts(rules.iter().map(|(rule, count)| format!("{rule}:{count}")).collect());
        let sentiments = counts(sentiments.iter().map(|(word, count)| format!("{word}:{count}")).collect());
        let items = counts(items.iter().map(|item| item.at.since(at(0)).as_secs().to_string()).collect());
        format!("{count} of {calls}; {rules}; {sentiments}; {items}")
    }

    fn read(event: &Event) -> Summary {
        Summary::of(event).unwrap().unwrap()
    }

    #[test]
    fn events_are_counted_by_call_rule_and_sentiment_and_so_are_those_of_summaries() {
        let first = [
            event(1, "a", "unhappy", "negative"),
            event(2, "b", "happy", "positive"),
            event(3, "a", "unhappy", "neutral"),
        ];
        let one = told(&first);
        let summary = read(&one);
        assert_eq!(totals(&summary), "3 of 2; happy:1 unhappy:2; neutral:1 positive:1; 3 2 1");
        assert_eq!((summary.since, summary.only_rule()), (at(1), None));
        assert_eq!(one.rule.as_str(), "digest");
        assert!(!one.record.get().contains("transcript"));

        let other = told(&[event(5, "c", "unhappy", "negative"), event(6, "d", "unhappy", "negative")]);
        assert_eq!(read(&other).only_rule(), Some(&"unhappy".into()));
        assert_eq!(other.rule.as_str(), "unhappy");
        let both = read(&told([&one, &other, &event(7, "e", "unhappy", "neutral")]));
        assert_eq!(totals(&both), "6 of 5; happy:1 unhappy:5; negative:2 neutral:2 positive:1; 7 6 5 3 2 1");
        assert_eq!(both.since, at(1));

        // A call that several are about is counted once.
        let again = told(&[event(8, "a", "unhappy", "negative")]);
        assert_eq!(
            totals(&read(&told([&one, &again]))),
            "4 of 2; happy:1 unhappy:3; negative:1 positive:1; 8 3 2 1"
        );
    }

    #[test]
    fn what_is_left_out_is_counted_no_more() {
        let events = [
            event(1, "a", "unhappy", "negative"),
            event(2, "b", "happy", "positive"),
            event(3, "a", "unhappy", "neutral"),
        ];
        let whole = told(&events);
        let left = |out: &str| {
            without(&whole, |of| *of == subject(out)).map(|(event, summary)| {
                assert_eq!((&event.id, totals(&read(&event))), (&whole.id, totals(&summary)));
                totals(&summary)
            })
        };
        assert_eq!(left("a").as_deref(), Some("1 of 1; happy:1; positive:1; 2"));
        assert_eq!(left("b").as_deref(), Some("2 of 1; unhappy:2; neutral:1; 3 1"));
        assert_eq!(left("c"), None);
        assert!(without(&events[0], |_| true).is_none(), "it tells of one call");
    }

    #[test]
    fn only_the_latest_are_listed() {
        let events: Vec<_> = (0..120).map(|number| event(number, "a", "unhappy", "negative")).collect();
        let summary = read(&told(&events));
        assert_eq!((summary.count, summary.calls, summary.items.len()), (120, 1, MAX_ITEMS));
        assert_eq!((summary.items[0].at, summary.items[49].at), (at(119), at(70)));
        let summary = read(&told(events[..MAX_HELD - 1].iter().chain([&told(&events)])));
        assert_eq!((summary.count, summary.items.len(), summary.items[0].at), (219, MAX_ITEMS, at(119)));
    }

    #[test]
    fn a_long_record_loses_its_transcript_and_then_becomes_an_excerpt() {
        let of_length = |length: usize, with: &str| {
            let frame = format!("{{{with}\"summary\":\"\"}}").len();
            let record = format!("{{{with}\"summary\":\"{}\"}}", "x".repeat(length - frame));
            let record = RawValue::from_string(record).unwrap();
            item_of(&Event { record: record.into(), ..event(1, "a", "unhappy", "negative") }).record
        };
        let transcript = "\"transcript\":[],";
        assert_eq!(of_length(MAX_ITEM, transcript).get().len(), MAX_ITEM, "it is held whole");
        let rest = of_length(MAX_ITEM + transcript.len(), transcript);
        assert_eq!(rest.get().len(), MAX_ITEM, "the rest is held whole");
        assert!(!rest.get().contains("transcript"));
        assert!(of_length(MAX_ITEM + 1, "").get().len() < MAX_ITEM, "an excerpt is shorter");
    }
}
