//! `callwatch run`: the service.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{check, restore};
use crate::{
    store::SledStore,
    supervisor::{RunError, Supervisor},
    telemetry::{Signal, StoreSignal, Telemetry},
    time::Clock,
};

/// How often the progress bar is drawn anew.
const REDRAW: Duration = Duration::from_millis(200);

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The config file
    #[arg(short, long, value_name = "FILE", env = "CALLWATCH_CONFIG")]
    config: PathBuf,
}

/// Runs the service until SIGINT or SIGTERM.
pub async fn run(args: RunArgs) -> ExitCode {
    let config = match check::load(&args.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let store = match SledStore::open(&config.store).await {
        Ok(store) => Arc::new(store),
        Err(error) => {
            error!("{}", restore::explain(&error, &args.config));
            return ExitCode::FAILURE;
        }
    };
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
        tokio::spawn(show_baseline(telemetry.clone(), stop.clone()));
    }
    tell_service_manager(&telemetry, NotifyState::Ready);
    match Supervisor::new(store, telemetry.clone(), clock).run(config, stop).await {
        Ok(()) => {
            telemetry.emit_stopped();
            ExitCode::SUCCESS
        }
        Err(RunError::Store(error)) => {
            telemetry.emit(Signal::Store(StoreSignal::Broken { error: error.to_string() }));
            error!("callwatch had to stop: {}", restore::explain(&error, &args.config));
            ExitCode::FAILURE
        }
        Err(failure) => {
            error!("callwatch had to stop: {failure}");
            ExitCode::FAILURE
        }
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
    for again in [false, true] {
        let signal = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        telemetry.emit(Signal::Stopping { signal, again });
        if again {
            std::process::exit(1);
        }
        tell_service_manager(&telemetry, NotifyState::Stopping);
        stop.cancel();
    }
}

/// Draws a progress bar while first walks over lists go on: all sources together.
async fn show_baseline(telemetry: Telemetry, stop: CancellationToken) {
    let bar = ProgressBar::no_length().with_style(
        ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} calls")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut redraw = tokio::time::interval(REDRAW);
    while stop.run_until_cancelled(redraw.tick()).await.is_some() {
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
