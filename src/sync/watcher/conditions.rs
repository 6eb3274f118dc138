//! Rules whose conditions cannot be evaluated, whatever the call.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    name::Name,
    rule::{RuleSet, condition::Condition},
    time::Timestamp,
};

/// A condition that has failed this often in a row is taken to fail at every evaluation. Fewer failures may be due to
/// one odd call.
const FAILURES: u32 = 3;

/// Conditions that fail. The counts are lost with the process; which failures have been reported is kept.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Conditions {
    /// The fingerprints of the conditions whose failure has been reported, by rule.
    told: BTreeMap<Name, u64>,
    #[serde(skip)]
    streaks: BTreeMap<Name, Streak>,
}

/// Failures of one condition in a row.
#[derive(Debug)]
struct Streak {
    condition: u64,
    since: Timestamp,
    failures: u32,
}

impl Conditions {
    /// The condition of a rule could be evaluated. Returns whether its failure had been reported.
    pub(super) fn succeeded(&mut self, rule: &Name) -> bool {
        self.streaks.remove(rule);
        self.told.remove(rule).is_some()
    }

    /// The condition of a rule could not be evaluated. Returns since when, if that has to be reported now.
    pub(super) fn failed(&mut self, rule: &Name, condition: &Condition, now: Timestamp) -> Option<Timestamp> {
        let fingerprint = condition.fingerprint();
        let begun = || Streak { condition: fingerprint, since: now, failures: 0 };
        let streak = self.streaks.entry(rule.clone()).or_insert_with(begun);
        if streak.condition != fingerprint {
            *streak = begun();
        }
        streak.failures = streak.failures.saturating_add(1);
        let is_news = streak.failures >= FAILURES && self.told.get(rule) != Some(&fingerprint);
        is_news.then(|| {
            self.told.insert(rule.clone(), fingerprint);
            streak.since
        })
    }

    /// Forgets the rules that are gone.
    pub(super) fn follow_rules(&mut self, rules: &RuleSet) {
        self.told.retain(|rule, _| rules.get(rule).is_some());
        self.streaks.retain(|rule, _| rules.get(rule).is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_fails_every_time_is_told_once_until_it_succeeds_or_is_edited() {
        let at = Timestamp::from_millis;
        let condition = |text| Condition::compile(text).unwrap();
        let (mine, edited) = (condition("call.a / call.b > 1"), condition("call.a / call.b > 2"));
        let rule = Name::from("odd");
        let mut conditions = Conditions::default();
        let look = |conditions: &mut Conditions, condition, now: &[i64]| {
            now.iter().map(|now| conditions.failed(&rule, condition, at(*now))).collect::<Vec<_>>()
        };
        assert_eq!(look(&mut conditions, &mine, &[1, 2]), [None, None]);
        assert!(!conditions.succeeded(&rule), "then it is not every time");
        assert_eq!(look(&mut conditions, &mine, &[4, 5, 6, 7]), [None, None, Some(at(4)), None]);
        assert_eq!(look(&mut conditions, &edited, &[8, 9, 10]), [None, None, Some(at(8))]);
        let kept = serde_json::to_value(&conditions).unwrap();
        let mut conditions: Conditions = serde_json::from_value(kept).unwrap();
        assert_eq!(look(&mut conditions, &edited, &[11, 12, 13, 14]), [None; 4], "told before the restart");
        assert!(conditions.succeeded(&rule));
        assert_eq!(look(&mut conditions, &edited, &[16, 17, 18]), [None, None, Some(at(16))]);
    }
}
