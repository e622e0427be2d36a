//! `asyncio.all_tasks()` sees the tasks of our loops: the loops that live, and what `interop::extend_all_tasks` asks.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyCFunction;

use crate::event_loop::Loop;
use crate::interop;

/// A `weakref.WeakSet` of the loops that were made and not collected.
static LOOPS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Lets `asyncio.all_tasks()` see the tasks of this loop from now on.
pub(crate) fn register(event_loop: &Bound<'_, Loop>) -> PyResult<()> {
    let py = event_loop.py();
    let loops = LOOPS.get_or_try_init(py, || -> PyResult<Py<PyAny>> {
        let tasks =
            PyCFunction::new_closure(py, None, None, |arguments, _| tasks_of_all_loops(arguments.py()))?;
        interop::extend_all_tasks(py, &tasks)?;
        Ok(py.import("weakref")?.call_method0("WeakSet")?.unbind())
    })?;
    loops.bind(py).call_method1(intern!(py, "add"), (event_loop,))?;
    Ok(())
}

fn tasks_of_all_loops(py: Python<'_>) -> PyResult<Vec<Py<crate::tasks::Task>>> {
    let mut tasks = Vec::new();
    if let Some(loops) = LOOPS.get(py) {
        for event_loop in loops.bind(py).try_iter()? {
            tasks.extend(event_loop?.cast::<Loop>()?.get().running_tasks(py));
        }
    }
    Ok(tasks)
}
