//! Keyed hashes in place of values: whoever has several records of one caller can join them, and nobody without the key
//! can tell who it is, not even by trying all numbers there are.

use std::{fmt, sync::Arc};

use ring::hmac;

/// The key of the hashes that a receiver is shown.
#[derive(Clone)]
pub struct HashKey(Arc<hmac::Key>);

impl HashKey {
    /// The key made of the bytes of a secret.
    pub fn new(secret: &str) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())))
    }

    /// 64 hexadecimal digits: HMAC-SHA256 over the bytes of the text. The same text always has the same.
    pub fn hash(&self, text: &str) -> String {
        hex(hmac::sign(&self.0, text.as_bytes()).as_ref())
    }
}

/// Two small hexadecimal digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keys are the same when their hashes are.
impl PartialEq for HashKey {
    fn eq(&self, other: &Self) -> bool {
        hmac::sign(&self.0, b"").as_ref() == hmac::sign(&other.0, b"").as_ref()
    }
}

impl Eq for HashKey {}

/// Shows nothing of the key.
impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey")
    }
}

/// Whether a text is written as phone numbers are: nothing but digits and what may stand between them.
pub fn is_phone_number(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '.' | '(' | ')' | '/'))
}

/// The form of a text in which it is compared with others: a phone number without what stands between its digits, with `+`
/// in place of `00` at its beginning and without a `(0)` that is not dialled; any other text without spaces around it.
pub fn plain(text: &str) -> String {
    /// Fewer digits may be a decimal or a version.
    const SHORTEST: usize = 7;
    let text = text.trim();
    let is_long = text.bytes().filter(u8::is_ascii_digit).count() >= SHORTEST;
    if !is_long
        || !is_phone_number(text)
        || !text.starts_with(['+', '(']) && !text.starts_with(|c: char| c.is_ascii_digit())
    {
        return text.to_owned();
    }
    let is_abroad = text.starts_with('+') || text.starts_with("00");
    let dialled = if is_abroad { text.replacen("(0)", "", 1) } else { text.to_owned() };
    let digits: String = dialled.chars().filter(char::is_ascii_digit).collect();
    match digits.strip_prefix("00") {
        _ if text.starts_with('+') => format!("+{digits}"),
        Some(abroad) => format!("+{abroad}"),
        None => digits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_has_one_hash_however_it_is_written() {
        let key = HashKey::new("correct horse battery staple");
        // printf +33612345678 | openssl dgst -sha256 -hmac 'correct horse battery staple'
        let hash = "0a0c5ce9ab516d2fc4345cbbfb635e6b878783a625f294f740b12b64e56ed217";
        for number in [
            "+33612345678",
            "+33 6 12 34 56 78",
            "0033 6 12 34 56 78",
            "+33 (0)6.12.34.56.78",
            " +33/612-345678",
            "+33(612)345678",
        ] {
            assert_eq!(key.hash(&plain(number)), hash, "{number}");
        }
        for other in ["+33612345679", "33612345678", "0612345678", "", "+", "anna", "Anna"] {
            assert_ne!(key.hash(&plain(other)), hash, "{other}");
        }
        assert_ne!(key.hash("anna"), key.hash("Anna"));
        assert_ne!(HashKey::new("another key of some length").hash("+33612345678"), hash);
        assert!(key == HashKey::new("correct horse battery staple") && key != HashKey::new("another"));
        assert_eq!(format!("{key:?}"), "HashKey");
    }

    #[test]
    fn what_is_no_number_stays_as_it_is() {
        for (text, form) in [
            (" Anna ", "Anna"),
            ("007", "007"),
            ("1.5", "1.5"),
            ("-12345678", "-12345678"),
            ("2026-11-23T", "2026-11-23T"),
            ("a 1", "a 1"),
            ("+", "+"),
            ("-", "-"),
        ] {
            assert_eq!(plain(text), form, "{text}");
        }
    }
}
