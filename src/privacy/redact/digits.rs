//! Digits in groups, as people and programs write long numbers. Pure.

use crate::privacy::is_invisible;

/// The most characters that may stand between two groups of one number, as in `) - `.
const MOST_BETWEEN: usize = 3;

/// Digits that stand together.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Where they begin and end in the text, in bytes.
    pub(super) start: usize,
    pub(super) end: usize,
    /// As ASCII.
    pub(super) digits: String,
}

/// The value of a decimal digit, in the scripts in which numbers are written.
pub(super) fn digit(c: char) -> Option<u32> {
    const ZEROS: [char; 5] = ['0', '\u{660}', '\u{6f0}', '\u{966}', '\u{ff10}'];
    ZEROS.iter().find_map(|zero| u32::from(c).checked_sub(u32::from(*zero)).filter(|value| *value < 10))
}

/// Whether a character may stand between the groups of a number.
pub(super) fn is_gap(c: char) -> bool {
    c.is_whitespace()
        || is_invisible(c)
        || is_dash(c)
        || matches!(c, '.' | ',' | '/' | '_' | ':' | ';' | '·' | '•' | '*' | '|' | '(' | ')' | '[' | ']')
}

/// Whether a character may stand between the groups of a number that has no other mark of being one.
pub(super) fn is_plain_gap(c: char) -> bool {
    let is_space = c.is_whitespace() && !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}');
    is_space || is_invisible(c) || is_dash(c) || matches!(c, '.' | '/' | '(' | ')' | '[' | ']')
}

fn is_dash(c: char) -> bool {
    matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// The groups of digits from `start` on, until something else stands between them than `is_between` allows, or there are
/// more than `most` digits.
pub(super) fn groups(text: &str, start: usize, most: usize, is_between: fn(char) -> bool) -> Vec<Group> {
    let mut groups: Vec<Group> = vec![];
    let (mut count, mut between) = (0, 0);
    for (at, c) in text[start..].char_indices() {
        let at = start + at;
        if let Some(value) = digit(c) {
            count += 1;
            if count > most {
                break;
            }
            let digit = char::from_digit(value, 10).unwrap_or('0');
            match groups.last_mut().filter(|group| group.end == at) {
                Some(group) => {
                    group.end = at + c.len_utf8();
                    group.digits.push(digit);
                }
                None => groups.push(Group { start: at, end: at + c.len_utf8(), digits: digit.into() }),
            }
            between = 0;
        } else if is_between(c) && between < MOST_BETWEEN {
            between += 1;
        } else {
            break;
        }
    }
    groups
}

/// The mark between two groups, without the spaces around it: a space when there is nothing else. `None` for different ones.
pub(super) fn mark(gap: &str) -> Option<char> {
    let mut marks = gap.chars().filter(|c| !c.is_whitespace() && !is_invisible(*c));
    let first = marks.next();
    marks.all(|mark| Some(mark) == first).then_some(first.unwrap_or(' '))
}

/// The digits of all groups.
pub(super) fn joined(groups: &[Group]) -> String {
    groups.iter().map(|group| group.digits.as_str()).collect()
}

/// How many digits each group has.
pub(super) fn lengths(groups: &[Group]) -> Vec<usize> {
    groups.iter().map(|group| group.digits.len()).collect()
}

/// Whether pairs of digits are the times of a day, as in `09 00 12 00`.
pub(super) fn are_times(groups: &[Group]) -> bool {
    let is_time = |pair: &[Group]| match pair {
        [hour, minute] => {
            hour.digits.len() == 2
                && hour.digits.as_str() < "25"
                && matches!(minute.digits.as_str(), "00" | "15" | "30" | "45")
        }
        _ => false,
    };
    !groups.is_empty() && groups.chunks(2).all(is_time)
}

/// Whether the last of these digits is right (the algorithm of Luhn, ISO/IEC 7812).
pub(super) fn is_luhn(digits: &str) -> bool {
    let doubled = |(place, digit): (usize, u32)| match (place % 2, digit * 2) {
        (0, _) => digit,
        (_, twice) => twice / 10 + twice % 10,
    };
    let digits: Vec<_> = digits.chars().filter_map(|c| c.to_digit(10)).rev().collect();
    digits.iter().any(|digit| *digit != 0)
        && digits.into_iter().enumerate().map(doubled).sum::<u32>().is_multiple_of(10)
}

/// Whether 14 digits are the number of a French company's office (SIRET), as far as their check digit tells: they are in its
/// groups, or cannot be a card's.
pub(super) fn is_siret(groups: &[Group]) -> bool {
    let digits = joined(groups);
    let is_solid = groups.len() == 1 && !begins_as_diners(&digits);
    digits.len() == 14 && (is_solid || lengths(groups) == [3, 3, 3, 5]) && is_luhn(&digits)
}

/// Whether digits begin as those of the only cards that have 14.
pub(super) fn begins_as_diners(digits: &str) -> bool {
    ["30", "36", "38", "39"].iter().any(|begin| digits.starts_with(begin))
}
