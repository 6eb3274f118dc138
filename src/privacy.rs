//! Masks phone numbers in logs and on screens.

/// A phone number with its middle hidden: `+33612345678` becomes `+3361•••5678`.
///
/// Keeps the first five and the last four characters of a number of at least eleven, and nothing of a shorter one.
pub fn mask_phone(number: &str) -> String {
    let chars: Vec<char> = number.chars().filter(|c| !c.is_control()).collect();
    if chars.len() < 11 {
        return "•••".to_owned();
    }
    let head: String = chars[..5].iter().collect();
    let tail: String = chars[chars.len() - 4..].iter().collect();
    format!("{head}•••{tail}")
}

/// A text in which everything that may be a phone number is masked by [`mask_phone`]. That is eight digits or more in a
/// row; after a `+`, spaces and punctuation may stand between them.
pub fn mask_phones_in(text: &str) -> String {
    const SHORTEST: usize = 8;
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c == '+' || c.is_ascii_digit()) {
        masked.push_str(&rest[..at]);
        rest = &rest[at..];
        let is_international = rest.starts_with('+');
        let is_between = |c: char| is_international && matches!(c, '+' | ' ' | '-' | '.' | '(' | ')' | '/');
        let end = rest.find(|c: char| !c.is_ascii_digit() && !is_between(c)).unwrap_or(rest.len());
        let run = rest[..end].trim_end_matches(|c: char| c != '+' && !c.is_ascii_digit());
        let is_phone = run.bytes().filter(u8::is_ascii_digit).count() >= SHORTEST;
        masked.push_str(&if is_phone { mask_phone(run) } else { run.to_owned() });
        rest = &rest[run.len()..];
    }
    masked.push_str(rest);
    masked
}

#[cfg(test)]
mod tests {
    use super::{mask_phone, mask_phones_in};

    #[test]
    fn numbers_are_masked_wherever_they_stand() {
        for (text, masked) in [
            ("no +33612345678!", "no +3361•••5678!"),
            (
                r#"{"callerNumber":"33612345678","duration":145}"#,
                r#"{"callerNumber":"33612•••5678","duration":145}"#,
            ),
            ("call +33 6 12 34 56 78 back", "call +33 6•••6 78 back"),
            ("12345678 and 1234567", "••• and 1234567"),
            ("on 2026-11-23 at 14:30, 550 5.1.1", "on 2026-11-23 at 14:30, 550 5.1.1"),
            ("a + b, 1 + 2 é", "a + b, 1 + 2 é"),
            ("+", "+"),
            ("", ""),
        ] {
            assert_eq!(mask_phones_in(text), masked);
        }
    }

    #[test]
    fn the_middle_of_a_number_is_hidden() {
        assert_eq!(mask_phone("+33612345678"), "+3361•••5678");
        assert_eq!(mask_phone("112"), "•••");
        assert_eq!(mask_phone(""), "•••");
    }
}
