//! `contextvars.Context`: copying the current one and running code inside of one.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// A copy of the current context, as `contextvars.copy_context()`.
#[inline]
pub(crate) fn copy_current(py: Python<'_>) -> PyResult<Py<PyAny>> {
    // SAFETY: the thread is attached (`py`).
    let context = unsafe { ffi::PyContext_CopyCurrent() };
    // SAFETY: the call gave a new reference, or NULL with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, context) }.map(Bound::unbind)
}

/// A copy of `context`, as its `copy()`.
#[inline]
pub(crate) fn copy<'py>(context: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: `context` is alive during the call, which answers a wrong type with TypeError.
    let copied = unsafe { ffi::PyContext_Copy(context.as_ptr()) };
    // SAFETY: the call gave a new reference, or NULL with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(context.py(), copied) }
}

/// Where a context keeps its values: another that has the same ones keeps them in the same place, as they are never changed but
/// replaced. Good for comparing as long as both contexts live. None when it cannot be told.
#[inline]
pub(crate) fn contents(context: &Bound<'_, PyAny>) -> Option<usize> {
    if let Some(Places { values: Some(values), .. }) = PLACES.get(context.py()) {
        return Some(word_of(context.as_ptr(), *values));
    }
    let seen = look(context);
    (seen.objects == 1).then_some(seen.last)
}

/// `contents` of the current context, where it is known how to come to that without a copy.
#[inline]
pub(crate) fn current_contents(py: Python<'_>) -> Option<usize> {
    let places = PLACES.get(py)?;
    let current = read(py, places.current?)?;
    if let Some(values) = places.values {
        return Some(word_of(current.as_ptr(), values));
    }
    let seen = look(&current);
    // One that was entered holds the context before it, and then its values.
    (1..=2).contains(&seen.objects).then_some(seen.last)
}

/// What is found out about the interpreter: words from the beginning of a structure.
struct Places {
    /// The current context in a thread state.
    current: Option<usize>,
    /// The values in a context.
    values: Option<usize>,
}

static PLACES: PyOnceLock<Places> = PyOnceLock::new();

/// Finds out where the interpreter keeps the current context, by entering two and looking for them, and where those keep their values. On 3.14 and 3.15;
/// elsewhere, and if it is not found, contexts are copied to look at them, and asked what they hold.
pub(crate) fn find_current(py: Python<'_>) -> PyResult<()> {
    if cfg!(Py_3_14) && PLACES.get(py).is_none() {
        let (outer, inner) = (copy_current(py)?.into_bound(py), copy_current(py)?.into_bound(py));
        let current = run_inside(&outer, || {
            let word = (0..WORDS_SEARCHED).find(|&word| is_at(word, &outer))?;
            let nested = run_inside(&inner, || {
                // What holds two objects holds the context before it first.
                let seen = look(&inner);
                is_at(word, &inner) && seen.objects == 2 && Some(seen.last) == look_at_copy(&inner)
            });
            (nested.is_ok_and(|is_right| is_right) && is_at(word, &outer)).then_some(word)
        })?;
        let values = find_values(&outer)?;
        // Whoever was first found the same.
        let _ = PLACES.set(py, Places { current, values });
    }
    Ok(())
}

/// The one word in which contexts of different values differ as what they hold does, and copies do not.
fn find_values(context: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    let py = context.py();
    let other = copy(context)?;
    // SAFETY: the name is a C string; a new reference or NULL with an exception set.
    let variable = unsafe { ffi::PyContextVar_New(c"rasyncio".as_ptr(), std::ptr::null_mut()) };
    // SAFETY: as above.
    let variable = unsafe { Bound::from_owned_ptr_or_err(py, variable) }?;
    run_inside(&other, || variable.call_method1(intern!(py, "set"), (true,)))??;
    let pairs = [(context, copy(context)?), (&other, copy(&other)?)];
    let is_right = |word: usize| {
        pairs.iter().all(|(context, copied)| {
            let held = look(context);
            let at = [*context, copied].map(|context| word_of(context.as_ptr(), word));
            held.objects == 1 && at == [held.last; 2]
        })
    };
    let size = context.get_type().getattr(intern!(py, "__basicsize__"))?.extract::<usize>()?;
    Ok((0..size / size_of::<usize>()).find(|&word| is_right(word)))
}

/// A word of an object.
#[inline]
fn word_of(object: *mut ffi::PyObject, word: usize) -> usize {
    // SAFETY: the callers pass contexts, alive, and words within their size.
    let place = unsafe { object.cast::<usize>().add(word) };
    // SAFETY: as above; words are aligned, and only compared.
    unsafe { place.read() }
}

fn look_at_copy(context: &Bound<'_, PyAny>) -> Option<usize> {
    contents(&copy(context).ok()?)
}

fn is_at(word: usize, context: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the thread is attached, so it has a thread state.
    let state = unsafe { ffi::PyThreadState_Get() }.cast::<*mut ffi::PyObject>();
    // SAFETY: the thread state of 3.14 and 3.15, the versions that this is called on, is longer than the search.
    let place = unsafe { state.add(word) };
    // SAFETY: as above; words are aligned, and only compared.
    unsafe { place.read() == context.as_ptr() }
}

#[inline]
fn read(py: Python<'_>, word: usize) -> Option<Bound<'_, PyAny>> {
    // SAFETY: the thread is attached (`py`), so it has a thread state.
    let state = unsafe { ffi::PyThreadState_Get() }.cast::<*mut ffi::PyObject>();
    // SAFETY: `find_current` saw the place in a thread state of this interpreter; all of them have the same layout.
    let place = unsafe { state.add(word) };
    // SAFETY: as above; only this thread looks into its thread state.
    let context = unsafe { place.read() };
    // SAFETY: NULL, or a context that the place owns a reference to.
    unsafe { Bound::from_borrowed_ptr_or_opt(py, context) }
}

/// Fewer than the thread state of 3.14 and 3.15 has.
const WORDS_SEARCHED: usize = 64;

#[inline]
fn look(context: &Bound<'_, PyAny>) -> Seen {
    let mut seen = Seen { objects: 0, last: 0 };
    // SAFETY: the object is alive, and so is its type.
    let traverse = unsafe { (*context.get_type_ptr()).tp_traverse };
    if let Some(traverse) = traverse {
        // SAFETY: the collector's way to ask an object what it holds; `see` gets the pointer that it expects.
        unsafe { traverse(context.as_ptr(), see, (&raw mut seen).cast()) };
    }
    seen
}

/// What a context was seen to hold.
struct Seen {
    objects: usize,
    last: usize,
}

unsafe extern "C" fn see(object: *mut ffi::PyObject, seen: *mut std::ffi::c_void) -> std::ffi::c_int {
    // SAFETY: `look` passes its own, and nobody else looks at it meanwhile.
    let seen = unsafe { &mut *seen.cast::<Seen>() };
    *seen = Seen { objects: seen.objects + 1, last: object.addr() };
    0
}

/// The context itself; TypeError when it is none.
pub(crate) fn checked(context: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    // SAFETY: the object is alive during the call, which looks at its type only.
    if unsafe { ffi::PyContext_CheckExact(context.as_ptr()) } == 0 {
        let kind = context.get_type().fully_qualified_name()?;
        return Err(PyTypeError::new_err(format!("a contextvars.Context was expected, got {kind}")));
    }
    Ok(context.clone().unbind())
}

/// Runs `body` inside of `context`, as `context.run(body)`.
///
/// Fails with RuntimeError when the context is entered already and with TypeError when it is no context; `body` has not run then.
#[inline]
pub(crate) fn run_in<R>(py: Python<'_>, context: &Py<PyAny>, body: impl FnOnce() -> R) -> PyResult<R> {
    run_inside(context.bind(py), body)
}

/// `run_in` for a context that is bound already, as on the hot paths: letting go of a `Bound` asks no questions.
#[inline(always)]
#[expect(clippy::inline_always, reason = "on the way of each step of a task")]
pub(crate) fn run_inside<R>(context: &Bound<'_, PyAny>, body: impl FnOnce() -> R) -> PyResult<R> {
    let py = context.py();
    // SAFETY: `context` is alive for the whole call; a wrong type is answered with TypeError by the callee.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } < 0 {
        return Err(PyErr::fetch(py));
    }
    let entered = Entered { context };
    let result = body();
    drop(entered);
    Ok(result)
}

struct Entered<'a, 'py> {
    context: &'a Bound<'py, PyAny>,
}

impl Drop for Entered<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `run_in` entered this context on this thread and keeps it alive.
        if unsafe { ffi::PyContext_Exit(self.context.as_ptr()) } < 0 {
            let py = self.context.py();
            PyErr::fetch(py).write_unraisable(py, None);
        }
    }
}
