//! Behaviour at the edges: what arrives at real sockets, what is on disk, what is printed.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
mod planner;
