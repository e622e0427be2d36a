//! Telling the interpreter which task runs, so that `asyncio.current_task()` is right for our tasks too.
//!
//! Up to 3.13 it keeps a dictionary from loops to tasks. From 3.14 on each thread state has a place for its running loop and, right behind it,
//! one for its running task, both owning a reference; asyncio's `_swap_current_task()` exchanges the latter, which costs more than the step of a
//! task. So the place is looked for once, at import, and exchanged directly; where it is not found, asyncio's function is called.

use pyo3::ffi;
use pyo3::prelude::*;

use super::call::call_two;

/// Where a thread state keeps the running task: words from its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunningTaskPlace(usize);

impl RunningTaskPlace {
    /// Finds the place by putting two objects where asyncio puts loop and task, and looking for them.
    ///
    /// None when it is not where 3.14 and 3.15 have it. Nothing is left behind.
    pub(crate) fn find(
        set_running_loop: &Bound<'_, PyAny>,
        get_running_loop: &Bound<'_, PyAny>,
        swap_current_task: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Self>> {
        let py = set_running_loop.py();
        let running = get_running_loop.call0()?;
        if !running.is_none() {
            // Imported by a coroutine: asyncio's function does until the next import.
            return Ok(None);
        }
        let object = py.import("builtins")?.getattr("object")?;
        let (event_loop, task) = (object.call0()?, object.call0()?);
        set_running_loop.call1((&event_loop,))?;
        let entered = call_two(swap_current_task, &event_loop, &task);
        let found = entered.map(|_| Self::look(&event_loop, &task));
        let left = call_two(swap_current_task, &event_loop, &py.None().into_bound(py));
        set_running_loop.call1((py.None(),))?;
        left?;
        found
    }

    fn look(event_loop: &Bound<'_, PyAny>, task: &Bound<'_, PyAny>) -> Option<Self> {
        // SAFETY: the thread is attached, so it has a thread state.
        let state = unsafe { ffi::PyThreadState_Get() }.cast::<*mut ffi::PyObject>();
        (0..WORDS_SEARCHED)
            .find(|&word| {
                // SAFETY: in 3.14 and 3.15, the versions that this is called on, the place lies within the thread state, and the search ends there.
                let place = unsafe { state.add(word) };
                // SAFETY: as above; words are aligned.
                if unsafe { place.read() } != event_loop.as_ptr() {
                    return false;
                }
                // SAFETY: the running loop was found, so the word behind it is still inside of the thread state.
                let behind = unsafe { place.add(1) };
                // SAFETY: as above.
                let second = unsafe { behind.read() };
                second == task.as_ptr()
            })
            .map(|word| Self(word + 1))
    }

    /// The loop that runs in this thread, which asyncio keeps right before the task.
    #[inline]
    pub(crate) fn running_loop(self, py: Python<'_>) -> Option<Bound<'_, PyAny>> {
        Self::read(py, self.0 - 1)
    }

    /// The task that runs in this thread.
    #[inline]
    pub(crate) fn get(self, py: Python<'_>) -> Option<Bound<'_, PyAny>> {
        Self::read(py, self.0)
    }

    #[inline]
    fn read(py: Python<'_>, word: usize) -> Option<Bound<'_, PyAny>> {
        // SAFETY: the thread is attached (`py`), so it has a thread state.
        let state = unsafe { ffi::PyThreadState_Get() }.cast::<*mut ffi::PyObject>();
        // SAFETY: `find` saw both places in a thread state of this interpreter; all of them have the same layout.
        let place = unsafe { state.add(word) };
        // SAFETY: as above; only this thread looks into its thread state.
        let object = unsafe { place.read() };
        // SAFETY: NULL, or an object that the place owns a reference to.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, object) }
    }

    /// Makes `task` (None: no task) the running one of this thread; gives the one before.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "on the way of each step of a task")]
    pub(crate) fn replace<'py>(
        self,
        py: Python<'py>,
        task: Option<&Bound<'py, PyAny>>,
    ) -> Option<Bound<'py, PyAny>> {
        // SAFETY: the thread is attached (`py`), so it has a thread state.
        let state = unsafe { ffi::PyThreadState_Get() }.cast::<*mut ffi::PyObject>();
        // SAFETY: `find` saw the place at this offset of a thread state of this interpreter; all of them have the same layout.
        let place = unsafe { state.add(self.0) };
        // SAFETY: as above; only this thread looks into its thread state.
        let place = unsafe { &mut *place };
        let new = task.map_or(std::ptr::null_mut(), |task| task.clone().into_ptr());
        let old = std::mem::replace(place, new);
        // SAFETY: the place owned a reference, which is ours now.
        unsafe { Bound::from_owned_ptr_or_opt(py, old) }
    }
}

/// More than the thread state of 3.14 and 3.15 has; the search ends at the first match.
const WORDS_SEARCHED: usize = 4096;
