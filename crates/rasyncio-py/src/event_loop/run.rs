//! Running, stopping and closing the loop, and its turn.
//!
//! One turn, in the words of ARCHITECTURE.md:
//! 1. Discard the cancelled timers at the head; decide how long to wait.
//! 2. Wait for the kernel, the interpreter lock let go if that may block.
//! 3. Queue what the kernel completed, in its order; for one descriptor, reading before writing.
//! 4. Queue what other threads handed in.
//! 5. Queue the timers that are due, in the order of their deadlines.
//! 6. Run as many entries as the queue holds now. What they queue is the next turn's.
//! 7. Flush what was written meanwhile; then the loop ends if it was told to stop.

use std::sync::atomic::Ordering;

use pyo3::intern;
use pyo3::prelude::*;
use rasyncio_core::reactor::{Completion, Operation};
use rasyncio_core::scheduler::{Poll, ReadyQueue, Timers, timeout_until};

use super::{Loop, Ready};
use crate::exceptions;
use crate::ffi::{recycle, warning};
use crate::handles::Handle;
use crate::interop::{must_propagate, stdlib};
use crate::tasks::ensure_future;
use crate::transports::tcp::TcpTransport;

/// The number of this thread, as `threading.get_ident()` gives it.
pub(super) fn thread_id() -> u64 {
    crate::ffi::call::thread_ident()
}

impl Loop {
    /// Runs turns until the loop is told to stop or something must end the program.
    fn run_turns(this: &Bound<'_, Self>) -> PyResult<()> {
        this.get().first_turn.store(true, Ordering::Relaxed);
        let mut completions = Vec::new();
        let outcome = loop {
            if let Err(error) = Self::turn(this, &mut completions) {
                break Err(error);
            }
            if this.get().stopping.load(Ordering::Relaxed) {
                break Ok(());
            }
        };
        this.get().forget_contexts(this.py());
        this.get().leave_task(this)?;
        outcome
    }

    #[inline]
    fn turn(this: &Bound<'_, Self>, completions: &mut Vec<Completion>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let has_timers = own.timers.with(py, |timers| !timers.is_empty());
        if has_timers {
            own.discard_cancelled_timers(py);
        }
        if let Some(timeout) = Self::wait_needed(this)? {
            Self::wait(this, timeout, completions)?;
            Self::queue_completions(this, completions)?;
        }
        if !own.inbox.is_empty() {
            own.ready.with(py, |ready| own.take_in(py, ready));
        }
        if has_timers {
            Self::queue_due_timers(this)?;
        }
        Self::run_batch(this)?;
        Self::flush_written(this)
    }

    /// Queues what other threads handed in.
    pub(super) fn take_in(&self, py: Python<'_>, ready: &mut ReadyQueue<Ready>) {
        self.inbox.drain_into(ready);
        if !self.is_running() {
            Self::show_handles(py, ready);
        }
    }

    /// Lets the garbage collector see the handles in the queue, which as long as the loop runs are alive anyway.
    fn show_handles(py: Python<'_>, ready: &ReadyQueue<Ready>) {
        for entry in ready.iter() {
            if let Ready::Handle(handle) = entry {
                recycle::show(handle.bind(py));
            }
        }
    }

    /// How long this turn waits for the kernel; None: it does not even ask.
    #[inline]
    #[expect(clippy::option_option, reason = "the outer level is whether to ask, the inner one for how long")]
    fn wait_needed(this: &Bound<'_, Self>) -> PyResult<Option<Option<std::time::Duration>>> {
        let py = this.py();
        let own = this.get();
        let ready = own.ready.with(py, |ready| ready.len()) + usize::from(!own.inbox.is_empty());
        let stopping = own.stopping.load(Ordering::Relaxed);
        let first = own.first_turn.load(Ordering::Relaxed);
        if !stopping && !first && own.policy.with(py, |policy| policy.skips(ready)) {
            return Ok(None);
        }
        own.first_turn.store(false, Ordering::Relaxed);
        let deadline = own.timers.with(py, |timers| timers.next_deadline());
        let own_sources = own.signals.with(py, |signals| signals.source_count());
        let has_sources = own
            .reactor
            .with(py, |reactor| reactor.as_ref().is_some_and(|reactor| reactor.source_count() > own_sources));
        let poll = own.policy.with(py, |policy| policy.poll(ready, stopping, first, has_sources, deadline));
        Ok(match poll {
            Poll::Skip => None,
            Poll::Now => Some(Some(std::time::Duration::ZERO)),
            Poll::Until(None) => Some(None),
            Poll::Until(Some(deadline)) => Some(timeout_until(Some(deadline), Self::now(this)?)),
        })
    }

    fn wait(
        this: &Bound<'_, Self>,
        timeout: Option<std::time::Duration>,
        completions: &mut Vec<Completion>,
    ) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        own.leave_task(this)?;
        let mut wait = own.with_reactor(py, |reactor| reactor.begin_wait(timeout))?;
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            // A look does not block: no other thread needs the interpreter lock for it.
            wait.run();
        } else {
            own.forget_contexts(py);
            recycle::trim::<Handle>(py);
            py.detach(|| wait.run());
        }
        own.with_reactor(py, |reactor| reactor.finish_wait(wait, completions))?
            .map_err(|error| exceptions::os_error(&error))?;
        // A signal that ended the wait has a Python handler to run, which may raise KeyboardInterrupt.
        py.check_signals()
    }

    fn queue_completions(this: &Bound<'_, Self>, completions: &mut Vec<Completion>) -> PyResult<()> {
        let py = this.py();
        for completion in completions.drain(..) {
            let Completion { token, operation, .. } = completion;
            match operation {
                Operation::Readable | Operation::Writable => Self::on_watched(this, token, operation)?,
                Operation::ReadableOnce | Operation::WritableOnce => {
                    this.get().on_watched_once(py, token, operation)?;
                }
                _ => this.get().enqueue(py, Ready::Io { token, operation }),
            }
        }
        Ok(())
    }

    /// Runs what is ready now; on an error the rest stays for the next run.
    #[inline]
    fn run_batch(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let count = own.ready.with(py, |ready| ready.len());
        for _ in 0..count {
            let Some(entry) = own.ready.with(py, ReadyQueue::pop) else {
                break;
            };
            if own.debug.load(Ordering::Relaxed) {
                Self::run_entry_timed(this, entry)?;
            } else {
                Self::run_entry(this, entry)?;
            }
        }
        Ok(())
    }

    fn flush_written(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let unflushed = &this.get().unflushed;
        while unflushed.with(py, |unflushed| !unflushed.is_empty()) {
            let mut batch = unflushed.take(py);
            this.get().look_next_turn(py);
            let is_better_together = batch.len() >= this.get().fewest_together;
            let mut rest = batch.drain(..);
            // Letting go of a `Bound` asks no questions.
            let outcome = if is_better_together {
                TcpTransport::flush_together(&mut rest, this)
            } else {
                rest.try_for_each(|transport| TcpTransport::flush(&transport.into_bound(py), this))
            };
            // What an error left over is for the next turn, and so is the memory.
            let left_over: Vec<_> = rest.collect();
            unflushed.with(py, |unflushed| {
                batch.extend(left_over);
                batch.append(unflushed);
                *unflushed = batch;
            });
            outcome?;
        }
        Ok(())
    }

    /// Whether this turn is the last of the run.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn check_not_running(&self, py: Python<'_>) -> PyResult<()> {
        if self.thread.load(Ordering::Relaxed) != 0 {
            return Err(exceptions::runtime("This event loop is already running"));
        }
        if stdlib(py).running_loop(py)?.is_some() {
            return Err(exceptions::runtime("Cannot run the event loop while another loop is running"));
        }
        Ok(())
    }

    /// Everything that belongs to a running loop, undone in the opposite order whatever happens.
    fn run_prepared(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        Self::look_for_replaced(this)?;
        Self::set_origin_tracking(this, own.is_debug(py))?;
        let hooks = Self::install_asyncgen_hooks(this)?;
        own.thread.store(thread_id(), Ordering::Relaxed);
        let wakeup = Self::begin_signals(this);
        let outcome = match &wakeup {
            Ok(()) => stdlib(py).set_running_loop(this.as_any()).and_then(|()| Self::run_turns(this)),
            Err(error) => Err(error.clone_ref(py)),
        };
        own.stopping.store(false, Ordering::Relaxed);
        own.thread.store(0, Ordering::Relaxed);
        own.ready.with(py, |ready| Self::show_handles(py, ready));
        stdlib(py).set_running_loop(&py.None().into_bound(py))?;
        Self::end_signals(this)?;
        Self::restore_asyncgen_hooks(py, hooks)?;
        Self::set_origin_tracking(this, false)?;
        outcome
    }

    /// What still holds the loop's attention goes; what is dropped may run Python code, so nothing is borrowed meanwhile.
    fn drop_everything(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let signals_closed = Self::close_signals(this);
        own.closed.store(true, Ordering::Relaxed);
        let reactor = own.reactor.take(py);
        let forked = own.generation != rasyncio_core::fork::process_generation();
        let sources = match reactor {
            // A forked child must not touch what it shares with its parent.
            Some(reactor) if forked => reactor.abandon(),
            Some(mut reactor) => reactor.drain(),
            None => Vec::new(),
        };
        drop(sources);
        own.close_lookups(py);
        drop(own.awaited_children.take(py));
        if !forked {
            // In a forked child the inbox may be locked for ever, by a thread that only the parent has.
            own.ready.with(py, |ready| own.take_in(py, ready));
        }
        let dropped = (own.ready.with(py, ReadyQueue::take_all), own.timers.with(py, Timers::take_all));
        drop(dropped);
        own.forget_contexts(py);
        // "Task was destroyed but it is pending!" is reported from here for tasks that nobody else holds.
        drop(own.tasks.take(py));
        signals_closed
    }
}

#[pymethods]
impl Loop {
    /// Runs until `stop()` is called. Raises RuntimeError when this or another loop runs already, or the loop is closed.
    fn run_forever(this: &Bound<'_, Self>) -> PyResult<()> {
        this.get().check_usable()?;
        this.get().check_not_running(this.py())?;
        Self::run_prepared(this)
    }

    /// Runs until `future` (a future or a coroutine) is done; returns its result or raises its exception.
    fn run_until_complete(this: &Bound<'_, Self>, future: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = this.py();
        this.get().check_usable()?;
        this.get().check_not_running(py)?;
        let is_future = future.hasattr(intern!(py, "_asyncio_future_blocking"))?;
        let awaited = ensure_future(future, Some(this.as_any()))?;
        if !is_future {
            // An exception is raised below; if the loop is stopped before, the pending task is no surprise either.
            awaited.setattr(intern!(py, "_log_destroy_pending"), false)?;
        }
        let stop = StopWhenDone { event_loop: this.clone().unbind() };
        let stop = Bound::new(py, stop)?;
        awaited.call_method1(intern!(py, "add_done_callback"), (&stop,))?;
        let outcome = this.call_method0(intern!(py, "run_forever"));
        awaited.call_method1(intern!(py, "remove_done_callback"), (&stop,))?;
        if let Err(error) = outcome {
            if !is_future
                && awaited.call_method0(intern!(py, "done"))?.is_truthy()?
                && !awaited.call_method0(intern!(py, "cancelled"))?.is_truthy()?
            {
                // The coroutine raised a BaseException, which is on its way already: do not log it as never retrieved.
                awaited.call_method0(intern!(py, "exception"))?;
            }
            return Err(error);
        }
        if !awaited.call_method0(intern!(py, "done"))?.is_truthy()? {
            return Err(exceptions::runtime("Event loop stopped before Future completed."));
        }
        Ok(awaited.call_method0(intern!(py, "result"))?.unbind())
    }

    /// Ends the run at the end of this turn.
    fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    #[getter]
    fn _stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    #[setter(_stopping)]
    fn set_stopping(&self, value: bool) {
        self.stopping.store(value, Ordering::Relaxed);
    }

    /// Whether the loop runs.
    pub(super) fn is_running(&self) -> bool {
        self.thread.load(Ordering::Relaxed) != 0
    }

    /// Whether `close()` was called.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Releases everything: pending callbacks are dropped, the executor is shut down without waiting. May be called again.
    ///
    /// Raises RuntimeError when the loop runs.
    fn close(this: &Bound<'_, Self>) -> PyResult<()> {
        if this.get().is_running() && this.get().generation == rasyncio_core::fork::process_generation() {
            return Err(exceptions::runtime("Cannot close a running event loop"));
        }
        if this.get().is_closed() {
            return Ok(());
        }
        let dropped = Self::drop_everything(this);
        this.get().shutdown_executor_on_close(this.py())?;
        dropped
    }

    #[getter]
    fn _thread_id(&self) -> Option<u64> {
        Some(self.thread.load(Ordering::Relaxed)).filter(|thread| *thread != 0)
    }

    fn _check_closed(&self) -> PyResult<()> {
        self.check_usable()
    }

    fn _check_running(&self, py: Python<'_>) -> PyResult<()> {
        self.check_not_running(py)
    }

    /// One turn, for programs that drive asyncio's loop by hand.
    fn _run_once(this: &Bound<'_, Self>) -> PyResult<()> {
        this.get().check_usable()?;
        this.get().first_turn.store(true, Ordering::Relaxed);
        let outcome = Self::turn(this, &mut Vec::new());
        this.get().forget_contexts(this.py());
        this.get().leave_task(this)?;
        outcome
    }

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
        Ok(format!(
            "<{} running={} closed={} debug={}>",
            this.get_type().name()?,
            python_bool(this.get().is_running()),
            python_bool(this.get().is_closed()),
            python_bool(this.get().is_debug(this.py())),
        ))
    }

    fn __del__(this: &Bound<'_, Self>) -> PyResult<()> {
        if this.get().is_closed() {
            return Ok(());
        }
        let warned = warning::resource(this.as_any(), &format!("unclosed event loop {}", this.repr()?));
        if !this.get().is_running() {
            this.call_method0(intern!(this.py(), "close"))?;
        }
        warned
    }
}

fn python_bool(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// The done callback of `run_until_complete()`.
#[pyclass(frozen, name = "_run_until_complete_cb", module = "rasyncio")]
struct StopWhenDone {
    event_loop: Py<Loop>,
}

#[pymethods]
impl StopWhenDone {
    fn __call__(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = future.py();
        if !future.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
            let exception = future.call_method0(intern!(py, "exception"))?;
            if !exception.is_none() && must_propagate(py, &PyErr::from_value(exception)) {
                // asyncio: the exception ends the run by itself.
                return Ok(());
            }
        }
        let event_loop = self.event_loop.bind(py);
        if event_loop.get().is_changed() {
            return event_loop.call_method0(intern!(py, "stop")).map(drop);
        }
        event_loop.get().stop();
        Ok(())
    }

    #[getter]
    fn __qualname__(&self) -> &'static str {
        "_run_until_complete_cb"
    }

    #[getter]
    fn __name__(&self) -> &'static str {
        "_run_until_complete_cb"
    }

    fn __traverse__(&self, visit: pyo3::gc::PyVisit<'_>) -> Result<(), pyo3::gc::PyTraverseError> {
        visit.call(&self.event_loop)
    }
}
