//! The errors of what a person asked for.

use crate::{call::CallId, name::Name, store::StoreError};

/// Why a request of a person was not carried out. Nothing was changed, unless the variant says so.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpsError {
    /// The store failed. A bulk action may have changed some of the deliveries already; it can be repeated.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Neither the config nor the store knows the destination.
    #[error("there is no destination `{name}`{}", choice(.known))]
    NoDestination {
        /// The name that was asked for.
        name: Name,
        /// The destinations there are.
        known: Vec<Name>,
    },
    /// An event was named, and the store has no delivery of it that matches.
    #[error("there is no delivery of {0}")]
    NoDelivery(String),
    /// The config has no such source.
    #[error("there is no source `{name}`{}", choice(.known))]
    NoSource {
        /// The name that was asked for.
        name: Name,
        /// The sources there are.
        known: Vec<Name>,
    },
    /// No source knows the call.
    #[error("no call {call} is known of {}: callwatch has not seen it", quoted(.sources))]
    NoCall {
        /// The id that was asked for.
        call: CallId,
        /// The sources that were searched.
        sources: Vec<Name>,
    },
    /// Several sources know a call of this id.
    #[error("call {call} is known of {}; say which is meant", quoted(.sources))]
    AmbiguousCall {
        /// The id that was asked for.
        call: CallId,
        /// The sources that know it.
        sources: Vec<Name>,
    },
}

fn choice(known: &[Name]) -> String {
    if known.is_empty() { String::new() } else { format!("; there is {}", quoted(known)) }
}

/// Names as people choose from: "`crm`, `frontdesk`".
pub(crate) fn quoted<'n>(names: impl IntoIterator<Item = &'n Name>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
