//! The errors of what a person asked for.

use crate::{
    call::CallId,
    name::{Name, quoted},
    store::StoreError,
};

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
    /// The request cannot be carried out as it is; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// The config has no such source.
    #[error("there is no source `{name}`{}", choice(.known))]
    NoSource {
        /// The name that was asked for.
        name: Name,
        /// The sources there are.
        known: Vec<Name>,
    },
    /// The config has no such rule, and no delivery that is kept tells it.
    #[error("there is no rule `{name}`{}", choice(.known))]
    NoRule {
        /// The name that was asked for.
        name: Name,
        /// The rules there are.
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
    /// A callwatch at work was asked, and this is its answer.
    #[error("{detail}")]
    Answered {
        /// The kind of error that it answered with.
        kind: OpsErrorKind,
        /// The error in words.
        detail: String,
    },
    /// A callwatch at work cannot be asked.
    #[error("{0}")]
    Unreachable(String),
}

/// The kinds of errors, as programs tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpsErrorKind {
    /// The store failed.
    Store,
    /// There is no such destination.
    NoDestination,
    /// There is no such delivery.
    NoDelivery,
    /// There is no such source.
    NoSource,
    /// There is no such rule.
    NoRule,
    /// No source knows the call.
    NoCall,
    /// Several sources know the call.
    AmbiguousCall,
    /// The request itself is wrong.
    Refused,
    /// The callwatch at work does not answer.
    Unreachable,
}

impl OpsErrorKind {
    const ALL: [Self; 9] = [
        Self::Store,
        Self::NoDestination,
        Self::NoDelivery,
        Self::NoSource,
        Self::NoRule,
        Self::NoCall,
        Self::AmbiguousCall,
        Self::Refused,
        Self::Unreachable,
    ];

    /// The kind in one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::NoDestination => "no_destination",
            Self::NoDelivery => "no_delivery",
            Self::NoSource => "no_source",
            Self::NoRule => "no_rule",
            Self::NoCall => "no_call",
            Self::AmbiguousCall => "ambiguous_call",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }

    /// The kind with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl OpsError {
    /// The kind of error it is, wherever it happened.
    pub fn kind(&self) -> OpsErrorKind {
        match self {
            Self::Store(_) => OpsErrorKind::Store,
            Self::NoDestination { .. } => OpsErrorKind::NoDestination,
            Self::NoDelivery(_) => OpsErrorKind::NoDelivery,
            Self::Refused(_) => OpsErrorKind::Refused,
            Self::NoSource { .. } => OpsErrorKind::NoSource,
            Self::NoRule { .. } => OpsErrorKind::NoRule,
            Self::NoCall { .. } => OpsErrorKind::NoCall,
            Self::AmbiguousCall { .. } => OpsErrorKind::AmbiguousCall,
            Self::Answered { kind, .. } => *kind,
            Self::Unreachable(_) => OpsErrorKind::Unreachable,
        }
    }
}

fn choice(known: &[Name]) -> String {
    if known.is_empty() { String::new() } else { format!("; there is {}", quoted(known)) }
}
