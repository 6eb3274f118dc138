//! Text that is not TOML, and how much of the rest of the file can still be judged.

use std::collections::HashSet;

use super::{
    context::Context,
    key::Key,
    report::Mistake,
    slip::{Lines, Slip, drop_repeats, is_in_list, is_unclosed, lost_header, of_key, other_language},
};

/// The syntax errors of a file.
pub(super) struct Syntax<'a> {
    text: &'a str,
    lines: Lines,
    mistakes: Vec<Mistake>,
    /// The place from which on the parser read everything as part of an unclosed text or list. Mistakes found behind it are
    /// meaningless and left out.
    end: usize,
}

impl<'a> Syntax<'a> {
    /// Keeps at most one mistake per line, because the parser goes on to report what only follows from the first.
    pub fn new(text: &'a str, errors: &[toml::de::Error]) -> Self {
        let lines = Lines::of(text);
        let slip = Slip { text, lines: &lines };
        let mut mistakes: Vec<_> = errors.iter().map(|error| slip.mistake(error)).collect();
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
        mistakes.dedup_by_key(|mistake| lines.start(mistake));
        if let Some(other) = other_language(text, &mistakes) {
            // Nothing else in the file means anything.
            end = 0;
            mistakes = vec![other];
        }
        drop_repeats(text, &mut mistakes);
        Self { text, lines, mistakes, end }
    }

    /// Hides everything that may be a secret in the lines that are not TOML: of a key that `keys` does not declare as
    /// harmless only the name is shown, and of a line without a key only the sign that begins a comment.
    pub fn hide_secrets(&self, cx: &Context<'_>, keys: &[&[Key]]) {
        let is_declared = |name: &str| keys.iter().copied().flatten().any(|key| key.name == name);
        let is_harmless = |name: &str| {
            let mut declared = keys.iter().copied().flatten().filter(|key| key.name == name);
            is_declared(name) && declared.all(|key| key.takes.is_harmless())
        };
        for mistake in &self.mistakes {
            let start = self.lines.start(mistake);
            let line = self.text[start..].lines().next().unwrap_or_default();
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
                // A word is shown only when it is a key of the config; else it may be a part of a secret.
                let indent = line.len() - line.trim_start().len();
                let word = line[indent..].find(|c| !of_key(c)).map_or(line.len(), |end| indent + end);
                if line[word..].starts_with(':') && is_declared(&line[indent..word]) {
                    word + 1
                } else if line[indent..].starts_with("//") {
                    indent + 2
                } else {
                    indent
                }
            };
            cx.hide(start + shown..start + line.len());
        }
    }

    /// Adds the other mistakes, except those that only follow from the syntax errors.
    pub fn merge(self, others: Vec<Mistake>) -> Vec<Mistake> {
        if self.mistakes.is_empty() {
            return others;
        }
        let wrong: HashSet<_> = self.mistakes.iter().map(|mistake| self.lines.start(mistake)).collect();
        // From a header that was not understood to the next one, keys belong to another table than it seems.
        let lost = self.mistakes.iter().filter(|mistake| lost_header(mistake)).map(|mistake| {
            let start = mistake.span().start;
            start..self.text[start..].find("\n[").map_or(self.text.len(), |next| start + next)
        });
        let lost: Vec<_> = lost.collect();
        let own = |other: &Mistake| {
            let at = other.span().start;
            let last = lost.partition_point(|range| range.start <= at).checked_sub(1);
            let is_lost = last.is_some_and(|last| lost[last].contains(&at));
            other.span().end <= self.end && !wrong.contains(&self.lines.start(other)) && !is_lost
        };
        let others = others.into_iter().filter(own);
        self.mistakes.iter().cloned().chain(others).collect()
    }
}

/// The places of each `=` that does not belong to a comparison.
fn assignments(line: &str) -> impl Iterator<Item = usize> {
    let compares = |c: Option<char>| matches!(c, Some('=' | '!' | '<' | '>'));
    line.match_indices('=')
        .map(|(at, _)| at)
        .filter(move |at| !compares(line[..*at].chars().next_back()) && !line[at + 1..].starts_with('='))
}
