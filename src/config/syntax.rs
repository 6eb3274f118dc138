//! What is not TOML, and how much of the rest can still be judged.

use super::{reader::Context, report::Mistake};

/// The words by which a line that may hold a secret is known. It is better to hide one too many.
const SECRETIVE: [&str; 10] =
    ["key", "token", "secret", "password", "url", "smtp", "auth", "header", "ck_live", "whsec"];

/// The syntax errors of a file.
pub(super) struct Syntax<'a> {
    text: &'a str,
    mistakes: Vec<Mistake>,
    /// What the parser made of the text from here on means nothing.
    end: usize,
}

impl<'a> Syntax<'a> {
    /// At most one mistake per line: the parser stumbles on over the same stone.
    pub fn new(text: &'a str, errors: &[toml::de::Error]) -> Self {
        let mut mistakes: Vec<_> = errors
            .iter()
            .map(|error| {
                let span = error.span().unwrap_or_default();
                let mistake = |message: &str| Mistake::error(span.clone(), message);
                match error.message() {
                    "string values must be quoted, expected literal string" => {
                        mistake("a text must be in quotes")
                    }
                    "key with no value, expected `=`" => mistake("expected `=` and a value after the key"),
                    message => mistake(message),
                }
            })
            .collect();
        mistakes.sort_by_key(|mistake| mistake.span().start);
        let mut end = text.len();
        if errors.iter().any(|error| error.message().starts_with("unclosed")) {
            // A bracket that is never closed swallows what follows it.
            mistakes.truncate(1);
            end = mistakes[0].span().start;
        }
        mistakes.dedup_by_key(|mistake| line_start(text, mistake));
        Self { text, mistakes, end }
    }

    /// Where a text is not TOML, its secrets may not be recognised as values: hides what may be one.
    pub fn hide_secrets(&self, cx: &Context<'_>) {
        for mistake in &self.mistakes {
            let start = line_start(self.text, mistake);
            let line = self.text[start..].lines().next().unwrap_or_default();
            let lower = line.to_ascii_lowercase();
            if SECRETIVE.iter().any(|word| lower.contains(word)) {
                let value = line.find('=').map_or(0, |at| at + 1);
                cx.hide(start + value..start + line.len());
            }
        }
    }

    /// Adds what else is wrong, except what only follows from the syntax errors.
    pub fn merge(self, others: Vec<Mistake>) -> Vec<Mistake> {
        let lines: Vec<_> = self.mistakes.iter().map(|mistake| line_start(self.text, mistake)).collect();
        let own = |other: &Mistake| {
            other.span().end <= self.end && !lines.contains(&line_start(self.text, other))
        };
        let others = others.into_iter().filter(own);
        self.mistakes.iter().cloned().chain(others).collect()
    }
}

/// The first byte of the line a mistake is on.
fn line_start(text: &str, mistake: &Mistake) -> usize {
    let before = text.floor_char_boundary(mistake.span().start);
    text[..before].rfind('\n').map_or(0, |newline| newline + 1)
}
