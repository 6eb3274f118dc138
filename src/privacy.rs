//! Foreign words made fit for logs, screens and messages: numbers and secrets masked, deceptive characters shown
//! for what they are.

mod hash;
mod mask;
mod redact;

use std::{borrow::Cow, net::Ipv4Addr};

pub use self::{
    hash::{HashKey, hex, is_phone_number, plain},
    mask::{HIDDEN, Mask},
    redact::{Redact, redacted},
};

/// Stands in place of a number that the caller withheld.
pub(crate) const UNKNOWN_NUMBER: &str = "unknown number";

/// A phone number with its middle hidden: `+33612345678` becomes `+3361•••5678`.
///
/// Keeps the first five and the last four characters of a number of at least eleven, and nothing of a shorter one, or of what is
/// no number: a name may stand in the place of one.
pub fn mask_phone(number: &str) -> String {
    let chars: Vec<char> = number.chars().filter(|c| !c.is_control()).collect();
    if chars.len() < 11 || chars.iter().any(|c| c.is_alphabetic()) {
        return HIDDEN.to_owned();
    }
    let head: String = chars[..5].iter().collect();
    let tail: String = chars[chars.len() - 4..].iter().collect();
    format!("{head}{HIDDEN}{tail}")
}

/// A text in which everything that may be a phone number is masked by [`mask_phone`], written without what stands
/// between its digits.
///
/// That is eight digits or more. Spaces, dots, dashes, slashes and brackets may stand between them, if the number begins
/// with `+` or is made of groups of two digits or more, as in `(030) 1234-5678`. Dates and IP addresses are left alone.
///
/// ```
/// let text = callwatch::privacy::mask_phones_in("call +33 6 12 34 56 78 back");
/// assert_eq!(text, "call +3361•••5678 back");
/// ```
pub fn mask_phones_in(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| matches!(c, '+' | '(') || c.is_numeric()) {
        masked.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = if let Some(other) = date_or_address(rest) {
            masked.push_str(&rest[..other]);
            other
        } else {
            match is_phone(&rest[..phone(rest, LONGEST_NUMBER)]) {
                true => {
                    // Characters that go on like a number are hidden with it.
                    let run = phone(rest, usize::MAX);
                    let digits = rest[..run].chars().filter(|c| *c == '+' || c.is_numeric());
                    masked.push_str(&mask_phone(&digits.collect::<String>()));
                    run
                }
                // The digits after the first group may be a number by themselves.
                false => {
                    let group = rest.find(|c: char| !c.is_numeric()).unwrap_or(rest.len());
                    let group = group.max(rest.chars().next().map_or(0, char::len_utf8));
                    masked.push_str(&rest[..group]);
                    group
                }
            }
        };
        rest = &rest[length..];
    }
    masked.push_str(rest);
    masked
}

/// Whether a character may stand between the digits of a phone number.
fn is_between(c: char) -> bool {
    let is_mark = matches!(c, '-' | '.' | '(' | ')' | '[' | ']' | '/' | '\u{2010}'..='\u{2015}');
    is_mark || c == ' ' || (!c.is_ascii() && c.is_whitespace()) || is_invisible(c)
}

/// The most of a text that is looked at to tell whether a number begins there, in bytes: if it were the whole, a text of
/// single digits would be looked through again for each of them.
const LONGEST_NUMBER: usize = 64;

/// The length of what can be one phone number at the beginning of `text`, in bytes; about `most`, but no group is cut.
fn phone(text: &str, most: usize) -> usize {
    /// As in `) - `.
    const MOST_BETWEEN: usize = 3;
    let (mut end, mut between) = (0, 0);
    for (at, c) in text.char_indices() {
        // Not a part of `06.12.34.56.78`, nor of a number that began with `+`.
        if at > most && between > 0 {
            break;
        }
        let is_apart = at > 0 && between > 0 && !text[..at].ends_with('.') && !text.starts_with('+');
        let is_other = is_apart && date_or_address(&text[at..]).is_some();
        if is_other {
            break;
        } else if c.is_numeric() || (at == 0 && c == '+') {
            (end, between) = (at + c.len_utf8(), 0);
        } else if is_between(c) && between < MOST_BETWEEN {
            between += 1;
        } else {
            break;
        }
    }
    end
}

fn is_phone(run: &str) -> bool {
    const SHORTEST: usize = 8;
    // The longest numbers have 15 digits (ITU-T E.164), and a prefix of a few.
    const LONGEST_GROUP: usize = 20;
    let groups: Vec<_> = run.split(|c: char| !c.is_numeric()).map(|group| group.chars().count()).collect();
    let groups: Vec<_> = groups.into_iter().filter(|digits| *digits > 0).collect();
    // A number inside a country may begin with one digit, as in `1-800-555-0199`.
    let is_grouped = run.starts_with('+') || groups.iter().skip(1).all(|digits| *digits >= 2);
    let is_endless = groups.iter().any(|digits| *digits > LONGEST_GROUP);
    is_grouped && !is_endless && groups.iter().sum::<usize>() >= SHORTEST
}

/// The length of a date such as `2026-11-23` or `23.11.2026`, or of an IPv4 address, at the beginning of `text`.
fn date_or_address(text: &str) -> Option<usize> {
    /// No date and no address is as long.
    const LONGEST: usize = 32;
    let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'/');
    let length = text.bytes().take(LONGEST + 1).take_while(is_part).count();
    if length > LONGEST {
        return None;
    }
    let word = text[..length].trim_end_matches(['.', '-', '/']);
    let mut digits = word.split(['.', '-', '/']).map(str::len);
    let is_date = matches!(
        (digits.next(), digits.next(), digits.next(), digits.next()),
        (Some(4), Some(2), Some(2), None) | (Some(2), Some(2), Some(4), None)
    );
    (is_date || word.parse::<Ipv4Addr>().is_ok()).then_some(word.len())
}

/// Whether a character shows nothing, or moves or reorders the text around it.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// The text with every character that deceives a reader, or commands a terminal, written as an escape: `\u{202e}`. Line
/// breaks stay.
pub fn escaped(text: &str) -> Cow<'_, str> {
    let is_deceptive = |c: char| (c.is_control() && c != '\n') || is_invisible(c);
    if !text.contains(is_deceptive) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_deceptive(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

/// JSON with those characters written as JSON's own escapes, so that it means the same: `\u202e`.
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    // The escapes of a JSON text hold all controls but these; others stand between values.
    let is_deceptive = |c: char| ('\u{7f}'..='\u{9f}').contains(&c) || is_invisible(c);
    if !json.contains(is_deceptive) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_deceptive(c) {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| safe.push_str(&format!("\\u{unit:04x}")));
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Output for a terminal or a file, text or JSON, with those characters escaped in the same way, and all other controls but
/// line breaks, tabs, and the changes of colour that callwatch itself makes.
pub fn escaped_output(output: &str) -> Cow<'_, str> {
    let is_harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if output.chars().all(is_harmless) {
        return escaped_json(output);
    }
    let mut safe = String::with_capacity(output.len() + 16);
    for (at, c) in output.char_indices() {
        if c.is_ascii_control() && !is_harmless(c) && !(c == '\x1b' && begins_with_colour(&output[at..])) {
            safe.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(escaped_json(&safe).into_owned())
}

/// Whether a change of colour stands here, as in `ESC [ 31 m`.
fn begins_with_colour(text: &str) -> bool {
    let code = text.strip_prefix("\x1b[").and_then(|rest| rest.split_once('m'));
    code.is_some_and(|(code, _)| code.len() <= 2 && code.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Words of another machine for a log line, an error or a screen: one line, phone numbers masked, deceptive characters
/// escaped.
pub fn foreign(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    escaped(&mask_phones_in(&line)).into_owned()
}

/// The text without control characters and without marks that change the direction of writing or show nothing. Runs of
/// white space become one space.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_whitespace() {
            if !line.ends_with(' ') {
                line.push(' ');
            }
        } else if !c.is_control() && !is_invisible(c) {
            line.push(c);
        }
    }
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_looks_like_numbers_is_looked_through_once() {
        let begun = std::time::Instant::now();
        for part in [
            "1-",
            "1 ",
            "12-",
            "1.1.",
            "(1)",
            "+1-1 ",
            "1-2.3/",
            "1234567-1 ",
            "+",
            "(",
            "1\u{200b}",
            "12.12.2012 ",
        ] {
            let text = part.repeat(16 * 1024 / part.len());
            assert!(!mask_phones_in(&text).is_empty());
        }
        let digits = format!("1 {}", "1".repeat(256 * 1024));
        assert_eq!(mask_phones_in(&digits), digits);
        // Hours, when each digit is looked at again for each digit before it.
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
        // Nothing of a list of numbers without other words between them is left over.
        let list = ["06 12 34 56 78"; 40].join(" ");
        assert_eq!(mask_phones_in(&format!("call {list}.")), "call 06123•••5678.");
    }

    #[test]
    fn numbers_are_masked_wherever_they_stand() {
        for (text, masked) in [
            ("no +33612345678!", "no +3361•••5678!"),
            (
                r#"{"callerNumber":"33612345678","duration":145}"#,
                r#"{"callerNumber":"33612•••5678","duration":145}"#,
            ),
            ("call +33 6 12 34 56 78 back", "call +3361•••5678 back"),
            ("+33 (0)6.12.34.56.78", "+3306•••5678"),
            ("06 12 34 56 78, 06.12.34.56.78", "•••, •••"),
            ("(030) 1234-5678 or 030/12345678", "03012•••5678 or 03012•••5678"),
            ("1-800-555-0199", "18005•••0199"),
            ("0033\u{a0}6\u{200b}12\u{202f}34\u{2011}56 78", "0033\u{a0}•••"),
            ("0033\u{a0}61\u{200b}23\u{202f}45\u{2011}67 89", "00336•••6789"),
            ("٠٦١٢٣٤٥٦٧٨", "•••"),
            ("12345678 and 1234567", "••• and 1234567"),
            ("on 2026-11-23 at 14:30, 550 5.1.1", "on 2026-11-23 at 14:30, 550 5.1.1"),
            ("2026-11-23 14:30, 23.11.2026 14:30", "2026-11-23 14:30, 23.11.2026 14:30"),
            ("from 192.168.100.200: 421 4.7.0 10.20.30.40", "from 192.168.100.200: 421 4.7.0 10.20.30.40"),
            ("2026-11-23 +33612345678", "2026-11-23 +3361•••5678"),
            ("a + b, 1 + 2 é (see (1))", "a + b, 1 + 2 é (see (1))"),
            ("+", "+"),
            ("", ""),
        ] {
            assert_eq!(mask_phones_in(text), masked, "{text}");
        }
    }

    #[test]
    fn the_middle_of_a_number_is_hidden() {
        assert_eq!(mask_phone("+33612345678"), "+3361•••5678");
        assert_eq!(mask_phone("112"), "•••");
        assert_eq!(mask_phone(""), "•••");
    }

    #[test]
    fn what_deceives_is_escaped() {
        let text = "a\u{1b}[31m\u{9b}2J\u{202e}b\u{200b}\u{e0041}\r\nc\té";
        assert_eq!(escaped(text), "a\\u{1b}[31m\\u{9b}2J\\u{202e}b\\u{200b}\\u{e0041}\\r\nc\\té");
        assert!(matches!(escaped("plain é\n"), Cow::Borrowed(_)));
        let json = serde_json::json!({ "a": text }).to_string();
        let safe = escaped_json(&json);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap()["a"], text);
        assert!(
            safe.contains("\\u202e") && safe.contains("\\u009b") && safe.contains("\\udb40\\udc41"),
            "{safe}"
        );
        assert_eq!(
            escaped_output("\x1b[31mred\x1b[0m \x1b]0;x\x07\x1b[2J\u{202e}\u{9b}\r\n\té\u{200b}"),
            "\x1b[31mred\x1b[0m \\u001b]0;x\\u0007\\u001b[2J\\u202e\\u009b\\u000d\n\té\\u200b"
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped_output(&json)).unwrap()["a"], text);
        assert_eq!(foreign("Call\r\n +33 612 345 678 \u{9b}!"), "Call +3361•••5678 \\u{9b}!");
        assert_eq!(one_line(text), "a[31m2Jb c é");
    }
}
