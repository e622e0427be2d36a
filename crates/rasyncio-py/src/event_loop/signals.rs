//! Signals: `add_signal_handler()`, and Ctrl+C that always reaches a sleeping loop (asyncio: `unix_events.py`).
//!
//! While the loop runs in the main thread, Python's signal machinery writes the number of each signal into a pipe that the loop watches
//! (`signal.set_wakeup_fd`). So a signal ends any wait, even one that is just about to begin, and the loop sees which it was.

use std::collections::HashMap;
use std::io;

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use rasyncio_core::reactor::{Operation, Reactor, Token};
use rasyncio_core::signal::SignalPipe;

use super::{Loop, Ready, Source};
use crate::exceptions;
use crate::ffi::warning;
use crate::handles::Handle;
use crate::interop::stdlib;

/// What a loop knows of signals.
pub(super) struct SignalState {
    handlers: HashMap<i32, Py<Handle>>,
    /// None once the loop is closed.
    pipe: Option<(SignalPipe, Token)>,
}

impl SignalState {
    /// Opens the pipe with the loop, as asyncio does: a process without descriptors left hears of it then, and not when it runs the loop.
    pub(super) fn open(reactor: &mut Reactor<Source>) -> io::Result<Self> {
        let pipe = SignalPipe::new()?;
        let token = reactor.insert(pipe.read_fd(), Source::Signals);
        reactor.arm(token, Operation::Readable)?;
        Ok(Self { handlers: HashMap::new(), pipe: Some((pipe, token)) })
    }

    /// How many of the reactor's sources are the loop's own.
    pub(super) fn source_count(&self) -> usize {
        usize::from(self.pipe.is_some())
    }

    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.handlers.values().try_for_each(|handle| visit.call(handle))
    }

    fn descriptor(&self) -> Option<i32> {
        self.pipe.as_ref().map(|(pipe, _)| pipe.write_fd())
    }
}

impl Loop {
    /// The descriptor that signals are to be written to.
    fn signal_descriptor(this: &Bound<'_, Self>) -> PyResult<i32> {
        let descriptor = this.get().signals.with(this.py(), |signals| signals.descriptor());
        descriptor.ok_or_else(|| exceptions::runtime("Event loop is closed"))
    }

    /// Python writes the numbers of signals nowhere from now on, unless the program has set another descriptor than ours.
    fn give_wakeup_back(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let Some(own) = this.get().signals.with(py, |signals| signals.descriptor()) else {
            return Ok(());
        };
        let current = set_wakeup_descriptor(py, -1)?;
        if current != own && current != -1 {
            set_wakeup_descriptor(py, current)?;
        }
        Ok(())
    }

    /// Begins to listen for signals, if this is the main thread and nobody else listens there already.
    pub(super) fn begin_signals(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        if !is_main_thread(py)? {
            return Ok(());
        }
        let own = Self::signal_descriptor(this)?;
        let before = set_wakeup_descriptor(py, own)?;
        if before != -1 && before != own {
            // asyncio: the program's own descriptor is taken from it by `add_signal_handler()` only.
            set_wakeup_descriptor(py, before)?;
        }
        Ok(())
    }

    /// Gives the wake-up descriptor back, unless there are handlers: they stay in force between two runs, and what arrives then is handled
    /// in the next.
    pub(super) fn end_signals(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        if !is_main_thread(py)? {
            return Ok(());
        }
        Self::stop_listening_for_nobody(this)
    }

    /// No handler is left: signals need not be told to us, unless the loop runs and has to hear of Ctrl+C.
    fn stop_listening_for_nobody(this: &Bound<'_, Self>) -> PyResult<()> {
        let is_last = this.get().signals.with(this.py(), |signals| signals.handlers.is_empty());
        if is_last && !this.get().is_turning() { Self::give_wakeup_back(this) } else { Ok(()) }
    }

    /// Bytes arrived in the pipe, one per signal.
    pub(super) fn on_signals(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let mut numbers = Vec::new();
        let drained = this.get().signals.with(py, |signals| match &signals.pipe {
            Some((pipe, _)) => pipe.drain(&mut numbers),
            None => Ok(()),
        });
        drained.map_err(|error| exceptions::os_error(&error))?;
        for number in numbers {
            this.call_method1(intern!(py, "_handle_signal"), (i32::from(number),))?;
        }
        // Python's own handlers of these signals may not have run yet, and with their numbers out of the pipe nothing would end the next wait.
        py.check_signals()
    }

    /// The loop is being closed: no handler stays behind. asyncio: ValueError in another thread than the main one, which cannot remove them;
    /// the loop is closed all the same.
    pub(super) fn close_signals(this: &Bound<'_, Self>) -> PyResult<()> {
        let removed = Self::remove_handlers(this);
        let closed = Self::close_signal_pipe(this);
        removed.and(closed)
    }

    fn remove_handlers(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let numbers: Vec<i32> =
            this.get().signals.with(py, |signals| signals.handlers.keys().copied().collect());
        if numbers.is_empty() {
            return Ok(());
        }
        if py.import(intern!(py, "sys"))?.call_method0(intern!(py, "is_finalizing"))?.is_truthy()? {
            let text = format!(
                "Closing the loop {} on interpreter shutdown stage, skipping signal handlers removal",
                this.repr()?
            );
            let dropped = this.get().signals.with(py, |signals| std::mem::take(&mut signals.handlers));
            drop(dropped);
            return warning::resource(this.as_any(), &text);
        }
        for number in numbers {
            this.call_method1(intern!(py, "remove_signal_handler"), (number,))?;
        }
        Ok(())
    }

    fn close_signal_pipe(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        // Do not leave a descriptor behind that is about to be closed.
        match Self::give_wakeup_back(this) {
            // Not the main thread.
            Err(error) if error.is_instance_of::<PyValueError>(py) => {}
            outcome => outcome?,
        }
        let pipe = this.get().signals.with(py, |signals| signals.pipe.take());
        if let Some((pipe, token)) = pipe {
            let source = this
                .get()
                .reactor
                .with(py, |reactor| reactor.as_mut().and_then(|reactor| reactor.remove(token)));
            drop((source, pipe));
        }
        Ok(())
    }
}

fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import(intern!(py, "threading"))?;
    let main = threading.call_method0(intern!(py, "main_thread"))?.getattr(intern!(py, "ident"))?;
    Ok(main.extract::<Option<u64>>()? == Some(super::run::thread_id()))
}

/// `signal.set_wakeup_fd()`: returns the descriptor from before.
fn set_wakeup_descriptor(py: Python<'_>, descriptor: i32) -> PyResult<i32> {
    let keywords = PyDict::new(py);
    // A storm of signals may fill the pipe: the loop is woken all the same.
    keywords.set_item("warn_on_full_buffer", false)?;
    stdlib(py).set_wakeup_fd.bind(py).call((descriptor,), Some(&keywords))?.extract()
}

/// TypeError unless a number, ValueError unless a signal.
fn checked_signal(signal: &Bound<'_, PyAny>) -> PyResult<i32> {
    let py = signal.py();
    let Ok(number) = signal.extract::<i32>() else {
        return Err(PyTypeError::new_err(format!("sig must be an int, not {}", signal.repr()?)));
    };
    if !py.import(intern!(py, "signal"))?.call_method0("valid_signals")?.contains(number)? {
        return Err(PyValueError::new_err(format!("invalid signal number {number}")));
    }
    Ok(number)
}

/// EINVAL is what a signal that cannot be caught gives; asyncio tells it in words.
fn uncatchable(py: Python<'_>, error: PyErr, number: i32) -> PyErr {
    let is_invalid = error.is_instance_of::<PyOSError>(py)
        && error
            .value(py)
            .getattr("errno")
            .and_then(|errno| errno.extract::<i32>())
            .is_ok_and(|errno| errno == 22);
    if is_invalid { PyRuntimeError::new_err(format!("sig {number} cannot be caught")) } else { error }
}

/// What Python calls for a signal that the loop handles: nothing, the number in the pipe does the work.
#[pyfunction]
#[pyo3(signature = (signum, frame))]
fn _sighandler_noop(signum: &Bound<'_, PyAny>, frame: &Bound<'_, PyAny>) {
    let _ = (signum, frame);
}

#[pymethods]
impl Loop {
    /// Calls `callback(*args)` in the loop when signal `sig` arrives. Only in the main thread.
    ///
    /// Raises ValueError for no signal or another thread, RuntimeError for a signal that cannot be caught, TypeError for a coroutine function.
    #[pyo3(signature = (sig, callback, *args))]
    fn add_signal_handler(
        this: &Bound<'_, Self>,
        sig: &Bound<'_, PyAny>,
        callback: &Bound<'_, PyAny>,
        args: Py<PyTuple>,
    ) -> PyResult<()> {
        let py = this.py();
        let library = stdlib(py);
        if library.coroutines.iscoroutine.bind(py).call1((callback,))?.is_truthy()?
            || library.coroutines.iscoroutinefunction.bind(py).call1((callback,))?.is_truthy()?
        {
            return Err(PyTypeError::new_err("coroutines cannot be used with add_signal_handler()"));
        }
        let number = checked_signal(sig)?;
        this.get().check_usable()?;
        // ValueError when this is not the main thread; asyncio: RuntimeError with its text.
        let descriptor = Self::signal_descriptor(this)?;
        set_wakeup_descriptor(py, descriptor)
            .map_err(|error| exceptions::runtime(error.value(py).to_string()))?;
        let event_loop = this.clone().into_any().unbind();
        let debug = this.get().is_debug(py);
        let handle = Handle::make(py, callback.clone().unbind(), args, event_loop, None, debug)?.unbind();
        let old = this.get().signals.with(py, |signals| signals.handlers.insert(number, handle));
        drop(old);
        let signal = py.import(intern!(py, "signal"))?;
        let noop = pyo3::wrap_pyfunction!(_sighandler_noop, py)?;
        let installed = signal
            .call_method1(intern!(py, "signal"), (number, noop))
            // System calls of other threads go on after the signal.
            .and_then(|_| signal.call_method1(intern!(py, "siginterrupt"), (number, false)));
        if let Err(error) = installed {
            let dropped = this.get().signals.with(py, |signals| signals.handlers.remove(&number));
            drop(dropped);
            Self::stop_listening_for_nobody(this)?;
            return Err(uncatchable(py, error, number));
        }
        Ok(())
    }

    /// Puts the default action of signal `sig` back; returns whether the loop handled it.
    fn remove_signal_handler(this: &Bound<'_, Self>, sig: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = this.py();
        let number = checked_signal(sig)?;
        let removed = this.get().signals.with(py, |signals| signals.handlers.remove(&number));
        if removed.is_none() {
            return Ok(false);
        }
        drop(removed);
        let signal = py.import(intern!(py, "signal"))?;
        let default = if number == SIGINT { "default_int_handler" } else { "SIG_DFL" };
        signal
            .call_method1(intern!(py, "signal"), (number, signal.getattr(default)?))
            .map_err(|error| uncatchable(py, error, number))?;
        Self::stop_listening_for_nobody(this)?;
        Ok(true)
    }

    /// TypeError unless `sig` is a number, ValueError unless it is that of a signal.
    fn _check_signal(&self, sig: &Bound<'_, PyAny>) -> PyResult<()> {
        checked_signal(sig).map(drop)
    }

    /// A signal arrived: its callback is queued.
    fn _handle_signal(this: &Bound<'_, Self>, sig: i32) {
        let py = this.py();
        let handle = this
            .get()
            .signals
            .with(py, |signals| signals.handlers.get(&sig).map(|handle| handle.clone_ref(py)));
        if let Some(handle) = handle {
            this.get().enqueue(py, Ready::Handle(handle));
        }
    }

    #[getter]
    fn _signal_handlers<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let py = this.py();
        let handlers: Vec<(i32, Py<Handle>)> = this.get().signals.with(py, |signals| {
            signals.handlers.iter().map(|(number, handle)| (*number, handle.clone_ref(py))).collect()
        });
        let shown = PyDict::new(py);
        for (number, handle) in handlers {
            shown.set_item(number, handle)?;
        }
        Ok(shown)
    }
}

const SIGINT: i32 = 2;
