//! The config that callwatch runs with, and what its rules have to bring.

use callwatch::{
    demo::{oracle::Promise, receivers::DEMO_SECRET},
    event::Severity,
    kind::Kind,
};
use serde_json::Value;

use super::{crowd::Crowd, history::Histories};

/// The messages that the rules of [`text`] have to bring.
pub const PROMISES: &[Promise] = &[
    Promise { rule: "feed", to: &["crm", "serial"], ..Promise::FEED },
    Promise {
        rule: "over",
        on: &[Kind::Ended, Kind::Analyzed, Kind::Deleted],
        to: &["bus", "crm", "vendor"],
        merging: &["bus"],
        ..Promise::FEED
    },
    Promise {
        rule: "unhappy",
        when: Some(|call| call["callAnalysis"]["sentiment"] == "negative"),
        title: Some(|call| title("Unhappy", call)),
        to: &["frontdesk", "manager", "oncall"],
        merging: &["frontdesk", "manager"],
        ..Promise::FEED
    },
    Promise {
        rule: "long",
        when: Some(|call| call["duration"].as_u64() > Some(300)),
        repeat: true,
        title: Some(|call| title("Long", call)),
        severity: Severity::Warning,
        to: &["bus", "frontdesk", "manager", "oncall"],
        merging: &["bus", "frontdesk", "manager"],
        ..Promise::FEED
    },
];

fn title(word: &str, call: &Value) -> String {
    format!("{word} {} <revision> & {}", call["id"].as_str().unwrap(), call["revision"])
}

/// Many short waits, so that no delivery is given up before the faults stop, unless it is refused for good.
fn common() -> String {
    format!("timeout = \"500ms\"\nretry = [{}]", ["\"100ms\""; 60].join(", "))
}

pub fn text(histories: &Histories, crowd: &Crowd) -> String {
    let [crm, serial, bus, vendor, frontdesk, oncall, manager] =
        ["crm", "serial", "bus", "vendor", "frontdesk", "oncall", "manager"].map(|name| crowd.address(name));
    let (base, common) = (histories.callem.base_url(), common());
    format!(
        r#"
[store]
path = "callwatch.db"

[delivery]
shutdown_grace = "1s"

[sources.clinic]
api_key = {{ env = "CALLEM_API_KEY" }}
base_url = "{base}"
interval = "100ms"
sweep = "1s"
page_size = 50
requests_per_minute = 6000

[destinations.crm]
type = "webhook"
url = "{crm}"
secret = "{DEMO_SECRET}"
concurrency = 8
{common}

[destinations.serial]
type = "webhook"
url = "{serial}"
secret = "{DEMO_SECRET}"
concurrency = 1
{common}

[destinations.bus]
type = "webhook"
format = "cloudevents"
url = "{bus}"
secret = "{DEMO_SECRET}"
concurrency = 4
permanent = [422]
merge = true
exclude = ["transcript"]
{common}

[destinations.vendor]
type = "webhook"
format = "callem"
url = "{vendor}"
secret = "{DEMO_SECRET}"
concurrency = 2
{common}

[destinations.frontdesk]
type = "slack"
webhook_url = "{frontdesk}"
rate = "1000/s"
{common}

[destinations.oncall]
type = "slack"
webhook_url = "{oncall}"
concurrency = 4
merge = false
rate = "1000/s"
{common}

[destinations.manager]
type = "email"
smtp = "{manager}"
from = "Callwatch <alerts@example.com>"
to = ["manager@example.com", "deputy@example.com"]
{common}

[rules.feed]
on = ["started", "ended", "analyzed", "updated", "deleted"]
to = ["crm", "serial"]

[rules.over]
on = ["ended", "analyzed", "deleted"]
to = ["bus", "crm", "vendor"]

[rules.unhappy]
when = 'call.callAnalysis.sentiment == "negative"'
title = "Unhappy {{{{ call.id }}}} <revision> & {{{{ call.revision }}}}"
to = ["frontdesk", "manager", "oncall"]

[rules.long]
when = 'call.duration > 300'
repeat = true
severity = "warning"
title = "Long {{{{ call.id }}}} <revision> & {{{{ call.revision }}}}"
to = ["bus", "frontdesk", "manager", "oncall"]
"#
    )
}
