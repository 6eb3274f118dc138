//! Messages as plain text.

use textwrap::{Options, WordSeparator, WordSplitter, fill};

use super::{Entry, Message, facts::Fact, in_brackets};

/// The width of plain text in columns, as RFC 5322 asks for (section 2.1.1).
pub(in crate::destination) const WIDTH: usize = 78;

impl Message {
    /// Everything after the title, as plain text.
    pub(in crate::destination) fn plain(&self) -> String {
        self.in_lines(
            |label, value| self.language.labelled(label, value),
            |when, title| format!("{when} · {title}"),
            str::to_owned,
        )
    }

    /// The same in columns, for a typeface with characters of equal width, in lines of at most [`WIDTH`] characters.
    pub(in crate::destination) fn in_columns(&self) -> String {
        let width = |cells: &mut dyn Iterator<Item = &String>| {
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let labels = width(&mut self.facts.iter().map(|fact| &fact.label));
        let times = width(&mut self.entries.iter().map(|entry| &entry.when));
        self.in_lines(
            |label, value| beside(&format!("{label:labels$}"), value),
            |when, title| beside(&format!("{when:times$}"), title),
            |text| wrapped(text, ""),
        )
    }

    fn in_lines(
        &self,
        fact: impl Fn(&str, &str) -> String,
        entry: impl Fn(&str, &str) -> String,
        text: impl Fn(&str) -> String,
    ) -> String {
        let language = self.language;
        let mut parts: Vec<_> = self.lead.iter().map(|lead| text(lead)).collect();
        parts.extend(self.text.iter().map(|own| text(own)));
        parts.extend(
            self.advice.iter().map(|advice| text(&language.labelled(&language.what_to_do(), advice))),
        );
        parts.push(lines(self.facts.iter().map(|Fact { label, value, .. }| fact(label, value))));
        let entries = self.entries.iter().map(|Entry { title, said, link, severity, mood, when, .. }| {
            let mood = mood.as_ref().map(|mood| format!(" ({})", mood.word)).unwrap_or_default();
            let said = said.as_ref().map(|said| format!(" · {said}")).unwrap_or_default();
            let link = link.as_ref().map(|link| format!(" · {}", language.labelled(&link.label, &link.url)));
            let link = link.unwrap_or_default();
            entry(when, &format!("{}{title}{mood}{said}{link}", in_brackets(*severity, language)))
        });
        let more = (self.more > 0).then(|| language.and_more(self.more));
        parts.push(lines(entries.chain(more)));
        let transcript = self.transcript.iter().map(|turn| text(&language.labelled(&turn.who, &turn.said)));
        if !self.transcript.is_empty() {
            parts.push(lines([language.transcript()].into_iter().chain(transcript)));
        }
        parts.extend(self.notes.iter().map(|note| text(note)));
        parts.retain(|part| !part.is_empty());
        parts.join("\n\n")
    }
}

/// A text in lines of at most [`WIDTH`] characters, the second and later ones of each line behind `indent`. A word that is longer,
/// such as an address, is left whole.
pub(in crate::destination) fn wrapped(text: &str, indent: &str) -> String {
    let style = Options::new(WIDTH).subsequent_indent(indent).break_words(false);
    // Words are apart where a space is; a dash or a no-break space is part of one.
    let style = style.word_separator(WordSeparator::AsciiSpace).word_splitter(WordSplitter::NoHyphenation);
    fill(text, style)
}

/// A cell and what stands beside it, wrapped behind the cell unless that is too wide.
fn beside(cell: &str, text: &str) -> String {
    let indent = " ".repeat((cell.chars().count() + 2).min(WIDTH / 2));
    wrapped(&format!("{cell}  {text}"), &indent)
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}
