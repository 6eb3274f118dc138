//! `callwatch run`: the service.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
#[cfg(target_os = "linux")]
use rustix::process::DumpableBehavior;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{check, config_arg::ConfigArg, logging, restore};
use crate::{
    store::SledStore,
    supervisor::{RunError, Supervisor},
    telemetry::{Signal, StoreSignal, Telemetry},
    time::Clock,
};

/// A signal to stop that follows the first one within this time is the same one: a terminal and a supervisor, or two
/// supervisors, may each send it.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// How often the progress bar is drawn anew.
const REDRAW: Duration = Duration::from_millis(200);

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    config: ConfigArg,
}

/// Runs the service until SIGINT or SIGTERM.
pub async fn run(args: RunArgs) -> ExitCode {
    forbid_core_dumps();
    let config = match check::load(&args.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let store = match SledStore::open(&config.store).await {
        Ok(store) => Arc::new(store),
        Err(error) => {
            error!("{}", restore::explain(&error, &config.path));
            return ExitCode::FAILURE;
        }
    };
    let path = config.path.clone();
    let clock = Clock::system();
    let telemetry = Telemetry::new(clock);
    telemetry.emit(Signal::Started { version: env!("CARGO_PKG_VERSION"), store: config.store.path.clone() });
    for finding in store.findings() {
        let (path, finding) = (config.store.path.clone(), finding.clone());
        telemetry.emit(Signal::Store(StoreSignal::Found { path, finding }));
    }
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(telemetry.clone(), stop.clone()));
    if io::stderr().is_terminal() {
        let (telemetry, stop) = (telemetry.clone(), stop.clone());
        thread::spawn(move || show_baseline(&telemetry, &stop));
    }
    tell_service_manager(&telemetry, NotifyState::Ready);
    match Supervisor::new(store, telemetry.clone(), clock).run(config, stop).await {
        Ok(()) => {
            telemetry.emit_stopped();
            ExitCode::SUCCESS
        }
        Err(RunError::Store(error)) => {
            telemetry.emit(Signal::Store(StoreSignal::Broken { error: error.to_string() }));
            error!("callwatch had to stop: {}", restore::explain(&error, &path));
            ExitCode::FAILURE
        }
        Err(failure) => {
            error!("callwatch had to stop: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Keeps secrets and calls out of core dumps, and other processes of the same user out of this one's memory.
fn forbid_core_dumps() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!("core dumps cannot be forbidden ({error}), and may hold secrets");
    }
}

/// Tells systemd, when it started callwatch.
fn tell_service_manager(telemetry: &Telemetry, state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        let text =
            format!("systemd cannot be told how callwatch is ({error}); it may think that it never started");
        telemetry.emit(Signal::Hindrance { text });
    }
}

/// Cancels `stop` on SIGINT or SIGTERM; a second one ends the process at once.
async fn stop_on_signal(telemetry: Telemetry, stop: CancellationToken) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        let text = "signals cannot be caught; stop callwatch by killing it, which loses nothing".to_owned();
        return telemetry.emit(Signal::Hindrance { text });
    };
    let mut next = async || {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        }
    };
    telemetry.emit(Signal::Stopping { signal: next().await, again: false });
    tell_service_manager(&telemetry, NotifyState::Stopping);
    stop.cancel();
    let asked = Instant::now();
    loop {
        let signal = next().await;
        if asked.elapsed() >= SAME_SIGNAL {
            telemetry.emit(Signal::Stopping { signal, again: true });
            logging::finish();
            std::process::exit(1);
        }
    }
}

/// Draws a progress bar while first walks over lists go on: all sources together. It runs on a thread of its own,
/// because a terminal can be held up.
fn show_baseline(telemetry: &Telemetry, stop: &CancellationToken) {
    let bar = ProgressBar::no_length().with_style(
        ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} calls")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    while !stop.is_cancelled() {
        thread::sleep(REDRAW);
        let board = telemetry.board();
        let going_on = board.sources.iter().filter_map(|(name, source)| Some((name, source.baseline?)));
        let (names, walks): (Vec<_>, Vec<_>) = going_on.map(|(name, walk)| (name.as_str(), walk)).unzip();
        if walks.is_empty() {
            // Every source is past its baseline, or none has answered yet.
            if !board.sources.is_empty() && board.sources.values().all(|source| source.last_success.is_some())
            {
                break;
            }
            continue;
        }
        bar.set_prefix(format!("baseline of {}", names.join(", ")));
        bar.set_length(walks.iter().map(|walk| walk.total.unwrap_or(walk.found)).sum());
        bar.set_position(walks.iter().map(|walk| walk.found).sum());
    }
    bar.finish_and_clear();
}
