//! Two lanes of evaluation, admission and audit. They share neither queue nor thread, so that a
//! full audit never delays an admission. Both look at one `watch` of the compiled set: a job is
//! evaluated with the set that is current when it starts.
//!
//! Requests and answers are owned and serialisable: a lane may become a worker process.
//!
//! A full queue is an error at once, never a wait. Threads end when the last handle is gone or
//! [`Evaluator::stop`] was called; what is still queued then is answered with [`Error::Stopped`].

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use provost_model::{Digest, Verdict};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::review::Review;
use crate::set::CompiledSet;

/// Sizes of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneLimits {
    pub threads: usize,
    /// Reviews that wait; one more is refused.
    pub queue: usize,
    /// For one policy on one object.
    pub time_limit: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub admission: LaneLimits,
    pub audit: LaneLimits,
}

impl Default for Limits {
    /// Admission holds up an API call: two threads, a queue that they empty in about a tenth of a
    /// second (18 policies at 0.1 ms each), and a short limit. Audit has one thread, so that a
    /// full evaluation leaves a core to others, and a limit that only a runaway reaches.
    fn default() -> Self {
        Self {
            admission: LaneLimits {
                threads: 2,
                queue: 128,
                time_limit: Duration::from_millis(100),
            },
            audit: LaneLimits { threads: 1, queue: 256, time_limit: Duration::from_secs(1) },
        }
    }
}

/// The verdicts on one review.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// [`CompiledSet::id`] of the set that gave them.
    pub set: Digest,
    /// In (policy id, binding id) order.
    pub verdicts: Vec<Verdict>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Error {
    #[error("the evaluation queue is full")]
    Full,
    #[error("the evaluation missed its deadline")]
    Deadline,
    #[error("the evaluator has stopped")]
    Stopped,
}

/// A handle; the last one to go ends the threads.
#[derive(Clone, Debug)]
pub struct Evaluator(Arc<Lanes>);

#[derive(Debug)]
struct Lanes {
    admission: Arc<Lane>,
    audit: Arc<Lane>,
    /// Closed when every thread has ended.
    running: watch::Receiver<()>,
}

#[derive(Debug)]
struct Lane {
    limits: LaneLimits,
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    stopped: bool,
}

#[derive(Debug)]
struct Job {
    review: Review,
    deadline: Option<Instant>,
    reply: oneshot::Sender<Answer>,
}

impl Evaluator {
    /// Starts the threads of both lanes.
    pub fn start(sets: &watch::Receiver<Arc<CompiledSet>>, limits: Limits) -> io::Result<Self> {
        let (alive, running) = watch::channel(());
        let alive = Arc::new(alive);
        let start = |name: &str, limits: LaneLimits| -> io::Result<Arc<Lane>> {
            let lane = Arc::new(Lane {
                limits,
                state: Mutex::new(State::default()),
                woken: Condvar::new(),
            });
            for number in 0..limits.threads.max(1) {
                let (lane, sets, alive) = (Arc::clone(&lane), sets.clone(), Arc::clone(&alive));
                thread::Builder::new()
                    .name(format!("{name}-{number}"))
                    .stack_size(STACK_BYTES)
                    .spawn(move || {
                        lane.work(&sets);
                        drop(alive);
                    })?;
            }
            Ok(lane)
        };
        let admission = start("admission", limits.admission)?;
        let audit = start("audit", limits.audit).inspect_err(|_| admission.stop())?;
        Ok(Self(Arc::new(Lanes { admission, audit, running })))
    }

    /// Evaluates within `budget`, waiting included. Bindings whose turn does not come in time have
    /// an error verdict with code `EVAL_TIMEOUT`, so that each one's fail mode can decide.
    pub async fn admission(&self, review: Review, budget: Duration) -> Result<Answer, Error> {
        // What is left after the deadline is for the answer to travel back.
        let work = budget.saturating_sub((budget / 10).min(MAX_RETURN));
        let answer = self.0.admission.ask(review, Some(Instant::now() + work))?;
        match tokio::time::timeout(budget, answer).await {
            Ok(answer) => answer.map_err(|_| Error::Stopped),
            Err(_) => Err(Error::Deadline),
        }
    }

    /// Evaluates when the lane comes to it.
    pub async fn audit(&self, review: Review) -> Result<Answer, Error> {
        self.0.audit.ask(review, None)?.await.map_err(|_| Error::Stopped)
    }

    /// Reviews that wait in the lanes: admission, audit.
    #[must_use]
    pub fn queued(&self) -> (usize, usize) {
        (self.0.admission.lock().jobs.len(), self.0.audit.lock().jobs.len())
    }

    /// Takes no more work; what waits is answered with [`Error::Stopped`].
    pub fn close(&self) {
        self.0.admission.stop();
        self.0.audit.stop();
    }

    /// Takes no more work and returns when the threads have ended.
    pub async fn stop(&self) {
        self.close();
        let mut running = self.0.running.clone();
        // An error says that the last sender is gone, and with it the last thread.
        while running.changed().await.is_ok() {}
    }
}

/// The interpreter recurses over rules and values; both are bounded, this holds their worst case.
const STACK_BYTES: usize = 16 * 1024 * 1024;
const MAX_RETURN: Duration = Duration::from_millis(50);

impl Drop for Lanes {
    fn drop(&mut self) {
        self.admission.stop();
        self.audit.stop();
    }
}

impl Lane {
    fn ask(
        &self,
        review: Review,
        deadline: Option<Instant>,
    ) -> Result<oneshot::Receiver<Answer>, Error> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.lock();
        if state.stopped {
            return Err(Error::Stopped);
        }
        if state.jobs.len() >= self.limits.queue {
            return Err(Error::Full);
        }
        state.jobs.push_back(Job { review, deadline, reply });
        drop(state);
        self.woken.notify_one();
        Ok(answer)
    }

    fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.jobs.clear();
        drop(state);
        self.woken.notify_all();
    }

    fn work(&self, sets: &watch::Receiver<Arc<CompiledSet>>) {
        while let Some(job) = self.next() {
            // Nobody waits any more: the caller's deadline passed or it was dropped.
            if job.reply.is_closed() {
                continue;
            }
            let set = Arc::clone(&sets.borrow());
            let limit = self.limits.time_limit;
            let left = || match job.deadline {
                Some(deadline) => limit.min(deadline.saturating_duration_since(Instant::now())),
                None => limit,
            };
            let verdicts = set.evaluate_within(&job.review, &left);
            let _ = job.reply.send(Answer { set: set.id(), verdicts });
        }
    }

    /// Waits for work; none when the lane has stopped.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            state = self.woken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
