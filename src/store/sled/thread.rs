//! The thread sled lives on. Whatever is asked of the store is a job for it; what writes is answered when it is
//! durable, all that came in meanwhile with one sync.

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread,
};

use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::{
    engine::Engine,
    fault::Fault,
    open::{self, Opened},
};
use crate::{
    config::StoreConfig,
    store::{StoreError, arrivals::Arrivals},
};

/// How many jobs may wait; who brings one more waits for a place.
const QUEUE: usize = 256;

/// How many jobs may share a sync.
const GROUP: usize = 256;

/// Answers a job that has written something, once that is durable or is known not to be.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Answers at once, or leaves the answer for after the sync. What it fails with, whoever asked has been told.
type Work = Box<dyn FnOnce(&mut Engine, &Path) -> Result<Option<Answer>, StoreError> + Send>;

enum Job {
    Do(Work),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// The way to the thread.
pub(super) struct Thread {
    jobs: mpsc::Sender<Job>,
    /// Why it takes no jobs any more.
    ended: Arc<OnceLock<StoreError>>,
    path: PathBuf,
}

impl Thread {
    /// Starts the thread and opens the store on it.
    pub(super) async fn start(config: &StoreConfig, arrivals: Arc<Arrivals>) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (opened, answer) = oneshot::channel();
        let ended = Arc::new(OnceLock::new());
        let thread = Self { jobs, ended: Arc::clone(&ended), path: config.path.clone() };
        let config = config.clone();
        let run = move || match open::open(&config) {
            Ok(Opened { disk, lock }) => {
                // When nobody waits for it any more, the queue is closed too and it ends by itself.
                let _ = opened.send(Ok(()));
                live(Engine::new(disk, arrivals), lock, &config.path, queue, &ended);
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        };
        let spawned = thread::Builder::new().name("store".to_owned()).spawn(run);
        spawned.map_err(|error| Fault::Io(error).at(&thread.path, "opened"))?;
        answer.await.unwrap_or_else(|_| Err(thread.why_ended()))?;
        Ok(thread)
    }

    /// Asks something that changes nothing on disk.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Engine) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = move |engine: &mut Engine, path: &Path| {
            // Whoever asked may have gone while this waited.
            if !reply.is_closed() {
                let _ = reply.send(read(engine).map_err(|fault| fault.at(path, "read")));
            }
            Ok(None)
        };
        self.send(Job::Do(Box::new(job))).await?;
        answer.await.unwrap_or_else(|_| Err(self.why_ended()))
    }

    /// Changes something; returns when that is durable.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Engine) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = move |engine: &mut Engine, path: &Path| match write(engine) {
            Ok(done) => {
                let after_sync: Answer = Box::new(move |synced| {
                    let _ = reply.send(synced.map(|()| done));
                });
                Ok(Some(after_sync))
            }
            Err(fault) => {
                let error = fault.at(path, "written");
                let _ = reply.send(Err(error.clone()));
                Err(error)
            }
        };
        self.send(Job::Do(Box::new(job))).await?;
        answer.await.unwrap_or_else(|_| Err(self.why_ended()))
    }

    /// Ends the thread after the jobs that wait. When it returns, the store can be opened again.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Close(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(self.why_ended()))
    }

    async fn send(&self, job: Job) -> Result<(), StoreError> {
        self.jobs.send(job).await.map_err(|_| self.why_ended())
    }

    fn why_ended(&self) -> StoreError {
        self.ended
            .get()
            .cloned()
            .unwrap_or_else(|| StoreError::Failed { path: self.path.display().to_string() })
    }
}

/// Works until it is told to close, nobody is left to ask for anything, or something breaks; then lets go of
/// everything, and only then says so.
fn live(
    mut engine: Engine,
    lock: File,
    path: &Path,
    mut queue: mpsc::Receiver<Job>,
    ended: &OnceLock<StoreError>,
) {
    let failed = || StoreError::Failed { path: path.display().to_string() };
    let worked = catch_unwind(AssertUnwindSafe(|| work(&mut engine, path, &mut queue)));
    let (end, closer) = match worked {
        Ok(Ok(closer)) => (StoreError::Closed, closer),
        Ok(Err(error)) => (error, None),
        Err(_) => (failed(), None),
    };
    let in_order = matches!(end, StoreError::Closed);
    if !in_order {
        error!("the store stops: {end}");
    }
    // Told before the queue is dropped, for those who wait in it.
    let _ = ended.set(end);
    let finished = catch_unwind(AssertUnwindSafe(|| {
        if in_order { engine.finish().map_err(|fault| fault.at(path, "written")) } else { Ok(()) }
    }));
    let finished = finished.unwrap_or_else(|_| Err(failed()));
    drop(lock);
    match closer {
        Some(reply) => {
            let _ = reply.send(finished);
        }
        None => {
            if let Err(error) = finished {
                error!("the store did not end in good order: {error}");
            }
        }
    }
}

/// Does jobs in the order they come. Ends with who asked to close, or with the error that broke the store.
fn work(
    engine: &mut Engine,
    path: &Path,
    queue: &mut mpsc::Receiver<Job>,
) -> Result<Option<oneshot::Sender<Result<(), StoreError>>>, StoreError> {
    while let Some(mut job) = queue.blocking_recv() {
        let mut answers = vec![];
        let mut closer = None;
        let mut result = Ok(());
        for place in 1..=GROUP {
            match job {
                Job::Do(work) => match work(engine, path) {
                    Ok(answer) => answers.extend(answer),
                    Err(error) if engine.is_broken() => result = Err(error),
                    Err(_) => {}
                },
                Job::Close(reply) => closer = Some(reply),
            }
            if place == GROUP || closer.is_some() || result.is_err() {
                break;
            }
            match queue.try_recv() {
                Ok(next) => job = next,
                Err(_) => break,
            }
        }
        let result = result.and_then(|()| engine.sync().map_err(|fault| fault.at(path, "written")));
        answers.into_iter().for_each(|answer| answer(result.clone()));
        result?;
        if closer.is_some() {
            return Ok(closer);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::Commit;

    fn config(folder: &Path) -> StoreConfig {
        StoreConfig { path: folder.to_owned(), retain: Duration::ZERO, cache: 1 << 20 }
    }

    async fn start(folder: &Path) -> Thread {
        Thread::start(&config(folder), Arc::default()).await.unwrap()
    }

    #[tokio::test]
    async fn after_a_panic_everything_says_so_and_the_store_can_be_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let thread = start(folder.path()).await;
        // One that waits for its sync, one that panics, one that waits behind it.
        let written = thread.write(|engine| engine.settle(vec![]));
        let panicked = thread.read(|_| -> Result<(), Fault> { panic!("on purpose") });
        let behind = thread.read(|engine| engine.tally());
        let (written, panicked, behind) = tokio::join!(written, panicked, behind);
        for error in [written.err(), panicked.err(), behind.err(), thread.close().await.err()] {
            // The first may have been done before the second came.
            assert!(matches!(error, None | Some(StoreError::Failed { .. })), "{error:?}");
        }
        assert!(matches!(thread.read(|engine| engine.tally()).await, Err(StoreError::Failed { .. })));
        start(folder.path()).await.close().await.unwrap();
    }

    /// Keeps the thread busy: says when it is, and ends when told to.
    fn hold(thread: &Arc<Thread>) -> (oneshot::Receiver<()>, std::sync::mpsc::Sender<()>) {
        let (busy, is_busy) = oneshot::channel();
        let (let_go, told) = std::sync::mpsc::channel();
        let thread = Arc::clone(thread);
        tokio::spawn(async move {
            let held = thread.read(move |_| {
                busy.send(()).unwrap();
                told.recv().map_err(|_| Fault::Damaged("nobody let go"))
            });
            held.await.unwrap();
        });
        (is_busy, let_go)
    }

    #[tokio::test]
    async fn a_read_does_not_wait_for_the_sync_of_a_write() {
        let folder = tempfile::tempdir().unwrap();
        let thread = Arc::new(start(folder.path()).await);
        let (is_busy, let_go) = hold(&thread);
        is_busy.await.unwrap();
        // These wait together, and so share a sync; it comes after the last of them, which does not end.
        let mut commit = Commit::new("clinic".into());
        commit.checkpoint = Some(1.into());
        let (writer, reader) = (Arc::clone(&thread), Arc::clone(&thread));
        let write = tokio::spawn(async move { writer.write(|engine| engine.commit(commit)).await });
        let read =
            tokio::spawn(async move { reader.read(|engine| engine.checkpoint(&"clinic".into())).await });
        let (is_held, let_go_of_last) = hold(&thread);
        let all_wait = async {
            while thread.jobs.capacity() > QUEUE - 3 {
                tokio::task::yield_now().await;
            }
        };
        all_wait.await;
        let_go.send(()).unwrap();
        assert_eq!(read.await.unwrap().unwrap(), Some(1.into()));
        is_held.await.unwrap();
        assert!(!write.is_finished());
        let_go_of_last.send(()).unwrap();
        write.await.unwrap().unwrap();
    }
}
