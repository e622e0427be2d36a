//! `gather()`: one future for the results of many.
//!
//! Each child has one native callback, whose receiver is the future that `gather()` returned.

use std::collections::hash_map::Entry;
use std::ffi::CStr;
use std::sync::OnceLock;

use pyo3::exceptions::PyTypeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use pyo3::{ffi, intern};

use super::by_address::ByAddress;
use super::ensure::ensure_future;
use super::outcome::{self, Ended};
use super::{Task, as_future, loop_of};
use crate::event_loop::{Loop, current_loop};
use crate::exceptions;
use crate::ffi::cell::GilCell;
use crate::ffi::finalize::{Finalize, Released};
use crate::ffi::functions::Function;
use crate::ffi::methods::Arguments;
use crate::ffi::send;
use crate::ffi::slots::AwaitSlot;
use crate::futures::Future;
use crate::futures::callback::DoneAction;
use crate::interop::stdlib;

/// What `gather()` returns: cancelling it cancels the children, and it is done when they are.
#[pyclass(frozen, extends = Future, name = "_GatheringFuture", module = "rasyncio")]
pub(crate) struct GatheringFuture {
    state: GilCell<Gathering>,
}

struct Gathering {
    /// In the order of the arguments; one that was given twice is here twice.
    children: Vec<Py<PyAny>>,
    /// How many different children are not done.
    unfinished: usize,
    returns_exceptions: bool,
    cancel_requested: bool,
    /// The task that called `gather()`, for call graphs.
    parent: Option<Py<PyAny>>,
}

/// asyncio: tasks.py `gather`, the inner function.
static CHILD_DONE: DoneAction =
    DoneAction { name: "gather.<locals>._done_callback", run: on_child_done, awaiter: parent_of };

impl GatheringFuture {
    fn make<'py>(event_loop: &Bound<'py, PyAny>, returns_exceptions: bool) -> PyResult<Bound<'py, Self>> {
        let py = event_loop.py();
        let future = Future::pending(event_loop.clone().unbind());
        if Loop::unchanged(event_loop).is_none_or(|own| own.get().is_debug(py)) {
            future.initialise(event_loop)?;
        }
        let parent = if cfg!(Py_3_14) && stdlib(py).running_loop(py)?.is_some() {
            stdlib(py).running_task(event_loop)?.map(Bound::unbind)
        } else {
            None
        };
        let state = Gathering {
            children: Vec::new(),
            unfinished: 0,
            returns_exceptions,
            cancel_requested: false,
            parent,
        };
        let gathering = Self { state: GilCell::new(state) };
        Bound::new(py, PyClassInitializer::from(future).add_subclass(gathering))
    }

    /// Cancels the children that are not done; false when there are none. It ends itself when the last of them does.
    pub(super) fn request_cancel(this: &Bound<'_, Self>, message: Option<&Py<PyAny>>) -> PyResult<bool> {
        let py = this.py();
        if this.as_super().get().is_done(py) {
            return Ok(false);
        }
        let children = this.get().children(py);
        let mut any = false;
        for child in children {
            any |= outcome::cancel(&child, message)?;
        }
        if any {
            this.get().state.with(py, |state| state.cancel_requested = true);
        }
        Ok(any)
    }

    fn children<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyAny>> {
        self.state
            .with(py, |state| state.children.iter().map(|child| child.clone_ref(py).into_bound(py)).collect())
    }

    /// A child is done.
    fn on_done(this: &Bound<'_, Self>, child: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let (unfinished, returns_exceptions) = this.get().state.with(py, |state| {
            state.unfinished = state.unfinished.saturating_sub(1);
            (state.unfinished, state.returns_exceptions)
        });
        let future = this.as_super();
        if future.get().is_done(py) {
            // Its exception counts as retrieved.
            Ended::of(child)?;
            return Ok(());
        }
        if !returns_exceptions {
            match Ended::of(child)? {
                Ended::Cancelled => {
                    return Future::fail(future, &outcome::cancelled_error(child)?);
                }
                Ended::Exception(exception) => return Future::fail(future, &exception),
                Ended::Result(_) => {}
            }
        }
        if unfinished == 0 { Self::finish(this) } else { Ok(()) }
    }

    /// All children are done, and none has ended this before.
    fn finish(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let future = this.as_super();
        let children = this.get().children(py);
        if this.get().state.with(py, |state| state.cancel_requested) {
            // asyncio: the request is passed on, whatever `return_exceptions` says.
            let error = match children.last() {
                Some(last) => outcome::cancelled_error(last)?,
                None => exceptions::cancelled(py, None).into_value(py).into_bound(py).into_any(),
            };
            return Future::fail(future, &error);
        }
        let mut results = Vec::with_capacity(children.len());
        for child in &children {
            results.push(match Ended::of(child)? {
                Ended::Result(result) => result,
                Ended::Exception(exception) => exception,
                Ended::Cancelled => cancellation_as_result(child)?,
            });
        }
        Future::finish(future, PyList::new(py, results)?.into_any().unbind())
    }
}

/// asyncio: not the error that ended the child, but a new one without a context.
fn cancellation_as_result<'py>(child: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = child.py();
    let message = child.getattr(intern!(py, "_cancel_message"))?;
    let class = stdlib(py).cancelled_error.bind(py);
    if message.is_none() { class.call1(("",)) } else { class.call1((message,)) }
}

fn on_child_done(receiver: &Bound<'_, PyAny>, child: &Bound<'_, PyAny>) -> PyResult<()> {
    GatheringFuture::on_done(receiver.cast::<GatheringFuture>()?, child)
}

fn parent_of(receiver: &Bound<'_, PyAny>) -> Option<Py<PyAny>> {
    let py = receiver.py();
    let gathering = receiver.cast::<GatheringFuture>().ok()?;
    if gathering.as_super().get().is_done(py) {
        return None;
    }
    gathering.get().state.with(py, |state| state.parent.as_ref().map(|parent| parent.clone_ref(py)))
}

#[pymethods]
impl GatheringFuture {
    /// Cancels every child that is not done. Returns False when there is none.
    #[pyo3(signature = (msg = None))]
    fn cancel(this: &Bound<'_, Self>, msg: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        Self::request_cancel(this, msg.map(|message| message.clone().unbind()).as_ref())
    }

    #[getter]
    fn _children(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.children(py).into_iter().map(Bound::unbind).collect()
    }

    #[getter]
    fn _cancel_requested(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.cancel_requested)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.state.peek(|state| {
            visit.call(&state.parent)?;
            state.children.iter().try_for_each(|child| visit.call(child))
        });
        visited.unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        drop(self.take_all(py));
    }
}

impl GatheringFuture {
    fn take_all(&self, py: Python<'_>) -> (Vec<Py<PyAny>>, Option<Py<PyAny>>) {
        self.state.with(py, |state| (std::mem::take(&mut state.children), state.parent.take()))
    }
}

impl AwaitSlot for GatheringFuture {
    fn iterator<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Future::iterator(this.as_super())
    }
}

impl Finalize for GatheringFuture {
    fn has_last_words(this: &Bound<'_, Self>) -> bool {
        Future::has_last_words(this.as_super())
    }

    fn finalize(this: &Bound<'_, Self>) {
        Future::last_words(this.as_super());
    }

    fn release(this: &Bound<'_, Self>) -> Released {
        let py = this.py();
        let (children, parent) = this.get().take_all(py);
        for child in children {
            drop(child.into_bound(py));
        }
        drop(parent.map(|parent| parent.into_bound(py)));
        this.as_super().get().release_state(py);
        Released::Everything
    }

    fn destructor() -> &'static OnceLock<ffi::destructor> {
        static DESTRUCTOR: OnceLock<ffi::destructor> = OnceLock::new();
        &DESTRUCTOR
    }
}

/// `asyncio.gather()`.
pub(crate) struct Gather;

impl Function for Gather {
    const NAME: &'static CStr = c"gather";
    const DOCUMENTATION: &'static CStr = c"gather(*coros_or_futures, return_exceptions=False)\n--\n\n\
        Runs awaitables concurrently; returns a future of the list of their results, in the order of the arguments.\n\n\
        Parameters: `return_exceptions`, whether exceptions are results too; otherwise the first one that is raised ends the future, and the other \
        awaitables go on. Cancelling the future cancels all that are not done. Raises ValueError when the awaitables are of different loops.";

    fn call<'py>(py: Python<'py>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let mut returns_exceptions = false;
        arguments.keywords(|name, value| {
            if name.eq(intern!(py, "return_exceptions"))? {
                returns_exceptions = value.is_truthy()?;
                return Ok(());
            }
            let text = format!("gather() got an unexpected keyword argument '{name}'");
            Err(PyTypeError::new_err(text))
        })?;
        gather(py, arguments.positionals(), returns_exceptions)
    }
}

/// `gather(*awaitables, return_exceptions=returns_exceptions)`.
pub(crate) fn gather<'a, 'py: 'a>(
    py: Python<'py>,
    awaitables: impl ExactSizeIterator<Item = &'a Bound<'py, PyAny>>,
    returns_exceptions: bool,
) -> PyResult<Bound<'py, PyAny>> {
    if awaitables.len() == 0 {
        let empty = current_loop(py)?.call_method0(intern!(py, "create_future"))?;
        empty.call_method1(intern!(py, "set_result"), (PyList::empty(py),))?;
        return Ok(empty);
    }
    let mut begun = Begun::new(py, awaitables.len(), returns_exceptions)?;
    for awaitable in awaitables {
        if let Err(error) = begun.add(awaitable) {
            begun.abandon()?;
            return Err(error);
        }
    }
    begun.finish()
}

/// A `gather()` that has not seen all its arguments.
struct Begun<'py> {
    py: Python<'py>,
    /// The children's loop; None until it is known from the first child.
    event_loop: Option<Bound<'py, PyAny>>,
    outer: Option<Bound<'py, GatheringFuture>>,
    returns_exceptions: bool,
    children: Vec<Py<PyAny>>,
    seen: Seen<'py>,
    unfinished: usize,
    /// Children that were done already; they count once all arguments were seen.
    done: Vec<Bound<'py, PyAny>>,
}

impl<'py> Begun<'py> {
    fn new(py: Python<'py>, count: usize, returns_exceptions: bool) -> PyResult<Self> {
        // Up to 3.13 the first child says which loop it is, even while another one runs.
        let event_loop = if cfg!(Py_3_14) { stdlib(py).running_loop(py)? } else { None };
        Ok(Self {
            py,
            event_loop,
            outer: None,
            returns_exceptions,
            children: Vec::with_capacity(count),
            seen: Seen::default(),
            unfinished: 0,
            done: Vec::new(),
        })
    }

    fn add(&mut self, awaitable: &Bound<'py, PyAny>) -> PyResult<()> {
        if let Some(index) = self.seen.index_of(awaitable, self.children.len())? {
            let again = self.children[index].clone_ref(self.py);
            self.children.push(again);
            return Ok(());
        }
        let child = ensure_future(awaitable, self.event_loop.as_ref())?;
        if self.event_loop.is_none() {
            self.event_loop = Some(loop_of(&child)?);
        }
        let outer = match (&self.outer, &self.event_loop) {
            (None, Some(event_loop)) => {
                self.outer.insert(GatheringFuture::make(event_loop, self.returns_exceptions)?)
            }
            (Some(outer), _) => outer,
            (None, None) => return Err(exceptions::runtime("no event loop")),
        };
        if !child.is(awaitable) {
            // The caller has no hold of the task: if it is destroyed, that is no surprise.
            match child.cast_exact::<Task>() {
                Ok(task) => task.get().state.with(self.py, |state| state.log_destroy_pending = false),
                Err(_) => child.setattr(intern!(self.py, "_log_destroy_pending"), false)?,
            }
        }
        self.unfinished += 1;
        // In 3.11 a child that was done counts a turn later, like any other.
        if cfg!(Py_3_12) && outcome::is_done(&child)? {
            self.done.push(child.clone());
        } else {
            outcome::when_done(&child, &CHILD_DONE, outer)?;
        }
        self.children.push(child.unbind());
        Ok(())
    }

    fn finish(self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let outer = self.outer.ok_or_else(|| exceptions::runtime("gather() has no children"))?;
        outer.get().state.with(py, |state| {
            state.children = self.children;
            state.unfinished = self.unfinished;
        });
        for child in &self.done {
            GatheringFuture::on_done(&outer, child)?;
        }
        Ok(outer.into_any())
    }

    /// An argument could not be awaited. The exceptions of the children before it count as retrieved: nobody will ask for them.
    fn abandon(self) -> PyResult<()> {
        if let Some(outer) = self.outer {
            Future::cancel(outer.as_super(), None)?;
        }
        Ok(())
    }
}

/// Which awaitables were seen, and at which place: one that is given twice is awaited once.
#[derive(Default)]
struct Seen<'py> {
    /// Coroutines and futures of ours are the same only if they are one object.
    by_identity: ByAddress<usize>,
    /// Others may compare as they like.
    by_equality: Option<Bound<'py, PyDict>>,
}

impl<'py> Seen<'py> {
    /// The place of an equal one, or None, and it is remembered as the one at `place`.
    fn index_of(&mut self, awaitable: &Bound<'py, PyAny>, place: usize) -> PyResult<Option<usize>> {
        if send::is_coroutine(awaitable) || as_future(awaitable).is_some() {
            return Ok(match self.by_identity.entry(awaitable.as_ptr().addr()) {
                Entry::Occupied(entry) => Some(*entry.get()),
                Entry::Vacant(entry) => {
                    entry.insert(place);
                    None
                }
            });
        }
        let seen = self.by_equality.get_or_insert_with(|| PyDict::new(awaitable.py()));
        match seen.get_item(awaitable)? {
            Some(place) => place.extract().map(Some),
            None => seen.set_item(awaitable, place).map(|()| None),
        }
    }
}
