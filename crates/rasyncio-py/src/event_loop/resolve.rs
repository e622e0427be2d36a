//! Names and addresses: `getaddrinfo()`, `getnameinfo()` and what connections need of them (asyncio: `base_events.py`).
//!
//! The C library's resolver blocks, so it is asked by the core's workers (`lookup`), except for what it can answer without files and the
//! network, which is answered at once (`question`). A program that puts a function of its own in the place of `socket.getaddrinfo()` gets
//! that called, in the default executor as asyncio does: Python code does not belong into threads that may outlive the interpreter.

mod address;
mod answer;
mod lookup;
mod question;

use std::ffi::CStr;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use rasyncio_core::net::{self, NUMERIC_NAMES};

use super::Loop;
use super::sendfile::zero;
use crate::coroutines::{AsyncBody, Coroutine, Resume, Steps, wait_for};
use crate::ffi::functions::Parameters;
use crate::ffi::methods::{Arguments, FastMethod};
use crate::ffi::send::Sent;
use crate::futures::Future;
use crate::interop::stdlib;
pub(super) use address::{AddressInfo, Hints, ensure_all_resolved, ensure_resolved};
use lookup::Lookup;
pub(super) use lookup::{Lookups, workers};

#[pymethods]
impl Loop {
    /// `socket.getnameinfo()` without blocking the loop. Raises socket.gaierror.
    #[pyo3(signature = (sockaddr, flags = zero()), text_signature = "($self, sockaddr, flags=0)")]
    fn getnameinfo<'py>(
        this: &Bound<'py, Self>,
        sockaddr: Bound<'py, PyAny>,
        flags: Py<PyAny>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let py = this.py();
        let arguments = PyTuple::new(py, [sockaddr, flags.into_bound(py)])?.unbind();
        let event_loop = this.clone().unbind();
        Coroutine::make(py, "EventLoop.getnameinfo", async move {
            Python::attach(|py| ask_for_names(event_loop.bind(py), arguments.bind(py)))?.answer().await
        })
    }

    /// What debug mode has the executor call instead of another resolver than the C library's.
    #[pyo3(signature = (*question))]
    fn _getaddrinfo_debug<'py>(
        this: &Bound<'py, Self>,
        question: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let log = Log::begin(this, question)?;
        let py = this.py();
        let resolver = py.import(intern!(py, "socket"))?.getattr(intern!(py, "getaddrinfo"))?;
        let answer = resolver.call1(question)?;
        log.finish(this, &answer)?;
        Ok(answer)
    }
}

/// `EventLoop.getaddrinfo()`.
pub(super) struct GetAddressInfo;

impl FastMethod for GetAddressInfo {
    type Class = Loop;
    const NAME: &'static CStr = c"getaddrinfo";
    const DOCUMENTATION: &'static CStr =
        c"getaddrinfo($self, host, port, *, family=0, type=0, proto=0, flags=0)\n--\n\n\
        `socket.getaddrinfo()` without blocking the loop. Raises socket.gaierror.";

    fn call<'py>(this: &Bound<'py, Loop>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        static PARAMETERS: Parameters<6> = Parameters {
            function: "EventLoop.getaddrinfo",
            names: ["host", "port", "family", "type", "proto", "flags"],
            positional: 2,
            required: 2,
        };
        let py = this.py();
        let zero = 0_i32.into_pyobject(py)?.into_any();
        let arguments = arguments.bind(&PARAMETERS)?.map(|given| given.unwrap_or(&zero));
        let arguments = PyTuple::new(py, arguments)?.unbind();
        let machine = AddressInfoSteps::Unstarted { event_loop: this.clone().unbind(), arguments };
        Ok(Coroutine::of(py, "EventLoop.getaddrinfo", machine)?.into_any())
    }
}

/// The coroutine of `getaddrinfo()`. Most often it is asked for an address and answers in its first step.
enum AddressInfoSteps {
    Unstarted { event_loop: Py<Loop>, arguments: Py<PyTuple> },
    Asked(AsyncBody),
    Ended,
}

impl Steps for AddressInfoSteps {
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        match (std::mem::replace(self, Self::Ended), resume) {
            (Self::Unstarted { event_loop, arguments }, Resume::Next) => {
                match question::answer_of_literal(event_loop.bind(py), arguments.bind(py)) {
                    Ok(Some(answer)) => return Sent::Returned(answer),
                    Ok(None) => {}
                    Err(error) => return Sent::Raised(error),
                }
                let body = AsyncBody::new(async move {
                    Python::attach(|py| ask_for_addresses(event_loop.bind(py), arguments.bind(py)))?
                        .answer()
                        .await
                });
                self.go_on(py, body, Resume::Next)
            }
            (Self::Asked(body), resume) => self.go_on(py, body, resume),
            (_, Resume::Throw(error)) => Sent::Raised(error),
            (Self::Ended, Resume::Next) => Sent::Returned(py.None().into_bound(py)),
        }
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Unstarted { event_loop, arguments } => {
                visit.call(event_loop)?;
                visit.call(arguments)
            }
            Self::Asked(body) => body.visit(visit),
            Self::Ended => Ok(()),
        }
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        match self {
            Self::Asked(body) => body.awaited(py),
            Self::Unstarted { .. } | Self::Ended => None,
        }
    }
}

impl AddressInfoSteps {
    fn go_on<'py>(&mut self, py: Python<'py>, mut body: AsyncBody, resume: Resume) -> Sent<'py> {
        let sent = body.step(py, resume);
        if matches!(sent, Sent::Yielded(_)) {
            *self = Self::Asked(body);
        }
        sent
    }
}

/// Where the answer comes from.
enum Asked {
    Here(Py<PyAny>),
    Worker(Lookup, Py<Future>),
    Executor(Py<PyAny>),
}

impl Asked {
    async fn answer(self) -> PyResult<Py<PyAny>> {
        match self {
            Self::Here(answer) => Ok(answer),
            Self::Worker(lookup, future) => lookup.wait(future).await,
            Self::Executor(future) => wait_for(future).await,
        }
    }

    /// Has the executor call the function of that name in Python's `socket` module, whatever it is now.
    fn of_python(event_loop: &Bound<'_, Loop>, name: &str, arguments: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let py = event_loop.py();
        let function = if name == ADDRESSES && event_loop.get().is_debug(py) {
            event_loop.getattr(intern!(py, "_getaddrinfo_debug"))?
        } else {
            stdlib(py).resolver.module.bind(py).getattr(name)?
        };
        let mut call = vec![py.None().into_bound(py), function];
        call.extend(arguments.iter());
        let future = event_loop.call_method1(intern!(py, "run_in_executor"), PyTuple::new(py, call)?)?;
        Ok(Self::Executor(future.unbind()))
    }
}

fn ask_for_addresses(event_loop: &Bound<'_, Loop>, arguments: &Bound<'_, PyTuple>) -> PyResult<Asked> {
    let py = event_loop.py();
    event_loop.get().check_usable()?;
    let plain = if is_the_interpreters(py, ADDRESSES)? { question::plain_question(arguments)? } else { None };
    let Some(question) = plain else {
        return Asked::of_python(event_loop, ADDRESSES, arguments);
    };
    let log = event_loop.get().is_debug(py).then(|| Log::begin(event_loop, arguments)).transpose()?;
    let (host, port) = (arguments.get_item(0)?, arguments.get_item(1)?);
    let event = intern!(py, "socket.getaddrinfo");
    let event = (event, host, port, question.family, question.kind, question.protocol);
    stdlib(py).audit.bind(py).call1(event)?;
    let finish = move |event_loop: &Bound<'_, Loop>, found| {
        let answer = answer::addresses(event_loop.py(), found)?;
        if let Some(log) = log {
            log.finish(event_loop, answer.bind(event_loop.py()))?;
        }
        Ok(answer)
    };
    if let Some(found) = question::answer_at_once(&question) {
        return Ok(Asked::Here(finish(event_loop, found)?));
    }
    let (lookup, future) = Lookup::begin(event_loop, move || net::resolve(&question), finish)?;
    Ok(Asked::Worker(lookup, future))
}

fn ask_for_names(event_loop: &Bound<'_, Loop>, arguments: &Bound<'_, PyTuple>) -> PyResult<Asked> {
    let py = event_loop.py();
    event_loop.get().check_usable()?;
    let given = arguments.get_item(0)?;
    let plain = if is_the_interpreters(py, NAMES)? { question::plain_address(&given)? } else { None };
    let (Some(address), Ok(flags)) = (plain, arguments.get_item(1)?.extract::<i32>()) else {
        return Asked::of_python(event_loop, NAMES, arguments);
    };
    stdlib(py).audit.bind(py).call1((intern!(py, "socket.getnameinfo"), given))?;
    if flags & NUMERIC_NAMES == NUMERIC_NAMES {
        return Ok(Asked::Here(answer::names(py, net::names_of(&address, flags))?));
    }
    let find = move || net::names_of(&address, flags);
    let (lookup, future) =
        Lookup::begin(event_loop, find, |event_loop, found| answer::names(event_loop.py(), found))?;
    Ok(Asked::Worker(lookup, future))
}

/// Whether the function of that name in the `socket` module is the interpreter's own: programs and tests put others there.
fn is_the_interpreters(py: Python<'_>, name: &str) -> PyResult<bool> {
    let library = &stdlib(py).resolver;
    let (name, known, native) = if name == ADDRESSES {
        (intern!(py, "getaddrinfo"), &library.getaddrinfo, &library.native_getaddrinfo)
    } else {
        (intern!(py, "getnameinfo"), &library.getnameinfo, &library.getnameinfo)
    };
    let is = |module: &Py<PyAny>, known: &Py<PyAny>| -> PyResult<bool> {
        Ok(module.bind(py).getattr_opt(name)?.is_some_and(|function| function.is(known)))
    };
    Ok(library.is_native && is(&library.module, known)? && is(&library.native_module, native)?)
}

/// A question in debug mode, which the log is told of, and of an answer that took long.
struct Log {
    text: String,
    begun: f64,
}

impl Log {
    fn begin(event_loop: &Bound<'_, Loop>, arguments: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let py = event_loop.py();
        let text = describe(arguments)?;
        let logger = stdlib(py).logger.bind(py);
        logger.call_method1(intern!(py, "debug"), ("Get address info %s", &text))?;
        Ok(Self { text, begun: Loop::now(event_loop)? })
    }

    fn finish(self, event_loop: &Bound<'_, Loop>, answer: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = event_loop.py();
        let seconds = Loop::now(event_loop)? - self.begun;
        let report =
            format!("Getting address info {} took {:.3}ms: {}", self.text, seconds * 1e3, answer.repr()?);
        let slow: f64 = event_loop.getattr(intern!(py, "slow_callback_duration"))?.extract()?;
        let level = if seconds >= slow { "info" } else { "debug" };
        stdlib(py).logger.bind(py).call_method1(level, ("%s", report))?;
        Ok(())
    }
}

/// The question as asyncio's log shows it.
fn describe(question: &Bound<'_, PyTuple>) -> PyResult<String> {
    let (host, port) = (question.get_item(0)?, question.get_item(1)?);
    let mut parts = vec![format!("{}:{}", host.str()?, port.repr()?)];
    for (index, name) in [(2, "family"), (3, "type"), (4, "proto"), (5, "flags")] {
        let value = question.get_item(index)?;
        if value.is_truthy()? {
            parts.push(format!("{name}={}", value.repr()?));
        }
    }
    Ok(parts.join(", "))
}

const ADDRESSES: &str = "getaddrinfo";
const NAMES: &str = "getnameinfo";
