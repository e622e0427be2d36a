//! `CoroutineFunction`: what stands for an `async def` of asyncio's.
//!
//! asyncio's are functions written in Python, and one can tell that calling them gives a coroutine: `unittest.mock` puts an `AsyncMock` in their place.
//! No built-in function can say that of itself, so these are objects of a class of their own.

use std::ffi::CStr;

use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;

use crate::ffi::functions::{self, Function, Vectorcall};
use crate::interop::stdlib;

// No description of its own: `__doc__` is the function's.
#[pyclass(frozen, name = "function", module = "rasyncio")]
pub(crate) struct CoroutineFunction {
    vectorcall: Vectorcall,
    name: &'static str,
    /// Signature and description, as a built-in function has them.
    documentation: &'static str,
}

impl CoroutineFunction {
    /// Adds the function `F` to the module.
    pub(crate) fn add<F: Function>(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        let (name, documentation) = (text(F::NAME), text(F::DOCUMENTATION));
        let function = Bound::new(py, Self { vectorcall: Vectorcall::of::<F>(), name, documentation })?;
        functions::install_vectorcall(&function, |function| &function.vectorcall);
        module.add(name, function)
    }

    fn parts(&self) -> (&'static str, &'static str) {
        let (signature, description) = self.documentation.split_once("\n--\n\n").unwrap_or_default();
        (signature.strip_prefix(self.name).unwrap_or(signature), description)
    }
}

fn text(constant: &'static CStr) -> &'static str {
    constant.to_str().unwrap_or_default()
}

#[pymethods]
impl CoroutineFunction {
    #[getter]
    fn __name__(&self) -> &'static str {
        self.name
    }

    #[getter]
    fn __qualname__(&self) -> &'static str {
        self.name
    }

    #[getter]
    fn __doc__(&self) -> &'static str {
        self.parts().1
    }

    #[getter]
    fn __text_signature__(&self) -> &'static str {
        self.parts().0
    }

    /// How `inspect` knows a coroutine function that is no `async def`, from 3.12 on.
    #[getter]
    fn _is_coroutine_marker(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let mark = stdlib(py).coroutines.inspect_mark.as_ref().map(|mark| mark.clone_ref(py));
        mark.ok_or_else(|| PyAttributeError::new_err("_is_coroutine_marker"))
    }

    /// How asyncio knows one, on every version.
    #[getter]
    fn _is_coroutine(&self, py: Python<'_>) -> Py<PyAny> {
        stdlib(py).coroutines.asyncio_mark.clone_ref(py)
    }

    /// A function in a class is a method, as one written in Python.
    fn __get__<'py>(
        this: Bound<'py, Self>,
        instance: &Bound<'py, PyAny>,
        owner: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = owner;
        let py = this.py();
        if instance.is_none() {
            return Ok(this.into_any());
        }
        py.import(intern!(py, "types"))?.getattr(intern!(py, "MethodType"))?.call1((this, instance))
    }

    /// Pickled and copied by name.
    fn __reduce__(&self) -> &'static str {
        self.name
    }

    fn __repr__(this: &Bound<'_, Self>) -> String {
        format!("<function {} at {:?}>", this.get().name, this.as_ptr())
    }
}
