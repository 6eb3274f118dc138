//! `type = "slack"`: the keys, and what is wrong with their values.

use std::time::Duration;

use url::Url;

use crate::{
    config::{
        CA_FILE, CLIENT_CERT, CLIENT_KEY, Connection, Key, PROXY, Secret, Table, ValueType, is_loopback,
        parse_web_address, secret,
    },
    destination::{DestinationKind, DestinationType},
};

const WEBHOOK_URL: Key = Key::new(
    "webhook_url",
    ValueType::Secret,
    "the address of an [incoming webhook]\
     (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks)",
)
.required("{ env = \"SLACK_WEBHOOK_URL\" }");

pub(in crate::destination) const TYPE: DestinationType = DestinationType {
    word: "slack",
    keys: &[WEBHOOK_URL, CA_FILE, CLIENT_CERT, CLIENT_KEY, PROXY],
    timeout: Duration::from_secs(15),
    concurrency: 1,
    rate: Some("1/s"),
    merge: true,
    read: |table| slack(table).map(DestinationKind::Slack),
};

/// `type = "slack"`
#[derive(Clone, Debug)]
pub struct SlackConfig {
    /// The incoming webhook's address, a secret as a whole.
    pub webhook_url: Secret,
    /// How Slack is reached.
    pub connection: Connection,
}

fn is_page_of_slack(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    (host == "slack.com" || host.ends_with(".slack.com")) && !host.starts_with("hooks.")
}

fn slack(table: &mut Table<'_>) -> Option<SlackConfig> {
    let webhook_url = table.read(&WEBHOOK_URL, |value| {
        let found = secret(value)?;
        let why = match found.content().map(parse_web_address) {
            Some(Err(why)) => why,
            // A page of a workspace, as copied from the browser. Slack's own demo and tests use loopback addresses.
            Some(Ok(url)) if is_page_of_slack(&url) => {
                "this is a page of Slack, not an incoming webhook".to_owned()
            }
            Some(Ok(url)) if url.scheme() == "http" && !is_loopback(url.host()) => {
                "this URL must begin with https://, it is a secret as a whole".to_owned()
            }
            _ => return Ok(found.secret),
        };
        Err(value.error(why).hint("Slack gives it as https://hooks.slack.com/services/…"))
    });
    let connection = Connection::read(table);
    Some(SlackConfig { webhook_url: webhook_url?, connection })
}
