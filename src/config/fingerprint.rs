//! Fingerprints tell an edited table from an unchanged one, over restarts and versions.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;
use toml::de::{DeTable, DeValue};

/// 96 bits of SHA-256 over what was written.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Over the keys and values of a table. The order and the way in which they are written do not count.
    pub(super) fn of(table: &DeTable<'_>) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        add_table(&mut hash, table);
        Self::finish(hash)
    }

    /// Over a text as it is.
    pub fn of_text(text: &str) -> Self {
        Self::of_parts([text.as_bytes()])
    }

    /// Over several contents, in their order.
    pub(crate) fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self::finish(hash)
    }

    fn finish(hash: digest::Context) -> Self {
        Self(URL_SAFE_NO_PAD.encode(&hash.finish().as_ref()[..12]))
    }

    /// The fingerprint as text, to be kept in the store.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Fingerprint {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Shows nothing, because it is computed over secrets as well.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

fn add_table(hash: &mut digest::Context, table: &DeTable<'_>) {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.get_ref().as_ref());
    add(hash, b'{', &entries.len().to_string());
    for (key, value) in entries {
        add(hash, b'k', key.get_ref());
        add_value(hash, value.get_ref());
    }
}

fn add_value(hash: &mut digest::Context, value: &DeValue<'_>) {
    match value {
        DeValue::String(text) => add(hash, b's', text),
        DeValue::Integer(number) => add(hash, b'i', &number.to_string()),
        DeValue::Float(number) => add(hash, b'f', &number.to_string()),
        DeValue::Boolean(boolean) => add(hash, b'b', &boolean.to_string()),
        DeValue::Datetime(time) => add(hash, b't', &time.to_string()),
        DeValue::Array(elements) => {
            add(hash, b'[', &elements.len().to_string());
            elements.iter().for_each(|element| add_value(hash, element.get_ref()));
        }
        DeValue::Table(table) => add_table(hash, table),
    }
}

/// Adds a part with its kind and its length, so that no two tables become the same bytes.
fn add(hash: &mut digest::Context, kind: u8, part: &str) {
    hash.update(&[kind]);
    hash.update(&(part.len() as u64).to_le_bytes());
    hash.update(part.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Fingerprint {
        Fingerprint::of(DeTable::parse(text).unwrap().get_ref())
    }

    #[test]
    fn what_is_said_counts_and_not_how() {
        let one = of("url = \"https://a/\"\nheaders = { x = \"1\", y = \"2\" }\nretry = [\"5s\"]");
        assert_eq!(one, of("retry=['5s'] # soon\nurl = 'https://a/'\n[headers]\ny = \"2\"\nx = \"1\""));
        for other in [
            "url = \"https://b/\"\nheaders = { x = \"1\", y = \"2\" }\nretry = [\"5s\"]",
            "url = \"https://a/\"\nheaders = { x = \"2\", y = \"1\" }\nretry = [\"5s\"]",
            "url = \"https://a/\"\nheaders = { x = \"1\", y = \"2\" }\nretry = [[\"5s\"]]",
            "url = \"https://a/\"\nheaders = { x = \"1\", y = \"2\" }\nretry = [\"5s\"]\nrate = 1",
            "url = \"https://a/\"\nretry = [\"5s\"]",
        ] {
            assert_ne!(one, of(other), "{other}");
        }
    }

    #[test]
    fn it_is_the_same_in_every_version() {
        assert_eq!(of("url = \"https://a/\"").as_str(), "cX8HP_2hi99LEc3J");
    }
}
