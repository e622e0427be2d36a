//! Teaching asyncio's registry of tasks to list the tasks of our loops.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyType};

/// Lets `asyncio.all_tasks()` see the tasks of our loops, whatever thread asks.
///
/// asyncio's registry of third-party tasks is a WeakSet; adding each task to it costs more than creating the task. Our
/// loops know their tasks anyway, so the registry is taught once, when the first loop is made, to list those behind its own.
/// `tasks_of_all_loops()` gives them.
pub(crate) fn extend_all_tasks(py: Python<'_>, tasks_of_all_loops: &Bound<'_, PyCFunction>) -> PyResult<()> {
    let registry = task_registry(py)?;
    let plain = py.import("weakref")?.getattr("WeakSet")?;
    let own = plain.getattr("__iter__")?;
    let chain = py.import("itertools")?.getattr("chain")?;
    let arguments =
        (own.unbind(), registry.clone().unbind(), chain.unbind(), tasks_of_all_loops.clone().unbind());
    let iterate =
        PyCFunction::new_closure(py, None, None, move |call_arguments, _| -> PyResult<Py<PyAny>> {
            let py = call_arguments.py();
            let (own, registry, chain, ours) = &arguments;
            let theirs = own.bind(py).call1((registry,))?;
            Ok(chain.bind(py).call1((theirs, ours.bind(py).call0()?))?.unbind())
        })?;
    let namespace = PyDict::new(py);
    namespace.set_item("__iter__", iterate)?;
    namespace.set_item("__module__", "rasyncio")?;
    namespace
        .set_item("__doc__", "asyncio's registry of tasks, with the tasks of rasyncio's loops behind it.")?;
    let class = py.get_type::<PyType>().call1(("TaskRegistry", (plain,), namespace))?;
    registry.setattr(intern!(py, "__class__"), class)
}

/// The WeakSet behind `asyncio.all_tasks()`. From 3.14 it belongs to the C module, which shows it to the collector only.
fn task_registry(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let tasks = py.import("asyncio.tasks")?;
    if py.version_info() < (3, 12) {
        return tasks.getattr("_all_tasks");
    }
    if py.version_info() < (3, 14) {
        return tasks.getattr("_scheduled_tasks");
    }
    let weak_set = py.import("weakref")?.getattr("WeakSet")?;
    let referents = py.import("gc")?.call_method1("get_referents", (py.import("_asyncio")?,))?;
    for referent in referents.try_iter()? {
        let referent = referent?;
        if referent.is_instance(&weak_set)? {
            return Ok(referent);
        }
    }
    tasks.getattr("_scheduled_tasks")
}
