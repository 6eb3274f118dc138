//! The demo itself: it runs the real pipeline in a simulated world and watches it from both ends.

mod interrupts;
mod judge;
mod nodes;

use std::{io, num::NonZeroUsize, sync::Arc, time::Duration};

use self::{interrupts::Interrupts, nodes::Nodes};
use super::{
    books::Books,
    narrator::Narrator,
    oracle::Promise,
    receivers::Misbehaviour,
    script::{Script, Step},
    sighting::Sighting,
    terminal::{Closed, Terminal},
    world::{Receiver, World},
};
use crate::{
    config::Secret,
    config_file::Config,
    store::{ScratchDatabase, StoreError},
    style::Style,
    supervisor::RunError,
    telemetry::Signal,
    time::Clock,
};
use tempfile::TempDir;
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, Interval, MissedTickBehavior, timeout_at},
};

/// How many calls each source has before the demo begins.
const OLD_CALLS: u32 = 150;

/// How often the demo looks for what has arrived at the receivers.
const TICK: Duration = Duration::from_millis(50);

/// How long the baseline of all sources may take.
const BASELINE: Duration = Duration::from_secs(30);

/// How long the demo waits for what is under way when no more changes come.
const CATCH_UP: Duration = Duration::from_secs(15);

/// How long attempts in flight may go on when the pipeline stops. By then there should be none.
const GRACE: Duration = Duration::from_secs(2);

/// How long the pipeline may take to stop.
const STOP: Duration = Duration::from_secs(10);

/// How long the pipeline may take to stop when nobody wants to see the summary.
const QUICK_STOP: Duration = Duration::from_secs(1);

/// So that a retry is seen, the webhook receiver of the bundled config is told to refuse a message after this many
/// arrivals out of every [`PROVOKED_PERIOD`].
const PROVOKED_AT: u64 = 4;

/// The arrivals between two refusals, see [`PROVOKED_AT`].
const PROVOKED_PERIOD: u64 = 10;

/// The choices of whoever starts the demo.
#[derive(Debug)]
pub struct Options {
    /// The config. Its names and rules are used, and everything outside of this machine is replaced.
    pub config: Config,
    /// The promises of its rules; empty when they are not known, as for a config of the user's own.
    pub promises: &'static [Promise],
    /// How long calls come and go; `None` for until Ctrl-C.
    pub lasts: Option<Duration>,
    /// The same seed simulates the same calls.
    pub seed: u64,
    /// Several processes that share a database, of which one is killed now and then.
    pub cluster: Option<ClusterOptions>,
}

/// The choices about several processes.
#[derive(Debug)]
pub struct ClusterOptions {
    /// How many.
    pub nodes: NonZeroUsize,
    /// The address of a PostgreSQL server, where they get a database of their own for as long as the demo lasts.
    pub server: Secret,
}

/// How a demo ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything that had to arrive did.
    NoneLost,
    /// Something was lost, or arrived wrongly.
    Lost,
    /// The demo was interrupted, or its output was closed, before it could tell.
    Quit,
}

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The system refused a port, a folder, a thread or a signal.
    #[error("the demo cannot {doing}: {why}")]
    Io {
        /// The step that failed, as in "cannot start a local server".
        doing: &'static str,
        /// The system's error.
        #[source]
        why: io::Error,
    },
    /// The temporary store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The pipeline failed.
    #[error("the pipeline stopped by itself: {0}")]
    Service(#[from] RunError),
    /// The pipeline ended without an error, or panicked.
    #[error("the pipeline ended unexpectedly")]
    Ended,
    /// The pipeline did not stop when told to.
    #[error("the pipeline did not stop within {}", humantime::format_duration(STOP))]
    NoStop,
    /// The baseline was not done in time.
    #[error("the baseline was not done within {}", humantime::format_duration(BASELINE))]
    NoBaseline,
}

impl DemoError {
    fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |why| Self::Io { doing, why }
    }
}

/// Runs a demo and shows it on standard output.
///
/// # Errors
/// [`DemoError`] when the demo could not be set up or the pipeline failed. That something was lost is an [`Ending`].
pub async fn show(options: Options) -> Result<Ending, DemoError> {
    let folder = TempDir::with_prefix("callwatch-demo-").map_err(DemoError::io("make a temporary folder"))?;
    let mut show = Show::set_up(options, &folder).await?;
    let outcome = match show.run().await {
        Ok(()) => show.summarize().await,
        Err(Halt::Quit) => Ok((vec![], Ending::Quit)),
        Err(Halt::Failed(error)) => Err(error),
    };
    let stopped = show.shut_down(&outcome).await;
    // An error of the show itself explains more than one of stopping it.
    let (_, ending) = outcome?;
    stopped?;
    let removed =
        tokio::task::spawn_blocking(|| folder.close()).await.unwrap_or_else(|error| Err(error.into()));
    removed.map_err(DemoError::io("remove its temporary folder")).map(|()| ending)
}

/// Why a show ends early.
enum Halt {
    Quit,
    Failed(DemoError),
}

impl From<Closed> for Halt {
    fn from(Closed: Closed) -> Self {
        Self::Quit
    }
}

impl<E: Into<DemoError>> From<E> for Halt {
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
    narrator: Narrator,
    /// Whether a message was shown as its receiver reads it.
    shown: bool,
    style: Style,
    terminal: Terminal,
    /// Whether the books know what has to arrive.
    promised: bool,
    lasts: Option<Duration>,
    lasted: Duration,
    waited: Duration,
    /// How often the bundled config's webhook was told to refuse.
    provoked: u64,
    /// How many messages each receiver has refused because they were wrong, in the order of the config.
    refused: Vec<u64>,
    /// The pipeline.
    nodes: Nodes,
    /// What the pipeline did and ran into.
    signals: UnboundedReceiver<Signal>,
    ticks: Interval,
    interrupts: Interrupts,
}

/// A source's script, and its next step.
struct Scripted {
    script: Script,
    next: Option<Step>,
}

/// Anything that the show has to react to.
enum Happened {
    /// The time that was asked for has come.
    Woken,
    /// Arrivals have been taken in.
    Tick,
    /// A source's baseline is done.
    Baselined,
    /// Ctrl-C.
    Interrupted,
    /// Something that was shown and needs no reaction.
    Other,
}

impl Show {
    async fn set_up(options: Options, folder: &TempDir) -> Result<Self, DemoError> {
        let Options { config, promises, lasts, seed, cluster } = options;
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
        let narrator = Narrator::new(style, &world, begun);
        let (count, database) = match cluster {
            Some(ClusterOptions { nodes, server }) => {
                (nodes.get(), Some(ScratchDatabase::make(server).await?))
            }
            None => (1, None),
        };
        let nodes = database.as_ref().map(|database| (count, database.server()));
        for line in narrator.introduction(&world, &config, OLD_CALLS, lasts, nodes) {
            // When nobody reads it, the next line finds that out, too.
            let _ = terminal.show(line);
        }
        let begun = Nodes::begin(config, database.clone(), count, clock).await;
        if let (Err(_), Some(database)) = (&begun, database) {
            // The reason why it did not begin says more than why it cannot be removed.
            let _ = database.remove().await;
        }
        let (nodes, signals) = begun?;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            clock,
            scripts,
            books: Books::new(promises, world.destinations.iter().map(|(name, _)| name.clone())),
            narrator,
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
            nodes,
            signals,
            ticks,
            interrupts,
        })
    }

    async fn run(&mut self) -> Result<(), Halt> {
        self.wait_for_baseline().await?;
        self.follow_script().await?;
        self.catch_up().await
    }

    async fn wait_for_baseline(&mut self) -> Result<(), Halt> {
        let deadline = Instant::now() + BASELINE;
        let mut missing = self.world.sources.len();
        while missing > 0 {
            match self.next(deadline).await? {
                Happened::Baselined => missing -= 1,
                Happened::Interrupted => return Err(Halt::Quit),
                Happened::Woken => return Err(DemoError::NoBaseline.into()),
                Happened::Tick | Happened::Other => {}
            }
        }
        Ok(())
    }

    /// Lets calls come and go until the time is over or Ctrl-C is pressed.
    async fn follow_script(&mut self) -> Result<(), Halt> {
        let begun = Instant::now();
        let end = self.lasts.and_then(|lasts| begun.checked_add(lasts));
        loop {
            let steps = self.scripts.iter().filter_map(|scripted| scripted.next.as_ref());
            let due = steps.map(|step| begun + step.after).chain(end).min();
            match self.next(due.unwrap_or(begun)).await? {
                Happened::Interrupted => break,
                Happened::Woken if end.is_some_and(|end| Instant::now() >= end) => break,
                Happened::Woken => self.perform(begun.elapsed()),
                Happened::Tick => self.tell_of_nodes(true).await?,
                Happened::Baselined | Happened::Other => {}
            }
        }
        self.lasted = begun.elapsed();
        Ok(self.terminal.show(self.narrator.note("no more changes; waiting for what is under way"))?)
    }

    /// Shows what happens to the processes.
    async fn tell_of_nodes(&mut self, may_kill: bool) -> Result<(), Halt> {
        for told in self.nodes.go_on(may_kill).await? {
            self.terminal.show(self.narrator.node(&told, self.clock.wall()))?;
        }
        Ok(())
    }

    /// Performs all steps that are due after this time.
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

    /// Waits until the store knows every call as it is, no delivery is pending, and everything owed has arrived.
    async fn catch_up(&mut self) -> Result<(), Halt> {
        let begun = Instant::now();
        let deadline = begun + CATCH_UP;
        loop {
            match self.next(deadline).await? {
                Happened::Interrupted => return Err(Halt::Quit),
                Happened::Tick => {
                    self.tell_of_nodes(false).await?;
                    match timeout_at(deadline, self.has_caught_up()).await {
                        Ok(caught_up) => {
                            if caught_up? {
                                break;
                            }
                        }
                        Err(_) => break,
                    }
                }
                Happened::Woken => break,
                Happened::Baselined | Happened::Other => {}
            }
        }
        self.receive()?;
        self.waited = begun.elapsed();
        Ok(())
    }

    /// Waits for what happens next, at the latest at `wake`, and shows it.
    async fn next(&mut self, wake: Instant) -> Result<Happened, Halt> {
        tokio::select! {
            () = self.interrupts.next() => Ok(Happened::Interrupted),
            failure = self.nodes.failure() => Err(failure.into()),
            Some(signal) = self.signals.recv() => {
                if let Some(line) = self.narrator.signal(&signal, self.clock.wall()) {
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

    /// Takes in and shows what has arrived.
    fn receive(&mut self) -> Result<(), Closed> {
        for ((destination, receiver), refused) in self.world.destinations.iter().zip(&mut self.refused) {
            let inbox = receiver.inbox();
            for arrival in inbox.take() {
                let sighting = Sighting::of(&arrival);
                let receipt = self.books.arrived(destination, &sighting, |debt| sighting.tells(debt));
                self.terminal.show(self.narrator.arrival(
                    destination,
                    &arrival,
                    &sighting,
                    receipt.latency,
                ))?;
                // The first one for people, so that a newcomer sees what they will get.
                if !self.shown
                    && let Some(lines) = self.narrator.message(&arrival)
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
                    let note = format!("{destination} is told to refuse the next message, to show a retry");
                    self.terminal.show(self.narrator.note(&note))?;
                }
            }
            let counts = *inbox.counts().borrow();
            if counts.refused > *refused {
                *refused = counts.refused;
                let why = inbox.last_refusal().unwrap_or_default();
                self.terminal.show(self.narrator.refusal(destination, &why, self.clock.wall()))?;
            }
        }
        Ok(())
    }

    /// Stops the pipeline, then prints the summary.
    async fn shut_down(self, outcome: &Result<(Vec<String>, Ending), DemoError>) -> Result<(), DemoError> {
        let quick = matches!(outcome, Ok((_, Ending::Quit)));
        let stopped = self.nodes.shut_down(if quick { QUICK_STOP } else { STOP }, QUICK_STOP).await;
        if let Ok((lines, _)) = outcome {
            self.terminal.finish(lines.clone()).await;
        }
        match stopped {
            Some(stopped) => stopped,
            None if quick => Ok(()),
            None => Err(DemoError::NoStop),
        }
    }
}
