//! Numbers and addresses that identify people or accounts, found in free text and replaced. Pure.
//!
//! Only things that a machine can tell apart are replaced: a card number by its check digit, an IBAN by its own. A number that is spelt out
//! in words is not.

mod accounts;
mod addresses;
mod digits;
mod phones;

use std::borrow::Cow;

use regex::Regex;

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

/// The text without what is of these kinds.
pub fn redacted(text: &str, kinds: impl IntoIterator<Item = Redact>) -> String {
    let kinds: Vec<_> = kinds.into_iter().collect();
    let is_asked = |kind| kinds.contains(&kind);
    let mut text = Cow::Borrowed(text);
    // Cards and accounts before phones, and with them, because of a phone number the beginning and the end are shown.
    if is_asked(Redact::Iban) || is_asked(Redact::Phone) {
        text = accounts::without_ibans(&text).into();
    }
    if is_asked(Redact::Card) || is_asked(Redact::Phone) {
        text = accounts::without_cards(&text).into();
    }
    if is_asked(Redact::Email) {
        text = addresses::without_addresses(&text).into();
    }
    if is_asked(Redact::Phone) {
        text = phones::without_phones(&text).into();
    }
    text.into_owned()
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
            ("o'brien@example.com and jane&co@example.com", "[email] and [email]"),
            ("'jane@example.com' <a=b/c@example.com>", "'[email]' <[email]>"),
            ("\"jane doe\"@example.com", "[email]"),
            ("jane@example.xn--p1ai jane@example.c0m", "[email] [email]"),
            ("jane＠example.com jane\u{200b}@\u{200b}example.com", "[email] [email]"),
            ("write to jane @ example.com, ok", "write to [email], ok"),
            ("https://x.example/u?mail=jane@example.com&a=b", "https://x.example/u?mail=[email]&a=b"),
            ("my card is 4242 4242 4242 4242 okay", "my card is [card] okay"),
            ("4242-4242-4242-4242", "[card]"),
            ("378282246310005, an Amex", "[card], an Amex"),
            ("4242 4242 4242 4242 12/27", "[card] 12/27"),
            ("call 12 4242 4242 4242 4242", "call 12 [card]"),
            ("ref 1 4242 4242 4242 4242", "ref 1 [card]"),
            ("4242\u{a0}4242\u{202f}4242  4242", "[card]"),
            ("4242/4242/4242/4242 4242–4242–4242–4242", "[card] [card]"),
            ("4242,4242,4242,4242", "[card]"),
            ("4242\n4242\r\n4242\n4242", "[card]"),
            ("4 2 4 2 4 2 4 2 4 2 4 2 4 2 4 2", "[card]"),
            ("3782 822463 10005 and 3056 930902 5904", "[card] and [card]"),
            ("IBAN DE89 3704 0044 0532 0130 00 is ours", "IBAN [iban] is ours"),
            ("id is 42 and IBAN DE89 3704 0044 0532 0130 00", "id is 42 and IBAN [iban]"),
            ("pay by 12 DE89370400440532013000 now", "pay by 12 [iban] now"),
            ("FR7630006000011234567890189 FR7630006000011234567890189", "[iban] [iban]"),
            ("DE89\u{a0}3704\u{202f}0044  0532/0130–00", "[iban]"),
            ("DE89.3704.0044.0532.0130.00", "[iban]"),
            ("DE89\n3704\n0044\n0532\n0130\n00", "[iban]"),
            ("IBANDE89370400440532013000 iban_DE89370400440532013000", "IBAN[iban] iban_[iban]"),
            ("de89370400440532013000", "[iban]"),
            ("to GB82WEST12345698765432 then", "to [iban] then"),
            ("FR14 2004 1010 0505 0001 3M02 606 and call", "[iban] and call"),
            ("call +33 6 12 34 56 78 back", "call +3361•••5678 back"),
            ("both +33612345678 and a@b.example", "both +3361•••5678 and [email]"),
            ("0 6 1 2 3 4 5 6 7 8.", "•••."),
            ("6.1.2.3.4.5.6.7.8", "•••"),
            ("06, 12, 34, 56, 78", "•••"),
            ("06_12_34_56_78 06:12:34:56:78 06·12·34·56·78 06*12*34*56*78", "••• ••• ••• •••"),
            ("06\t12\t34\t56\t78", "•••"),
            ("06\n12\n34\n56\n78", "•••"),
            ("+33\n6 12,34,56 78", "+3361•••5678"),
            ("06 12 34 56 78, 06.12.34.56.78", "•••, •••"),
            ("42 42 42 42 42 42 42 42", "[card]"),
            ("06 12 34 56 78 06 98 76 54 32", "•••"),
            ("06 12 24 56 78 and 06.12.24.56.78", "••• and •••"),
            ("9:30 06 12 34 56 78", "9:30 •••"),
            ("27 11 2026 06 12 34 56 78", "27 11 2026 •••"),
            ("(030) 1234-5678 or (212) 555-0199", "03012•••5678 or •••"),
            ("tel:0612345678 tel0612345678", "tel:••• tel•••"),
            ("33 6 12 34 56 78 or 612 34 56 78", "33612•••5678 or •••"),
            ("https://wa.me/33612345678", "https://wa.me/33612•••5678"),
            ("٠٦١٢٣٤٥٦٧٨", "•••"),
        ] {
            assert_eq!(all(text), clean, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        for text in [
            "",
            "at 14:30 on 2025-12-15, room 4242",
            "@jane and jane@, npm pkg@1.0.0-rc1",
            "27/11/26 09:30",
            "27 11 2026",
            "27.11.2026 14.30 and 11/27/2026",
            "20261127 and 20261127093000",
            "15 12 2025 14 30",
            "27 11 26 09 30",
            "2026-11-27T09:30:00.000Z",
            "2026-11-27 09:30:00",
            "10 20 30 40 50",
            "1, 2, 3, 4, 5, 6, 7, 8, 9, 10",
            "rooms 101 102 103",
            "rooms 12, 14, 160, 1800",
            "opening 09 00 12 00 14 00 18 00",
            "9:30 10:45 11:15 12:30",
            "12.345.678,00 €",
            "We paid 1,234,567.89 for it",
            "100000000 euros or $123456789 or 12 345 678 €",
            "https://x.example/12345678901/a?b=4917612345678",
            "6789abcdef0123456789abcd",
            "123e4567-e89b-12d3-a456-426614174000",
            "v1.22.333.4444 from 192.168.100.200",
            "SIRET 732 829 320 00074 or 73282932000074",
            "362 521 879 00035",
            "since 1764235800",
        ] {
            assert_eq!(all(text), text);
        }
        for text in [
            "the order 4242 4242 4242 4243",
            "number 0000 0000 0000 0000 0000",
            "DE88 3704 0044 0532 0130 0",
            "+33612345678",
        ] {
            assert_eq!(redacted(text, [Redact::Email, Redact::Card, Redact::Iban]), text);
        }
        assert_eq!(redacted("a@b.example +33612345678", []), "a@b.example +33612345678");
        assert_eq!(redacted("4242 4242 4242 4242", [Redact::Email]), "4242 4242 4242 4242");
        // The digits of a card are as many as a number's, whose ends would be shown.
        assert_eq!(redacted("4242 4242 4242 4242", [Redact::Phone]), "[card]");
    }

    #[test]
    fn a_long_text_takes_no_long_time() {
        let parts =
            ["a.", "1 ", "aa11", "@a", "12.12.2012 ", "1-", "06,", "+1,", "DE89 ", "4242 ", "\"@a", "a 1."];
        let text = parts.map(|part| part.repeat(5_000)).concat();
        let begun = std::time::Instant::now();
        all(&text);
        assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_looked_through(text in "(?s)[ -~]{0,40}.{0,40}|[0-9+@.,:/ ()\u{a0}\u{200b}é-]{0,80}") {
            let clean = all(&text);
            if !text.contains(|c: char| c.is_numeric() || matches!(c, '@' | '＠' | '﹫')) {
                proptest::prop_assert_eq!(&clean, &text);
            }
        }
    }
}
