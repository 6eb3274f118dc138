//! From a text to what its reader makes of it, or to the [`Report`] of everything that is wrong.

use std::{io, path::Path, string::FromUtf8Error};

use toml::de::DeTable;

use super::{
    context::{Context, LoadOptions},
    file::read_regular,
    key::Key,
    report::{Level, Mistake, Report},
    syntax::Syntax,
    table::Table,
};

/// The longest config file, in bytes.
const MAX_FILE: u64 = 16 << 20;

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
) -> Result<(T, Report), Report> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let syntax = Syntax::new(text, &errors);
    let mut cx = Context::new(text, path, options, !errors.is_empty());
    if let Some(keys) = keys {
        cx.top = keys.first().copied().unwrap_or_default().iter().map(|key| key.name).collect();
        syntax.hide_secrets(&cx, keys);
    }
    let mut root = Table::new(&cx, 0..0, document.get_ref());
    let result = read(&mut root);
    root.finish();
    let (mistakes, hidden) = cx.finish();
    let shown = if keys.is_some() { hidden } else { text.to_owned() };
    let report = Report::new(path, shown, syntax.merge(mistakes));
    if report.count(Level::Error) > 0 { Err(report) } else { Ok((result, report)) }
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
    let text = content.and_then(|content| String::from_utf8(content).map_err(|error| not_utf8(what, &error)));
    text.map_err(|mistake| Report::unreadable(path, mistake))
}

fn not_utf8(what: &str, error: &FromUtf8Error) -> Mistake {
    let bytes = error.as_bytes();
    // The marks that editors of Windows put before UTF-16.
    let message = if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        format!("the {what} is UTF-16 text")
    } else {
        let before = &bytes[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("the {what} is not UTF-8 text: the first other byte is on line {line}")
    };
    Mistake::of_file(message).hint("save it as UTF-8")
}
