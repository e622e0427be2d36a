//! `to_thread()` (asyncio: threads.py).

use std::ffi::CStr;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::coroutines::{Coroutine, CoroutineFunction, Delegate, Resume, Steps};
use crate::ffi::context;
use crate::ffi::functions::Function;
use crate::ffi::methods::Arguments;
use crate::ffi::send::Sent;
use crate::interop::stdlib;
use crate::tasks::running_loop;

/// `asyncio.to_thread()`.
struct ToThread;

impl Function for ToThread {
    const NAME: &'static CStr = c"to_thread";
    const DOCUMENTATION: &'static CStr = c"to_thread(func, /, *args, **kwargs)\n--\n\n\
        Calls `func(*args, **kwargs)` in a thread of the loop's default executor and returns its result.\n\n\
        The function runs in a copy of the current context.";

    fn call<'py>(py: Python<'py>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        arguments.first("to_thread", "func")?;
        let keywords = PyDict::new(py);
        arguments.keywords(|name, value| keywords.set_item(name, value))?;
        let positional = PyTuple::new(py, arguments.positionals())?;
        let machine = Call::Unstarted { positional: positional.unbind(), keywords: keywords.unbind() };
        Ok(Coroutine::of(py, "to_thread", machine)?.into_any())
    }
}

enum Call {
    /// The function is the first of the arguments.
    Unstarted {
        positional: Py<PyTuple>,
        keywords: Py<PyDict>,
    },
    Running(Delegate),
    Ended,
}

impl Steps for Call {
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        let awaited = match (std::mem::replace(self, Self::Ended), resume) {
            (Self::Running(awaited), resume) => return self.go_on(py, awaited, resume),
            (Self::Unstarted { positional, keywords }, Resume::Next) => {
                begin(positional.bind(py), keywords.bind(py))
            }
            (_, Resume::Throw(error)) => Err(error),
            (Self::Ended, Resume::Next) => return Sent::Returned(py.None().into_bound(py)),
        };
        match awaited {
            Ok(awaited) => self.go_on(py, awaited, Resume::Next),
            Err(error) => Sent::Raised(error),
        }
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Unstarted { positional, keywords } => {
                visit.call(positional)?;
                visit.call(keywords)
            }
            Self::Running(awaited) => awaited.visit(visit),
            Self::Ended => Ok(()),
        }
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        match self {
            Self::Running(awaited) => Some(awaited.iterator(py)),
            Self::Unstarted { .. } | Self::Ended => None,
        }
    }
}

impl Call {
    fn go_on<'py>(&mut self, py: Python<'py>, awaited: Delegate, resume: Resume) -> Sent<'py> {
        let sent = awaited.step(py, resume);
        if matches!(sent, Sent::Yielded(_)) {
            *self = Self::Running(awaited);
        }
        sent
    }
}

fn begin(positional: &Bound<'_, PyTuple>, keywords: &Bound<'_, PyDict>) -> PyResult<Delegate> {
    let py = positional.py();
    let event_loop = running_loop(py)?;
    let run = context::copy_current(py)?.into_bound(py).getattr(intern!(py, "run"))?;
    let arguments = PyTuple::new(py, std::iter::once(run).chain(positional.iter()).collect::<Vec<_>>())?;
    let call = stdlib(py).partial.bind(py).call(arguments, Some(keywords))?;
    let future = event_loop.call_method1(intern!(py, "run_in_executor"), (py.None(), call))?;
    Delegate::begin(&future)
}

/// Adds the function to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    CoroutineFunction::add::<ToThread>(module)
}
