//! `type = "webhook"`: the keys, and what is wrong with their values.

use std::{collections::BTreeSet, fmt, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::header::{HeaderName, HeaderValue};
use url::Url;

use crate::{
    config::{
        CA_FILE, CLIENT_CERT, CLIENT_KEY, Connection, Key, Literal, Mistake, PROXY, Secret, Table, Value,
        ValueType, hide_path_of_url, integer_of, mistake_in, secret, web_address,
    },
    destination::{DestinationKind, DestinationType, address},
    kind::Kind,
    template::{Occasion, Template},
};

const URL: Key = Key::new("url", ValueType::Url, "where to POST; http is for servers on this machine")
    .required("\"https://…\"");
const SECRET: Key = Key::new(
    "secret",
    ValueType::OneOrList(&ValueType::Secret),
    "`whsec_` and base64; a list signs with every one, for rotation; without it requests are unsigned",
);
const FORMAT: Key = Key::new(
    "format",
    ValueType::Word { what: "format", words: &["standard", CALLEM, "cloudevents"] },
    "[Standard Webhooks](https://www.standardwebhooks.com), the vendor's own shape, or CloudEvents 1.0",
)
.default(Literal::Text("standard"));
const HEADERS: Key = Key::new("headers", ValueType::TableOf(&ValueType::Secret), "additional headers");
const BODY: Key = Key::new(
    "body",
    ValueType::Template,
    "the receiver's own shape, in place of `format`: see [messages.md](messages.md#the-body-of-a-webhook)",
);
const CONTENT_TYPE: Key = Key::new(
    "content_type",
    ValueType::Text,
    "the type of the `body`; a body whose type is JSON has to be JSON",
)
.default(Literal::Text(JSON));
const SECRETS: Key = Key::new(
    "secrets",
    ValueType::TableOf(&ValueType::Secret),
    "values that the `body` can name as `secrets.NAME`",
);
const PERMANENT: Key = Key::new(
    "permanent",
    ValueType::List(&ValueType::Integer(400, 499)),
    "statuses that make a delivery dead at once; without, it is \
     [tried again](delivery.md#what-follows-from-an-attempt)",
)
.default(Literal::Empty);
const ALLOW_PRIVATE: Key = Key::new(
    "allow_private",
    ValueType::Boolean,
    "`false` connects to public addresses only, whatever name or address is in `url`",
)
.default(Literal::Boolean(true));

pub(in crate::destination) const TYPE: DestinationType = DestinationType {
    word: "webhook",
    keys: &[
        URL,
        SECRET,
        FORMAT,
        HEADERS,
        BODY,
        CONTENT_TYPE,
        SECRETS,
        PERMANENT,
        CA_FILE,
        CLIENT_CERT,
        CLIENT_KEY,
        PROXY,
        ALLOW_PRIVATE,
    ],
    timeout: Duration::from_secs(15),
    concurrency: 8,
    rate: None,
    merge: false,
    read: |table| webhook(table).map(DestinationKind::Webhook),
};

/// The word for the format that cannot tell several events as one.
const CALLEM: &str = "callem";

const JSON: &str = "application/json";

/// Headers that callwatch sets itself.
const RESERVED: [&str; 13] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
    "x-callem-event",
    "x-callem-signature",
    "x-callem-timestamp",
];

/// `type = "webhook"`
#[derive(Clone)]
pub struct WebhookConfig {
    /// Where to POST. May hold a secret in its path or query: never shown whole.
    pub url: Url,
    /// Every one of these secrets, `whsec_` and base64, signs the request; without any it is unsigned.
    pub secrets: Vec<Secret>,
    /// The shape of the body, and of what is signed.
    pub format: WebhookFormat,
    /// Additional headers. Values may be secrets.
    pub headers: Vec<(reqwest::header::HeaderName, Secret)>,
    /// Statuses of 400 to 499 that make a delivery dead at once. Default none.
    pub permanent: BTreeSet<u16>,
    /// How the receiver is reached.
    pub connection: Connection,
}

/// Shows only the origin of the URL.
impl fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookConfig")
            .field("url", &self.url.origin().ascii_serialization())
            .field("secrets", &self.secrets)
            .field("format", &self.format)
            .field("headers", &self.headers)
            .field("permanent", &self.permanent)
            .field("connection", &self.connection)
            .finish()
    }
}

/// The shape of a webhook's body and headers.
#[derive(Clone, Debug, Default)]
pub enum WebhookFormat {
    /// <https://www.standardwebhooks.com>
    #[default]
    Standard,
    /// The vendor's own webhooks, for receivers written for those.
    Callem,
    /// CloudEvents 1.0, structured JSON mode.
    Cloudevents,
    /// The receiver's own shape, signed as [`WebhookFormat::Standard`] is.
    Own(WebhookBody),
}

/// A body in the shape its receiver wants.
#[derive(Clone, Debug)]
pub struct WebhookBody {
    /// Makes the body.
    pub template: Template,
    /// The `content-type`. Default `application/json`.
    pub content_type: HeaderValue,
    /// The values that the template can name as `secrets.NAME`.
    pub secrets: Vec<(String, Secret)>,
}

impl WebhookFormat {
    /// The word for the format when it cannot tell several events as one.
    pub(in crate::destination) fn only_single(&self) -> Option<&'static str> {
        matches!(self, Self::Callem).then_some(CALLEM)
    }
}

fn webhook(table: &mut Table<'_>) -> Option<WebhookConfig> {
    let url = table.read(&URL, |value| {
        hide_path_of_url(value);
        web_address(value, "the calls travel")
    });
    let formats = [WebhookFormat::Standard, WebhookFormat::Callem, WebhookFormat::Cloudevents];
    let format = table.choice(&FORMAT, &formats);
    let own = own_body(table);
    let format = own.map(WebhookFormat::Own).or(format).unwrap_or_default();
    // The vendor's signatures take the text of the secret as the key, so it may be any text.
    let secrets = match format {
        WebhookFormat::Callem => table.one_or_list(&SECRET, |value| Ok(secret(value)?.secret)),
        _ => table.one_or_list(&SECRET, signing_secret),
    };
    let headers = table.read(&HEADERS, |value| Ok(headers(&Table::of(value)?)));
    let permanent = table.list(&PERMANENT, permanent);
    let connection = Connection::read(table);
    let allow_private = table.boolean(&ALLOW_PRIVATE);
    if !allow_private {
        check_public_only(table, url.as_ref());
    }
    Some(WebhookConfig {
        url: url?,
        secrets: secrets.unwrap_or_default(),
        format,
        headers: headers.unwrap_or_default(),
        permanent: permanent.into_iter().flatten().collect(),
        connection: Connection { public_only: !allow_private, ..connection },
    })
}

/// Reads `body` and what goes with it.
fn own_body(table: &mut Table<'_>) -> Option<WebhookBody> {
    let has_body = table.has(&BODY);
    for key in [&CONTENT_TYPE, &SECRETS].into_iter().filter(|key| !has_body && table.has(key)) {
        let message = format!("`{}` goes with `body`, and there is none", key.name);
        table.cx.add_absence(Mistake::error(table.span_of(key), message));
    }
    if has_body && table.has(&FORMAT) {
        let message = "`body` says what is sent, so `format` cannot as well";
        table.cx.add(Mistake::error(table.span_of(&FORMAT), message).hint("leave one of them out"));
    }
    let content_type = table.read(&CONTENT_TYPE, content_type);
    let secrets = table.read(&SECRETS, |value| Ok(body_secrets(&Table::of(value)?))).unwrap_or_default();
    let names: Vec<_> = secrets.iter().map(|(name, _)| name.as_str()).collect();
    let template = table.read(&BODY, |value| body_template(value, &names))?;
    let content_type = content_type.unwrap_or(HeaderValue::from_static(JSON));
    Some(WebhookBody { template, content_type, secrets })
}

fn content_type(value: &Value<'_>) -> Result<HeaderValue, Mistake> {
    let hint = "write it as in \"application/json\" or \"text/plain; charset=utf-8\"";
    HeaderValue::from_str(value.text()?)
        .ok()
        .filter(|text| {
            text.to_str().is_ok_and(|text| text.split(';').next().is_some_and(|kind| kind.contains('/')))
        })
        .ok_or_else(|| value.error("this is not a content type").hint(hint))
}

/// The values that the template can name as `secrets.NAME`.
fn body_secrets(table: &Table<'_>) -> Vec<(String, Secret)> {
    let mut secrets = vec![];
    for (key, value) in table.values() {
        let name = key.get_ref();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let mistake = Mistake::error(key.span(), "a template cannot speak of a secret with this name");
            table.cx.add(mistake.hint("use letters, digits and `_`"));
        }
        match secret(&value) {
            Ok(found) => secrets.push((name.to_string(), found.secret)),
            Err(mistake) => table.cx.add(mistake),
        }
    }
    secrets
}

/// A status that means "never".
fn permanent(value: &Value<'_>) -> Result<u16, Mistake> {
    let status = integer_of(&PERMANENT)(value)?;
    let meaning = match status {
        408 | 425 | 429 => "this status asks for another try later",
        410 => "this status pauses the whole destination already",
        // It is at most 499.
        _ => return Ok(status as u16),
    };
    Err(value.error(meaning))
}

/// Reports an address and a proxy that `allow_private = false` does not go together with.
fn check_public_only(table: &Table<'_>, url: Option<&Url>) {
    if url.is_some_and(|url| address::vet(url).is_err()) {
        let hint = "give a public address, or let go of allow_private = false";
        table.cx.add(Mistake::error(table.span_of(&URL), "this address is not public").hint(hint));
    }
    if table.has(&PROXY) {
        let message = "the proxy looks the receiver's address up, so it cannot be vetted";
        table.cx.add(
            Mistake::error(table.span_of(&ALLOW_PRIVATE), message)
                .hint("let the proxy refuse private addresses, and let go of allow_private = false"),
        );
    }
}

fn signing_secret(value: &Value<'_>) -> Result<Secret, Mistake> {
    let found = secret(value)?;
    match found.content() {
        Some(content) if !is_signing_secret(content) => Err(value
            .error("this is not a signing secret")
            .hint("a signing secret is `whsec_` and 24 to 64 bytes in base64")),
        _ => Ok(found.secret),
    }
}

fn headers(table: &Table<'_>) -> Vec<(HeaderName, Secret)> {
    let mut headers: Vec<(HeaderName, Secret)> = Vec::new();
    for (key, value) in table.values() {
        let add = |message: &str| table.cx.add(Mistake::error(key.span(), message));
        let secret = match header_value(&value) {
            Ok(secret) => secret,
            Err(mistake) => {
                table.cx.add(mistake);
                continue;
            }
        };
        match HeaderName::from_bytes(key.get_ref().as_bytes()) {
            Err(_) => add("this cannot be the name of a header"),
            Ok(name) if RESERVED.contains(&name.as_str()) => add("callwatch sets this header itself"),
            Ok(name) if headers.iter().any(|(other, _)| *other == name) => {
                add("this header is there twice");
            }
            Ok(name) => headers.push((name, secret)),
        }
    }
    headers
}

fn header_value(value: &Value<'_>) -> Result<Secret, Mistake> {
    let found = secret(value)?;
    match found.content() {
        Some(content) if HeaderValue::from_str(content).is_err() => {
            Err(value.error("this cannot be the value of a header"))
        }
        _ => Ok(found.secret),
    }
}

/// A template of a webhook's body. `secrets` are the names it can use.
fn body_template(value: &Value<'_>, secrets: &[&str]) -> Result<Template, Mistake> {
    let template =
        Template::compile_body(value.text()?, secrets).map_err(|error| mistake_in(value, error))?;
    let of_calls = Kind::ALL.into_iter().filter(|kind| kind.is_of_call()).collect();
    for doubt in template.doubts(Occasion { kinds: of_calls, when: None }) {
        value.cx.add(mistake_in(value, doubt).into_warning());
    }
    Ok(template)
}

/// Whether this is a signing secret as [Standard Webhooks](https://www.standardwebhooks.com) has them:
/// base64 of at least one byte, usually after `whsec_`.
fn is_signing_secret(content: &str) -> bool {
    let key = content.strip_prefix("whsec_").unwrap_or(content);
    STANDARD.decode(key).is_ok_and(|key| !key.is_empty())
}
