//! Built-in functions and methods that another callable object stands for, which calls them at no cost.
//!
//! The object has a `Vectorcall` field. From there the C function of a method is called as the interpreter's own descriptor does it; whatever is
//! unusual about a call (another class, a wrong count of arguments) goes to the descriptor, which knows what to say.

use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::PyType;
use pyo3::{PyClass, ffi};

use super::functions::Vectorcall;

/// A built-in function or method.
pub(crate) struct Behind {
    callable: Py<PyAny>,
    method: Option<(Py<PyType>, CMethod)>,
}

/// The C function of a method, by how it takes its arguments.
enum CMethod {
    Alone(ffi::PyCFunction),
    Fast(ffi::PyCFunctionFastWithKeywords),
}

/// An object that stands for such a callable.
pub(crate) trait StandsFor: PyClass<Frozen = True> + Sync {
    fn behind(&self) -> Option<&Behind>;
}

impl Behind {
    pub(crate) fn of(callable: Bound<'_, PyAny>) -> Self {
        let method = c_method(&callable);
        Self { callable: callable.unbind(), method }
    }

    pub(crate) fn callable(&self) -> &Py<PyAny> {
        &self.callable
    }

    /// The field of an object of class `T` that stands for this.
    pub(crate) fn vectorcall<T: StandsFor>(&self) -> Vectorcall {
        Vectorcall::through(match &self.method {
            Some((_, CMethod::Alone(_))) => call_alone::<T>,
            Some((_, CMethod::Fast(_))) => call_fast::<T>,
            None => call_any::<T>,
        })
    }

    /// The call as the callable itself takes it.
    #[cold]
    fn forward(
        &self,
        arguments: *const *mut ffi::PyObject,
        count: usize,
        names: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject {
        // SAFETY: the arguments of a call that the interpreter makes, handed on as they are.
        unsafe { ffi::PyObject_Vectorcall(self.callable.as_ptr(), arguments, count, names) }
    }
}

const FAST: std::ffi::c_int = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;

/// What is behind a method descriptor, if it is one of the two kinds that PyO3 and `methods` make most.
fn c_method(callable: &Bound<'_, PyAny>) -> Option<(Py<PyType>, CMethod)> {
    // SAFETY: only the type pointer of a live object is compared with an immortal class.
    if unsafe { ffi::Py_TYPE(callable.as_ptr()) } != &raw mut ffi::PyMethodDescr_Type {
        return None;
    }
    // SAFETY: an object of this very class has this layout.
    let descriptor = unsafe { &*callable.as_ptr().cast::<ffi::PyMethodDescrObject>() };
    // SAFETY: the definition lives at least as long as the descriptor, which is alive.
    let definition = unsafe { &*descriptor.d_method };
    // SAFETY: a descriptor keeps its class alive.
    let class = unsafe { Bound::from_borrowed_ptr(callable.py(), descriptor.d_common.d_type.cast()) };
    // SAFETY: a class is a type object.
    let class = unsafe { class.cast_into_unchecked::<PyType>() }.unbind();
    match definition.ml_flags {
        // SAFETY: the flags say which function is there.
        ffi::METH_NOARGS => Some((class, CMethod::Alone(unsafe { definition.ml_meth.PyCFunction }))),
        // SAFETY: as above.
        FAST => Some((class, CMethod::Fast(unsafe { definition.ml_meth.PyCFunctionFastWithKeywords }))),
        _ => None,
    }
}

/// What the object at this address stands for.
///
/// # Safety
/// It is a live object of class `T`, for as long as `callable` is borrowed.
#[inline]
unsafe fn behind_of<T: StandsFor>(callable: &*mut ffi::PyObject) -> Option<&Behind> {
    // SAFETY: the interpreter calls these functions with the thread attached.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: as the caller promised.
    let this = unsafe { Bound::ref_from_ptr(py, callable) };
    // SAFETY: as above.
    unsafe { this.cast_unchecked::<T>() }.get().behind()
}

unsafe extern "C" fn call_alone<T: StandsFor>(
    callable: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls this with the object whose field it found it in.
    let Some(behind) = (unsafe { behind_of::<T>(&callable) }) else {
        return std::ptr::null_mut();
    };
    if let Some((class, CMethod::Alone(function))) = &behind.method
        && count & !ffi::PY_VECTORCALL_ARGUMENTS_OFFSET == 1
        && names.is_null()
    {
        // SAFETY: there is one argument.
        let this = unsafe { *arguments };
        // SAFETY: a live object and a class.
        if unsafe { ffi::PyObject_TypeCheck(this, class.as_ptr().cast()) } != 0 {
            // SAFETY: the function of a method of this class, called as its descriptor does.
            return unsafe { function(this, std::ptr::null_mut()) };
        }
    }
    behind.forward(arguments, count, names)
}

unsafe extern "C" fn call_fast<T: StandsFor>(
    callable: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as in `call_alone`.
    let Some(behind) = (unsafe { behind_of::<T>(&callable) }) else {
        return std::ptr::null_mut();
    };
    let positional = count & !ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
    if let Some((class, CMethod::Fast(function))) = &behind.method
        && positional > 0
    {
        // SAFETY: there is at least one argument.
        let this = unsafe { *arguments };
        // SAFETY: a live object and a class.
        if unsafe { ffi::PyObject_TypeCheck(this, class.as_ptr().cast()) } != 0 {
            // SAFETY: there are `positional` arguments, and a value for each name behind them.
            let rest = unsafe { arguments.add(1) };
            // SAFETY: the function of a method of this class, called as its descriptor does.
            return unsafe { function(this, rest, (positional - 1).cast_signed(), names) };
        }
    }
    behind.forward(arguments, count, names)
}

unsafe extern "C" fn call_any<T: StandsFor>(
    callable: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as in `call_alone`.
    let behind = unsafe { behind_of::<T>(&callable) };
    behind.map_or(std::ptr::null_mut(), |behind| behind.forward(arguments, count, names))
}

/// Makes objects of `T` in a class methods of its objects, as functions written in Python are, and lets the interpreter rely on it: without the flag
/// it would look each of them up anew with each call.
pub(crate) fn install_binding<T: StandsFor>(py: Python<'_>) {
    let class = T::type_object_raw(py);
    // SAFETY: a complete heap type of ours at import, before any other thread uses it.
    unsafe { (*class).tp_descr_get = Some(bind) };
    // SAFETY: as above.
    unsafe { (*class).tp_flags |= ffi::Py_TPFLAGS_IMMUTABLETYPE };
    // SAFETY: as above; drops the attribute caches that may know the old slot.
    unsafe { ffi::PyType_Modified(class) };
}

unsafe extern "C" fn bind(
    function: *mut ffi::PyObject,
    object: *mut ffi::PyObject,
    _owner: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: None is immortal, or never dies.
    if object.is_null() || object == unsafe { ffi::Py_None() } {
        // SAFETY: a live object; the caller gets a reference of its own.
        return unsafe { ffi::Py_NewRef(function) };
    }
    // SAFETY: two live objects.
    unsafe { PyMethod_New(function, object) }
}

/// `function.__get__(object)`.
pub(crate) fn bound_to<'py>(
    function: &Bound<'py, PyAny>,
    object: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: two live objects.
    let method = unsafe { bind(function.as_ptr(), object.as_ptr(), std::ptr::null_mut()) };
    // SAFETY: the call gives a new reference or NULL with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(function.py(), method) }
}

/// Sets an attribute of a class of ours whose slot for `async for` stays what it is: called without a look at the attribute.
pub(crate) fn set_beside_slot(
    class: &Bound<'_, PyType>,
    name: &str,
    value: &Bound<'_, PyAny>,
) -> PyResult<()> {
    // SAFETY: a complete heap type of ours at import, before any other thread uses it.
    let table = unsafe { (*class.as_type_ptr()).tp_as_async };
    // SAFETY: NULL or the table of the type above.
    let slot = if table.is_null() { None } else { unsafe { (*table).am_anext } };
    class.setattr(name, value)?;
    if slot.is_some() {
        // SAFETY: as above, not NULL.
        unsafe { (*table).am_anext = slot };
    }
    Ok(())
}

unsafe extern "C" {
    /// A method bound to its object. Not in PyO3's bindings.
    fn PyMethod_New(function: *mut ffi::PyObject, object: *mut ffi::PyObject) -> *mut ffi::PyObject;
}
