//! Simulated power cuts. Each sector that was written since the last sync may be on the disk or not.
//!
//! A child ends at a step of the store's work and leaves the file as it was at the last sync. Each difference to that in
//! the file as it is now was not synced: any of it may be missing.

use std::fs;

use super::{
    crash::{Orders, check, copy, live, times},
    life::{ROUND, is_lazy},
    *,
};

/// The size of what a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// How many cuts are made of one child's end.
const CUTS: usize = 5;

/// Which of the sectors that were not synced are on the disk after all.
#[derive(Clone, Copy, Debug)]
enum Survive {
    None,
    /// Those before one of them.
    First,
    /// Those behind one of them.
    Last,
    /// Some of the sectors.
    Some,
    /// Some of the pages of 4 KiB, one of them torn.
    Pages,
}

const WAYS: [Survive; CUTS] = [Survive::None, Survive::First, Survive::Last, Survive::Some, Survive::Pages];

/// The file after a cut.
fn cut(synced: &[u8], now: &[u8], way: Survive) -> Vec<u8> {
    let len = *fastrand::choice(&[synced.len(), now.len()]).unwrap();
    let longest = synced.len().max(now.len());
    let padded = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.resize(longest, 0);
        bytes
    };
    let (mut file, now) = (padded(synced), padded(now));
    let sectors = 0..longest.div_ceil(SECTOR);
    let of = |sector: usize| sector * SECTOR..((sector + 1) * SECTOR).min(longest);
    let differing: Vec<usize> = sectors.filter(|sector| file[of(*sector)] != now[of(*sector)]).collect();
    let border = fastrand::usize(0..=differing.len());
    let seed = fastrand::u64(..);
    for (place, sector) in differing.into_iter().enumerate() {
        let page = fastrand::Rng::with_seed(seed ^ (sector / 8) as u64).bool();
        let survives = match way {
            Survive::None => false,
            Survive::First => place < border,
            Survive::Last => place >= border,
            Survive::Some => fastrand::bool(),
            Survive::Pages => page && place != border,
        };
        if survives {
            file[of(sector)].copy_from_slice(&now[of(sector)]);
        }
    }
    file.truncate(len);
    file
}

#[tokio::test]
async fn a_power_cut_loses_nothing_acknowledged_and_nothing_torn_is_believed() {
    let whole = tempfile::tempdir().unwrap();
    let orders = Orders { deeds: Some(4 * ROUND), ..Orders::default() };
    let steps = live(whole.path(), &orders).steps;
    let mut lost = 0;
    for _ in 0..times("CALLWATCH_STORE_CUTS", 20).div_ceil(CUTS) {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        let step = fastrand::u64(0..steps);
        let said = live(
            folder.path(),
            &Orders { abort_at: Some(step), image: Some(image.clone()), ..orders.clone() },
        );
        if said.steps > 0 {
            // It needed fewer steps.
            continue;
        }
        let synced = fs::read(&image).unwrap();
        let now = fs::read(config(folder.path()).path.join("sled/db")).unwrap_or_default();
        for way in WAYS {
            let after = tempfile::tempdir().unwrap();
            copy(&config(folder.path()).path, &config(after.path()).path);
            let db = config(after.path()).path.join("sled/db");
            fs::write(&db, cut(&synced, &now, way)).unwrap();
            println!("step {step} of {steps}, {way:?}: {said:?}");
            // Only an outcome that was to be lazy may be acknowledged before it survives.
            let acknowledged = said.done - u64::from(said.done > 0 && is_lazy(said.done - 1));
            let done = check(after.path(), said.durable.max(acknowledged), said.done + 1).await;
            lost += said.done.saturating_sub(done);
        }
    }
    println!("{lost} outcomes lost that were acknowledged before they were synced");
}
