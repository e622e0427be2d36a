//! `EventLoop` as Python sees it, `new_event_loop()` and `EventLoopPolicy` (asyncio: events.py, `unix_events.py`).

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

use crate::event_loop::Loop;

static EVENT_LOOP: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// Adds `EventLoop` and `EventLoopPolicy` to the module.
///
/// They derive from classes of the standard library that are written in Python, which a class written in Rust cannot; so they are made here,
/// the way a `class` statement makes one.
pub(crate) fn add_classes(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let event_loop = EVENT_LOOP.get_or_try_init(py, || make_event_loop_class(py))?;
    Loop::remember_class(event_loop.bind(py));
    module.add("EventLoop", event_loop)?;
    module.add("EventLoopPolicy", make_policy_class(py, event_loop)?)
}

fn make_event_loop_class(py: Python<'_>) -> PyResult<Py<PyType>> {
    let interface = py.import("asyncio.events")?.getattr("AbstractEventLoop")?;
    let text = "The event loop of rasyncio, with every method of asyncio's.\n\n\
                https://docs.python.org/3/library/asyncio-eventloop.html";
    make_class(py, "EventLoop", (py.get_type::<Loop>(), interface), &PyDict::new(py), text)
}

fn make_policy_class(py: Python<'_>, event_loop: &Py<PyType>) -> PyResult<Py<PyType>> {
    // From 3.14 the public name warns that policies go away; whoever uses ours was warned by the function that sets it.
    let name =
        if py.version_info() >= (3, 14) { "_DefaultEventLoopPolicy" } else { "DefaultEventLoopPolicy" };
    let base = py.import("asyncio.unix_events")?.getattr(name)?;
    let namespace = PyDict::new(py);
    namespace.set_item("_loop_factory", event_loop)?;
    let text =
        "asyncio's default policy, making rasyncio's loops. Exists for Python versions that have policies.";
    make_class(py, "EventLoopPolicy", (base,), &namespace, text)
}

fn make_class<'py>(
    py: Python<'py>,
    name: &str,
    bases: impl IntoPyObject<'py>,
    namespace: &Bound<'py, PyDict>,
    text: &str,
) -> PyResult<Py<PyType>> {
    namespace.set_item("__module__", "rasyncio")?;
    namespace.set_item("__doc__", text)?;
    let class = py.get_type::<PyType>().call1((name, bases, namespace))?;
    Ok(class.cast_into::<PyType>()?.unbind())
}

/// A new `EventLoop`. This is what a `loop_factory=` wants.
#[pyfunction]
pub(crate) fn new_event_loop(py: Python<'_>) -> PyResult<Py<PyAny>> {
    let class = EVENT_LOOP.get(py).expect("made when the module was imported");
    Ok(class.bind(py).call0()?.unbind())
}
