//! From the API to the store: what to fetch next, what it means, and the task that does it.
//!
//! [`planner`] decides what to fetch, [`watcher`] decides what is news; both are pure. [`index`] is the memory that
//! makes an unchanged page cheap, [`flapping`] notices fields that differ in every answer, [`bad_records`] keeps in mind which
//! records are not calls, [`older`] when an older state is all that the API says, and [`api_clock`] what time it is there. [`task`] is the shell that holds the client, the store and the clock: it fetches,
//! asks, commits, and tells.

pub mod api_clock;
pub mod bad_records;
pub mod flapping;
pub mod index;
pub mod older;
pub mod planner;
pub mod task;
pub mod watcher;
