//! The surroundings of callwatch, simulated on this machine: for `callwatch demo`, and for tests.
//!
//! * [`callem`] answers like the Callem API, fails on request, and says what it was asked.
//! * [`clinic`](crate::rehearsal::clinic) makes up calls like those of a clinic's phone, and [`script`] makes a day of them.
//! * [`receivers`] take what callwatch sends, check it, and misbehave on request. [`sighting`] is what can be told from
//!   one arrival.
//! * [`oracle`] says, without the pipeline, what rules have to bring; [`books`] hold what arrives against that.
//! * [`world`] puts simulated surroundings around any config, [`bundled`] is the demo's own config, and [`show`] runs
//!   the real pipeline in all that, for people to watch.
//! * [`local`] is what the simulated HTTP servers have in common: a loopback port that can cut a connection.

mod balance;
pub mod books;
pub mod bundled;
pub mod callem;
mod faults;
pub mod local;
mod narrator;
pub mod oracle;
pub mod reading;
pub mod receivers;
pub mod script;
pub mod show;
pub mod sighting;
mod terminal;
pub mod world;
