//! Numbers and addresses that identify people or accounts, found in free text and replaced. Pure.
//!
//! Only things that a machine can tell apart are replaced: a card number by its check digit, an IBAN by its own. A number that is spelt out
//! in words is not.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::mask_phones_in;

/// A kind of thing that can be replaced in texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Redact {
    /// A phone number, of which the beginning and the end stay.
    Phone,
    /// An email address.
    Email,
    /// The number of a payment card.
    Card,
    /// The number of a bank account.
    Iban,
}

impl Redact {
    /// Every kind, as the config writes them.
    pub const ALL: [(&'static str, Self); 4] =
        [("phone", Self::Phone), ("email", Self::Email), ("card", Self::Card), ("iban", Self::Iban)];
}

#[expect(clippy::expect_used, reason = "the patterns are part of the program, and every test uses them")]
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern")
}

/// Digits in groups, as on a card.
static DIGITS: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9](?:[ .-]?[0-9]){11,22}"));
/// Two letters, two check digits, and groups of letters and digits.
static ACCOUNT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?-u:\b)[A-Za-z]{2}[ -]?[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,30}"));

/// The text without what is of these kinds.
pub fn redacted(text: &str, kinds: impl IntoIterator<Item = Redact>) -> String {
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    // Cards and accounts before phones, which their digits may look like.
    kinds.sort_unstable_by_key(|kind| std::cmp::Reverse(*kind));
    let mut text = text.to_owned();
    for kind in kinds {
        text = match kind {
            Redact::Iban => {
                ACCOUNT.replace_all(&text, |found: &Captures<'_>| without_iban(&found[0])).into_owned()
            }
            Redact::Card => DIGITS
                .replace_all(&text, |found: &Captures<'_>| match is_card(&found[0]) {
                    true => "[card]".to_owned(),
                    false => found[0].to_owned(),
                })
                .into_owned(),
            Redact::Email => without_addresses(&text),
            Redact::Phone => mask_phones_in(&text),
        };
    }
    text
}

/// The text without email addresses. Looks from each `@` to both sides, so that no text takes long.
fn without_addresses(text: &str) -> String {
    /// The longest part before the `@` and behind it, in bytes (RFC 5321, section 4.5.3.1).
    const LONGEST: [usize; 2] = [64, 255];
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let is_local = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '%' | '+' | '-');
        let is_domain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-');
        let local: usize = rest[..at].chars().rev().take_while(|c| is_local(*c)).map(char::len_utf8).sum();
        let behind = &rest[at + 1..];
        let domain = &behind[..behind.find(|c| !is_domain(c)).unwrap_or(behind.len())];
        let domain = domain.trim_end_matches(['.', '-']);
        let is_top = |top: &str| top.chars().count() >= 2 && top.chars().all(char::is_alphabetic);
        let is_address = (1..=LONGEST[0]).contains(&local)
            && domain.len() <= LONGEST[1]
            && domain.rsplit_once('.').is_some_and(|(name, top)| !name.is_empty() && is_top(top));
        if is_address {
            clean.push_str(&rest[..at - local]);
            clean.push_str("[email]");
            rest = &behind[domain.len()..];
        } else {
            clean.push_str(&rest[..=at]);
            rest = behind;
        }
    }
    clean.push_str(rest);
    clean
}

/// The text without the IBAN that it begins with, if it does: the words behind one may look like a part of it.
fn without_iban(text: &str) -> String {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8()).rev();
    let is_end =
        |end: &usize| text[..*end].ends_with(|c: char| c.is_ascii_alphanumeric()) && is_iban(&text[..*end]);
    match ends.into_iter().find(is_end) {
        Some(end) => format!("[iban]{}", &text[end..]),
        None => text.to_owned(),
    }
}

/// Whether these are 13 to 19 digits whose last one is right (ISO/IEC 7812, the algorithm of Luhn).
fn is_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let doubled = |(place, digit): (usize, &u32)| match (place % 2, digit * 2) {
        (0, _) => *digit,
        (_, twice) => twice / 10 + twice % 10,
    };
    (13..=19).contains(&digits.len())
        && digits.iter().any(|digit| *digit != 0)
        && digits.iter().rev().enumerate().map(doubled).sum::<u32>().is_multiple_of(10)
}

/// Whether the check digits of an IBAN are right (ISO 13616, modulo 97).
fn is_iban(text: &str) -> bool {
    let letters: Vec<char> = text.chars().filter(char::is_ascii_alphanumeric).collect();
    if !(15..=34).contains(&letters.len()) {
        return false;
    }
    let (head, tail) = letters.split_at(4);
    let rest = tail.iter().chain(head).filter_map(|c| c.to_digit(36)).fold(0, |rest, value| {
        let shift = if value < 10 { 10 } else { 100 };
        (rest * shift + value) % 97
    });
    rest == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> String {
        redacted(text, Redact::ALL.map(|(_, kind)| kind))
    }

    #[test]
    fn what_identifies_people_and_accounts_is_gone() {
        for (text, clean) in [
            ("mail me at Jane.Doe+x@mail.example.co.uk, please", "mail me at [email], please"),
            ("à josé@exämple.fr.", "à [email]."),
            ("my card is 4242 4242 4242 4242 okay", "my card is [card] okay"),
            ("4242-4242-4242-4242", "[card]"),
            ("378282246310005, an Amex", "[card], an Amex"),
            ("IBAN DE89 3704 0044 0532 0130 00 is ours", "IBAN [iban] is ours"),
            ("de89370400440532013000", "[iban]"),
            ("to GB82WEST12345698765432 then", "to [iban] then"),
            ("FR14 2004 1010 0505 0001 3M02 606 and call", "[iban] and call"),
            ("call +33 6 12 34 56 78 back", "call +3361•••5678 back"),
            ("both +33612345678 and a@b.example", "both +3361•••5678 and [email]"),
        ] {
            assert_eq!(all(text), clean);
        }
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        for text in [
            "",
            "at 14:30 on 2025-12-15, room 4242",
            "@jane and jane@",
            "the order 4242 4242 4242 4243",
            "number 0000 0000 0000 0000 0000",
            "DE88 3704 0044 0532 0130 0",
            "We paid 1,234,567.89 for it",
        ] {
            let without_phones = redacted(text, [Redact::Email, Redact::Card, Redact::Iban]);
            assert_eq!(without_phones, text);
        }
        assert_eq!(redacted("a@b.example +33612345678", []), "a@b.example +33612345678");
        assert_eq!(redacted("4242 4242 4242 4242", [Redact::Email]), "4242 4242 4242 4242");
    }

    #[test]
    fn a_long_text_takes_no_long_time() {
        let text =
            ["a.".repeat(20_000), "1 ".repeat(20_000), "aa11".repeat(10_000), "@a".repeat(20_000)].concat();
        let begun = std::time::Instant::now();
        all(&text);
        assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    }
}
