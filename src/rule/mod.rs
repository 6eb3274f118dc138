//! Rules: which changes matter, and to whom.
//!
//! [`condition`] is the only module that knows CEL; [`fire`] decides, purely, whether a rule fires for a change.

pub mod condition;
pub mod fire;
pub mod pacing;

use std::{borrow::Borrow, collections::BTreeMap, fmt, sync::Arc, time::Duration};

use serde_json::{Value, json};

use self::{condition::Condition, pacing::Pacing};
use crate::{
    calendar::Hours,
    change::Changes,
    event::Severity,
    kind::{Kind, Kinds},
    name::Name,
    template::Template,
    time::Timestamp,
};

/// `[rules.NAME]`, checked and compiled.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The table's name.
    pub name: Name,
    /// The kinds of change it looks at (`on`).
    pub on: Kinds,
    /// Its condition (`when`). A rule without one is a feed: it fires on every change of the kinds in `on`.
    pub when: Option<Condition>,
    /// The destinations that its events are delivered to.
    pub to: Vec<Name>,
    /// The destinations whose deliveries are not simply due at once: because of the rule's pacing, or because the
    /// destination has quiet hours.
    pub sorted: Vec<Name>,
    /// The destinations that get one message about all rules that fire on one observation (their `merge`).
    pub merging: Vec<Name>,
    /// For each destination that is not shown every field, a test whether it is shown any part of a change.
    pub sights: Vec<(Name, Sight)>,
    /// The sources it looks at; `None` for all.
    pub sources: Option<Vec<Name>>,
    /// Whether it may fire more than once for a call.
    pub repeat: bool,
    /// Changes that happened longer ago than this are not announced.
    pub max_age: Option<Duration>,
    /// `for`: it fires only once the condition has been true for this long.
    pub lasting: Option<Duration>,
    /// `silence`: it fires when no call starts.
    pub silence: Option<Silence>,
    /// Limits that keep it from flooding.
    pub pacing: Pacing,
    /// How its events are worded.
    pub text: Arc<RuleText>,
}

/// The rules of a config, in its order and by their names. Shared, and swapped as a whole.
#[derive(Debug, Default)]
pub struct RuleSet {
    ordered: Vec<Rule>,
    places: BTreeMap<Name, usize>,
}

/// A shared [`RuleSet`].
pub type Rules = Arc<RuleSet>;

impl RuleSet {
    /// A set of these rules, to be shared.
    pub fn of(rules: &[Rule]) -> Rules {
        Arc::new(rules.iter().cloned().collect())
    }

    /// All rules, in the order of the config.
    pub fn iter(&self) -> std::slice::Iter<'_, Rule> {
        self.ordered.iter()
    }

    /// The rule of this name.
    pub fn get<N: Ord + ?Sized>(&self, name: &N) -> Option<&Rule>
    where
        Name: Borrow<N>,
    {
        self.places.get(name).and_then(|place| self.ordered.get(*place))
    }
}

impl FromIterator<Rule> for RuleSet {
    /// If two rules have the same name, the later one is found by it.
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Self {
        let ordered: Vec<Rule> = rules.into_iter().collect();
        let places = ordered.iter().enumerate().map(|(place, rule)| (rule.name.clone(), place)).collect();
        Self { ordered, places }
    }
}

impl<'a> IntoIterator for &'a RuleSet {
    type Item = &'a Rule;
    type IntoIter = std::slice::Iter<'a, Rule>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Rule {
    /// A feed of every change of the kinds in `on`, each told by itself and at once.
    pub fn new(name: Name, on: Kinds, to: Vec<Name>) -> Self {
        Self {
            name,
            on,
            when: None,
            to,
            sorted: vec![],
            merging: vec![],
            sights: vec![],
            sources: None,
            repeat: false,
            max_age: None,
            lasting: None,
            silence: None,
            pacing: Pacing::default(),
            text: Arc::default(),
        }
    }

    /// Whether `destination` gets an event about this change. A feed sends it no update when none of the changed fields
    /// is shown to it; an update whose fields are not known is sent.
    pub fn tells(&self, destination: &Name, kinds: Kinds, changes: &Changes) -> bool {
        let is_update_of_feed = self.when.is_none() && kinds == Kind::Updated.into() && !changes.0.is_empty();
        let sight = self.sights.iter().find(|(name, _)| name == destination);
        !is_update_of_feed || sight.is_none_or(|(_, sight)| sight.is_shown(changes))
    }

    /// Whether it looks at calls of this source.
    pub fn looks_at(&self, source: &Name) -> bool {
        self.sources.as_ref().is_none_or(|sources| sources.contains(source))
    }
}

/// Says whether a destination is shown anything of changes.
#[derive(Clone)]
pub struct Sight(Arc<dyn Fn(&Changes) -> bool + Send + Sync>);

impl Sight {
    /// A sight that `is_shown` decides.
    pub fn new(is_shown: impl Fn(&Changes) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_shown))
    }

    fn is_shown(&self, changes: &Changes) -> bool {
        self.0(changes)
    }
}

impl fmt::Debug for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sight")
    }
}

/// `silence = "2h"`: fires when no call has started in a source for this long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// How long the silence must last.
    pub lasting: Duration,
    /// The hours in which silence counts; `None` for always.
    pub hours: Option<Hours>,
}

impl Silence {
    /// When silence since `latest` has lasted long enough; `None` if the hours are never that long in one piece.
    pub fn told_at(&self, latest: Timestamp) -> Option<Timestamp> {
        let Some(hours) = &self.hours else { return Some(latest.after(self.lasting)) };
        let mut from = hours.next(latest)?;
        // Hours repeat every week, so a silence that does not fit within two weeks never does.
        let last = from.after(Duration::from_secs(15 * 24 * 3600));
        while from < last {
            let due = from.after(self.lasting);
            match hours.end(from) {
                Some(end) if end < due => from = hours.next(end)?,
                _ => return Some(due),
            }
        }
        None
    }

    /// The details of an event about silence since `since`.
    pub fn details(&self, since: Timestamp) -> Value {
        let lasting = humantime::format_duration(self.lasting).to_string();
        json!({ "since": since.to_string(), "silence": lasting })
    }
}

/// How a rule's events are worded for people.
#[derive(Clone, Debug, Default)]
pub struct RuleText {
    /// One line. The default says what happened and with whom.
    pub title: Option<Template>,
    /// The text after the title. The default is the call's summary and its most telling fields.
    pub body: Option<Template>,
    /// What the reader should do. The default depends on `severity`.
    pub advice: Option<Template>,
    /// How much its events matter.
    pub severity: Severity,
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::calendar::Zone;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn an_update_that_a_destination_is_shown_nothing_of_is_not_told_by_a_feed() {
        let blind = Sight::new(|_| false);
        assert_eq!(format!("{blind:?}"), "Sight");
        let all: Kinds = [Kind::Ended, Kind::Updated].into_iter().collect();
        let feed = Rule {
            sights: vec![
                ("blind".into(), blind),
                ("seeing".into(), Sight::new(|changes| !changes.0.is_empty())),
            ],
            ..Rule::new("feed".into(), all, vec![])
        };
        let when = Some(Condition::compile("call.isEngaged").unwrap());
        let with_condition = Rule { when, ..feed.clone() };
        let changes = Changes(serde_json::Map::from_iter([("summary".to_owned(), Value::Null)]));
        for (rule, destination, kinds, changes, is_told) in [
            (&feed, "blind", Kind::Updated.into(), &changes, false),
            (&feed, "seeing", Kind::Updated.into(), &changes, true),
            (&feed, "another", Kind::Updated.into(), &changes, true),
            (&feed, "blind", Kind::Ended.into(), &changes, true),
            (&feed, "blind", all, &changes, true),
            (&feed, "blind", Kind::Updated.into(), &Changes::default(), true),
            (&with_condition, "blind", Kind::Updated.into(), &changes, true),
        ] {
            assert_eq!(rule.tells(&destination.into(), kinds, changes), is_told, "{destination}, {kinds:?}");
        }
    }

    #[test]
    fn silence_counts_within_its_hours() {
        let hours = Hours::parse(["MON-FRI 08:00-18:00"], Zone::UTC).unwrap();
        let silence =
            |hour: u64| Silence { lasting: Duration::from_secs(hour * 3600), hours: Some(hours.clone()) };
        // Monday morning; Monday evening until Tuesday; Friday evening until Monday; before opening.
        for (latest, due) in [
            ("2025-12-15T09:00:00Z", "2025-12-15T11:00:00Z"),
            ("2025-12-15T17:00:00Z", "2025-12-16T10:00:00Z"),
            ("2025-12-19T16:30:00Z", "2025-12-22T10:00:00Z"),
            ("2025-12-15T05:00:00Z", "2025-12-15T10:00:00Z"),
        ] {
            assert_eq!(silence(2).told_at(at(latest)), Some(at(due)), "{latest}");
        }
        assert_eq!(silence(11).told_at(at("2025-12-15T09:00:00Z")), None);
        let always = Silence { lasting: Duration::from_secs(3600), hours: None };
        assert_eq!(always.told_at(at("2025-12-15T23:30:00Z")), Some(at("2025-12-16T00:30:00Z")));
    }
}
