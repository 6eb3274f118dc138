//! Finds secrets in foreign words, however they are spelt there.

use std::ops::Range;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

use super::{foreign, is_invisible};

/// Stands in place of a secret.
pub const HIDDEN: &str = "•••";

/// The shortest text that is hidden as a secret: masking `1` or `on` would make every response unreadable.
const SHORTEST: usize = 4;

/// A secret this long is recognised by either of its halves, as when it was cut.
const LONG: usize = 16;

/// The shortest spelling that is looked for: parts of shorter ones stand in many texts by chance.
const SHORTEST_SPELLING: usize = 6;

/// How often escapes are undone, one inside another.
const ROUNDS: usize = 3;

/// Secrets that must not be shown, and their spellings: as they are, in base64 (also as a part of it), hexadecimal or
/// decimal bytes, with escapes of URLs, JSON, HTML or quoted-printable, in another case, and with characters between
/// theirs that show nothing.
#[derive(Default)]
pub struct Mask {
    /// Folded.
    plain: Vec<Needle>,
    hex: Vec<String>,
}

struct Needle {
    text: String,
    /// Whether the word around it is hidden as well, because it is the rest of the secret.
    whole_word: bool,
}

impl Mask {
    /// Hides each of `secrets`. Those of fewer than four characters are not looked for.
    pub fn of<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Self {
        let mut mask = Self::default();
        for secret in secrets {
            let secret = secret.as_ref().trim_matches([' ', '\r', '\n']);
            if secret.chars().count() >= SHORTEST {
                mask.add(secret);
            }
        }
        mask
    }

    fn add(&mut self, secret: &str) {
        let is_long = secret.chars().count() >= LONG;
        let half = secret.char_indices().nth(secret.chars().count() / 2).map_or(0, |(at, _)| at);
        let parts = if is_long { vec![&secret[..half], &secret[half..]] } else { vec![secret] };
        for part in parts {
            let bytes = part.as_bytes();
            let mut plain = vec![part.to_owned(), part.replace(' ', "+")];
            // Escapes of URLs are of bytes, and are undone one by one.
            plain.extend((!part.is_ascii()).then(|| bytes.iter().map(|byte| char::from(*byte)).collect()));
            for text in plain {
                let text: String = text.chars().filter_map(fold).collect();
                if text.len() >= SHORTEST {
                    self.plain.push(Needle { text, whole_word: is_long });
                }
            }
            let decimal: Vec<_> = bytes.iter().map(u8::to_string).collect();
            let encoded = (0..3).map(|offset| in_base64(bytes, offset)).chain([decimal.join(",")]);
            for text in encoded.map(|text| text.chars().filter_map(fold).collect::<String>()) {
                if text.len() >= SHORTEST_SPELLING {
                    self.plain.push(Needle { text, whole_word: true });
                }
            }
            self.hex.push(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        }
    }

    /// The text with [`HIDDEN`] in place of every secret.
    pub fn hide(&self, text: &str) -> String {
        let mut found = vec![];
        if !self.plain.is_empty() {
            let mut letters: Vec<_> = text.char_indices().map(|(at, c)| (c, at..at + c.len_utf8())).collect();
            for round in 0..=ROUNDS {
                self.look_in(&letters, text, &mut found);
                let before = letters.len();
                letters = if round < ROUNDS { unescaped(&letters) } else { break };
                if letters.len() == before {
                    break;
                }
            }
        }
        found.sort_unstable_by_key(|range| range.start);
        let mut hidden = String::with_capacity(text.len());
        let mut shown = 0;
        for range in found {
            // Marks between them do not part the pieces of a secret.
            let is_apart = range.start > shown && text[shown..range.start].contains(char::is_alphanumeric);
            if is_apart || !hidden.ends_with(HIDDEN) {
                hidden.push_str(&text[shown..range.start]);
                hidden.push_str(HIDDEN);
            }
            shown = shown.max(range.end);
        }
        hidden.push_str(&text[shown..]);
        hidden
    }

    /// Words of another machine as [`foreign`] makes them fit, without the secrets.
    pub fn foreign(&self, text: &str) -> String {
        foreign(&self.hide(text))
    }

    fn look_in(&self, letters: &[(char, Range<usize>)], text: &str, found: &mut Vec<Range<usize>>) {
        let view = Letters::of(letters.iter().filter_map(|(c, range)| Some((fold(*c)?, range))));
        for Needle { text: needle, whole_word } in &self.plain {
            match whole_word {
                true => words_around(text, view.find(needle), found),
                false => found.extend(view.find(needle)),
            }
        }
        let is_prefix =
            |at: usize| letters[at].0 == '0' && letters.get(at + 1).is_some_and(|next| next.0 == 'x');
        let digits =
            letters.iter().enumerate().filter(|(at, (c, _))| c.is_ascii_hexdigit() && !is_prefix(*at));
        let view = Letters::of(digits.map(|(_, (c, range))| (c.to_ascii_lowercase(), range)));
        for needle in &self.hex {
            words_around(text, view.find(needle), found);
        }
    }
}

/// Letters of a text, and where each of their bytes stands in it.
struct Letters {
    text: String,
    places: Vec<Range<usize>>,
}

impl Letters {
    fn of<'r>(letters: impl Iterator<Item = (char, &'r Range<usize>)>) -> Self {
        let (mut text, mut places) = (String::new(), vec![]);
        for (c, range) in letters {
            text.push(c);
            places.resize(text.len(), range.clone());
        }
        Self { text, places }
    }

    /// Where `needle` stands in the whole text.
    fn find<'v>(&'v self, needle: &'v str) -> impl Iterator<Item = Range<usize>> + 'v {
        self.text
            .match_indices(needle)
            .map(|(at, _)| self.places[at].start..self.places[at + needle.len() - 1].end)
    }
}

/// A letter as it is compared: case does not count, nor which of the two alphabets of base64 is used. None for what
/// shows nothing.
fn fold(c: char) -> Option<char> {
    match c {
        c if c.is_whitespace() || c.is_control() || is_invisible(c) => None,
        '-' => Some('+'),
        '_' => Some('/'),
        c => Some(c.to_ascii_lowercase()),
    }
}

/// The letters of the base64 of `bytes` that are the same whatever stands around them, behind so many other bytes.
fn in_base64(bytes: &[u8], offset: usize) -> String {
    let padded = [&[0; 2][..offset], bytes].concat();
    let encoded = STANDARD_NO_PAD.encode(&padded);
    // The letters that also hold bits of the bytes before and behind.
    let first = (offset * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    encoded.get(first..last).unwrap_or_default().to_owned()
}

/// The words that `ranges`, from the first to the last, are parts of. Each word is looked through once.
fn words_around(text: &str, ranges: impl Iterator<Item = Range<usize>>, found: &mut Vec<Range<usize>>) {
    let mut end = 0;
    for range in ranges {
        if range.end > end {
            let word = word_around(text, range);
            end = word.end;
            found.push(word);
        }
    }
}

/// The word that `range` is a part of.
fn word_around(text: &str, range: Range<usize>) -> Range<usize> {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '_' | '-' | '%' | '\\');
    let start = text[..range.start].rfind(|c| !is_of_word(c));
    let start = start.map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
    let end = text[range.end..].find(|c| !is_of_word(c) && c != '=');
    start..end.map_or(text.len(), |at| range.end + at)
}

/// The letters with one round of escapes undone: `%41`, `=41`, `\u0041`, `\x41`, `\/`, `&#65;`, `&#x41;`, `&amp;`.
fn unescaped(letters: &[(char, Range<usize>)]) -> Vec<(char, Range<usize>)> {
    let mut undone = Vec::with_capacity(letters.len());
    let mut at = 0;
    while at < letters.len() {
        let (c, length) = escape_at(&letters[at..]).unwrap_or((letters[at].0, 1));
        undone.push((c, letters[at].1.start..letters[at + length - 1].1.end));
        at += length;
    }
    undone
}

/// The letter that the escape at the beginning stands for, and its length.
fn escape_at(letters: &[(char, Range<usize>)]) -> Option<(char, usize)> {
    /// No escape is longer: `&#x10ffff;`.
    const LONGEST: usize = 10;
    let text: String = letters.iter().take(LONGEST).map(|(c, _)| *c).collect();
    let coded = |digits: &str, radix| char::from_u32(u32::from_str_radix(digits, radix).ok()?);
    let hex = |prefix: &str, digits: usize| {
        let rest = text.strip_prefix(prefix)?;
        Some((coded(rest.get(..digits)?, 16)?, prefix.len() + digits))
    };
    match text.chars().next()? {
        '%' => hex("%", 2),
        '=' => hex("=", 2),
        '\\' => hex("\\u", 4).or_else(|| hex("\\x", 2)).or_else(|| {
            let escaped = text.chars().nth(1)?;
            Some((if matches!(escaped, 'n' | 'r' | 't' | 'b' | 'f' | '0') { '\n' } else { escaped }, 2))
        }),
        '&' => {
            let entity = &text[1..text.find(';')?];
            let c = match entity {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ => {
                    let number = entity.strip_prefix('#')?;
                    match number.strip_prefix(['x', 'X']) {
                        Some(digits) => coded(digits, 16)?,
                        None => coded(number, 10)?,
                    }
                }
            };
            Some((c, entity.chars().count() + 2))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn a_secret_that_is_repeated_without_end_is_looked_for_once() {
        let begun = std::time::Instant::now();
        let mask = Mask::of([SECRET]);
        assert_eq!(mask.hide(&SECRET.repeat(8192)), HIDDEN);
        assert_eq!(
            mask.hide(&format!("a {} b", STANDARD.encode(SECRET.repeat(6144)))),
            format!("a {HIDDEN} b")
        );
        // Minutes, when each of them looks through the whole word that all of them are.
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
    }

    /// The spellings of a secret that a receiver may echo.
    fn spellings(secret: &str) -> Vec<String> {
        let bytes = secret.as_bytes();
        let joined = |separator: &str, spell: fn(&u8) -> String| {
            bytes.iter().map(spell).collect::<Vec<_>>().join(separator)
        };
        let between = |separator: &str| secret.chars().map(String::from).collect::<Vec<_>>().join(separator);
        let percent = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
        vec![
            secret.to_owned(),
            secret.to_uppercase(),
            between("\0"),
            between(" "),
            between("\u{200b}"),
            STANDARD.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
            STANDARD.encode(format!("\0alerts\0{secret}")),
            STANDARD.encode(format!("user:{secret}:x")),
            STANDARD.encode(format!("u:{secret}")),
            joined("", |byte| format!("{byte:02x}")),
            joined("", |byte| format!("{byte:02X}")),
            joined(":", |byte| format!("{byte:02x}")),
            joined(", ", |byte| format!("0x{byte:02x}")),
            joined("", |byte| format!("\\x{byte:02x}")),
            joined("", |byte| format!("\\u{byte:04x}")),
            joined("", |byte| format!("%{byte:02X}")),
            joined("", |byte| format!("%25{byte:02x}")),
            joined("", |byte| format!("&#{byte};")),
            joined(", ", u8::to_string),
            percent.clone(),
            utf8_percent_encode(&percent, NON_ALPHANUMERIC).to_string(),
        ]
    }

    #[test]
    fn a_secret_is_hidden_however_it_is_spelt() {
        for secret in [SECRET, "hunter22", "s3cr3t-p4ss", "a/b+c=d_e?f&g\"h<i>"] {
            let mask = Mask::of([secret]);
            for spelling in spellings(secret) {
                let hidden = mask.hide(&format!("no, {spelling} is wrong"));
                assert_eq!(hidden.replace("[•••]", HIDDEN), "no, ••• is wrong", "{spelling}");
            }
        }
    }

    #[test]
    fn a_long_secret_that_was_cut_is_hidden_and_what_is_short_is_not_looked_for() {
        let mask = Mask::of([SECRET]);
        for cut in [&SECRET[..24], &SECRET[15..]] {
            assert_eq!(mask.hide(&format!("key=\"{cut}…")), "key=\"•••…");
        }
        let mask = Mask::of(["on", "1", ""]);
        assert_eq!(mask.hide("on 1 day"), "on 1 day");
        assert_eq!(Mask::of(["key1"]).hide("key1 key2 KEY1"), "••• key2 •••");
    }

    proptest! {
        #[test]
        fn any_secret_is_hidden_in_any_text(secret in "[!-~]{6,40}", before in "[a-z éß\u{202e}]{0,9}", after in "\\PC{0,9}") {
            let mask = Mask::of([&secret]);
            let is_kept = |text: &str| text.contains(&secret);
            prop_assume!(!is_kept(HIDDEN));
            for spelling in spellings(&secret) {
                let hidden = mask.hide(&format!("{before}, {spelling} {after}"));
                prop_assert!(!hidden.contains(&spelling), "{hidden}");
            }
        }

        #[test]
        fn what_holds_no_secret_stays(text in "\\PC{0,60}") {
            prop_assert_eq!(Mask::of(["~~never-written~~"]).hide(&text), text);
        }
    }
}
