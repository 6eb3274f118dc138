//! Turns the parser's errors into plain words: common slips in TOML, and what to write instead.

use std::ops::Range;

use super::report::Mistake;
use crate::rule::condition::TYPOGRAPHIC;

const UNCLOSED_TEXT: &str = "the end of this text is missing";
const TABLE_TWICE: &str = "this table is there twice";
const KEY_TWICE: &str = "this key is there twice";

const COLON: &str = "`:` does not separate a key from its value";

const NOT_IN_NAME: &str = "cannot be in the name of a table";

/// Which names there can be.
pub(super) const NAME_HINT: &str = "a name is up to 64 of the letters A-Z and a-z, digits, `-`, `_` and `.`";

const SPACE_IN_NAME: &str = "the name of a table cannot have a space in it";

/// Where each line begins.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The number of the line that `at` is on, from 1.
    fn number(&self, at: usize) -> usize {
        self.0.partition_point(|start| *start <= at)
    }

    /// The first byte of the line that `at` is on.
    fn start_of(&self, at: usize) -> usize {
        // The first line begins at 0, so there is always one.
        self.0[self.number(at) - 1]
    }

    /// The first byte of the line that a mistake is on.
    pub fn start(&self, mistake: &Mistake) -> usize {
        self.start_of(mistake.span().start)
    }
}

/// Whether a key can have this character without quotes; a dot stands between two keys.
pub(super) fn of_key(c: char) -> bool {
    matches!(c, '_' | '-' | '.') || c.is_ascii_alphanumeric()
}

/// A text, in which errors are looked at.
pub(super) struct Slip<'a> {
    pub text: &'a str,
    pub lines: &'a Lines,
}

impl Slip<'_> {
    /// The parser's error in plain words.
    pub fn mistake(&self, error: &toml::de::Error) -> Mistake {
        let span = error.span().unwrap_or_default();
        if let Some(mistake) = self.habit(&span, error.message()) {
            return mistake;
        }
        match error.message() {
            "string values must be quoted, expected literal string" => self.word(span),
            // A word that begins as `true`, `false`, `nan` or `inf` do.
            "invalid boolean, expected `true`"
            | "invalid boolean, expected `false`"
            | "invalid float, expected `nan`"
            | "invalid float, expected `inf`" => self.word(span),
            "key with no value, expected `=`" => {
                Mistake::error(span, "expected `=` and a value after the key")
            }
            "invalid basic string, expected `\"`" | "invalid literal string, expected `'`" => {
                Mistake::error(span, "the closing quote is missing")
            }
            "duplicate key" => self.duplicate(span),
            message if message.starts_with("invalid multi-line") => {
                let quotes = if message.contains("basic") { "\"\"\"" } else { "'''" };
                // The parser notices it at the end of the file; people have to look where the text begins.
                let start = self.text.get(..span.start).and_then(|before| before.rfind(quotes));
                let start = start.unwrap_or(span.start);
                Mistake::error(start..start + quotes.len(), UNCLOSED_TEXT)
                    .hint(format!("close it with {quotes}"))
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

    /// A word without quotes: what other languages call true, false and nothing, or a text.
    fn word(&self, span: Range<usize>) -> Mistake {
        let before = self.text.get(..span.start).unwrap_or_default();
        let start = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric()).len();
        let word = self.text.get(start..).unwrap_or_default();
        let word = word.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        let hint = match word.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => "true and false are written small: write true",
            "false" | "no" | "off" => "true and false are written small: write false",
            "null" | "none" | "nil" => "for nothing, leave the key out",
            "env" | "file" => "write { env = \"NAME\" } or { file = \"path\" }",
            _ => return Mistake::error(span, "a text must be in quotes"),
        };
        Mistake::error(span, "a text must be in quotes").hint(hint)
    }

    fn line(&self, start: usize) -> &str {
        self.text[start..].lines().next().unwrap_or_default()
    }

    /// A habit from other languages or from word processors that explains the error at `span`.
    fn habit(&self, span: &Range<usize>, message: &str) -> Option<Mistake> {
        let at = self.text.get(span.start..)?;
        let odd = self.text.get(span.clone()).unwrap_or_default().char_indices();
        let odd = odd.chain(at.chars().next().map(|c| (0, c))).find_map(|(offset, c)| {
            let place = span.start + offset..span.start + offset + c.len_utf8();
            if TYPOGRAPHIC.contains(&c) {
                let mistake = Mistake::error(place, format!("`{c}` is a typographic quote"));
                return Some(mistake.hint("write \"…\" or '…'"));
            }
            // The full-width forms of East Asian keyboards stand in the order of ASCII.
            let narrow = u32::from(c).checked_sub(0xfee0).and_then(char::from_u32);
            if let Some(narrow) = narrow.filter(char::is_ascii_graphic) {
                let mistake = Mistake::error(place, format!("`{c}` is a full-width character"));
                return Some(mistake.hint(format!("write `{narrow}`")));
            }
            let is_invisible = matches!(c, '\u{feff}' | '\u{200b}') || (c.is_whitespace() && !c.is_ascii());
            is_invisible.then(|| {
                let message = format!("there is an invisible character (U+{:04X})", u32::from(c));
                Mistake::error(place, message).hint("remove it, or type the space again")
            })
        });
        odd.or_else(|| self.comment(span))
            .or_else(|| self.comma(span, message))
            .or_else(|| self.quotes(span, message))
            .or_else(|| self.header(span, message))
            .or_else(|| self.colon(span))
            .or_else(|| {
                let is_colon = at.starts_with(':') && message.starts_with("invalid unquoted key");
                let place = span.start..span.start + 1;
                is_colon.then(|| Mistake::error(place, COLON).hint("write key = value"))
            })
            .or_else(|| {
                // The parser reads the `U` of `C:\Users` as the beginning of a code.
                let is_escape = message.contains("escape") || message.contains("unicode value");
                is_escape.then(|| {
                    Mistake::error(span.clone(), message).hint("between '…' a backslash is only a backslash")
                })
            })
    }

    /// A text with quotes in it that stands between the same quotes.
    fn quotes(&self, span: &Range<usize>, message: &str) -> Option<Mistake> {
        let (before, rest) = self.text.split_at_checked(span.start)?;
        let is_ended = message.starts_with("unexpected key or value") && before.ends_with('"');
        let has_another = rest.lines().next().is_some_and(|rest| rest.contains('"'));
        (is_ended && has_another).then(|| {
            Mistake::error(span.start - 1..span.start, "the text ends at this quote")
                .hint("put a text that has \" in it between single quotes, as in '… == \"…\"'")
        })
    }

    /// A comment as in C, SQL or an INI file.
    fn comment(&self, span: &Range<usize>) -> Option<Mistake> {
        let start = self.lines.start_of(span.start);
        let line = self.line(start);
        let first = start + line.len() - line.trim_start().len();
        let at = |place: usize, sign: &str| self.text[place..].starts_with(sign);
        let place = ["//", "--", ";"].into_iter().find_map(|sign| {
            // `--` is a key for the parser, which then misses its value.
            let is_first = span.start <= first + sign.len() || (sign == "--" && at(first, "-- "));
            if at(first, sign) && is_first {
                Some(first..first + sign.len())
            } else {
                (sign != "--" && at(span.start, sign)).then(|| span.start..span.start + sign.len())
            }
        })?;
        let message = format!("`{}` does not begin a comment", &self.text[place.clone()]);
        Some(Mistake::error(place, message).hint("a comment begins with `#`"))
    }

    /// A comma behind a value: a decimal comma, or the end of a line in JSON.
    fn comma(&self, span: &Range<usize>, message: &str) -> Option<Mistake> {
        let rest = self.text[span.start..].strip_prefix(',')?;
        if !message.starts_with("unexpected key or value") {
            return None;
        }
        let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        let is_decimal =
            is_digit(self.text[..span.start].chars().next_back()) && is_digit(rest.chars().next());
        let place = span.start..span.start + 1;
        Some(if is_decimal {
            Mistake::error(place, "a number has no comma").hint("decimals follow a point, as in 1.5")
        } else {
            Mistake::error(place, "nothing may follow a value on its line").hint("leave the comma out")
        })
    }

    /// A table whose name has a space in it.
    fn header(&self, span: &Range<usize>, message: &str) -> Option<Mistake> {
        let line = self.line(self.lines.start_of(span.start));
        let name = line.strip_prefix('[')?;
        let (name, _) = name.split_once(']')?;
        let odd = |c: char| !of_key(c) && !c.is_whitespace() && !matches!(c, '"' | '\'' | '[');
        if let Some(at) = name.find(odd).filter(|_| !name.contains(['"', '\''])) {
            let start = self.lines.start_of(span.start) + 1 + at;
            let c = name[at..].chars().next()?;
            let message = format!("`{}` {NOT_IN_NAME}", c.escape_debug());
            return Some(Mistake::error(start..start + c.len_utf8(), message).hint(NAME_HINT));
        }
        if !message.starts_with("unclosed table") {
            return None;
        }
        let words: Vec<_> = name.split_whitespace().collect();
        let are_names = words.iter().all(|word| word.chars().all(of_key));
        (words.len() > 1 && are_names)
            .then(|| Mistake::error(span.clone(), SPACE_IN_NAME).hint(format!("write [{}]", words.join("-"))))
    }

    /// `key: value`, as in YAML.
    fn colon(&self, span: &Range<usize>) -> Option<Mistake> {
        let start = self.lines.start_of(span.start);
        let line = self.line(start);
        let indent = line.len() - line.trim_start().len();
        let word = line[indent..].find(|c| !of_key(c)).map_or(line.len(), |end| indent + end);
        let colon = start + word;
        let is_there = word > indent && line[word..].starts_with(':');
        (is_there && (colon..=colon + 1).contains(&span.start))
            .then(|| Mistake::error(colon..colon + 1, COLON).hint("write key = value"))
    }

    /// A key or a table that is there twice, with the line of the first one when it is found.
    fn duplicate(&self, span: Range<usize>) -> Mistake {
        let start = self.lines.start_of(span.start);
        let line = self.line(start).trim();
        let on_line = |at: Option<usize>| match at {
            Some(at) => format!(": the first one is on line {}", self.lines.number(at)),
            None => String::new(),
        };
        let before = self.text[..start].lines().rev().scan(start, |end, line| {
            // The line may end with two characters.
            *end = self.lines.start_of(end.saturating_sub(1));
            Some((*end, line.trim()))
        });
        if let Some(name) = header_name(line) {
            let first = before.filter(|(_, line)| header_name(line).as_ref() == Some(&name)).last();
            return Mistake::error(span, format!("{TABLE_TWICE}{}", on_line(first.map(|(at, _)| at))))
                .hint("put the two together, or give one of them another name");
        }
        let key = |line: &str| line.split('=').next().map(|key| key.trim().to_owned());
        let of_table = before.take_while(|(_, line)| !line.starts_with('['));
        let first = of_table.filter(|(_, other)| key(other) == key(line)).last();
        Mistake::error(span, format!("{KEY_TWICE}{}", on_line(first.map(|(at, _)| at))))
    }
}

/// The name in a line `[a.b]`.
fn header_name(line: &str) -> Option<String> {
    let (name, _) = line.strip_prefix('[')?.split_once(']')?;
    Some(name.split('.').map(str::trim).collect::<Vec<_>>().join("."))
}

pub(super) fn is_unclosed(mistake: &Mistake) -> bool {
    mistake.message.starts_with("unclosed") || mistake.message == UNCLOSED_TEXT
}

/// Whether the parser was inside a list or an inline table.
pub(super) fn is_in_list(mistake: &Mistake) -> bool {
    mistake.message.starts_with("missing comma") || mistake.message.contains(" array")
}

/// The mistake of a file that is written in another language, when that is what most of its errors come from.
pub(super) fn other_language(text: &str, mistakes: &[Mistake]) -> Option<Mistake> {
    let first = mistakes.first()?;
    let is_yaml = |line: &&str| {
        let line = line.trim_start().trim_start_matches("- ");
        let word = line.find(|c| !of_key(c)).unwrap_or(line.len());
        word > 0 && (line[word..].starts_with(": ") || line[word..].trim_end() == ":")
    };
    let lines = || text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    let yaml = lines().filter(is_yaml).count();
    let language = if text.trim_start().starts_with('{') {
        "JSON"
    } else if yaml > 1 && yaml * 2 > lines().count() {
        "YAML"
    } else {
        return None;
    };
    Some(
        Mistake::error(first.span(), format!("this is {language}, and the config is written in TOML"))
            .hint("a table begins with a line [sources.NAME], and each of its lines is key = value"),
    )
}

/// Whether the parser took the header of a table for nothing, so that its keys went to the table before.
pub(super) fn lost_header(mistake: &Mistake) -> bool {
    mistake.message == SPACE_IN_NAME || mistake.message.ends_with(NOT_IN_NAME)
}

/// Drops the mistakes that only follow from a repeated table, whose keys count as duplicates of the first one's.
pub(super) fn drop_repeats(text: &str, mistakes: &mut Vec<Mistake>) {
    // Where the last table ends that was there before.
    let mut twin_end = 0;
    mistakes.retain(|mistake| {
        let at = mistake.span().start;
        if mistake.message.starts_with(TABLE_TWICE) {
            twin_end = text[at..].find("\n[").map_or(text.len(), |next| at + next);
        }
        at >= twin_end || !mistake.message.starts_with(KEY_TWICE)
    });
}
