//! What Python sees of a coroutine.

use pyo3::exceptions::{PyGeneratorExit, PyRuntimeError, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyTraceback, PyType};

use super::{Coroutine, frame, last_part};
use crate::ffi::machine::Status;
use crate::ffi::send::Sent;
use crate::ffi::slots::{AwaitSlot, SendSlot, next_result};
use crate::ffi::stop::stop_iteration;
use crate::ffi::warning;
use crate::interop::stdlib;

#[pymethods]
impl Coroutine {
    fn __await__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::iterator(this)
    }

    fn __iter__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::iterator(this)
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        next_result(self.go_on(py))
    }

    /// Resumes the coroutine.
    #[pyo3(name = "send")]
    fn send_from_python<'py>(
        this: &Bound<'py, Self>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        answer(if value.is_none() {
            this.get().go_on(this.py())
        } else {
            <Self as SendSlot>::send(this, value)
        })
    }

    /// Raises an exception where the coroutine is suspended.
    #[pyo3(signature = (r#type, value = None, traceback = None))]
    fn throw<'py>(
        &self,
        r#type: &Bound<'py, PyAny>,
        value: Option<&Bound<'py, PyAny>>,
        traceback: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let error = thrown(r#type, value, traceback)?;
        answer(self.throw_in(r#type.py(), error))
    }

    /// Raises GeneratorExit where the coroutine is suspended, which ends it.
    pub(super) fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.body.status(py) {
            Status::Created => {
                self.body.discard(py);
                return Ok(());
            }
            Status::Closed => return Ok(()),
            Status::Suspended | Status::Running => {}
        }
        // Made at once: PyO3 cannot make what is raised later while the interpreter ends, when coroutines are closed too.
        let exit = PyErr::from_value(py.get_type::<PyGeneratorExit>().call0()?);
        match self.throw_in(py, exit) {
            Sent::Yielded(_) => Err(PyRuntimeError::new_err("coroutine ignored GeneratorExit")),
            Sent::Returned(_) => Ok(()),
            Sent::Raised(error) if error.is_instance_of::<PyGeneratorExit>(py) => Ok(()),
            Sent::Raised(error) => Err(error),
        }
    }

    /// `types.CoroutineType`, so that `inspect.iscoroutine()` finds it.
    #[getter]
    fn __class__(&self, py: Python<'_>) -> Py<PyAny> {
        stdlib(py).coroutines.class.clone_ref(py)
    }

    #[getter]
    fn cr_running<'py>(&self, py: Python<'py>) -> Bound<'py, PyBool> {
        let running = self.body.status(py) == Status::Running;
        PyBool::new(py, running).to_owned()
    }

    #[getter]
    fn cr_suspended<'py>(&self, py: Python<'py>) -> Bound<'py, PyBool> {
        let suspended = self.body.status(py) == Status::Suspended;
        PyBool::new(py, suspended).to_owned()
    }

    /// One of `inspect.CORO_CREATED` and its like.
    #[cfg(Py_3_15)]
    #[getter]
    fn cr_state(&self, py: Python<'_>) -> &'static str {
        match self.body.status(py) {
            Status::Created => "CORO_CREATED",
            Status::Running => "CORO_RUNNING",
            Status::Suspended => "CORO_SUSPENDED",
            Status::Closed => "CORO_CLOSED",
        }
    }

    /// Rust code has no Python frame: one that tells its name is made for who asks.
    #[getter]
    fn cr_frame<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.body.status(py) == Status::Closed {
            return Ok(None);
        }
        frame::frame(py, self.name(py)).map(Some)
    }

    /// The code object of that frame.
    #[getter]
    fn cr_code<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        frame::code(py, self.name(py))
    }

    #[getter]
    fn cr_await<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.body.awaited(py)
    }

    #[getter]
    fn cr_origin(&self) -> Option<Py<PyAny>> {
        None
    }

    #[getter]
    fn __name__(&self, py: Python<'_>) -> &'static str {
        last_part(self.name(py))
    }

    #[getter]
    fn __qualname__(&self, py: Python<'_>) -> &'static str {
        self.name(py)
    }

    fn __repr__(this: &Bound<'_, Self>) -> String {
        format!("<coroutine object {} at {:?}>", this.get().name(this.py()), this.as_ptr())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.body.visit(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.body.discard(py);
    }
}

fn answer(sent: Sent<'_>) -> PyResult<Bound<'_, PyAny>> {
    match sent {
        Sent::Yielded(awaited) => Ok(awaited),
        Sent::Returned(result) => Err(stop_iteration(&result)),
        Sent::Raised(error) => Err(error),
    }
}

const OLD_FORM: &str =
    "the (type, exc, tb) signature of throw() is deprecated, use the single-arg signature instead.";

/// The exception that `throw(type, value, traceback)` means, in the old form of three arguments or the new one of an instance.
pub(crate) fn thrown(
    kind: &Bound<'_, PyAny>,
    value: Option<&Bound<'_, PyAny>>,
    traceback: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyErr> {
    let py = kind.py();
    if value.is_some() && py.version_info() >= (3, 12) {
        warning::deprecation(py, OLD_FORM)?;
    }
    let value = value.filter(|value| !value.is_none());
    let traceback = traceback.filter(|traceback| !traceback.is_none());
    if traceback.is_some_and(|traceback| !traceback.is_instance_of::<PyTraceback>()) {
        return Err(PyTypeError::new_err("throw() third argument must be a traceback"));
    }
    let exception = if let Ok(class) = kind.cast::<PyType>() {
        match value {
            Some(value) if value.is_instance(class)? => value.clone(),
            Some(value) => class.call1((value,))?,
            None => class.call0()?,
        }
    } else {
        if value.is_some() {
            return Err(PyTypeError::new_err("instance exception may not have a separate value"));
        }
        kind.clone()
    };
    if !exception.is_instance_of::<pyo3::exceptions::PyBaseException>() {
        return Err(PyTypeError::new_err(
            "exceptions must be classes or instances deriving from BaseException",
        ));
    }
    if let Some(traceback) = traceback {
        exception.setattr(intern!(py, "__traceback__"), traceback)?;
    }
    Ok(PyErr::from_value(exception))
}
