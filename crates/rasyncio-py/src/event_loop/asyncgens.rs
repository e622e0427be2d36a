//! Asynchronous generators: the loop knows those that were begun, closes those that are dropped, and all of them at the end.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::{Loop, Ready};
use crate::coroutines::{Coroutine, wait_for};
use crate::ffi::warning;
use crate::handles::Handle;
use crate::tasks::gather;

/// One of the two hooks of `sys.set_asyncgen_hooks()`.
#[pyclass(frozen, name = "_asyncgen_hook", module = "rasyncio")]
struct Hook {
    event_loop: Py<Loop>,
    first_iteration: bool,
}

#[pymethods]
impl Hook {
    fn __call__(&self, generator: &Bound<'_, PyAny>) -> PyResult<()> {
        let event_loop = self.event_loop.bind(generator.py());
        if self.first_iteration {
            Loop::on_asyncgen_begun(event_loop, generator)
        } else {
            Loop::on_asyncgen_dropped(event_loop, generator)
        }
    }

    fn __traverse__(&self, visit: pyo3::gc::PyVisit<'_>) -> Result<(), pyo3::gc::PyTraverseError> {
        visit.call(&self.event_loop)
    }
}

impl Loop {
    /// Sets the hooks of this thread; returns those from before.
    pub(super) fn install_asyncgen_hooks(this: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = this.py();
        let sys = py.import(intern!(py, "sys"))?;
        let before = sys.call_method0(intern!(py, "get_asyncgen_hooks"))?.unbind();
        let hook = |first_iteration| Py::new(py, Hook { event_loop: this.clone().unbind(), first_iteration });
        set_hooks(&sys, hook(true)?.bind(py).as_any(), hook(false)?.bind(py).as_any())?;
        Ok(before)
    }

    pub(super) fn restore_asyncgen_hooks(py: Python<'_>, before: Py<PyAny>) -> PyResult<()> {
        let before = before.into_bound(py);
        set_hooks(&py.import(intern!(py, "sys"))?, &before.get_item(0)?, &before.get_item(1)?)
    }

    fn asyncgens<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let known =
            this.get().settings.with(py, |settings| settings.asyncgens.as_ref().map(|set| set.clone_ref(py)));
        if let Some(known) = known {
            return Ok(known.into_bound(py));
        }
        let set = py.import("weakref")?.call_method0("WeakSet")?;
        let kept = set.clone().unbind();
        let old = this.get().settings.with(py, |settings| settings.asyncgens.replace(kept));
        drop(old);
        Ok(set)
    }

    fn on_asyncgen_begun(this: &Bound<'_, Self>, generator: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        if this.get().settings.with(py, |settings| settings.asyncgens_closed) {
            let text = format!(
                "asynchronous generator {} was scheduled after loop.shutdown_asyncgens() call",
                generator.repr()?
            );
            warning::resource(this.as_any(), &text)?;
        }
        Self::asyncgens(this)?.call_method1(intern!(py, "add"), (generator,))?;
        Ok(())
    }

    /// The collector found a generator that was begun and not finished: it is closed by a task. May be called from any thread.
    fn on_asyncgen_dropped(this: &Bound<'_, Self>, generator: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        Self::asyncgens(this)?.call_method1(intern!(py, "discard"), (generator,))?;
        if this.get().is_closed() {
            return Ok(());
        }
        let create_task = this.getattr(intern!(py, "create_task"))?.unbind();
        let closing = generator.call_method0(intern!(py, "aclose"))?;
        let arguments = PyTuple::new(py, [closing])?.unbind();
        let event_loop = this.clone().into_any().unbind();
        let handle = Handle::make(py, create_task, arguments, event_loop, None, false)?;
        this.get().inbox.push(Ready::Handle(handle.unbind()));
        Ok(())
    }

    /// Tells the exception handler of the generators that failed while they were closed.
    fn report_closing(
        event_loop: &Py<Self>,
        generators: &[Py<PyAny>],
        results: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = results.py();
        for (generator, result) in generators.iter().zip(results.try_iter()?) {
            let result = result?;
            if result.is_instance_of::<pyo3::exceptions::PyException>() {
                let report = PyDict::new(py);
                let text = generator.bind(py).repr()?;
                report.set_item(
                    "message",
                    format!("an error occurred during closing of asynchronous generator {text}"),
                )?;
                report.set_item("exception", result)?;
                report.set_item("asyncgen", generator)?;
                event_loop.bind(py).call_method1(intern!(py, "call_exception_handler"), (report,))?;
            }
        }
        Ok(())
    }
}

fn set_hooks(
    sys: &Bound<'_, PyModule>,
    first: &Bound<'_, PyAny>,
    finalizer: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let keywords = PyDict::new(sys.py());
    keywords.set_item("firstiter", first)?;
    keywords.set_item("finalizer", finalizer)?;
    sys.call_method(intern!(sys.py(), "set_asyncgen_hooks"), (), Some(&keywords))?;
    Ok(())
}

#[pymethods]
impl Loop {
    /// Closes every asynchronous generator that was begun and not finished. A coroutine.
    fn shutdown_asyncgens<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        let event_loop = this.clone().unbind();
        Coroutine::make(this.py(), "EventLoop.shutdown_asyncgens", async move {
            let begun = Python::attach(|py| -> PyResult<_> {
                let this = event_loop.bind(py);
                this.get().settings.with(py, |settings| settings.asyncgens_closed = true);
                let set = Self::asyncgens(this)?;
                let generators =
                    set.try_iter()?.map(|item| item.map(Bound::unbind)).collect::<PyResult<Vec<_>>>()?;
                set.call_method0(intern!(py, "clear"))?;
                if generators.is_empty() {
                    return Ok(None);
                }
                let closing =
                    generators.iter().map(|generator| generator.bind(py).call_method0(intern!(py, "aclose")));
                let closing = closing.collect::<PyResult<Vec<_>>>()?;
                let gathered = gather(py, closing.iter(), true)?.unbind();
                Ok(Some((generators, gathered)))
            })?;
            if let Some((generators, gathered)) = begun {
                let results = wait_for(gathered).await?;
                Python::attach(|py| Self::report_closing(&event_loop, &generators, results.bind(py)))?;
            }
            #[expect(
                clippy::redundant_closure_for_method_calls,
                reason = "the method is not general enough in its lifetime"
            )]
            Ok(Python::attach(|py| py.None()))
        })
    }

    #[getter]
    fn _asyncgens<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::asyncgens(this)
    }
}
