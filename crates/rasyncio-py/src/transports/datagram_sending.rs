//! Datagrams on their way out: each is offered to the kernel at once, and waits in order if that has no room.
//!
//! Unlike the bytes of a stream they are not collected to the end of the turn: the error of a datagram is told in `sendto()` itself, as in asyncio,
//! and `sendmmsg` spares but a tenth to a quarter of what sending costs on the loopback device, which does the receiver's work too.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use pyo3::exceptions::{PyBufferError, PyOSError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyMemoryView, PyString, PyTuple};
use rasyncio_core::net::PeerAddress;
use rasyncio_core::reactor::Operation;

use super::datagram::{DatagramTransport, Outgoing};
use super::datagram_receiving::would_block;
use super::flow_control::Writer;
use super::life::{Life, SENDING_IN_VAIN, Transport, warn_of_vain_write};
use super::socket_info::Family;
use super::writing::is_bytes_like;
use crate::exceptions;

/// Why a datagram was not sent.
enum Refusal {
    /// There is no room now.
    WouldBlock,
    Failed(PyErr),
}

impl DatagramTransport {
    /// `sendto()`; `to` is None for the peer.
    pub(super) fn send_to(
        this: &Bound<'_, Self>,
        data: &Bound<'_, PyAny>,
        to: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        check_type(data)?;
        if IGNORES_EMPTY && data.len()? == 0 {
            return Ok(());
        }
        let to = own.check_address(to)?;
        if own
            .state
            .with(py, |state| state.life.is_lost() && (own.address.is_some() || state.endpoint.is_closed()))
        {
            if own.life(py, Life::count_vain_write) {
                warn_of_vain_write(py, SENDING_IN_VAIN)?;
            }
            return Ok(());
        }
        let data = match immutable(data) {
            Ok(data) => data,
            Err(error) => return Self::fatal_error(this, error, WRITE_ERROR),
        };
        if own.state.with(py, |state| state.unsent.is_empty()) {
            match own.attempt(&data, to) {
                Ok(()) => return Ok(()),
                Err(Refusal::WouldBlock) => Self::wait_for_room(this)?,
                Err(Refusal::Failed(error)) => return Self::send_failed(this, error),
            }
        }
        let datagram = Outgoing { data: data.unbind(), to: to.clone().unbind() };
        own.state.with(py, |state| {
            state.unsent_size += own.size(&datagram, py);
            state.unsent.push_back(datagram);
        });
        Self::maybe_pause_protocol(this)
    }

    /// Whom to send to. Where there is a fixed address, no other may be given.
    fn check_address<'a, 'py>(&'a self, to: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyAny>> {
        let py = to.py();
        let Some(address) = &self.address else {
            return Ok(to);
        };
        let address = address.bind(py);
        if to.is_none() || to.is(address) || to.eq(address)? {
            return Ok(address);
        }
        Err(PyValueError::new_err(format!("Invalid address: must be None or {}", address.str()?)))
    }

    /// The kernel has room again.
    pub(super) fn write_ready(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let own = this.get();
        let mut any_sent = false;
        while let Some(datagram) = own.take_unsent(py) {
            match own.attempt(datagram.data.bind(py), datagram.to.bind(py)) {
                Ok(()) => any_sent = true,
                Err(Refusal::WouldBlock) => {
                    own.state.with(py, |state| {
                        state.unsent_size += own.size(&datagram, py);
                        state.unsent.push_front(datagram);
                    });
                    if !any_sent {
                        return Self::leave_receiver_alone(this);
                    }
                    break;
                }
                // The rest is for the next turn.
                Err(Refusal::Failed(error)) => {
                    return Self::send_failed(this, error)
                        .or_else(|error| Self::report(this, CALLBACK_RAISED, error));
                }
            }
        }
        own.state.with(py, |state| state.next_pause = SHORTEST_PAUSE);
        // The protocol may send more, which may have to wait.
        Self::maybe_resume_protocol(this)?;
        let (is_done, closing) = own.state.with(py, |state| (state.unsent.is_empty(), state.life.closing));
        if is_done {
            Self::stop_waiting_for_room(this)?;
            if closing {
                return Self::lose(this, None);
            }
        }
        Ok(())
    }

    fn take_unsent(&self, py: Python<'_>) -> Option<Outgoing> {
        self.state.with(py, |state| {
            let datagram = state.unsent.pop_front()?;
            state.unsent_size -= self.size(&datagram, py);
            Some(datagram)
        })
    }

    fn size(&self, datagram: &Outgoing, py: Python<'_>) -> usize {
        datagram.data.as_bytes(py).len() + HEADER_SIZE
    }

    /// An error of the system's is news for the protocol; anything else ends the transport.
    fn send_failed(this: &Bound<'_, Self>, error: PyErr) -> PyResult<()> {
        if error.is_instance_of::<PyOSError>(this.py()) {
            return this.get().tell_error(this.py(), error);
        }
        Self::fatal_error(this, error, WRITE_ERROR)
    }

    fn wait_for_room(this: &Bound<'_, Self>) -> PyResult<()> {
        match Self::set_armed(this, Operation::Send, true)? {
            Ok(()) => Ok(()),
            Err(error) => Self::fatal_error(this, exceptions::os_error(&error), WRITE_ERROR),
        }
    }

    pub(super) fn stop_waiting_for_room(this: &Bound<'_, Self>) -> PyResult<()> {
        // Only arming can fail.
        Self::set_armed(this, Operation::Send, false).map(drop)
    }

    /// Our socket has room, but its receiver has none, and the kernel does not tell when that changes: of a Unix socket that is not connected it
    /// knows no receiver to watch. So that is asked again after a while, a longer one each time.
    fn leave_receiver_alone(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        Self::stop_waiting_for_room(this)?;
        let pause = this.get().state.with(py, |state| {
            let longer = (state.next_pause * 2.0).min(LONGEST_PAUSE);
            std::mem::replace(&mut state.next_pause, longer)
        });
        let ask_again = this.getattr(intern!(py, "_ask_again"))?;
        let event_loop = this.get().event_loop.bind(py);
        event_loop.call_method1(intern!(py, "call_later"), (pause, ask_again)).map(drop)
    }

    /// The end of such a pause.
    pub(super) fn ask_again(this: &Bound<'_, Self>) -> PyResult<()> {
        if this.get().state.with(this.py(), |state| state.unsent.is_empty()) {
            return Ok(());
        }
        Self::wait_for_room(this)
    }

    /// Offers a datagram to the kernel.
    fn attempt(&self, data: &Bound<'_, PyBytes>, to: &Bound<'_, PyAny>) -> Result<(), Refusal> {
        let py = data.py();
        self.event_loop.get().look_next_turn(py);
        let target = if self.has_peer { None } else { self.internet_address(to) };
        let token = self.life(py, |life| life.token);
        let usable = self.event_loop.get().check_usable().is_ok();
        let Some(token) = token.filter(|_| usable && (self.has_peer || target.is_some())) else {
            return self.send_through_python(data, to);
        };
        let sent = self
            .event_loop
            .get()
            .with_reactor(py, |reactor| reactor.send_datagram(token, data.as_bytes(), target.as_ref()))?;
        sent.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Refusal::WouldBlock,
            _ => Refusal::Failed(exceptions::os_error(&error)),
        })
    }

    /// For addresses that only Python's socket object understands, host names among them (looking these up blocks, as in asyncio).
    fn send_through_python(&self, data: &Bound<'_, PyBytes>, to: &Bound<'_, PyAny>) -> Result<(), Refusal> {
        let py = data.py();
        let Some(socket) = self.socket(py) else {
            return Ok(());
        };
        let sent = if self.has_peer {
            socket.call_method1(intern!(py, "send"), (data,))
        } else {
            socket.call_method1(intern!(py, "sendto"), (data, to))
        };
        match sent {
            Ok(_) => Ok(()),
            Err(error) if would_block(py, &error) => Err(Refusal::WouldBlock),
            Err(error) => Err(Refusal::Failed(error)),
        }
    }

    /// The address without asking anybody: that of the last sender, or a literal one of the socket's family.
    fn internet_address(&self, to: &Bound<'_, PyAny>) -> Option<SocketAddr> {
        let known = self.state.with(to.py(), |state| socket_address(state.senders.last(to)?));
        known.or_else(|| literal(self.family, to.cast_exact::<PyTuple>().ok()?))
    }
}

impl From<PyErr> for Refusal {
    fn from(error: PyErr) -> Self {
        Self::Failed(error)
    }
}

fn socket_address(address: &PeerAddress) -> Option<SocketAddr> {
    match *address {
        PeerAddress::Inet4 { ip, port } => Some(SocketAddrV4::new(ip, port).into()),
        PeerAddress::Inet6 { ip, port, flowinfo, scope_id } => {
            Some(SocketAddrV6::new(ip, port, flowinfo, scope_id).into())
        }
        PeerAddress::Unix { .. } | PeerAddress::Other { .. } => None,
    }
}

/// An address whose parts need no interpretation. Whatever is in doubt is for Python's socket object to take or to refuse.
fn literal(family: Family, address: &Bound<'_, PyTuple>) -> Option<SocketAddr> {
    let (host, port) = (address.get_item(0).ok()?, address.get_item(1).ok()?);
    let host = host.cast_exact::<PyString>().ok()?.to_str().ok()?;
    let port = port.cast_exact::<PyInt>().ok()?.extract().ok()?;
    match family {
        Family::Inet4 if address.len() == 2 => {
            Some(SocketAddrV4::new(host.parse::<Ipv4Addr>().ok()?, port).into())
        }
        Family::Inet6 if address.len() <= 4 => {
            let number = |index: usize| {
                let Ok(number) = address.get_item(index) else {
                    return Some(0);
                };
                number.cast_exact::<PyInt>().ok()?.extract::<u32>().ok()
            };
            let flow = number(2).filter(|flow| *flow <= LARGEST_FLOW)?;
            Some(SocketAddrV6::new(host.parse::<Ipv6Addr>().ok()?, port, flow, number(3)?).into())
        }
        _ => None,
    }
}

fn check_type(data: &Bound<'_, PyAny>) -> PyResult<()> {
    if is_bytes_like(data) {
        return Ok(());
    }
    let name = data.get_type().name()?.repr()?;
    Err(PyTypeError::new_err(format!("data argument must be a bytes-like object, not {name}")))
}

/// The bytes of a datagram, safe from later changes.
fn immutable<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = data.py();
    if let Ok(bytes) = data.cast_exact::<PyBytes>() {
        return Ok(bytes.clone());
    }
    if let Ok(view) = data.cast::<PyMemoryView>()
        && !view.getattr(intern!(py, "c_contiguous"))?.is_truthy()?
    {
        return Err(PyBufferError::new_err("memoryview: underlying buffer is not C-contiguous"));
    }
    Ok(py.get_type::<PyBytes>().call1((data,))?.cast_into()?)
}

/// The flow information of IPv6 has 20 bits.
const LARGEST_FLOW: u32 = 0xf_ffff;

const WRITE_ERROR: &str = "Fatal write error on datagram transport";

/// Until 3.12 an empty datagram is not sent.
const IGNORES_EMPTY: bool = cfg!(not(Py_3_13));

/// What each datagram that waits counts beside its data: since 3.13 asyncio's `_header_size`, so that empty ones fill the buffer too.
const HEADER_SIZE: usize = if cfg!(Py_3_13) { 8 } else { 0 };

/// Seconds. A receiver that is at work has room again in a fraction of a millisecond; one that is stuck is asked 20 times a second.
pub(super) const SHORTEST_PAUSE: f64 = 0.0001;
const LONGEST_PAUSE: f64 = 0.05;

/// asyncio's words for its handle's callback.
const CALLBACK_RAISED: &str = "Exception in callback _SelectorDatagramTransport._sendto_ready()";
