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
use tokio::signal::unix::{self, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{
    check,
    config_arg::ConfigArg,
    logging,
    opened::{self, Opened},
    restore,
    service_manager::{self, Informant},
};
use crate::{
    server::{Server, Service},
    supervisor::{Reloader, RunError, Supervisor},
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

/// Runs the service until a signal says to stop.
pub async fn run(args: RunArgs) -> ExitCode {
    forbid_core_dumps();
    let hangup = listen_for_hangup();
    let config = match check::load(&args.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let Opened { store, shown, findings } = match opened::open(&config).await {
        Ok(opened) => opened,
        Err(error) => {
            error!("{}", restore::explain(&error, &config.path));
            return ExitCode::FAILURE;
        }
    };
    let path = config.path.clone();
    let clock = Clock::system();
    let telemetry = Telemetry::new(clock);
    telemetry.emit(Signal::Started { version: env!("CARGO_PKG_VERSION"), store: shown });
    for finding in findings {
        let path = config.store.path.clone();
        telemetry.emit(Signal::Store(StoreSignal::Found { path, finding }));
    }
    let stop = CancellationToken::new();
    let supervisor = Supervisor::new(Arc::clone(&store), telemetry.clone(), clock);
    let handle = supervisor.handle();
    let reloader = Reloader::new(&config, handle.clone(), telemetry.clone());
    let informant =
        Informant { store: Arc::clone(&store), telemetry: telemetry.clone(), clock, handle: handle.clone() };
    let service = Service::new(store, telemetry.clone(), clock, handle, Some(reloader.clone()));
    let server = Server::new(service, &stop);
    // Listen before any duty is claimed: a process that a signal ends while it holds duties leaves them
    // idle until the lease ends.
    tokio::spawn(stop_on_signal(listen_for_stop(), telemetry.clone(), stop.clone()));
    tokio::spawn(reload_on_signal(hangup, reloader.clone(), telemetry.clone(), stop.clone()));
    tokio::spawn(reloader.watch(stop.clone()));
    if io::stderr().is_terminal() {
        let (telemetry, stop) = (telemetry.clone(), stop.clone());
        thread::spawn(move || show_baseline(&telemetry, &stop));
    }
    tokio::spawn(informant.inform(stop.clone()));
    let ended = supervisor.with_door(server.clone()).run(config, stop).await;
    server.close().await;
    match ended {
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

/// Begins to listen to SIGHUP, and to SIGUSR1 and SIGUSR2, which then do nothing. Until somebody listens, each of them
/// ends the process. A SIGHUP that comes during the start is obeyed after it.
fn listen_for_hangup() -> io::Result<unix::Signal> {
    for ignored in [SignalKind::user_defined1(), SignalKind::user_defined2()] {
        // The system hands it to callwatch from now on, whether anybody reads it or not.
        drop(signal(ignored)?);
    }
    signal(SignalKind::hangup())
}

/// Tells that signals do not do what they should.
fn cannot_be_caught(telemetry: &Telemetry, error: &io::Error) {
    let text =
        format!("signals cannot be caught ({error}); stop callwatch by killing it, which loses nothing");
    telemetry.emit(Signal::Hindrance { text });
}

/// Puts the config file to work at every SIGHUP.
async fn reload_on_signal(
    hangup: io::Result<unix::Signal>,
    reloader: Reloader,
    telemetry: Telemetry,
    stop: CancellationToken,
) {
    let mut hangup = match hangup {
        Ok(hangup) => hangup,
        Err(error) => return cannot_be_caught(&telemetry, &error),
    };
    while let Some(Some(())) = stop.run_until_cancelled(hangup.recv()).await {
        service_manager::tell_reloading(&telemetry);
        // The result has been logged.
        let _ = reloader.reload().await;
        if !stop.is_cancelled() {
            service_manager::tell(&telemetry, &[NotifyState::Ready]);
        }
    }
}

/// Begins to listen to SIGINT, SIGTERM and SIGQUIT.
fn listen_for_stop() -> io::Result<[unix::Signal; 3]> {
    Ok([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::quit())?])
}

/// Cancels `stop` on SIGINT, SIGTERM or SIGQUIT; a second one ends the process at once. SIGQUIT ends it without the core
/// dump that the system would make.
async fn stop_on_signal(
    signals: io::Result<[unix::Signal; 3]>,
    telemetry: Telemetry,
    stop: CancellationToken,
) {
    let [mut interrupt, mut terminate, mut quit] = match signals {
        Ok(signals) => signals,
        Err(error) => return cannot_be_caught(&telemetry, &error),
    };
    let mut next = async || {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
            _ = quit.recv() => "SIGQUIT",
        }
    };
    telemetry.emit(Signal::Stopping { signal: next().await, again: false });
    service_manager::tell(&telemetry, &[NotifyState::Stopping]);
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
