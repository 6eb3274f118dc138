//! The keys of a file of tests. docs/testing-rules.md explains them.

use std::time::Duration;

use super::times::LONGEST;
use crate::{
    config::{Key, Literal, ValueType},
    kind::Kind,
};

/// The call of a step that names none.
pub(super) const DEFAULT_CALL: &str = "call-1";

pub(super) const CONFIG: Key =
    Key::new("config", ValueType::Path, "the config, relative to this file; `--config` goes before both")
        .means("`NAME.toml` beside `NAME.test.toml`");
pub(super) const START: Key = Key::new("start", ValueType::DateTime, "when a test begins");
pub(super) const TEST: Key =
    Key::new("test", ValueType::List(&ValueType::Table(TEST_KEYS)), "what must be so").required("[[test]]");

pub(super) const NAME: Key =
    Key::new("name", ValueType::Text, "what must be so").required("\"an unhappy caller is told once\"");
pub(super) const RULES: Key = Key::new(
    "rules",
    ValueType::List(&ValueType::Name("rule")),
    "the only rules at work; the others are as if they were not in the config",
)
.means("all");
pub(super) const UNTIL: Key = Key::new(
    "until",
    ValueType::Duration(Duration::ZERO, LONGEST),
    "how long the clock runs on after the last step",
)
.means("until nothing is pending, at most 8 days");
pub(super) const NOTHING_ELSE: Key =
    Key::new("nothing_else", ValueType::Boolean, "whatever is told and not expected fails the test")
        .default(Literal::Boolean(true));
pub(super) const STEP: Key =
    Key::new("step", ValueType::List(&ValueType::Table(STEP_KEYS)), "something happens");
pub(super) const EXPECT: Key =
    Key::new("expect", ValueType::List(&ValueType::Table(EXPECT_KEYS)), "somebody is told something");
pub(super) const NEVER: Key =
    Key::new("never", ValueType::List(&ValueType::Table(NEVER_KEYS)), "somebody must not be told something");
const TEST_KEYS: &[Key] = &[NAME, START, RULES, UNTIL, NOTHING_ELSE, STEP, EXPECT, NEVER];

pub(super) const AT: Key = Key::new("at", ValueType::Time, "when");
pub(super) const CALL: Key = Key::new("call", ValueType::Text, "which call: its id");
pub(super) const SOURCE: Key =
    Key::new("source", ValueType::Name("source"), "of which source").means("the first one");
pub(super) const SET: Key = Key::new(
    "set",
    ValueType::TableOf(&ValueType::Text),
    "new values of the call's fields; the others stay as they are",
);
pub(super) const CLEAR: Key =
    Key::new("clear", ValueType::OneOrList(&ValueType::FieldPath), "fields that become null");
pub(super) const DELETE: Key =
    Key::new("delete", ValueType::Boolean, "the call is gone").default(Literal::Boolean(false));
pub(super) const HAPPENS: Key = Key::new(
    "happens",
    ValueType::Word {
        what: "kind of change",
        words: &[Kind::SourceFailing.as_str(), Kind::SourceRecovered.as_str()],
    },
    "something about the source itself, instead of a call",
);
const STEP_KEYS: &[Key] = &[AT, CALL, SOURCE, SET, CLEAR, DELETE, HAPPENS];

pub(super) const WITHIN: Key =
    Key::new("within", ValueType::List(&ValueType::Time), "the earliest and the latest time");
pub(super) const RULE: Key = Key::new("rule", ValueType::Name("rule"), "why").required("\"unhappy-caller\"");
pub(super) const TO: Key =
    Key::new("to", ValueType::OneOrList(&ValueType::Name("destination")), "who").means("all of the rule");
pub(super) const TITLE: Key = Key::new("title", ValueType::Text, "the title, whole");
pub(super) const TITLE_CONTAINS: Key = Key::new("title_contains", ValueType::Text, "a part of the title");
pub(super) const COUNT: Key =
    Key::new("count", ValueType::Integer(1, 1_000_000), "how many events are told together");
const EXPECT_KEYS: &[Key] = &[AT, WITHIN, RULE, TO, CALL, TITLE, TITLE_CONTAINS, COUNT];
const NEVER_KEYS: &[Key] = &[RULE, TO];
