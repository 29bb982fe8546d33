//! Every task of a daemon: named, supervised and joined.
//!
//! Invariants: no task outlives [`Tasks::join`] unnoticed (one that does not end in time is named
//! and aborted); a panic is a failure like any other; what a failure does is said where the task
//! is started, by its [`OnEnd`].

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use crate::backoff::{Backoff, CAP};
use crate::shutdown::Shutdown;

/// What the end of a task before shutdown means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnEnd {
    /// The daemon cannot go on without it: any end, good or bad, shuts the daemon down, and the
    /// daemon fails.
    ShutDown,
    /// Work that ends by itself (a connection, a one-time job): a failure is logged, nothing else.
    Log,
}

/// A task that ended the daemon, or did not end with it.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("task {name} failed: {message}")]
    Task { name: String, message: String },
    #[error("tasks did not end within {after:?} and were aborted: {}", names.join(", "))]
    Hanging { names: Vec<String>, after: Duration },
}

/// Handle to the tasks of one daemon; cheap to clone.
#[derive(Clone, Debug)]
pub struct Tasks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shutdown: Shutdown,
    tracker: TaskTracker,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    next_id: u64,
    tasks: BTreeMap<u64, (String, Option<AbortHandle>)>,
    first_failure: Option<(String, String)>,
}

impl Tasks {
    #[must_use]
    pub fn new(shutdown: Shutdown) -> Self {
        let inner = Inner { shutdown, tracker: TaskTracker::new(), running: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.inner.shutdown
    }

    /// Starts a task. It must end soon after shutdown.
    pub fn spawn<F, E>(&self, name: impl Into<String>, on_end: OnEnd, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display + Send + 'static,
    {
        let name = name.into();
        let inner = Arc::clone(&self.inner);
        let id = inner.register(&name);
        let task = async move {
            let outcome = AssertUnwindSafe(future).catch_unwind().await;
            let failure = match outcome {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{error:#}")),
                Err(panic) => Some(format!("panicked: {}", panic_text(&*panic))),
            };
            inner.ended(id, on_end, failure);
        };
        let handle = self.inner.tracker.spawn(task);
        self.inner.attach(id, handle.abort_handle());
    }

    /// As [`Self::spawn`] for a future that cannot fail.
    pub fn spawn_infallible<F>(&self, name: impl Into<String>, on_end: OnEnd, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn(name, on_end, future.map(Ok::<(), std::convert::Infallible>));
    }

    /// Starts a task that is made anew, after a jittered delay, whenever it ends before shutdown.
    pub fn spawn_restarting<M, F, E>(&self, name: impl Into<String>, mut make: M)
    where
        M: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display + Send + 'static,
    {
        let name = name.into();
        let task_name = name.clone();
        let shutdown = self.inner.shutdown.clone();
        self.spawn_infallible(name, OnEnd::Log, async move {
            let mut backoff = Backoff::new(Duration::from_secs(1), CAP);
            while !shutdown.is_triggered() {
                let failure = match AssertUnwindSafe(make()).catch_unwind().await {
                    Ok(Ok(())) => "ended".to_owned(),
                    Ok(Err(error)) => format!("{error:#}"),
                    Err(panic) => format!("panicked: {}", panic_text(&*panic)),
                };
                if shutdown.is_triggered() {
                    break;
                }
                let delay = backoff.next_delay(None);
                tracing::warn!(task = task_name, failure, ?delay, "task ended; starting it again");
                shutdown.sleep(delay).await;
            }
        });
    }

    /// Waits for shutdown, then for every task, at most `grace`. Fails when a task failed the
    /// daemon, or had to be aborted.
    pub async fn join(&self, grace: Duration) -> Result<(), Failed> {
        self.inner.shutdown.wait().await;
        self.inner.tracker.close();
        if tokio::time::timeout(grace, self.inner.tracker.wait()).await.is_err() {
            let names = self.inner.abort_all();
            return Err(Failed::Hanging { names, after: grace });
        }
        match self.inner.lock().first_failure.take() {
            Some((name, message)) => Err(Failed::Task { name, message }),
            None => Ok(()),
        }
    }

    /// Names of the tasks that run, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.inner.lock().tasks.values().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, name: &str) -> u64 {
        let mut running = self.lock();
        let id = running.next_id;
        running.next_id += 1;
        running.tasks.insert(id, (name.to_owned(), None));
        id
    }

    fn attach(&self, id: u64, handle: AbortHandle) {
        if let Some((_, slot)) = self.lock().tasks.get_mut(&id) {
            *slot = Some(handle);
        }
    }

    fn ended(&self, id: u64, on_end: OnEnd, failure: Option<String>) {
        let mut running = self.lock();
        let Some((name, _)) = running.tasks.remove(&id) else { return };
        let early = !self.shutdown.is_triggered();
        match (on_end, failure) {
            (OnEnd::ShutDown, failure) if early || failure.is_some() => {
                let message = failure.unwrap_or_else(|| "ended before shutdown".to_owned());
                tracing::error!(task = name, error = message, "essential task ended");
                running.first_failure.get_or_insert((name, message));
                self.shutdown.trigger();
            }
            (OnEnd::Log, Some(message)) => {
                tracing::warn!(task = name, error = message, "task failed");
            }
            _ => {}
        }
    }

    fn abort_all(&self) -> Vec<String> {
        let running = self.lock();
        for (_, handle) in running.tasks.values() {
            if let Some(handle) = handle {
                handle.abort();
            }
        }
        running.tasks.values().map(|(name, _)| name.clone()).collect()
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn an_essential_failure_ends_the_daemon_with_its_name() {
        let tasks = Tasks::new(Shutdown::new());
        let shutdown = tasks.shutdown().clone();
        tasks.spawn_infallible("waits", OnEnd::ShutDown, async move { shutdown.wait().await });
        tasks.spawn("breaks", OnEnd::ShutDown, async { Err("no disk") });
        let error = tasks.join(GRACE).await.unwrap_err().to_string();
        assert_eq!(error, "task breaks failed: no disk");
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_and_a_logged_one_stops_nothing() {
        let tasks = Tasks::new(Shutdown::new());
        tasks.spawn::<_, String>("logged", OnEnd::Log, async { panic!("one connection") });
        tasks.spawn::<_, String>("essential", OnEnd::ShutDown, async { panic!("boom") });
        let error = tasks.join(GRACE).await.unwrap_err().to_string();
        assert_eq!(error, "task essential failed: panicked: boom");
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_named() {
        let tasks = Tasks::new(Shutdown::new());
        tasks.spawn_infallible("hangs", OnEnd::Log, std::future::pending());
        tasks.shutdown().trigger();
        let error = tasks.join(GRACE).await.unwrap_err().to_string();
        assert!(error.contains("hangs"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_restarting_task_comes_back() {
        let tasks = Tasks::new(Shutdown::new());
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        tasks.spawn_restarting("flaky", move || {
            let sender = sender.clone();
            async move {
                sender.send(()).unwrap();
                Err::<(), _>("again")
            }
        });
        for _ in 0..3 {
            receiver.recv().await.unwrap();
        }
        tasks.shutdown().trigger();
        tasks.join(GRACE).await.unwrap();
    }
}
