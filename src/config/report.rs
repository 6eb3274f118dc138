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
}

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
        mistakes.sort_by_key(|mistake| mistake.span().start);
        Self { file: file.to_owned(), text, mistakes }
    }

    /// A report about a file that could not be read at all.
    pub(crate) fn unreadable(file: &Path, mistake: Mistake) -> Self {
        Self::new(file, String::new(), vec![mistake])
    }

    /// The mistakes, in the order of the file.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// How many mistakes are this bad.
    pub fn count(&self, level: Level) -> usize {
        self.mistakes.iter().filter(|mistake| mistake.level == level).count()
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
                Some(span) => title.element(
                    Snippet::source(&*self.text)
                        .path(&*file)
                        .annotation(AnnotationKind::Primary.span(span.clone())),
                ),
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
pub(crate) fn closest_of<S: AsRef<str>>(text: &str, choices: &[S]) -> String {
    let text = text.to_lowercase();
    let close = |choice: &&str| {
        let distance = strsim::osa_distance(&text, choice);
        let begins = text.len() >= 3 && (choice.starts_with(&text) || text.starts_with(*choice));
        distance <= text.chars().count().max(3) / 3 || begins
    };
    let choices = || choices.iter().map(AsRef::as_ref);
    match choices().filter(close).min_by_key(|choice| strsim::osa_distance(&text, choice)) {
        Some(choice) => format!("did you mean `{choice}`?"),
        None if choices().next().is_none() => "there are none".to_owned(),
        None => format!("choose from {}", choices().map(|c| format!("`{c}`")).collect::<Vec<_>>().join(", ")),
    }
}
