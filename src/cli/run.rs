//! `callwatch run`: the service.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::broadcast::error::RecvError,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{check, restore};
use crate::{
    config::Config,
    service::{Service, ServiceError},
    store::{DestinationStanding, SledStore, Store},
    telemetry::{Signal, Telemetry},
    time::Clock,
};

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
    info!(
        version = env!("CARGO_PKG_VERSION"),
        sources = config.sources.len(),
        destinations = config.destinations.len(),
        rules = config.rules.len(),
        store = %config.store.path.display(),
        "callwatch starts"
    );
    warn_of_stranded(&config, &*store).await;
    let telemetry = Telemetry::default();
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));
    if io::stderr().is_terminal() {
        tokio::spawn(show_baseline(telemetry.clone(), stop.clone()));
    }
    tell_supervisor(&[NotifyState::Ready]);
    let service = Service { config, store, telemetry: telemetry.clone(), clock: Clock::system() };
    let outcome = service.run(stop).await;
    let counts = telemetry.counts();
    let total =
        |name: &str| counts.iter().filter(|((n, _), _)| *n == name).map(|(_, count)| count).sum::<u64>();
    match outcome {
        Ok(()) => {
            info!(
                requests = total("requests"),
                changes = total("changes"),
                events = total("events"),
                delivered = total("delivered"),
                dead = total("dead"),
                "callwatch has stopped in good order"
            );
            ExitCode::SUCCESS
        }
        Err(ServiceError::Store(error)) => {
            error!("callwatch had to stop: {}", restore::explain(&error, &args.config));
            ExitCode::FAILURE
        }
        Err(failure) => {
            error!("callwatch had to stop: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Says which deliveries wait for a destination that the config does not have.
async fn warn_of_stranded(config: &Config, store: &dyn Store) {
    let standings = match store.destinations().await {
        Ok(standings) => standings,
        Err(failure) => return warn!("the deliveries cannot be counted: {failure}"),
    };
    for (name, DestinationStanding { tally, .. }) in standings {
        if tally.unfinished() > 0 && !config.destinations.iter().any(|destination| destination.name == name) {
            warn!(
                "{} deliveries wait for destination `{name}`, which is not in the config: put it back, or forget \
                 them with `callwatch deliveries drop`",
                tally.unfinished()
            );
        }
    }
}

/// Tells systemd, where there is one.
fn tell_supervisor(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!("the supervisor cannot be told: {error}");
    }
}

/// Cancels `stop` on SIGINT or SIGTERM; a second one ends the process at once.
async fn stop_on_signal(stop: CancellationToken) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        error!("signals cannot be caught; stop callwatch by killing it, which loses nothing");
        return;
    };
    for again in [false, true] {
        let name = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        if again {
            error!("{name} again: ending at once; what was in flight is tried again after the next start");
            std::process::exit(1);
        }
        info!("{name}: stopping; attempts in flight may end first");
        tell_supervisor(&[NotifyState::Stopping]);
        stop.cancel();
    }
}

/// A progress bar while the first walk over the lists lasts.
async fn show_baseline(telemetry: Telemetry, stop: CancellationToken) {
    let mut signals = telemetry.watch();
    let bar = ProgressBar::no_length().with_style(
        ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} calls")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => break,
            received = signals.recv() => received,
        };
        match received.as_deref() {
            Ok(Signal::BaselineProgress { source, found, total }) => {
                bar.set_prefix(format!("baseline of {source}"));
                bar.set_length(total.unwrap_or(*found));
                bar.set_position(*found);
            }
            Ok(Signal::BaselineDone { .. }) => break,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => break,
        }
    }
    bar.finish_and_clear();
}
