//! The thread sled lives on. Every request to the store is a job for it. Jobs that read are answered at once; all
//! waiting jobs that write are written together, and answered when that is durable.
//!
//! In such a group commits come first, because somebody may wait for their deliveries. Between groups the thread folds,
//! and when it has nothing to do, it looks for damage.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::error;

use super::{
    engine::Engine,
    fault::Fault,
    lock::Lock,
    open::{self, Opened},
};
use crate::{
    config::StoreConfig,
    store::{LAZY_SYNC, StoreError, arrivals::Arrivals},
};

/// The most jobs that may wait; the caller of another one waits for a place.
const QUEUE: usize = 256;

/// The most jobs that are taken before those that write are written.
const GROUP: usize = 256;

/// Changes are folded when the first of them is this old.
const FOLD_EVERY: Duration = Duration::from_secs(60);

/// About how many changes are folded before other jobs have their turn.
const FOLD_SLICE: usize = 2000;

/// How long no job must have come before a slice of the search for damage.
const SCRUB_TICK: Duration = Duration::from_secs(1);

/// Time from the beginning of a pass of that search to the beginning of the next.
const SCRUB_EVERY: Duration = Duration::from_secs(86_400);

/// Answers a job that has written something, once that is durable or is known not to be.
type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A job that reads, and is answered at once.
type Read = Box<dyn FnOnce(&mut Engine, &Path) + Send>;

/// A job that writes. It stages changes, and returns the answer to be given when they are written; `None` when they
/// were refused and that was answered. After an error, which was answered too, the engine cannot be relied on.
type Write = Box<dyn FnOnce(&mut Engine, &Path) -> Result<Option<Reply>, StoreError> + Send>;

/// The caller that asked the thread to close, and waits for it.
type Closer = oneshot::Sender<Result<(), StoreError>>;

enum Job {
    Read(Read),
    Write { is_commit: bool, write: Write },
    Close(Closer),
}

/// A handle to the thread, to send it jobs.
pub(super) struct Thread {
    /// Incidents of the opening that a person should know of, one sentence each.
    pub(super) findings: Vec<String>,
    jobs: mpsc::Sender<(Job, OwnedSemaphorePermit)>,
    places: Arc<Semaphore>,
    /// Why the thread takes no jobs any more, once it has ended.
    ended: Arc<OnceLock<StoreError>>,
    path: PathBuf,
}

impl Thread {
    /// Starts the thread and opens the store on it.
    pub(super) async fn start(config: &StoreConfig, arrivals: Arc<Arrivals>) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel();
        let (opened, answer) = oneshot::channel();
        let ended = Arc::new(OnceLock::new());
        let places = Arc::new(Semaphore::new(QUEUE));
        let thread = Self {
            findings: vec![],
            jobs,
            places: Arc::clone(&places),
            ended: Arc::clone(&ended),
            path: config.path.clone(),
        };
        let config = config.clone();
        let run = move || {
            let path = config.path.as_path();
            let start = |Opened { disk, lock, findings }| {
                let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
                let engine = catch_unwind(AssertUnwindSafe(|| Engine::start(disk, arrivals)));
                let engine =
                    engine.unwrap_or(Err(Fault::Panicked)).map_err(|fault| fault.at(path, "read"))?;
                Ok((engine, lock, findings))
            };
            match open::open(&config).and_then(start) {
                Ok((engine, lock, findings)) => {
                    // When the caller has stopped waiting, the queue is closed too and the thread ends by itself.
                    let _ = opened.send(Ok(findings));
                    live(engine, lock, path, queue, &places, &ended);
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            }
        };
        let spawned = thread::Builder::new().name("store".to_owned()).spawn(run);
        spawned.map_err(|error| Fault::Io(error).at(&thread.path, "opened"))?;
        let findings = answer.await.unwrap_or_else(|_| Err(thread.why_ended()))?;
        Ok(Self { findings, ..thread })
    }

    /// Runs a job that changes nothing on disk.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Engine) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = move |engine: &mut Engine, path: &Path| {
            // The caller may have stopped waiting while the job was in the queue.
            if !reply.is_closed() {
                let _ = reply.send(read(engine).map_err(|fault| fault.at(path, "read")));
            }
        };
        self.send(Job::Read(Box::new(job))).await?;
        answer.await.unwrap_or_else(|_| Err(self.why_ended()))
    }

    /// Runs a job that changes something; returns when that is as durable as it has to be.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Engine) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.stage(false, write).await
    }

    /// Runs a job that changes something, ahead of all others that do.
    pub(super) async fn commit(
        &self,
        write: impl FnOnce(&mut Engine) -> Result<(), Fault> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.stage(true, write).await
    }

    async fn stage<T: Send + 'static>(
        &self,
        is_commit: bool,
        write: impl FnOnce(&mut Engine) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = move |engine: &mut Engine, path: &Path| match write(engine) {
            Ok(done) => {
                let when_written: Reply = Box::new(move |written| {
                    let _ = reply.send(written.map(|()| done));
                });
                Ok(Some(when_written))
            }
            Err(Fault::Refused(error)) => {
                let _ = reply.send(Err(error));
                Ok(None)
            }
            Err(fault) => {
                let error = fault.at(path, "written");
                let _ = reply.send(Err(error.clone()));
                Err(error)
            }
        };
        self.send(Job::Write { is_commit, write: Box::new(job) }).await?;
        answer.await.unwrap_or_else(|_| Err(self.why_ended()))
    }

    /// Ends the thread after the jobs that wait. When it returns, the store can be opened again.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Close(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(self.why_ended()))
    }

    async fn send(&self, job: Job) -> Result<(), StoreError> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| self.why_ended())?;
        self.jobs.send((job, place)).map_err(|_| self.why_ended())
    }

    fn why_ended(&self) -> StoreError {
        self.ended
            .get()
            .cloned()
            .unwrap_or_else(|| StoreError::Failed { path: self.path.display().to_string() })
    }
}

/// Works until it is told to close, all senders are dropped, or the store breaks; then closes the tree and releases the lock,
/// and only then answers.
fn live(
    mut engine: Engine,
    lock: Lock,
    path: &Path,
    queue: mpsc::Receiver<(Job, OwnedSemaphorePermit)>,
    places: &Semaphore,
    ended: &OnceLock<StoreError>,
) {
    let failed = || StoreError::Failed { path: path.display().to_string() };
    let worked = catch_unwind(AssertUnwindSafe(|| Worker::new(&mut engine, path, &queue).work()));
    let (end, closer) = match worked {
        Ok(Ok(closer)) => (StoreError::Closed, closer),
        Ok(Err(error)) => (error, None),
        Err(_) => (failed(), None),
    };
    let in_order = matches!(end, StoreError::Closed);
    // Set before the queue is dropped, because callers whose jobs wait in it then read the reason.
    let _ = ended.set(end);
    places.close();
    drop(queue);
    let finished = catch_unwind(AssertUnwindSafe(|| {
        if in_order { engine.finish().map_err(|fault| fault.at(path, "written")) } else { Ok(()) }
    }));
    let finished = finished.unwrap_or_else(|_| Err(failed()));
    let released = lock.release().map_err(|error| Fault::Io(error).at(path, "written"));
    let finished = finished.and(released);
    match closer {
        Some(reply) => {
            let _ = reply.send(finished);
        }
        None => {
            // The store was dropped without being closed, so there is nobody else to tell.
            if let Err(error) = finished {
                error!("the store did not end in good order: {error}");
            }
        }
    }
}

/// Does the thread's jobs as they come.
struct Worker<'w> {
    engine: &'w mut Engine,
    path: &'w Path,
    queue: &'w mpsc::Receiver<(Job, OwnedSemaphorePermit)>,
    /// Jobs that are to be written: commits, and the others.
    commits: VecDeque<Write>,
    others: VecDeque<Write>,
    closer: Option<Closer>,
    /// When the oldest write that is not synced yet was made.
    unsynced: Option<Instant>,
    /// When the oldest change that is not folded yet was made.
    unfolded: Option<Instant>,
    /// When the last pass of the search for damage began.
    scrubbed: Instant,
    /// When something was done last.
    busy: Instant,
}

impl<'w> Worker<'w> {
    fn new(
        engine: &'w mut Engine,
        path: &'w Path,
        queue: &'w mpsc::Receiver<(Job, OwnedSemaphorePermit)>,
    ) -> Self {
        Self {
            engine,
            path,
            queue,
            commits: VecDeque::new(),
            others: VecDeque::new(),
            closer: None,
            unsynced: None,
            unfolded: None,
            scrubbed: Instant::now(),
            busy: Instant::now(),
        }
    }

    /// Works until somebody closes, or nobody is left to ask for anything; fails with what broke the store.
    fn work(mut self) -> Result<Option<Closer>, StoreError> {
        loop {
            let is_open = self.take_jobs()?;
            self.write_group()?;
            let all_written = self.commits.is_empty() && self.others.is_empty();
            if all_written && (self.closer.is_some() || !is_open) {
                return Ok(self.closer);
            }
            self.tend().map_err(|fault| fault.at(self.path, "written"))?;
        }
    }

    /// Waits for jobs while there is nothing else to do, then takes those that are there. Returns whether any more can
    /// come.
    fn take_jobs(&mut self) -> Result<bool, StoreError> {
        let mut is_open = true;
        let mut wait = self.wait();
        for _ in 0..GROUP {
            if self.closer.is_some() {
                break;
            }
            let job = match wait {
                Some(wait) if !wait.is_zero() => self.queue.recv_timeout(wait),
                Some(_) => self.queue.try_recv().map_err(|error| match error {
                    mpsc::TryRecvError::Empty => RecvTimeoutError::Timeout,
                    mpsc::TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                }),
                None => self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            wait = Some(Duration::ZERO);
            if job.is_ok() {
                self.busy = Instant::now();
            }
            match job {
                Ok((Job::Read(read), _)) => read(self.engine, self.path),
                Ok((Job::Write { is_commit: true, write }, _)) => self.commits.push_back(write),
                Ok((Job::Write { is_commit: false, write }, _)) => self.others.push_back(write),
                Ok((Job::Close(closer), _)) => self.closer = Some(closer),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    is_open = false;
                    break;
                }
            }
        }
        Ok(is_open)
    }

    /// How long to wait for a job before timed work is due: a sync, a fold, or a slice of the search for damage. Zero while
    /// jobs or a fold are waiting. Never `None`, because the search for damage always has a next time.
    fn wait(&self) -> Option<Duration> {
        if !self.commits.is_empty() || !self.others.is_empty() || self.engine.is_folding() {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let scrub =
            if self.engine.is_scrubbing() { self.busy + SCRUB_TICK } else { self.scrubbed + SCRUB_EVERY };
        let until = [
            self.unsynced.map(|since| since + LAZY_SYNC),
            self.unfolded.map(|since| since + FOLD_EVERY),
            Some(scrub),
        ];
        until
            .into_iter()
            .flatten()
            .min()
            .map(|until| until.saturating_duration_since(now).max(Duration::from_millis(1)))
    }

    /// Runs waiting jobs that write until one write is full, writes what they staged, and answers them.
    fn write_group(&mut self) -> Result<(), StoreError> {
        let mut answers = vec![];
        let mut result = Ok(());
        let mut is_staged = false;
        while let Some(write) = self.commits.pop_front().or_else(|| self.others.pop_front()) {
            match write(self.engine, self.path) {
                Ok(answer) => answers.extend(answer),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
            is_staged = true;
            if self.engine.is_full() {
                break;
            }
        }
        if is_staged && result.is_ok() {
            result = self.write().map_err(|fault| fault.at(self.path, "written"));
        }
        answers.into_iter().for_each(|answer| answer(result.clone()));
        result
    }

    fn write(&mut self) -> Result<(), Fault> {
        let must_be_durable = self.engine.write()?;
        if must_be_durable { self.sync() } else { self.engine.flush() }
    }

    fn sync(&mut self) -> Result<(), Fault> {
        self.engine.sync()?;
        self.unsynced = None;
        Ok(())
    }

    /// Does what is due between two groups.
    fn tend(&mut self) -> Result<(), Fault> {
        let now = Instant::now();
        if self.unsynced.is_some_and(|since| now >= since + LAZY_SYNC) {
            self.sync()?;
        }
        self.engine.fold_when_due(self.unfolded.is_some_and(|since| now >= since + FOLD_EVERY));
        if self.engine.is_folding() {
            self.engine.fold(FOLD_SLICE)?;
        }
        match self.engine.has_unfolded() {
            false => self.unfolded = None,
            true if self.unfolded.is_none_or(|since| now >= since + FOLD_EVERY) => self.unfolded = Some(now),
            true => {}
        }
        if now >= self.scrubbed + SCRUB_EVERY {
            self.scrubbed = now;
            self.engine.begin_scrub();
        }
        if self.engine.is_scrubbing() && now >= self.busy + SCRUB_TICK {
            self.engine.scrub()?;
            self.busy = Instant::now();
        }
        if self.unsynced.is_none() && self.engine.is_dirty() {
            self.unsynced = Some(now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::{Commit, Duty};

    fn config(folder: &Path) -> StoreConfig {
        StoreConfig { path: folder.to_owned(), database: None, retain: Duration::ZERO, cache: 1 << 20 }
    }

    async fn start(folder: &Path) -> Thread {
        Thread::start(&config(folder), Arc::default()).await.unwrap()
    }

    #[tokio::test]
    async fn after_a_panic_everything_says_so_and_the_store_can_be_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let thread = start(folder.path()).await;
        // The first job waits for its sync, the second panics, the third waits behind it.
        let written = thread.write(|_| Ok(()));
        let panicked = thread.read(|_| -> Result<(), Fault> { panic!("on purpose") });
        let behind = thread.read(|engine| Ok(engine.destinations()));
        let (written, panicked, behind) = tokio::join!(written, panicked, behind);
        for error in [written.err(), panicked.err(), behind.err(), thread.close().await.err()] {
            // The first may have been done before the second came.
            assert!(matches!(error, None | Some(StoreError::Failed { .. })), "{error:?}");
        }
        assert!(matches!(
            thread.read(|engine| Ok(engine.destinations())).await,
            Err(StoreError::Failed { .. })
        ));
        start(folder.path()).await.close().await.unwrap();
    }

    /// Keeps the thread busy: the receiver hears when it is, and the sender ends it.
    fn hold(thread: &Arc<Thread>) -> (oneshot::Receiver<()>, std::sync::mpsc::Sender<()>) {
        let (busy, is_busy) = oneshot::channel();
        let (drop_block, told) = std::sync::mpsc::channel();
        let thread = Arc::clone(thread);
        tokio::spawn(async move {
            let held = thread.read(move |_| {
                busy.send(()).unwrap();
                told.recv().map_err(|_| Fault::Damaged("nobody let go"))
            });
            held.await.unwrap();
        });
        (is_busy, drop_block)
    }

    #[tokio::test]
    async fn a_read_does_not_wait_for_the_sync_of_a_write() {
        let folder = tempfile::tempdir().unwrap();
        let thread = Arc::new(start(folder.path()).await);
        let (is_busy, drop_block) = hold(&thread);
        is_busy.await.unwrap();
        // These wait together, and so share a sync; it comes after the last of them, which does not end.
        let mut commit = Commit { checkpoint: Some(1.into()), ..Commit::default() };
        let (writer, reader) = (Arc::clone(&thread), Arc::clone(&thread));
        let write = tokio::spawn(async move {
            let commit = move |engine: &mut Engine| {
                let claim = engine.claims().take(&Duty::Upkeep);
                engine.commit(&claim, &mut commit)
            };
            writer.commit(commit).await
        });
        let read = tokio::spawn(async move { reader.read(|engine| engine.checkpoint(&Duty::Upkeep)).await });
        let (is_held, let_go_of_last) = hold(&thread);
        let all_wait = async {
            while thread.places.available_permits() > QUEUE - 3 {
                tokio::task::yield_now().await;
            }
        };
        all_wait.await;
        drop_block.send(()).unwrap();
        // It sees what was there before.
        assert_eq!(read.await.unwrap().unwrap(), None);
        is_held.await.unwrap();
        assert!(!write.is_finished());
        let_go_of_last.send(()).unwrap();
        write.await.unwrap().unwrap();
    }
}
