//! `timeout()`, `timeout_at()`, and the two coroutines of `async with`, which never wait.

use std::ffi::CStr;

use pyo3::exceptions::PyBaseException;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::{Timeout, When};
use crate::coroutines::{Coroutine, Resume, Steps};
use crate::ffi::allocation::new_with_dict;
use crate::ffi::call::attached;
use crate::ffi::functions::{self, Function, Parameters};
use crate::ffi::methods::{Arguments, FastMethod};
use crate::ffi::send::Sent;

/// `Timeout.__aenter__()`.
pub(super) struct Enter;

impl FastMethod for Enter {
    type Class = Timeout;
    const NAME: &'static CStr = c"__aenter__";
    const DOCUMENTATION: &'static CStr = c"__aenter__($self)\n--\n\nBegins the block.";
    const IS_LIGHT: bool = true;

    #[inline]
    fn call<'py>(this: &Bound<'py, Timeout>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let [] = arguments.bind(&Parameters {
            function: "Timeout.__aenter__",
            names: [],
            positional: 0,
            required: 0,
        })?;
        let machine = Block::Enter(this.clone().unbind());
        Ok(Coroutine::of(this.py(), "Timeout.__aenter__", machine)?.into_any())
    }
}

/// `Timeout.__aexit__()`.
pub(super) struct Exit;

impl FastMethod for Exit {
    type Class = Timeout;
    const NAME: &'static CStr = c"__aexit__";
    const DOCUMENTATION: &'static CStr =
        c"__aexit__($self, exc_type, exc_val, exc_tb)\n--\n\nEnds the block.";
    const IS_LIGHT: bool = true;

    #[inline]
    fn call<'py>(this: &Bound<'py, Timeout>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let [_, value, _] = arguments.bind(&Parameters {
            function: "Timeout.__aexit__",
            names: ["exc_type", "exc_val", "exc_tb"],
            positional: 3,
            required: 3,
        })?;
        let raised = match value {
            Some(value) if !value.is_none() => Some(value.cast::<PyBaseException>()?.clone().unbind()),
            _ => None,
        };
        let machine = Block::Exit(this.clone().unbind(), raised);
        Ok(Coroutine::of(this.py(), "Timeout.__aexit__", machine)?.into_any())
    }
}

/// The two coroutines of the context manager; neither ever waits.
enum Block {
    Enter(Py<Timeout>),
    Exit(Py<Timeout>, Option<Py<PyBaseException>>),
}

impl Steps for Block {
    #[inline]
    fn step<'py>(&mut self, py: Python<'py>, _resume: Resume) -> Sent<'py> {
        let outcome = match self {
            Self::Enter(timeout) => {
                let timeout = timeout.bind(py);
                Timeout::enter(timeout).map(|()| timeout.clone().into_any())
            }
            Self::Exit(timeout, raised) => {
                let raised = raised.as_ref().map(|raised| raised.bind(py));
                Timeout::exit(timeout.bind(py), raised).map(|()| py.None().into_bound(py))
            }
        };
        outcome.map_or_else(Sent::Raised, Sent::Returned)
    }

    #[inline]
    fn end_at_once<'py>(&mut self, py: Python<'py>) -> Option<Sent<'py>> {
        // What was raised is for the long way.
        if matches!(self, Self::Exit(_, Some(_))) { None } else { Some(self.step(py, Resume::Next)) }
    }

    #[inline]
    fn let_go(self, py: Python<'_>) {
        let (Self::Enter(timeout) | Self::Exit(timeout, None)) = self else {
            return attached(py, || drop(self));
        };
        drop(timeout.into_bound(py));
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Enter(timeout) => visit.call(timeout),
            Self::Exit(timeout, raised) => {
                visit.call(timeout)?;
                visit.call(raised)
            }
        }
    }
}

/// `asyncio.timeout()`.
pub(super) struct TimeoutFunction;

impl Function for TimeoutFunction {
    const NAME: &'static CStr = c"timeout";
    const DOCUMENTATION: &'static CStr = c"timeout(delay)\n--\n\n\
        An asynchronous context manager that ends its block with TimeoutError `delay` seconds from now (None: never).";
    const IS_LIGHT: bool = true;

    #[inline]
    fn call<'py>(py: Python<'py>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let [delay] = arguments.bind(&Parameters {
            function: "timeout",
            names: ["delay"],
            positional: 1,
            required: 1,
        })?;
        Ok(Timeout::after(py, delay.filter(|delay| !delay.is_none()))?.into_any())
    }
}

/// `asyncio.timeout_at()`.
pub(super) struct TimeoutAtFunction;

impl Function for TimeoutAtFunction {
    const NAME: &'static CStr = c"timeout_at";
    const DOCUMENTATION: &'static CStr = c"timeout_at(when)\n--\n\n\
        An asynchronous context manager that ends its block with TimeoutError when the loop's clock (`loop.time()`) reaches `when` (None: never).";

    fn call<'py>(py: Python<'py>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let [when] = arguments.bind(&Parameters {
            function: "timeout_at",
            names: ["when"],
            positional: 1,
            required: 1,
        })?;
        let timeout = Timeout::with_deadline(When::of(Some(functions::given(when)?)));
        Ok(new_with_dict(py, timeout)?.into_any())
    }
}
