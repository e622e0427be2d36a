//! The contexts of callbacks. asyncio runs each in a copy of the context that was the current one, so that what a callback sets stays its own.
//!
//! Nearly all set nothing, and are handed in a thousand at a time with the same contents. So there is one copy that they share, in which none is run,
//! and one to run in, which is used for the next as long as nobody changed it and nobody else has it. A callback whose handle the program kept gets a copy
//! of its own instead, since a handle shows its context. Both copies are let go of before the loop sleeps, with what they hold.

use pyo3::prelude::*;

use super::Loop;
use crate::ffi::context;
use crate::ffi::references::is_sole;

#[derive(Default)]
pub(super) struct SharedContext {
    /// Never entered, so that it stays as it is.
    template: Option<Py<PyAny>>,
    /// What the template holds; it keeps that alive.
    contents: usize,
    /// A copy of the template that is free to be run in.
    spare: Option<Py<PyAny>>,
}

impl SharedContext {
    pub(super) fn objects(&self) -> [&Option<Py<PyAny>>; 2] {
        [&self.template, &self.spare]
    }
}

impl Loop {
    /// A copy of the current context that others may have been given too, and whether that is so: then it must not be entered.
    #[inline]
    pub(super) fn shared_context(&self, py: Python<'_>) -> PyResult<(Py<PyAny>, bool)> {
        if let Some(contents) = context::current_contents(py)
            && let Some(template) = self.template_with(py, contents)
        {
            return Ok((template, true));
        }
        let fresh = context::copy_current(py)?.into_bound(py);
        let Some(contents) = context::contents(&fresh) else {
            return Ok((fresh.unbind(), false));
        };
        if let Some(template) = self.template_with(py, contents) {
            return Ok((template, true));
        }
        let template = Some(fresh.clone().unbind());
        let old = self.contexts.replace(py, SharedContext { template, contents, spare: None });
        drop_bound(py, old);
        Ok((fresh.unbind(), true))
    }

    /// The copy that is there, if it holds just this.
    #[inline]
    fn template_with(&self, py: Python<'_>, contents: usize) -> Option<Py<PyAny>> {
        self.contexts.with(py, |shared| {
            let template = shared.template.as_ref().filter(|_| shared.contents == contents);
            template.map(|template| template.clone_ref(py))
        })
    }

    /// A copy of `template` to run one callback in.
    #[inline]
    pub(crate) fn lend_context<'py>(&self, template: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = template.py();
        let spare = self.contexts.with(py, |shared| {
            let is_copy = shared.template.as_ref().is_some_and(|known| known.is(template));
            if is_copy { shared.spare.take() } else { None }
        });
        match spare {
            Some(spare) => Ok(spare.into_bound(py)),
            None => context::copy(template),
        }
    }

    /// The callback is done: its context is the next one's, if it still is what it was.
    #[inline]
    pub(crate) fn take_context_back(&self, template: &Bound<'_, PyAny>, used: Bound<'_, PyAny>) {
        let py = template.py();
        if !is_sole(&used) {
            return;
        }
        let contents = context::contents(&used);
        let unneeded = self.contexts.with(py, |shared| {
            let is_copy = shared.template.as_ref().is_some_and(|known| known.is(template))
                && contents == Some(shared.contents);
            if is_copy { shared.spare.replace(used.unbind()) } else { Some(used.unbind()) }
        });
        drop(unneeded.map(|context| context.into_bound(py)));
    }

    /// Lets go of both copies, before what they hold would live longer than on asyncio.
    #[inline]
    pub(super) fn forget_contexts(&self, py: Python<'_>) {
        if self.contexts.with(py, |shared| shared.template.is_some()) {
            drop_bound(py, self.contexts.take(py));
        }
    }
}

/// As `Bound`, which does not ask whether the thread is attached.
#[inline]
fn drop_bound(py: Python<'_>, shared: SharedContext) {
    drop(shared.spare.map(|context| context.into_bound(py)));
    drop(shared.template.map(|context| context.into_bound(py)));
}
