//! Rows and what they mean.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio_postgres::Row;

use super::line::Trouble;
use crate::{
    call::{CallId, RecordHash, Status},
    name::Name,
    store::{DeliveryRecord, DeliveryState, DeliveryStateKind, Duty, KnownCall, StoreError, Token},
    time::Timestamp,
};

/// The key of a duty.
pub(super) fn duty_key(duty: &Duty) -> String {
    match duty {
        Duty::Source(name) => format!("source/{name}"),
        Duty::Destination(name) => format!("destination/{name}"),
        Duty::Upkeep => "upkeep".to_owned(),
    }
}

/// The duty with this key.
pub(super) fn duty(key: &str) -> Option<Duty> {
    match key.split_once('/') {
        Some(("source", name)) => Some(Duty::Source(name.into())),
        Some(("destination", name)) => Some(Duty::Destination(name.into())),
        None if key == "upkeep" => Some(Duty::Upkeep),
        _ => None,
    }
}

/// The number of a state.
pub(super) const fn state_number(kind: DeliveryStateKind) -> i16 {
    match kind {
        DeliveryStateKind::Pending => 0,
        DeliveryStateKind::Held => 1,
        DeliveryStateKind::Delivered => 2,
        DeliveryStateKind::Merged => 3,
        DeliveryStateKind::Dead => 4,
    }
}

/// Whether a delivery in this state stands in the table of those that did not arrive.
pub(super) const fn is_open(kind: DeliveryStateKind) -> bool {
    matches!(kind, DeliveryStateKind::Pending | DeliveryStateKind::Held | DeliveryStateKind::Dead)
}

/// By how many a destination's count of deliveries changes in each state, by the number of the state.
pub(super) type Shift = [i64; 5];

/// A value of the table that cannot be what callwatch wrote.
fn damaged(why: &str) -> Trouble {
    Trouble::Final(StoreError::Damaged {
        path: "in the database".to_owned(),
        why: why.to_owned(),
        advice: "restore the database from a backup of it, or drop its schema callwatch and start again: every call is \
                 then remembered afresh without being announced"
            .to_owned(),
    })
}

/// Reads a column.
pub(super) fn column<'r, T: tokio_postgres::types::FromSql<'r>>(
    row: &'r Row,
    at: usize,
) -> Result<T, Trouble> {
    row.try_get(at).map_err(|error| damaged(&error.to_string()))
}

/// Writes JSON.
pub(super) fn to_json(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|_| StoreError::Mistake("a value cannot be written as JSON"))
}

/// Reads JSON that this store wrote.
pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Trouble> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    // A record of the API is read within serde_json's limit of nesting; what is stored wraps it in a few more levels.
    json.disable_recursion_limit();
    T::deserialize(&mut json).map_err(|_| damaged("a value is not the JSON it should be"))
}

/// A record from its columns `token` and `record`, at `at` and behind it.
pub(super) fn record(row: &Row, at: usize) -> Result<DeliveryRecord, Trouble> {
    let token: i64 = column(row, at)?;
    let mut record: DeliveryRecord = from_json(column(row, at + 1)?)?;
    record.token = Token(token.cast_unsigned());
    Ok(record)
}

pub(super) fn token_of(token: Token) -> i64 {
    token.0.cast_signed()
}

pub(super) fn tokens_of(tokens: impl IntoIterator<Item = Token>) -> Vec<i64> {
    tokens.into_iter().map(token_of).collect()
}

/// When a delivery was finished, as its column says it.
pub(super) fn finished(state: &DeliveryState) -> Option<i64> {
    match state {
        DeliveryState::Pending { .. } | DeliveryState::Held { .. } => None,
        DeliveryState::Delivered { at }
        | DeliveryState::Merged { at, .. }
        | DeliveryState::Dead { at, .. } => Some(at.as_millis()),
    }
}

/// The fields of a snapshot that every start reads for every call, in compact form.
#[derive(Serialize, Deserialize)]
struct Known {
    record: [u8; 16],
    status: String,
    analyzed: bool,
    deleted: bool,
    completed_seen: Option<Timestamp>,
    created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
}

pub(super) fn to_known(known: &KnownCall) -> Result<Vec<u8>, StoreError> {
    let known = Known {
        record: known.record.as_u128().to_be_bytes(),
        status: known.status.as_str().to_owned(),
        analyzed: known.analyzed,
        deleted: known.deleted,
        completed_seen: known.completed_seen,
        created_at: known.created_at,
        updated_at: known.updated_at,
    };
    postcard::to_stdvec(&known).map_err(|_| StoreError::Mistake("a call cannot be written"))
}

pub(super) fn from_known(id: CallId, bytes: &[u8]) -> Result<KnownCall, Trouble> {
    let known: Known =
        postcard::from_bytes(bytes).map_err(|_| damaged("what is known of a call cannot be read"))?;
    let Known { record, status, analyzed, deleted, completed_seen, created_at, updated_at } = known;
    Ok(KnownCall {
        id,
        record: RecordHash::from_u128(u128::from_be_bytes(record)),
        status: Status::from(status.as_str()),
        analyzed,
        completed_seen,
        created_at,
        updated_at,
        deleted,
    })
}

pub(super) fn call_id(bytes: &[u8]) -> Result<CallId, Trouble> {
    std::str::from_utf8(bytes).map(CallId::from).map_err(|_| damaged("the id of a call is no text"))
}

pub(super) fn name(row: &Row, at: usize) -> Result<Name, Trouble> {
    column::<&str>(row, at).map(Name::from)
}
