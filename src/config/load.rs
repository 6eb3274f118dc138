//! From a text to what its reader makes of it, or to the [`Report`] of everything that is wrong.

use std::{io, path::Path};

use toml::de::DeTable;

use super::{
    context::{Context, LoadOptions},
    key::Key,
    report::{Level, Mistake, Report},
    syntax::Syntax,
    table::Table,
};

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
    let folder = path.parent().unwrap_or(Path::new(""));
    let cx = Context::new(text, folder, options, !errors.is_empty());
    if let Some(keys) = keys {
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
    std::fs::read_to_string(path).map_err(|error| {
        let mistake = match error.kind() {
            io::ErrorKind::NotFound => Mistake::of_file(format!("the {what} does not exist")).hint(hint),
            io::ErrorKind::InvalidData => Mistake::of_file(format!("the {what} is not UTF-8 text")),
            _ => Mistake::of_file(format!("the {what} cannot be read: {error}")),
        };
        Report::unreadable(path, mistake)
    })
}
