//! One test notification through the real rendering and delivery, and the receiver's answer.

mod sample;

use std::{sync::Arc, time::Instant};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::sample::Sample;
use crate::{
    config_file::Config,
    destination::{self, Answer, DestinationConfig, Notification, Reaction},
    event::Event,
    http,
    kind::Kind,
    name::{Name, quoted},
    privacy::mask_phones_in,
    rule::{Rule, RuleSet},
    store::StoreError,
    telemetry::Telemetry,
    template::truncate,
    time::Timestamp,
};

/// The most of an answer that is told, in characters.
const EXCERPT: usize = 300;

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The config has no destination, or no rule, of this name.
    #[error("there is no {what} `{name}`; there is {known}")]
    Unknown {
        /// A destination or a rule.
        what: &'static str,
        /// The name that was asked for.
        name: Name,
        /// The names there are.
        known: String,
    },
    /// The rule watches no source of the config.
    #[error("no event can be made up for rule `{0}`")]
    NoSample(Name),
    /// No connection can be made with this config.
    #[error(transparent)]
    Http(#[from] http::ClientError),
    /// The destination cannot be built.
    #[error(transparent)]
    Build(#[from] destination::BuildError),
    /// The rehearsal that makes up the event failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The made-up event cannot be put into words.
    #[error("the sample cannot be rendered: {0}")]
    Record(#[from] serde_json::Error),
}

/// A notification that can be sent for a test.
pub struct Trial<'c> {
    to: &'c DestinationConfig,
    rule: Name,
    rules: Arc<RuleSet>,
    event: Arc<Event>,
    /// Whether the rule would have told of the event.
    is_true: bool,
    now: Timestamp,
}

/// A test notification that was sent, and the receiver's answer.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Tried {
    /// The destination.
    pub destination: Name,
    /// The rule that worded it.
    pub rule: Name,
    /// Whether the rule would have told of the call that was made up.
    pub fulfils_rule: bool,
    /// The id of the event; it begins with `evt_test_`.
    pub event: String,
    /// The title, or how long the body of a webhook is.
    pub title: String,
    /// Remarks about it: that a text of the rule failed, and the default was used in its place.
    pub notes: Vec<String>,
    /// Whether it arrived.
    pub arrived: bool,
    /// The result in words.
    pub result: String,
    /// The beginning of the receiver's answer.
    pub response: String,
    /// The future of a real delivery with this answer; `None` when it has arrived.
    pub advice: Option<String>,
    /// Milliseconds until the answer.
    pub took_ms: u64,
}

impl<'c> Trial<'c> {
    /// Makes up an event, worded as `rule` words it; without one as the first rule that tells this destination does.
    ///
    /// # Errors
    /// When there is no such destination or rule, or no event can be made up.
    pub async fn of(
        config: &'c Config,
        destination: &Name,
        rule: Option<&Name>,
        now: Timestamp,
    ) -> Result<Self, TrialError> {
        let unknown = |what, name: &Name, known| TrialError::Unknown { what, name: name.clone(), known };
        let Some(to) = config.destinations.iter().find(|it| it.name == *destination) else {
            let known = quoted(config.destinations.iter().map(|it| &it.name));
            return Err(unknown("destination", destination, known));
        };
        let rule = match rule {
            Some(name) => {
                config.rules.iter().find(|rule| rule.name == *name).cloned().ok_or_else(|| {
                    unknown("rule", name, quoted(config.rules.iter().map(|rule| &rule.name)))
                })?
            }
            None => {
                let told = config.rules.iter().find(|rule| rule.to.contains(&to.name));
                // No rule of the config tells this destination, so the event comes from a rule made for it.
                let own = || Rule::new("test".into(), Kind::Ended.into(), vec![to.name.clone()]);
                told.cloned().unwrap_or_else(own)
            }
        };
        let sample = Sample::of(&rule, config, now).await?;
        let Sample { event, is_true } = sample.ok_or_else(|| TrialError::NoSample(rule.name.clone()))?;
        let rules = RuleSet::of(&config.rules);
        Ok(Self { to, rule: rule.name, rules, event: Arc::new(event), is_true, now })
    }

    /// The notification.
    pub fn notification(&self) -> Notification<'_> {
        let Self { rules, event, now, .. } = self;
        Notification { event, rules, sequence: 1, memo: None, followed: false, now: *now }
    }

    /// The event.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Where it goes.
    pub fn to(&self) -> &'c DestinationConfig {
        self.to
    }

    /// Sends it, and waits for the receiver's answer, at most as long as an attempt may take.
    ///
    /// # Errors
    /// When nothing could be sent.
    pub async fn send(&self) -> Result<Tried, TrialError> {
        let shown = destination::show(self.to, &self.notification())?;
        let receiver = destination::build(self.to, &http::client()?, &Telemetry::default())?;
        let begun = Instant::now();
        let answer = receiver.deliver(&self.notification()).await;
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let size = || format!("{}, {} bytes", self.event.type_name(), shown.text.len());
        Ok(Tried {
            destination: self.to.name.clone(),
            rule: self.rule.clone(),
            fulfils_rule: self.is_true,
            event: self.event.id.to_string(),
            title: shown.title.clone().unwrap_or_else(size),
            notes: shown.notes,
            arrived: answer.reaction == Reaction::Delivered,
            result: mask_phones_in(&answer.result),
            response: truncate(&mask_phones_in(&answer.response), EXCERPT),
            advice: advice(&answer),
            took_ms,
        })
    }
}

/// Tells what would become of a real delivery; `None` when it has arrived.
fn advice(answer: &Answer) -> Option<String> {
    match &answer.reaction {
        Reaction::Delivered => None,
        Reaction::Retry { after: Some(after) } => {
            let after = humantime::format_duration(*after);
            Some(format!("a real delivery would be tried again; it asked to be left alone for {after}"))
        }
        Reaction::Retry { after: None } => Some("a real delivery would be tried again".to_owned()),
        Reaction::Dead(reason) => {
            Some(format!("a real delivery would be given up: {}", mask_phones_in(reason)))
        }
        Reaction::Pause(reason) => {
            Some(format!("a real delivery would wait until the config changes: {}", mask_phones_in(reason)))
        }
    }
}
