//! Executors: calling blocking functions in threads (asyncio: `base_events.py`).

mod work;

use std::sync::atomic::Ordering;

use pyo3::exceptions::{PyException, PyRuntimeWarning, PyTimeoutError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyCFunction, PyDict, PyTuple};

use super::callbacks::check_callback;
use super::{Loop, Ready};
use crate::coroutines::{Coroutine, wait_for};
use crate::exceptions::{self, Raised};
use crate::futures::Future;
use crate::tasks::wrap_future;

#[pymethods]
impl Loop {
    /// Calls `func(*args)` in `executor` (None: the default one) and returns a future of its result.
    #[pyo3(signature = (executor, func, *args))]
    fn run_in_executor<'py>(
        this: &Bound<'py, Self>,
        executor: Option<Bound<'py, PyAny>>,
        func: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        this.get().check_usable()?;
        if this.get().is_debug(py) {
            check_callback(func, "run_in_executor")?;
        }
        let executor = match executor {
            Some(executor) => executor,
            None => this.get().executor(py)?,
        };
        if let Some(future) = work::submit(this, &executor, func, args)? {
            return Ok(future.into_any());
        }
        let mut arguments = vec![func.clone()];
        arguments.extend(args.iter());
        let submitted = executor.call_method1(intern!(py, "submit"), PyTuple::new(py, arguments)?)?;
        wrap_future(&submitted, Some(this.as_any()))
    }

    /// Makes `executor` (a ThreadPoolExecutor) the one that None stands for.
    fn set_default_executor(&self, executor: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = executor.py();
        if !executor.is_instance(&thread_pool_executor(py)?)? {
            return Err(PyTypeError::new_err("executor must be ThreadPoolExecutor instance"));
        }
        self.replace_executor(py, Some(executor.clone().unbind()));
        Ok(())
    }

    /// Waits until the threads of the default executor have ended, at most `timeout` seconds (3.12+; None: for ever).
    #[pyo3(signature = (timeout = None))]
    fn shutdown_default_executor<'py>(
        this: &Bound<'py, Self>,
        timeout: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let py = this.py();
        if timeout.is_some() && py.version_info() < (3, 12) {
            return Err(PyTypeError::new_err(
                "EventLoop.shutdown_default_executor() got an unexpected keyword argument 'timeout'",
            ));
        }
        let event_loop = this.clone().unbind();
        Coroutine::make(py, "EventLoop.shutdown_default_executor", async move {
            shut_down(&event_loop, timeout).await?;
            Python::attach(|py| Ok(py.None()))
        })
    }

    #[getter]
    fn _default_executor(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.settings
            .with(py, |settings| settings.default_executor.as_ref().map(|executor| executor.clone_ref(py)))
    }
}

impl Loop {
    /// The loop closes: the default executor takes no more work; its threads end by themselves.
    pub(super) fn shutdown_executor_on_close(&self, py: Python<'_>) -> PyResult<()> {
        self.settings.with(py, |settings| settings.executor_closed = true);
        match self.replace_executor(py, None) {
            Some(executor) => shutdown(executor.bind(py), false),
            None => Ok(()),
        }
    }

    /// The default executor, made when it is first asked for.
    fn executor<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (closed, executor) = self.settings.with(py, |settings| {
            let executor = settings.default_executor.as_ref().map(|executor| executor.clone_ref(py));
            (settings.executor_closed, executor)
        });
        if closed {
            return Err(exceptions::runtime("Executor shutdown has been called"));
        }
        if let Some(executor) = executor {
            return Ok(executor.into_bound(py));
        }
        let keywords = [("thread_name_prefix", "asyncio")].into_py_dict(py)?;
        let executor = thread_pool_executor(py)?.call((), Some(&keywords))?;
        self.replace_executor(py, Some(executor.clone().unbind()));
        Ok(executor)
    }

    fn replace_executor(&self, py: Python<'_>, executor: Option<Py<PyAny>>) -> Option<Py<PyAny>> {
        self.settings.with(py, |settings| std::mem::replace(&mut settings.default_executor, executor))
    }
}

/// The body of `shutdown_default_executor()`.
async fn shut_down(event_loop: &Py<Loop>, timeout: Option<Py<PyAny>>) -> PyResult<()> {
    let begun = Python::attach(|py| Shutdown::begin(event_loop.bind(py), timeout.as_ref()))?;
    let Some((shutdown, ended)) = begun else {
        return Ok(());
    };
    let outcome = wait_for(ended).await;
    Python::attach(|py| {
        shutdown.finish(py, outcome.and_then(|failure| result_of(py, failure)), timeout.as_ref())
    })
}

/// A shutdown under way: a thread of its own waits for those of the executor.
struct Shutdown {
    executor: Py<PyAny>,
    thread: Py<PyAny>,
    timer: Option<Py<PyAny>>,
}

impl Shutdown {
    /// Starts it and gives the future that is done when the threads are. None when there is no executor.
    ///
    /// Its result is the failure, TimeoutError or the executor's own, or None. It does not fail itself: up to Python 3.13 an exception is thrown into
    /// us without the frame of the one who awaits, where the warning is to point.
    fn begin(
        event_loop: &Bound<'_, Loop>,
        timeout: Option<&Py<PyAny>>,
    ) -> PyResult<Option<(Self, Py<PyAny>)>> {
        let py = event_loop.py();
        let executor = event_loop.get().settings.with(py, |settings| {
            settings.executor_closed = true;
            settings.default_executor.as_ref().map(|executor| executor.clone_ref(py))
        });
        let Some(executor) = executor else {
            return Ok(None);
        };
        let ended = Py::new(py, Future::pending(event_loop.clone().into_any().unbind()))?;
        // First, as it is what fails when the timeout is no number.
        let timer = match timeout {
            Some(timeout) => Some(start_timer(event_loop, timeout, &ended)?),
            None => None,
        };
        let target = waiting_thread(event_loop, &executor, &ended)?;
        let keywords = [("target", target)].into_py_dict(py)?;
        let thread = py.import("threading")?.call_method("Thread", (), Some(&keywords))?;
        thread.call_method0(intern!(py, "start"))?;
        Ok(Some((Self { executor, thread: thread.unbind(), timer }, ended.into_any())))
    }

    fn finish(&self, py: Python<'_>, outcome: PyResult<()>, timeout: Option<&Py<PyAny>>) -> PyResult<()> {
        if let Some(timer) = &self.timer {
            timer.bind(py).call_method0(intern!(py, "cancel"))?;
        }
        match outcome {
            // asyncio: one of the executor's own is no other.
            Err(error) if py.version_info() >= (3, 12) && error.is_instance_of::<PyTimeoutError>(py) => {
                warn_of_timeout(py, timeout)?;
                shutdown(self.executor.bind(py), false)
            }
            // asyncio: until 3.12 a cancelled shutdown waits for the thread nevertheless.
            Err(error) if py.version_info() >= (3, 13) => Err(error),
            outcome => {
                self.thread.bind(py).call_method0(intern!(py, "join"))?;
                outcome
            }
        }
    }
}

fn warn_of_timeout(py: Python<'_>, timeout: Option<&Py<PyAny>>) -> PyResult<()> {
    let seconds = timeout.map_or_else(|| Ok("None".to_owned()), |timeout| text(timeout.bind(py)))?;
    let message = format!("The executor did not finishing joining its threads within {seconds} seconds.");
    let category = py.get_type::<PyRuntimeWarning>();
    // Level 1 is who awaits: a Rust coroutine has no frame of its own.
    py.import("warnings")?.call_method1(intern!(py, "warn"), (message, category, 1))?;
    Ok(())
}

fn text(object: &Bound<'_, PyAny>) -> PyResult<String> {
    object.str()?.extract()
}

/// What the thread of a shutdown runs: waits for the executor and tells the loop, unless that was closed meanwhile.
fn waiting_thread<'py>(
    event_loop: &Bound<'py, Loop>,
    executor: &Py<PyAny>,
    ended: &Py<Future>,
) -> PyResult<Bound<'py, PyCFunction>> {
    let py = event_loop.py();
    let parts = (event_loop.clone().unbind(), executor.clone_ref(py), ended.clone_ref(py));
    PyCFunction::new_closure(py, None, None, move |arguments, _| -> PyResult<()> {
        let py = arguments.py();
        let (event_loop, executor, ended) = &parts;
        let outcome = shutdown(executor.bind(py), true);
        if let Err(error) = &outcome
            && !error.is_instance_of::<PyException>(py)
        {
            return outcome;
        }
        if !event_loop.get().closed.load(Ordering::Relaxed) {
            let ended = ended.clone_ref(py);
            event_loop.get().inbox.push(Ready::Deferred(Box::new(move |event_loop| {
                let py = event_loop.py();
                let failure = outcome.err().map_or_else(|| py.None(), |error| failure(py, &error));
                settle(ended.bind(py), Ok(failure))
            })));
        }
        Ok(())
    })
}

/// Ends `future` unless it is done, as one whose waiter was cancelled is.
pub(super) fn settle(future: &Bound<'_, Future>, outcome: PyResult<Py<PyAny>>) -> PyResult<()> {
    let py = future.py();
    if future.get().is_done(py) {
        return Ok(());
    }
    match outcome {
        Ok(result) => Future::finish(future, result),
        Err(error) => Future::fail(future, &error.raised(py)),
    }
}

/// A failure as the result of a future.
fn failure(py: Python<'_>, error: &PyErr) -> Py<PyAny> {
    error.raised(py).into_any().unbind()
}

/// What such a result says.
fn result_of(py: Python<'_>, failure: Py<PyAny>) -> PyResult<()> {
    if failure.is_none(py) { Ok(()) } else { Err(PyErr::from_value(failure.into_bound(py))) }
}

/// Ends `ended` with TimeoutError after `timeout` seconds.
fn start_timer(event_loop: &Bound<'_, Loop>, timeout: &Py<PyAny>, ended: &Py<Future>) -> PyResult<Py<PyAny>> {
    let py = event_loop.py();
    let ended = ended.clone_ref(py);
    let expire = PyCFunction::new_closure(py, None, None, move |arguments, _| -> PyResult<()> {
        let py = arguments.py();
        settle(ended.bind(py), Ok(failure(py, &PyTimeoutError::new_err(()))))
    })?;
    Ok(event_loop.call_method1(intern!(py, "call_later"), (timeout, expire))?.unbind())
}

fn shutdown(executor: &Bound<'_, PyAny>, wait: bool) -> PyResult<()> {
    let py = executor.py();
    let keywords = PyDict::new(py);
    keywords.set_item("wait", wait)?;
    executor.call_method(intern!(py, "shutdown"), (), Some(&keywords))?;
    Ok(())
}

fn thread_pool_executor(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import("concurrent.futures")?.getattr(intern!(py, "ThreadPoolExecutor"))
}
