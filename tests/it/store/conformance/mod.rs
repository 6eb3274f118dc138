//! One suite for every implementation of the store. Each test makes a kind of store and works on it as one or several
//! processes do.

mod batches;
mod by_hand;
mod calls;
mod claims;
mod commits;
mod feeds;
mod forgotten;
mod outcomes;
mod queries;
mod races;
mod upkeep;

use super::{
    backend::{Backend, for_every_store, for_shared_stores},
    process::Reader,
    *,
};
