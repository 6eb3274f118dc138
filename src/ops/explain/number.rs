//! The calls of a phone number.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::{Ops, OpsError, number::Number, scan::FEW, text};
use crate::{call::CallId, name::Name, privacy::mask_phone, time::Timestamp};

/// How many calls are looked at together.
const CHUNK: usize = 500;

/// The most other calls that are named.
const MOST: usize = 10;

/// The fewest digits that are taken for a number; fewer would be anybody's.
pub(in crate::ops) const FEWEST_DIGITS: usize = 6;

/// A call was asked for by its caller's number, and it is the newest one.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OfNumber {
    /// The number, masked.
    pub number: String,
    /// How many other calls of it are known.
    pub others: usize,
    /// The newest of them, newest first, a few at most.
    pub newest: Vec<OtherCall>,
}

/// Another call of the same number.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OtherCall {
    /// The call.
    pub call: CallId,
    /// The source of the call.
    pub source: Name,
    /// When it was, or when it was first seen.
    #[serde(with = "text::time")]
    pub at: Timestamp,
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
                for known in known.chunks(FEW) {
                    let ids: Vec<_> = known.iter().map(|call| call.id.clone()).collect();
                    let snapshots = self.store.snapshots(source, &ids).await?;
                    for (call, snapshot) in known.iter().zip(snapshots) {
                        let Some(snapshot) = snapshot else { continue };
                        let caller = match snapshot.fields.get("callerNumber") {
                            Some(serde_json::Value::String(caller)) => caller.clone(),
                            Some(serde_json::Value::Number(caller)) => caller.to_string(),
                            _ => continue,
                        };
                        if !number.is(&caller) {
                            continue;
                        }
                        let at = call.created_at.unwrap_or(snapshot.first_seen);
                        let of_number = OtherCall { call: call.id.clone(), source: source.clone(), at };
                        found.push((of_number, mask_phone(&caller)));
                    }
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
