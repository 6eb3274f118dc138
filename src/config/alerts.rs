//! `[alerts]`, the short way to everything that callwatch tells of itself, and `[heartbeat]`, for when it can tell nothing.

use std::{ops::Range, sync::Arc, time::Duration};

use super::{
    context::Context,
    fingerprint::Fingerprint,
    key::{Key, Literal, MINUTE, SECOND, ValueType, days},
    report::Mistake,
    rules::Target,
    secret::{Secret, secret},
    table::{Declared, Table},
    values::{is_loopback, parse_web_address, reference},
};
use crate::{
    event::Severity,
    kind::{Kind, Kinds},
    name::Name,
    rule::{Rule, RuleText},
};

const TO: Key = Key::new(
    "to",
    ValueType::List(&ValueType::Name("destination")),
    "the destinations that are told; two or more, so that one can tell of another",
)
.required("[\"frontdesk\", \"manager\"]");
/// The keys of `[alerts]`.
pub(crate) const ALERTS: &[Key] = &[TO];

/// The name of the rule that `[alerts]` stands for. No table can be called so.
const RULE_NAME: &str = "[alerts]";

/// Whether it is the name of the rule that `[alerts]` stands for, which is none of `[rules]`.
pub fn is_of_alerts(rule: &str) -> bool {
    rule == RULE_NAME
}

const URL: Key = Key::new(
    "url",
    ValueType::Secret,
    "the address that is asked for with GET; whoever is behind it raises the alarm when that stops",
)
.required("{ env = \"HEARTBEAT_URL\" }");
const EVERY: Key =
    Key::new("every", ValueType::Duration(SECOND, days(1)), "how often").default(Literal::Duration(MINUTE));
/// The keys of `[heartbeat]`.
pub(crate) const HEARTBEAT: &[Key] = &[URL, EVERY];

/// `[heartbeat]`
#[derive(Clone, Debug)]
pub struct HeartbeatConfig {
    /// The address, a secret as a whole.
    pub url: Secret,
    /// How often it is asked for. Default 1 min.
    pub every: Duration,
    /// Tells the table from an edited one.
    fingerprint: Fingerprint,
}

impl PartialEq for HeartbeatConfig {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for HeartbeatConfig {}

impl HeartbeatConfig {
    /// Reads `[heartbeat]`.
    pub(crate) fn read(table: &mut Table<'_>) -> Option<Self> {
        let url = table.read(&URL, |value| {
            let found = secret(value)?;
            match found.content().map(parse_web_address) {
                Some(Err(why)) => {
                    Err(value.error(why).hint("write it whole, as in \"https://hc.example.com/ping/…\""))
                }
                Some(Ok(url)) if url.scheme() == "http" && !is_loopback(url.host()) => {
                    value.cx.add(
                        value
                            .warning("with http, this address goes over the network in clear")
                            .hint("use https"),
                    );
                    Ok(found.secret)
                }
                _ => Ok(found.secret),
            }
        });
        let every = table.duration(&EVERY);
        Some(Self { url: url?, every, fingerprint: table.fingerprint() })
    }
}

/// Reads `[alerts]`: a rule on everything that callwatch tells of itself.
pub(crate) fn read(table: &mut Table<'_>, destinations: &Declared, targets: &[Target]) -> Option<Rule> {
    let to = table.set(&TO, |value| reference(value, "destination", destinations))?;
    let on = Kinds::from_iter(Kind::ALERTS);
    insist(table.cx, table.span_of(&TO), on, &to, destinations);
    let merges = |target: &&Target| target.merges && to.contains(&target.name);
    let merging = targets.iter().filter(merges).map(|target| target.name.clone()).collect();
    // Quiet hours do not hold back what is critical, so nothing of it waits.
    let text = RuleText { severity: Severity::Critical, ..RuleText::default() };
    Some(Rule { merging, text: Arc::new(text), ..Rule::new(Name::from(RULE_NAME), on, to) })
}

/// Reports a rule about destinations that tells only one: an event about a destination is never sent to that destination.
pub(super) fn insist(cx: &Context<'_>, place: Range<usize>, on: Kinds, to: &[Name], declared: &Declared) {
    let [only] = to else { return };
    if !on.iter().any(Kind::is_of_destination) || !declared.contains(only.as_str()) {
        return;
    }
    let is_in_vain = on.iter().all(Kind::is_of_destination) && declared.places().len() == 1;
    cx.add(if is_in_vain {
        Mistake::error(place, format!("this rule can reach nobody: `{only}` is the only destination"))
            .hint("what is about a destination is not told through it: add another destination")
    } else {
        Mistake::warning(place, format!("no alert is sent when `{only}` itself is in trouble"))
            .hint("what is about a destination is not told through it: add another one to `to`")
    });
}
