//! Writes the message that tells a bundle of deliveries as one.

use super::{Bundle, retry_io};
use crate::{
    batch::BatchKey,
    name::Name,
    store::{Merge, Store, StoreError},
    summary::{self, Summarizer},
    telemetry::Telemetry,
    time::Timestamp,
};

/// How many events are read at a time. Each may hold a record as long as `max_record`, and its changes.
const PAGE: usize = 8;

/// The message for a bundle.
pub(crate) struct Written {
    /// The bundle.
    pub(crate) bundle: Bundle,
    /// The merge to be settled; `None` when all its deliveries have been dropped meanwhile.
    pub(crate) merge: Option<Merge>,
    /// How many events it tells.
    pub(crate) count: u64,
}

/// Reads the events of a bundle and their calls as they are by now, and writes its message.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn write(
    store: &dyn Store,
    telemetry: &Telemetry,
    destination: &Name,
    bundle: Bundle,
    now: Timestamp,
) -> Result<Written, StoreError> {
    let mut summarizer = Summarizer::new(bundle.reason);
    for tokens in bundle.tokens.chunks(PAGE) {
        let read = || store.bodies(tokens);
        let events = retry_io(telemetry, "reading held deliveries", read).await?;
        events.iter().flatten().for_each(|event| summarizer.add(event));
    }
    for (source, mut items) in summarizer.calls_by_source() {
        for items in items.chunks_mut(PAGE) {
            let calls: Vec<_> = items.iter().map(|(call, _)| call.clone()).collect();
            let read = || store.snapshots(&source, &calls);
            let snapshots = retry_io(telemetry, "reading calls", read).await?;
            for ((_, item), snapshot) in items.iter_mut().zip(snapshots) {
                // A snapshot that was shrunk says less than the event does.
                if let Some(snapshot) = snapshot.filter(|snapshot| snapshot.shrunk.is_none()) {
                    summary::show(item, &snapshot.fields);
                }
            }
        }
    }
    let count = summarizer.count();
    // After quiet hours there may be several batches; one of them names the message.
    let quiet = bundle.batches.iter().find(|batch| **batch == BatchKey::Quiet);
    let batch = quiet.or(bundle.batches.first()).cloned();
    let event = batch.and_then(|batch| summarizer.event(destination, batch, now));
    let merge = event.map(|event| Merge {
        tokens: bundle.tokens.clone(),
        event,
        // Later messages of a batch have higher numbers, even when everything before them has been forgotten.
        sequence: u64::try_from(now.as_millis()).unwrap_or_default(),
    });
    Ok(Written { bundle, merge, count })
}
