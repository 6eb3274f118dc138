//! What templates are run in: our filters, and limits.

use std::{io, time::Duration};

use minijinja::{
    Environment, Error, ErrorKind, UndefinedBehavior, escape_formatter,
    value::{Value, ValueKind},
};

use super::MAX_OUTPUT;
use crate::privacy;

/// How many steps a template may take; a text of a few lines takes some dozens.
const FUEL: u64 = 50_000;

/// A new environment with our filters. Templates whose name ends in `.html` are escaped.
pub(crate) fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    // Both would print the call.
    env.set_debug(false);
    env.remove_global("debug");
    env.set_fuel(Some(FUEL));
    env.set_formatter(|out, state, value| {
        if value.is_none() {
            out.write_str("–").map_err(Error::from)
        } else {
            escape_formatter(out, state, value)
        }
    });
    env.add_filter("mask_phone", |number: Option<&str>| number.map(privacy::mask_phone));
    env.add_filter("duration", duration);
    env.add_filter("truncate", |text: &str, length: usize| truncate(text, length));
    env
}

fn duration(seconds: &Value) -> Result<Value, Error> {
    match seconds.kind() {
        ValueKind::None => Ok(Value::from(())),
        ValueKind::Number => Ok(Value::from(duration_in_words(f64::try_from(seconds.clone())?))),
        _ => Err(Error::new(ErrorKind::InvalidOperation, "not a number of seconds")),
    }
}

/// Seconds as people say them, rounded: 145 is `2m 25s`, 3700 is `1h 1m`.
pub(crate) fn duration_in_words(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds.round()).unwrap_or_default().as_secs();
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (h, m, s) {
        (0, 0, s) => format!("{s}s"),
        (0, m, 0) => format!("{m}m"),
        (0, m, s) => format!("{m}m {s}s"),
        (h, 0, _) => format!("{h}h"),
        (h, m, _) => format!("{h}h {m}m"),
    }
}

/// At most `length` characters, the last of them `…` when something was cut.
pub(crate) fn truncate(text: &str, length: usize) -> String {
    if text.chars().nth(length).is_none() {
        return text.to_owned();
    }
    let kept: String = text.chars().take(length.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// Takes up to [`MAX_OUTPUT`] bytes, then stops the writer.
#[derive(Default)]
pub(super) struct Capped {
    bytes: Vec<u8>,
    /// Whether there was more.
    pub(super) overflown: bool,
}

impl Capped {
    pub(super) fn into_text(self) -> String {
        // The cut may have gone through a character.
        let mut text = String::from_utf8_lossy(&self.bytes).into_owned();
        if self.overflown {
            text.truncate(text.trim_end_matches('\u{fffd}').len());
            text.push('…');
        }
        text
    }
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = MAX_OUTPUT - self.bytes.len();
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
