//! A call in a thread of the standard library's pool that tells the loop itself how it ended.
//!
//! `ThreadPoolExecutor.submit()` makes a future with a lock and a condition, which `wrap_future()` then ties to one of the loop's. The threads of a pool run
//! whatever is in its queue and has a `run()`: where nobody changed what `submit()` does, ours goes in there, and only the loop's future is made.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use super::super::Loop;
use super::settle;
use crate::exceptions::Raised;
use crate::ffi::call::call_tuple;
use crate::ffi::cell::GilCell;
use crate::futures::Future;
use crate::interop::stdlib;
use crate::tasks::exception_of_asyncio;

/// The future of `function(*arguments)` in a thread of `executor`. None, and nothing done, unless the loop and the executor are as they came and take work.
pub(super) fn submit<'py>(
    event_loop: &Bound<'py, Loop>,
    executor: &Bound<'py, PyAny>,
    function: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
) -> PyResult<Option<Bound<'py, Future>>> {
    let py = event_loop.py();
    let Some(pool) = Pool::of(executor)? else {
        return Ok(None);
    };
    if Loop::unchanged(event_loop.as_any()).is_none() {
        return Ok(None);
    }
    let future = Future::of_loop(event_loop.as_any())?;
    let item = WorkItem {
        event_loop: event_loop.clone().unbind(),
        future: future.clone().unbind(),
        call: GilCell::new(Some((function.clone().unbind(), arguments.clone().unbind()))),
    };
    let item = Bound::new(py, item)?;
    // Both are what `submit()` holds meanwhile: the pool and the interpreter may be shut down by another thread.
    let inner = executor.getattr(intern!(py, "_shutdown_lock"))?;
    let is_queued = locked(&inner, || {
        locked(pool.global_lock.bind(py), || {
            let refuses = executor.getattr(intern!(py, "_broken"))?.is_truthy()?
                || executor.getattr(intern!(py, "_shutdown"))?.is_truthy()?
                || pool.module.bind(py).getattr(intern!(py, "_shutdown"))?.is_truthy()?;
            if !refuses {
                executor.getattr(intern!(py, "_work_queue"))?.call_method1(intern!(py, "put"), (item,))?;
                executor.call_method0(intern!(py, "_adjust_thread_count"))?;
            }
            Ok(!refuses)
        })
    })?;
    Ok(is_queued.then_some(future))
}

fn locked<R>(lock: &Bound<'_, PyAny>, body: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    let py = lock.py();
    lock.call_method0(intern!(py, "acquire"))?;
    let outcome = body();
    lock.call_method0(intern!(py, "release"))?;
    outcome
}

/// The standard library's pool of threads.
struct Pool {
    module: Py<PyModule>,
    class: Py<PyAny>,
    /// Its own `submit()`.
    submit: Py<PyAny>,
    global_lock: Py<PyAny>,
}

impl Pool {
    /// The pool's, if `executor` is a plain one whose `submit()` nobody has replaced, not in the class either, as who traces programs does.
    fn of(executor: &Bound<'_, PyAny>) -> PyResult<Option<&'static Self>> {
        static POOL: PyOnceLock<Option<Pool>> = PyOnceLock::new();
        let py = executor.py();
        let Some(pool) = POOL.get_or_try_init(py, || Self::load(py))? else {
            return Ok(None);
        };
        let name = intern!(py, "submit");
        if !executor.get_type().is(&pool.class) || !pool.class.bind(py).getattr(name)?.is(&pool.submit) {
            return Ok(None);
        }
        let attributes = executor.getattr(intern!(py, "__dict__"))?.cast_into::<PyDict>()?;
        Ok((!attributes.contains(name)?).then_some(pool))
    }

    /// None when somebody was there before.
    fn load(py: Python<'_>) -> PyResult<Option<Self>> {
        let module = py.import("concurrent.futures.thread")?;
        let class = module.getattr("ThreadPoolExecutor")?;
        let submit = class.getattr("submit")?;
        let is_its_own = submit.get_type().is(&stdlib(py).coroutines.function_class)
            && submit.getattr("__globals__")?.is(module.dict());
        Ok(if is_its_own {
            Some(Self {
                global_lock: module.getattr("_global_shutdown_lock")?.unbind(),
                module: module.unbind(),
                class: class.unbind(),
                submit: submit.unbind(),
            })
        } else {
            None
        })
    }
}

/// What stands in the queue of a pool.
#[pyclass(frozen, weakref, name = "_WorkItem", module = "rasyncio")]
struct WorkItem {
    event_loop: Py<Loop>,
    future: Py<Future>,
    /// None once it was begun or given up.
    call: GilCell<Option<(Py<PyAny>, Py<PyTuple>)>>,
}

#[pymethods]
impl WorkItem {
    /// What a thread of the pool calls, from 3.14 on with its context. What was cancelled meanwhile is not begun.
    #[pyo3(signature = (_context = None))]
    fn run(&self, py: Python<'_>, _context: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let Some((function, arguments)) = self.call.take(py) else {
            return Ok(());
        };
        if self.future.get().is_done(py) {
            return Ok(());
        }
        let outcome = call_tuple(function.bind(py), arguments.bind(py)).map(Bound::unbind);
        drop((function, arguments));
        self.tell(py, move |future| end(future, outcome))
    }

    /// The pool cancels and fails the futures of what it will not run: this is its own.
    #[getter]
    fn future(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    /// It will not be run.
    fn cancel(&self, py: Python<'_>) -> PyResult<bool> {
        drop(self.call.take(py));
        self.tell(py, |future| future.call_method0(intern!(future.py(), "cancel")).map(drop))?;
        Ok(true)
    }

    /// The pool is broken.
    fn set_exception(&self, exception: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = exception.py();
        drop(self.call.take(py));
        let error = PyErr::from_value(exception.clone());
        self.tell(py, move |future| end(future, Err(error)))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        visit.call(&self.future)?;
        self.call
            .peek(|call| {
                call.as_ref().map_or(Ok(()), |(function, arguments)| {
                    visit.call(function)?;
                    visit.call(arguments)
                })
            })
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.call.take(py));
    }
}

impl WorkItem {
    /// Does something with the future in the loop's thread; nothing if the loop was closed meanwhile.
    fn tell(
        &self,
        py: Python<'_>,
        action: impl FnOnce(&Bound<'_, Future>) -> PyResult<()> + Send + 'static,
    ) -> PyResult<()> {
        let event_loop = self.event_loop.get();
        if event_loop.is_closed() {
            return Ok(());
        }
        let future = self.future.clone_ref(py);
        event_loop.defer_from_any_thread(move |event_loop| action(future.bind(event_loop.py())))
    }
}

/// The future ends, unless who waited was cancelled.
fn end(future: &Bound<'_, Future>, outcome: PyResult<Py<PyAny>>) -> PyResult<()> {
    let py = future.py();
    match outcome {
        Err(error) if !future.get().is_done(py) => {
            let exception = exception_of_asyncio(error.raised(py).into_any())?;
            future.call_method1(intern!(py, "set_exception"), (exception,)).map(drop)
        }
        outcome => settle(future, outcome),
    }
}
