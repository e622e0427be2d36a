//! Which methods of a loop are a program's own: those of a subclass, and those that were put into the object. What rasyncio does in such a loop's
//! name goes through them, as asyncio's tasks and futures call `loop.call_soon()`.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDictMethods, PyString};

use super::Loop;
use crate::ffi::attributes;

/// What was found when somebody last looked: at the loop's beginning, when attributes are set, and when it starts to run.
#[derive(Default)]
pub(super) struct Replaced {
    /// The class is not `EventLoop` itself, or an attribute hides something of it.
    anything: AtomicBool,
    call_soon: AtomicBool,
    create_future: AtomicBool,
}

impl Loop {
    /// `event_loop` as ours, unless somebody may have changed what its methods do. Its class is asked as well as what was found: the
    /// `__init__()` of a subclass may be another's, and then nobody has looked yet.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "on the way of each new task and future")]
    pub(crate) fn unchanged<'a, 'py>(event_loop: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, Self>> {
        let class = Self::class(event_loop.py())?;
        if event_loop.get_type_ptr().cast() != class.as_ptr() {
            return None;
        }
        event_loop.cast::<Self>().ok().filter(|own| !own.get().is_changed())
    }

    #[inline]
    pub(super) fn is_changed(&self) -> bool {
        self.replaced.anything.load(Ordering::Relaxed)
    }

    /// `event_loop` as ours, unless what becomes ready is to be told to a `call_soon()` that is not.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "on the way of each callback of a future")]
    pub(crate) fn with_our_call_soon<'a, 'py>(
        event_loop: &'a Bound<'py, PyAny>,
    ) -> Option<&'a Bound<'py, Self>> {
        event_loop.cast::<Self>().ok().filter(|own| !own.get().has_other_call_soon())
    }

    #[inline]
    pub(crate) fn has_other_call_soon(&self) -> bool {
        self.replaced.call_soon.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn makes_other_futures(&self) -> bool {
        self.replaced.create_future.load(Ordering::Relaxed)
    }

    pub(super) fn look_for_replaced(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let class = this.get_type();
        let own_attributes = attributes::of(this.as_any());
        let mut hides = Self::class(py).is_some_and(|ours| !class.is(ours));
        // Asking the class may run a program's code, which may set attributes.
        for name in own_attributes.iter().flat_map(PyDictMethods::keys) {
            hides |= name.cast::<PyString>().is_ok_and(|name| class.hasattr(name).unwrap_or(true));
        }
        let ours = py.get_type::<Self>();
        let is_replaced = |name: &Bound<'_, PyString>| -> PyResult<bool> {
            let is_hidden =
                own_attributes.as_ref().map_or(Ok(false), |attributes| attributes.contains(name))?;
            Ok(is_hidden || !class.getattr(name)?.is(&ours.getattr(name)?))
        };
        let replaced = &this.get().replaced;
        replaced.anything.store(hides, Ordering::Relaxed);
        replaced.call_soon.store(is_replaced(intern!(py, "call_soon"))?, Ordering::Relaxed);
        replaced.create_future.store(is_replaced(intern!(py, "create_future"))?, Ordering::Relaxed);
        Ok(())
    }
}

#[pymethods]
impl Loop {
    fn __setattr__(
        this: &Bound<'_, Self>,
        name: &Bound<'_, PyString>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        attributes::set(this.as_any(), name, Some(value))?;
        Self::look_for_replaced(this)
    }

    fn __delattr__(this: &Bound<'_, Self>, name: &Bound<'_, PyString>) -> PyResult<()> {
        attributes::set(this.as_any(), name, None)?;
        Self::look_for_replaced(this)
    }
}
