//! Phone numbers. Pure.
//!
//! Nothing but its shape tells a phone number from another one, so what is surely something else is left alone: dates, times,
//! amounts, lists, and digits that are parts of words, versions and links. In doubt it is a phone number.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

use super::{
    digits::{Group, are_times, digit, groups, is_gap, is_plain_gap, is_siret, joined, lengths, mark},
    pattern,
};
use crate::privacy::{HIDDEN, mask_phone};

/// The fewest digits of a number that is hidden.
const SHORTEST: usize = 8;
/// The most digits of a number (ITU-T E.164).
const LONGEST: usize = 15;
/// The most digits that are looked at to tell whether a number begins at a place, so that no text takes long.
const LOOK: usize = 40;
/// The most digits that are hidden as one number: characters that go on like a number are hidden with it.
const MOST: usize = 200;
/// The longest group of digits in a number.
const LONGEST_GROUP: usize = 20;

/// A date whose year has four digits, or whose parts are joined by `/`, `.` or `-`; the parts are checked.
static DATE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"^(?:(?P<y>(?:19|20)[0-9]{2})(?P<s>[-/. ])(?P<m>[0-9]{1,2})[-/. ](?P<d>[0-9]{1,2})",
        r"|(?P<d2>[0-9]{1,2})(?P<s2>[-/. ])(?P<m2>[0-9]{1,2})[-/. ](?P<y2>(?:19|20)[0-9]{2})",
        r"|(?P<d3>[0-9]{1,2})(?P<s3>[-/.])(?P<m3>[0-9]{1,2})[-/.](?P<y3>[0-9]{2})",
        r"|(?P<y4>(?:19|20)[0-9]{2})(?P<m4>[0-9]{2})(?P<d4>[0-9]{2})(?:[0-9]{4}|[0-9]{6})?)(?-u:\b)",
    ))
});
/// The time that stands behind a date.
static TIME_BEHIND: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^(?:[ ,\u{a0}\u{202f}]{1,2}|, )(?:[01]?[0-9]|2[0-4])[ :.h]?[0-5][0-9](?-u:\b)")
});
static TIME: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:[01]?[0-9]|2[0-4])[:h][0-5][0-9](?::[0-5][0-9])?(?-u:\b)"));
/// Digits in thousands or together, with decimals or without.
static AMOUNT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^(?:[0-9]{1,3}(?:[ .,'’\u{a0}\u{202f}][0-9]{3})+|[0-9]+)(?P<decimals>[.,][0-9]{1,2}(?-u:\b))?")
});
/// What an amount is of.
static UNIT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)^[ \u{a0}\u{202f}]?(?:[€$£¥₹%²³°]|k€|(?:eur|euros?|usd|dollars?|chf|gbp|pounds?|francs?|franken|",
        r"d[oó]lares|libras?|yen|cents?|km|kg|m2|m²|bytes|ms|seconds|sekunden|secondes|segundos)(?-u:\b))",
    ))
});
static UNIT_BEFORE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)(?:[€$£¥₹]|(?-u:\b)(?:eur|usd|chf|gbp))[ \u{a0}\u{202f}]?$"));

/// The text without phone numbers; of long ones the beginning and the end stay.
pub(super) fn without_phones(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let (mut copied, mut word, mut link) = (0, (0, false), (0, false));
    while let Some(at) = text[copied..].find(|c: char| matches!(c, '+' | '＋' | '(') || digit(c).is_some()) {
        let at = copied + at;
        clean.push_str(&text[copied..at]);
        if at >= word.0 {
            let around = around(text, at, copied, |c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-'));
            word = (around.end, is_mixed(&text[around]));
        }
        if at >= link.0 {
            let around = around(text, at, copied, |c| !c.is_whitespace() && !matches!(c, '"' | '<' | '>'));
            link = (around.end, is_link(&text[around]));
        }
        let begin =
            text[at..].chars().next().map_or(at, |c| at + if digit(c).is_some() { 0 } else { c.len_utf8() });
        let next = match number(text, at, begin, word.1 || link.1) {
            Found::Phone(end) => {
                let digits = joined(&groups(&text[..end], begin, MOST, is_gap));
                let plus = if text[at..begin].starts_with(['+', '＋']) { "+" } else { "" };
                match digits.len() {
                    ..=LONGEST => clean.push_str(&mask_phone(&format!("{plus}{digits}"))),
                    _ => clean.push_str(HIDDEN),
                }
                end
            }
            Found::Other(end) => {
                clean.push_str(&text[at..end]);
                end
            }
        };
        copied = next;
    }
    clean.push_str(&text[copied..]);
    clean
}

/// What stands at a place, and where it ends.
enum Found {
    Phone(usize),
    Other(usize),
}

/// The word around `at`, which `is_part` knows the letters of, from `from` on.
fn around(text: &str, at: usize, from: usize, is_part: impl Fn(char) -> bool) -> Range<usize> {
    let before: usize = text[from..at].chars().rev().take_while(|c| is_part(*c)).map(char::len_utf8).sum();
    let behind: usize = text[at..].chars().take_while(|c| is_part(*c)).map(char::len_utf8).sum();
    at - before..at + behind
}

/// Classifies what begins at `at`, with its first digit at `begin`: a phone number, or something else to be kept. `is_word` says
/// whether it is part of an id, a version or a link.
fn number(text: &str, at: usize, begin: usize, is_word: bool) -> Found {
    let is_international = text[at..begin].starts_with(['+', '＋']);
    let wide = groups(text, begin, LOOK, is_gap);
    let Some(first) =
        wide.first().filter(|first| text[begin..first.start].chars().all(|c| matches!(c, ' ' | '(')))
    else {
        return Found::Other(begin.max(at + 1));
    };
    if is_international {
        let fits = |count: &usize| (SHORTEST..=LONGEST + 2).contains(&joined(&wide[..*count]).len());
        // A list of several numbers is hidden with the first.
        let plain = groups(text, begin, MOST, is_plain_gap);
        if joined(&plain).len() >= SHORTEST && lengths(&plain).iter().all(|length| *length <= LONGEST_GROUP) {
            return plain.last().map_or(Found::Other(first.end), |last| Found::Phone(last.end));
        }
        if let Some(count) = (1..=wide.len()).rev().find(fits) {
            return Found::Phone(wide[count - 1].end);
        }
        return Found::Other(first.end);
    }
    if let Some(end) = dictated(text, &wide) {
        return Found::Phone(end);
    }
    if is_word {
        return Found::Other(first.end);
    }
    if let Some(end) = other(text, begin, first.start) {
        return Found::Other(end);
    }
    let plain = run(text, begin, LOOK);
    let Some(last) = plain.last() else { return Found::Other(first.end) };
    if is_list(&plain) || are_times(&plain) || is_siret(&plain) || is_date_of_two(text, &plain) {
        return Found::Other(last.end);
    }
    match is_phone(&plain) {
        true => Found::Phone(run(text, begin, MOST).last().map_or(last.end, |last| last.end)),
        false => Found::Other(first.end),
    }
}

/// The groups from `begin` on, up to a date or a time that begins behind a space.
fn run(text: &str, begin: usize, most: usize) -> Vec<Group> {
    let mut found = groups(text, begin, most, is_plain_gap);
    let is_other = |pair: &[Group]| {
        text[pair[0].end..pair[1].start].contains(' ') && other(text, pair[1].start, pair[1].start).is_some()
    };
    if let Some(count) = found.windows(2).position(is_other) {
        found.truncate(count + 1);
    }
    found
}

/// Where a number ends whose groups have the same mark between them, and that begins as numbers within a country do or is
/// dictated digit by digit.
fn dictated(text: &str, wide: &[Group]) -> Option<usize> {
    let marks: Vec<_> = wide.windows(2).map(|pair| mark(&text[pair[0].end..pair[1].start])).collect();
    let same = marks.iter().take_while(|mark| mark.is_some() && **mark == marks[0]).count();
    let wide = &wide[..(same + 1).min(wide.len())];
    let singles = wide.iter().take_while(|group| group.digits.len() == 1).count();
    let is_odd = !matches!(marks.first(), Some(Some(' ' | '.' | '-')));
    let enough = if is_odd && !wide[0].digits.starts_with('0') { SHORTEST + 1 } else { SHORTEST };
    if singles >= enough && !is_list(&wide[..singles]) && ends(text, wide[singles - 1].end) {
        return Some(wide[singles - 1].end);
    }
    let (digits, last) = (joined(wide), wide.last()?);
    let most = if digits.starts_with("00") { 10..=LONGEST + 2 } else { 9..=11 };
    let is_national = digits.starts_with('0') && most.contains(&digits.len()) && wide[0].digits.len() <= 17;
    let is_date = matches!(*lengths(wide), [2, 2, 4, ..]) && date(&text[wide[0].start..]).is_some();
    let is_small = digits.trim_start_matches('0').len() >= 6;
    (is_national && !is_date && is_small && !is_list(wide) && ends(text, last.end)).then_some(last.end)
}

/// Whether no word goes on at `at`; an extension may, as in `x12`.
fn ends(text: &str, at: usize) -> bool {
    !text[at..].starts_with(|c: char| c.is_alphabetic() && !matches!(c, 'x' | 'X'))
}

/// Whether a word is a link that is not to a phone number.
fn is_link(word: &str) -> bool {
    (word.contains("://") || word.starts_with("www."))
        && !["tel:", "wa.me/", "phone="].iter().any(|sign| word.contains(sign))
}

/// Whether a letter stands beside a digit in a word: it is an id, or a version.
fn is_mixed(word: &str) -> bool {
    let kind = |c: char| (c.is_alphabetic(), c.is_numeric());
    word.chars().zip(word.chars().skip(1)).any(|(a, b)| {
        let ((a_letter, a_digit), (b_letter, b_digit)) = (kind(a), kind(b));
        (a_letter && b_digit) || (a_digit && b_letter)
    })
}

/// Where a date, a time, an address or an amount ends that begins at `at`.
fn other(text: &str, begin: usize, at: usize) -> Option<usize> {
    let rest = window(text, at);
    if let Some(length) = date(rest) {
        let behind = TIME_BEHIND.find(&rest[length..]).map(|time| length + time.end());
        let behind = behind.filter(|end| !goes_on(&rest[*end..]));
        return Some(at + behind.unwrap_or(length));
    }
    if let Some(time) = TIME.find(rest) {
        return Some(at + time.end());
    }
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let address = rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())].trim_end_matches('.');
    if address.parse::<std::net::Ipv4Addr>().is_ok() {
        return Some(at + address.len());
    }
    let amount = AMOUNT.captures(rest)?;
    let end = amount.get(0)?.end();
    let is_amount = amount.name("decimals").is_some() && !goes_on(&rest[end..])
        || UNIT.is_match(&rest[end..])
        || UNIT_BEFORE.is_match(&text[..begin][floor(text, begin.saturating_sub(8))..]);
    is_amount.then_some(at + end)
}

/// The length of a date at the beginning of `text`.
fn date(text: &str) -> Option<usize> {
    let found = DATE.captures(text)?;
    let part =
        |names: [&str; 4]| names.iter().find_map(|name| found.name(name)).map_or("", |part| part.as_str());
    let number = |names| part(names).parse::<u32>().unwrap_or(0);
    let (day, month) = (number(["d", "d2", "d3", "d4"]), number(["m", "m2", "m3", "m4"]));
    let is_date = |day, month| (1..=31).contains(&day) && (1..=12).contains(&month);
    let length = found.get(0)?.end();
    let rest = &text[length..];
    // A date with a year of two digits counts only if no further digits follow, as they would in a phone number.
    let separator = part(["s3", "s3", "s3", "s3"]);
    let goes_on = !separator.is_empty()
        && (rest.strip_prefix(separator).is_some_and(|rest| rest.starts_with(|c| digit(c).is_some()))
            || (goes_on(rest) && !TIME_BEHIND.is_match(rest)));
    // Americans write the month first.
    (!goes_on && (is_date(day, month) || is_date(month, day))).then_some(length)
}

/// Whether these are pairs of a date and perhaps a time, as in `27 11 26 09 30`.
fn is_date_of_two(text: &str, groups: &[Group]) -> bool {
    let pairs: Vec<u32> = groups.iter().filter_map(|group| group.digits.parse().ok()).collect();
    let are_pairs = lengths(groups).iter().all(|length| *length == 2);
    let is_spaced = groups.windows(2).all(|pair| mark(&text[pair[0].end..pair[1].start]) == Some(' '));
    are_pairs
        && is_spaced
        && matches!(pairs[..], [day, month, _, hour, minute] if (1..=31).contains(&day) && (1..=12).contains(&month) && hour < 25 && minute < 60)
}

/// Whether another digit follows, as in a longer number.
fn goes_on(rest: &str) -> bool {
    let mut chars = rest.chars();
    match chars.next() {
        Some(c) if is_plain_gap(c) && c != '(' => chars.next().is_some_and(|c| digit(c).is_some()),
        Some(c) => digit(c).is_some(),
        None => false,
    }
}

/// As much of the text from `at` on as a date or an amount may take.
fn window(text: &str, at: usize) -> &str {
    &text[at..at + floor(&text[at..], 64)]
}

/// The nearest place at or before `at` where a character begins.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Whether these are numbers of which each follows the one before, such as those of rooms.
fn is_list(groups: &[Group]) -> bool {
    let values: Vec<u64> = groups.iter().filter_map(|group| group.digits.parse().ok()).collect();
    let lengths = lengths(groups);
    let steps: Vec<_> = values.windows(2).map(|pair| pair[1].checked_sub(pair[0])).collect();
    let is_even = |step: &Option<u64>| *step == steps[0] && step.is_some_and(|step| (1..=10).contains(&step));
    let ascends = steps.iter().all(|step| step.is_some_and(|step| step > 0));
    values.len() >= 3
        && values.len() == groups.len()
        && lengths.iter().all(|length| *length <= 4)
        && (steps.iter().all(is_even)
            || (ascends && values.len() >= 5 && values[0] >= 10 && lengths.iter().all(|length| *length == 2)))
}

/// Whether groups are long enough together, and not single digits among others.
fn is_phone(groups: &[Group]) -> bool {
    let (digits, lengths) = (joined(groups), lengths(groups));
    let singles = lengths.iter().skip(1).filter(|length| **length == 1).count();
    // As in `33 6 12 34 56 78`.
    let is_grouped = singles == 0 || (singles == 1 && lengths[1] == 1 && digits.len() > SHORTEST);
    // Seconds or milliseconds since 1970, of which no number within a country has the beginning.
    let is_moment = groups.len() == 1
        && matches!(digits.len(), 10 | 13)
        && ["15", "16", "17", "18", "19"].iter().any(|begin| digits.starts_with(begin));
    digits.len() >= SHORTEST
        && is_grouped
        && !is_moment
        && lengths.iter().all(|length| *length <= LONGEST_GROUP)
}
