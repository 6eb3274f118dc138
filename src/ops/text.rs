//! How values are written for programs, and read back: times in RFC 3339, durations as people write them.

use std::fmt::Display;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Writes a value as it is printed, or null.
fn shown_if_any<T: Display, S: Serializer>(value: Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(&value),
        None => serializer.serialize_none(),
    }
}

/// Reads a text by `read`, or null.
fn read_if_any<'de, T, E: Display, D: Deserializer<'de>>(
    deserializer: D,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| read(&text).map_err(D::Error::custom)).transpose()
}

fn parse_time(text: &str) -> Result<crate::time::Timestamp, String> {
    crate::time::Timestamp::parse(text).ok_or_else(|| format!("{text:?} is no time"))
}

/// A time.
pub(super) mod time {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::time::Timestamp;

    pub fn serialize<S: Serializer>(value: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        super::parse_time(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// An optional time.
pub(super) mod time_if_any {
    use serde::{Deserializer, Serializer};

    use crate::time::Timestamp;

    pub fn serialize<S: Serializer>(value: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        super::shown_if_any(*value, serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        super::read_if_any(deserializer, super::parse_time)
    }
}

/// An optional value that has a text of its own.
pub(super) mod text_if_any {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserializer, Serializer};

    pub fn serialize<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        super::shown_if_any(value.as_ref(), serializer)
    }

    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        super::read_if_any(deserializer, str::parse)
    }
}

/// An optional duration as people write it: `1h 30m`.
pub(super) mod duration {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        super::shown_if_any(value.map(humantime::format_duration), serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        super::read_if_any(deserializer, |text| {
            humantime::parse_duration(text)
                .map_err(|_| format!("{text:?} is no time like 90s, 5m, 12h or 7d"))
        })
    }
}

/// An optional kind of change, by its word.
pub(super) mod kind {
    use serde::{Deserializer, Serializer};

    use crate::kind::Kind;

    pub fn serialize<S: Serializer>(value: &Option<Kind>, serializer: S) -> Result<S::Ok, S::Error> {
        super::shown_if_any(*value, serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Kind>, D::Error> {
        super::read_if_any(deserializer, |text| {
            Kind::parse(text).ok_or_else(|| format!("`{text}` is no kind of change"))
        })
    }
}

/// The state of a delivery, by its word.
pub(super) mod state {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::store::DeliveryStateKind;

    const ALL: [DeliveryStateKind; 5] = [
        DeliveryStateKind::Pending,
        DeliveryStateKind::Held,
        DeliveryStateKind::Delivered,
        DeliveryStateKind::Merged,
        DeliveryStateKind::Dead,
    ];

    pub fn serialize<S: Serializer>(value: &DeliveryStateKind, serializer: S) -> Result<S::Ok, S::Error> {
        value.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DeliveryStateKind, D::Error> {
        let word = String::deserialize(deserializer)?;
        let found = ALL.into_iter().find(|state| state.as_str() == word);
        found.ok_or_else(|| D::Error::custom(format!("`{word}` is no state of a delivery")))
    }
}
