//! `EventLoop` (asyncio: `base_events.py`, `selector_events.py`, `unix_events.py`).
//!
//! Files by job, one per section of asyncio's documentation of the loop: `run` (run, stop, close, the turn), `entries` (one piece of work), `callbacks` (`call_soon()` and its like, the clock), `contexts` (what they run in), `schedule` (futures,
//! tasks), `timers`, `debug` (debug mode, exception handlers), `asyncgens`, `executor`, `resolve` (DNS), `signals`, `watch` (descriptors), `sock` (`sock_*`), `sendfile`,
//! `connect` and `attempts` (connections), `datagram`, `tls`, `bell` (waking Rust coroutines), `serve` and `server` (servers), `pipes`, `unix` (Unix sockets), `subprocess` and `children` (child processes), `collecting` (garbage), `private` (names that programs should not use, and do). This file: what a loop knows. Invariant: work is run from one place, `entries::run_entry`.

mod asyncgens;
mod attempts;
mod bell;
mod callbacks;
mod children;
mod collecting;
mod connect;
mod contexts;
mod datagram;
mod debug;
mod entries;
mod executor;
mod pipes;
mod private;
mod replaced;
mod resolve;
mod run;
mod schedule;
mod sendfile;
mod serve;
mod server;
mod signals;
mod sock;
mod subprocess;
mod timers;
mod tls;
mod unix;
mod watch;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyWeakrefMethods, PyWeakrefReference};
use rasyncio_core::fork::process_generation;
use rasyncio_core::reactor::{BackendChoice, Datagrams, Operation, Reactor, Token};
use rasyncio_core::scheduler::{Inbox, ReadyQueue, Timers, TurnPolicy};
use rasyncio_core::workers::Pool;

use contexts::SharedContext;
use resolve::Lookups;
pub(crate) use schedule::{CreateTask, TaskOptions, current_loop};
pub(crate) use server::Server;
use signals::SignalState;
use timers::Timer;
pub(crate) use timers::{Alarm, NativeTimer, TimerAction};

use crate::exceptions;
use crate::ffi::cell::GilCell;
use crate::ffi::context;
use crate::futures::Future;
use crate::futures::callback::DoneAction;
use crate::handles::{Handle, Locks};
use crate::interop::stdlib;
use crate::tasks::Task;
use crate::tasks::registry::{Registry, Slot};
use crate::transports::datagram::DatagramTransport;
use crate::transports::pipe::AnyPipe;
use crate::transports::subprocess::SubprocessTransport;
use crate::transports::tcp::TcpTransport;

/// One piece of ready work. Python objects that stand for it (`Handle`) exist only where the user asked for one.
pub(crate) enum Ready {
    /// The next step of a task.
    Step(Py<Task>),
    /// The next step of a task raises this.
    Throw { task: Py<Task>, exception: Py<PyAny> },
    /// The future that a task waited for is done.
    Wakeup { task: Py<Task>, future: Py<PyAny> },
    /// A done callback of a future that is written in Rust.
    Native { action: &'static DoneAction, receiver: Py<PyAny>, future: Py<Future> },
    /// A timer of rasyncio's own that is due.
    Timer(NativeTimer),
    /// A done callback of a future.
    FutureCallback { callback: Py<PyAny>, future: Py<Future>, context: Py<PyAny> },
    /// What `call_soon()` and its like were given.
    Handle(Py<Handle>),
    /// Something completed on a descriptor.
    Io { token: Token, operation: Operation },
    /// Work of rasyncio's own, such as calling a protocol's `connection_made`.
    Deferred(Deferred),
}

/// A call that rasyncio put off.
type Deferred = Box<dyn FnOnce(&Bound<'_, Loop>) -> PyResult<()> + Send>;

/// Who is behind a descriptor.
pub(crate) enum Source {
    /// `add_reader()` and `add_writer()`, and transports of pipes.
    Watch {
        reader: Option<Watcher>,
        writer: Option<Watcher>,
        /// The file or socket, where the user gave that and no number: once it is closed, its number is known from here only.
        object: Option<Py<PyAny>>,
    },
    Stream(Py<TcpTransport>),
    Datagrams(Py<DatagramTransport>),
    /// A transport that waits for nothing now: the loop does not keep it alive.
    IdleTransport(Py<PyWeakrefReference>),
    Listener(Py<server::Listener>),
    /// A child process that runs.
    Child(Py<SubprocessTransport>),
    Signals,
}

/// Who watches a descriptor in one direction.
pub(crate) enum Watcher {
    Handle(Py<Handle>),
    /// Is ended when the descriptor is ready, and watches no longer.
    Once(Py<Future>),
    Pipe(AnyPipe),
}

/// A transport as the reactor knows it.
pub(crate) enum FoundTransport {
    Held(Py<PyAny>),
    Idle(Py<PyWeakrefReference>),
}

impl FoundTransport {
    /// The transport, if it is still alive.
    pub(crate) fn upgrade(self, py: Python<'_>) -> Option<Bound<'_, PyAny>> {
        match self {
            Self::Held(transport) => Some(transport.into_bound(py)),
            Self::Idle(reference) => reference.bind(py).upgrade(),
        }
    }
}

/// What the user set, and what is rarely looked at.
#[derive(Default)]
pub(crate) struct Settings {
    exception_handler: Option<Py<PyAny>>,
    task_factory: Option<Py<PyAny>>,
    default_executor: Option<Py<PyAny>>,
    /// A `weakref.WeakSet` of the asynchronous generators that were begun.
    asyncgens: Option<Py<PyAny>>,
    asyncgens_closed: bool,
    executor_closed: bool,
    slow_callback_duration: f64,
    /// The value from before debug mode changed it.
    origin_tracking_depth: Option<Py<PyAny>>,
}

/// The native part of `EventLoop`, which the module derives from it and `asyncio.AbstractEventLoop`.
#[pyclass(frozen, subclass, weakref, name = "_Loop", module = "rasyncio._rasyncio")]
pub(crate) struct Loop {
    ready: GilCell<ReadyQueue<Ready>>,
    timers: GilCell<Timers<Timer>>,
    inbox: Inbox<Ready>,
    pub(crate) handle_locks: Locks,
    contexts: GilCell<SharedContext>,
    reactor: GilCell<Option<Reactor<Source>>>,
    policy: GilCell<TurnPolicy>,
    tasks: GilCell<Registry>,
    settings: GilCell<Settings>,
    signals: GilCell<SignalState>,
    lookups: GilCell<Lookups>,
    /// Threads that ask the resolver.
    workers: Pool,
    /// The children that threads wait for, by their numbers.
    awaited_children: GilCell<HashMap<i32, Py<SubprocessTransport>>>,
    /// Listeners that wait for a descriptor to become free.
    starved: GilCell<Vec<Py<server::Listener>>>,
    /// Transports that wrote something in this turn.
    unflushed: GilCell<Vec<Py<TcpTransport>>>,
    /// So many of them are better flushed together.
    fewest_together: usize,
    /// Memory that received bytes land in before Python gets a copy.
    scratch: GilCell<Vec<u8>>,
    /// The same for datagrams.
    datagrams: GilCell<Option<Datagrams>>,
    /// The same for what TLS decrypts.
    plain_text: GilCell<Vec<u8>>,
    closed: AtomicBool,
    stopping: AtomicBool,
    debug: AtomicBool,
    /// The interpreter believes that a task of ours is running.
    in_task: AtomicBool,
    /// The first turn since `run_forever()`.
    first_turn: AtomicBool,
    replaced: replaced::Replaced,
    /// The thread that runs the loop; 0 when none does.
    thread: AtomicU64,
    /// Seconds, as the bits of an `f64`.
    clock_resolution: AtomicU64,
    /// The process that made the loop, as the core counts forks.
    generation: u32,
}

impl Loop {
    /// As much as asyncio asks for in one read (`max_size` of its transports).
    pub(crate) const SCRATCH_SIZE: usize = 256 * 1024;

    fn make() -> PyResult<Self> {
        let mut reactor = make_reactor()?;
        let signals = SignalState::open(&mut reactor).map_err(|error| exceptions::os_error(&error))?;
        let (waker, fewest_together) = (reactor.waker(), reactor.fewest_together());
        Ok(Self {
            ready: GilCell::new(ReadyQueue::new()),
            timers: GilCell::new(Timers::new()),
            inbox: Inbox::new(waker),
            handle_locks: Locks::default(),
            contexts: GilCell::default(),
            reactor: GilCell::new(Some(reactor)),
            policy: GilCell::new(TurnPolicy::new()),
            tasks: GilCell::default(),
            settings: GilCell::new(Settings { slow_callback_duration: 0.1, ..Settings::default() }),
            signals: GilCell::new(signals),
            lookups: GilCell::default(),
            workers: resolve::workers(),
            awaited_children: GilCell::default(),
            starved: GilCell::default(),
            unflushed: GilCell::default(),
            fewest_together,
            scratch: GilCell::new(Vec::new()),
            plain_text: GilCell::new(Vec::new()),
            datagrams: GilCell::default(),
            closed: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            debug: AtomicBool::new(false),
            in_task: AtomicBool::new(false),
            first_turn: AtomicBool::new(true),
            replaced: replaced::Replaced::default(),
            thread: AtomicU64::new(0),
            clock_resolution: AtomicU64::new(private::CLOCK_RESOLUTION.to_bits()),
            generation: process_generation(),
        })
    }

    #[inline]
    pub(crate) fn is_debug(&self, _py: Python<'_>) -> bool {
        self.debug.load(Ordering::Relaxed)
    }

    /// RuntimeError when the loop is closed, or belongs to the process that this one was forked from.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "on the way of each step of a task")]
    pub(crate) fn check_usable(&self) -> PyResult<()> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(exceptions::runtime("Event loop is closed"));
        }
        if self.generation != process_generation() {
            return Err(exceptions::runtime(
                "The event loop was made before fork(): the child process cannot use it and has to make its own",
            ));
        }
        Ok(())
    }

    /// Puts `entry` behind everything that is ready. From the thread of the loop, or from any other that is attached and wakes the loop itself.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "on the way of each step of a task")]
    pub(crate) fn schedule(&self, py: Python<'_>, entry: Ready) -> PyResult<()> {
        self.check_usable()?;
        if self.debug.load(Ordering::Relaxed) {
            self.check_thread()?;
        }
        self.enqueue(py, entry);
        Ok(())
    }

    /// `schedule` without the checks.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "on the way of each step of a task")]
    pub(crate) fn enqueue(&self, py: Python<'_>, entry: Ready) {
        self.ready.with(py, |ready| {
            // What other threads handed in before comes before, as on asyncio, where all share one queue.
            if !self.inbox.is_empty() {
                self.take_in(py, ready);
            }
            ready.push(entry);
        });
    }

    /// Schedules work of rasyncio's own.
    pub(crate) fn defer(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Bound<'_, Self>) -> PyResult<()> + Send + 'static,
    ) {
        self.enqueue(py, Ready::Deferred(Box::new(work)));
    }

    /// `defer` from any thread; RuntimeError when the loop is closed.
    pub(crate) fn defer_from_any_thread(
        &self,
        work: impl FnOnce(&Bound<'_, Self>) -> PyResult<()> + Send + 'static,
    ) -> PyResult<()> {
        self.check_usable()?;
        self.inbox.push(Ready::Deferred(Box::new(work)));
        Ok(())
    }

    /// Runs `action` on the reactor, which is there until the loop is closed.
    pub(crate) fn with_reactor<R>(
        &self,
        py: Python<'_>,
        action: impl FnOnce(&mut Reactor<Source>) -> R,
    ) -> PyResult<R> {
        self.check_usable()?;
        let (outcome, armed) = self
            .reactor
            .with(py, |reactor| {
                let reactor = reactor.as_mut()?;
                let outcome = action(reactor);
                Some((outcome, reactor.take_armed()))
            })
            .ok_or_else(|| exceptions::runtime("Event loop is closed"))?;
        if armed {
            self.look_next_turn(py);
        }
        Ok(outcome)
    }

    pub(crate) fn remember_task(&self, py: Python<'_>, task: Py<Task>) -> Slot {
        self.tasks.with(py, |tasks| tasks.insert(task))
    }

    pub(crate) fn forget_task(&self, py: Python<'_>, slot: Slot) {
        let task = self.tasks.with(py, |tasks| tasks.remove(slot)).map(|task| task.into_bound(py));
        drop(task);
    }

    /// Tells the interpreter that `task` runs now. It stays told until something else than a step runs.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "on the way of each step of a task")]
    pub(crate) fn enter_task(&self, this: &Bound<'_, Self>, task: &Bound<'_, Task>) -> PyResult<()> {
        stdlib(this.py()).swap_current_task(this.as_any(), Some(task.as_any()))?;
        self.in_task.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Tells the interpreter that no task runs.
    #[inline]
    pub(crate) fn leave_task(&self, this: &Bound<'_, Self>) -> PyResult<()> {
        if self.in_task.load(Ordering::Relaxed) {
            self.in_task.store(false, Ordering::Relaxed);
            stdlib(this.py()).swap_current_task(this.as_any(), None)?;
        }
        Ok(())
    }

    /// After an eager start: whether the task that started the other one runs again.
    pub(crate) fn remember_current(&self, _py: Python<'_>, in_task: bool) {
        self.in_task.store(in_task, Ordering::Relaxed);
    }

    pub(crate) fn on_timer_cancelled(&self, py: Python<'_>) {
        self.timers.with(py, Timers::note_cancelled);
    }

    /// The tasks that were started on this loop and are not done.
    pub(crate) fn running_tasks(&self, py: Python<'_>) -> Vec<Py<Task>> {
        self.tasks.with(py, |tasks| tasks.iter().map(|task| task.clone_ref(py)).collect())
    }

    /// Whether turns are being run, so that what is put off to the end of a turn gets its turn.
    #[inline]
    pub(crate) fn is_turning(&self) -> bool {
        self.thread.load(Ordering::Relaxed) != 0
    }

    /// Lends the memory that received bytes land in. `action` may call Python.
    pub(crate) fn with_scratch<R>(&self, py: Python<'_>, action: impl FnOnce(&mut [u8]) -> R) -> R {
        Self::with_memory(py, &self.scratch, action)
    }

    /// Lends the memory that TLS decrypts to, beside the other. `action` may call Python.
    pub(crate) fn with_plain_text<R>(&self, py: Python<'_>, action: impl FnOnce(&mut [u8]) -> R) -> R {
        Self::with_memory(py, &self.plain_text, action)
    }

    fn with_memory<R>(py: Python<'_>, place: &GilCell<Vec<u8>>, action: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut memory = place.take(py);
        memory.resize(Self::SCRATCH_SIZE, 0);
        let result = action(&mut memory);
        place.replace(py, memory);
        result
    }

    /// Lends the memory that datagrams land in. `action` may call Python.
    pub(crate) fn with_datagrams<R>(&self, py: Python<'_>, action: impl FnOnce(&mut Datagrams) -> R) -> R {
        let kept = self.datagrams.take(py);
        let mut datagrams = kept.unwrap_or_else(|| Datagrams::with_memory(DATAGRAM_MEMORY));
        let result = action(&mut datagrams);
        self.datagrams.replace(py, Some(datagrams));
        result
    }

    /// A listener ran out of descriptors: it tries again as soon as one is closed here, and after a while in any case.
    pub(crate) fn wait_for_descriptor(&self, py: Python<'_>, listener: Py<server::Listener>) {
        self.starved.with(py, |starved| starved.push(listener));
    }

    /// A descriptor was closed: whoever waited for one may have it.
    pub(crate) fn on_descriptor_closed(&self, py: Python<'_>) -> PyResult<()> {
        self.look_next_turn(py);
        if self.starved.with(py, |starved| starved.is_empty()) {
            return Ok(());
        }
        for listener in self.starved.take(py) {
            server::Listener::resume(listener.bind(py))?;
        }
        Ok(())
    }

    /// The other end of a descriptor may be in this program: what was sent through it is news there. And what was there before
    /// somebody asked for it is news to them.
    #[inline]
    pub(crate) fn look_next_turn(&self, py: Python<'_>) {
        self.policy.with(py, TurnPolicy::look_next_turn);
    }

    /// Whether one more handshake of TLS may go on in this turn.
    pub(crate) fn admits_handshake(&self, py: Python<'_>) -> bool {
        self.policy.with(py, TurnPolicy::admits_handshake)
    }

    /// The transport wrote: flush it at the end of this turn.
    pub(crate) fn flush_later(&self, py: Python<'_>, transport: Py<TcpTransport>) {
        self.unflushed.with(py, |unflushed| unflushed.push(transport));
    }
}

/// `RASYNCIO_BACKEND` forces a backend; anything else than a known name is an error, and so is one that cannot be had.
fn make_reactor() -> PyResult<Reactor<Source>> {
    let choice = match std::env::var("RASYNCIO_BACKEND").as_deref() {
        Err(_) | Ok("") => BackendChoice::Auto,
        Ok("epoll") => BackendChoice::Epoll,
        Ok("uring") => BackendChoice::Uring,
        Ok(other) => {
            return Err(pyo3::exceptions::PyValueError::new_err(format!(
                "RASYNCIO_BACKEND must be 'epoll' or 'uring', not {other:?}"
            )));
        }
    };
    let is_ring = matches!(choice, BackendChoice::Uring);
    Reactor::new(choice).map_err(|error| match error.raw_os_error() {
        Some(errno) if is_ring => {
            let message = format!("RASYNCIO_BACKEND=uring, but the kernel refuses it: {error}");
            pyo3::exceptions::PyOSError::new_err((errno, message))
        }
        _ => exceptions::os_error(&error),
    })
}

#[pymethods]
impl Loop {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "()")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        // The arguments are for the `__init__` of a subclass.
        let _ = kwargs;
        context::find_current(args.py())?;
        Self::make()
    }

    fn __init__(this: &Bound<'_, Self>) -> PyResult<()> {
        Self::introduce(this)
    }

    /// The backend that talks to the kernel: `"epoll"` or `"uring"`.
    #[getter]
    fn backend(&self, py: Python<'_>) -> PyResult<&'static str> {
        self.with_reactor(py, |reactor| reactor.backend_name())
    }
}

impl Source {
    /// The transport behind the descriptor.
    pub(crate) fn transport(&self, py: Python<'_>) -> Option<FoundTransport> {
        match self {
            Self::Stream(transport) => Some(FoundTransport::Held(transport.clone_ref(py).into_any())),
            Self::Datagrams(transport) => Some(FoundTransport::Held(transport.clone_ref(py).into_any())),
            Self::IdleTransport(transport) => Some(FoundTransport::Idle(transport.clone_ref(py))),
            Self::Watch { .. } | Self::Listener(_) | Self::Child(_) | Self::Signals => None,
        }
    }
}

/// For as many of the longest datagrams of IP as are received in one call. The kernel provides what is used of it.
const DATAGRAM_MEMORY: usize = 1024 * 1024;
