//! `type = "slack"`: the keys, and what is wrong with their values.

use std::time::Duration;

use url::Url;

use crate::{
    config::{
        CA_FILE, CLIENT_CERT, CLIENT_KEY, Connection, Key, Literal, Mistake, PROXY, Secret, Table, Value,
        ValueType, is_loopback, parse_web_address, secret, web_address,
    },
    destination::{DestinationKind, DestinationType, config::Show},
};

const WEBHOOK_URL: Key = Key::new(
    "webhook_url",
    ValueType::Secret,
    "the address of an [incoming webhook]\
     (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks)",
)
.means("required unless there is a `token`");
const TOKEN: Key = Key::new(
    "token",
    ValueType::Secret,
    "in place of `webhook_url`: an app's bot token, `xoxb-…`, for [one message per call](slack.md), edited as the call goes on",
);
const CHANNEL: Key = Key::new(
    "channel",
    ValueType::Text,
    "where a `token` posts: the channel's id, `C0123ABCD`, or its name; the app has to be in it",
)
.means("required with a `token`");
const THREAD: Key = Key::new(
    "thread",
    ValueType::Word { what: "choice for threads", words: &["critical", "updates", "off"] },
    "which changes of a message are replies in its thread as well, because an edit rings no bell: those of `critical` rules, \
     all, or none",
)
.default(Literal::Text("critical"));
const API_URL_DEFAULT: &str = "https://slack.com/api/";
const API_URL: Key =
    Key::new("api_url", ValueType::Url, "where a `token` is used").default(Literal::Text(API_URL_DEFAULT));

pub(in crate::destination) const TYPE: DestinationType = DestinationType {
    word: "slack",
    keys: &[WEBHOOK_URL, TOKEN, CHANNEL, THREAD, API_URL, CA_FILE, CLIENT_CERT, CLIENT_KEY, PROXY],
    timeout: Duration::from_secs(15),
    concurrency: 1,
    rate: Some("1/s"),
    merge: true,
    show: Show::Summary,
    read: |table| slack(table).map(DestinationKind::Slack),
};

/// `type = "slack"`
#[derive(Clone, Debug)]
pub struct SlackConfig {
    /// The way to a channel.
    pub way: SlackWay,
    /// How Slack is reached.
    pub connection: Connection,
}

/// The way to a channel of Slack.
#[derive(Clone, Debug)]
pub enum SlackWay {
    /// An incoming webhook's address, a secret as a whole.
    Webhook(Secret),
    /// An app with a bot token.
    Bot(SlackBotConfig),
}

/// An app with a bot token, and the channel it posts to.
#[derive(Clone, Debug)]
pub struct SlackBotConfig {
    /// The bot token.
    pub token: Secret,
    /// The channel's id or name.
    pub channel: String,
    /// Which changes are replies as well. Default those of critical rules.
    pub thread: SlackThread,
    /// Where the API is, with a slash at the end. Default `https://slack.com/api/`.
    pub api_url: Url,
}

/// Which changes of a message are replies in its thread as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlackThread {
    /// Those of critical rules.
    Critical,
    /// Every one.
    Updates,
    /// None.
    Off,
}

fn is_page_of_slack(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    (host == "slack.com" || host.ends_with(".slack.com")) && !host.starts_with("hooks.")
}

fn slack(table: &mut Table<'_>) -> Option<SlackConfig> {
    if !table.has(&TOKEN) {
        table.require(&WEBHOOK_URL, "{ env = \"SLACK_WEBHOOK_URL\" }");
    }
    let webhook_url = table.read(&WEBHOOK_URL, webhook_url);
    let token = table.read(&TOKEN, token);
    let channel = table.read(&CHANNEL, channel);
    let thread = [SlackThread::Critical, SlackThread::Updates, SlackThread::Off];
    let thread = table.choice(&THREAD, &thread).unwrap_or(SlackThread::Critical);
    let given = table.read(&API_URL, api_url);
    let api_url = if table.has(&API_URL) { given } else { Url::parse(API_URL_DEFAULT).ok() };
    let connection = Connection::read(table);
    if table.has(&TOKEN) {
        table.require(&CHANNEL, "\"C0123ABCD\"");
        if table.has(&WEBHOOK_URL) {
            let message = "a `token` is there already, and posts to `channel`";
            table.cx.add(
                Mistake::error(table.span_of(&WEBHOOK_URL), message)
                    .hint("leave one of them out; a webhook cannot edit its messages"),
            );
        }
        let bot = SlackBotConfig { token: token?, channel: channel?, thread, api_url: api_url? };
        return Some(SlackConfig { way: SlackWay::Bot(bot), connection });
    }
    for key in [&CHANNEL, &THREAD, &API_URL].into_iter().filter(|key| table.has(key)) {
        let message = format!("`{}` goes with a `token`, and there is none", key.name);
        let hint = "an incoming webhook belongs to one channel, and cannot edit its messages";
        table.cx.add(Mistake::error(table.span_of(key), message).hint(hint));
    }
    Some(SlackConfig { way: SlackWay::Webhook(webhook_url?), connection })
}

fn webhook_url(value: &Value<'_>) -> Result<Secret, Mistake> {
    let found = secret(value)?;
    let why = match found.content().map(parse_web_address) {
        Some(Err(why)) => why,
        // The page of a workspace, as copied from the browser. callwatch's own demo and tests use http on loopback
        // addresses.
        Some(Ok(url)) if is_page_of_slack(&url) => {
            "this is a page of Slack, not an incoming webhook".to_owned()
        }
        Some(Ok(url)) if url.scheme() == "http" && !is_loopback(url.host()) => {
            "this URL must begin with https://, it is a secret as a whole".to_owned()
        }
        _ => return Ok(found.secret),
    };
    Err(value.error(why).hint("Slack gives it as https://hooks.slack.com/services/…"))
}

fn token(value: &Value<'_>) -> Result<Secret, Mistake> {
    const HINT: &str = "the Bot User OAuth Token of the app, under OAuth & Permissions, begins with xoxb-";
    let found = secret(value)?;
    if value.is_text() {
        value.cx.note_literal_secret(value.span.clone());
    }
    let Some(content) = found.content() else { return Ok(found.secret) };
    let wrong = match content {
        _ if content.contains("://") => Some("this is an address; that of a webhook is `webhook_url`"),
        _ if content.starts_with("xapp-") => {
            Some("this token is for the app's own connections, not for messages")
        }
        _ if content.contains(|c: char| c.is_whitespace() || c.is_control() || !c.is_ascii()) => {
            Some("a token has no blanks and no letters beyond ASCII in it")
        }
        _ => None,
    };
    if let Some(wrong) = wrong {
        return Err(value.error(wrong).hint(HINT));
    }
    if content.starts_with("xoxp-") {
        let message = "this is the token of a person, in whose name messages come";
        value.cx.add(value.warning(message).hint(HINT));
    }
    if !["xoxb-", "xoxp-", "xoxe."].iter().any(|beginning| content.starts_with(beginning)) {
        value.cx.add(value.warning("this does not look like a token of Slack").hint(HINT));
    }
    Ok(found.secret)
}

fn channel(value: &Value<'_>) -> Result<String, Mistake> {
    const HINT: &str = "write its id, which its settings show at the bottom, as in \"C0123ABCD\", or its name, as in \"#calls\"";
    let channel = value.text()?;
    match channel.trim_start_matches('#') {
        "" => Err(value.error("the channel is empty").hint(HINT)),
        name if name.contains(|c: char| c.is_whitespace() || c.is_control()) || name.contains("://") => {
            Err(value.error("this is not a channel").hint(HINT))
        }
        _ => Ok(channel.to_owned()),
    }
}

fn api_url(value: &Value<'_>) -> Result<Url, Mistake> {
    let mut url = web_address(value, "the token and the calls travel")?;
    if url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        let hint = format!("as in \"{API_URL_DEFAULT}\"");
        return Err(value.error("expected only a host and a path").hint(hint));
    }
    // Without a slash at its end, the name of a method would replace the last part of the path.
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}
