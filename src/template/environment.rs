//! The environment of templates: our filters, and limits.

use std::{io, sync::LazyLock};

use chrono::format::{Item, StrftimeItems};

use minijinja::{
    Environment, Error, ErrorKind, State, UndefinedBehavior, escape_formatter, filters, tests,
    value::{Kwargs, Rest, Value, ValueKind},
};
use serde::Serialize as _;
use serde_json::ser::PrettyFormatter;

use super::compiled::MAX_BODY;
use super::dashed::{self, DASH};
use super::withheld::{as_json, is_none};
use crate::{calendar::Zone, language::Language, privacy, time::Timestamp};

/// The most steps a template may take; a text of a few lines takes some dozens. Data counts as well: [`STEP`] bytes of text, or
/// of a list or an object as JSON, are a step.
const FUEL: u64 = 50_000;

/// How many bytes a step reads or writes.
const STEP: usize = 64;

/// The same for the body of a webhook, which may be as long as [`MAX_BODY`].
pub(super) const FUEL_OF_BODY: u64 = 500_000;

/// The widest indentation of JSON, and of other texts.
const MAX_INDENT: usize = 8;
const MAX_WIDTH: usize = 80;

/// The environment without templates that every template of a config starts from.
pub(super) static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

/// A new environment with our filters. Templates whose name ends in `.html` are escaped.
pub(crate) fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    // Debug output would print the call.
    env.set_debug(false);
    env.remove_global("debug");
    env.set_fuel(Some(FUEL));
    env.set_formatter(|out, state, value| {
        if value.is_none() || value.is_undefined() {
            out.write_str(DASH).map_err(Error::from)
        } else {
            ensure_fits(state, value, None)?;
            escape_formatter(out, state, value)
        }
    });
    guard(&mut env);
    // Lists that are strung together cost no steps, however long they become.
    env.remove_filter("chain");
    env.add_filter("sum", sum);
    env.add_test("none", is_none);
    env.add_filter("mask_phone", mask_phone);
    env.add_filter("duration", duration);
    env.add_filter("local_time", local_time);
    env.add_filter("truncate", |text: &Value, length: usize| of_text(text, |text| truncate(text, length)));
    env.add_filter("tojson", tojson);
    env.add_filter(dashed::FILTER, dashed_value);
    env.add_filter("join", join);
    env.add_filter("string", |state: &State<'_, '_>, value: Value| -> Result<Value, Error> {
        ensure_fits(state, &value, None)?;
        Ok(Value::from(if value.is_none() { DASH.to_owned() } else { value.to_string() }))
    });
    env.add_filter("slack_escape", |text: &Value| of_text(text, slack_escape));
    env
}

/// The library's `sum`, which can start from a list.
fn sum(
    state: &State<'_, '_>,
    values: Value,
    attribute: Option<&str>,
    start: Option<Value>,
    arguments: Kwargs,
) -> Result<Value, Error> {
    let start = match start {
        None => arguments.get::<Option<Value>>("start")?,
        given => given,
    };
    let attribute = match attribute {
        None => arguments.get::<Option<&str>>("attribute")?,
        given => given,
    };
    arguments.assert_all_used()?;
    if start.as_ref().is_some_and(|start| !start.is_number()) {
        return Err(Error::new(ErrorKind::InvalidOperation, "a sum starts from a number"));
    }
    filters::sum(state, values, attribute, start, Kwargs::from_iter(std::iter::empty::<(&str, Value)>()))
}

/// The library's `tojson`, which writes a value of any size before it looks at what that costs.
fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    indent: Option<Value>,
    arguments: Kwargs,
) -> Result<Value, Error> {
    let indent = match indent {
        None => arguments.get::<Option<Value>>("indent")?,
        given => given,
    };
    arguments.assert_all_used()?;
    let width = match indent.as_ref().filter(|indent| bool::try_from((*indent).clone()).is_err()) {
        None => indent.as_ref().filter(|indent| indent.is_true()).map(|_| 2),
        Some(indent) => Some(usize::try_from(indent.clone())?),
    };
    if width.is_some_and(|width| width > MAX_INDENT) {
        let message = format!("an indentation is {MAX_INDENT} spaces at most");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    let value = &as_json(value);
    ensure_fits(state, value, width)?;
    filters::tojson(value, width.map(Value::from), Kwargs::from_iter(std::iter::empty::<(&str, Value)>()))
}

/// Makes the library's filters and tests look no further than [`MAX_BODY`] into lists and objects, and count steps for how far
/// they look. By themselves they compare and write values of any depth without counting.
fn guard(env: &mut Environment<'static>) {
    // These filters return null for null, as our own do, instead of failing or writing `None`.
    const OF_TEXTS: [&str; 10] =
        ["capitalize", "e", "escape", "lines", "lower", "replace", "split", "title", "trim", "upper"];
    let filters: [(&'static str, Value); 18] = [
        ("capitalize", Value::from_function(filters::capitalize)),
        ("dictsort", Value::from_function(filters::dictsort)),
        ("e", Value::from_function(filters::escape)),
        ("escape", Value::from_function(filters::escape)),
        ("format", Value::from_function(filters::format)),
        ("groupby", Value::from_function(filters::groupby)),
        ("lines", Value::from_function(filters::lines)),
        ("lower", Value::from_function(filters::lower)),
        ("max", Value::from_function(filters::max)),
        ("min", Value::from_function(filters::min)),
        ("pprint", Value::from_function(filters::pprint)),
        ("replace", Value::from_function(filters::replace)),
        ("sort", Value::from_function(filters::sort)),
        ("split", Value::from_function(filters::split)),
        ("title", Value::from_function(filters::title)),
        ("trim", Value::from_function(filters::trim)),
        ("unique", Value::from_function(filters::unique)),
        ("upper", Value::from_function(filters::upper)),
    ];
    for (name, filter) in filters {
        env.add_filter(name, move |state: &mut State<'_, '_>, arguments: Rest<Value>| {
            arguments.iter().try_for_each(|argument| ensure_fits(state, argument, None))?;
            let is_of_null = arguments.first().is_some_and(Value::is_none);
            if is_of_null && OF_TEXTS.contains(&name) {
                return Ok(Value::from(()));
            }
            if name == "format" {
                let shown = arguments.iter().map(|value| dashed_value(state, value.clone()));
                let shown: Vec<_> = shown.collect();
                return filter.call(state, &shown);
            }
            filter.call(state, &arguments)
        });
    }
    let judges: [(&[&'static str], Value); 9] = [
        (&["eq", "equalto", "=="], Value::from_function(tests::is_eq)),
        (&["ne", "!="], Value::from_function(tests::is_ne)),
        (&["lt", "lessthan", "<"], Value::from_function(tests::is_lt)),
        (&["le", "<="], Value::from_function(tests::is_le)),
        (&["gt", "greaterthan", ">"], Value::from_function(tests::is_gt)),
        (&["ge", ">="], Value::from_function(tests::is_ge)),
        (&["in"], Value::from_function(tests::is_in)),
        (&["lower"], Value::from_function(tests::is_lower)),
        (&["upper"], Value::from_function(tests::is_upper)),
    ];
    for (names, judge) in judges {
        for name in names {
            let judge = judge.clone();
            env.add_test(*name, move |state: &mut State<'_, '_>, arguments: Rest<Value>| {
                for argument in arguments.iter() {
                    ensure_fits(state, argument, None)?;
                    state.consume_fuel((argument.as_str().map_or(0, str::len) / STEP) as u64)?;
                }
                judge.call(state, &arguments).map(|is| is.is_true())
            });
        }
    }
    // These take no lists at all.
    env.add_filter("urlencode", |text: &Value| match text.kind() {
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => Err(not_a_text()),
        _ => filters::urlencode(text).map(Value::from),
    });
    env.add_filter("indent", |text: &str, width: usize, first: Option<bool>| {
        if width > MAX_WIDTH {
            let message = format!("an indentation is {MAX_WIDTH} spaces at most");
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
        let spaces = " ".repeat(width);
        let indented = text.split('\n').enumerate().map(|(place, line)| match (place, first) {
            (0, None | Some(false)) => line.to_owned(),
            _ if line.is_empty() => String::new(),
            _ => format!("{spaces}{line}"),
        });
        Ok(indented.collect::<Vec<_>>().join("\n"))
    });
}

/// The value as it reads in a text: a dash in place of null, and of a field that is missing where that is no mistake.
fn dashed_value(state: &State<'_, '_>, value: Value) -> Value {
    let may_be_missing = || state.undefined_behavior() == UndefinedBehavior::Chainable;
    if value.is_none() || value.is_undefined() && may_be_missing() { Value::from(DASH) } else { value }
}

/// The library's `join`, which writes `None` for null.
fn join(
    state: &mut State<'_, '_>,
    values: &Value,
    joiner: Option<Value>,
    attribute: Option<&str>,
    arguments: Kwargs,
) -> Result<Value, Error> {
    let joiner = match joiner {
        None => arguments.get::<Option<Value>>("d")?,
        given => given,
    };
    let attribute = match attribute {
        None => arguments.get::<Option<&str>>("attribute")?,
        given => given,
    };
    arguments.assert_all_used()?;
    ensure_fits(state, values, None)?;
    if values.is_none() {
        return Ok(Value::from(()));
    }
    let library = Value::from_function(filters::join);
    // The library knows what to do with a text, and says what is wrong with anything else.
    let Some(values) = values.try_iter().ok().filter(|_| values.as_str().is_none()) else {
        let given: Vec<_> = [values.clone()].into_iter().chain(joiner).collect();
        return library.call(state, &given);
    };
    let part = |value: Value, name: &str| match name.parse::<usize>() {
        Ok(place) => value.get_item_by_index(place),
        Err(_) => value.get_attr(name),
    };
    let mut shown = vec![];
    for value in values {
        let value = attribute.iter().flat_map(|path| path.split('.')).try_fold(value, part)?;
        shown.push(dashed_value(state, value));
    }
    let given: Vec<_> = [Value::from(shown)].into_iter().chain(joiner).collect();
    library.call(state, &given)
}

fn not_a_text() -> Error {
    Error::new(ErrorKind::InvalidOperation, "not a text")
}

/// Fails when a value as JSON is longer than anything a template may produce. Counts steps for its length.
fn ensure_fits(state: &State<'_, '_>, value: &Value, indent: Option<usize>) -> Result<(), Error> {
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
        return Ok(());
    }
    let mut room = Room(MAX_BODY);
    let spaces = [b' '; MAX_INDENT];
    let written = match indent {
        Some(width) => {
            let style = PrettyFormatter::with_indent(&spaces[..width.min(MAX_INDENT)]);
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut room, style))
        }
        None => value.serialize(&mut serde_json::Serializer::new(&mut room)),
    };
    let length = MAX_BODY - room.0;
    state.consume_fuel((length / STEP) as u64)?;
    written.map_err(|_| Error::new(ErrorKind::InvalidOperation, "too long, or not JSON"))
}

/// Counts bytes down, and fails when there is no room for more.
struct Room(usize);

impl io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.0.checked_sub(bytes.len());
        self.0 = left.unwrap_or(0);
        left.ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The value of a filter for texts; null stays null.
fn of_text(value: &Value, filter: impl FnOnce(&str) -> String) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) => Ok(Value::from(filter(text))),
        None if value.is_none() || value.is_undefined() => Ok(Value::from(())),
        // A number that was withheld is told as such.
        None if is_none(value) => Ok(Value::from(filter(&value.to_string()))),
        None => Err(not_a_text()),
    }
}

fn mask_phone(number: &Value) -> Result<Value, Error> {
    // A number that was withheld has nothing to hide.
    if is_none(number) { Ok(number.clone()) } else { of_text(number, privacy::mask_phone) }
}

/// The language of the message: the value of the variable `language`.
fn language(state: &State<'_, '_>) -> Language {
    let language = state.lookup("language");
    language.and_then(|language| Language::of_tag(language.as_str()?)).unwrap_or_default()
}

fn duration(state: &State<'_, '_>, seconds: &Value) -> Result<Value, Error> {
    match seconds.kind() {
        ValueKind::None | ValueKind::Undefined => Ok(Value::from(())),
        ValueKind::Number => Ok(Value::from(language(state).duration(f64::try_from(seconds.clone())?))),
        _ => Err(Error::new(ErrorKind::InvalidOperation, "not a number of seconds")),
    }
}

/// A time in RFC 3339 as clocks show it in a zone; `format` as in strftime, with the names of the message's language.
fn local_time(
    state: &State<'_, '_>,
    time: Option<&str>,
    zone: &str,
    format: Option<&str>,
) -> Result<Option<String>, Error> {
    let wrong = |what: String| Error::new(ErrorKind::InvalidOperation, what);
    let Some(time) = time else { return Ok(None) };
    let at = Timestamp::parse(time).ok_or_else(|| wrong("not a time".to_owned()))?;
    let zone = zone_and_format(zone, format).map_err(wrong)?;
    let local = zone.local(at).ok_or_else(|| wrong("beyond all calendars".to_owned()))?;
    let text = language(state).local_time(&local, format);
    text.map(Some).ok_or_else(|| wrong("no such format".to_owned()))
}

/// The zone of `local_time`, or a message about the argument that is wrong.
pub(super) fn zone_and_format(zone: &str, format: Option<&str>) -> Result<Zone, String> {
    if let Some(format) = format
        && StrftimeItems::new(format).any(|item| item == Item::Error)
    {
        return Err(format!("`{format}` is not a format of times"));
    }
    zone_named(zone)
}

/// The zone of this name, or a message that there is none.
pub(super) fn zone_named(name: &str) -> Result<Zone, String> {
    Zone::parse(name).ok_or_else(|| format!("there is no time zone `{name}`"))
}

/// Keeps a text from becoming a link, a mention or a channel in Slack:
/// <https://docs.slack.dev/messaging/formatting-message-text#escaping>.
pub(crate) fn slack_escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// At most `length` characters, the last of them `…` when something was cut.
pub(crate) fn truncate(text: &str, length: usize) -> String {
    if text.chars().nth(length).is_none() {
        return text.to_owned();
    }
    let kept: String = text.chars().take(length.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// Keeps bytes up to a limit; beyond it every write fails, which stops a template that goes on for ever.
pub(super) struct Capped {
    bytes: Vec<u8>,
    limit: usize,
    /// Whether there was more.
    pub(super) overflown: bool,
}

impl Capped {
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: vec![], limit, overflown: false }
    }

    pub(super) fn text(&self) -> String {
        // The limit may have cut a character in two.
        let mut text = String::from_utf8_lossy(&self.bytes).into_owned();
        if self.overflown {
            text.truncate(text.trim_end_matches('\u{fffd}').len());
        }
        text
    }
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.limit - self.bytes.len();
        if bytes.len() > room {
            self.bytes.extend_from_slice(&bytes[..room]);
            self.overflown = true;
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
