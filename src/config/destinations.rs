//! `[destinations.NAME]`

use std::time::Duration;

use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderName, HeaderValue};
use url::{Host, Url};

use super::{
    Connection, DestinationConfig, DestinationKind, EmailConfig, FieldFilter, Rate, Secret, SlackConfig,
    SmtpSecurity, SmtpServer, WebhookBody, WebhookConfig, WebhookFormat,
    connection::connection,
    reader::Table,
    report::Mistake,
    value::Value,
    values::{
        self, DAY, MINUTE, SECOND, body_template, duration, field_path, hide_path_of_url, hide_user_of_url,
        hours, is_loopback, is_signing_secret, mailbox, parse_url, parse_web_address, rate, secret,
        web_address, word,
    },
};
use crate::{
    address,
    calendar::{Hours, Zone},
    name::Name,
    time::Timestamp,
};

/// The schedule Standard Webhooks recommends, in seconds.
const RETRY: [u64; 9] = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// Headers that are callwatch's to set.
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

/// Reads every destination.
pub(super) fn read(root: &mut Table<'_>, zone: Zone) -> Vec<DestinationConfig> {
    root.named("destinations", |name, table| destination(name, table, zone))
}

#[derive(Clone, Copy, PartialEq)]
enum Type {
    Webhook,
    Slack,
    Email,
}

fn destination(name: Name, table: &mut Table<'_>, zone: Zone) -> Option<DestinationConfig> {
    let types = [("webhook", Type::Webhook), ("slack", Type::Slack), ("email", Type::Email)];
    let kind = table.required("type", "\"webhook\" (or \"slack\", \"email\")", |value| {
        word(value, "type of destination", &types)
    });
    let Some(kind) = kind else {
        // Which keys there may be is anybody's guess.
        table.accept_all();
        return None;
    };
    let (timeout, concurrency, default_rate) = match kind {
        Type::Webhook => (15, 8, None),
        Type::Slack => (15, 1, Some(Rate { count: 1, period: Duration::from_secs(1) })),
        Type::Email => (30, 2, None),
    };
    let kind = match kind {
        Type::Webhook => webhook(table).map(DestinationKind::Webhook),
        Type::Slack => slack(table).map(DestinationKind::Slack),
        Type::Email => email(table).map(DestinationKind::Email),
    };
    let retry = table.list("retry", duration(SECOND / 10..=30 * DAY));
    let max_attempts_age = table.optional("max_attempts_age", duration(SECOND..=3650 * DAY));
    let rate = table.optional("rate", rate).or(default_rate);
    let concurrency = table.optional("concurrency", |value| value.integer(1..=100)).unwrap_or(concurrency);
    let timeout = table
        .optional("timeout", duration(SECOND / 10..=10 * MINUTE))
        .unwrap_or(Duration::from_secs(timeout));
    let zone = table.optional("timezone", values::zone).unwrap_or(zone);
    let quiet = table.optional("quiet", |value| quiet_hours(value, zone));
    let fields = FieldFilter {
        include: table.set("include", field_path).map(FromIterator::from_iter),
        exclude: table.set("exclude", field_path).into_iter().flatten().collect(),
    };
    Some(DestinationConfig {
        name,
        kind: kind?,
        retry: retry.unwrap_or_else(|| RETRY.map(Duration::from_secs).to_vec()),
        max_attempts_age,
        rate,
        concurrency: concurrency as usize,
        timeout,
        timezone: zone,
        quiet,
        fields,
        fingerprint: table.fingerprint(),
    })
}

/// Hours that end: otherwise nothing would ever be told.
fn quiet_hours(value: &Value<'_>, zone: Zone) -> Result<Hours, Mistake> {
    let quiet = hours(value, zone)?;
    let ends = quiet.next(Timestamp::from_millis(0)).is_none_or(|quiet_at| quiet.end(quiet_at).is_some());
    match ends {
        true => Ok(quiet),
        false => Err(value.error("these quiet hours never end")),
    }
}

fn webhook(table: &mut Table<'_>) -> Option<WebhookConfig> {
    let url = table.required("url", "\"https://…\"", |value| {
        hide_path_of_url(value);
        web_address(value, "the calls travel")
    });
    let formats = [
        ("standard", WebhookFormat::Standard),
        ("callem", WebhookFormat::Callem),
        ("cloudevents", WebhookFormat::Cloudevents),
    ];
    let format = table.optional("format", |value| word(value, "format", &formats));
    let own = own_body(table);
    let format = own.map(WebhookFormat::Own).or(format).unwrap_or_default();
    // The vendor's signatures are made with the secret's text as it is.
    let secrets = match format {
        WebhookFormat::Callem => table.one_or_list("secret", |value| Ok(secret(value)?.secret)),
        _ => table.one_or_list("secret", signing_secret),
    };
    let headers = table.optional("headers", |value| Ok(headers(&value.table()?)));
    let permanent = table.list("permanent", permanent);
    let connection = connection(table);
    let allow_private = table.optional("allow_private", Value::boolean).unwrap_or(true);
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
    let has_body = table.has("body");
    for key in ["content_type", "secrets"].into_iter().filter(|key| !has_body && table.has(key)) {
        let message = format!("`{key}` goes with `body`, and there is none");
        table.cx.add_absence(Mistake::error(table.span_of(key), message));
    }
    if has_body && table.has("format") {
        let message = "`body` says what is sent, so `format` cannot as well";
        table.cx.add(Mistake::error(table.span_of("format"), message).hint("leave one of them out"));
    }
    let content_type = table.optional("content_type", content_type);
    let secrets = table.optional("secrets", |value| Ok(body_secrets(&value.table()?))).unwrap_or_default();
    let names: Vec<_> = secrets.iter().map(|(name, _)| name.as_str()).collect();
    let template = table.optional("body", |value| body_template(value, &names))?;
    let content_type = content_type.unwrap_or(HeaderValue::from_static("application/json"));
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

/// What templates see as `secrets.NAME`.
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
    let status = value.integer(400..=499)?;
    let meaning = match status {
        408 | 425 | 429 => "this status asks for another try later",
        410 => "this status pauses the whole destination already",
        // 400 to 499 are few enough.
        _ => return Ok(status as u16),
    };
    Err(value.error(meaning))
}

/// Reports what `allow_private = false` cannot go together with.
fn check_public_only(table: &Table<'_>, url: Option<&Url>) {
    if url.is_some_and(|url| address::vet(url).is_err()) {
        let hint = "give a public address, or let go of allow_private = false";
        table.cx.add(Mistake::error(table.span_of("url"), "this address is not public").hint(hint));
    }
    if table.has("proxy") {
        let message = "the proxy looks the receiver's address up, so it cannot be vetted";
        table.cx.add(
            Mistake::error(table.span_of("allow_private"), message)
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

fn slack(table: &mut Table<'_>) -> Option<SlackConfig> {
    let webhook_url = table.required("webhook_url", "{ env = \"SLACK_WEBHOOK_URL\" }", |value| {
        let found = secret(value)?;
        let why = match found.content().map(parse_web_address) {
            Some(Err(why)) => why,
            Some(Ok(url)) if url.scheme() == "http" && !is_loopback(url.host()) => {
                "this URL must begin with https://, it is a secret as a whole".to_owned()
            }
            _ => return Ok(found.secret),
        };
        Err(value.error(why).hint("Slack gives it as https://hooks.slack.com/services/…"))
    });
    let connection = connection(table);
    Some(SlackConfig { webhook_url: webhook_url?, connection })
}

fn email(table: &mut Table<'_>) -> Option<EmailConfig> {
    let smtp = table.required("smtp", "\"smtps://user@smtp.example.com\"", smtp_server);
    let password = table.optional("password", |value| secret(value).map(|found| found.secret));
    let from = table.required("from", "\"Callwatch <alerts@example.com>\"", mailbox);
    table.require("to", "[\"manager@example.com\"]");
    let to = table.set("to", mailbox);
    let smtp = smtp?;
    let has_password = table.has("password");
    let trouble = match (&smtp.user, &smtp.password) {
        (Some(_), None) if !has_password => Some(("smtp", "there is a user, and `password` is missing")),
        (None, _) if has_password => Some(("smtp", "there is a password, and no user to go with it")),
        (_, Some(_)) if has_password => Some(("password", "there is a password in `smtp` already")),
        _ => None,
    };
    if let Some((key, message)) = trouble {
        table.cx.add_absence(
            Mistake::error(table.span_of(key), message)
                .hint("the user belongs into smtp = \"smtps://user@host\", the password into `password`"),
        );
    }
    Some(EmailConfig { smtp, password, from: from?, to: to? })
}

/// `smtps://user:password@host:port`, user and password percent-encoded.
fn smtp_server(value: &Value<'_>) -> Result<SmtpServer, Mistake> {
    const HINT: &str = "write \"smtps://user@smtp.example.com\"; an @ in the user is written %40";
    let text = value.text()?;
    hide_user_of_url(value);
    let error = |message: String| value.error(message).hint(HINT);
    let url = parse_url(text).map_err(error)?;
    let (security, port) = match url.scheme() {
        "smtps" => (SmtpSecurity::Tls, 465),
        "smtp" => (SmtpSecurity::StartTls, 587),
        "smtp+insecure" => (SmtpSecurity::Insecure, 25),
        _ => return Err(error("the URL must begin with smtps://, smtp:// or smtp+insecure://".to_owned())),
    };
    let host = match url.host() {
        // Of schemes it does not know, the parser leaves the host as it is.
        Some(Host::Domain(name)) => Host::parse(name),
        Some(Host::Ipv4(address)) => Ok(Host::Ipv4(address)),
        Some(Host::Ipv6(address)) => Ok(Host::Ipv6(address)),
        None => return Err(error("the host is missing".to_owned())),
    }
    .map_err(|why| error(format!("this is not a host: {why}")))?;
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(error("expected nothing after the host and the port".to_owned()));
    }
    let decode = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(error("user and password must be UTF-8".to_owned())),
    };
    let user = Some(url.username()).filter(|user| !user.is_empty()).map(decode).transpose()?;
    let password = url.password().map(decode).transpose()?;
    let here = match &host {
        Host::Domain(name) => is_loopback(Some(Host::Domain(name))),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    if security == SmtpSecurity::Insecure && !here {
        value.cx.add(
            value
                .warning("the password and the calls travel in clear")
                .hint("use smtps:// or smtp:// unless the server is on this machine"),
        );
    }
    let host = match host {
        Host::Domain(name) => name,
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    Ok(SmtpServer {
        security,
        host,
        port: url.port().unwrap_or(port),
        user,
        password: password.map(Into::into),
    })
}
