//! The demo itself: the real pipeline in a simulated world, watched from both ends.

mod interrupts;
mod judge;

use std::{io, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use self::interrupts::Interrupts;
use super::{
    books::Books,
    oracle::Promise,
    receivers::Misbehaviour,
    script::{Script, Step},
    sighting::Sighting,
    terminal::{Closed, Terminal},
    view::View,
    world::{Receiver, World},
};
use crate::{
    config_file::Config,
    store::{SledStore, Store, StoreError},
    style::Style,
    supervisor::{RunError, Supervisor},
    telemetry::{Signal, Telemetry},
    time::Clock,
};

/// Calls that are there before the demo begins, per source.
const OLD_CALLS: u32 = 150;

/// How often the receivers are asked what arrived.
const TICK: Duration = Duration::from_millis(50);

/// How long the first walk over the lists may take.
const BASELINE: Duration = Duration::from_secs(30);

/// How long is waited for what is under way when the script has ended.
const CATCH_UP: Duration = Duration::from_secs(15);

/// How long attempts in flight may go on in the very end, when there should be none.
const GRACE: Duration = Duration::from_secs(2);

/// How long the pipeline may take to stop.
const STOP: Duration = Duration::from_secs(10);

/// The same, for somebody in a hurry.
const QUICK_STOP: Duration = Duration::from_secs(1);

/// Of the webhooks of the bundled config, this many out of [`PROVOKED_PERIOD`] are followed by a refusal, so that
/// a retry is seen.
const PROVOKED_AT: u64 = 4;

/// See [`PROVOKED_AT`].
const PROVOKED_PERIOD: u64 = 10;

/// What to show.
#[derive(Debug)]
pub struct Options {
    /// The rules and the names; everything outside is replaced.
    pub config: Config,
    /// What the rules have to bring; empty for a config of the user's own.
    pub promises: &'static [Promise],
    /// For how long calls come and go; `None` is until Ctrl-C.
    pub lasts: Option<Duration>,
    /// Fixes the story.
    pub seed: u64,
}

/// How a demo ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything that had to arrive did.
    NoneLost,
    /// Something did not.
    Lost,
    /// Somebody did not want to see the end.
    Quit,
}

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No loopback port, no folder, no thread, no signals.
    #[error("the demo cannot {doing}: {why}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's words.
        #[source]
        why: io::Error,
    },
    /// The temporary store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The pipeline stopped by itself.
    #[error("the pipeline stopped by itself: {0}")]
    Service(#[from] RunError),
    /// The pipeline ended without a word.
    #[error("the pipeline ended unexpectedly")]
    Ended,
    /// The pipeline did not stop when told to.
    #[error("the pipeline did not stop within {}", humantime::format_duration(STOP))]
    NoStop,
    /// The first walk over the lists did not end.
    #[error(
        "the first walk over the simulated calls did not end within {}",
        humantime::format_duration(BASELINE)
    )]
    NoBaseline,
}

impl DemoError {
    fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |why| Self::Io { doing, why }
    }
}

/// Shows what `options` ask for on standard output.
///
/// # Errors
/// [`DemoError`] when the demo could not be set up or the pipeline broke; something lost is an [`Ending`].
pub async fn show(options: Options) -> Result<Ending, DemoError> {
    let folder = TempDir::with_prefix("callwatch-demo-").map_err(DemoError::io("make a temporary folder"))?;
    let mut show = Show::set_up(options, &folder).await?;
    let outcome = match show.play().await {
        Ok(()) => show.summarize().await,
        Err(Stop::Quit) => Ok((vec![], Ending::Quit)),
        Err(Stop::Failed(error)) => Err(error),
    };
    let struck = show.strike(&outcome).await;
    // What happened in the show comes before what happened when it was cleared away.
    let (_, ending) = outcome?;
    struck?;
    let removed =
        tokio::task::spawn_blocking(|| folder.close()).await.unwrap_or_else(|error| Err(error.into()));
    removed.map_err(DemoError::io("remove its temporary folder")).map(|()| ending)
}

/// Why a show does not go on.
enum Stop {
    Quit,
    Failed(DemoError),
}

impl From<Closed> for Stop {
    fn from(Closed: Closed) -> Self {
        Self::Quit
    }
}

impl<E: Into<DemoError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A demo under way.
struct Show {
    clock: Clock,
    world: World,
    scripts: Vec<Scripted>,
    books: Books,
    view: View,
    /// Whether a message was shown as its receiver reads it.
    shown: bool,
    style: Style,
    terminal: Terminal,
    /// Whether it is known what has to arrive.
    promised: bool,
    lasts: Option<Duration>,
    lasted: Duration,
    waited: Duration,
    /// How often the bundled config's webhook was told to refuse.
    provoked: u64,
    /// How often each receiver has found something wrong, in the order of the config.
    refused: Vec<u64>,
    store: Arc<dyn Store>,
    telemetry: Telemetry,
    /// Nothing is left out of it, and it stays short: [`Show::next`] takes from it without waiting for the terminal.
    signals: UnboundedReceiver<Signal>,
    /// The pipeline, as the only task.
    service: JoinSet<Result<(), RunError>>,
    stop: CancellationToken,
    ticks: Interval,
    interrupts: Interrupts,
}

/// A source's story, and what is next in it.
struct Scripted {
    script: Script,
    next: Option<Step>,
}

/// What was waited for.
enum Happened {
    /// The time given has come.
    Woken,
    /// The receivers were asked.
    Tick,
    /// A source's baseline is done.
    Baselined,
    /// Ctrl-C.
    Interrupted,
    /// Something else.
    Other,
}

impl Show {
    async fn set_up(options: Options, folder: &TempDir) -> Result<Self, DemoError> {
        let Options { config, promises, lasts, seed } = options;
        let interrupts = Interrupts::new().map_err(DemoError::io("listen for Ctrl-C"))?;
        let around = World::around(config, folder.path()).await;
        let (world, mut config) = around.map_err(DemoError::io("start a local server"))?;
        config.delivery.shutdown_grace = GRACE;
        let clock = Clock::system();
        let begun = clock.wall();
        let mut scripts = vec![];
        for ((_, callem), seed) in world.sources.iter().zip((0..).map(|n| seed.wrapping_add(n))) {
            let mut script = Script::new(seed, begun);
            script.history(OLD_CALLS).into_iter().for_each(|call| callem.add(call));
            let next = script.next();
            scripts.push(Scripted { script, next });
        }
        let mut terminal = Terminal::start().map_err(DemoError::io("write to standard output"))?;
        let style = Style::of(&io::stdout());
        let view = View::new(style, &world, begun);
        for line in view.introduction(&world, &config, OLD_CALLS, lasts) {
            // If nobody reads it, that will show soon enough.
            let _ = terminal.show(line);
        }
        let store: Arc<dyn Store> = Arc::new(SledStore::open(&config.store).await?);
        let (sender, signals) = mpsc::unbounded_channel();
        // Once the show is over nobody wants them.
        let telemetry = Telemetry::with_listener(clock, move |signal| drop(sender.send(signal.clone())));
        let stop = CancellationToken::new();
        let mut service = JoinSet::new();
        let pipeline = Supervisor::new(Arc::clone(&store), telemetry.clone(), clock);
        service.spawn(pipeline.run(config, stop.clone()));
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            clock,
            scripts,
            books: Books::new(promises, world.destinations.iter().map(|(name, _)| name.clone())),
            view,
            style,
            terminal,
            promised: !promises.is_empty(),
            lasts,
            lasted: Duration::ZERO,
            waited: Duration::ZERO,
            provoked: 0,
            refused: vec![0; world.destinations.len()],
            shown: false,
            world,
            store,
            telemetry,
            signals,
            service,
            stop,
            ticks,
            interrupts,
        })
    }

    async fn play(&mut self) -> Result<(), Stop> {
        self.wait_for_baseline().await?;
        self.follow_script().await?;
        self.catch_up().await
    }

    async fn wait_for_baseline(&mut self) -> Result<(), Stop> {
        let deadline = Instant::now() + BASELINE;
        let mut missing = self.world.sources.len();
        while missing > 0 {
            match self.next(deadline).await? {
                Happened::Baselined => missing -= 1,
                Happened::Interrupted => return Err(Stop::Quit),
                Happened::Woken => return Err(DemoError::NoBaseline.into()),
                Happened::Tick | Happened::Other => {}
            }
        }
        Ok(())
    }

    /// Lets calls come and go until the time is over or somebody has seen enough.
    async fn follow_script(&mut self) -> Result<(), Stop> {
        let begun = Instant::now();
        let end = self.lasts.and_then(|lasts| begun.checked_add(lasts));
        loop {
            let steps = self.scripts.iter().filter_map(|scripted| scripted.next.as_ref());
            let due = steps.map(|step| begun + step.after).chain(end).min();
            match self.next(due.unwrap_or(begun)).await? {
                Happened::Interrupted => break,
                Happened::Woken if end.is_some_and(|end| Instant::now() >= end) => break,
                Happened::Woken => self.perform(begun.elapsed()),
                Happened::Tick | Happened::Baselined | Happened::Other => {}
            }
        }
        self.lasted = begun.elapsed();
        Ok(self.terminal.show(self.view.note("no more changes; what is under way may arrive"))?)
    }

    /// Lets everything happen that has to have happened by now.
    fn perform(&mut self, elapsed: Duration) {
        for (Scripted { script, next }, (_, callem)) in self.scripts.iter_mut().zip(&self.world.sources) {
            while let Some(step) = next.take_if(|step| step.after <= elapsed) {
                let now = self.clock.wall();
                let record = step.record(now);
                self.books.happened(step.call.id(), Some(Arc::new(record.clone())), now);
                callem.add(record);
                *next = script.next();
            }
        }
    }

    /// Waits until callwatch knows every call as it is, nothing is pending, and what had to arrive did.
    async fn catch_up(&mut self) -> Result<(), Stop> {
        let begun = Instant::now();
        let deadline = begun + CATCH_UP;
        loop {
            match self.next(deadline).await? {
                Happened::Interrupted => return Err(Stop::Quit),
                Happened::Tick => match timeout_at(deadline, self.has_caught_up()).await {
                    Ok(caught_up) => {
                        if caught_up? {
                            break;
                        }
                    }
                    Err(_) => break,
                },
                Happened::Woken => break,
                Happened::Baselined | Happened::Other => {}
            }
        }
        self.receive()?;
        self.waited = begun.elapsed();
        Ok(())
    }

    /// Shows what happens next, and says what it was.
    async fn next(&mut self, wake: Instant) -> Result<Happened, Stop> {
        tokio::select! {
            () = self.interrupts.next() => Ok(Happened::Interrupted),
            Some(ended) = self.service.join_next() => Err(match ended {
                Ok(Err(error)) => error.into(),
                Ok(Ok(())) | Err(_) => DemoError::Ended.into(),
            }),
            Some(signal) = self.signals.recv() => {
                if let Some(line) = self.view.signal(&signal, self.clock.wall()) {
                    self.terminal.show(line)?;
                }
                let baselined = matches!(signal, Signal::BaselineDone { .. });
                Ok(if baselined { Happened::Baselined } else { Happened::Other })
            }
            _ = self.ticks.tick() => {
                self.receive()?;
                Ok(Happened::Tick)
            }
            () = tokio::time::sleep_until(wake) => Ok(Happened::Woken),
        }
    }

    /// Takes note of what has arrived.
    fn receive(&mut self) -> Result<(), Closed> {
        for ((destination, receiver), refused) in self.world.destinations.iter().zip(&mut self.refused) {
            let inbox = receiver.inbox();
            for arrival in inbox.take() {
                let sighting = Sighting::of(&arrival);
                let receipt = self.books.arrived(destination, &sighting, |debt| sighting.tells(debt));
                self.terminal.show(self.view.arrival(destination, &arrival, &sighting, receipt.latency))?;
                // The first one for people, so that a newcomer sees what they will get.
                if !self.shown
                    && let Some(lines) = self.view.message(&arrival)
                {
                    self.shown = true;
                    lines.into_iter().try_for_each(|line| self.terminal.show(line))?;
                }
                let arrived = self.books.receipts(destination).map_or(0, |receipts| receipts.arrived);
                if let Receiver::Webhook(webhook) = receiver
                    && self.promised
                    && arrived % PROVOKED_PERIOD == PROVOKED_AT
                {
                    webhook.misbehave(1, Misbehaviour::Status { code: 503, retry_after: None });
                    self.provoked += 1;
                    let note = format!("{destination} is told to refuse the next one, to show a retry");
                    self.terminal.show(self.view.note(&note))?;
                }
            }
            let counts = *inbox.counts().borrow();
            if counts.refused > *refused {
                *refused = counts.refused;
                let why = inbox.last_refusal().unwrap_or_default();
                self.terminal.show(self.view.refusal(destination, &why, self.clock.wall()))?;
            }
        }
        Ok(())
    }

    /// Stops the pipeline in good order, then says what there is left to say.
    async fn strike(mut self, outcome: &Result<(Vec<String>, Ending), DemoError>) -> Result<(), DemoError> {
        self.stop.cancel();
        let quick = matches!(outcome, Ok((_, Ending::Quit)));
        let stopped = timeout(if quick { QUICK_STOP } else { STOP }, self.service.join_next()).await;
        if let Ok((lines, _)) = outcome {
            self.terminal.finish(lines.clone()).await;
        }
        match stopped {
            Ok(Some(Ok(Err(error)))) => Err(error.into()),
            Ok(Some(Err(_))) => Err(DemoError::Ended),
            Err(_) if !quick => Err(DemoError::NoStop),
            _ => Ok(()),
        }
    }
}
