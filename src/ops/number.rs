//! A phone number as a person types it. Pure.

/// The most digits of a number (E.164), and two zeros in place of the `+`.
const MOST_DIGITS: usize = 15 + 2;

/// A number as a person types it.
pub(super) struct Number {
    digits: String,
    /// Whether it has its country's code; without it, numbers that end so are meant.
    is_whole: bool,
}

impl Number {
    /// `None` when the text is no phone number, or has fewer digits than `fewest`.
    pub(super) fn typed(typed: &str, fewest: usize) -> Option<Self> {
        // The zero in `+33 (0)6 12…` is only dialled within the country.
        let text = typed.trim().replace("(0)", "");
        let belongs = |c: char| c.is_ascii_digit() || c.is_whitespace() || "+-–./()".contains(c);
        let digits = digits_of(&text);
        if !text.chars().all(belongs) || !(fewest..=MOST_DIGITS).contains(&digits.len()) {
            return None;
        }
        Some(match digits.strip_prefix("00") {
            Some(digits) => Self { digits: digits.to_owned(), is_whole: true },
            None if text.starts_with('+') => Self { digits, is_whole: true },
            None => Self { digits: digits.trim_start_matches('0').to_owned(), is_whole: false },
        })
    }

    /// Whether `number` is this one, however it is written.
    pub(super) fn is(&self, number: &str) -> bool {
        let digits = digits_of(number);
        let digits = digits.trim_start_matches('0');
        if self.is_whole { digits == self.digits } else { digits.ends_with(&self.digits) }
    }

    /// Whether it says of which country it is, so that it is one number and no other.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Whether `number` has this one's digits in it, however it is written.
    pub(super) fn is_part_of(&self, number: &str) -> bool {
        digits_of(number).contains(&self.digits)
    }
}

pub(super) fn digits_of(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_however_it_is_typed() {
        for typed in [
            "+33612345678",
            "+33 6 12 34 56 78",
            "0033 6.12.34.56.78",
            "+33 (0)6 12-34-56-78",
            "06 12 34 56 78",
            "345678",
        ] {
            assert!(Number::typed(typed, 6).is_some_and(|number| number.is("+33612345678")), "{typed}");
        }
        for typed in ["+33 6 12 34 56 79", "+6 12 34 56 78", "612345"] {
            assert!(Number::typed(typed, 6).is_some_and(|number| !number.is("+33612345678")), "{typed}");
        }
        for id in ["6789abcdef0123456789abcd", "678901234567890123456789", "12345", "call-123456", ""] {
            assert!(Number::typed(id, 6).is_none(), "{id}");
        }
    }
}
