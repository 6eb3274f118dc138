//! Text that is not TOML, and how much of the rest of the file can still be judged.

use super::{context::Context, key::Key, report::Mistake};

const UNCLOSED_TEXT: &str = "the end of this text is missing";

/// The syntax errors of a file.
pub(super) struct Syntax<'a> {
    text: &'a str,
    mistakes: Vec<Mistake>,
    /// From here on the parser took other text for a part of something that was never closed, so mistakes found
    /// there mean nothing.
    end: usize,
}

impl<'a> Syntax<'a> {
    /// Keeps at most one mistake per line, because the parser goes on to report what only follows from the first.
    pub fn new(text: &'a str, errors: &[toml::de::Error]) -> Self {
        let mut mistakes: Vec<_> = errors.iter().map(|error| mistake(text, error)).collect();
        mistakes.sort_by_key(|mistake| mistake.span().start);
        let mut end = text.len();
        if mistakes.iter().any(is_unclosed)
            && let Some(first) =
                mistakes.iter().position(|mistake| is_unclosed(mistake) || is_in_list(mistake))
        {
            // A text or list that is never closed takes in everything after it.
            mistakes.truncate(first + 1);
            end = mistakes[first].span().start;
        }
        mistakes.dedup_by_key(|mistake| line_start(text, mistake));
        Self { text, mistakes, end }
    }

    /// Hides everything that may be a secret in the lines that are not TOML: of a key that `keys` does not declare as
    /// harmless only the name is shown.
    pub fn hide_secrets(&self, cx: &Context<'_>, keys: &[&[Key]]) {
        let is_harmless = |name: &str| {
            let mut declared = keys.iter().copied().flatten().filter(|key| key.name == name).peekable();
            declared.peek().is_some() && declared.all(|key| key.takes.is_harmless())
        };
        for mistake in &self.mistakes {
            let start = line_start(self.text, mistake);
            let line = self.text[start..].lines().next().unwrap_or_default();
            let of_key = |c: char| matches!(c, '_' | '-' | '.') || c.is_ascii_alphanumeric();
            let key = line.find(|c| !of_key(c));
            let (key, rest) = line.split_at(key.unwrap_or(line.len()));
            let assigns = rest.trim_start().starts_with('=');
            let shown = if is_harmless(key) && (assigns || rest.trim().is_empty()) {
                // After the mistake, or a second `=`, another line may have run into this one.
                let end = mistake.span().end.saturating_sub(start).min(line.len());
                assignments(line).nth(1).map_or(end, |second| second.min(end))
            } else if assigns {
                line.find('=').map_or(0, |equals| equals + 1)
            } else if line.starts_with('[') {
                line.find(|c| !of_key(c) && !matches!(c, '[' | ']' | ' ')).unwrap_or(line.len())
            } else {
                0
            };
            cx.hide(start + shown..start + line.len());
        }
    }

    /// Adds the other mistakes, except those that only follow from the syntax errors.
    pub fn merge(self, others: Vec<Mistake>) -> Vec<Mistake> {
        let lines: Vec<_> = self.mistakes.iter().map(|mistake| line_start(self.text, mistake)).collect();
        let own =
            |other: &Mistake| other.span().end <= self.end && !lines.contains(&line_start(self.text, other));
        let others = others.into_iter().filter(own);
        self.mistakes.iter().cloned().chain(others).collect()
    }
}

/// The parser's error in plain words.
fn mistake(text: &str, error: &toml::de::Error) -> Mistake {
    let span = error.span().unwrap_or_default();
    match error.message() {
        "string values must be quoted, expected literal string" => {
            Mistake::error(span, "a text must be in quotes")
        }
        "key with no value, expected `=`" => Mistake::error(span, "expected `=` and a value after the key"),
        "invalid basic string, expected `\"`" | "invalid literal string, expected `'`" => {
            Mistake::error(span, "the closing quote is missing")
        }
        message if message.starts_with("invalid multi-line") => {
            let quotes = if message.contains("basic") { "\"\"\"" } else { "'''" };
            // The parser notices it at the end of the file; people have to look where the text begins.
            let start = text.get(..span.start).and_then(|before| before.rfind(quotes)).unwrap_or(span.start);
            Mistake::error(start..start + quotes.len(), UNCLOSED_TEXT).hint(format!("close it with {quotes}"))
        }
        message => {
            let mistake = Mistake::error(span, message);
            match is_in_list(&mistake) {
                true => mistake.hint("is the list or table before this closed?"),
                false => mistake,
            }
        }
    }
}

fn is_unclosed(mistake: &Mistake) -> bool {
    mistake.message.starts_with("unclosed") || mistake.message == UNCLOSED_TEXT
}

/// Whether the parser was inside a list or an inline table.
fn is_in_list(mistake: &Mistake) -> bool {
    mistake.message.starts_with("missing comma") || mistake.message.contains(" array")
}

/// The places of each `=` that does not belong to a comparison.
fn assignments(line: &str) -> impl Iterator<Item = usize> {
    let compares = |c: Option<char>| matches!(c, Some('=' | '!' | '<' | '>'));
    line.match_indices('=')
        .map(|(at, _)| at)
        .filter(move |at| !compares(line[..*at].chars().next_back()) && !line[at + 1..].starts_with('='))
}

/// The first byte of the line a mistake is on.
fn line_start(text: &str, mistake: &Mistake) -> usize {
    let before = &text.as_bytes()[..mistake.span().start];
    before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
}
