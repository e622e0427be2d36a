//! `create_eager_task_factory()`: task factories whose tasks begin at once.

use std::ffi::CStr;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::Task;
use crate::ffi::functions::{self, Function, Parameters};
use crate::ffi::methods::Arguments;
use crate::interop::stdlib;

/// What `create_eager_task_factory()` returns.
#[pyclass(frozen, weakref, name = "EagerTaskFactory", module = "rasyncio")]
pub(crate) struct EagerTaskFactory {
    constructor: Py<PyAny>,
}

impl EagerTaskFactory {
    /// The factory that makes our tasks: `asyncio.eager_task_factory`.
    fn of_own_tasks(py: Python<'_>) -> PyResult<Bound<'_, Self>> {
        Bound::new(py, Self { constructor: py.get_type::<Task>().into_any().unbind() })
    }

    /// Whether it makes nothing but tasks of ours.
    pub(crate) fn makes_own_tasks(&self, py: Python<'_>) -> bool {
        self.constructor.is(py.get_type::<Task>())
    }
}

#[pymethods]
impl EagerTaskFactory {
    /// Makes the task; `name` and `context` as for `create_task()`.
    #[pyo3(signature = (r#loop, coro, **kwargs))]
    fn __call__<'py>(
        &self,
        r#loop: &Bound<'py, PyAny>,
        coro: &Bound<'py, PyAny>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = coro.py();
        let keywords = kwargs.unwrap_or_else(|| PyDict::new(py));
        keywords.set_item(intern!(py, "loop"), r#loop)?;
        if !keywords.contains(intern!(py, "eager_start"))? {
            keywords.set_item(intern!(py, "eager_start"), true)?;
        }
        self.constructor.bind(py).call((coro,), Some(&keywords))
    }

    #[getter]
    fn __name__(&self) -> &'static str {
        "factory"
    }

    #[getter]
    fn __qualname__(&self) -> &'static str {
        "create_eager_task_factory.<locals>.factory"
    }

    /// That of asyncio's factories: anyio tells an eager one by it.
    #[getter]
    fn __code__(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        stdlib(py).coroutines.eager_factory_code.as_ref().map(|code| code.clone_ref(py))
    }

    /// As in asyncio, one cell that holds what makes the tasks.
    #[getter]
    fn __closure__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let cell = stdlib(py).coroutines.cell_class.bind(py).call1((&self.constructor,))?;
        PyTuple::new(py, [cell])
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.constructor)
    }
}

/// `asyncio.create_eager_task_factory()`.
struct CreateEagerTaskFactory;

impl Function for CreateEagerTaskFactory {
    const NAME: &'static CStr = c"create_eager_task_factory";
    const DOCUMENTATION: &'static CStr = c"create_eager_task_factory(custom_task_constructor)\n--\n\n\
        Makes a task factory for `loop.set_task_factory()` whose tasks run at once, until they first wait.\n\n\
        Parameters: `custom_task_constructor`, what makes the tasks; it is called like `Task`, with `eager_start=True`.";

    fn call<'py>(py: Python<'py>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let [constructor] = arguments.bind(&Parameters {
            function: "create_eager_task_factory",
            names: ["custom_task_constructor"],
            positional: 1,
            required: 1,
        })?;
        let constructor = functions::given(constructor)?.clone().unbind();
        Ok(Bound::new(py, EagerTaskFactory { constructor })?.into_any())
    }
}

/// Adds `eager_task_factory` and the function that makes others to the module, on versions that have them.
pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    if cfg!(Py_3_12) {
        functions::add::<CreateEagerTaskFactory>(module)?;
        module.add("eager_task_factory", EagerTaskFactory::of_own_tasks(module.py())?)?;
    }
    Ok(())
}
