//! What the resolver said, as Python's `socket` module says it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use rasyncio_core::net::{Names, ResolveError, ResolvedAddress};

use crate::exceptions::os_error;
use crate::interop::stdlib;
use crate::transports::socket_info::address_to_python;

/// The list of `socket.getaddrinfo()`.
pub(super) fn addresses(
    py: Python<'_>,
    answer: Result<Vec<ResolvedAddress>, ResolveError>,
) -> PyResult<Py<PyAny>> {
    let entries = answer.map_err(|error| failure(py, error))?;
    let entries = entries.iter().map(|entry| address_info(py, entry)).collect::<PyResult<Vec<_>>>()?;
    Ok(PyList::new(py, entries)?.into_any().unbind())
}

fn address_info<'py>(py: Python<'py>, entry: &ResolvedAddress) -> PyResult<Bound<'py, PyAny>> {
    let library = &stdlib(py).resolver;
    let family = enumerated(library.address_families.bind(py), entry.family)?;
    let kind = enumerated(library.socket_kinds.bind(py), entry.kind)?;
    let name = PyString::from_bytes(py, entry.canonical_name.as_deref().unwrap_or_default())?;
    let address = address_to_python(py, &entry.address)?;
    Ok((family, kind, entry.protocol, name, address).into_pyobject(py)?.into_any())
}

/// The list with the one answer for an address that was given as such.
pub(super) fn literal<'py>(
    py: Python<'py>,
    found: &ResolvedAddress,
    host: &Bound<'py, PyAny>,
    port: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let library = &stdlib(py).resolver;
    let family = enumerated(library.address_families.bind(py), found.family)?;
    let kind = enumerated(library.socket_kinds.bind(py), found.kind)?;
    let protocol = found.protocol.into_pyobject(py)?.into_any();
    let address = PyTuple::new(py, [host, port])?.into_any();
    let entry = PyTuple::new(py, [family, kind, protocol, intern!(py, "").clone().into_any(), address])?;
    Ok(PyList::new(py, [entry])?.into_any())
}

/// The member of an enumeration, or the number itself if there is none.
fn enumerated<'py>(members: &Bound<'py, PyDict>, value: i32) -> PyResult<Bound<'py, PyAny>> {
    let value = value.into_pyobject(members.py())?;
    Ok(members.get_item(&value)?.unwrap_or_else(|| value.into_any()))
}

/// The pair of `socket.getnameinfo()`.
pub(super) fn names(py: Python<'_>, answer: Result<Names, ResolveError>) -> PyResult<Py<PyAny>> {
    let (host, service) = answer.map_err(|error| failure(py, error))?;
    let service = PyString::from_bytes(py, &service)?;
    Ok((OsStr::from_bytes(&host), service).into_pyobject(py)?.into_any().unbind())
}

fn failure(py: Python<'_>, error: ResolveError) -> PyErr {
    match error {
        ResolveError::System(error) => os_error(&error),
        ResolveError::Resolver { code, text } => {
            let text = String::from_utf8_lossy(&text).into_owned();
            PyErr::from_value(match stdlib(py).resolver.gaierror.bind(py).call1((code, text)) {
                Ok(exception) => exception,
                Err(error) => return error,
            })
        }
    }
}
