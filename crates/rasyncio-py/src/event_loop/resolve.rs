//! Names and addresses: `getaddrinfo()`, `getnameinfo()` and what connections need of them (asyncio: `base_events.py`).
//!
//! libc's resolver blocks, so it is asked in the default executor, except for what it can answer without the network.

use std::net::{Ipv4Addr, Ipv6Addr};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PySlice, PyString, PyTuple};

use super::Loop;
use crate::coroutines::{Coroutine, wait_for};
use crate::interop::stdlib;

/// One answer of `getaddrinfo()`.
pub(super) struct AddressInfo {
    pub(super) family: i32,
    pub(super) kind: i32,
    pub(super) protocol: i32,
    pub(super) address: Py<PyAny>,
}

/// What to ask `getaddrinfo()` for.
pub(super) struct Hints {
    pub(super) family: Py<PyAny>,
    pub(super) kind: Py<PyAny>,
    pub(super) protocol: Py<PyAny>,
    pub(super) flags: Py<PyAny>,
}

impl Hints {
    /// For stream sockets, with what the user gave; None stands for 0.
    pub(super) fn stream(
        py: Python<'_>,
        family: Option<Py<PyAny>>,
        protocol: Option<Py<PyAny>>,
        flags: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let zero = 0_i32.into_pyobject(py)?.into_any().unbind();
        let or_zero = |given: Option<Py<PyAny>>| given.unwrap_or_else(|| zero.clone_ref(py));
        Ok(Self {
            family: or_zero(family),
            kind: py.import(intern!(py, "socket"))?.getattr(intern!(py, "SOCK_STREAM"))?.unbind(),
            protocol: or_zero(protocol),
            flags: or_zero(flags),
        })
    }
}

#[pymethods]
impl Loop {
    /// `socket.getaddrinfo()` without blocking the loop.
    #[pyo3(
        signature = (host, port, *, family = None, r#type = None, proto = None, flags = None),
        text_signature = "($self, host, port, *, family=0, type=0, proto=0, flags=0)",
    )]
    fn getaddrinfo<'py>(
        this: &Bound<'py, Self>,
        host: Bound<'py, PyAny>,
        port: Bound<'py, PyAny>,
        family: Option<Bound<'py, PyAny>>,
        r#type: Option<Bound<'py, PyAny>>,
        proto: Option<Bound<'py, PyAny>>,
        flags: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let py = this.py();
        let zero = 0_i32.into_pyobject(py)?.into_any();
        let or_zero = |given: Option<Bound<'py, PyAny>>| given.unwrap_or_else(|| zero.clone());
        let question = [host, port, or_zero(family), or_zero(r#type), or_zero(proto), or_zero(flags)];
        let question = PyTuple::new(py, question)?.unbind();
        let event_loop = this.clone().unbind();
        Coroutine::make(py, "EventLoop.getaddrinfo", async move {
            match Python::attach(|py| ask(event_loop.bind(py), question.bind(py)))? {
                Asked::Answered(answer) => Ok(answer),
                Asked::Executor(future) => wait_for(future).await,
            }
        })
    }

    /// `socket.getnameinfo()` without blocking the loop.
    #[pyo3(signature = (sockaddr, flags = 0))]
    fn getnameinfo<'py>(
        this: &Bound<'py, Self>,
        sockaddr: Py<PyAny>,
        flags: i32,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let event_loop = this.clone().unbind();
        Coroutine::make(this.py(), "EventLoop.getnameinfo", async move {
            let future = Python::attach(|py| {
                let function = py.import(intern!(py, "socket"))?.getattr(intern!(py, "getnameinfo"))?;
                let arguments = (py.None(), function, sockaddr, flags);
                let run = intern!(py, "run_in_executor");
                Ok::<_, PyErr>(event_loop.bind(py).call_method1(run, arguments)?.unbind())
            })?;
            wait_for(future).await
        })
    }

    /// What debug mode calls instead of `socket.getaddrinfo()`: tells the log of the question and of a slow answer.
    #[pyo3(signature = (*question))]
    fn _getaddrinfo_debug<'py>(
        this: &Bound<'py, Self>,
        question: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let logger = stdlib(py).logger.bind(py);
        let text = describe(question)?;
        logger.call_method1(intern!(py, "debug"), ("Get address info %s", &text))?;
        let begun = Self::now(this)?;
        let answer =
            py.import(intern!(py, "socket"))?.call_method1(intern!(py, "getaddrinfo"), question.clone())?;
        let seconds = Self::now(this)? - begun;
        let report = format!("Getting address info {text} took {:.3}ms: {}", seconds * 1e3, answer.repr()?);
        let slow: f64 = this.getattr(intern!(py, "slow_callback_duration"))?.extract()?;
        let level = if seconds >= slow { "info" } else { "debug" };
        logger.call_method1(level, ("%s", report))?;
        Ok(answer)
    }
}

enum Asked {
    Answered(Py<PyAny>),
    Executor(Py<PyAny>),
}

/// Asks `getaddrinfo(*question)`: here if that cannot block, else in the executor.
fn ask(event_loop: &Bound<'_, Loop>, question: &Bound<'_, PyTuple>) -> PyResult<Asked> {
    let py = event_loop.py();
    let debug = event_loop.get().is_debug(py);
    if !debug && let Some(answer) = answer_numeric(question)? {
        return Ok(Asked::Answered(answer.unbind()));
    }
    let function = if debug {
        event_loop.getattr(intern!(py, "_getaddrinfo_debug"))?
    } else {
        py.import(intern!(py, "socket"))?.getattr(intern!(py, "getaddrinfo"))?
    };
    let mut arguments = vec![py.None().into_bound(py), function];
    arguments.extend(question.iter());
    let run = intern!(py, "run_in_executor");
    Ok(Asked::Executor(event_loop.call_method1(run, PyTuple::new(py, arguments)?)?.unbind()))
}

/// libc's answer for a host and port that are numbers, which needs neither files nor the network; None if they are not, or if it is an error.
///
/// Asking libc itself with AI_NUMERICHOST and AI_NUMERICSERV gives the very list that it gives without them.
fn answer_numeric<'py>(question: &Bound<'py, PyTuple>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = question.py();
    let socket = py.import(intern!(py, "socket"))?;
    let function = socket.getattr(intern!(py, "getaddrinfo"))?;
    // A program that puts its own function in place of the resolver is asked in the executor, with what the user said.
    if !function.is(&stdlib(py).getaddrinfo)
        || !is_numeric_host(&question.get_item(0)?)
        || !is_numeric_port(&question.get_item(1)?)
    {
        return Ok(None);
    }
    let Ok(flags) = question.get_item(5)?.extract::<i32>() else {
        return Ok(None);
    };
    let numeric: i32 = socket.getattr(intern!(py, "AI_NUMERICHOST"))?.extract()?;
    let numeric_port: i32 = socket.getattr(intern!(py, "AI_NUMERICSERV"))?.extract()?;
    let mut arguments: Vec<_> = question.iter().take(5).collect();
    arguments.push((flags | numeric | numeric_port).into_pyobject(py)?.into_any());
    Ok(function.call1(PyTuple::new(py, arguments)?).ok())
}

/// Whether libc may take `host` for a number: None, or what looks like an address in any of its notations.
fn is_numeric_host(host: &Bound<'_, PyAny>) -> bool {
    let numeric = |bytes: &[u8]| {
        let address = bytes.split(|byte| *byte == b'%').next().unwrap_or_default();
        !address.is_empty() && address.iter().all(|byte| byte.is_ascii_hexdigit() || b".:xX".contains(byte))
    };
    if let Ok(text) = host.cast::<PyString>() {
        return text.to_str().is_ok_and(|text| numeric(text.as_bytes()));
    }
    if let Ok(bytes) = host.cast::<PyBytes>() {
        return numeric(bytes.as_bytes());
    }
    host.is_none()
}

fn is_numeric_port(port: &Bound<'_, PyAny>) -> bool {
    let digits = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    if let Ok(text) = port.cast::<PyString>() {
        return text.to_str().is_ok_and(|text| digits(text.as_bytes()));
    }
    if let Ok(bytes) = port.cast::<PyBytes>() {
        return digits(bytes.as_bytes());
    }
    port.is_none() || port.is_instance_of::<PyInt>()
}

/// The question as asyncio's log shows it.
fn describe(question: &Bound<'_, PyTuple>) -> PyResult<String> {
    let (host, port) = (question.get_item(0)?, question.get_item(1)?);
    let mut parts = vec![format!("{}:{}", host.str()?, port.repr()?)];
    for (index, name) in [(2, "family"), (3, "type"), (4, "proto"), (5, "flags")] {
        let value = question.get_item(index)?;
        if value.is_truthy()? {
            parts.push(format!("{name}={}", value.repr()?));
        }
    }
    Ok(parts.join(", "))
}

/// The addresses behind `address`, a tuple that begins with host and port. An IP address needs no resolving.
pub(super) async fn ensure_resolved(
    event_loop: &Py<Loop>,
    address: &Py<PyAny>,
    hints: &Hints,
) -> PyResult<Vec<AddressInfo>> {
    let begun = Python::attach(|py| {
        let parts = AddressParts::take(address.bind(py))?;
        if let Some(info) = parts.as_resolved(py, hints)? {
            return Ok::<_, PyErr>(Begun::Resolved(info));
        }
        let keywords = [
            ("family", &hints.family),
            ("type", &hints.kind),
            ("proto", &hints.protocol),
            ("flags", &hints.flags),
        ];
        let keywords = pyo3::types::IntoPyDict::into_py_dict(keywords, py)?;
        let question = (parts.host, parts.port);
        let pending =
            event_loop.bind(py).call_method(intern!(py, "getaddrinfo"), question, Some(&keywords))?;
        Ok(Begun::Pending(pending.unbind()))
    })?;
    match begun {
        Begun::Resolved(info) => Ok(vec![info]),
        Begun::Pending(pending) => {
            let answer = wait_for(pending).await?;
            Python::attach(|py| {
                let answer = answer.bind(py);
                if !answer.is_truthy()? {
                    // asyncio: a patched `getaddrinfo()` may answer None, which is no address either.
                    return Ok(Vec::new());
                }
                answer.try_iter()?.map(|entry| parse(&entry?)).collect()
            })
        }
    }
}

enum Begun {
    Resolved(AddressInfo),
    Pending(Py<PyAny>),
}

/// One entry of what `getaddrinfo()` gave: family, type, protocol, canonical name, address.
fn parse(entry: &Bound<'_, PyAny>) -> PyResult<AddressInfo> {
    let (family, kind, protocol, _, address): (i32, i32, i32, Bound<'_, PyAny>, Py<PyAny>) =
        entry.extract()?;
    Ok(AddressInfo { family, kind, protocol, address })
}

/// An address as the user writes it.
struct AddressParts<'py> {
    host: Bound<'py, PyAny>,
    port: Bound<'py, PyAny>,
    /// Flow information and scope of an IPv6 address, as far as given.
    rest: Vec<Bound<'py, PyAny>>,
}

impl<'py> AddressParts<'py> {
    fn take(address: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = address.py();
        // A slice, so that what is no sequence raises what asyncio raises.
        let parts = address.get_item(PySlice::full(py))?;
        let mut parts = parts.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        if parts.len() < 2 {
            let text = format!("not enough values to unpack (expected 2, got {})", parts.len());
            return Err(PyValueError::new_err(text));
        }
        if parts.len() > 4 {
            let text = format!("an address has at most 4 parts, not {}", parts.len());
            return Err(PyTypeError::new_err(text));
        }
        let rest = parts.split_off(2);
        let port = parts.swap_remove(1);
        Ok(Self { host: parts.swap_remove(0), port, rest })
    }

    /// The address without asking anybody, if the host is an IP address and the port a number.
    fn as_resolved(&self, py: Python<'py>, hints: &Hints) -> PyResult<Option<AddressInfo>> {
        let names = SocketNames::take(py)?;
        let family: i32 = hints.family.bind(py).extract()?;
        let kind: i32 = hints.kind.bind(py).extract()?;
        let asked: i32 = hints.protocol.bind(py).extract()?;
        let protocol = match kind {
            kind if kind == names.stream => names.tcp,
            kind if kind == names.datagram => names.udp,
            _ => return Ok(None),
        };
        if ![0, names.tcp, names.udp].contains(&asked) {
            return Ok(None);
        }
        let Some(host) = host_text(&self.host)? else {
            return Ok(None);
        };
        let Some(port) = port_number(&self.port)? else {
            return Ok(None);
        };
        let text = host.to_str()?;
        let any = family == 0;
        if (any || family == names.inet) && text.parse::<Ipv4Addr>().is_ok() {
            let address = (host, port).into_pyobject(py)?.into_any().unbind();
            return Ok(Some(AddressInfo { family: names.inet, kind, protocol, address }));
        }
        if (any || family == names.inet6) && text.parse::<Ipv6Addr>().is_ok() {
            let address = self.inet6_address(&host, &port)?;
            return Ok(Some(AddressInfo { family: names.inet6, kind, protocol, address }));
        }
        Ok(None)
    }

    fn inet6_address(&self, host: &Bound<'py, PyString>, port: &Bound<'py, PyAny>) -> PyResult<Py<PyAny>> {
        let py = port.py();
        let zero = 0_i32.into_pyobject(py)?.into_any();
        let extra = |index: usize| self.rest.get(index).unwrap_or(&zero);
        Ok((host, port, extra(0), extra(1)).into_pyobject(py)?.into_any().unbind())
    }
}

/// The host as text; None when it is none, and for anything that `getaddrinfo()` is to refuse.
fn host_text<'py>(host: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyString>>> {
    let py = host.py();
    if host.is_instance_of::<PyBytes>() {
        let decoded = host.call_method1(intern!(py, "decode"), (intern!(py, "idna"),))?;
        return Ok(Some(decoded.cast_into::<PyString>()?));
    }
    Ok(host.cast::<PyString>().ok().cloned())
}

/// The port as a number, 0 for none; None for the name of a service.
fn port_number<'py>(port: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = port.py();
    let is_text = port.is_instance_of::<PyString>() || port.is_instance_of::<PyBytes>();
    if port.is_none() || (is_text && port.len()? == 0) {
        return Ok(Some(0_i32.into_pyobject(py)?.into_any()));
    }
    match py.get_type::<PyInt>().call1((port,)) {
        Ok(number) => Ok(Some(number)),
        Err(error) if error.is_instance_of::<PyTypeError>(py) || error.is_instance_of::<PyValueError>(py) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Numbers of this platform, as Python's socket module has them.
struct SocketNames {
    inet: i32,
    inet6: i32,
    stream: i32,
    datagram: i32,
    tcp: i32,
    udp: i32,
}

impl SocketNames {
    fn take(py: Python<'_>) -> PyResult<Self> {
        let socket = py.import(intern!(py, "socket"))?;
        let number = |name: &str| socket.getattr(name)?.extract::<i32>();
        Ok(Self {
            inet: number("AF_INET")?,
            inet6: number("AF_INET6")?,
            stream: number("SOCK_STREAM")?,
            datagram: number("SOCK_DGRAM")?,
            tcp: number("IPPROTO_TCP")?,
            udp: number("IPPROTO_UDP")?,
        })
    }
}
