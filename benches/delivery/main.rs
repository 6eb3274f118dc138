//! Measures what delivering costs: `cargo bench --bench delivery`. `-- --only drain` measures one part.
//!
//! * `drain`: delivering a backlog, compared with a loop that sends the same bodies and does nothing else.
//! * `pace`: the time from a commit to the arrival at the receiver, with one commit per observation.
//! * `backlog`: a million deliveries to a destination that is down, and their effect on a healthy one.
//! * `kill`: the time from a restart after SIGKILL until all that was in flight has arrived again.
//!
//! The receiver is a process of its own on the same machine.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod backlog;
mod drain;
mod kill;
#[path = "../observed/mod.rs"]
mod observed;
mod pace;
#[path = "../process/mod.rs"]
mod process;
mod receiver;
mod service;
mod timed;

use std::{fs::File, process::Command, sync::Arc};

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTS: [&str; 4] = ["drain", "pace", "backlog", "kill"];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|arg| arg == receiver::ROLE) {
        return receiver::receive();
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [service::FILL, ..] => runtime.block_on(service::fill_here(&args[1..])),
        ["--drain", ..] => runtime.block_on(drain::one(&args[1..])),
        ["--pending", pending] => runtime.block_on(backlog::beside(pending.parse().unwrap())),
        ["--only", part] => {
            // Log lines cost what they cost in the service.
            let log = Arc::new(File::create("/dev/null").unwrap());
            tracing_subscriber::fmt().with_target(false).with_ansi(false).with_writer(log).init();
            runtime.block_on(async {
                match part {
                    "drain" => drain::run().await,
                    "pace" => pace::run().await,
                    "backlog" => backlog::run().await,
                    "kill" => kill::run().await,
                    _ => panic!("there is no part {part}; there is {PARTS:?}"),
                }
            });
        }
        [] => {
            // Each part in a new process, so that none has the memory of another.
            for part in PARTS {
                let mut command = Command::new(std::env::current_exe().unwrap());
                assert!(command.args(["--only", part]).status().unwrap().success());
            }
        }
        _ => panic!("arguments: none, or --only and one of {PARTS:?}"),
    }
}

/// The value that this fraction of the sorted values does not exceed.
fn quantile(sorted: &[f64], fraction: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * fraction) as usize]
}
