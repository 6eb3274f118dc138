//! Numbers of cards and of bank accounts, told apart from others by their check digits. Pure.
//!
//! Every place where one may begin is tried, because other words and digits may stand beside it; of those that begin at one
//! place the longest counts.

use super::digits::{
    Group, are_times, begins_as_diners, digit, groups, is_gap, is_luhn, is_siret, joined, lengths, mark,
};

/// The text without card numbers.
pub(super) fn without_cards(text: &str) -> String {
    let is_start = |before: Option<char>, c: char| {
        digit(c).is_some() && !before.is_some_and(|before| digit(before).is_some() || before == '+')
    };
    replaced(text, "[card]", is_start, |start| {
        let candidates = groups(text, start, 20, is_gap);
        // Pairs may be a list of phone numbers, unless they are the whole of it.
        let follows = text[..start].trim_end_matches(is_gap).ends_with(|c| digit(c).is_some());
        let is_end = |count: &usize| {
            let found = &candidates[..*count];
            let are_pairs = found.iter().all(|group| group.digits.len() == 2);
            let is_whole = !follows && *count == candidates.len();
            found.last().is_some_and(|last| ends_word(text, last.end))
                && is_card(text, found)
                && (is_whole || !are_pairs)
        };
        let count = (1..=candidates.len()).rev().find(is_end)?;
        Some(candidates[count - 1].end)
    })
}

/// The text without IBANs.
pub(super) fn without_ibans(text: &str) -> String {
    let is_start = |_: Option<char>, c: char| c.is_ascii_alphabetic();
    replaced(text, "[iban]", is_start, |start| iban(text, start))
}

/// The text with `name` in place of each match. `end` returns where the match that begins at a place ends, if there is one.
fn replaced(
    text: &str,
    name: &str,
    is_start: impl Fn(Option<char>, char) -> bool,
    end: impl Fn(usize) -> Option<usize>,
) -> String {
    let mut clean = String::with_capacity(text.len());
    let (mut copied, mut before) = (0, None);
    for (at, c) in text.char_indices() {
        if at >= copied
            && is_start(before, c)
            && let Some(end) = end(at)
        {
            clean.push_str(&text[copied..at]);
            clean.push_str(name);
            copied = end;
        }
        before = Some(c);
    }
    clean.push_str(&text[copied..]);
    clean
}

/// Whether no letter and no digit goes on at `at`.
fn ends_word(text: &str, at: usize) -> bool {
    !text[at..].starts_with(char::is_alphanumeric)
}

/// Whether these are 13 to 19 digits that begin as an issuer's, are in groups as people write them, and whose last one is
/// right.
fn is_card(text: &str, groups: &[Group]) -> bool {
    let (digits, lengths) = (joined(groups), lengths(groups));
    let begin = |count: usize| digits.get(..count).and_then(|begin| begin.parse::<u32>().ok()).unwrap_or(0);
    let is_issuer = match digits.len() {
        13 => begin(1) == 4,
        14 => begins_as_diners(&digits) && !is_siret(groups),
        15 => matches!(begin(2), 34 | 37) || matches!(begin(4), 1800 | 2131),
        16..=19 => {
            matches!(begin(1), 3..=6)
                || matches!(begin(4), 2200..=2204 | 2221..=2720 | 9792)
                || begin(2) == 81
        }
        _ => false,
    };
    let (last, others) = lengths.split_last().map_or((0, &[][..]), |(last, others)| (*last, others));
    let marks: Vec<_> = groups.windows(2).map(|pair| mark(&text[pair[0].end..pair[1].start])).collect();
    let are_alike = marks.iter().all(|mark| mark.is_some() && *mark == marks[0]);
    let are = |size: usize| are_alike && others.iter().all(|length| *length == size) && last == size;
    let is_grouped = others.iter().all(|length| *length >= 3) || are(1) || (are(2) && !are_times(groups));
    is_issuer && is_grouped && is_luhn(&digits)
}

/// Where the IBAN ends that begins at `start`, if one does. Every country has one length.
fn iban(text: &str, start: usize) -> Option<usize> {
    let mut letters = String::with_capacity(34);
    let (mut between, mut length) = (0, 4);
    for (at, c) in text[start..].char_indices() {
        let letter = digit(c).and_then(|value| char::from_digit(value, 10));
        let letter = letter.or(c.is_ascii_alphabetic().then(|| c.to_ascii_uppercase()));
        match letter {
            Some(letter) => {
                between = 0;
                let is_right = match letters.len() {
                    0 | 1 => letter.is_ascii_alphabetic(),
                    2 | 3 => letter.is_ascii_digit(),
                    _ => true,
                };
                if !is_right {
                    return None;
                }
                letters.push(letter);
                if letters.len() == 2 {
                    length = length_in(&letters)?;
                }
                if letters.len() == length {
                    let end = start + at + c.len_utf8();
                    return (ends_word(text, end) && is_iban(&letters)).then_some(end);
                }
            }
            // The two letters of the country are never apart.
            None if is_gap(c) && between < 3 && letters.len() >= 2 => between += 1,
            None => return None,
        }
    }
    None
}

/// The length of the IBANs of a country: the registry of SWIFT, and those that are used without standing in it.
fn length_in(country: &str) -> Option<usize> {
    Some(match country {
        "NO" => 15,
        "BE" | "BI" => 16,
        "DK" | "FI" | "FK" | "FO" | "GL" | "NL" | "SD" => 18,
        "MK" | "SI" => 19,
        "AT" | "BA" | "EE" | "KZ" | "LT" | "LU" | "MN" | "XK" => 20,
        "CH" | "CR" | "HR" | "LI" | "LV" => 21,
        "BG" | "BH" | "DE" | "GB" | "GE" | "IE" | "ME" | "RS" | "VA" => 22,
        "AE" | "GI" | "IL" | "IQ" | "OM" | "SO" | "TL" => 23,
        "AD" | "CZ" | "ES" | "MD" | "PK" | "RO" | "SA" | "SE" | "SK" | "TN" | "VG" => 24,
        "AO" | "CV" | "GW" | "LY" | "MZ" | "PT" | "ST" => 25,
        "DZ" | "IR" | "IS" | "TR" => 26,
        "CF" | "CG" | "CM" | "DJ" | "FR" | "GA" | "GR" | "IT" | "KM" | "MC" | "MG" | "MR" | "SM" | "TD"
        | "GQ" => 27,
        "AL" | "AZ" | "BF" | "BJ" | "BY" | "CI" | "CY" | "DO" | "GT" | "HN" | "HU" | "LB" | "MA" | "ML"
        | "NE" | "NI" | "PL" | "SN" | "SV" | "TG" => 28,
        "BR" | "EG" | "PS" | "QA" | "UA" => 29,
        "JO" | "KW" | "MU" | "YE" => 30,
        "MT" | "SC" => 31,
        "LC" => 32,
        "RU" => 33,
        _ => return None,
    })
}

/// Whether the check digits of an IBAN are right (ISO 13616, modulo 97).
fn is_iban(letters: &str) -> bool {
    let (head, tail) = letters.split_at(4);
    let rest = tail.chars().chain(head.chars()).filter_map(|c| c.to_digit(36)).fold(0, |rest, value| {
        let shift = if value < 10 { 10 } else { 100 };
        (rest * shift + value) % 97
    });
    rest == 1
}
