//! The world callwatch works in, on one machine: a simulated Callem and local receivers, for `callwatch demo`
//! and for the tests.
//!
//! * [`callem`] answers like the Callem API, fails on request, and says what it was asked.
//! * [`clinic`] makes up calls like those of a clinic's phone.
//! * [`receivers`] take what callwatch sends, check it, and misbehave on request.
//! * [`local`] is what every simulated HTTP server is made of: a loopback port that can drop a connection.

pub mod callem;
pub mod clinic;
mod faults;
pub mod local;
pub mod receivers;
