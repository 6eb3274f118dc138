//! Loads a file: its text becomes the value that a reader makes of it, or a [`Report`] of everything that is wrong.

use std::{io, ops::Range, path::Path, string::FromUtf8Error};

use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};
use toml_parser::{Source, lexer::TokenKind};

use super::{
    Secrets,
    context::{Context, LoadOptions},
    file::read_regular,
    key::Key,
    report::{Level, Mistake, Report},
    syntax::Syntax,
    table::Table,
};

/// The longest config file, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// A file that was read.
pub(crate) struct Document<T> {
    /// Its content, as the reader understood it.
    pub read: T,
    /// The warnings.
    pub report: Report,
    /// Its keys and values, with `***` in place of secrets.
    pub shown: Json,
}

/// Reads `text` as the content of the file at `path` with `read`, which is given its outermost table.
///
/// Where the text is not TOML its secrets cannot be recognised as values, so the report shows only the values of keys
/// that `keys` declares as harmless. `None` is for files that hold no secrets: everything is shown.
///
/// # Errors
/// The report of every mistake, warnings included, when at least one of them is an error. Otherwise the result comes
/// with the report of the warnings.
pub(crate) fn document<T>(
    text: &str,
    path: &Path,
    options: LoadOptions<'_>,
    keys: Option<&[&[Key]]>,
    read: impl for<'a> FnOnce(&mut Table<'a>) -> T,
) -> Result<Document<T>, Report> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let syntax = Syntax::new(text, &errors);
    let mut cx = Context::new(text, path, options, !errors.is_empty());
    if let Some(keys) = keys {
        cx.top = keys.first().copied().unwrap_or_default().iter().map(|key| key.name).collect();
        syntax.hide_secrets(&cx, keys);
        if options.secrets == Secrets::Required {
            cx.note_own_file();
        }
    }
    let mut root = Table::new(&cx, 0..0, document.get_ref());
    let read = read(&mut root);
    root.finish();
    let (mistakes, hidden) = cx.finish();
    let visible = if keys.is_some() { without_comments(hidden, text) } else { text.to_owned() };
    let shown = shown(document.get_ref(), text, &visible);
    let report = Report::new(path, visible, syntax.merge(mistakes));
    if report.count(Level::Error) > 0 { Err(report) } else { Ok(Document { read, report, shown }) }
}

/// `visible` with spaces in place of the comments of `text`: a value that was commented out may be a secret.
fn without_comments(mut visible: String, text: &str) -> String {
    for token in Source::new(text).lex().filter(|token| token.kind() == TokenKind::Comment) {
        let said = token.span().start() + 1..token.span().end();
        visible.replace_range(said.clone(), &" ".repeat(said.len()));
    }
    visible
}

/// The keys and values of a table. `visible` is `text` with stars in place of everything that is hidden.
fn shown(table: &DeTable<'_>, text: &str, visible: &str) -> Json {
    let fields = table.iter().map(|(key, value)| {
        (key.get_ref().to_string(), shown_value(value.span(), value.get_ref(), text, visible))
    });
    Json::Object(fields.collect())
}

fn shown_value(span: Range<usize>, value: &DeValue<'_>, text: &str, visible: &str) -> Json {
    let (written, seen) = (&text[span.clone()], &visible[span]);
    match value {
        DeValue::Table(table) => shown(table, text, visible),
        DeValue::Array(values) => {
            let values = values.iter();
            values.map(|value| shown_value(value.span(), value.get_ref(), text, visible)).collect()
        }
        // Three stars whatever the length of the secret, which must not be shown either.
        _ if written != seen => {
            let mut masked = String::new();
            for c in seen.trim_matches(['"', '\'']).chars() {
                match c {
                    '*' if masked.ends_with("***") => {}
                    '*' => masked.push_str("***"),
                    c => masked.push(c),
                }
            }
            masked.into()
        }
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Boolean(boolean) => (*boolean).into(),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix());
            number.map_or_else(|_| seen.into(), Json::from)
        }
        DeValue::Float(float) => {
            let number = float.as_str().parse().ok().and_then(serde_json::Number::from_f64);
            number.map_or_else(|| seen.into(), Json::Number)
        }
        DeValue::Datetime(time) => time.to_string().into(),
    }
}

/// The text of the file at `path`. The report calls the file `what`; `hint` says what to do when it does not exist.
///
/// # Errors
/// The report when it cannot be read.
pub(crate) fn read_file(path: &Path, what: &str, hint: &str) -> Result<String, Report> {
    let content = read_regular(path, MAX_FILE).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Mistake::of_file(format!("the {what} does not exist")).hint(hint),
        _ => Mistake::of_file(format!("the {what} cannot be read: {error}")),
    });
    let text = content.and_then(|content| match is_utf16(&content) {
        true => Err(Mistake::of_file(format!("the {what} is UTF-16 text")).hint(AS_UTF8)),
        false => String::from_utf8(content).map_err(|error| not_utf8(what, &error)),
    });
    text.map_err(|mistake| Report::unreadable(path, mistake))
}

const AS_UTF8: &str = "save it as UTF-8";

/// Whether a file is UTF-16, with or without the mark that editors of Windows put before it. Without it every second byte
/// of what is ASCII is zero, which UTF-8 allows and nobody writes.
fn is_utf16(bytes: &[u8]) -> bool {
    let first = &bytes[..bytes.len().min(256)];
    let zeros = first.iter().filter(|byte| **byte == 0).count();
    bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) || zeros * 3 > first.len()
}

fn not_utf8(what: &str, error: &FromUtf8Error) -> Mistake {
    let bytes = error.as_bytes();
    let before = &bytes[..error.utf8_error().valid_up_to()];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    Mistake::of_file(format!("the {what} is not UTF-8 text: the first other byte is on line {line}"))
        .hint(AS_UTF8)
}
