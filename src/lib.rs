//! callwatch watches the calls of AI voice agents and tells people and systems about them.
//!
//! ARCHITECTURE.md has the way of a call through the files, what each room may not know, and the layout on disk.
//!
//! # The way of a call
//!
//! Data goes one way, from the API to the people who want to know:
//!
//! ```text
//! callem ──▶ sync ──▶ change ──▶ rule ──▶ event ──▶ store ──▶ delivery ──▶ destination
//! (client)   (what    (diff)     (CEL)              (one      (lanes,      (render, send,
//!            to fetch)                               commit)   retries)     classify)
//! ```
//!
//! * [`callem`] fetches pages and calls, and turns every way this can fail into a typed error.
//! * [`sync`] decides what to fetch next ([`sync::planner`], pure) and what is news ([`sync::watcher`], pure), and
//!   drives both.
//! * [`change`] compares a call with its [`snapshot`]; [`rule`] decides whether anyone cares.
//! * [`store`] remembers: snapshots, events and deliveries of one observation in one commit.
//! * [`delivery`] takes due deliveries from the store and brings them to a [`destination`].
//! * [`config`] is the language of the config file: keys, values, secrets and the report of every mistake. Each room
//!   reads its own tables with it, and [`config_file`] puts the file together.
//! * [`language`] has the words, dates and numbers of messages for people in each language.
//! * [`supervisor`] runs a task for each source and destination of a config, and goes from one config to the next.
//! * [`telling`] makes events and deliveries of the rules that fired, and of what happens to callwatch itself.
//! * [`telemetry`] turns each signal of the work into a log line, counts, and the board of what is true now.
//! * [`ops`] is what people ask and do; [`cli`] holds the commands that parse, call it, and print, and [`server`] does the
//!   same for requests over HTTP.
//! * [`rehearsal`] is all of this without a network and a clock, for `callwatch test`, `preview` and `send`.
//! * [`demo`] is a simulated Callem and local receivers, for `callwatch demo` and for the tests.
//!
//! # What a module may not know
//!
//! Dependencies point down: `cli, server` → `supervisor, rehearsal, ops` → `sync, delivery` → `store, destination, callem,
//! telemetry` → `rule, change` → `event, snapshot, call` → [`kind`], [`time`]. `sync::planner`, `sync::watcher`, `change`,
//! `rule` and the retry schedule are pure: the time, the answers and the randomness they need are passed in.
//! Only `store` knows sled, and only `rule::condition` knows CEL. HTTP is known to `callem`, `http`, `destination`, `server`, the
//! heartbeat of `supervisor` and the simulated world of `demo`; `config` knows neither HTTP nor mail.

// A macro that prints panics when nobody reads any more.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod batch;
pub mod calendar;
pub mod call;
pub mod callem;
pub mod change;
pub mod cli;
pub mod config;
pub mod config_file;
pub mod content;
pub mod delivery;
pub mod demo;
pub mod destination;
pub mod event;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod json;
pub mod kind;
pub mod language;
pub mod lens;
pub mod name;
pub mod ops;
pub mod privacy;
pub mod rehearsal;
pub mod rule;
pub mod server;
pub mod snapshot;
pub mod store;
pub mod style;
pub mod summary;
pub mod supervisor;
pub mod sync;
pub mod telemetry;
pub mod telling;
pub mod template;
pub mod time;
