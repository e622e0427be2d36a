//! Threads for calls that block, such as those of the resolver. They know nothing of Python, take
//! no signal, are made when they are needed and end when they were idle for a while. Nobody ever
//! waits for one: a call that hangs hinders neither [`Pool::close`] nor the end of the process.
//!
//! A forked child has none of the threads, and may have got the lock in the hands of one of them:
//! there, nothing in here touches it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::fork::process_generation;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::sys;

/// A bounded number of threads that share a queue.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    generation: u32,
}

/// Names a job of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobId(u64);

type Job = Box<dyn FnOnce() + Send>;

struct Shared {
    name: &'static str,
    limit: usize,
    patience: Duration,
    state: Mutex<State>,
    /// There is a job more, or the pool was closed.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// By age: the smallest number is the oldest.
    queue: BTreeMap<u64, Job>,
    submitted: u64,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Pool {
    /// At most `limit` threads, called `name` (15 bytes are shown), each of which ends after `patience` without work.
    pub fn new(name: &'static str, limit: usize, patience: Duration) -> Self {
        let (state, changed) = (Mutex::new(State::default()), Condvar::new());
        let shared = Arc::new(Shared { name, limit, patience, state, changed });
        Self { shared, generation: process_generation() }
    }

    /// Has `job` run by the next thread that is free. It must not panic. An error when there is no thread and none can be made.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) -> io::Result<JobId> {
        let Some(mut state) = self.lock() else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let id = state.submitted;
        state.submitted += 1;
        state.queue.insert(id, Box::new(job));
        let needs_thread = state.queue.len() > state.idle && state.threads < self.shared.limit;
        state.threads += usize::from(needs_thread);
        drop(state);
        self.shared.changed.notify_one();
        if needs_thread {
            self.spawn(id)?;
        }
        Ok(JobId(id))
    }

    /// Forgets a job that no thread has begun yet. Of one that runs or has run, nothing is changed.
    pub fn withdraw(&self, job: JobId) {
        let withdrawn = self.lock().and_then(|mut state| state.queue.remove(&job.0));
        drop(withdrawn);
    }

    /// Forgets what was not begun, lets the idle threads go, and the others as soon as they are done.
    pub fn close(&self) {
        let Some(mut state) = self.lock() else {
            return;
        };
        state.closed = true;
        let forgotten = std::mem::take(&mut state.queue);
        drop(state);
        drop(forgotten);
        self.shared.changed.notify_all();
    }

    /// Makes the thread that `submit` counted already.
    fn spawn(&self, id: u64) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let Err(error) = sys::thread::spawn(self.shared.name, move || shared.work()) else {
            return Ok(());
        };
        let mut state = self.shared.state.lock();
        state.threads -= 1;
        // The threads that there are get to it; without any, nobody ever would.
        let forgotten = if state.threads == 0 { state.queue.remove(&id) } else { None };
        drop(state);
        match forgotten {
            Some(_) => Err(error),
            None => Ok(()),
        }
    }

    /// None in a forked child.
    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        (self.generation == process_generation()).then(|| self.shared.state.lock())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// The life of a thread.
    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    /// Waits for a job. None: the thread ends, and is not counted any more.
    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if let Some((_, job)) = state.queue.pop_first() {
                return Some(job);
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let timed_out;
            (state, timed_out) = self.changed.wait_timeout(state, self.patience);
            state.idle -= 1;
            if timed_out && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        None
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
