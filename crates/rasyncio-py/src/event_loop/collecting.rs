//! What the garbage collector sees of a loop.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use rasyncio_core::scheduler::{ReadyQueue, Timers};

use super::{Loop, Ready, Source, Watcher};

#[pymethods]
impl Loop {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.visit(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        let dropped = (
            self.ready.with(py, ReadyQueue::take_all),
            self.timers.with(py, Timers::take_all),
            self.tasks.take(py),
            self.settings.take(py),
            self.unflushed.take(py),
            self.starved.take(py),
            self.awaited_children.take(py),
            self.lookups.take(py),
            self.contexts.take(py),
        );
        drop(dropped);
    }
}

impl Ready {
    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Step(task) => visit.call(task),
            Self::Throw { task, exception } => {
                visit.call(task)?;
                visit.call(exception)
            }
            Self::Wakeup { task, future } => {
                visit.call(task)?;
                visit.call(future)
            }
            Self::Native { receiver, future, .. } => {
                visit.call(receiver)?;
                visit.call(future)
            }
            Self::Timer(timer) => timer.visit(visit),
            Self::FutureCallback { callback, future, context } => {
                visit.call(callback)?;
                visit.call(future)?;
                visit.call(context)
            }
            Self::Handle(handle) => visit.call(handle),
            Self::Io { .. } | Self::Deferred(_) => Ok(()),
        }
    }
}

impl Watcher {
    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Handle(handle) => visit.call(handle),
            Self::Once(future) => visit.call(future),
            Self::Pipe(pipe) => pipe.visit(visit),
        }
    }
}

impl Source {
    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Watch { reader, writer, object } => {
                reader.iter().chain(writer).try_for_each(|watcher| watcher.visit(visit))?;
                visit.call(object)
            }
            Self::Stream(transport) => visit.call(transport),
            Self::Datagrams(transport) => visit.call(transport),
            Self::Listener(listener) => visit.call(listener),
            Self::Child(transport) => visit.call(transport),
            Self::IdleTransport(transport) => visit.call(transport),
            Self::Signals => Ok(()),
        }
    }
}

impl Loop {
    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let ready = self.ready.peek(|ready| ready.iter().try_for_each(|entry| entry.visit(visit)));
        let timers = self.timers.peek(|timers| timers.iter().try_for_each(|(_, timer)| timer.visit(visit)));
        let tasks = self.tasks.peek(|tasks| tasks.iter().try_for_each(|task| visit.call(task)));
        let reactor = self.reactor.peek(|reactor| match reactor {
            Some(reactor) => reactor.iter().try_for_each(|(_, source)| source.visit(visit)),
            None => Ok(()),
        });
        let unflushed = self.unflushed.peek(|all| all.iter().try_for_each(|transport| visit.call(transport)));
        let signals = self.signals.peek(|signals| signals.visit(visit));
        let lookups = self.lookups.peek(|lookups| lookups.visit(visit));
        let starved = self.starved.peek(|all| all.iter().try_for_each(|listener| visit.call(listener)));
        let contexts = self
            .contexts
            .peek(|contexts| contexts.objects().into_iter().try_for_each(|object| visit.call(object)));
        let children =
            self.awaited_children.peek(|all| all.values().try_for_each(|transport| visit.call(transport)));
        for part in [ready, timers, tasks, reactor, unflushed, starved, signals, lookups, children, contexts]
        {
            part.unwrap_or(Ok(()))?;
        }
        self.settings
            .peek(|settings| {
                visit.call(&settings.exception_handler)?;
                visit.call(&settings.task_factory)?;
                visit.call(&settings.default_executor)?;
                visit.call(&settings.asyncgens)
            })
            .unwrap_or(Ok(()))
    }
}
