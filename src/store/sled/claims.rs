//! Claims on duties. All are granted, because only one process has the store open.

use std::collections::BTreeMap;

use super::fault::Fault;
use crate::store::{Claim, Duty, StoreError};

/// For each duty its epoch, and whether it is held.
#[derive(Default)]
pub(super) struct Claims(BTreeMap<Duty, (u64, bool)>);

impl Claims {
    /// Takes a duty, or renews the claim on it.
    pub(super) fn take(&mut self, duty: &Duty) -> Claim {
        let (epoch, is_held) = self.0.entry(duty.clone()).or_default();
        if !*is_held {
            (*epoch, *is_held) = (*epoch + 1, true);
        }
        Claim { duty: duty.clone(), epoch: *epoch, lease: None }
    }

    /// Ends a claim; returns whether it was held.
    pub(super) fn give_up(&mut self, claim: &Claim) -> bool {
        let is_held = self.check(claim).is_ok();
        if is_held {
            self.0.insert(claim.duty.clone(), (claim.epoch, false));
        }
        is_held
    }

    /// Fails when the claim is not held any more.
    pub(super) fn check(&self, claim: &Claim) -> Result<(), Fault> {
        match self.0.get(&claim.duty) {
            Some((epoch, true)) if *epoch == claim.epoch => Ok(()),
            _ => Err(Fault::Refused(StoreError::ClaimLost { duty: claim.duty.clone() })),
        }
    }
}
