//! How things stand now.

use serde::Serialize;

use super::{Ops, OpsError, text};
use crate::{
    name::Name,
    privacy::mask_phones_in,
    store::{Pause, Tally},
    time::Timestamp,
};

/// How things stand now, as far as the store knows. The board of a running service knows more: polls, lags, breakers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// The time of the status.
    #[serde(serialize_with = "text::shown")]
    pub at: Timestamp,
    /// Every destination of the config, and every other that has a delivery or a pause, by name.
    pub destinations: Vec<DestinationOverview>,
}

/// How a destination stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DestinationOverview {
    /// The destination.
    pub name: Name,
    /// Whether the config has it. Deliveries for one that it does not have wait for ever.
    pub is_configured: bool,
    /// The pause it is under; `None` when there is none.
    pub pause: Option<PauseStatus>,
    /// How many deliveries it has in each state.
    pub deliveries: Tally,
}

/// Why a destination is left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PauseStatus {
    /// When the pause began.
    #[serde(serialize_with = "text::shown")]
    pub since: Timestamp,
    /// The reason, in one line.
    pub reason: String,
    /// When the pause ends by itself; `None` when a person or a change of the config has to end it.
    #[serde(serialize_with = "text::shown_if_any")]
    pub until: Option<Timestamp>,
}

impl From<&Pause> for PauseStatus {
    fn from(Pause { since, reason, until, config: _ }: &Pause) -> Self {
        Self { since: *since, reason: mask_phones_in(reason), until: *until }
    }
}

impl Ops {
    /// How things stand now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn status(&self) -> Result<Status, OpsError> {
        let all = self.destinations().await?;
        let status = |name: &Name| {
            let standing = all.standings.get(name);
            DestinationOverview {
                name: name.clone(),
                is_configured: all.configured.contains(name),
                pause: standing.and_then(|standing| standing.pause.as_ref()).map(PauseStatus::from),
                deliveries: standing.map(|standing| standing.tally).unwrap_or_default(),
            }
        };
        Ok(Status { at: all.now, destinations: all.names().into_iter().map(status).collect() })
    }
}
