//! Tells what happens in the demo, in one line each. Pure.

use std::time::Duration;

use super::{
    reading::lines_of,
    receivers::{Arrival, Message},
    sighting::{Sighting, mask_numbers},
    terminal::BESIDE,
    world::{INTERVAL, World},
};
use crate::{
    config_file::Config,
    name::Name,
    store::Verdict,
    style::{Colour, Style},
    telemetry::Signal,
    time::Timestamp,
};

/// Makes the lines.
#[derive(Debug)]
pub struct Narrator {
    style: Style,
    /// The beginning, from which times are counted.
    begun: Timestamp,
    /// The width of the column with the name of what a line is about.
    who: usize,
    /// Whether a line about a call has to name its source.
    many_sources: bool,
}

impl Narrator {
    /// A narrator of what happens in `world`, counting time from `begun`.
    pub fn new(style: Style, world: &World, begun: Timestamp) -> Self {
        let names = world.destinations.iter().map(|(name, _)| name);
        let names = names.chain(world.sources.iter().map(|(name, _)| name));
        let longest = names.map(|name| name.as_str().len()).max().unwrap_or(0);
        Self {
            style,
            begun,
            who: longest.clamp("callwatch".len(), 20),
            many_sources: world.sources.len() > 1,
        }
    }

    /// The first lines, which explain the demo to a newcomer.
    pub fn introduction(
        &self,
        world: &World,
        config: &Config,
        old: u32,
        lasts: Option<Duration>,
        nodes: Option<(usize, &str)>,
    ) -> Vec<String> {
        let row = |who: &str, address: &str, what: &str| {
            let who = format!("{who:<width$}", width = self.who + 1);
            format!("  {}  {address:<29}  {what}", self.style.paint(Colour::Bold, &who))
        };
        let title = "callwatch demo: the whole way of a call, on this machine only";
        let mut lines = vec![self.style.paint(Colour::Bold, title), String::new()];
        for (name, callem) in &world.sources {
            let what = format!("a simulated Callem, {old} old calls");
            lines.push(row(name.as_str(), callem.base_url().as_str(), &what));
        }
        let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let work = format!("polls every {}", humantime::format_duration(INTERVAL));
        let rules = counted(config.rules.len(), "rule");
        let store = match nodes {
            Some((1, _)) => "one process over a database".to_owned(),
            Some((count, _)) => format!("{count} processes over one database"),
            None => "a temporary store".to_owned(),
        };
        lines.push(row("callwatch", &work, &format!("{rules}, {store}")));
        for (name, receiver) in &world.destinations {
            lines.push(row(name.as_str(), &receiver.address(), receiver.describe()));
        }
        let mut told = vec![];
        if world.paced {
            told.push(
                "Nothing is held back here: groups, digests, throttles, counts and quiet hours play no part."
                    .to_owned(),
            );
        }
        if let Some((_, server)) = nodes {
            told.push(format!(
                "One process after the other is killed and begins again; the database is one of its own beside {server}."
            ));
        }
        let end = match lasts {
            Some(lasts) => {
                format!("Ends with a summary after {}, or at Ctrl-C.", humantime::format_duration(lasts))
            }
            None => "Ctrl-C ends it with a summary.".to_owned(),
        };
        let legend = [Mark::Call, Mark::Rule, Mark::Arrival].map(|mark| mark.paint(self.style));
        let [call, rule, arrival] = legend;
        lines.push(String::new());
        lines.push(format!(
            "{call} a call changed   {rule} a rule matched   {arrival} it arrived (with the time it took)"
        ));
        lines.extend(told);
        lines.extend([end, String::new()]);
        lines
    }

    /// The line for something that callwatch did or ran into; `None` when that is only of interest in a log.
    pub fn signal(&self, signal: &Signal, now: Timestamp) -> Option<String> {
        Some(match signal {
            Signal::Listening { address } => self.note(&format!("all of it in a browser: http://{address}/")),
            Signal::BaselineDone { source, calls, events: 0 } => {
                let text = format!("{calls} calls were here before: remembered, not announced");
                self.line(now, Mark::Call, source.as_str(), &text)
            }
            Signal::BaselineDone { source, calls, events } => {
                let s = if *events == 1 { "" } else { "s" };
                let text = format!("{calls} calls were here before: remembered, {events} event{s}");
                self.line(now, Mark::Call, source.as_str(), &text)
            }
            Signal::Changed { source, kinds, caller, .. } => {
                let kinds = kinds.to_string().replace('+', " and ");
                let who = if self.many_sources { source.as_str() } else { "call" };
                self.line(now, Mark::Call, who, &format!("{caller} {kinds}"))
            }
            Signal::Fired { rule, destinations, .. } => {
                let to = destinations.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
                self.line(now, Mark::Rule, "rule", &format!("{rule} → {to}"))
            }
            Signal::Joined { rules, destinations, .. } => {
                let names = |of: &[Name]| of.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
                let text = format!("{} in one message → {}", names(rules), names(destinations));
                self.line(now, Mark::Rule, "rules", &text)
            }
            Signal::Attempted { delivery, result, verdict, .. } => {
                let destination = delivery.destination.as_str();
                match verdict {
                    Verdict::Delivered => return None,
                    Verdict::Retry(at) => {
                        let wait = seconds(at.since(now));
                        self.line(now, Mark::Trouble, destination, &format!("{result}; next try in {wait}"))
                    }
                    Verdict::Dead(why) => {
                        self.line(now, Mark::Trouble, destination, &format!("given up: {why}"))
                    }
                }
            }
            Signal::DestinationFailing { destination, pause, failures, last } => {
                let lasts = seconds(*pause);
                let text =
                    format!("left alone for {lasts}: {failures} attempts in a row failed; last: {last}");
                self.line(now, Mark::Trouble, destination.as_str(), &text)
            }
            Signal::DestinationPaused { destination, pause, why } => {
                let lasts =
                    pause.map_or("until it is resumed".to_owned(), |pause| format!("for {}", seconds(pause)));
                let text = format!("left alone {lasts}: {why}");
                self.line(now, Mark::Trouble, destination.as_str(), &text)
            }
            Signal::DestinationResumed { destination } => {
                self.line(now, Mark::Arrival, destination.as_str(), "takes deliveries again")
            }
            Signal::FetchFailed { source, error, .. } => {
                self.line(now, Mark::Trouble, source.as_str(), error)
            }
            Signal::RuleFailed { rule, error } => self.line(now, Mark::Trouble, rule.as_str(), error),
            Signal::TextFailed { rule, part, error } => self.line(
                now,
                Mark::Trouble,
                rule.as_str(),
                &format!("its {part} could not be rendered: {error}"),
            ),
            Signal::StoreFailed { doing, error } => {
                self.line(now, Mark::Trouble, "store", &format!("failed while {doing}: {error}"))
            }
            Signal::TooOld { rule, .. } => {
                self.line(now, Mark::Rule, "rule", &format!("{rule}: older than its max_age, not announced"))
            }
            Signal::BaselineProgress { .. }
            | Signal::Fetched { .. }
            | Signal::SourceFailing { .. }
            | Signal::SourceRecovered { .. }
            | Signal::Held { .. }
            | Signal::Summarized { .. }
            | Signal::BadRecord { .. }
            | Signal::SourceTroubled { .. }
            | Signal::Stale { .. }
            | Signal::Forgot { .. }
            | Signal::SourceNotice { .. }
            | Signal::Unknown { .. }
            | Signal::NotFired { .. }
            | Signal::Store(_)
            | Signal::Started { .. }
            | Signal::ConfigApplied { .. }
            | Signal::ConfigRejected { .. }
            | Signal::ConfigDoubtful { .. }
            | Signal::ConfigOnDisk { .. }
            | Signal::Stranded { .. }
            | Signal::Stopping { .. }
            | Signal::Stopped(_)
            | Signal::HeartbeatSent { .. }
            | Signal::HeartbeatFailed { .. }
            | Signal::HeartbeatWithheld { .. }
            | Signal::TakenOver { .. }
            | Signal::StoreBack
            | Signal::Hindrance { .. } => return None,
        })
    }

    /// The line for something that arrived.
    pub fn arrival(
        &self,
        destination: &Name,
        arrival: &Arrival,
        sighting: &Sighting,
        latency: Option<Duration>,
    ) -> String {
        let mut headline = mask_numbers(&sighting.headline);
        if let Some(rule) = &sighting.rule {
            headline = format!("{rule}: {headline}");
        }
        let mut ending = match arrival.message {
            Message::Webhook { verified: true, .. } => ", signature verified".to_owned(),
            _ => String::new(),
        };
        if let Some(latency) = latency {
            ending += &format!(", in {}", seconds(latency));
        }
        self.line(arrival.at, Mark::Arrival, destination.as_str(), &(headline + &ending))
    }

    /// A message as its receiver reads it, when it is for people.
    pub fn message(&self, arrival: &Arrival) -> Option<Vec<String>> {
        let lines = lines_of(&arrival.message)?;
        let bar = self.style.paint(Colour::Green, "│");
        Some(lines.into_iter().map(|line| format!("{BESIDE}{bar} {line}")).collect())
    }

    /// The line for a message that a receiver refused because it was wrong.
    pub fn refusal(&self, destination: &Name, why: &str, now: Timestamp) -> String {
        self.line(now, Mark::Trouble, destination.as_str(), &format!("refused by the receiver: {why}"))
    }

    /// The line for something that happens to a process.
    pub fn node(&self, text: &str, now: Timestamp) -> String {
        self.line(now, Mark::Trouble, "callwatch", text)
    }

    /// A remark between the lines.
    pub fn note(&self, text: &str) -> String {
        self.style.paint(Colour::Dim, &format!("         {text}"))
    }

    fn line(&self, at: Timestamp, mark: Mark, who: &str, text: &str) -> String {
        let time = self.style.paint(Colour::Dim, &format!("{:>7}", seconds(at.since(self.begun))));
        let sign = mark.paint(self.style);
        format!("{time}  {sign} {who:<width$}  {text}", width = self.who)
    }
}

/// The subject of a line, shown as a sign at its beginning.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Call,
    Rule,
    Arrival,
    Trouble,
}

impl Mark {
    fn paint(self, style: Style) -> String {
        let (colour, sign) = match self {
            Self::Call => (Colour::Cyan, "●"),
            Self::Rule => (Colour::Yellow, "→"),
            Self::Arrival => (Colour::Green, "✓"),
            Self::Trouble => (Colour::Red, "!"),
        };
        style.paint(colour, sign)
    }
}

/// `0.7s`
pub fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        event::EventId,
        kind::{Kind, Kinds},
        store::DeliveryId,
    };

    const NOON: Timestamp = Timestamp::from_millis(1_765_800_000_000);

    fn narrator() -> Narrator {
        Narrator::new(Style::PLAIN, &World { sources: vec![], destinations: vec![], paced: false }, NOON)
    }

    fn shown(signal: &Signal) -> Option<String> {
        narrator().signal(signal, NOON.after(Duration::from_millis(1500)))
    }

    fn attempted(verdict: Verdict) -> Signal {
        Signal::Attempted {
            delivery: DeliveryId { event: EventId::from("evt_1"), destination: "crm".into() },
            call: None,
            rule: "unhappy-caller".into(),
            caller: String::new(),
            attempt: 1,
            result: "503 Service Unavailable".to_owned(),
            took: Duration::ZERO,
            verdict,
            created: NOON,
            updated: None,
        }
    }

    #[test]
    fn each_thing_callwatch_does_is_one_line() {
        let changed = Signal::Changed {
            source: "clinic".into(),
            call: "c1".into(),
            kinds: Kinds::from(Kind::Ended) | Kind::Analyzed.into(),
            caller: "+3363•••1234".to_owned(),
            first_seen: true,
            analysis: None,
        };
        assert_eq!(shown(&changed).unwrap(), "   1.5s  ● call       +3363•••1234 ended and analyzed");
        let fired = Signal::Fired {
            event: EventId::from("evt_1"),
            rule: "booked".into(),
            source: Some("clinic".into()),
            call: Some("c1".into()),
            kinds: Kind::Analyzed.into(),
            destinations: vec!["crm".into(), "frontdesk".into()],
            waits: vec![],
        };
        assert_eq!(shown(&fired).unwrap(), "   1.5s  → rule       booked → crm, frontdesk");
    }

    #[test]
    fn trouble_is_shown_whole_and_success_is_left_to_the_receiver() {
        assert_eq!(shown(&attempted(Verdict::Delivered)), None);
        assert_eq!(
            shown(&attempted(Verdict::Retry(NOON.after(Duration::from_millis(2700))))).unwrap(),
            "   1.5s  ! crm        503 Service Unavailable; next try in 1.2s"
        );
        let long = "x".repeat(200);
        assert!(shown(&attempted(Verdict::Dead(long.clone()))).unwrap().contains(&long));
    }

    #[test]
    fn an_arrival_is_told_whole_and_hides_the_number() {
        let text = format!("Appointment booked by +33639981234 {}", "and so on ".repeat(20));
        let arrival =
            Arrival { at: NOON, id: String::new(), message: Message::Slack(json!({ "text": text })) };

        let line = narrator().arrival(
            &"frontdesk".into(),
            &arrival,
            &Sighting::of(&arrival),
            Some(Duration::from_millis(640)),
        );

        assert!(line.starts_with("   0.0s  ✓ frontdesk  Appointment booked by +3363•••1234 and"), "{line}");
        assert!(line.ends_with("and so on , in 0.6s") && !line.contains('…'), "{line}");
        let shown = narrator().message(&arrival).unwrap();
        assert!(
            shown[0].starts_with("           │ Appointment booked by +3363•••1234 and so on"),
            "{shown:?}"
        );
    }
}
