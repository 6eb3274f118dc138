//! The report of every mistake in a file, each at its place.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use annotate_snippets::{AnnotationKind, Level as Title, Renderer, Snippet};
use serde::Serialize;

use crate::style::{WIDTH, wrap};

/// How bad a mistake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The config cannot be used.
    Error,
    /// The config can be used, but it may not do what was meant.
    Warning,
}

/// One mistake.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// How bad it is.
    pub level: Level,
    /// The mistake in one line.
    pub message: String,
    /// A way to mend it.
    pub hint: Option<String>,
    /// The bytes of the file that are wrong; `None` when the mistake is about the file as a whole.
    span: Option<Range<usize>>,
}

impl Mistake {
    pub(crate) fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { level: Level::Error, message: message.into(), hint: None, span: Some(span) }
    }

    pub(crate) fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Self::error(span, message).into_warning()
    }

    pub(crate) fn into_warning(self) -> Self {
        Self { level: Level::Warning, ..self }
    }

    pub(crate) fn of_file(message: impl Into<String>) -> Self {
        Self { span: None, ..Self::error(0..0, message) }
    }

    /// An error at a place, or about the file as a whole.
    pub(super) fn about(span: Option<Range<usize>>, message: impl Into<String>) -> Self {
        Self { span, ..Self::of_file(message) }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The bytes of the file that are wrong; an empty range when the mistake is about the file as a whole.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone().unwrap_or_default()
    }
}

/// Every mistake in one config file, in the order of the file. Secrets are hidden from it.
#[derive(Clone)]
pub struct Report {
    file: PathBuf,
    /// The file's text, byte for byte as long as the file, with stars in place of secrets.
    text: String,
    mistakes: Vec<Mistake>,
    /// How many errors and warnings there are, those that are not shown included.
    errors: usize,
    warnings: usize,
}

/// The most mistakes that a report shows.
const SHOWN: usize = 200;

/// The longest lines that are shown, in bytes. The place is enough for lines that nobody can read.
const LONGEST: usize = 4000;

/// A mistake as programs read it.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    severity: Level,
    file: &'a Path,
    line: Option<usize>,
    column: Option<usize>,
    message: &'a str,
    hint: Option<&'a str>,
}

impl Report {
    /// In `text` the secrets must be hidden already.
    pub(super) fn new(file: &Path, text: String, mut mistakes: Vec<Mistake>) -> Self {
        let errors = mistakes.iter().filter(|mistake| mistake.level == Level::Error).count();
        let warnings = mistakes.len() - errors;
        let by_place = |mistake: &Mistake| mistake.span().start;
        mistakes.sort_by_key(by_place);
        if mistakes.len() > SHOWN {
            // Errors first: a warning is of little use while the file cannot be read.
            mistakes.sort_by_key(|mistake| mistake.level == Level::Warning);
            let left_out = mistakes.len() - SHOWN;
            mistakes.truncate(SHOWN);
            mistakes.sort_by_key(by_place);
            let message = format!("{left_out} more mistakes are not shown");
            let level = if errors > 0 { Level::Error } else { Level::Warning };
            mistakes.push(Mistake { level, ..Mistake::of_file(message) });
        }
        Self { file: file.to_owned(), text, mistakes, errors, warnings }
    }

    /// A report about a file that could not be read at all.
    pub(crate) fn unreadable(file: &Path, mistake: Mistake) -> Self {
        Self::new(file, String::new(), vec![mistake])
    }

    /// The first 200 mistakes, in the order of the file. When there are more, the last one says how many.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// How many mistakes are this bad.
    pub fn count(&self, level: Level) -> usize {
        match level {
            Level::Error => self.errors,
            Level::Warning => self.warnings,
        }
    }

    /// The report for people: every mistake with its source line. `coloured` writes ANSI escapes.
    pub fn render(&self, coloured: bool) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() }.term_width(WIDTH);
        let file = self.file.to_string_lossy();
        let mut out = String::new();
        for mistake in &self.mistakes {
            let title = match mistake.level {
                Level::Error => Title::ERROR,
                Level::Warning => Title::WARNING,
            }
            .primary_title(&mistake.message);
            let group = match &mistake.span {
                Some(span) if lines_around(&self.text, span).len() > LONGEST => {
                    let (line, column) = self.place(mistake).unwrap_or_default();
                    title.element(annotate_snippets::Origin::path(&*file).line(line).char_column(column))
                }
                Some(span) => {
                    // Only the lines in question: the renderer looks at all it is given.
                    let lines = lines_around(&self.text, span);
                    title.element(
                        Snippet::source(&self.text[lines.clone()])
                            .line_start(line_number(&self.text, lines.start))
                            .path(&*file)
                            .annotation(
                                AnnotationKind::Primary
                                    .span(span.start - lines.start..span.end - lines.start),
                            ),
                    )
                }
                None => title.element(annotate_snippets::Origin::path(&*file)),
            };
            let group = match &mistake.hint {
                Some(hint) => group.element(Title::HELP.message(wrap(hint, WIDTH - 12))),
                None => group,
            };
            out.push_str(&renderer.render(&[group]));
            out.push_str("\n\n");
        }
        out
    }

    /// The mistakes of this level, each in one line without the lines of the file: for the log.
    pub fn lines(&self, level: Level) -> Vec<String> {
        let word = match level {
            Level::Error => "error",
            Level::Warning => "warning",
        };
        let line = |mistake: &Mistake| {
            let place = self.place(mistake).map(|(line, column)| format!(":{line}:{column}"));
            let hint = mistake.hint.as_ref().map(|hint| format!("; {hint}"));
            format!(
                "{}{}: {word}: {}{}",
                self.file.display(),
                place.unwrap_or_default(),
                mistake.message,
                hint.unwrap_or_default()
            )
        };
        self.mistakes.iter().filter(|mistake| mistake.level == level).map(line).collect()
    }

    /// How many errors and warnings there are: "2 errors and 1 warning".
    pub fn counts(&self) -> String {
        let number =
            |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let errors = number(self.errors, "error");
        match self.warnings {
            0 => errors,
            warnings => format!("{errors} and {}", number(warnings, "warning")),
        }
    }

    /// The report for programs: an array of `{severity, file, line, column, message, hint}`. Line and column
    /// are null for a mistake about the file as a whole.
    pub fn to_json(&self) -> serde_json::Value {
        self.mistakes
            .iter()
            .map(|mistake| {
                let place = self.place(mistake);
                serde_json::json!(Entry {
                    severity: mistake.level,
                    file: &self.file,
                    line: place.map(|(line, _)| line),
                    column: place.map(|(_, column)| column),
                    message: &mistake.message,
                    hint: mistake.hint.as_deref(),
                })
            })
            .collect()
    }

    /// Line and column of one of its mistakes, both from 1, the column in characters. `None` when it is about the
    /// file as a whole.
    pub fn place(&self, mistake: &Mistake) -> Option<(usize, usize)> {
        let at = mistake.span.as_ref()?.start;
        let before = self.text.char_indices().take_while(|(start, _)| *start < at);
        Some(before.fold((1, 1), |(line, column), (_, c)| match c {
            '\n' => (line + 1, 1),
            _ => (line, column + 1),
        }))
    }
}

/// The whole lines that `span` is on.
fn lines_around(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = text.as_bytes()[..span.start].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let rest = &text.as_bytes()[span.end..];
    let end = rest.iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| span.end + at);
    start..end
}

/// The number of the line that begins at `start`, from 1.
fn line_number(text: &str, start: usize) -> usize {
    text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Report {}

/// A hint for a `text` that is none of the choices: the choice that was probably meant, else all of them.
///
/// Of a great many choices only the first are looked at, so that the hints of a whole file take linear time.
pub(crate) fn closest_of<'c>(text: &str, choices: impl IntoIterator<Item = &'c str>) -> String {
    const LOOKED_AT: usize = 200;
    const LISTED: usize = 40;
    let choices: Vec<&str> = choices.into_iter().take(LOOKED_AT).collect();
    // A name has 64 characters at most, and the comparison takes the product of both lengths.
    let text: String = text.chars().take(100).collect::<String>().to_lowercase();
    let close = |choice: &&str| {
        let distance = strsim::osa_distance(&text, choice);
        let begins = text.len() >= 3 && (choice.starts_with(&text) || text.starts_with(*choice));
        distance <= text.chars().count().max(3) / 3 || begins
    };
    let closest =
        choices.iter().copied().filter(close).min_by_key(|choice| strsim::osa_distance(&text, choice));
    let listed =
        || choices.iter().take(LISTED).map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", ");
    match closest {
        Some(choice) => format!("did you mean `{choice}`?"),
        None if choices.is_empty() => "there are none".to_owned(),
        None if choices.len() > LISTED => format!("choose from {} and others", listed()),
        None => format!("choose from {}", listed()),
    }
}
