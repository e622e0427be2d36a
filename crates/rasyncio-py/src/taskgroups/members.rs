//! The tasks of a group that are not done. From the moment when a program asks for asyncio's `_tasks`, they are in that very set of Python's.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PySet;

use super::TaskGroup;
use crate::tasks::ByAddress;

pub(super) enum Members {
    /// Each with its number in the order of creation.
    Own { numbered: ByAddress<(u64, Py<PyAny>)>, next_number: u64 },
    /// What `_tasks` shows, or was set to.
    Shown(Py<PyAny>),
}

impl Default for Members {
    fn default() -> Self {
        Self::Own { numbered: ByAddress::default(), next_number: 0 }
    }
}

impl Members {
    /// Adds a task; answers whether the group is being cancelled.
    #[inline]
    pub(super) fn add(group: &Bound<'_, TaskGroup>, task: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = group.py();
        let owned = task.clone().unbind();
        let (old, shown, aborting) = group.get().state.with(py, |state| {
            let (old, shown) = match &mut state.tasks {
                Self::Own { numbered, next_number } => {
                    let number = *next_number;
                    *next_number += 1;
                    (numbered.insert(task.as_ptr().addr(), (number, owned)).map(|(_, old)| old), None)
                }
                Self::Shown(shown) => (Some(owned), Some(shown.clone_ref(py))),
            };
            (old, shown, state.aborting)
        });
        drop(old);
        if let Some(shown) = shown {
            shown.bind(py).call_method1(intern!(py, "add"), (task,))?;
        }
        Ok(aborting)
    }

    /// Takes a task out; answers whether none is left.
    #[inline]
    pub(super) fn discard(group: &Bound<'_, TaskGroup>, task: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = group.py();
        let (old, left) = group.get().state.with(py, |state| match &mut state.tasks {
            Self::Own { numbered, .. } => {
                let old = numbered.remove(&task.as_ptr().addr()).map(|(_, old)| old.into_bound(py));
                (old, Ok(numbered.is_empty()))
            }
            Self::Shown(shown) => (None, Err(shown.clone_ref(py))),
        });
        drop(old);
        left.or_else(|shown| {
            shown.bind(py).call_method1(intern!(py, "discard"), (task,))?;
            shown.bind(py).is_truthy().map(|any_left| !any_left)
        })
    }

    #[inline]
    pub(super) fn count(group: &Bound<'_, TaskGroup>) -> PyResult<usize> {
        let py = group.py();
        let counted = group.get().state.with(py, |state| match &state.tasks {
            Self::Own { numbered, .. } => Ok(numbered.len()),
            Self::Shown(shown) => Err(shown.clone_ref(py)),
        });
        counted.or_else(|shown| shown.bind(py).len())
    }

    #[inline]
    pub(super) fn is_empty(group: &Bound<'_, TaskGroup>) -> PyResult<bool> {
        Self::count(group).map(|count| count == 0)
    }

    /// In the order of their creation, until they were shown.
    pub(super) fn all<'py>(group: &Bound<'py, TaskGroup>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let py = group.py();
        let found = group.get().state.with(py, |state| match &state.tasks {
            Self::Own { numbered, .. } => {
                let of_group = numbered.values().map(|(number, task)| (*number, task.clone_ref(py)));
                Ok(of_group.collect::<Vec<_>>())
            }
            Self::Shown(shown) => Err(shown.clone_ref(py)),
        });
        match found {
            Ok(mut numbered) => {
                numbered.sort_unstable_by_key(|(number, _)| *number);
                Ok(numbered.into_iter().map(|(_, task)| task.into_bound(py)).collect())
            }
            Err(shown) => shown.bind(py).try_iter()?.collect(),
        }
    }

    /// The set that has them from now on.
    pub(super) fn show<'py>(group: &Bound<'py, TaskGroup>) -> PyResult<Bound<'py, PyAny>> {
        let py = group.py();
        let shown = group.get().state.with(py, |state| match &state.tasks {
            Self::Own { .. } => None,
            Self::Shown(shown) => Some(shown.clone_ref(py)),
        });
        if let Some(shown) = shown {
            return Ok(shown.into_bound(py));
        }
        let shown = PySet::new(py, Self::all(group)?)?.into_any();
        Self::replace(group, shown.clone().unbind());
        Ok(shown)
    }

    pub(super) fn replace(group: &Bound<'_, TaskGroup>, shown: Py<PyAny>) {
        let py = group.py();
        group.get().state.put(py, |state| &mut state.tasks, Self::Shown(shown));
    }

    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Own { numbered, .. } => numbered.values().try_for_each(|(_, task)| visit.call(task)),
            Self::Shown(shown) => visit.call(shown),
        }
    }
}
