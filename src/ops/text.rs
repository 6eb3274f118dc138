//! How values are serialised for programs: times in RFC 3339, durations as people write them.

use std::fmt::Display;

use serde::Serializer;

/// Writes a value as it is printed.
pub(super) fn shown<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Writes a value as it is printed, or null.
pub(super) fn shown_if_any<T: Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// An optional duration as people write it: `1h 30m`.
pub(super) mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        super::shown_if_any(&value.map(humantime::format_duration), serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| humantime::parse_duration(&text).map_err(D::Error::custom)).transpose()
    }
}

/// An optional kind of change, by its word.
pub(super) mod kind {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::kind::Kind;

    pub fn serialize<S: Serializer>(value: &Option<Kind>, serializer: S) -> Result<S::Ok, S::Error> {
        super::shown_if_any(value, serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Kind>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let parse = |text: String| {
            Kind::parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is no kind of change")))
        };
        text.map(parse).transpose()
    }
}
