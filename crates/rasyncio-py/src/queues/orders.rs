//! `PriorityQueue` and `LifoQueue`: queues that their items leave in another order.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::{Order, Queue};
use crate::locks::LoopBound;

/// A queue whose least item leaves first, as `<` tells; items are often tuples `(priority, item)`.
///
/// <https://docs.python.org/3/library/asyncio-queue.html#asyncio.PriorityQueue>
#[pyclass(frozen, subclass, extends = Queue, name = "PriorityQueue", module = "rasyncio")]
pub(crate) struct PriorityQueue;

/// A queue whose newest item leaves first.
///
/// <https://docs.python.org/3/library/asyncio-queue.html#asyncio.LifoQueue>
#[pyclass(frozen, subclass, extends = Queue, name = "LifoQueue", module = "rasyncio")]
pub(crate) struct LifoQueue;

fn queue(order: Order) -> PyClassInitializer<Queue> {
    PyClassInitializer::from(LoopBound::default()).add_subclass(Queue::with_order(order))
}

#[pymethods]
impl PriorityQueue {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "(maxsize=0)")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyClassInitializer<Self> {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        queue(Order::Least).add_subclass(Self)
    }

    fn _init(this: &Bound<'_, Self>, maxsize: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = maxsize;
        this.as_super().get().make_items(this.py(), Order::Least)
    }

    fn _put(this: &Bound<'_, Self>, item: &Bound<'_, PyAny>) -> PyResult<()> {
        this.as_super().get().add_in(Order::Least, item)
    }

    fn _get<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        this.as_super().get().take_in(this.py(), Order::Least)
    }
}

#[pymethods]
impl LifoQueue {
    #[new]
    #[pyo3(signature = (*args, **kwargs), text_signature = "(maxsize=0)")]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyClassInitializer<Self> {
        // The arguments are for `__init__`, which a subclass may define with others.
        let _ = (args, kwargs);
        queue(Order::Last).add_subclass(Self)
    }

    fn _init(this: &Bound<'_, Self>, maxsize: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = maxsize;
        this.as_super().get().make_items(this.py(), Order::Last)
    }

    fn _put(this: &Bound<'_, Self>, item: &Bound<'_, PyAny>) -> PyResult<()> {
        this.as_super().get().add_in(Order::Last, item)
    }

    fn _get<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        this.as_super().get().take_in(this.py(), Order::Last)
    }
}
