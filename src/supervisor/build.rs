//! The fallible part of putting a config to work: everything a task needs that may not be there.

use std::{sync::Arc, time::Duration};

use super::{
    ApplyError,
    plan::{Duty, Job, Version},
};
use crate::{
    callem::Client,
    config::SourceConfig,
    config_file::Config,
    destination::{self, Destination, DestinationConfig},
    http,
    telemetry::Telemetry,
};

/// How long building may take: certificates and keys are read from disk.
const DEADLINE: Duration = Duration::from_secs(30);

/// A part that can fail to be made, and that a task needs.
pub(super) enum Part {
    Source { config: SourceConfig, client: Client },
    Destination { config: DestinationConfig, destination: Arc<dyn Destination>, grace: Duration },
    Upkeep,
}

/// The parts that were asked for.
pub(super) struct Built {
    /// The connections that parts share; to be passed in the next time.
    pub(super) http: reqwest::Client,
    pub(super) parts: Vec<(Duty, Version, Part)>,
}

/// Everything `config` wants to run, with the present content of the files that a task reads only when it starts.
///
/// # Errors
/// [`ApplyError`] when they cannot be read in time.
pub(super) async fn jobs(config: &Config) -> Result<Vec<Job>, ApplyError> {
    let mut jobs = Job::all_of(config);
    on_disk(move || {
        for job in &mut jobs {
            job.note_content();
        }
        jobs
    })
    .await
}

/// Does `work` away from the runtime's workers.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApplyError> {
    match tokio::time::timeout(DEADLINE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(ApplyError::Panicked(error.to_string())),
        Err(_) => Err(ApplyError::TooSlow(DEADLINE)),
    }
}

/// Makes the parts for `jobs`. Opens no connection and starts nothing.
///
/// # Errors
/// [`ApplyError`] when one of them cannot be made.
pub(super) async fn build(
    jobs: Vec<Job>,
    http: Option<reqwest::Client>,
    telemetry: &Telemetry,
) -> Result<Built, ApplyError> {
    let telemetry = telemetry.clone();
    on_disk(move || {
        let http = http.map_or_else(http::client, Ok)?;
        let mut parts = vec![];
        for job in jobs {
            let (duty, version) = (job.duty(), job.version());
            let part = match job {
                Job::Source { config, .. } => {
                    let client = Client::new(&config, &http)
                        .map_err(|why| ApplyError::Source { name: config.name.clone(), why })?;
                    Part::Source { client, config }
                }
                Job::Destination { config, grace, .. } => {
                    let destination = destination::build(&config, &http, &telemetry)?;
                    Part::Destination { config, destination, grace }
                }
                Job::Upkeep => Part::Upkeep,
            };
            parts.push((duty, version, part));
        }
        Ok(Built { http, parts })
    })
    .await?
}
