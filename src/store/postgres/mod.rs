//! A store in PostgreSQL, which several processes share.
//!
//! Claims are rows with epochs, by the clock of the database; every write makes sure of its claim within its own
//! transaction. Whatever changes deliveries of a destination locks the row of the destination first, so the numbers of
//! its feed become visible in their order and its counts are true.
//!
//! Nothing depends on a session: no prepared statement, no lock and no setting outlives its transaction, so a pooler can
//! stand between. A process that hears nothing of the others looks at what has changed every second.
//!
//! A call that the database does not answer is made again for some seconds, which is safe for all of them; then it fails
//! with [`StoreError::Database`].

mod line;
mod read;
mod rows;
mod schema;
mod scratch;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use self::{
    line::{Connector, Line, Lines, Script, Session, Trouble},
    read::{Says, Sight},
};
pub use self::{schema::FillError, scratch::ScratchDatabase};
use super::{
    Action, Attendance, Claim, Cluster, Commit, DeliveryRecord, DestinationStanding, Duty, Feed, Figures,
    KnownCall, Page, Position, Query, Settlement, Share, Store, StoreError, Token, arrivals::Arrivals,
};
use crate::{
    batch::BatchKey,
    call::CallId,
    config::{Connection, Secret},
    event::{Event, Subject},
    name::Name,
    snapshot::Snapshot,
    time::Timestamp,
};

/// How long a call is made again while the database does not do its work.
const PATIENCE: Duration = Duration::from_secs(8);

/// The wait before the second time, which doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How often a call is made again because another transaction was in its way.
const CLASHES: u32 = 20;

/// How often a process looks whether others have changed something.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The shortest time between two looks.
const LOOK_AT_MOST: Duration = Duration::from_millis(20);

/// The shortest time between two notifications of the others.
const TELL_AT_MOST: Duration = Duration::from_millis(50);

/// How long it takes until listening is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(10);

/// How a shared store is reached.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// The address of the database, with user and password. Read again for each connection.
    pub url: Secret,
    /// The certificates to trust.
    pub connection: Connection,
    /// How long a claim holds unless it is renewed.
    pub lease: Duration,
}

/// A store in PostgreSQL. Several processes may have it open.
pub struct PostgresStore {
    inner: Arc<Inner>,
    /// Ends what goes on beside the calls.
    stop: CancellationToken,
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Says how the duties of the process go.
type Report = Arc<dyn Fn() -> Value + Send + Sync>;

struct Inner {
    lines: Lines,
    /// What the process announces of itself to the others, and whether it is about to end; `None` before it takes part.
    says: Mutex<Option<(Attendance, bool)>>,
    /// Says how its duties go.
    work: OnceLock<Report>,
    /// Counts how often it has taken a duty or given one back.
    moves: AtomicU64,
    /// Why the process must not work with the database any more, once that has been found.
    barred: OnceLock<StoreError>,
    /// Cancelled when it is barred.
    bar: CancellationToken,
    /// Writes for one duty are made one after the other, also when the call of an earlier one was dropped.
    turns: Mutex<BTreeMap<Duty, Arc<tokio::sync::Mutex<()>>>>,
    /// The duties that it believes to own.
    own: Mutex<BTreeSet<Duty>>,
    /// The duties that fall to this process; empty while nothing is known of the other processes.
    share: watch::Sender<Share>,
    /// Asks for a look around at once.
    look: Notify,
    /// Asks for the others to be told that something has changed.
    tell: Notify,
    /// Stands for this process: no two have the same.
    owner: String,
    lease: Duration,
    /// The database, as people are told of it.
    server: String,
    arrivals: Arrivals,
    /// For each destination the number of its latest change that this process knows of.
    heard: Mutex<BTreeMap<Name, i64>>,
    figures: Figures,
    closed: AtomicBool,
}

impl PostgresStore {
    /// Opens the store, and makes its schema if there is none.
    ///
    /// # Errors
    /// [`StoreError::NoAddress`] when the address is none, [`StoreError::Database`] when the database cannot be reached or does
    /// not allow it, [`StoreError::TooNew`] when a later version has changed the schema, [`StoreError::BeingFilled`] when
    /// another store is being carried into it.
    pub async fn open(config: &PostgresConfig) -> Result<Self, StoreError> {
        let store = Self::connect(config).await?;
        store.inner.ask(None, |session| schema::is_whole(session, &store.inner.server)).await?;
        store.begin_to_look();
        Ok(store)
    }

    /// Opens a database that another store is to be carried into. Until [`Self::filled`] nobody can open it to work with it, and
    /// whoever has it open stops. What an attempt before has left there is removed.
    ///
    /// # Errors
    /// [`FillError`] when there is something in it, or somebody works with it.
    pub async fn open_to_fill(config: &PostgresConfig) -> Result<Self, FillError> {
        let store = Self::connect(config).await?;
        let (inner, lease) = (&store.inner, store.inner.lease_millis());
        inner.ask(None, |session| schema::begin_filling(session, &inner.owner, lease)).await??;
        Ok(store)
    }

    /// Says that everything has been carried.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the database cannot be reached.
    pub async fn filled(&self) -> Result<(), StoreError> {
        self.inner.ask(None, schema::end_filling).await
    }

    async fn connect(config: &PostgresConfig) -> Result<Self, StoreError> {
        let connector = Connector { url: config.url.clone(), connection: config.connection.clone() };
        let server = match connector.address().await {
            Ok(address) => address.shown,
            Err(Trouble::Final(error)) => return Err(error),
            Err(_) => return Err(StoreError::Mistake("an address was read from the database")),
        };
        let owner = format!("{:032x}", fastrand::u128(..));
        let inner = Arc::new(Inner {
            lines: Lines::new(connector),
            owner,
            lease: config.lease,
            server,
            arrivals: Arrivals::default(),
            says: Mutex::default(),
            work: OnceLock::new(),
            moves: AtomicU64::new(0),
            barred: OnceLock::new(),
            bar: CancellationToken::new(),
            turns: Mutex::default(),
            own: Mutex::default(),
            share: watch::Sender::new(Share::default()),
            look: Notify::new(),
            tell: Notify::new(),
            heard: Mutex::default(),
            figures: Figures::default(),
            closed: AtomicBool::new(false),
        });
        inner
            .ask(None, |session| async {
                const COMMITS: &str = "SELECT current_setting('synchronous_commit')";
                let mut answers = session
                    .run(Script::begin().plain("RESET synchronous_commit").then(COMMITS, vec![]).commit())
                    .await?;
                let setting: String =
                    answers.next().first().map_or(Ok(String::new()), |row| rows::column(row, 0))?;
                if setting != "off" && setting != "local" {
                    inner.lines.leave_commits();
                }
                Ok(((), session))
            })
            .await?;
        inner.ask(None, |session| schema::prepare(session, &inner.server)).await?;
        Ok(Self { inner, stop: CancellationToken::new() })
    }

    /// Begins to look for what other processes do, and to tell them what this one does.
    fn begin_to_look(&self) {
        tokio::spawn(look(Arc::clone(&self.inner), self.stop.clone()));
        tokio::spawn(tell(Arc::clone(&self.inner), self.stop.clone()));
    }

    /// The database, as people are told of it: without user and password.
    pub fn server(&self) -> &str {
        &self.inner.server
    }

    /// Makes a write for a duty, when those before it are made.
    async fn write_for<T: Send + 'static>(
        &self,
        duty: &Duty,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(lock(&self.inner.turns).entry(duty.clone()).or_default());
        let turn = turn.lock_owned().await;
        let work = async move {
            let _turn = turn;
            work.await
        };
        self.write(work).await
    }

    /// Makes a write in a task of its own, so that dropping the call leaves nothing half done.
    async fn write<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        match tokio::spawn(work).await {
            Ok(done) => done,
            Err(_) => Err(StoreError::Failed { path: self.inner.server.clone() }),
        }
    }
}

/// Reads the state of the cluster every second, and when another process notifies: who takes part, which duties are free, and
/// which feeds have something new.
async fn look(inner: Arc<Inner>, stop: CancellationToken) {
    let (mut seen, mut listener) = (None, Listener::default());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = inner.look.notified() => sleep(LOOK_AT_MOST).await,
            () = sleep(LOOK_EVERY) => {}
        }
        if inner.closed.load(Ordering::Relaxed) {
            return;
        }
        let says = lock(&inner.says).clone();
        let takes_part = says.is_some();
        let says = says.map(|says| (says, lock(&inner.own).clone()));
        let names: Vec<_> = inner.arrivals.names().iter().map(|name| name.as_str().to_owned()).collect();
        if says.is_none() && names.is_empty() {
            continue;
        }
        if says.is_some() {
            listener.keep(&inner).await;
        }
        // The process announces itself when what it announces or its duties have changed, and every third of the lease.
        let said = says.as_ref().filter(|now| {
            let is_due = |at: &Instant| at.elapsed() >= inner.lease / 3;
            seen.as_ref().is_none_or(|(before, at)| before != *now || is_due(at))
        });
        let moves = inner.moves.load(Ordering::SeqCst);
        let looked = async {
            let session = inner.lines.session().await?;
            let said = said.map(|((attendance, leaving), _)| Says {
                attendance,
                leaving: *leaving,
                work: inner.work.get().map(|work| work()),
            });
            let (owner, lease) = (&inner.owner, inner.lease_millis());
            let (sight, session) =
                read::look(session, &inner.server, owner, said.as_ref(), lease, names, false).await?;
            session.finish();
            Ok::<_, Trouble>(sight)
        };
        let Sight { cluster, changes } = match stop.run_until_cancelled(looked).await {
            Some(Ok(sight)) => sight,
            Some(Err(Trouble::Final(
                error @ (StoreError::TooNew { .. } | StoreError::BeingFilled { .. }),
            ))) => return inner.bar(error),
            // Calls that need the database report its failure. Here it is enough to look again.
            Some(Err(_)) => continue,
            None => return,
        };
        if let Some(said) = said {
            seen = Some((said.clone(), Instant::now()));
        }
        if takes_part && moves != inner.moves.load(Ordering::SeqCst) {
            // The process has taken a duty or given one back meanwhile, so what it read may be older: look again at once.
            inner.look.notify_one();
        } else if takes_part {
            let share = Share::of(&cluster, &inner.owner);
            // Watchers are notified at every look until the duties have been given back.
            let is_asked = !share.give_back.is_empty();
            inner
                .share
                .send_if_modified(|before| is_asked | (std::mem::replace(before, share.clone()) != share));
        }
        inner.wake(changes);
    }
}

/// The connection that listens to other processes. Without it, they are looked for every second.
#[derive(Default)]
struct Listener {
    line: Option<Line>,
    tried: Option<Instant>,
}

impl Listener {
    /// Connects when there is no connection, now and then.
    async fn keep(&mut self, inner: &Arc<Inner>) {
        let is_well = self.line.as_ref().is_some_and(|line| !line.is_closed());
        if is_well || self.tried.is_some_and(|at| at.elapsed() < LISTEN_AGAIN) {
            return;
        }
        self.tried = Some(Instant::now());
        let of = Arc::downgrade(inner);
        let heard = move |by: &str| {
            if let Some(inner) = of.upgrade().filter(|inner| inner.owner != by) {
                inner.look.notify_one();
            }
        };
        self.line = inner.lines.connector().listen(Box::new(heard)).await.ok();
    }
}

/// Tells the others that something has changed, not too often.
async fn tell(inner: Arc<Inner>, stop: CancellationToken) {
    while stop.run_until_cancelled(inner.tell.notified()).await.is_some() {
        let told = async {
            let session = inner.lines.session().await?;
            let ((), session) = read::notify(session, &inner.owner).await?;
            session.finish();
            Ok::<_, Trouble>(())
        };
        // It is only a hint.
        let _ = stop.run_until_cancelled(told).await;
        stop.run_until_cancelled(sleep(TELL_AT_MOST)).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    /// Does `work` with a connection, again and again while that may help.
    async fn ask<T, F>(&self, claim: Option<&Claim>, work: impl Fn(Session) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<(T, Session), Trouble>>,
    {
        self.admitted()?;
        self.ask_all_the_same(claim, work).await
    }

    /// The error that every call fails with once the process is barred from the database.
    fn admitted(&self) -> Result<(), StoreError> {
        self.barred.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// As [`Self::ask`], but also for a process that is barred from the database and may only clean up.
    async fn ask_all_the_same<T, F>(
        &self,
        claim: Option<&Claim>,
        work: impl Fn(Session) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<(T, Session), Trouble>>,
    {
        let began = Instant::now();
        let (mut wait, mut clashes) = (FIRST_WAIT, 0);
        loop {
            if self.closed.load(Ordering::Relaxed) {
                return Err(StoreError::Closed);
            }
            let done = async { work(self.lines.session().await?).await };
            let why = match done.await {
                Ok((done, session)) => {
                    session.finish();
                    return Ok(done);
                }
                Err(Trouble::Final(StoreError::Damaged { path: _, why, advice })) => {
                    return Err(StoreError::Damaged { path: self.server.clone(), why, advice });
                }
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Lost) => {
                    return Err(match claim {
                        Some(claim) => {
                            self.note(&claim.duty, false);
                            StoreError::ClaimLost { duty: claim.duty.clone() }
                        }
                        None => StoreError::Mistake("a claim was lost that nobody has"),
                    });
                }
                Err(Trouble::Forgotten) => {
                    return Err(StoreError::Mistake("a forgotten call was to be written"));
                }
                Err(Trouble::Clash(_)) if clashes < CLASHES => {
                    clashes += 1;
                    sleep(Duration::from_millis(fastrand::u64(1..20))).await;
                    continue;
                }
                Err(Trouble::Refused(why)) => {
                    return Err(StoreError::Database { server: self.server.clone(), why });
                }
                Err(Trouble::Clash(why) | Trouble::Passing(why)) => why,
            };
            if began.elapsed() >= PATIENCE {
                return Err(StoreError::Database { server: self.server.clone(), why });
            }
            // Jitter, so that processes that lost the database together do not all return at once.
            sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Makes every later call fail with `error`, and wakes the callers that wait for a duty, so that they ask once more.
    fn bar(&self, error: StoreError) {
        let _ = self.barred.set(error);
        self.bar.cancel();
    }

    fn lease_millis(&self) -> i64 {
        i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX)
    }

    /// Whether the process may ask for a duty.
    fn may_take(&self, duty: &Duty) -> bool {
        let share = self.share.borrow();
        lock(&self.own).contains(duty) || share.take.contains(duty) || share.own.contains(duty)
    }

    /// Takes note that a duty is, or is not, its own.
    fn note(&self, duty: &Duty, is_own: bool) {
        if is_own {
            if lock(&self.own).insert(duty.clone()) {
                self.moves.fetch_add(1, Ordering::SeqCst);
            }
        } else {
            lock(&self.own).remove(duty);
            self.moves.fetch_add(1, Ordering::SeqCst);
            self.share.send_if_modified(|share| share.take.remove(duty) | share.own.remove(duty));
        }
    }

    /// Wakes the owners here, and the other processes, for what this one has written.
    fn wrote(&self, changes: Vec<(Name, i64)>) {
        if !changes.is_empty() && self.share.borrow().nodes > 1 {
            self.tell.notify_one();
        }
        self.wake(changes);
    }

    /// Wakes the owners of destinations with changes that were not heard of yet.
    fn wake(&self, changes: Vec<(Name, i64)>) {
        let mut heard = lock(&self.heard);
        for (destination, change) in changes {
            let before = heard.entry(destination.clone()).or_default();
            if change > *before {
                *before = change;
                self.arrivals.wake(&destination);
            }
        }
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn claim(&self, duty: &Duty) -> Result<Option<Claim>, StoreError> {
        let (inner, duty) = (Arc::clone(&self.inner), duty.clone());
        // A process that has no duties asks the database nothing, and has to end as well.
        inner.admitted()?;
        if lock(&inner.says).is_some() && !inner.may_take(&duty) {
            return Ok(None);
        }
        self.write(async move {
            let lease = inner.lease_millis();
            // A renewal must not take the duty again when it is given back at the same moment.
            let epoch = if lock(&inner.own).contains(&duty) {
                inner.ask(None, |session| write::renew(session, &inner.owner, &duty, lease)).await?
            } else {
                inner.ask(None, |session| write::claim(session, &inner.owner, &duty, lease)).await?
            };
            inner.note(&duty, epoch.is_some());
            Ok(epoch.map(|epoch| Claim { duty, epoch, lease: Some(inner.lease) }))
        })
        .await
    }

    async fn give_up(&self, claim: Claim) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        self.write(async move {
            inner.note(&claim.duty, false);
            let given =
                inner.ask(Some(&claim), |session| write::give_up(session, &inner.owner, &claim)).await;
            // A look at the cluster between the two notes may have seen the duty as still this process's own.
            inner.note(&claim.duty, false);
            given
        })
        .await
    }

    async fn commit(&self, claim: &Claim, commit: Commit) -> Result<(), StoreError> {
        let (inner, claim, duty) = (Arc::clone(&self.inner), claim.clone(), claim.duty.clone());
        self.write_for(&duty, async move {
            let (began, careful) = (Instant::now(), AtomicBool::new(false));
            let told = inner
                .ask(Some(&claim), |session| write::commit(session, &inner.owner, &claim, &commit, &careful))
                .await?;
            inner.figures.commits.observe(began.elapsed().as_secs_f64());
            inner.wrote(told);
            Ok(())
        })
        .await
    }

    async fn snapshots(&self, source: &Name, calls: &[CallId]) -> Result<Vec<Option<Snapshot>>, StoreError> {
        self.inner.ask(None, |session| read::snapshots(session, source, calls)).await
    }

    async fn known(
        &self,
        source: &Name,
        after: Option<&CallId>,
        limit: usize,
    ) -> Result<Vec<KnownCall>, StoreError> {
        self.inner.ask(None, |session| read::known(session, source, after, limit)).await
    }

    async fn checkpoint(&self, duty: &Duty) -> Result<Option<Value>, StoreError> {
        self.inner.ask(None, |session| read::checkpoint(session, duty)).await
    }

    async fn pending(&self, claim: &Claim, after: Position, limit: usize) -> Result<Feed, StoreError> {
        let Duty::Destination(destination) = &claim.duty else {
            return Err(StoreError::Mistake("only a destination has a feed"));
        };
        let owner = &self.inner.owner;
        self.inner
            .ask(Some(claim), |session| read::pending(session, owner, claim, destination, after, limit))
            .await
    }

    async fn bodies(&self, tokens: &[Token]) -> Result<Vec<Option<Arc<Event>>>, StoreError> {
        self.inner.ask(None, |session| read::bodies(session, tokens)).await
    }

    async fn memos(&self, destination: &Name, lanes: &[Subject]) -> Result<Vec<Option<Value>>, StoreError> {
        self.inner.ask(None, |session| read::memos(session, destination, lanes)).await
    }

    async fn ledgers(&self, destination: &Name) -> Result<BTreeMap<BatchKey, Value>, StoreError> {
        self.inner.ask(None, |session| read::ledgers(session, destination)).await
    }

    async fn settle(&self, claim: &Claim, settlement: Settlement) -> Result<(), StoreError> {
        let Duty::Destination(destination) = &claim.duty else {
            return Err(StoreError::Mistake("only deliveries of a destination are settled"));
        };
        let (inner, claim, destination) = (Arc::clone(&self.inner), claim.clone(), destination.clone());
        self.write_for(&claim.duty.clone(), async move {
            let (owner, it) = (&inner.owner, &settlement);
            let told = inner
                .ask(Some(&claim), |session| write::settle(session, owner, &claim, &destination, it))
                .await?;
            inner.wrote(told);
            Ok(())
        })
        .await
    }

    fn arrivals(&self, destination: &Name) -> Arc<Notify> {
        self.inner.arrivals.of(destination)
    }

    async fn destinations(&self) -> Result<BTreeMap<Name, DestinationStanding>, StoreError> {
        self.inner.ask(None, read::destinations).await
    }

    async fn query(&self, query: &Query) -> Result<Page<DeliveryRecord>, StoreError> {
        self.inner.ask(None, |session| read::query(session, query)).await
    }

    async fn act(&self, action: Action) -> Result<usize, StoreError> {
        let inner = Arc::clone(&self.inner);
        self.write(async move {
            let (count, told) = inner.ask(None, |session| write::act(session, &action)).await?;
            inner.wake(told);
            // Notify at once, because a command's process ends before the task that notifies would. The notification is only a
            // hint, so the action succeeds even when it fails.
            let told = async {
                let session = inner.lines.session().await.ok()?;
                let ((), session) = read::notify(session, &inner.owner).await.ok()?;
                session.finish();
                Some(())
            };
            told.await;
            Ok(count)
        })
        .await
    }

    async fn purge(&self, claim: &Claim, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let (inner, claim) = (Arc::clone(&self.inner), claim.clone());
        self.write(async move {
            let owner = &inner.owner;
            inner.ask(Some(&claim), |session| write::purge(session, owner, &claim, before, limit)).await
        })
        .await
    }

    async fn shrink(&self, claim: &Claim, source: &Name, before: Timestamp) -> Result<(), StoreError> {
        let mut after = Some(vec![]);
        while let Some(from) = after {
            let (inner, claim, source) = (Arc::clone(&self.inner), claim.clone(), source.clone());
            let step = async move {
                let (owner, from) = (&inner.owner, &from[..]);
                let work = |session| write::shrink(session, owner, &claim, &source, before, from);
                inner.ask(Some(&claim), work).await
            };
            after = self.write(step).await?;
        }
        Ok(())
    }

    fn attend(&self, says: Option<Attendance>) {
        let mut now = lock(&self.inner.says);
        match says {
            Some(says) => *now = Some((says, false)),
            None => now.iter_mut().for_each(|(_, leaving)| *leaving = true),
        }
        drop(now);
        self.inner.look.notify_one();
    }

    fn report(&self, work: Report) {
        let _ = self.inner.work.set(work);
    }

    async fn vacancy(&self, duty: &Duty) {
        if lock(&self.inner.says).is_none() {
            return sleep(LOOK_EVERY).await;
        }
        let mut share = self.inner.share.subscribe();
        let falls_to_it = share.wait_for(|share| share.take.contains(duty) || share.own.contains(duty));
        // Waiting cannot fail: the sender lives as long as the store.
        let _ = self.inner.bar.run_until_cancelled(falls_to_it).await;
    }

    fn share(&self) -> Option<watch::Receiver<Share>> {
        Some(self.inner.share.subscribe())
    }

    async fn cluster(&self) -> Result<Option<Cluster>, StoreError> {
        let (server, owner, lease) = (&self.inner.server, &self.inner.owner, self.inner.lease_millis());
        let look = |session| read::look(session, server, owner, None, lease, vec![], true);
        Ok(Some(self.inner.ask(None, look).await?.cluster))
    }

    async fn figures(&self) -> Result<Figures, StoreError> {
        Ok(self.inner.figures.clone())
    }

    async fn close(&self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        self.write(async move {
            let give_up = |session| write::give_up_all(session, &inner.owner);
            let given = inner.ask_all_the_same(None, give_up).await;
            inner.closed.store(true, Ordering::Relaxed);
            inner.lines.close();
            given
        })
        .await
    }
}
