//! The config that the demo runs when it is given none, and what its rules have to bring.

use serde_json::Value;

use super::oracle::Promise;
use crate::{event::Severity, kind::Kind};

/// The config's text.
pub const CONFIG: &str = include_str!("demo.toml");

/// The messages that its rules have to bring.
pub const PROMISES: &[Promise] = &[
    Promise { rule: "call-completed", on: &[Kind::Ended, Kind::Analyzed], to: &["crm"], ..Promise::FEED },
    Promise {
        rule: "unhappy-caller",
        when: Some(|call| call["callAnalysis"]["sentiment"] == "negative"),
        title: Some(|call| format!("Unhappy caller {}", caller(call))),
        severity: Severity::Warning,
        to: &["frontdesk", "manager"],
        merging: &["frontdesk", "manager"],
        ..Promise::FEED
    },
    Promise {
        rule: "booked",
        when: Some(|call| call["callAnalysis"]["appointmentBooked"] == true),
        title: Some(|call| format!("Appointment booked by {}", caller(call))),
        to: &["crm", "frontdesk"],
        merging: &["frontdesk"],
        ..Promise::FEED
    },
];

fn caller(call: &Value) -> &str {
    call["callerNumber"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        config::{LoadOptions, Secrets},
        config_file::Config,
        name::Name,
    };

    #[test]
    fn the_promises_are_those_of_the_config() {
        let options = LoadOptions { secrets: Secrets::Ignored, env: &|_| None };
        let config = Config::parse(CONFIG, "demo.toml".as_ref(), options).unwrap().config;
        let rules: Vec<_> = config.rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(rules, PROMISES.iter().map(|promise| promise.rule).collect::<Vec<_>>());
        for (rule, promise) in config.rules.iter().zip(PROMISES) {
            assert_eq!(rule.to.iter().map(Name::as_str).collect::<Vec<_>>(), promise.to, "{}", rule.name);
            let merging: Vec<_> = rule.merging.iter().map(Name::as_str).collect();
            assert_eq!(
                (&merging[..], rule.text.severity),
                (promise.merging, promise.severity),
                "{}",
                rule.name
            );
            assert_eq!(rule.on, promise.on.iter().copied().collect(), "{}", rule.name);
            assert_eq!(rule.when.is_some(), promise.when.is_some(), "{}", rule.name);
            assert_eq!(rule.repeat, promise.repeat, "{}", rule.name);
            // A record that holds the template's own placeholder is rendered to the template.
            let record = json!({ "callerNumber": "{{ call.callerNumber }}" });
            let title = rule.text.title.as_ref().map(|title| title.source().to_owned());
            assert_eq!(promise.title.map(|title| title(&record)), title, "{}", rule.name);
        }
    }
}
