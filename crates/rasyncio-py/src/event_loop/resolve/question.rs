//! What is asked, taken out of Python's objects.
//!
//! Only what is plain is taken: names and numbers that `socket.getaddrinfo()` hands to the C library as they are.
//! Whatever it may refuse, or treat in a way of its own in one version of Python, is left to itself (`None` here), so
//! that its answers and errors are the interpreter's own.

use std::ffi::{CStr, CString};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString, PyTuple};
use rasyncio_core::net::{
    self, NUMERIC_HOST, NUMERIC_SERVICE, PeerAddress, Question, ResolveError, ResolvedAddress,
};

use super::super::Loop;
use super::{ADDRESSES, answer, is_the_interpreters};
use crate::interop::stdlib;

/// `getaddrinfo(host, port, family, type, proto, flags)`.
pub(super) fn plain_question(arguments: &Bound<'_, PyTuple>) -> PyResult<Option<Question>> {
    let Some(host) = host_bytes(&arguments.get_item(0)?)? else {
        return Ok(None);
    };
    let Some(service) = service_bytes(&arguments.get_item(1)?) else {
        return Ok(None);
    };
    let mut numbers = [0; 4];
    for (index, number) in numbers.iter_mut().enumerate() {
        match arguments.get_item(index + 2)?.extract::<i32>() {
            Ok(value) => *number = value,
            Err(_) => return Ok(None),
        }
    }
    let [family, kind, protocol, flags] = numbers;
    let (host, service) = (host.map(c_string), service.map(c_string));
    Ok(Some(Question { host, service, family, kind, protocol, flags }))
}

/// The inner level is None for Python's None.
type Name = Option<Vec<u8>>;

fn host_bytes(host: &Bound<'_, PyAny>) -> PyResult<Option<Name>> {
    if let Ok(text) = host.cast::<PyString>() {
        return Ok(idna(text)?.map(Some));
    }
    if let Ok(bytes) = host.cast::<PyBytes>() {
        return Ok(Some(Some(bytes.as_bytes().to_vec())));
    }
    Ok(host.is_none().then_some(None))
}

fn service_bytes(port: &Bound<'_, PyAny>) -> Option<Name> {
    if let Ok(text) = port.cast::<PyString>() {
        return text.to_str().ok().map(|text| Some(text.as_bytes().to_vec()));
    }
    if let Ok(bytes) = port.cast::<PyBytes>() {
        return Some(Some(bytes.as_bytes().to_vec()));
    }
    // Classes derived from int are not taken by every version.
    if let Ok(number) = port.cast_exact::<PyInt>() {
        return number.extract::<i64>().ok().map(|number| Some(number.to_string().into_bytes()));
    }
    port.is_none().then_some(None)
}

/// The host as DNS spells it; None if it cannot be spelled.
fn idna(text: &Bound<'_, PyString>) -> PyResult<Option<Vec<u8>>> {
    let py = text.py();
    if let Ok(name) = text.to_str()
        && is_plain_ascii(name)
    {
        return Ok(Some(name.as_bytes().to_vec()));
    }
    let encode = py.get_type::<PyString>().getattr(intern!(py, "encode"))?;
    match encode.call1((text, intern!(py, "idna"))) {
        Ok(encoded) => Ok(Some(encoded.extract()?)),
        Err(_) => Ok(None),
    }
}

/// Whether the codec would give the same bytes: no other letters, and no label that is empty or too long.
fn is_plain_ascii(name: &str) -> bool {
    let labels = name.strip_suffix('.').unwrap_or(name);
    name.is_empty()
        || name.is_ascii() && labels.split('.').all(|label| !label.is_empty() && label.len() < LABEL_LIMIT)
}

/// The C library sees what is before the first zero.
fn c_string(mut bytes: Vec<u8>) -> CString {
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    CString::new(bytes).unwrap_or_default()
}

/// The answer to the question that is asked most, for the one address behind an IPv4 address and a port: no question is made of it at all.
pub(super) fn answer_of_literal<'py>(
    event_loop: &Bound<'py, Loop>,
    arguments: &Bound<'py, PyTuple>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = event_loop.py();
    let [host, port, family, kind, protocol, flags] = arguments.as_slice() else {
        return Ok(None);
    };
    let (Ok(name), Ok(_), Ok(0)) =
        (host.cast_exact::<PyString>(), port.cast_exact::<PyInt>(), flags.extract::<i32>())
    else {
        return Ok(None);
    };
    let numbers = (port.extract(), family.extract(), kind.extract(), protocol.extract());
    let (Ok(port_number), Ok(family), Ok(kind), Ok(protocol)) = numbers else {
        return Ok(None);
    };
    let found =
        net::answer_of_literal(name.to_str().unwrap_or_default(), port_number, family, kind, protocol);
    let Some(found) = found else {
        return Ok(None);
    };
    let own = event_loop.get();
    if own.is_debug(py) || own.check_usable().is_err() || !is_the_interpreters(py, ADDRESSES)? {
        return Ok(None);
    }
    let event = intern!(py, "socket.getaddrinfo");
    stdlib(py).audit.bind(py).call1((event, host, port, family, kind, protocol))?;
    answer::literal(py, &found, host, port).map(Some)
}

/// The answer to a question that needs neither files nor the network; None if it does.
///
/// Asked for numbers only, the C library gives the very list that it gives without that restriction.
pub(super) fn answer_at_once(question: &Question) -> Option<Result<Vec<ResolvedAddress>, ResolveError>> {
    let host = question.host.as_deref().map(CStr::to_bytes);
    let service = question.service.as_deref().map(CStr::to_bytes);
    let asks_for_number = question.flags & NUMERIC_HOST != 0;
    let host_is_numeric = host.is_none_or(|host| asks_for_number || is_address(host));
    if !host_is_numeric || !service.is_none_or(is_number) {
        return None;
    }
    let mut flags = question.flags;
    flags |= host.map_or(0, |_| NUMERIC_HOST);
    flags |= service.map_or(0, |_| NUMERIC_SERVICE);
    let answer = rasyncio_core::net::resolve(&Question { flags, ..question.clone() });
    // An error may mean that it is no number after all, unless a number was asked for.
    (answer.is_ok() || flags == question.flags).then_some(answer)
}

/// Whether the C library may take it for an address, in any of its notations.
fn is_address(host: &[u8]) -> bool {
    let address = host.split(|byte| *byte == b'%').next().unwrap_or_default();
    !address.is_empty() && address.iter().all(|byte| byte.is_ascii_hexdigit() || b".:xX".contains(byte))
}

fn is_number(service: &[u8]) -> bool {
    !service.is_empty() && service.iter().all(u8::is_ascii_digit)
}

/// The address that `getnameinfo()` was given: `(host, port)`, and for IPv6 perhaps flow information and scope.
pub(super) fn plain_address(address: &Bound<'_, PyAny>) -> PyResult<Option<PeerAddress>> {
    let py = address.py();
    let Ok(parts) = address.cast::<PyTuple>() else {
        return Ok(None);
    };
    if !(2..=4).contains(&parts.len()) {
        return Ok(None);
    }
    let Ok(host) = parts.get_item(0)?.extract::<String>() else {
        return Ok(None);
    };
    let Ok(port) = parts.get_item(1)?.extract::<i32>() else {
        return Ok(None);
    };
    let mut extra = [0_u32; 2];
    for (index, part) in parts.iter().skip(2).enumerate() {
        match part.extract() {
            Ok(number) => extra[index] = number,
            Err(_) => return Ok(None),
        }
    }
    let [flowinfo, scope_id] = extra;
    if host.contains('\0') || flowinfo > FLOW_LIMIT {
        return Ok(None);
    }
    let question = Question {
        host: Some(c_string(host.into_bytes())),
        service: Some(c_string(port.to_string().into_bytes())),
        kind: py.import(intern!(py, "socket"))?.getattr(intern!(py, "SOCK_DGRAM"))?.extract()?,
        flags: NUMERIC_HOST,
        ..Question::default()
    };
    let Ok(Ok([answer])) = rasyncio_core::net::resolve(&question).map(<[ResolvedAddress; 1]>::try_from)
    else {
        return Ok(None);
    };
    Ok(match answer.address {
        PeerAddress::Inet4 { .. } if parts.len() == 2 => Some(answer.address),
        PeerAddress::Inet6 { ip, port, .. } => Some(PeerAddress::Inet6 { ip, port, flowinfo, scope_id }),
        _ => None,
    })
}

/// A label of a name has at most 63 bytes.
const LABEL_LIMIT: usize = 64;

/// Flow information has 20 bits.
const FLOW_LIMIT: u32 = 0xfffff;
