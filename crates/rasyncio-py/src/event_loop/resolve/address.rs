//! Addresses as users write them, and the addresses behind them (asyncio: `base_events.py _ensure_resolved`).

use std::net::{Ipv4Addr, Ipv6Addr};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBytes, PyInt, PySlice, PyString, PyTuple};

use super::super::Loop;
use crate::coroutines::wait_for;
use crate::tasks::gather;

/// One answer of `getaddrinfo()`.
pub(in super::super) struct AddressInfo {
    pub(in super::super) family: i32,
    pub(in super::super) kind: i32,
    pub(in super::super) protocol: i32,
    pub(in super::super) address: Py<PyAny>,
}

/// What to ask `getaddrinfo()` for.
pub(in super::super) struct Hints {
    pub(in super::super) family: Py<PyAny>,
    pub(in super::super) kind: Py<PyAny>,
    pub(in super::super) protocol: Py<PyAny>,
    pub(in super::super) flags: Py<PyAny>,
}

impl Hints {
    /// For stream sockets, with what the user gave; None stands for 0.
    pub(in super::super) fn stream(
        py: Python<'_>,
        family: Option<Py<PyAny>>,
        protocol: Option<Py<PyAny>>,
        flags: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        Self::of_kind(py, intern!(py, "SOCK_STREAM"), family, protocol, flags)
    }

    /// The same for sockets of datagrams.
    pub(in super::super) fn datagram(
        py: Python<'_>,
        family: Option<Py<PyAny>>,
        protocol: Option<Py<PyAny>>,
        flags: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        Self::of_kind(py, intern!(py, "SOCK_DGRAM"), family, protocol, flags)
    }

    fn of_kind(
        py: Python<'_>,
        kind: &Bound<'_, PyString>,
        family: Option<Py<PyAny>>,
        protocol: Option<Py<PyAny>>,
        flags: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let zero = 0_i32.into_pyobject(py)?.into_any().unbind();
        let or_zero = |given: Option<Py<PyAny>>| given.unwrap_or_else(|| zero.clone_ref(py));
        Ok(Self {
            family: or_zero(family),
            kind: py.import(intern!(py, "socket"))?.getattr(kind)?.unbind(),
            protocol: or_zero(protocol),
            flags: or_zero(flags),
        })
    }
}

/// The addresses behind `address`, a tuple that begins with host and port. An IP address needs no resolving.
pub(in super::super) async fn ensure_resolved(
    event_loop: &Py<Loop>,
    address: &Py<PyAny>,
    hints: &Hints,
) -> PyResult<Vec<AddressInfo>> {
    match Python::attach(|py| Resolving::begin(event_loop.bind(py), address.bind(py), hints))? {
        Resolving::Done(info) => Ok(vec![info]),
        Resolving::Pending(pending) => {
            let answer = wait_for(pending).await?;
            Python::attach(|py| parse_all(answer.bind(py)))
        }
    }
}

/// `ensure_resolved` of several addresses at the same time; their answers in their order.
pub(in super::super) async fn ensure_all_resolved(
    event_loop: &Py<Loop>,
    addresses: &[Py<PyAny>],
    hints: &Hints,
) -> PyResult<Vec<Vec<AddressInfo>>> {
    if let [address] = addresses {
        return Ok(vec![ensure_resolved(event_loop, address, hints).await?]);
    }
    let (begun, gathered) = Python::attach(|py| {
        let event_loop = event_loop.bind(py);
        let resolve = |address: &Py<PyAny>| Resolving::begin(event_loop, address.bind(py), hints);
        let begun = addresses.iter().map(resolve).collect::<PyResult<Vec<_>>>()?;
        let pending = begun.iter().filter_map(|one| match one {
            Resolving::Pending(pending) => Some(pending.bind(py).clone().into_any()),
            Resolving::Done(_) => None,
        });
        let pending: Vec<_> = pending.collect();
        let gathered = gather(py, pending.iter(), false)?;
        Ok::<_, PyErr>((begun, gathered.unbind()))
    })?;
    let answers = wait_for(gathered).await?;
    Python::attach(|py| {
        let mut answers = answers.bind(py).try_iter()?;
        let mut next = || answers.next().unwrap_or_else(|| Ok(PyTuple::empty(py).into_any()));
        let finish = |one| match one {
            Resolving::Done(info) => Ok(vec![info]),
            Resolving::Pending(_) => parse_all(&next()?),
        };
        begun.into_iter().map(finish).collect()
    })
}

/// An address that is an IP address already, or what to await.
enum Resolving {
    Done(AddressInfo),
    Pending(Py<PyAny>),
}

impl Resolving {
    fn begin(event_loop: &Bound<'_, Loop>, address: &Bound<'_, PyAny>, hints: &Hints) -> PyResult<Self> {
        let py = event_loop.py();
        let parts = AddressParts::take(address)?;
        if let Some(info) = parts.as_resolved(py, hints)? {
            return Ok(Self::Done(info));
        }
        let keywords = [
            ("family", &hints.family),
            ("type", &hints.kind),
            ("proto", &hints.protocol),
            ("flags", &hints.flags),
        ];
        let keywords = keywords.into_py_dict(py)?;
        let question = (parts.host, parts.port);
        // As a method of the object: programs replace it.
        let pending = event_loop.call_method(intern!(py, "getaddrinfo"), question, Some(&keywords))?;
        Ok(Self::Pending(pending.unbind()))
    }
}

fn parse_all(answer: &Bound<'_, PyAny>) -> PyResult<Vec<AddressInfo>> {
    if !answer.is_truthy()? {
        // asyncio: a patched `getaddrinfo()` may answer None, which is no address either.
        return Ok(Vec::new());
    }
    answer.try_iter()?.map(|entry| parse(&entry?)).collect()
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
