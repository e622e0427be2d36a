//! Who awaits a future, as call graphs ask it: told by its callbacks, and by `future_add_to_awaited_by()` where no callback tells.

use pyo3::prelude::*;

use super::Future;
use super::state::Callback;

impl Future {
    /// The task of ours that awaits this, if any does.
    pub(crate) fn first_waiter(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state| {
            state.callbacks.as_slice().iter().find_map(|callback| match callback {
                Callback::Wake(task) => Some(task.clone_ref(py).into_any()),
                Callback::Native { .. } | Callback::Call { .. } => None,
            })
        })
    }

    /// Who awaits this: its waiting tasks, those behind callbacks of rasyncio's own, and who was named by `future_add_to_awaited_by()`.
    pub(crate) fn awaiters(this: &Bound<'_, Self>) -> Vec<Py<PyAny>> {
        let py = this.py();
        let (mut awaiters, actions) = this.get().state.with(py, |state| {
            let named = state.extra.as_ref().map_or(&[][..], |extra| &extra.awaited_by);
            let mut awaiters: Vec<_> = named.iter().map(|awaiter| awaiter.clone_ref(py)).collect();
            let mut actions = Vec::new();
            for callback in state.callbacks.as_slice() {
                match callback {
                    Callback::Wake(task) => awaiters.push(task.clone_ref(py).into_any()),
                    Callback::Native { action, receiver } => actions.push((*action, receiver.clone_ref(py))),
                    Callback::Call { .. } => {}
                }
            }
            (awaiters, actions)
        });
        awaiters.extend(actions.iter().filter_map(|(action, receiver)| (action.awaiter)(receiver.bind(py))));
        awaiters
    }

    /// `waiter` awaits this, though no callback tells so.
    pub(crate) fn add_awaiter(&self, waiter: &Bound<'_, PyAny>) {
        let owned = waiter.clone().unbind();
        let spare = self.state.with(waiter.py(), |state| {
            let awaited_by = &mut state.extra().awaited_by;
            if awaited_by.iter().any(|known| known.is(waiter)) {
                return Some(owned);
            }
            awaited_by.push(owned);
            None
        });
        drop(spare);
    }

    /// Takes back `add_awaiter`.
    pub(crate) fn discard_awaiter(&self, waiter: &Bound<'_, PyAny>) {
        let removed = self.state.with(waiter.py(), |state| {
            let awaited_by = &mut state.extra.as_mut()?.awaited_by;
            let place = awaited_by.iter().position(|known| known.is(waiter))?;
            Some(awaited_by.remove(place))
        });
        drop(removed);
    }
}
