//! The processes of the demo: one over a folder, or several over a database of its own, of which one is killed now and then.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::{AbortHandle, JoinSet},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::DemoError;
use crate::{
    config::Connection,
    config_file::Config,
    server::{Server, Service},
    store::{Duty, PostgresConfig, PostgresStore, ScratchDatabase, SledStore, Store, StoreError},
    supervisor::{RunError, Supervisor},
    telemetry::{Signal, Telemetry},
    time::Clock,
};

/// How long a claim holds here: shorter than anywhere else, so that the others are seen to take over.
const LEASE: Duration = Duration::from_secs(3);

/// The time between two things that are done to the processes: one is killed, or begins again.
const TROUBLE_EVERY: Duration = Duration::from_secs(8);

/// How often the demo looks at who works on what.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long such a look may take.
const LOOK: Duration = Duration::from_secs(2);

/// All processes. Each is a pipeline with a store of its own, so dropping one is, for the others, what `kill -9` is.
pub(super) struct Nodes {
    /// Looks at the store, and works on nothing.
    pub(super) store: Arc<dyn Store>,
    sender: UnboundedSender<Signal>,
    clock: Clock,
    config: Config,
    /// The database, when there are several.
    database: Option<ScratchDatabase>,
    nodes: Vec<Node>,
    tasks: JoinSet<Result<(), RunError>>,
    stop: CancellationToken,
    /// The page, which the first process serves. That one is never killed.
    server: Server,
    /// The event counts, by rule, of the processes that were killed.
    counted: BTreeMap<String, u64>,
    /// How many were killed.
    pub(super) kills: u64,
    /// The process that is next.
    next: usize,
    troubled: Instant,
    looked: Instant,
    owners: BTreeMap<Duty, String>,
}

struct Node {
    name: String,
    /// `None` while it is killed.
    work: Option<(AbortHandle, Telemetry)>,
}

impl Nodes {
    /// Begins one process over the folder that `config` names, or `count` over `database`. Every signal of every process comes
    /// through the channel, which has no bound and has to be emptied without waiting for a terminal.
    pub(super) async fn begin(
        config: Config,
        database: Option<ScratchDatabase>,
        count: usize,
        clock: Clock,
    ) -> Result<(Self, UnboundedReceiver<Signal>), DemoError> {
        let store: Arc<dyn Store> = match &database {
            None => Arc::new(SledStore::open(&config.store).await?),
            Some(database) => open(database).await?,
        };
        let (sender, signals) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let telemetry = telemetry(&sender, clock);
        let mut tasks = JoinSet::new();
        let first: Arc<dyn Store> = match &database {
            None => Arc::clone(&store),
            Some(database) => open(database).await?,
        };
        let pipeline = Supervisor::new(Arc::clone(&first), telemetry.clone(), clock).named(name(0));
        // There is no file to reload: the user's own would send to the user's own receivers.
        let service = Service::new(first, telemetry.clone(), clock, pipeline.handle(), None);
        let server = Server::new(service, &stop);
        let run = pipeline.with_door(server.clone()).run(config.clone(), stop.clone());
        let work = Some((tasks.spawn(run), telemetry));
        let mut nodes = Self {
            store,
            sender,
            clock,
            config,
            database,
            nodes: vec![Node { name: name(0), work }],
            tasks,
            stop,
            server,
            counted: BTreeMap::new(),
            kills: 0,
            next: 1,
            troubled: Instant::now(),
            looked: Instant::now(),
            owners: BTreeMap::new(),
        };
        for at in 1..count {
            nodes.nodes.push(Node { name: name(at), work: None });
            nodes.start(at).await?;
        }
        Ok((nodes, signals))
    }

    /// Begins a process anew, as a machine does that is back.
    async fn start(&mut self, at: usize) -> Result<(), DemoError> {
        let (Some(database), Some(node)) = (&self.database, self.nodes.get_mut(at)) else { return Ok(()) };
        let telemetry = telemetry(&self.sender, self.clock);
        let pipeline = Supervisor::new(open(database).await?, telemetry.clone(), self.clock);
        let config = Config { server: None, ..self.config.clone() };
        let run = pipeline.named(node.name.clone()).run(config, self.stop.clone());
        node.work = Some((self.tasks.spawn(run), telemetry));
        Ok(())
    }

    /// Waits until a process ends that was neither killed nor told to.
    pub(super) async fn failure(&mut self) -> DemoError {
        loop {
            match self.tasks.join_next().await {
                Some(Err(error)) if error.is_cancelled() => {}
                Some(Ok(Err(error))) => return error.into(),
                Some(_) | None => return DemoError::Ended,
            }
        }
    }

    /// Kills a process or lets one begin again when it is time for that, and looks at who works on what. Returns what there is to
    /// tell of it.
    pub(super) async fn go_on(&mut self, may_kill: bool) -> Result<Vec<String>, DemoError> {
        let mut told = vec![];
        if self.nodes.len() < 2 {
            return Ok(told);
        }
        if self.looked.elapsed() >= LOOK_EVERY {
            self.looked = Instant::now();
            told.extend(self.taken_over().await);
        }
        if self.troubled.elapsed() < TROUBLE_EVERY {
            return Ok(told);
        }
        let killed = self.nodes.iter().position(|node| node.work.is_none());
        if let Some(at) = killed {
            self.start(at).await?;
            told.push(format!("{} begins again", self.nodes[at].name));
        } else if may_kill {
            let at = self.next;
            self.next = at % (self.nodes.len() - 1) + 1;
            let Node { name, work } = &mut self.nodes[at];
            if let Some((task, telemetry)) = work.take() {
                task.abort();
                add_events(&mut self.counted, &telemetry);
            }
            self.kills += 1;
            let own = self.owners.iter().filter(|(_, owner)| *owner == name);
            let own: Vec<_> = own.map(|(duty, _)| duty.to_string()).collect();
            let own = if own.is_empty() { "nothing".to_owned() } else { own.join(", ") };
            told.push(format!("{name} is killed; it worked on: {own}"));
        } else {
            return Ok(told);
        }
        self.troubled = Instant::now();
        Ok(told)
    }

    /// A line for each process that works on something that it did not work on before.
    async fn taken_over(&mut self) -> Vec<String> {
        // The next look is soon.
        let Ok(Ok(Some(cluster))) = timeout(LOOK, self.store.cluster()).await else { return vec![] };
        let mut news = BTreeMap::<&str, Vec<String>>::new();
        for held in &cluster.duties {
            let owner = held.owner.as_ref().and_then(|id| cluster.nodes.iter().find(|node| node.id == *id));
            let Some(owner) = owner.map(|node| node.says.name.as_str()) else { continue };
            if self.owners.insert(held.duty.clone(), owner.to_owned()).as_deref() != Some(owner) {
                news.entry(owner).or_default().push(held.duty.to_string());
            }
        }
        news.into_iter().map(|(name, duties)| format!("{name} works on: {}", duties.join(", "))).collect()
    }

    /// Events by rule, as the processes counted them.
    pub(super) fn events(&self) -> BTreeMap<String, u64> {
        let mut events = self.counted.clone();
        for (_, telemetry) in self.nodes.iter().filter_map(|node| node.work.as_ref()) {
            add_events(&mut events, telemetry);
        }
        events
    }

    /// Ends all processes, and removes what they worked in. `None` when they did not end within `most`.
    pub(super) async fn shut_down(mut self, most: Duration, page: Duration) -> Option<Result<(), DemoError>> {
        self.stop.cancel();
        let ended = async {
            let mut failure = None;
            while let Some(ended) = self.tasks.join_next().await {
                failure = failure.or(match ended {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.into()),
                    Err(error) if error.is_cancelled() => None,
                    Err(_) => Some(DemoError::Ended),
                });
            }
            failure.map_or(Ok(()), Err)
        };
        let ended = timeout(most, ended).await.ok();
        // A browser that keeps its connection is not waited for.
        let _ = timeout(page, self.server.close()).await;
        let Some(database) = self.database else { return ended };
        let closed = self.store.close().await.map_err(DemoError::from);
        let removed = database.remove().await.map_err(DemoError::from);
        ended.map(|ended| ended.and(closed).and(removed))
    }
}

fn add_events(events: &mut BTreeMap<String, u64>, telemetry: &Telemetry) {
    for ((_, rule), count) in telemetry.counts().into_iter().filter(|((what, _), _)| *what == "events") {
        *events.entry(rule).or_default() += count;
    }
}

fn name(at: usize) -> String {
    format!("node {}", at + 1)
}

fn telemetry(sender: &UnboundedSender<Signal>, clock: Clock) -> Telemetry {
    let sender = sender.clone();
    // Sending fails only when the show is over.
    Telemetry::with_listener(clock, move |signal| drop(sender.send(signal.clone())))
}

async fn open(database: &ScratchDatabase) -> Result<Arc<dyn Store>, StoreError> {
    let config =
        PostgresConfig { url: database.url().await?, connection: Connection::default(), lease: LEASE };
    Ok(Arc::new(PostgresStore::open(&config).await?))
}
