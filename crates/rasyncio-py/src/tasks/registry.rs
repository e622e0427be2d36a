//! The running tasks of one loop, held strongly: a task that nobody else refers to is not lost to the collector.

use pyo3::Py;

use super::Task;

/// Where a task sits in its loop's registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot(u32);

/// A slab of tasks: adding and removing cost a few nanoseconds, where asyncio's WeakSet costs more than creating the task.
#[derive(Default)]
pub(crate) struct Registry {
    entries: Vec<Entry>,
    first_free: Option<u32>,
}

enum Entry {
    Task(Py<Task>),
    Free { next: Option<u32> },
}

impl Registry {
    #[inline]
    pub(crate) fn insert(&mut self, task: Py<Task>) -> Slot {
        if let Some(index) = self.first_free
            && let Some(entry) = self.entries.get_mut(index as usize)
            && let Entry::Free { next } = *entry
        {
            self.first_free = next;
            *entry = Entry::Task(task);
            return Slot(index);
        }
        let index = u32::try_from(self.entries.len()).expect("fewer than 2**32 tasks fit into memory");
        self.entries.push(Entry::Task(task));
        Slot(index)
    }

    /// Hands the task back for the caller to drop.
    #[inline]
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Py<Task>> {
        let entry = self.entries.get_mut(slot.0 as usize)?;
        match std::mem::replace(entry, Entry::Free { next: self.first_free }) {
            Entry::Task(task) => {
                self.first_free = Some(slot.0);
                Some(task)
            }
            free @ Entry::Free { .. } => {
                *entry = free;
                None
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Py<Task>> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Task(task) => Some(task),
            Entry::Free { .. } => None,
        })
    }
}
