//! What is not TOML, and how much of the rest can still be judged.

use super::{reader::Context, report::Mistake};

/// The keys whose values are never secrets. Of other lines that are not TOML only the key is shown.
const HARMLESS: [&str; 30] = [
    "analysis_window",
    "body",
    "cache",
    "concurrency",
    "exclude",
    "format",
    "from",
    "include",
    "interval",
    "listen",
    "max_age",
    "max_attempts_age",
    "notify_since",
    "on",
    "page_size",
    "path",
    "rate",
    "repeat",
    "requests_per_minute",
    "retain",
    "retry",
    "severity",
    "shutdown_grace",
    "sources",
    "sweep",
    "timeout",
    "title",
    "to",
    "type",
    "when",
];

const UNCLOSED_TEXT: &str = "the end of this text is missing";

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
        let mut mistakes: Vec<_> = errors.iter().map(|error| mistake(text, error)).collect();
        mistakes.sort_by_key(|mistake| mistake.span().start);
        let mut end = text.len();
        if mistakes.iter().any(is_unclosed)
            && let Some(first) =
                mistakes.iter().position(|mistake| is_unclosed(mistake) || is_in_list(mistake))
        {
            // What is never closed swallows what follows it.
            mistakes.truncate(first + 1);
            end = mistakes[first].span().start;
        }
        mistakes.dedup_by_key(|mistake| line_start(text, mistake));
        Self { text, mistakes, end }
    }

    /// Where a text is not TOML, its secrets may not be recognised as values: hides what may be one.
    pub fn hide_secrets(&self, cx: &Context<'_>) {
        for mistake in &self.mistakes {
            let start = line_start(self.text, mistake);
            let line = self.text[start..].lines().next().unwrap_or_default();
            let of_key = |c: char| matches!(c, '_' | '-' | '.') || c.is_ascii_alphanumeric();
            let key = line.find(|c| !of_key(c));
            let (key, rest) = line.split_at(key.unwrap_or(line.len()));
            let assigns = rest.trim_start().starts_with('=');
            let shown = if HARMLESS.contains(&key) && (assigns || rest.trim().is_empty()) {
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

    /// Adds what else is wrong, except what only follows from the syntax errors.
    pub fn merge(self, others: Vec<Mistake>) -> Vec<Mistake> {
        let lines: Vec<_> = self.mistakes.iter().map(|mistake| line_start(self.text, mistake)).collect();
        let own =
            |other: &Mistake| other.span().end <= self.end && !lines.contains(&line_start(self.text, other));
        let others = others.into_iter().filter(own);
        self.mistakes.iter().cloned().chain(others).collect()
    }
}

/// What the parser says, for people.
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
            // It is noticed at the end of the file; the place to look at is where it begins.
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

/// What the parser says while it is inside of a list or an inline table.
fn is_in_list(mistake: &Mistake) -> bool {
    mistake.message.starts_with("missing comma") || mistake.message.contains(" array")
}

/// Where there is a `=` that does not belong to a comparison.
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
