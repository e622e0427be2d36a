//! Methods that take their arguments as the interpreter has them: no tuple is built, and none of the general argument parsing is done.
//!
//! For the few methods that a program calls all the time (`call_soon`, `create_task`); every other method is PyO3's.

use std::ffi::CStr;
use std::marker::PhantomData;

use super::call::attached;
use pyo3::exceptions::{PySystemError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyTypeInfo, ffi};

/// One such method of a class.
pub(crate) trait FastMethod {
    type Class: PyTypeInfo;
    const NAME: &'static CStr;
    /// Signature and description, in the form `name($self, ...)\n--\n\ntext`.
    const DOCUMENTATION: &'static CStr;
    /// PyO3 is not told that the thread is attached, as for the methods of `Light`.
    const IS_LIGHT: bool = false;

    fn call<'py>(
        this: &Bound<'py, Self::Class>,
        arguments: &Arguments<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>>;
}

/// The arguments of one call.
pub(crate) struct Arguments<'a, 'py> {
    pub(super) py: Python<'py>,
    /// Positional ones first, then the values of the keywords.
    pub(super) values: &'a [*mut ffi::PyObject],
    pub(super) positional: usize,
    pub(super) names: Option<&'a Bound<'py, PyTuple>>,
}

impl<'py> Arguments<'_, 'py> {
    /// The first positional argument, or TypeError as Python words it.
    #[inline]
    pub(crate) fn first(&self, method: &str, name: &str) -> PyResult<&Bound<'py, PyAny>> {
        if self.positional == 0 {
            return Err(PyTypeError::new_err(format!(
                "{method}() missing 1 required positional argument: '{name}'"
            )));
        }
        Ok(self.value(0))
    }

    /// The one argument of a method that takes no other, or TypeError as the interpreter words it for such methods.
    #[inline]
    pub(crate) fn only(&self, method: &str) -> PyResult<&Bound<'py, PyAny>> {
        if self.names.is_some_and(|names| !names.is_empty()) {
            return Err(PyTypeError::new_err(format!("{method}() takes no keyword arguments")));
        }
        if self.positional != 1 {
            let count = self.positional;
            return Err(PyTypeError::new_err(format!(
                "{method}() takes exactly one argument ({count} given)"
            )));
        }
        Ok(self.value(0))
    }

    /// The one argument, by position or by name, or TypeError as Python words it.
    #[inline]
    pub(crate) fn one(&self, method: &str, name: &str) -> PyResult<&Bound<'py, PyAny>> {
        if self.positional == 1 && self.values.len() == 1 {
            return Ok(self.value(0));
        }
        self.one_by_name(method, name)
    }

    #[inline(never)]
    fn one_by_name(&self, method: &str, name: &str) -> PyResult<&Bound<'py, PyAny>> {
        let Some(names) = self.names.filter(|names| !names.is_empty()) else {
            if self.positional > 1 {
                // Python counts `self`.
                let count = self.positional + 1;
                return Err(PyTypeError::new_err(format!(
                    "{method}() takes 2 positional arguments but {count} were given"
                )));
            }
            return self.first(method, name);
        };
        for given in names.iter() {
            if !given.eq(name)? {
                return Err(PyTypeError::new_err(format!(
                    "{method}() got an unexpected keyword argument '{given}'"
                )));
            }
        }
        if self.positional > 0 {
            return Err(PyTypeError::new_err(format!(
                "{method}() got multiple values for argument '{name}'"
            )));
        }
        Ok(self.value(0))
    }

    #[inline]
    pub(crate) fn py(&self) -> Python<'py> {
        self.py
    }

    /// Whether nothing was given.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// How many positional arguments there are.
    #[inline]
    pub(crate) fn positional(&self) -> usize {
        self.positional
    }

    /// The positional arguments.
    #[inline]
    pub(crate) fn positionals(&self) -> impl ExactSizeIterator<Item = &Bound<'py, PyAny>> {
        (0..self.positional).map(|index| self.value(index))
    }

    /// Calls `visit` with each keyword and its value.
    #[inline]
    pub(crate) fn keywords(
        &self,
        mut visit: impl FnMut(&Bound<'py, PyAny>, &Bound<'py, PyAny>) -> PyResult<()>,
    ) -> PyResult<()> {
        let Some(names) = self.names else {
            return Ok(());
        };
        for (index, name) in names.iter().enumerate() {
            visit(&name, self.value(self.positional + index))?;
        }
        Ok(())
    }

    /// One of the arguments, of which there are more than `index`.
    #[inline]
    pub(crate) fn value(&self, index: usize) -> &Bound<'py, PyAny> {
        // SAFETY: the interpreter keeps the arguments alive during the call; the index is checked.
        unsafe { Bound::ref_from_ptr(self.py, &self.values[index]) }
    }
}

/// Adds the method to its class.
pub(crate) fn install<M: FastMethod>(py: Python<'_>) -> PyResult<()> {
    let function = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: trampoline::<M> };
    let flags = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    add::<M::Class>(py, M::NAME, M::DOCUMENTATION, function, flags)
}

fn add<T: PyTypeInfo>(
    py: Python<'_>,
    name: &'static CStr,
    documentation: &'static CStr,
    function: ffi::PyMethodDefPointer,
    flags: std::ffi::c_int,
) -> PyResult<()> {
    // The interpreter keeps the address of the definition for as long as the class lives: for ever.
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: function,
        ml_flags: flags,
        ml_doc: documentation.as_ptr(),
    }));
    let class = T::type_object_raw(py);
    // SAFETY: a complete heap type of ours, and a definition that is never freed.
    let descriptor = unsafe { ffi::PyDescr_NewMethod(class, definition) };
    // SAFETY: the call gives a new reference or NULL with an exception set.
    let descriptor = unsafe { Bound::from_owned_ptr_or_err(py, descriptor) }?;
    T::type_object(py).setattr(name.to_string_lossy().as_ref(), descriptor)
}

unsafe extern "C" fn trampoline<M: FastMethod>(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let body = body_of(|arguments| {
        // SAFETY: a method descriptor calls this with an object of its class only, alive during the call.
        let this = unsafe { Bound::ref_from_ptr(arguments.py, &object) };
        // SAFETY: as above.
        let this = unsafe { this.cast_unchecked::<M::Class>() };
        if M::IS_LIGHT {
            M::call(this, arguments)
        } else {
            attached(arguments.py, || M::call(this, arguments))
        }
    });
    // SAFETY: the interpreter passes `count` positional arguments and one value for each name.
    unsafe { answer_call(arguments, count.unsigned_abs(), names, body) }
}

/// Tells the compiler that what `body` returns lives as long as what it was given.
fn body_of<'py, B>(body: B) -> B
where
    B: FnOnce(&Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>>,
{
    body
}

/// What `body` gives for the arguments of a call: a new reference, or NULL with an exception set. PyO3 is not told that the thread is attached.
///
/// # Safety
/// `arguments` are `positional` live objects and one more for each name in `names`, which is NULL or a tuple; the thread is attached.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a call in between costs a tenth of the cheapest functions")]
pub(super) unsafe fn answer_call<'py>(
    arguments: *const *mut ffi::PyObject,
    positional: usize,
    names: *mut ffi::PyObject,
    body: impl FnOnce(&Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>>,
) -> *mut ffi::PyObject {
    caught(|py| {
        // SAFETY: NULL or a tuple of names, alive during the call.
        let names = unsafe { Bound::from_borrowed_ptr_or_opt(py, names) };
        // SAFETY: the interpreter gives a tuple where it gives names.
        let names = names.map(|names| unsafe { names.cast_into_unchecked::<PyTuple>() });
        let total = positional + names.as_ref().map_or(0, PyTupleMethods::len);
        let values = if total == 0 {
            &[]
        } else {
            // SAFETY: as the caller promised.
            unsafe { std::slice::from_raw_parts(arguments, total) }
        };
        body(&Arguments { py, values, positional, names: names.as_ref() })
    })
}

/// Adds methods to a class of ours that do next to nothing and are called all the time.
///
/// PyO3 is not told that the thread is attached, which would cost more than many of them do: they let go of Python objects as `Bound`, or tell it
/// (`attached`) before they do more.
pub(crate) struct Light<'py, T>(Python<'py>, PhantomData<T>);

/// A light method that takes `self` alone.
pub(crate) trait Alone<T>:
    for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Bound<'py, PyAny>> + Copy + 'static
{
}

impl<T, F> Alone<T> for F where
    F: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Bound<'py, PyAny>> + Copy + 'static
{
}

impl<'py, T: PyTypeInfo> Light<'py, T> {
    pub(crate) fn to_class(py: Python<'py>) -> Self {
        Self(py, PhantomData)
    }

    /// Adds a method without arguments. `documentation` has the form `name($self)\n--\n\ntext`.
    pub(crate) fn alone<F: Alone<T>>(
        &self,
        name: &'static CStr,
        documentation: &'static CStr,
        body: F,
    ) -> PyResult<&Self> {
        forget_size_checked(body);
        let function = ffi::PyMethodDefPointer { PyCFunction: light_alone::<T, F> };
        add::<T>(self.0, name, documentation, function, ffi::METH_NOARGS)?;
        Ok(self)
    }

    /// Adds an `__aexit__()`, whose three arguments nobody looks at.
    pub(crate) fn exit<F: Alone<T>>(&self, documentation: &'static CStr, body: F) -> PyResult<&Self> {
        forget_size_checked(body);
        let function = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: light_exit::<T, F> };
        add::<T>(self.0, c"__aexit__", documentation, function, ffi::METH_FASTCALL | ffi::METH_KEYWORDS)?;
        Ok(self)
    }
}

/// The body of a light method is a function or a closure that captures nothing: `conjure` makes it again from nothing.
fn forget_size_checked<F: Copy>(body: F) {
    const { assert!(size_of::<F>() == 0, "a light method captures nothing") };
    let _ = body;
}

/// The function or closure of type F.
fn conjure<F: Copy>() -> F {
    const { assert!(size_of::<F>() == 0, "a light method captures nothing") };
    // SAFETY: F has no size, so there is nothing to read, and a value of it existed, so it may: `Light` was given one, and it can be copied.
    unsafe { std::ptr::NonNull::<F>::dangling().as_ptr().read() }
}

unsafe extern "C" fn light_alone<T: PyTypeInfo, F: Alone<T>>(
    object: *mut ffi::PyObject,
    _nothing: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    caught(|py| {
        // SAFETY: a method descriptor calls this with an object of its class only, alive during the call.
        let this = unsafe { Bound::ref_from_ptr(py, &object) };
        // SAFETY: as above.
        conjure::<F>()(unsafe { this.cast_unchecked::<T>() })
    })
}

unsafe extern "C" fn light_exit<T: PyTypeInfo, F: Alone<T>>(
    object: *mut ffi::PyObject,
    _arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    caught(|py| {
        // SAFETY: NULL or a tuple of names, alive during the call.
        let names = unsafe { Bound::from_borrowed_ptr_or_opt(py, names) };
        let given = count.unsigned_abs() + names.map_or(Ok(0), |names| names.len())?;
        if given != 3 {
            // Python counts `self`.
            let text = format!("__aexit__() takes 4 positional arguments but {} were given", given + 1);
            return Err(PyTypeError::new_err(text));
        }
        // SAFETY: as in `light_alone`.
        let this = unsafe { Bound::ref_from_ptr(py, &object) };
        // SAFETY: as above.
        conjure::<F>()(unsafe { this.cast_unchecked::<T>() })
    })
}

/// Calls `body` on behalf of the interpreter.
#[inline]
fn caught<'py>(body: impl FnOnce(Python<'py>) -> PyResult<Bound<'py, PyAny>>) -> *mut ffi::PyObject {
    let body = || {
        // SAFETY: methods and functions are called by attached threads.
        let py = unsafe { Python::assume_attached() };
        match body(py) {
            Ok(result) => result.into_ptr(),
            Err(error) => {
                error.restore(py);
                std::ptr::null_mut()
            }
        }
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or_else(|_| {
        // SAFETY: as above.
        let py = unsafe { Python::assume_attached() };
        PySystemError::new_err("panic in a function of rasyncio").restore(py);
        std::ptr::null_mut()
    })
}
