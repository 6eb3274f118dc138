//! Behaviour at the edges: what arrives at real sockets, what is on disk, what is printed.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod alerts;
mod answers;
mod at_work;
mod binary;
mod clock_rules;
mod config;
mod deliveries_cli;
mod delivery;
mod demo;
mod demo_callem;
mod demo_receivers;
mod destination;
mod explain;
mod floors;
mod hangup;
mod histories;
mod init;
mod merging;
mod observe;
mod oracle;
mod pipeline;
mod planner;
mod preview;
mod process;
mod readme;
mod reload;
mod rig;
mod rule_tests;
mod rules_page;
mod security;
mod send;
mod server;
mod soak;
mod store;
mod watcher;
