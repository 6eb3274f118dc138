//! `type = "webhook"`: the keys, and what is wrong with their values.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use base64::Engine;
use regex::{Regex, RegexBuilder};
use reqwest::{
    Method,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use url::Url;

use super::signing::SECRET_BASE64;
use crate::{
    config::{
        CA_FILE, CLIENT_CERT, CLIENT_KEY, Connection, Key, Literal, Mistake, PROXY, Secret, Table, Value,
        ValueType, hide_path_of_url, integer_of, is_loopback, mistake_in, parse_web_address, password,
        secret, web_address,
    },
    destination::{DestinationKind, DestinationType, address, config::Show},
    kind::Kinds,
    template::{Occasion, Template},
};

const URL: Key = Key::new(
    "url",
    ValueType::Secret,
    "where to send; may be a secret as a whole; http is for servers on this machine",
)
.required("\"https://…\"");
const METHOD: Key = Key::new(
    "method",
    ValueType::Word { what: "method", words: &["POST", "PUT", "PATCH"] },
    "the method of the requests",
)
.default(Literal::Text("POST"));
const AUTH: Key = Key::new(
    "auth",
    ValueType::Table(AUTH_KEYS),
    "who sends: `{ bearer = … }`, or `{ basic = { user = \"…\", password = … } }`",
);
const AUTH_KEYS: &[Key] = &[BEARER, BASIC];
const BEARER: Key = Key::new("bearer", ValueType::Secret, "a token");
const BASIC: Key = Key::new("basic", ValueType::Table(BASIC_KEYS), "a user and a password");
const BASIC_KEYS: &[Key] = &[USER, PASSWORD];
const USER: Key = Key::new("user", ValueType::Text, "the user").required("\"…\"");
const PASSWORD: Key =
    Key::new("password", ValueType::Secret, "the user's password").required("{ env = \"CRM_PASSWORD\" }");
const SUCCESS: Key = Key::new(
    "success",
    ValueType::Text,
    "a [pattern](https://docs.rs/regex/latest/regex/#syntax) that the answer with 2xx has to hold, for receivers that say so to \
     everything; else it is tried again",
);
const SECRET: Key = Key::new(
    "secret",
    ValueType::OneOrList(&ValueType::Secret),
    "`whsec_` and base64, or `whsk_` and an Ed25519 key; a list signs with every one, for rotation; without it requests are unsigned",
);
const FORMAT: Key = Key::new(
    "format",
    ValueType::Word { what: "format", words: &["standard", CALLEM, "cloudevents", "cloudevents-binary"] },
    "[Standard Webhooks](https://www.standardwebhooks.com), the vendor's own shape, or CloudEvents 1.0 in structured or binary mode",
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
const HANDSHAKE: Key = Key::new(
    "handshake",
    ValueType::Text,
    "a domain of yours, by which the receiver is [asked for permission](receiving-webhooks.md#being-asked-first) before anything is sent; \
     the rate that it allows is kept",
);
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
        METHOD,
        AUTH,
        SECRET,
        FORMAT,
        HEADERS,
        BODY,
        CONTENT_TYPE,
        SECRETS,
        SUCCESS,
        PERMANENT,
        HANDSHAKE,
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
    show: Show::Full,
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
    /// Where to send.
    pub url: WebhookUrl,
    /// The method of the requests. Default POST.
    pub method: Method,
    /// The proof of who sends.
    pub auth: Option<WebhookAuth>,
    /// Every one of these secrets, `whsec_` and base64 or `whsk_` and an Ed25519 key, signs the request; without any it is
    /// unsigned.
    pub secrets: Vec<Secret>,
    /// The shape of the body, and of what is signed.
    pub format: WebhookFormat,
    /// Additional headers. Values may be secrets.
    pub headers: Vec<(reqwest::header::HeaderName, Secret)>,
    /// Has to be found in an answer with 2xx.
    pub success: Option<Regex>,
    /// Statuses of 400 to 499 that make a delivery dead at once. Default none.
    pub permanent: BTreeSet<u16>,
    /// The origin by which the receiver is asked for permission; `None` does not ask.
    pub handshake: Option<HeaderValue>,
    /// How the receiver is reached.
    pub connection: Connection,
}

/// Where a webhook is sent.
#[derive(Clone)]
pub enum WebhookUrl {
    /// An address in the config. May hold a secret in its path or query: never shown whole.
    Plain(Url),
    /// An address that is a secret as a whole.
    Secret(Secret),
}

/// The proof of who sends a webhook.
#[derive(Clone, Debug)]
pub enum WebhookAuth {
    /// A token (RFC 6750).
    Bearer(Secret),
    /// A user and a password (RFC 7617).
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
}

impl From<Url> for WebhookUrl {
    fn from(url: Url) -> Self {
        Self::Plain(url)
    }
}

impl FromStr for WebhookUrl {
    type Err = url::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::Plain)
    }
}

/// Shows only the origin of an address, and the place of a secret one.
impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(url) => fmt::Debug::fmt(&url.origin().ascii_serialization(), f),
            Self::Secret(secret) => fmt::Debug::fmt(secret, f),
        }
    }
}

/// Shows nothing that could be a secret.
impl fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookConfig")
            .field("url", &self.url)
            .field("method", &self.method)
            .field("auth", &self.auth)
            .field("secrets", &self.secrets)
            .field("format", &self.format)
            .field("headers", &self.headers)
            .field("success", &self.success.as_ref().map(Regex::as_str))
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
    /// CloudEvents 1.0, binary mode.
    CloudeventsBinary,
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
    let url = table.read(&URL, webhook_url);
    let methods = [Method::POST, Method::PUT, Method::PATCH];
    let method = table.choice(&METHOD, &methods).unwrap_or(Method::POST);
    let auth = table.read(&AUTH, auth).flatten();
    let formats = [
        WebhookFormat::Standard,
        WebhookFormat::Callem,
        WebhookFormat::Cloudevents,
        WebhookFormat::CloudeventsBinary,
    ];
    let format = table.choice(&FORMAT, &formats);
    let own = own_body(table);
    let format = own.map(WebhookFormat::Own).or(format).unwrap_or_default();
    // The vendor's signatures take the text of the secret as the key, so it may be any text.
    let secrets = match format {
        WebhookFormat::Callem => table.one_or_list(&SECRET, |value| Ok(secret(value)?.secret)),
        _ => table.one_or_list(&SECRET, signing_secret),
    };
    let headers = table.read(&HEADERS, |value| Ok(headers(&Table::of(value)?)));
    if table.has(&AUTH) && headers.iter().flatten().any(|(name, _)| *name == AUTHORIZATION) {
        let message = "`auth` sets the header `authorization`, and `headers` has it as well";
        table.cx.add(Mistake::error(table.span_of(&AUTH), message).hint("leave one of them out"));
    }
    let success = table.read(&SUCCESS, pattern);
    let permanent = table.list(&PERMANENT, permanent);
    let handshake = table.read(&HANDSHAKE, origin);
    let connection = Connection::read(table);
    let allow_private = table.boolean(&ALLOW_PRIVATE);
    if !allow_private {
        let plain = url.as_ref().and_then(|url| match url {
            WebhookUrl::Plain(url) => Some(url),
            WebhookUrl::Secret(_) => None,
        });
        check_public_only(table, plain);
    }
    Some(WebhookConfig {
        url: url?,
        method,
        auth,
        secrets: secrets.unwrap_or_default(),
        format,
        headers: headers.unwrap_or_default(),
        success,
        permanent: permanent.into_iter().flatten().collect(),
        handshake,
        connection: Connection { public_only: !allow_private, ..connection },
    })
}

/// An address, or a secret that is one.
fn webhook_url(value: &Value<'_>) -> Result<WebhookUrl, Mistake> {
    if !value.is_table() {
        hide_path_of_url(value);
        return web_address(value, "the calls travel").map(WebhookUrl::Plain);
    }
    let found = secret(value)?;
    let why = match found.content().map(parse_web_address) {
        Some(Err(why)) => why,
        Some(Ok(url)) if url.scheme() == "http" && !is_loopback(url.host()) => {
            "this URL must begin with https://, it is a secret as a whole".to_owned()
        }
        _ => return Ok(WebhookUrl::Secret(found.secret)),
    };
    Err(value.error(why))
}

/// A token, or a user and a password; `None` when a mistake within has been reported.
fn auth(value: &Value<'_>) -> Result<Option<WebhookAuth>, Mistake> {
    const HINT: &str =
        "write { bearer = { env = \"…\" } } or { basic = { user = \"…\", password = { env = \"…\" } } }";
    let mut table = Table::of(value).map_err(|mistake| mistake.hint(HINT))?;
    let bearer = table.read(&BEARER, bearer);
    let basic = table.section(&BASIC, |table| {
        let user = table.read(&USER, user);
        let password = table.read(&PASSWORD, |value| password(value).map(|found| found.secret));
        user.zip(password)
    });
    let (has_bearer, has_basic) = (table.has(&BEARER), table.has(&BASIC));
    table.finish();
    match (bearer, basic.flatten()) {
        _ if has_bearer && has_basic => {
            Err(value.error("`bearer` and `basic` cannot both be here").hint("leave one of them out"))
        }
        _ if !has_bearer && !has_basic => Err(value.error("`bearer` or `basic` is missing here").hint(HINT)),
        (Some(token), _) => Ok(Some(WebhookAuth::Bearer(token))),
        (_, Some((user, password))) => Ok(Some(WebhookAuth::Basic { user, password })),
        (None, None) => Ok(None),
    }
}

fn bearer(value: &Value<'_>) -> Result<Secret, Mistake> {
    let found = secret(value)?;
    match found.content() {
        Some(token) if token.trim_start().to_ascii_lowercase().starts_with("bearer ") => {
            Err(value.error("callwatch puts `Bearer` before the token itself").hint("write the token alone"))
        }
        Some(token) if HeaderValue::from_str(token).is_err() => {
            Err(value.error("this cannot be the value of a header"))
        }
        _ => Ok(found.secret),
    }
}

fn user(value: &Value<'_>) -> Result<String, Mistake> {
    match value.text()? {
        user if user.contains(':') || user.contains(|c: char| c.is_control()) => {
            Err(value.error("a user can hold neither a colon nor control characters"))
        }
        user => Ok(user.to_owned()),
    }
}

/// A pattern that an answer has to hold.
fn pattern(value: &Value<'_>) -> Result<Regex, Mistake> {
    /// Bytes of the compiled pattern, far more than any answer needs.
    const LARGEST: usize = 1 << 20;
    let text = value.text()?;
    if text.is_empty() {
        return Err(value.error("this is empty, so every answer would hold it").hint("leave it out"));
    }
    let pattern = RegexBuilder::new(text).size_limit(LARGEST).build();
    pattern.map_err(|_| {
        value
            .error("this is not a pattern")
            .hint("put a backslash before signs such as ( and [, in single quotes")
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

/// The name by which a receiver knows who asks.
fn origin(value: &Value<'_>) -> Result<HeaderValue, Mistake> {
    let is_domain = |text: &str| {
        let is_part = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        text.split('.').all(is_part)
    };
    let text = value.text()?;
    HeaderValue::from_str(text).ok().filter(|_| is_domain(text)).ok_or_else(|| {
        value.error("this is not a domain").hint("write it as in \"callwatch.example.com\", without https://")
    })
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
        Some(content) if content.starts_with("whpk_") => Err(value
            .error("this is a public key; it belongs to the receiver")
            .hint("the key that signs begins with `whsk_`")),
        Some(content) if !is_signing_secret(content) => Err(value.error("this is not a signing secret").hint(
            "a signing secret is `whsec_` and 24 to 64 bytes in base64, or `whsk_` and an Ed25519 key of 32 bytes",
        )),
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
    for doubt in template.doubts(Occasion { kinds: Kinds::of_calls(), when: None }) {
        value.cx.add(mistake_in(value, doubt).into_warning());
    }
    Ok(template)
}

/// Whether this is a signing secret as [Standard Webhooks](https://www.standardwebhooks.com) has them:
/// base64 of at least one byte, with or without padding, usually after `whsec_`; or `whsk_` and the seed of an Ed25519 key, with or without its public
/// key behind it.
fn is_signing_secret(content: &str) -> bool {
    if let Some(key) = content.strip_prefix("whsk_") {
        return SECRET_BASE64.decode(key).is_ok_and(|key| matches!(key.len(), 32 | 64));
    }
    let key = content.strip_prefix("whsec_").unwrap_or(content);
    SECRET_BASE64.decode(key).is_ok_and(|key| !key.is_empty())
}
