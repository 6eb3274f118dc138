//! From the API to the store: what to fetch next, what it means, and the task that does it.
//!
//! [`planner`] decides what to fetch (pure), [`index`] is the memory that makes an unchanged page cheap,
//! [`observe`] turns a call and its snapshot into everything that must be committed (pure), `clockwork` says what is
//! to be told because time has passed (pure), and [`task`] is the shell that holds the client, the store and the
//! clock.

pub(crate) mod clockwork;
pub mod index;
pub mod observe;
pub mod planner;
pub mod task;
