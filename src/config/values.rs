//! The kinds of value there are, and how each is read.

use std::{
    net::SocketAddr,
    ops::{Range, RangeInclusive},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use humantime::DurationError;
use lettre::message::Mailbox;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use super::{Rate, Secret, SecretError, Secrets, reader::closest_of, report::Mistake, value::Value};
use crate::{
    calendar::{Hours, Schedule, Zone},
    call::DOCUMENTED_FIELDS,
    kind::Kind,
    name::Name,
    rule::pacing::Field,
    template::{Template, TemplateError},
};

type Read<T> = Result<T, Mistake>;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A reader of durations within `limits`.
pub(crate) fn duration(limits: RangeInclusive<Duration>) -> impl Fn(&Value<'_>) -> Read<Duration> {
    move |value| {
        if let Some(digits) = value.digits() {
            return Err(value.wrong_type("a duration in quotes").hint(format!("write \"{digits}s\"")));
        }
        let duration = humantime::parse_duration(value.text()?).map_err(|error| {
            let mistake = value.error(match error {
                DurationError::UnknownUnit { unit, .. } if unit.is_empty() => {
                    "this duration has no unit".to_owned()
                }
                DurationError::UnknownUnit { unit, .. } => {
                    format!("there is no unit of time `{}`", unit.escape_debug())
                }
                _ => "this is not a duration".to_owned(),
            });
            mistake.hint("write numbers with units, as in \"15s\", \"2h 30m\" or \"7d\"")
        })?;
        let shown = humantime::format_duration;
        if duration < *limits.start() {
            return Err(value.error(format!("too short, at least {}", shown(*limits.start()))));
        }
        if duration > *limits.end() {
            return Err(value.error(format!("too long, at most {}", shown(*limits.end()))));
        }
        Ok(duration)
    }
}

/// A number of bytes, at least `least`: `"64MB"`, `"16MiB"`.
pub(super) fn bytes(value: &Value<'_>, least: u64) -> Read<u64> {
    let text = value.text()?;
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].trim() {
        "KB" | "kB" => Some(1_000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let number: Option<u64> = text[..digits].parse().ok();
    let bytes = number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    match bytes {
        Some(bytes) if bytes < least => Err(value.error(format!("too small, at least {least} bytes"))),
        Some(bytes) => Ok(bytes),
        None => Err(value.error("this is not a size").hint("write a number and a unit, as in \"64MB\"")),
    }
}

/// `"1/s"`, `"30/m"`, `"500/h"`
pub(super) fn rate(value: &Value<'_>) -> Read<Rate> {
    let parse = |text: &str| {
        let (count, period) = text.split_once('/')?;
        let count = count.trim().parse().ok().filter(|count| *count > 0)?;
        let seconds = match period.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        Some(Rate { count, period: Duration::from_secs(seconds) })
    };
    parse(value.text()?).ok_or_else(|| {
        value.error("this is not a rate").hint("write a number per s, m or h, as in \"1/s\" or \"30/m\"")
    })
}

/// An address to listen on.
pub(super) fn socket_address(value: &Value<'_>) -> Read<SocketAddr> {
    value.text()?.parse().map_err(|_| {
        value
            .error("this is not an address to listen on")
            .hint("write an IP address and a port, as in \"127.0.0.1:9464\"")
    })
}

/// One of a few words.
pub(super) fn word<T: Clone>(value: &Value<'_>, what: &str, words: &[(&str, T)]) -> Read<T> {
    let text = value.text()?;
    words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| meaning.clone()).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| word).collect();
        value.error(format!("there is no {what} `{}`", text.escape_debug())).hint(closest_of(text, &words))
    })
}

/// A time zone.
pub(super) fn zone(value: &Value<'_>) -> Read<Zone> {
    let text = value.text()?;
    Zone::parse(text).ok_or_else(|| {
        let mistake = value.error(format!("there is no time zone `{}`", text.escape_debug()));
        // There are too many to choose from.
        let near = Zone::names().filter(|name| name.to_lowercase().contains(&text.to_lowercase()));
        match near.min_by_key(|name| name.len()).filter(|_| text.len() > 2) {
            Some(name) => mistake.hint(format!("did you mean `{name}`?")),
            None => mistake.hint("write a name of the IANA database, as in \"Europe/Berlin\""),
        }
    })
}

/// Hours of the week, a text or a list of texts.
pub(super) fn hours(value: &Value<'_>, zone: Zone) -> Read<Hours> {
    let parts = if value.is_list() { value.elements()? } else { vec![] };
    let parts = if value.is_list() { parts.iter().collect() } else { vec![value] };
    let texts = parts.iter().map(|part| part.text()).collect::<Read<Vec<_>>>()?;
    if texts.is_empty() {
        return Err(value.error("there are no hours in it"));
    }
    Hours::parse(texts, zone).map_err(|(place, why)| parts[place].error(why))
}

/// A schedule in cron's syntax.
pub(super) fn schedule(value: &Value<'_>, zone: Zone) -> Read<Schedule> {
    Schedule::parse(value.text()?, zone)
        .map_err(|why| value.error(why).hint("\"0 8 * * MON-FRI\" is eight o'clock from Monday to Friday"))
}

/// What events are grouped by.
pub(super) fn group_field(value: &Value<'_>) -> Read<Field> {
    let field = Field::parse(value.text()?).ok_or_else(|| {
        value
            .error("events can be grouped by a field of the call or by the source")
            .hint("write \"call.callerNumber\", \"call.callAnalysis.topic\" or \"source\"")
    })?;
    match &field {
        Field::OfCall(path) if !DOCUMENTED_FIELDS.contains(&path[0].as_str()) => {
            let message = format!("calls have no field `{}`", path[0].escape_debug());
            Err(value.error(message).hint(closest_of(&path[0], &DOCUMENTED_FIELDS)))
        }
        _ => Ok(field),
    }
}

/// A kind of change.
pub(crate) fn kind(value: &Value<'_>) -> Read<Kind> {
    word(value, "kind of change", &Kind::ALL.map(|kind| (kind.as_str(), kind)))
}

/// The name of one of the `known`, which are called `what`.
pub(crate) fn reference(value: &Value<'_>, what: &str, known: &[(Name, Range<usize>)]) -> Read<Name> {
    let text = value.text()?;
    let names: Vec<_> = known.iter().map(|(name, _)| name.as_str()).collect();
    if !names.contains(&text) {
        let message = format!("there is no {what} `{}`", text.escape_debug());
        value.cx.add_absence(value.error(message).hint(closest_of(text, &names)));
    }
    Ok(Name::from(text))
}

/// A template of what people read.
pub(super) fn template(value: &Value<'_>) -> Read<Template> {
    Template::compile(value.text()?).map_err(|error| mistake_in(value, error))
}

/// A template of what a webhook's receiver reads. `secrets` are the names of those there are.
pub(super) fn body_template(value: &Value<'_>, secrets: &[&str]) -> Read<Template> {
    Template::compile_body(value.text()?, secrets).map_err(|error| mistake_in(value, error))
}

fn mistake_in(value: &Value<'_>, error: TemplateError) -> Mistake {
    let place = error.span.map_or(value.span.clone(), |span| value.part(span));
    Mistake::error(place, error.message)
}

/// The path of a field of a call: `callAnalysis.sentiment`.
pub(super) fn field_path(value: &Value<'_>) -> Read<String> {
    let path = value.text()?;
    if path.split('.').any(|field| field.is_empty() || field.contains(char::is_whitespace)) {
        return Err(value
            .error("this is not the path of a field")
            .hint("write the names of fields with dots between them, as in \"callAnalysis.sentiment\""));
    }
    if let Some(rest) = path.strip_prefix("call.") {
        let hint = format!("paths start inside the call: write \"{rest}\"");
        value.cx.add(value.warning("calls have no field `call`").hint(hint));
    }
    Ok(path.to_owned())
}

/// An email address, with or without a name.
pub(super) fn mailbox(value: &Value<'_>) -> Read<Mailbox> {
    value.text()?.parse().map_err(|_| {
        value
            .error("this is not an email address")
            .hint("write \"alerts@example.com\" or \"Callwatch <alerts@example.com>\"")
    })
}

/// An address of a web service. User and password are hidden from the report.
///
/// `in_clear` says what http would expose on the way to another machine.
pub(super) fn web_address(value: &Value<'_>, in_clear: &str) -> Read<Url> {
    let text = value.text()?;
    hide_user_of_url(value);
    let url = parse_web_address(text)
        .map_err(|why| value.error(why).hint("write it whole, as in \"https://example.com/path\""))?;
    if url.scheme() == "http" && !is_loopback(url.host()) {
        value.cx.add(value.warning(format!("with http, {in_clear} in clear")).hint("use https"));
    }
    Ok(url)
}

/// The text as an http or https URL, or why it is none; never quotes it.
pub(super) fn parse_web_address(text: &str) -> Result<Url, String> {
    let url = parse_url(text)?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err("the URL must begin with https:// or http://".to_owned()),
    }
}

/// The text as a URL, or why it is none; never quotes it.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => "this is not a whole URL".to_owned(),
        error => format!("this is not a URL: {error}"),
    })
}

/// Keeps user and password of a URL out of the report.
pub(super) fn hide_user_of_url(value: &Value<'_>) {
    let text = value.text().unwrap_or_default();
    let is_whole = Url::parse(text).is_ok_and(|url| url.has_host());
    if !is_whole && text.contains(':') {
        // There is no telling where in it a password is.
        value.hide();
    } else if let Some(at) = text.rfind('@') {
        value.cx.hide(value.part(host_of_url(text).min(at)..at));
    }
}

/// Keeps path and query of a URL out of the report: for many receivers they are the password.
pub(super) fn hide_path_of_url(value: &Value<'_>) {
    let text = value.text().unwrap_or_default();
    let host = host_of_url(text);
    if let Some(path) = text[host..].find(['/', '?', '#']) {
        value.cx.hide(value.part(host + path + 1..text.len()));
    }
}

/// Where scheme and slashes end.
fn host_of_url(text: &str) -> usize {
    text.find("://").map_or(0, |at| at + 3)
}

/// Whether a connection to `host` stays on this machine.
pub(super) fn is_loopback(host: Option<Host<&str>>) -> bool {
    match host {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Where a secret is, and what it is now.
pub(super) struct Found {
    pub secret: Secret,
    /// `None` when secrets are ignored and it is not in the config itself.
    pub content: Option<SecretString>,
}

impl Found {
    /// What it is now.
    pub fn content(&self) -> Option<&str> {
        self.content.as_ref().map(ExposeSecret::expose_secret)
    }
}

/// A secret: a plain text, `{ env = "NAME" }` or `{ file = "path" }`.
pub(super) fn secret(value: &Value<'_>) -> Read<Found> {
    let (secret, place) = if value.is_text() {
        value.hide();
        let text = value.text()?;
        if text.is_empty() {
            return Err(value.error("the secret is empty"));
        }
        (Secret::from(text), value.span.clone())
    } else if value.is_table() {
        secret_elsewhere(value)?
    } else {
        value.hide();
        return Err(value.wrong_type("a text, { env = \"NAME\" } or { file = \"path\" }"));
    };
    if value.cx.options.secrets == Secrets::Ignored && !matches!(secret, Secret::Plain(_)) {
        return Ok(Found { secret, content: None });
    }
    let content = secret.read_with(value.cx.options.env).map_err(|error| {
        let mistake = |message| Mistake::error(place.clone(), message);
        match error {
            SecretError::NoVariable(ref name) => {
                mistake(error.to_string()).hint(format!("set it first: export {name}=…"))
            }
            SecretError::NoFile { why, .. } => mistake(format!("this file cannot be read: {why}")),
        }
    })?;
    if let Secret::File(path) = &secret
        && is_open_to_others(path)
    {
        let hint = format!("chmod 600 {}", path.display());
        value.cx.add(Mistake::warning(place, "other users of this machine can read this file").hint(hint));
    }
    Ok(Found { secret, content: Some(content) })
}

/// A secret in a variable or a file, and the place where that is named.
fn secret_elsewhere(value: &Value<'_>) -> Read<(Secret, Range<usize>)> {
    const HINT: &str = "write { env = \"NAME\" } or { file = \"path\" }";
    let mut table = value.table()?;
    let places = (table.value("env"), table.value("file"));
    table.finish();
    match places {
        (Some(env), None) => match env.text()? {
            name if name.is_empty() || name.contains(['=', '\0']) => {
                Err(env.error("this cannot be the name of a variable"))
            }
            name => Ok((Secret::Env(name.to_owned()), env.span)),
        },
        (None, Some(file)) => match file.text()? {
            "" => Err(file.error("the path is empty")),
            path => Ok((Secret::File(value.cx.folder.join(path)), file.span)),
        },
        (Some(_), Some(_)) => Err(value.error("a secret can only be in one place").hint(HINT)),
        (None, None) => Err(value.error("this does not say where the secret is").hint(HINT)),
    }
}

#[cfg(unix)]
fn is_open_to_others(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o044 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_path: &std::path::Path) -> bool {
    false
}

/// Whether this is a signing secret as [Standard Webhooks](https://www.standardwebhooks.com) has them:
/// base64 of at least one byte, usually after `whsec_`.
pub(super) fn is_signing_secret(content: &str) -> bool {
    let key = content.strip_prefix("whsec_").unwrap_or(content);
    STANDARD.decode(key).is_ok_and(|key| !key.is_empty())
}
