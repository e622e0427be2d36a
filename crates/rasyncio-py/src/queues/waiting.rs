//! The bodies of `put()`, `get()` and `join()`.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::Queue;
use crate::coroutines::{Resume, Steps};
use crate::exceptions;
use crate::ffi::send::Sent;
use crate::futures::waiting::{self, Waiting};
use crate::locks::{Answer, Event, LoopBound, Pass, Waiters};

/// What waits for a queue to change: room for an item, or an item.
pub(super) trait Side {
    /// Whether it would have to wait now.
    fn is_blocked(queue: &Bound<'_, Queue>) -> PyResult<bool>;

    fn waiters<'a>(queue: &'a Bound<'_, Queue>) -> &'a Waiters;

    /// Goes on; not blocked any more.
    fn finish<'py>(self, queue: &Bound<'py, Queue>) -> PyResult<Bound<'py, PyAny>>;

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError>;

    fn let_go(self, py: Python<'_>);
}

pub(super) struct Putting(pub(super) Py<PyAny>);

impl Side for Putting {
    #[inline]
    fn is_blocked(queue: &Bound<'_, Queue>) -> PyResult<bool> {
        Queue::is_full(queue)
    }

    fn waiters<'a>(queue: &'a Bound<'_, Queue>) -> &'a Waiters {
        &queue.get().putters
    }

    #[inline]
    fn finish<'py>(self, queue: &Bound<'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
        let py = queue.py();
        Queue::put_now_with_room(queue, &self.0.into_bound(py))?;
        Ok(py.None().into_bound(py))
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.0)
    }

    fn let_go(self, py: Python<'_>) {
        drop(self.0.into_bound(py));
    }
}

pub(super) struct Getting;

impl Side for Getting {
    #[inline]
    fn is_blocked(queue: &Bound<'_, Queue>) -> PyResult<bool> {
        Queue::is_empty(queue)
    }

    fn waiters<'a>(queue: &'a Bound<'_, Queue>) -> &'a Waiters {
        &queue.get().getters
    }

    #[inline]
    fn finish<'py>(self, queue: &Bound<'py, Queue>) -> PyResult<Bound<'py, PyAny>> {
        Queue::get_now_of_some(queue)
    }

    fn visit(&self, _visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        Ok(())
    }

    fn let_go(self, _py: Python<'_>) {}
}

/// The body of `put()` and `get()`: waits while the queue is full, or empty, as often as others are quicker.
pub(super) struct Exchange<S> {
    queue: Py<Queue>,
    side: Option<S>,
    waiting: Option<Waiting>,
}

impl<S: Side> Exchange<S> {
    #[inline]
    pub(super) fn new(queue: &Bound<'_, Queue>, side: S) -> Self {
        Self { queue: queue.clone().unbind(), side: Some(side), waiting: None }
    }

    fn go_on<'py>(&mut self, py: Python<'py>, resume: Resume) -> PyResult<Sent<'py>> {
        let queue = self.queue.bind(py).clone();
        let mut is_first = true;
        if let Some(waiting) = self.waiting.take() {
            is_first = false;
            match waiting.step(py, resume) {
                sent @ Sent::Yielded(_) => {
                    self.waiting = Some(waiting);
                    return Ok(sent);
                }
                Sent::Raised(error) => {
                    Self::give_up(&queue, &waiting.future(py))?;
                    return Err(error);
                }
                Sent::Returned(_) => waiting.let_go(py),
            }
        }
        // At the first step it was found to be blocked a moment ago.
        while is_first || S::is_blocked(&queue)? {
            is_first = false;
            if queue.get().is_shut_down(py) {
                return Err(exceptions::queue_shut_down(py));
            }
            let future = LoopBound::new_future(queue.as_super())?;
            S::waiters(&queue).push(&future)?;
            let waiting = Waiting::begin(&future)?;
            match waiting.step(py, Resume::Next) {
                sent @ Sent::Yielded(_) => {
                    self.waiting = Some(waiting);
                    return Ok(sent);
                }
                Sent::Raised(error) => {
                    Self::give_up(&queue, &future)?;
                    return Err(error);
                }
                Sent::Returned(_) => waiting.let_go(py),
            }
        }
        match self.side.take() {
            Some(side) => Ok(Sent::Returned(side.finish(&queue)?)),
            None => Err(exceptions::runtime("cannot reuse already awaited coroutine")),
        }
    }

    /// The wait ended by an exception. If it was this one's turn, it is the next one's now.
    fn give_up(queue: &Bound<'_, Queue>, future: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = queue.py();
        waiting::cancel(future)?;
        let waiters = S::waiters(queue);
        // Whoever woke it took it out.
        waiters.discard(future)?;
        if !S::is_blocked(queue)? && !waiting::is_cancelled(future)? {
            waiters.release_next(&py.None().into_bound(py))?;
        }
        Ok(())
    }
}

impl<S: Side + Send + 'static> Steps for Exchange<S> {
    #[inline]
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        self.go_on(py, resume).unwrap_or_else(Sent::Raised)
    }

    #[inline]
    fn end_at_once<'py>(&mut self, py: Python<'py>) -> Option<Sent<'py>> {
        let queue = self.queue.bind(py);
        match S::is_blocked(queue) {
            Ok(false) => {
                let side = self.side.take()?;
                Some(side.finish(queue).map_or_else(Sent::Raised, Sent::Returned))
            }
            Ok(true) => None,
            Err(error) => Some(Sent::Raised(error)),
        }
    }

    #[inline]
    fn is_quick(&self, py: Python<'_>, is_first: bool) -> bool {
        is_first || self.waiting.as_ref().is_some_and(|waiting| waiting.has_result(py))
    }

    #[inline]
    fn let_go(self, py: Python<'_>) {
        drop(self.queue.into_bound(py));
        if let Some(side) = self.side {
            side.let_go(py);
        }
        if let Some(waiting) = self.waiting {
            waiting.let_go(py);
        }
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.queue)?;
        self.side.as_ref().map_or(Ok(()), |side| side.visit(visit))?;
        self.waiting.as_ref().map_or(Ok(()), |waiting| waiting.visit(visit))
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.waiting.as_ref().map(|waiting| waiting.awaited(py))
    }
}

/// The body of `join()`.
pub(super) struct Joining {
    queue: Py<Queue>,
    finishing: Option<Pass<Event>>,
}

impl Joining {
    pub(super) fn new(queue: &Bound<'_, Queue>) -> Self {
        Self { queue: queue.clone().unbind(), finishing: None }
    }
}

impl Steps for Joining {
    fn step<'py>(&mut self, py: Python<'py>, resume: Resume) -> Sent<'py> {
        if let Some(finishing) = &mut self.finishing {
            return finishing.step(py, resume);
        }
        let queue = self.queue.bind(py);
        if queue.get().state.with(py, |state| state.unfinished) <= 0 {
            return Sent::Returned(py.None().into_bound(py));
        }
        match queue.get().finished(py) {
            Ok(finished) => self.finishing.insert(Pass::new(&finished, Answer::None)).first_step(py),
            Err(error) => Sent::Raised(error),
        }
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.queue)?;
        self.finishing.as_ref().map_or(Ok(()), |finishing| finishing.visit(visit))
    }

    fn awaited<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.finishing.as_ref().and_then(|finishing| finishing.awaited(py))
    }
}
