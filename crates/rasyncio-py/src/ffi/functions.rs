//! Functions that take their arguments as the interpreter has them, as `methods` does for methods.
//!
//! Two forms: a built-in function, and a field that makes the objects of a class callable the same way (the vectorcall protocol).

use std::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::{PyString, PyTuple};
use pyo3::{PyClass, ffi};

use super::call::attached;
use super::methods::{Arguments, answer_call};

/// One such function.
pub(crate) trait Function {
    const NAME: &'static CStr;
    /// Signature and description, in the form `name(...)\n--\n\ntext`.
    const DOCUMENTATION: &'static CStr;

    /// PyO3 is not told that the thread is attached, as for the methods of `Light`.
    const IS_LIGHT: bool = false;

    fn call<'py>(py: Python<'py>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>>;
}

/// Adds a built-in function to the module.
pub(crate) fn add<F: Function>(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    // The interpreter keeps the address of the definition for as long as the function lives: for ever.
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: F::NAME.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: builtin_trampoline::<F> },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: F::DOCUMENTATION.as_ptr(),
    }));
    let name = module.name()?;
    // SAFETY: a definition that is never freed, and a live string.
    let function = unsafe { ffi::PyCFunction_NewEx(definition, std::ptr::null_mut(), name.as_ptr()) };
    // SAFETY: the call gives a new reference or NULL with an exception set.
    let function = unsafe { Bound::from_owned_ptr_or_err(py, function) }?;
    module.add(F::NAME.to_string_lossy().as_ref(), function)
}

/// A field by which the interpreter calls an object of a class that `install_vectorcall` was told of.
pub(crate) struct Vectorcall {
    /// Read by the interpreter, at the offset that the class says.
    function: ffi::vectorcallfunc,
}

impl Vectorcall {
    /// Calls `F`.
    pub(crate) fn of<F: Function>() -> Self {
        Self { function: vectorcall_trampoline::<F> }
    }

    /// Calls what the object stands for.
    pub(super) fn through(function: ffi::vectorcallfunc) -> Self {
        Self { function }
    }
}

/// Makes the objects of `T`'s class callable through their field, which `field` gives; `example` is any of them.
pub(crate) fn install_vectorcall<T: PyClass<Frozen = True> + Sync>(
    example: &Bound<'_, T>,
    field: impl Fn(&T) -> &Vectorcall,
) {
    let place = std::ptr::from_ref(&field(example.get()).function);
    let offset = place.addr() - example.as_ptr().addr();
    let class = T::type_object_raw(example.py());
    // SAFETY: a complete heap type of ours at import, before any other thread uses it.
    unsafe { (*class).tp_vectorcall_offset = offset.cast_signed() };
    // SAFETY: as above.
    unsafe { (*class).tp_call = Some(ffi::PyVectorcall_Call) };
    let flags = ffi::Py_TPFLAGS_HAVE_VECTORCALL | ffi::Py_TPFLAGS_METHOD_DESCRIPTOR;
    // SAFETY: as above.
    unsafe { (*class).tp_flags |= flags };
    // SAFETY: as above; drops the attribute caches that may know the old slots.
    unsafe { ffi::PyType_Modified(class) };
}

/// What a function of these takes.
pub(crate) struct Parameters<const N: usize> {
    pub(crate) function: &'static str,
    /// Those that may be given by position, then those by keyword only.
    pub(crate) names: [&'static str; N],
    pub(crate) positional: usize,
    /// How many of the positional ones have no default.
    pub(crate) required: usize,
}

/// The value for each parameter, where one was given.
type Values<'a, 'py, const N: usize> = [Option<&'a Bound<'py, PyAny>>; N];

impl<'py> Arguments<'_, 'py> {
    /// The value for each parameter, or TypeError as Python words it for a function of its own.
    #[inline]
    pub(crate) fn bind<const N: usize>(&self, parameters: &Parameters<N>) -> PyResult<Values<'_, 'py, N>> {
        if self.positional > parameters.positional {
            return Err(too_many(parameters, self.positional));
        }
        self.bind_leading(parameters)
    }

    /// `bind` for a function with `*args`, which are left where they are.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "with the parameters known it is next to nothing")]
    pub(crate) fn bind_leading<const N: usize>(
        &self,
        parameters: &Parameters<N>,
    ) -> PyResult<Values<'_, 'py, N>> {
        let mut bound = [None; N];
        let given = self.positional.min(parameters.positional);
        for (index, place) in bound.iter_mut().enumerate().take(given) {
            *place = Some(self.value(index));
        }
        if let Some(names) = self.names {
            self.bind_named(parameters, names, &mut bound)?;
        }
        if bound.iter().take(parameters.required).any(Option::is_none) {
            return Err(missing(parameters, &bound));
        }
        Ok(bound)
    }

    #[inline(never)]
    fn bind_named<'a, const N: usize>(
        &'a self,
        parameters: &Parameters<N>,
        names: &Bound<'py, PyTuple>,
        bound: &mut Values<'a, 'py, N>,
    ) -> PyResult<()> {
        for (index, name) in names.iter().enumerate() {
            let name = name.cast_into::<PyString>()?;
            let name = name.to_str()?;
            let known = parameters.names.iter().position(|candidate| *candidate == name);
            let place = known.and_then(|known| bound.get_mut(known));
            match place {
                Some(place @ None) => *place = Some(self.value(self.positional + index)),
                Some(Some(_)) => return Err(wrong(parameters, "multiple values for", name)),
                None => return Err(wrong(parameters, "an unexpected keyword", name)),
            }
        }
        Ok(())
    }
}

/// The value of a required parameter: `bind` has seen that it is there.
#[inline]
pub(crate) fn given<'a, 'py>(value: Option<&'a Bound<'py, PyAny>>) -> PyResult<&'a Bound<'py, PyAny>> {
    value.ok_or_else(|| PyTypeError::new_err("a required argument is missing"))
}

#[cold]
fn wrong<const N: usize>(parameters: &Parameters<N>, what: &str, name: &str) -> PyErr {
    PyTypeError::new_err(format!("{}() got {what} argument '{name}'", parameters.function))
}

#[cold]
fn too_many<const N: usize>(parameters: &Parameters<N>, given: usize) -> PyErr {
    let Parameters { function, positional, required, .. } = parameters;
    // Python counts `self` of a method, whose name is that of its class and its own.
    let own = usize::from(function.contains('.'));
    let (positional, required, given) = (positional + own, required + own, given + own);
    let takes = if positional == required {
        positional.to_string()
    } else {
        format!("from {required} to {positional}")
    };
    let plural = if positional == 1 && required == positional { "" } else { "s" };
    let were = if given == 1 { "was" } else { "were" };
    PyTypeError::new_err(format!(
        "{function}() takes {takes} positional argument{plural} but {given} {were} given"
    ))
}

#[cold]
fn missing<const N: usize>(parameters: &Parameters<N>, bound: &Values<'_, '_, N>) -> PyErr {
    let required = parameters.names.iter().zip(bound).take(parameters.required);
    let names: Vec<_> =
        required.filter(|(_, value)| value.is_none()).map(|(name, _)| format!("'{name}'")).collect();
    let plural = if names.len() == 1 { "" } else { "s" };
    PyTypeError::new_err(format!(
        "{}() missing {} required positional argument{plural}: {}",
        parameters.function,
        names.len(),
        names.join(" and ")
    ))
}

fn call<'py, F: Function>(arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    if F::IS_LIGHT {
        F::call(arguments.py, arguments)
    } else {
        attached(arguments.py, || F::call(arguments.py, arguments))
    }
}

unsafe extern "C" fn builtin_trampoline<F: Function>(
    _module: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter passes `count` positional arguments and one value for each name.
    unsafe { answer_call(arguments, count.unsigned_abs(), names, call::<F>) }
}

unsafe extern "C" fn vectorcall_trampoline<F: Function>(
    _callable: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as above; `count` may carry a flag, which is masked out.
    unsafe { answer_call(arguments, count & !ffi::PY_VECTORCALL_ARGUMENTS_OFFSET, names, call::<F>) }
}
