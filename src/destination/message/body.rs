//! Renders a webhook's own body: its template can use the event and the message about it.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{Visible, Writer};
use crate::{
    destination::Notification,
    event::Event,
    summary::Summary,
    template::{ChangeContext, Context, EventContext, MessageContext, Template, TemplateError},
};

impl Writer {
    /// Renders `template` for `notification`. The second value holds remarks about the message in it.
    ///
    /// # Errors
    /// The outer error when the event's record is not JSON, because the store is damaged; the inner one is the template's.
    pub(in crate::destination) fn write_body(
        &self,
        notification: &Notification<'_>,
        template: &Template,
        secrets: &BTreeMap<&str, &str>,
    ) -> Result<(Result<String, TemplateError>, Vec<String>), serde_json::Error> {
        let event = notification.event;
        let message = self.write(notification)?;
        let summary = Summary::of(event)?;
        let (count, told): (_, Vec<Event>) = match &summary {
            Some(summary) => (summary.count, summary.items.clone()),
            None => (1, vec![Event::clone(event)]),
        };
        let mut shown = told
            .iter()
            .map(|event| Visible::whole(event, message.severity, self.language, &self.fields))
            .collect::<Result<Vec<_>, _>>()?;
        shown.sort_by_key(|item| Reverse((item.at(), item.event.at)));
        let calls: Vec<_> = shown.iter().filter_map(Visible::call).collect();
        let whole = Visible::whole(event, message.severity, self.language, &self.fields)?;
        let newest = shown.first().unwrap_or(&whole);
        let body = template.render_body(&Context {
            kinds: event.kinds,
            change: ChangeContext { kinds: event.kinds },
            rule: event.rule.as_str(),
            event: EventContext {
                id: event.id.as_str(),
                r#type: &event.type_name(),
                time: &event.at.to_string(),
            },
            message: Some(MessageContext { title: &message.title, message: &message.plain(), secrets }),
            ..newest.context(count, &calls)
        });
        Ok((body, message.notes))
    }
}
