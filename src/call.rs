//! A call as the API gives it: every field is kept, and a few of them are understood.

use std::{
    borrow::Borrow,
    fmt::{self, Write as _},
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use crate::{content::ContentHash, json, lens::Lens, time::Timestamp};

/// The API's id of a call. Opaque: it looks like 24 hexadecimal digits, but nothing may depend on that.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(Arc<str>);

impl CallId {
    /// The longest id, in bytes: ids are kept in memory and in keys of the store.
    pub const LONGEST: usize = 256;

    /// An id of the API, if it is one that can be worked with.
    ///
    /// # Errors
    /// [`BadRecord`] says what is wrong with it.
    pub fn checked(id: &str) -> Result<Self, BadRecord> {
        match id {
            "" => Err(BadRecord::NoId),
            id if id.len() > Self::LONGEST => Err(BadRecord::LongId),
            id if id.contains(char::is_control) => Err(BadRecord::ControlId),
            id => Ok(Self::from(id)),
        }
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Arc<str>>> From<T> for CallId {
    fn from(id: T) -> Self {
        Self(id.into())
    }
}

impl Borrow<str> for CallId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Escapes control characters: an id may hold any character, and a log has one entry per line.
impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
        }
        Ok(())
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The fields of a call that the API documents. All others are carried through unchanged.
pub const DOCUMENTED_FIELDS: [&str; 13] = [
    "id",
    "status",
    "duration",
    "summary",
    "evaluation",
    "endedReason",
    "callerNumber",
    "calledNumber",
    "isEngaged",
    "callAnalysis",
    "transcript",
    "createdAt",
    "updatedAt",
];

/// Where a call is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Somebody is on the phone.
    Live,
    /// The call is over.
    Completed,
    /// Any other status. It is carried through. The source's [`Lens`] decides whether such a call is over.
    Other(String),
}

impl Status {
    /// The word for the status; of `live` and `completed` in lower case, however the API writes them.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Live => "live",
            Self::Completed => "completed",
            Self::Other(text) => text,
        }
    }
}

impl From<&str> for Status {
    fn from(text: &str) -> Self {
        let word = text.trim();
        if word.eq_ignore_ascii_case("live") {
            Self::Live
        } else if word.eq_ignore_ascii_case("completed") {
            Self::Completed
        } else {
            Self::Other(text.to_owned())
        }
    }
}

/// 128 bits of xxh3 over a record's bytes exactly as they came. A record whose hash is known need not be parsed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordHash([u64; 2]);

impl RecordHash {
    /// Hashes the raw JSON of one record.
    pub fn of(raw: &[u8]) -> Self {
        Self::from_u128(xxhash_rust::xxh3::xxh3_128(raw))
    }

    /// The hash of these 128 bits.
    pub const fn from_u128(bits: u128) -> Self {
        Self([(bits >> 64) as u64, bits as u64])
    }

    /// The hash as a number.
    pub const fn as_u128(self) -> u128 {
        (self.0[0] as u128) << 64 | self.0[1] as u128
    }
}

impl fmt::Debug for RecordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.as_u128())
    }
}

/// Why a record is not a call. Never quotes the record, which may hold a conversation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// It is not a JSON object.
    #[error("the record is not a JSON object")]
    NotAnObject,
    /// Its id is missing, empty or not a text.
    #[error("the record has no `id`")]
    NoId,
    /// Its id is longer than [`CallId::LONGEST`].
    #[error("its `id` is longer than {} bytes", CallId::LONGEST)]
    LongId,
    /// Its id has control characters, which no id needs and which addresses and logs cannot have.
    #[error("its `id` has control characters")]
    ControlId,
    /// Its status is missing or not a text.
    #[error("call {0} has no `status`")]
    NoStatus(CallId),
}

impl BadRecord {
    /// The reason in a word, to count records of the same kind together.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotAnObject => "not an object",
            Self::NoId => "no id",
            Self::LongId => "long id",
            Self::ControlId => "control characters",
            Self::NoStatus(_) => "no status",
        }
    }
}

/// The fields of a record that tell one call and one state from another, read without building the others.
#[derive(Clone, Debug)]
pub struct Brief {
    /// The API's id.
    pub id: CallId,
    /// The status.
    pub status: Status,
    /// `updatedAt`, when it is there and a time.
    pub updated_at: Option<Timestamp>,
}

impl Brief {
    /// The longest text of a time.
    const LONGEST_TIME: usize = 64;

    /// Reads the JSON text of a record. What is a call here is one for [`Call::parse`], too.
    ///
    /// # Errors
    /// [`BadRecord`] says what is missing.
    pub fn read(record: &str) -> Result<Self, BadRecord> {
        let [id, status, updated] =
            json::pick(record, ["id", "status", "updatedAt"]).ok_or(BadRecord::NotAnObject)?;
        let text = |raw: Option<&str>| raw.and_then(|raw| serde_json::from_str::<String>(raw).ok());
        let id = CallId::checked(&text(id).unwrap_or_default())?;
        let Some(status) = text(status) else { return Err(BadRecord::NoStatus(id)) };
        let updated = updated.filter(|raw| raw.len() <= Self::LONGEST_TIME);
        let updated_at = updated.and_then(|raw| Timestamp::of_json(&serde_json::from_str(raw).ok()?));
        Ok(Self { id, status: Status::from(status.as_str()), updated_at })
    }
}

/// One parsed record of the API, together with its bytes as they came.
#[derive(Clone)]
pub struct Call {
    id: CallId,
    status: Status,
    raw: Arc<RawValue>,
    record: RecordHash,
    fields: Map<String, Value>,
    lens: Arc<Lens>,
    content: OnceLock<ContentHash>,
}

impl Call {
    /// Parses one record. Only an id and a status are required; everything else may be missing, null or unknown.
    ///
    /// # Errors
    /// [`BadRecord`] says what is missing.
    pub fn parse(raw: &RawValue) -> Result<Self, BadRecord> {
        Self::parse_hashed(raw, RecordHash::of(raw.get().as_bytes()))
    }

    /// Parses one record whose bytes have been hashed already.
    ///
    /// # Errors
    /// As [`Call::parse`].
    pub fn parse_hashed(raw: &RawValue, record: RecordHash) -> Result<Self, BadRecord> {
        // Copied before the fields are built, so that there are never three copies of a long record.
        let record_text = Arc::<RawValue>::from(raw.to_owned());
        let fields = json::fields(raw.get()).ok_or(BadRecord::NotAnObject)?;
        let id = match fields.get("id") {
            Some(Value::String(id)) => CallId::checked(id)?,
            _ => return Err(BadRecord::NoId),
        };
        let status = match fields.get("status") {
            Some(Value::String(status)) => Status::from(status.as_str()),
            _ => return Err(BadRecord::NoStatus(id)),
        };
        let lens = Arc::clone(Lens::standard());
        Ok(Self { id, status, raw: record_text, record, fields, lens, content: OnceLock::new() })
    }

    /// The call as the source with this lens looks at it.
    pub fn through(self, lens: &Arc<Lens>) -> Self {
        Self { lens: Arc::clone(lens), content: OnceLock::new(), ..self }
    }

    /// How the call is looked at.
    pub fn lens(&self) -> &Lens {
        &self.lens
    }

    /// Whether the call is over.
    pub fn is_over(&self) -> bool {
        self.lens.is_over(self.status.as_str())
    }

    /// The API's id.
    pub fn id(&self) -> &CallId {
        &self.id
    }

    /// The status.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The record's bytes as the API gave them.
    pub fn raw(&self) -> &Arc<RawValue> {
        &self.raw
    }

    /// Every field, in the API's order.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// `createdAt`, when it is there and a time.
    pub fn created_at(&self) -> Option<Timestamp> {
        time_field(&self.fields, "createdAt")
    }

    /// `updatedAt`, when it is there and a time.
    pub fn updated_at(&self) -> Option<Timestamp> {
        time_field(&self.fields, "updatedAt")
    }

    /// The hash of the record's bytes.
    pub fn record_hash(&self) -> RecordHash {
        self.record
    }

    /// The hash of every field that counts, transcript included; computed once.
    pub fn content(&self) -> ContentHash {
        *self.content.get_or_init(|| ContentHash::of_fields(self.lens.counted_fields(&self.fields)))
    }
}

/// Shows only the id and the status: calls hold conversations and phone numbers.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("id", &self.id).field("status", &self.status).finish_non_exhaustive()
    }
}

/// When a call became what it is: its `updatedAt`, else its `createdAt`.
pub(crate) fn happened(fields: &Map<String, Value>) -> Option<Timestamp> {
    time_field(fields, "updatedAt").or_else(|| time_field(fields, "createdAt"))
}

/// A field that holds a time: a text (see [`Timestamp::parse_any`]), or a number of seconds or milliseconds since the Unix
/// epoch.
pub(crate) fn time_field(fields: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    Timestamp::of_json(fields.get(name)?)
}

/// Whether a field is there and is not the time it should be.
pub(crate) fn is_unreadable_time(fields: &Map<String, Value>, name: &str) -> bool {
    fields.get(name).is_some_and(|value| !value.is_null()) && time_field(fields, name).is_none()
}
