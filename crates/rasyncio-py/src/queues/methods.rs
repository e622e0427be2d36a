//! What Python sees of a `Queue`.

use std::ffi::CStr;

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyGenericAlias, PyTuple, PyType};

use super::waiting::{Exchange, Getting, Joining, Putting};
use super::{Order, Queue, format, items_empty, items_len};
use crate::coroutines::Coroutine;
use crate::ffi::deque;
use crate::ffi::methods::{self, Arguments, FastMethod, Light};
use crate::futures::waiting;
use crate::locks::{Count, Event, GivenCount, LoopBound};

#[pymethods]
impl Queue {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "(maxsize=0)")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyClassInitializer<Self> {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        PyClassInitializer::from(LoopBound::default()).add_subclass(Self::with_order(Order::First))
    }

    #[pyo3(signature = (maxsize = GivenCount::ZERO))]
    fn __init__(this: &Bound<'_, Self>, maxsize: GivenCount) -> PyResult<()> {
        Self::begin(this, maxsize.0)
    }

    #[classmethod]
    fn __class_getitem__<'py>(
        cls: &Bound<'py, PyType>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyGenericAlias>> {
        PyGenericAlias::new(cls.py(), cls.as_any(), item)
    }

    /// A subclass may keep its items in another way: it makes the place for them here.
    fn _init(&self, py: Python<'_>, maxsize: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = maxsize;
        self.make_items(py, Order::First)
    }

    /// Takes the next item out; a subclass may override it.
    fn _get<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.take_in(py, Order::First)
    }

    /// Puts an item in; a subclass may override it.
    fn _put(&self, item: &Bound<'_, PyAny>) -> PyResult<()> {
        self.add_in(Order::First, item)
    }

    /// Wakes the first of `waiters` who is not done.
    fn _wakeup_next(&self, waiters: &Bound<'_, PyAny>) -> PyResult<()> {
        let none = waiters.py().None().into_bound(waiters.py());
        while waiters.is_truthy()? {
            if waiting::wake(&deque::popleft(waiters)?, &none)? {
                break;
            }
        }
        Ok(())
    }

    /// How many items there may be at a time; 0 or less: any number.
    #[getter]
    fn maxsize<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.state.with(py, |state| state.max_size).shown(py)
    }

    /// Waits until the work on every item that was put in is done.
    fn join<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Coroutine>> {
        Coroutine::of(this.py(), "Queue.join", Joining::new(this))
    }

    fn _format(this: &Bound<'_, Self>) -> PyResult<String> {
        format(this)
    }

    fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
        let name = this.get_type().name()?;
        let text = this.call_method0(intern!(this.py(), "_format"))?;
        Ok(format!("<{name} at {:?} {text}>", this.as_ptr()))
    }

    fn __str__(this: &Bound<'_, Self>) -> PyResult<String> {
        let name = this.get_type().name()?;
        let text = this.call_method0(intern!(this.py(), "_format"))?;
        Ok(format!("<{name} {text}>"))
    }

    #[getter]
    fn _queue<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.items(py)
    }

    /// For the `_init()` of a subclass.
    #[setter(_queue)]
    fn set_queue(&self, py: Python<'_>, value: Py<PyAny>) {
        self.set_items(py, Some(value));
    }

    #[getter]
    fn _maxsize<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.maxsize(py)
    }

    /// Programs change the size through this.
    #[setter(_maxsize)]
    fn set_maxsize(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let max_size = Count::of(value)?;
        self.state.with(value.py(), |state| state.max_size = max_size);
        Ok(())
    }

    #[getter]
    fn _getters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.getters.deque(py)
    }

    #[getter]
    fn _putters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.putters.deque(py)
    }

    #[getter]
    fn _unfinished_tasks(&self, py: Python<'_>) -> i64 {
        self.state.with(py, |state| state.unfinished)
    }

    /// For the `put_nowait()` of a subclass.
    #[setter(_unfinished_tasks)]
    fn set_unfinished_tasks(&self, py: Python<'_>, value: i64) {
        self.state.with(py, |state| state.unfinished = value);
    }

    #[getter]
    fn _finished<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Event>> {
        self.finished(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.visit(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.getters.clear(py);
        self.putters.clear(py);
        let dropped = self.state.with(py, |state| (state.items.take(), state.finished.take()));
        drop(dropped);
    }
}

impl Queue {
    /// Adds the methods that programs call all the time.
    pub(crate) fn add_methods(py: Python<'_>) -> PyResult<()> {
        methods::install::<Put>(py)?;
        methods::install::<PutNowait>(py)?;
        Light::<Self>::to_class(py)
            .alone(
                c"get",
                c"get($self)\n--\n\nTakes an item out; waits for one if there is none. QueueShutDown when none will come.",
                |this| {
                    Ok(Coroutine::of(this.py(), "Queue.get", Exchange::new(this, Getting))?.into_any())
                },
            )?
            .alone(
                c"get_nowait",
                c"get_nowait($self)\n--\n\n\
                  Takes an item out. QueueEmpty when there is none, QueueShutDown when none will come.",
                Self::get_unless_empty,
            )?
            .alone(
                c"task_done",
                c"task_done($self)\n--\n\nSays that the work on an item that was taken out is done. \
                  ValueError when it is said more often than there were items.",
                |this| {
                    this.get().finish_one(this.py())?;
                    Ok(this.py().None().into_bound(this.py()))
                },
            )?
            .alone(c"qsize", c"qsize($self)\n--\n\nHow many items are in the queue.", |this| {
                Ok(items_len(&this.get().items(this.py())?)?.into_pyobject(this.py())?.into_any())
            })?
            .alone(c"empty", c"empty($self)\n--\n\nWhether there is no item.", |this| {
                let empty = items_empty(&this.get().items(this.py())?)?;
                Ok(PyBool::new(this.py(), empty).to_owned().into_any())
            })?
            .alone(
                c"full",
                c"full($self)\n--\n\nWhether there are `maxsize` items; never if any number is allowed.",
                |this| Ok(PyBool::new(this.py(), Self::has_no_room(this)?).to_owned().into_any()),
            )?;
        Ok(())
    }

    /// `task_done()`.
    fn finish_one(&self, py: Python<'_>) -> PyResult<()> {
        let left = self.state.with(py, |state| {
            if state.unfinished > 0 {
                state.unfinished -= 1;
                Some(state.unfinished)
            } else {
                None
            }
        });
        match left {
            None => Err(PyValueError::new_err("task_done() called too many times")),
            Some(0) => self.all_finished(py),
            Some(_) => Ok(()),
        }
    }
}

#[cfg(Py_3_13)]
#[pymethods]
impl Queue {
    /// Lets nothing more in: `put()` raises `QueueShutDown`, and `get()` too once the queue is empty.
    ///
    /// Parameters: `immediate`, whether what is in the queue is thrown away, as if its work were done.
    #[pyo3(signature = (immediate = None), text_signature = "($self, immediate=False)")]
    fn shutdown(this: &Bound<'_, Self>, immediate: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let py = this.py();
        let queue = this.get();
        queue.state.with(py, |state| state.shut_down = true);
        if immediate.map_or(Ok(false), PyAnyMethods::is_truthy)? {
            while !Self::is_empty(this)? {
                Self::take(this)?;
                queue.state.with(py, |state| state.unfinished -= i64::from(state.unfinished > 0));
            }
            if queue.state.with(py, |state| state.unfinished == 0) {
                queue.all_finished(py)?;
            }
        }
        let none = py.None().into_bound(py);
        queue.getters.release_all(&none)?;
        queue.putters.release_all(&none)
    }

    #[getter]
    fn _is_shutdown(&self, py: Python<'_>) -> bool {
        self.is_shut_down(py)
    }

    #[setter(_is_shutdown)]
    fn set_is_shutdown(&self, py: Python<'_>, value: bool) {
        self.state.with(py, |state| state.shut_down = value);
    }
}

/// `Queue.put()`.
struct Put;

impl FastMethod for Put {
    type Class = Queue;
    const NAME: &'static CStr = c"put";
    const DOCUMENTATION: &'static CStr = c"put($self, item)\n--\n\n\
        Puts `item` in; waits until there is room for it. QueueShutDown when the queue was shut down.";
    const IS_LIGHT: bool = true;

    #[inline]
    fn call<'py>(this: &Bound<'py, Queue>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let item = arguments.one("Queue.put", "item")?.clone().unbind();
        Ok(Coroutine::of(this.py(), "Queue.put", Exchange::new(this, Putting(item)))?.into_any())
    }
}

/// `Queue.put_nowait()`.
struct PutNowait;

impl FastMethod for PutNowait {
    type Class = Queue;
    const NAME: &'static CStr = c"put_nowait";
    const DOCUMENTATION: &'static CStr = c"put_nowait($self, item)\n--\n\n\
        Puts `item` in. QueueFull when there is no room, QueueShutDown when the queue was shut down.";
    const IS_LIGHT: bool = true;

    #[inline]
    fn call<'py>(this: &Bound<'py, Queue>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        Queue::put_unless_full(this, arguments.one("Queue.put_nowait", "item")?)?;
        Ok(this.py().None().into_bound(this.py()))
    }
}
