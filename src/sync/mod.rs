//! From the API to the store: what to fetch next, what it means, and the task that does it.
//!
//! [`planner`] decides what to fetch, [`watcher`] decides what is news; both are pure. [`index`] is the memory that
//! makes an unchanged page cheap, [`flapping`] finds fields that change in most answers, [`bad_records`] remembers
//! which records are not calls, [`older`] decides when an older state of a call is believed, and [`api_clock`] knows
//! the API's time. [`task`] is the shell that holds the client, the store and the clock: it fetches, asks the others,
//! commits, and emits signals.

pub mod api_clock;
pub mod bad_records;
pub mod flapping;
pub mod index;
pub mod older;
pub mod planner;
pub mod task;
pub mod watcher;
