//! Rules: which changes matter, and to whom.
//!
//! [`condition`] is the only module that knows CEL; [`fire`] decides, purely, whether a rule fires for a change.

pub mod condition;
pub mod fire;

use std::{sync::Arc, time::Duration};

use self::condition::Condition;
use crate::{event::Severity, kind::Kinds, name::Name, template::Template};

/// `[rules.NAME]`, checked and compiled.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The table's name.
    pub name: Name,
    /// The kinds of change it looks at.
    pub on: Kinds,
    /// Its condition; a rule without one is a feed and fires on every change it looks at.
    pub when: Option<Condition>,
    /// The destinations.
    pub to: Vec<Name>,
    /// The sources it looks at; `None` means all.
    pub sources: Option<Vec<Name>>,
    /// Whether it may fire more than once for a call.
    pub repeat: bool,
    /// What happened longer ago than this is not announced.
    pub max_age: Option<Duration>,
    /// How it wants to be said.
    pub text: Arc<RuleText>,
}

impl Rule {
    /// Whether it looks at this source.
    pub fn looks_at(&self, source: &Name) -> bool {
        self.sources.as_ref().is_none_or(|sources| sources.contains(source))
    }
}

/// How a rule wants its events to be said to people.
#[derive(Clone, Debug, Default)]
pub struct RuleText {
    /// One line; the default says what happened and with whom.
    pub title: Option<Template>,
    /// What follows the title; the default is the call's summary and its most telling fields.
    pub body: Option<Template>,
    /// How much it matters.
    pub severity: Severity,
}
