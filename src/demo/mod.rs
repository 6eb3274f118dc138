//! The world callwatch works in, on one machine: a simulated Callem and local receivers, for `callwatch demo`
//! and for the tests.
//!
//! * [`callem`] answers like the Callem API, fails on request, and says what it was asked.
//! * [`clinic`] makes up calls like those of a clinic's phone.
//! * [`receivers`] take what callwatch sends, check it, and misbehave on request.
//! * [`script`] tells a clinic's day, [`world`] puts simulated surroundings around any config, [`ledger`] keeps the
//!   truth to hold the pipeline against, and [`show`] runs the real pipeline in all that, for people to watch.
//! * [`local`] is what every simulated HTTP server is made of: a loopback port that can drop a connection.

pub mod callem;
pub mod clinic;
mod faults;
pub mod ledger;
pub mod local;
pub mod receivers;
pub mod script;
pub mod show;
mod sighting;
mod summary;
mod terminal;
mod view;
pub mod world;
