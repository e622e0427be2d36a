//! Attempts to connect: one socket for each address of a host, one after the other or in a race.
//!
//! The race is RFC 8305's "happy eyeballs" (asyncio: staggered.py): an attempt begins when the one before has failed or
//! has taken longer than a delay; the first to connect wins and the others are cancelled. Invariant: a socket is closed
//! unless it is handed out, however the attempt ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::{PyException, PyOSError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyCFunction};

use super::Loop;
use super::bell::Bell;
use super::resolve::AddressInfo;
use crate::coroutines::{Coroutine, wait_for};
use crate::exceptions::{self, Raised};
use crate::ffi::cell::GilCell;
use crate::interop::must_propagate;

/// A socket or transport that is closed when it is dropped, unless it is released first.
pub(super) struct CloseOnDrop(Option<Py<PyAny>>);

impl CloseOnDrop {
    pub(super) fn new(object: Py<PyAny>) -> Self {
        Self(Some(object))
    }

    /// Hands the object out, open.
    pub(super) fn release(mut self) -> Option<Py<PyAny>> {
        self.0.take()
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        let Some(object) = self.0.take() else {
            return;
        };
        // Without an interpreter the object is gone already.
        Python::try_attach(|py| {
            let object = object.into_bound(py);
            match object.call_method0(intern!(py, "close")) {
                // asyncio: what led here matters more than a new socket that cannot be closed.
                Err(error) if !error.is_instance_of::<PyOSError>(py) => {
                    error.write_unraisable(py, Some(&object));
                }
                _ => {}
            }
        });
    }
}

/// Where to connect to.
pub(super) struct Plan {
    pub(super) event_loop: Py<Loop>,
    pub(super) targets: Vec<AddressInfo>,
    /// Where to bind to, of any family; None: anywhere.
    pub(super) local: Option<Vec<AddressInfo>>,
}

/// The connected socket, or else what went wrong, in the order of the attempts.
pub(super) type Connected = Result<CloseOnDrop, Vec<PyErr>>;

impl Plan {
    /// Tries one address after the other.
    pub(super) async fn in_sequence(&self) -> PyResult<Connected> {
        let mut errors = Vec::new();
        for target in &self.targets {
            match self.attempt(target, &mut errors).await {
                Ok(socket) => return Ok(Ok(socket)),
                Err(error) if is_os_error(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Err(errors))
    }

    /// Makes, binds and connects one socket. Every OSError is in `errors`, the one that is returned included.
    async fn attempt(&self, target: &AddressInfo, errors: &mut Vec<PyErr>) -> PyResult<CloseOnDrop> {
        let outcome = self.open(target, errors).await;
        if let Err(error) = &outcome
            && is_os_error(error)
        {
            errors.push(Python::attach(|py| error.clone_ref(py)));
        }
        outcome
    }

    async fn open(&self, target: &AddressInfo, errors: &mut Vec<PyErr>) -> PyResult<CloseOnDrop> {
        let (socket, connecting) = Python::attach(|py| {
            let socket = make_socket(py, target)?;
            let guard = CloseOnDrop::new(socket.clone().unbind());
            if let Some(local) = &self.local {
                bind(&socket, target.family, local, errors)?;
            }
            let arguments = (&socket, target.address.bind(py));
            let connecting = self.event_loop.bind(py).call_method1(intern!(py, "sock_connect"), arguments)?;
            Ok::<_, PyErr>((guard, connecting.unbind()))
        })?;
        wait_for(connecting).await?;
        Ok(socket)
    }
}

fn is_os_error(error: &PyErr) -> bool {
    Python::attach(|py| error.is_instance_of::<PyOSError>(py))
}

fn make_socket<'py>(py: Python<'py>, target: &AddressInfo) -> PyResult<Bound<'py, PyAny>> {
    let keywords =
        [("family", target.family), ("type", target.kind), ("proto", target.protocol)].into_py_dict(py)?;
    // Taken at each call: programs put their own class in place of `socket.socket`.
    let class = py.import(intern!(py, "socket"))?.getattr(intern!(py, "socket"))?;
    let socket = class.call((), Some(&keywords))?;
    let guard = CloseOnDrop::new(socket.clone().unbind());
    socket.call_method1(intern!(py, "setblocking"), (false,))?;
    drop(guard.release());
    Ok(socket)
}

/// Binds to the first local address of the family that lets itself be bound to.
fn bind(
    socket: &Bound<'_, PyAny>,
    family: i32,
    local: &[AddressInfo],
    errors: &mut Vec<PyErr>,
) -> PyResult<()> {
    let py = socket.py();
    let mut failure = None;
    for info in local.iter().filter(|info| info.family == family) {
        match socket.call_method1(intern!(py, "bind"), (info.address.bind(py),)) {
            Ok(_) => {
                errors.extend(failure);
                return Ok(());
            }
            Err(error) if error.is_instance_of::<PyOSError>(py) => {
                errors.extend(failure.replace(bind_error(py, info, &error)?));
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    let class = py.import(intern!(py, "socket"))?.getattr(intern!(py, "AddressFamily"))?;
    let family = class.call1((family,))?.repr()?;
    let text = format!("no matching local address with family={family} found");
    Err(PyOSError::new_err(text))
}

/// The error of a local address that cannot be bound to, which it names.
fn bind_error(py: Python<'_>, info: &AddressInfo, error: &PyErr) -> PyResult<PyErr> {
    let value = error.raised(py);
    let number = value.getattr(intern!(py, "errno"))?;
    let cause = if py.version_info() < (3, 13) {
        value.getattr(intern!(py, "strerror"))?.str()?.to_string()
    } else {
        value.str()?.to_string()
    };
    let text = format!(
        "error while attempting to bind on address {}: {}",
        info.address.bind(py).repr()?,
        cause.to_lowercase()
    );
    Ok(PyOSError::new_err((number.unbind(), text)))
}

/// Tries the addresses in a race: each begins `delay` seconds after the one before, or when that failed.
pub(super) async fn race(plan: Arc<Plan>, delay: f64) -> PyResult<Connected> {
    let mut race = Python::attach(|py| Race::new(py, plan, delay))?;
    while Python::attach(|py| race.advance(py))? {
        if let Err(error) = Bell::wait(&race.bell, &race.plan.event_loop).await {
            if !Python::attach(|py| exceptions::is_cancelled(py, &error)) {
                return Err(error);
            }
            Python::attach(|py| race.end(py))?;
            race.cancelled = Some(error);
        }
    }
    match race.cancelled.take() {
        Some(error) => Err(error),
        None => Ok(Python::attach(|py| race.outcome(py))),
    }
}

/// One attempt of a race. It runs in a task of its own.
struct Runner {
    task: Py<PyAny>,
    attempt: Arc<Attempt>,
}

/// What the task of an attempt leaves behind.
#[derive(Default)]
struct Attempt {
    socket: GilCell<Option<CloseOnDrop>>,
    errors: GilCell<Vec<PyErr>>,
}

struct Race {
    plan: Arc<Plan>,
    delay: f64,
    /// Rings when an attempt ends and when the next is due.
    bell: Py<Bell>,
    runners: Vec<Runner>,
    /// How many attempts may have begun by now, whether or not those before have failed.
    due: Arc<AtomicUsize>,
    timer: Option<Py<PyAny>>,
    winner: Option<CloseOnDrop>,
    /// No further attempt begins; those that run were cancelled.
    ended: bool,
    cancelled: Option<PyErr>,
}

impl Race {
    fn new(py: Python<'_>, plan: Arc<Plan>, delay: f64) -> PyResult<Self> {
        Ok(Self {
            plan,
            delay,
            bell: Bell::make(py)?,
            runners: Vec::new(),
            due: Arc::new(AtomicUsize::new(1)),
            timer: None,
            winner: None,
            ended: false,
            cancelled: None,
        })
    }

    /// Does what has become possible; false when no attempt runs any more and none is left to begin.
    fn advance(&mut self, py: Python<'_>) -> PyResult<bool> {
        self.take_winner(py)?;
        while !self.ended && self.runners.len() < self.plan.targets.len() {
            let previous_failed = match self.runners.last() {
                Some(runner) => runner.is_done(py)?,
                None => true,
            };
            if !previous_failed && self.due.load(Ordering::Relaxed) <= self.runners.len() {
                break;
            }
            self.begin_next(py)?;
            // An eager task may be done already.
            self.take_winner(py)?;
        }
        for runner in &self.runners {
            if !runner.is_done(py)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn take_winner(&mut self, py: Python<'_>) -> PyResult<()> {
        if self.ended {
            return Ok(());
        }
        self.winner = self.runners.iter().find_map(|runner| runner.attempt.socket.take(py));
        if self.winner.is_some() {
            self.end(py)?;
        }
        Ok(())
    }

    fn begin_next(&mut self, py: Python<'_>) -> PyResult<()> {
        self.stop_timer(py)?;
        let event_loop = self.plan.event_loop.bind(py);
        let index = self.runners.len();
        let attempt = Arc::new(Attempt::default());
        let body = run(Arc::clone(&self.plan), index, Arc::clone(&attempt));
        let coroutine = Coroutine::make(py, "EventLoop._connect_sock", body)?;
        let task = event_loop.call_method1(intern!(py, "create_task"), (coroutine,))?;
        self.runners.push(Runner { task: task.clone().unbind(), attempt });
        task.call_method1(intern!(py, "add_done_callback"), (&self.bell,))?;
        if index + 1 < self.plan.targets.len() {
            let (due, bell) = (Arc::clone(&self.due), self.bell.clone_ref(py));
            let callback = PyCFunction::new_closure(py, None, None, move |arguments, _| {
                due.store(index + 2, Ordering::Relaxed);
                bell.get().ring(arguments.py())
            })?;
            let timer = event_loop.call_method1(intern!(py, "call_later"), (self.delay, callback))?;
            self.timer = Some(timer.unbind());
        }
        Ok(())
    }

    /// Begins no further attempt and cancels those that run.
    fn end(&mut self, py: Python<'_>) -> PyResult<()> {
        self.ended = true;
        self.stop_timer(py)?;
        for runner in &self.runners {
            if !runner.is_done(py)? {
                runner.task.bind(py).call_method0(intern!(py, "cancel"))?;
            }
        }
        Ok(())
    }

    fn stop_timer(&mut self, py: Python<'_>) -> PyResult<()> {
        if let Some(timer) = self.timer.take() {
            timer.bind(py).call_method0(intern!(py, "cancel"))?;
        }
        Ok(())
    }

    fn outcome(&mut self, py: Python<'_>) -> Connected {
        match self.winner.take() {
            Some(socket) => Ok(socket),
            None => Err(self.runners.iter().flat_map(|runner| runner.attempt.errors.take(py)).collect()),
        }
    }
}

impl Runner {
    fn is_done(&self, py: Python<'_>) -> PyResult<bool> {
        self.task.bind(py).call_method0(intern!(py, "done"))?.is_truthy()
    }
}

impl Drop for Race {
    /// Whoever waited is gone: nothing is left behind that would still connect.
    fn drop(&mut self) {
        Python::try_attach(|py| {
            if let Err(error) = self.end(py) {
                error.write_unraisable(py, None);
            }
        });
    }
}

/// The body of an attempt's task. A failure is kept, not raised: nobody asks these tasks for their result.
async fn run(plan: Arc<Plan>, index: usize, attempt: Arc<Attempt>) -> PyResult<Py<PyAny>> {
    let mut errors = Vec::new();
    let outcome = plan.attempt(&plan.targets[index], &mut errors).await;
    Python::attach(|py| {
        drop(attempt.errors.replace(py, errors));
        match outcome {
            Ok(socket) => drop(attempt.socket.replace(py, Some(socket))),
            Err(error) if must_propagate(py, &error) => return Err(error),
            Err(error) if !error.is_instance_of::<PyException>(py) => return Err(error),
            Err(_) => {}
        }
        Ok(py.None())
    })
}
