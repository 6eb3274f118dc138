//! Readers of values: one function for each type a value can have.

use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use humantime::DurationError;
use url::{Host, Url};

use super::{
    key::{Key, ValueType},
    report::{Mistake, closest_of},
    table::Declared,
    value::Value,
};
use crate::{
    calendar::{Hours, Schedule, Zone},
    call::DOCUMENTED_FIELDS,
    kind::Kind,
    language::Language,
    name::Name,
    rule::pacing::Field,
    template::{Template, TemplateError, truncate},
};

type Read<T> = Result<T, Mistake>;

/// A reader of durations within the limits that `key` declares, for itself or for its elements.
pub(crate) fn duration_of(key: &Key) -> impl Fn(&Value<'_>) -> Read<Duration> {
    let (least, most) = match key.takes.element() {
        ValueType::Duration(least, most) => (least, most),
        _ => (Duration::ZERO, Duration::MAX),
    };
    duration(least..=most)
}

/// A reader of whole numbers within the limits that `key` declares, for itself or for its elements.
pub(crate) fn integer_of(key: &Key) -> impl Fn(&Value<'_>) -> Read<u32> {
    let (least, most) = match key.takes.element() {
        ValueType::Integer(least, most) => (least, most),
        _ => (0, u32::MAX),
    };
    move |value| value.integer(least..=most)
}

/// A reader of durations within `limits`.
pub(crate) fn duration(limits: RangeInclusive<Duration>) -> impl Fn(&Value<'_>) -> Read<Duration> {
    move |value| {
        if value.text().is_ok_and(has_decimal_comma) {
            return Err(no_comma(value, "write whole numbers with units, as in \"1h 30m\" or \"500ms\""));
        }
        if let Some(digits) = value.digits() {
            return Err(value.wrong_type("a duration in quotes").hint(format!("write \"{digits}s\"")));
        }
        let duration = parse_duration(value.text()?).map_err(|message| {
            value.error(message).hint("write numbers with units, as in \"15s\", \"2h 30m\" or \"7d\"")
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

/// A duration such as `2h 30m`.
///
/// # Errors
/// Why it is none, in words that an example can follow.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| match error {
        DurationError::UnknownUnit { unit, .. } if unit.is_empty() => "this duration has no unit".to_owned(),
        DurationError::UnknownUnit { unit, .. } => {
            format!("there is no unit of time `{}`", unit.escape_debug())
        }
        _ => "this is not a duration".to_owned(),
    })
}

/// Whether a comma stands where a number would have its decimals.
pub(crate) fn has_decimal_comma(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.windows(3).any(|three| three[0].is_ascii_digit() && three[1] == b',' && three[2].is_ascii_digit())
}

/// The mistake that there is a decimal comma in a value.
pub(crate) fn no_comma(value: &Value<'_>, hint: &str) -> Mistake {
    value.error("a number has no comma").hint(hint)
}

/// A number of bytes, at least as many as `key` declares: `"64MB"`, `"16MiB"`.
pub(super) fn size(key: &Key, value: &Value<'_>) -> Read<u64> {
    let ValueType::Size(least) = key.takes else { return Err(value.wrong_type("a size")) };
    let text = value.text()?;
    if has_decimal_comma(text) {
        return Err(no_comma(value, "write a whole number of a smaller unit, as in \"1500MB\""));
    }
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

/// An address to listen on.
pub(super) fn socket_address(value: &Value<'_>) -> Read<SocketAddr> {
    value.text()?.parse().map_err(|_| {
        value
            .error("this is not an address to listen on")
            .hint("write an IP address and a port, as in \"127.0.0.1:9464\"")
    })
}

/// One of the words of a [`ValueType::Word`]; the first stands for the first of `meanings`, and so on.
pub(crate) fn one_of<T: Clone>(takes: &ValueType, value: &Value<'_>, meanings: &[T]) -> Read<T> {
    let text = value.text()?;
    let ValueType::Word { what, words } = takes.element() else { return Err(value.wrong_type("a word")) };
    let place = words.iter().position(|word| *word == text);
    place.and_then(|place| meanings.get(place)).cloned().ok_or_else(|| {
        value
            .error(format!("there is no {what} `{}`", text.escape_debug()))
            .hint(closest_of(text, words.iter().copied()))
    })
}

/// A time zone.
pub(crate) fn zone(value: &Value<'_>) -> Read<Zone> {
    let text = value.text()?;
    Zone::parse(text).ok_or_else(|| {
        let mistake = value.error(format!("there is no time zone `{}`", text.escape_debug()));
        let lower = text.to_lowercase();
        let contains = Zone::names().filter(|name| name.to_lowercase().contains(&lower));
        let contains = contains.min_by_key(|name| name.len()).filter(|_| text.len() > 2);
        // There are hundreds, and names with a slip in them begin right and are short.
        let initial = lower.get(..1).filter(|_| lower.len() <= 32);
        let alike = Zone::names()
            .filter(|name| initial.is_some_and(|it| name[..1].eq_ignore_ascii_case(it)))
            .map(|name| (strsim::osa_distance(&lower, &name.to_lowercase()), name))
            .min()
            .filter(|(distance, _)| *distance <= 2);
        match contains.or(alike.map(|(_, name)| name)) {
            Some(name) => mistake.hint(format!("did you mean `{name}`?")),
            None => mistake.hint("write a name of the IANA database, as in \"Europe/Berlin\""),
        }
    })
}

/// A language by its tag.
pub(crate) fn language(value: &Value<'_>) -> Read<Language> {
    let text = value.text()?;
    Language::of_tag(text).ok_or_else(|| {
        // A slip in two letters makes another word, so none is guessed.
        let all = Language::ALL.map(|language| format!("`{language}` ({language:?})")).join(", ");
        value
            .error(format!("there is no language `{}`", text.escape_debug()))
            .hint(format!("choose from {all}"))
    })
}

/// Hours of the week, a text or a list of texts.
pub(crate) fn hours(value: &Value<'_>, zone: Zone) -> Read<Hours> {
    let parts = if value.is_list() { value.elements()? } else { vec![] };
    let parts = if value.is_list() { parts.iter().collect() } else { vec![value] };
    let texts = parts.iter().map(|part| part.text()).collect::<Read<Vec<_>>>()?;
    if texts.is_empty() {
        return Err(value.error("there are no hours in it"));
    }
    Hours::parse(texts, zone).map_err(|(place, why)| parts[place].error(why))
}

/// A schedule in cron's syntax.
pub(crate) fn schedule(value: &Value<'_>, zone: Zone) -> Read<Schedule> {
    Schedule::parse(value.text()?, zone)
        .map_err(|why| value.error(why).hint("\"0 8 * * MON-FRI\" is eight o'clock from Monday to Friday"))
}

/// A field that events are grouped by.
pub(super) fn group_field(value: &Value<'_>) -> Read<Field> {
    let field = Field::parse(value.text()?).ok_or_else(|| {
        value
            .error("events can be grouped by a field of the call or by the source")
            .hint("write \"call.callerNumber\", \"call.callAnalysis.topic\" or \"source\"")
    })?;
    match &field {
        Field::OfCall(path) if !DOCUMENTED_FIELDS.contains(&path[0].as_str()) => {
            let message = format!("calls have no field `{}`", path[0].escape_debug());
            Err(value.error(message).hint(closest_of(&path[0], DOCUMENTED_FIELDS)))
        }
        _ => Ok(field),
    }
}

/// The path of a field of a call: `callAnalysis.sentiment`.
pub(crate) fn field_path(value: &Value<'_>) -> Read<String> {
    let path = value.text()?;
    if path.split('.').any(|field| field.is_empty() || field.contains(char::is_whitespace)) {
        return Err(value
            .error("this is not the path of a field")
            .hint("write the names of fields with dots between them, as in \"callAnalysis.sentiment\""));
    }
    if let Some(rest) = path.strip_prefix("call.") {
        let hint = format!("paths start inside the call: write \"{rest}\"");
        value.cx.add(value.warning("calls have no field `call`").hint(hint));
    } else if let Some(meant) = misspelt(path) {
        let message = format!("the API documents no field `{}`", path.escape_debug());
        value.cx.add(value.warning(message).hint(format!("did you mean `{meant}`?")));
    }
    Ok(path.to_owned())
}

/// The documented field that is probably meant by one that is none: a slip in a list of fields to hide would show them.
/// Calls may have more fields than the documented ones, so only what is close to one of those is taken for a slip.
fn misspelt(path: &str) -> Option<&'static str> {
    /// A swap of two letters, a letter too many, or another case.
    const CLOSE: usize = 2;
    let field: String = path.split('.').next()?.chars().take(50).collect();
    if DOCUMENTED_FIELDS.contains(&field.as_str()) {
        return None;
    }
    let distance = |known: &&str| strsim::osa_distance(&field.to_lowercase(), &known.to_lowercase());
    let closest = DOCUMENTED_FIELDS.iter().copied().min_by_key(distance)?;
    (distance(&closest) <= CLOSE).then_some(closest)
}

/// The words for kinds of change, in the order of [`Kind::ALL`].
pub(crate) const KIND: ValueType = ValueType::Word { what: "kind of change", words: &KINDS };

const KINDS: [&str; Kind::ALL.len()] = {
    let mut words = [""; Kind::ALL.len()];
    let mut at = 0;
    while at < words.len() {
        words[at] = Kind::ALL[at].as_str();
        at += 1;
    }
    words
};

/// A kind of change.
pub(crate) fn kind(value: &Value<'_>) -> Read<Kind> {
    let said = value.text().ok().map(str::to_lowercase).unwrap_or_default();
    // Other words for the same, and the names that webhooks have for it.
    let meant = match said.strip_prefix("call.").unwrap_or(&said) {
        "completed" | "finished" | "over" => "ended",
        "live" | "new" | "created" => "started",
        "analysed" | "analysis" => "analyzed",
        "changed" => "updated",
        "removed" => "deleted",
        other => other,
    };
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == meant && meant != said);
    match kind {
        Some(kind) => one_of(&KIND, value, &Kind::ALL)
            .map_err(|mistake| mistake.hint(format!("did you mean `{kind}`?"))),
        None => one_of(&KIND, value, &Kind::ALL),
    }
}

/// The name of one of the `known` tables; `what` is what each of them is called, such as `source`.
pub(crate) fn reference(value: &Value<'_>, what: &str, known: &Declared) -> Read<Name> {
    let text = value.text()?;
    if !known.contains(text) {
        let message = format!("there is no {what} `{}`", truncate(text, Name::MAX_LEN).escape_debug());
        let mistake = value.error(message);
        let names = known.places().iter().map(|(name, _)| name.as_str());
        value.cx.add_absence(match value.cx.is_full() {
            true => mistake,
            false => mistake.hint(closest_of(text, names)),
        });
    }
    Ok(Name::from(text))
}

/// A template of a rule's title or body.
pub(super) fn template(value: &Value<'_>) -> Read<Template> {
    Template::compile(value.text()?).map_err(|error| mistake_in(value, error))
}

/// A template's mistake at its place in the file.
pub(crate) fn mistake_in(value: &Value<'_>, error: TemplateError) -> Mistake {
    let place = error.span.map_or(value.span.clone(), |span| value.part(span));
    let mut mistake = Mistake::error(place, error.message);
    mistake.hint = error.hint;
    mistake
}

/// An http or https URL. Its user and password are kept out of the report.
///
/// `in_clear` completes the warning about http to another machine: "with http, {in_clear} in clear".
pub(crate) fn web_address(value: &Value<'_>, in_clear: &str) -> Read<Url> {
    let text = value.text()?;
    hide_user_of_url(value);
    let url = parse_web_address(text)
        .map_err(|why| value.error(why).hint("write it whole, as in \"https://example.com/path\""))?;
    if url.scheme() == "http" && !is_loopback(url.host()) {
        value.cx.add(value.warning(format!("with http, {in_clear} in clear")).hint("use https"));
    }
    Ok(url)
}

/// The text as an http or https URL, or why it is none. The reason never quotes the text, which may hold a password.
pub(crate) fn parse_web_address(text: &str) -> Result<Url, String> {
    let url = parse_url(text)?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err("the URL must begin with https:// or http://".to_owned()),
    }
}

/// The text as a URL, or why it is none. The reason never quotes the text.
pub(crate) fn parse_url(text: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => "this is not a whole URL".to_owned(),
        error => format!("this is not a URL: {error}"),
    })
}

/// Keeps user and password of a URL out of the report.
pub(crate) fn hide_user_of_url(value: &Value<'_>) {
    let text = value.text().unwrap_or_default();
    let is_whole = Url::parse(text).is_ok_and(|url| url.has_host());
    if !is_whole && text.contains(':') {
        // Without a host it is unknown which part is the password.
        value.hide();
    } else if let Some(at) = text.rfind('@') {
        value.cx.hide(value.part(host_of_url(text).min(at)..at));
    }
}

/// Keeps the path and the query of a URL out of the report, because for many receivers they are the password.
pub(crate) fn hide_path_of_url(value: &Value<'_>) {
    let text = value.text().unwrap_or_default();
    let host = host_of_url(text);
    if let Some(path) = text[host..].find(['/', '?', '#']) {
        value.cx.hide(value.part(host + path + 1..text.len()));
    }
}

/// The byte after the scheme and the slashes, where the host begins.
fn host_of_url(text: &str) -> usize {
    text.find("://").map_or(0, |at| at + 3)
}

/// Whether a connection to `host` stays on this machine.
pub(crate) fn is_loopback(host: Option<Host<&str>>) -> bool {
    match host {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
