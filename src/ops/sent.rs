//! The message of a delivery, in the words of its destination.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Filter, Ops, OpsError, no_delivery, scan::Scan};
use crate::{
    call::CallId,
    change::Changes,
    config::ShownFields,
    destination::{self, DestinationConfig, FieldFilter, Notification},
    event::{Event, EventId},
    json,
    name::Name,
    privacy::{escaped, mask_phone, mask_phones_in},
    rule::RuleSet,
    snapshot::TRANSCRIPT,
    store::StoreError,
    telling::to_raw,
    template::truncate,
};

/// The most of a text that is shown, in characters.
const MOST: usize = 50_000;

/// A notification as its receiver reads it, but for what may not be shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Message)]
pub struct Sent {
    /// The title; a webhook has none.
    pub title: Option<String>,
    /// The text, or a webhook's body. Secrets in it are masked.
    pub text: String,
    /// Remarks about it: that a text of the rule failed, and the default was used in its place.
    pub notes: Vec<String>,
}

/// It tells of a call, which must not reach a log.
impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sent").field("length", &self.text.len()).finish_non_exhaustive()
    }
}

impl Ops {
    /// The message of a delivery, as rules and destination of the config at work word it. Phone numbers are masked and
    /// transcripts left out unless `show` says otherwise, before anything is worded: no template can bring them back.
    /// `None` when the config has no such destination any more.
    ///
    /// # Errors
    /// [`OpsError::NoDelivery`] when there is no such delivery.
    pub async fn sent(
        &self,
        event: &EventId,
        destination: &Name,
        show: ShownFields,
    ) -> Result<Option<Sent>, OpsError> {
        let filter = Filter::event(event.clone(), Some(destination.clone()));
        let now = self.clock.wall();
        let record = Scan::new(&*self.store, &filter, None, 1, now).next().await?;
        let record = record.ok_or_else(|| no_delivery(&filter))?;
        let event = self.store.bodies(&[record.token]).await?.into_iter().next().flatten();
        let event = event.ok_or_else(|| no_delivery(&filter))?;
        let Some(to) = self.config.destinations.iter().find(|to| to.name == *destination) else {
            return Ok(None);
        };
        let damaged = |error: serde_json::Error| StoreError::Damaged {
            path: self.config.store.path.display().to_string(),
            why: format!("the event {}: {error}", event.id),
            advice: "`callwatch restore` brings the last backup back".to_owned(),
        };
        let event = hidden(&event, show).map_err(damaged)?.into();
        let rules = RuleSet::of(&self.config.rules);
        let (event, sequence) = (&event, record.sequence);
        let notification = Notification { event, rules: &rules, sequence, memo: None, followed: false, now };
        // The number is masked already, and a hash of the masked text would be wrong, so render without the key.
        let to = match show.numbers {
            true => to.clone(),
            false => DestinationConfig {
                fields: FieldFilter { hash_key: None, ..to.fields.clone() },
                ..to.clone()
            },
        };
        let shown = destination::show(&to, &notification).map_err(damaged)?;
        // A body is read more easily with line breaks.
        let pretty = serde_json::from_str::<Value>(&shown.text).ok().filter(Value::is_object);
        let text = pretty.map_or(shown.text, |body| format!("{body:#}"));
        let clean = |text: &str| truncate(&escaped(text), MOST);
        Ok(Some(Sent {
            title: shown.title.as_deref().map(clean),
            text: clean(&text),
            notes: shown.notes.iter().map(|note| clean(note)).collect(),
        }))
    }
}

/// The event without what may not be shown of calls.
fn hidden(event: &Event, show: ShownFields) -> Result<Event, serde_json::Error> {
    let mut record = match json::fields(event.record.get()) {
        // Only what strangers wrote can be too large or too deep to be read as it is.
        Some(fields) if event.subject.batch().is_none() => Value::Object(fields),
        _ => serde_json::from_str(event.record.get())?,
    };
    let veil = Veil { show, call: event.subject.call().map(CallId::as_str) };
    veil.hide(&mut record);
    let mut changes = Value::Object(event.changes.0.clone());
    veil.hide(&mut changes);
    let changes = match changes {
        Value::Object(changes) => Changes(changes),
        _ => Changes::default(),
    };
    Ok(Event { record: to_raw(&record), changes, ..event.clone() })
}

/// Hides what may not be shown of a call.
struct Veil<'a> {
    show: ShownFields,
    /// The id of the call, which may look like a number of a phone.
    call: Option<&'a str>,
}

impl Veil<'_> {
    /// Takes transcripts out of a value and masks the numbers in it.
    fn hide(&self, value: &mut Value) {
        match value {
            Value::String(text) if !self.show.numbers && self.call != Some(text) => {
                *text = mask_phones_in(text);
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide(item)),
            Value::Object(fields) => {
                if !self.show.transcripts {
                    fields.shift_remove(TRANSCRIPT);
                }
                for (name, value) in fields {
                    match value {
                        // A number that is written without quotes.
                        Value::Number(number)
                            if !self.show.numbers && name.to_lowercase().contains("number") =>
                        {
                            *value = Value::String(mask_phone(&number.to_string()));
                        }
                        value => self.hide(value),
                    }
                }
            }
            _ => {}
        }
    }
}
