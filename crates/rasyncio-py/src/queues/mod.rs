//! `Queue`, `PriorityQueue` and `LifoQueue` (asyncio: queues.py).
//!
//! Files by job: this file (the rules), `methods` (what Python sees), `waiting` (the bodies of `put()`, `get()` and `join()`), `orders`
//! (the two classes of another order). The items are in a real deque or list, which programs may look into and replace.
//! A subclass may override any of the methods that asyncio's class calls on itself: which ones it does is found out when it is made, and those are called.
//! Invariant: a waiter is out of its queue when it has been woken, by whom woke it.

mod methods;
mod orders;
mod waiting;

use std::fmt::Write;

use pyo3::exceptions::PyAttributeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyType};

pub(crate) use orders::{LifoQueue, PriorityQueue};

use crate::exceptions;
use crate::ffi::call::{call_method_none, call_method_one, call_one, call_two};
use crate::ffi::cell::GilCell;
use crate::ffi::deque;
use crate::interop::stdlib;
use crate::locks::{Count, Event, LoopBound, Waiters};

/// Items on their way from task to task, first in first out.
///
/// Parameters: `maxsize`, how many there may be in it at a time; 0 or less: any number.
///
/// <https://docs.python.org/3/library/asyncio-queue.html#asyncio.Queue>
#[pyclass(frozen, subclass, extends = LoopBound, name = "Queue", module = "rasyncio")]
pub(crate) struct Queue {
    state: GilCell<State>,
    getters: Waiters,
    putters: Waiters,
}

struct State {
    /// What holds the items; a subclass may do without.
    items: Option<Py<PyAny>>,
    max_size: Count,
    order: Order,
    overrides: Overrides,
    unfinished: i64,
    shut_down: bool,
    /// What `join()` waits for, once somebody did: set while nothing is unfinished.
    finished: Option<Py<Event>>,
}

impl State {
    fn of(order: Order) -> Self {
        Self {
            items: None,
            max_size: Count::Whole(0),
            order,
            overrides: Overrides::default(),
            unfinished: 0,
            shut_down: false,
            finished: None,
        }
    }
}

/// In which order items leave: the class, or the base of a subclass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    First,
    Last,
    Least,
}

/// Which methods a subclass has of its own, one bit for each name of `OVERRIDABLE`.
#[derive(Clone, Copy, Default)]
struct Overrides(u16);

impl Overrides {
    const INIT: Self = Self(1);
    const GET: Self = Self(1 << 1);
    const PUT: Self = Self(1 << 2);
    const SIZE: Self = Self(1 << 3);
    const EMPTY: Self = Self(1 << 4);
    const FULL: Self = Self(1 << 5);
    const GET_NOWAIT: Self = Self(1 << 6);
    const PUT_NOWAIT: Self = Self(1 << 7);

    #[inline]
    fn has(self, which: Self) -> bool {
        self.0 & which.0 != 0
    }

    /// Those of `class`, which derives from `base`, a class of ours.
    fn of(class: &Bound<'_, PyType>, base: &Bound<'_, PyType>) -> PyResult<Self> {
        let mut found = 0;
        if !class.is(base) {
            for (bit, name) in OVERRIDABLE.iter().enumerate() {
                if !class.getattr(*name)?.is(&base.getattr(*name)?) {
                    found |= 1 << bit;
                }
            }
        }
        Ok(Self(found))
    }
}

/// What asyncio's queue calls on itself, in the order of the bits of `Overrides`.
const OVERRIDABLE: [&str; 8] =
    ["_init", "_get", "_put", "qsize", "empty", "full", "get_nowait", "put_nowait"];

impl Queue {
    fn with_order(order: Order) -> Self {
        Self {
            state: GilCell::new(State::of(order)),
            getters: Waiters::default(),
            putters: Waiters::default(),
        }
    }

    /// What `__init__` does.
    fn begin(this: &Bound<'_, Self>, max_size: Count) -> PyResult<()> {
        let py = this.py();
        let order = this.get().state.with(py, |state| state.order);
        let base = match order {
            Order::First => py.get_type::<Self>(),
            Order::Last => py.get_type::<LifoQueue>(),
            Order::Least => py.get_type::<PriorityQueue>(),
        };
        let overrides = Overrides::of(&this.get_type(), &base)?;
        let fresh = State { max_size, overrides, ..State::of(order) };
        drop(this.get().state.replace(py, fresh));
        this.get().getters.clear(py);
        this.get().putters.clear(py);
        if overrides.has(Overrides::INIT) {
            call_method_one(this.as_any(), intern!(py, "_init"), &max_size.shown(py))?;
            return Ok(());
        }
        this.get().make_items(py, order)
    }

    fn make_items(&self, py: Python<'_>, order: Order) -> PyResult<()> {
        let items = match order {
            Order::First => deque::new(py)?,
            Order::Last | Order::Least => PyList::empty(py).into_any(),
        };
        self.set_items(py, Some(items.unbind()));
        Ok(())
    }

    fn set_items(&self, py: Python<'_>, items: Option<Py<PyAny>>) {
        self.state.put(py, |state| &mut state.items, items);
    }

    #[inline]
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.state
            .with(py, |state| state.items.as_ref().map(|items| items.bind(py).clone()))
            .ok_or_else(|| PyAttributeError::new_err("'Queue' object has no attribute '_queue'"))
    }

    #[inline]
    fn overrides(&self, py: Python<'_>, which: Overrides) -> bool {
        self.state.with(py, |state| state.overrides.has(which))
    }

    fn is_shut_down(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.shut_down)
    }

    #[inline]
    fn size(this: &Bound<'_, Self>) -> PyResult<usize> {
        let py = this.py();
        if this.get().overrides(py, Overrides::SIZE) {
            return call_method_none(this.as_any(), intern!(py, "qsize"))?.extract();
        }
        items_len(&this.get().items(py)?)
    }

    #[inline]
    fn is_empty(this: &Bound<'_, Self>) -> PyResult<bool> {
        let py = this.py();
        if this.get().overrides(py, Overrides::EMPTY) {
            return call_method_none(this.as_any(), intern!(py, "empty"))?.is_truthy();
        }
        items_empty(&this.get().items(py)?)
    }

    #[inline]
    fn is_full(this: &Bound<'_, Self>) -> PyResult<bool> {
        let py = this.py();
        if this.get().overrides(py, Overrides::FULL) {
            return call_method_none(this.as_any(), intern!(py, "full"))?.is_truthy();
        }
        Self::has_no_room(this)
    }

    /// `full()` itself.
    #[inline]
    fn has_no_room(this: &Bound<'_, Self>) -> PyResult<bool> {
        let max_size = this.get().state.with(this.py(), |state| state.max_size);
        if let Count::Whole(..=0) = max_size {
            return Ok(false);
        }
        if !max_size.is_positive() {
            return Ok(false);
        }
        let size = Count::Whole(i64::try_from(Self::size(this)?).unwrap_or(i64::MAX));
        Ok(size.compared(max_size).is_some_and(std::cmp::Ordering::is_ge))
    }

    /// `_put()`.
    #[inline]
    fn add(this: &Bound<'_, Self>, item: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let (order, overrides) = this.get().state.with(py, |state| (state.order, state.overrides));
        if overrides.has(Overrides::PUT) {
            call_method_one(this.as_any(), intern!(py, "_put"), item)?;
            return Ok(());
        }
        this.get().add_in(order, item)
    }

    #[inline]
    fn add_in(&self, order: Order, item: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = item.py();
        let items = self.items(py)?;
        match (order, items.cast_exact::<PyList>()) {
            (Order::Least, _) => call_two(stdlib(py).primitives.heappush.bind(py), &items, item).map(drop),
            (_, Ok(list)) => list.append(item),
            (_, Err(_)) => deque::append(&items, item),
        }
    }

    /// `_get()`.
    #[inline]
    fn take<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let (order, overrides) = this.get().state.with(py, |state| (state.order, state.overrides));
        if overrides.has(Overrides::GET) {
            return call_method_none(this.as_any(), intern!(py, "_get"));
        }
        this.get().take_in(py, order)
    }

    #[inline]
    fn take_in<'py>(&self, py: Python<'py>, order: Order) -> PyResult<Bound<'py, PyAny>> {
        let items = self.items(py)?;
        match order {
            Order::First => deque::popleft(&items),
            Order::Least => call_one(stdlib(py).primitives.heappop.bind(py), &items),
            Order::Last => call_method_none(&items, intern!(py, "pop")),
        }
    }

    /// The end of `put()`, which has found room: `put_nowait()`, which a subclass may have changed.
    #[inline]
    fn put_now_with_room(this: &Bound<'_, Self>, item: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let (overrides, shut_down) = this.get().state.with(py, |state| (state.overrides, state.shut_down));
        if overrides.has(Overrides::PUT_NOWAIT) {
            call_method_one(this.as_any(), intern!(py, "put_nowait"), item)?;
            return Ok(());
        }
        if shut_down {
            return Err(exceptions::queue_shut_down(py));
        }
        // asyncio asks again; so may whoever wrote its own `full()`.
        if (overrides.has(Overrides::FULL) || overrides.has(Overrides::SIZE)) && Self::is_full(this)? {
            return Err(exceptions::queue_full(py));
        }
        Self::put_in(this, item)
    }

    /// `put_nowait()` itself.
    #[inline]
    fn put_unless_full(this: &Bound<'_, Self>, item: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        if this.get().is_shut_down(py) {
            return Err(exceptions::queue_shut_down(py));
        }
        if Self::is_full(this)? {
            return Err(exceptions::queue_full(py));
        }
        Self::put_in(this, item)
    }

    /// Puts `item` where there is room for it.
    #[inline]
    fn put_in(this: &Bound<'_, Self>, item: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        Self::add(this, item)?;
        let finished = this.get().state.with(py, |state| {
            state.unfinished += 1;
            state.finished.as_ref().map(|finished| finished.bind(py).clone())
        });
        if let Some(finished) = finished {
            finished.get().unset(py);
        }
        this.get().getters.release_next(&py.None().into_bound(py))
    }

    /// The end of `get()`, which has found an item: `get_nowait()`, which a subclass may have changed.
    #[inline]
    fn get_now_of_some<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let overrides = this.get().state.with(py, |state| state.overrides);
        if overrides.has(Overrides::GET_NOWAIT) {
            return call_method_none(this.as_any(), intern!(py, "get_nowait"));
        }
        if overrides.has(Overrides::EMPTY) {
            return Self::get_unless_empty(this);
        }
        Self::take_out(this)
    }

    /// `get_nowait()` itself.
    #[inline]
    fn get_unless_empty<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        if Self::is_empty(this)? {
            return Err(if this.get().is_shut_down(py) {
                exceptions::queue_shut_down(py)
            } else {
                exceptions::queue_empty(py)
            });
        }
        Self::take_out(this)
    }

    /// Takes an item that is there.
    #[inline]
    fn take_out<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let item = Self::take(this)?;
        this.get().putters.release_next(&this.py().None().into_bound(this.py()))?;
        Ok(item)
    }

    /// What `join()` waits for.
    fn finished<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Event>> {
        let existing =
            self.state.with(py, |state| state.finished.as_ref().map(|finished| finished.bind(py).clone()));
        if let Some(existing) = existing {
            return Ok(existing);
        }
        let event = Event::fresh(py)?;
        let is_set = self.state.with(py, |state| {
            state.finished = Some(event.clone().unbind());
            state.unfinished == 0
        });
        if is_set {
            event.get().set_flag(py)?;
        }
        Ok(event)
    }

    fn all_finished(&self, py: Python<'_>) -> PyResult<()> {
        let finished =
            self.state.with(py, |state| state.finished.as_ref().map(|finished| finished.bind(py).clone()));
        finished.map_or(Ok(()), |finished| finished.get().set_flag(py))
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.getters.visit(visit)?;
        self.putters.visit(visit)?;
        let state = self.state.peek(|state| {
            visit.call(&state.items)?;
            visit.call(&state.finished)
        });
        state.unwrap_or(Ok(()))
    }
}

#[inline]
fn items_len(items: &Bound<'_, PyAny>) -> PyResult<usize> {
    match items.cast_exact::<PyList>() {
        Ok(list) => Ok(list.len()),
        Err(_) => deque::len(items),
    }
}

/// `not items`.
#[inline]
fn items_empty(items: &Bound<'_, PyAny>) -> PyResult<bool> {
    if items.is_exact_instance_of::<PyList>() || deque::is_exact(items)? {
        return Ok(items_len(items)? == 0);
    }
    Ok(!items.is_truthy()?)
}

/// `_format()`: the state of a queue, as its `repr()` shows it.
fn format(this: &Bound<'_, Queue>) -> PyResult<String> {
    let py = this.py();
    let queue = this.get();
    let (max_size, unfinished, shut_down, items) = queue.state.with(py, |state| {
        let items = state.items.as_ref().map(|items| items.bind(py).clone());
        (state.max_size, state.unfinished, state.shut_down, items)
    });
    let mut text = format!("maxsize={}", max_size.shown(py));
    if let Some(items) = items
        && items.is_truthy()?
    {
        let listed: Bound<'_, PyString> = py.get_type::<PyList>().call1((items,))?.repr()?;
        text.push_str(" _queue=");
        text.push_str(listed.to_str()?);
    }
    for (name, waiters) in [("_getters", &queue.getters), ("_putters", &queue.putters)] {
        let count = waiters.len(py)?;
        if count > 0 {
            write!(text, " {name}[{count}]").expect("a String takes everything");
        }
    }
    if unfinished != 0 {
        write!(text, " tasks={unfinished}").expect("a String takes everything");
    }
    if shut_down {
        text += " shutdown";
    }
    Ok(text)
}
