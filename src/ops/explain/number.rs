//! The calls of a phone number, as a person types it.

use serde::{Deserialize, Serialize};

use super::super::{Ops, OpsError, text};
use crate::{call::CallId, name::Name, privacy::mask_phone, time::Timestamp};

/// How many calls are looked at together.
const CHUNK: usize = 500;

/// The most other calls that are named.
const MOST: usize = 10;

/// The fewest digits that are taken for a number; fewer would be anybody's.
const FEWEST_DIGITS: usize = 6;

/// The most digits of a number (E.164), and two zeros in place of the `+`.
const MOST_DIGITS: usize = 15 + 2;

/// A call was asked for by its caller's number, and it is the newest one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OfNumber {
    /// The number, masked.
    pub number: String,
    /// How many other calls of it are known.
    pub others: usize,
    /// The newest of them, newest first, a few at most.
    pub newest: Vec<OtherCall>,
}

/// Another call of the same number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OtherCall {
    /// The call.
    pub call: CallId,
    /// The source of the call.
    pub source: Name,
    /// When it was, or when it was first seen.
    #[serde(with = "text::time")]
    pub at: Timestamp,
}

/// A number as a person types it.
pub(super) struct Number {
    digits: String,
    /// Whether it has its country's code; without it, numbers that end so are meant.
    is_whole: bool,
}

impl Number {
    /// `None` when the text is no phone number.
    pub(super) fn typed(typed: &str) -> Option<Self> {
        // The zero in `+33 (0)6 12…` is only dialled within the country.
        let text = typed.trim().replace("(0)", "");
        let belongs = |c: char| c.is_ascii_digit() || c.is_whitespace() || "+-–./()".contains(c);
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        if !text.chars().all(belongs) || !(FEWEST_DIGITS..=MOST_DIGITS).contains(&digits.len()) {
            return None;
        }
        Some(match digits.strip_prefix("00") {
            Some(digits) => Self { digits: digits.to_owned(), is_whole: true },
            None if text.starts_with('+') => Self { digits, is_whole: true },
            None => Self { digits: digits.trim_start_matches('0').to_owned(), is_whole: false },
        })
    }

    /// Whether `number` is this one, however it is written.
    fn is(&self, number: &str) -> bool {
        let digits: String = number.chars().filter(char::is_ascii_digit).collect();
        let digits = digits.trim_start_matches('0');
        if self.is_whole { digits == self.digits } else { digits.ends_with(&self.digits) }
    }
}

impl Ops {
    /// The newest call of a number, its source, and the others; `None` when no call of it is known. Reads every call that
    /// is known, a few at a time.
    pub(super) async fn calls_of(
        &self,
        number: &Number,
        sources: &[Name],
    ) -> Result<Option<(CallId, Name, OfNumber)>, OpsError> {
        let mut found: Vec<(OtherCall, String)> = vec![];
        for source in sources {
            let mut after = None;
            loop {
                let known = self.store.known(source, after.as_ref(), CHUNK).await?;
                let Some(last) = known.last() else { break };
                after = Some(last.id.clone());
                let ids: Vec<_> = known.iter().map(|call| call.id.clone()).collect();
                let snapshots = self.store.snapshots(source, &ids).await?;
                for (call, snapshot) in known.into_iter().zip(snapshots) {
                    let Some(snapshot) = snapshot else { continue };
                    let caller = snapshot.fields.get("callerNumber").and_then(|caller| caller.as_str());
                    let Some(caller) = caller.filter(|caller| number.is(caller)) else { continue };
                    let at = call.created_at.unwrap_or(snapshot.first_seen);
                    let of_number = OtherCall { call: call.id, source: source.clone(), at };
                    found.push((of_number, mask_phone(caller)));
                }
            }
        }
        found.sort_by_key(|(call, _)| std::cmp::Reverse(call.at));
        let mut calls = found.into_iter();
        let Some((OtherCall { call, source, .. }, masked)) = calls.next() else { return Ok(None) };
        let others = calls.len();
        let newest = calls.take(MOST).map(|(call, _)| call).collect();
        Ok(Some((call, source, OfNumber { number: masked, others, newest })))
    }
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
            assert!(Number::typed(typed).is_some_and(|number| number.is("+33612345678")), "{typed}");
        }
        for typed in ["+33 6 12 34 56 79", "+6 12 34 56 78", "612345"] {
            assert!(Number::typed(typed).is_some_and(|number| !number.is("+33612345678")), "{typed}");
        }
        for id in ["6789abcdef0123456789abcd", "678901234567890123456789", "12345", "call-123456", ""] {
            assert!(Number::typed(id).is_none(), "{id}");
        }
    }
}
