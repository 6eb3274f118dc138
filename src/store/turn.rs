//! Working on a duty in turn with the other processes that share the store.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Claim, Duty, Store, StoreError};

/// How long it takes until a store that cannot be used is asked again.
const AGAIN: Duration = Duration::from_secs(2);

/// Whose turn it is to work on a duty.
#[derive(Clone, Copy, Debug)]
pub enum Turn<'a> {
    /// It is this process's.
    Own,
    /// It is another process's.
    Others,
    /// It was this process's, and another one has taken over.
    TakenOver,
    /// Nobody knows: the store cannot be used now, and is asked again.
    Unknown(&'a StoreError),
}

/// Works on a duty whenever the store grants the claim on it, until `stop` is cancelled and `work` has ended; then gives the
/// claim back. `work` gets the claim and the moment it was asked for, from which its lease counts. `hear` is told whose turn it
/// is, as it changes.
///
/// # Errors
/// When the store fails and asking again does not help. Work that lost its claim, or a shared store for a while, is no error:
/// it begins anew with the next claim, and what it had not written does not count.
pub async fn work_in_turn<W>(
    store: &dyn Store,
    duty: &Duty,
    stop: &CancellationToken,
    hear: impl Fn(Turn<'_>),
    work: impl Fn(Claim, Instant) -> W,
) -> Result<(), StoreError>
where
    W: Future<Output = Result<(), StoreError>>,
{
    while !stop.is_cancelled() {
        let asked = Instant::now();
        match store.claim(duty).await {
            Ok(Some(claim)) => {
                hear(Turn::Own);
                match work(claim.clone(), asked).await {
                    Ok(()) => return store.give_up(claim).await,
                    Err(StoreError::ClaimLost { .. }) => hear(Turn::TakenOver),
                    Err(error @ StoreError::Database { .. }) => hear(Turn::Unknown(&error)),
                    Err(error) => return Err(error),
                }
            }
            Ok(None) => {
                hear(Turn::Others);
                stop.run_until_cancelled(store.vacancy(duty)).await;
            }
            Err(error @ StoreError::Database { .. }) => {
                hear(Turn::Unknown(&error));
                stop.run_until_cancelled(sleep(AGAIN)).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
