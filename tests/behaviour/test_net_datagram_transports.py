"""The transport of datagrams as an object: what it is, tells, shows, and how it ends."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import re
import socket
import sys
import weakref
from asyncio.trsock import TransportSocket
from pathlib import Path
from typing import Any

import pytest
from datagram_peers import Datagrams, ended, endpoint, needs_right_sizes, udp, unix
from net_peers import kernel_asked, open_sockets, soon, until


def test_it_is_a_transport_as_asyncios_is(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, protocol = await endpoint()
        assert isinstance(transport, asyncio.Transport)
        assert isinstance(transport, asyncio.DatagramTransport) == (sys.version_info >= (3, 12))
        assert transport.__class__.__name__ == "_SelectorDatagramTransport"
        await ended(transport, protocol)

    run(main())


def test_it_tells_of_its_socket(loop: Any, run: Any) -> None:
    async def main() -> None:
        sock = udp()
        transport, protocol = await endpoint(sock=sock)
        shown = transport.get_extra_info("socket")
        assert isinstance(shown, TransportSocket)
        assert (shown.fileno(), shown.type, shown.getsockname()) == (
            sock.fileno(),
            socket.SOCK_DGRAM,
            sock.getsockname(),
        )
        assert shown is transport.get_extra_info("socket")
        assert transport._sock is sock
        assert transport._sock_fd == sock.fileno()
        assert transport._loop is loop
        assert transport._protocol is transport.get_protocol() is protocol
        assert transport._address is None
        assert (transport._closing, transport._conn_lost, transport._paused) == (False, 0, False)
        assert (transport._buffer_size, len(transport._buffer)) == (0, 0)
        assert transport.get_extra_info("unknown") is None
        assert transport.get_extra_info("unknown", 5) == 5
        name = sock.getsockname()
        await ended(transport, protocol)
        assert transport.get_extra_info("sockname") == name
        assert transport.get_extra_info("socket") is shown
        assert transport._sock is None

    run(main())


def test_its_address_is_that_of_the_only_peer(loop: Any, run: Any) -> None:
    async def main() -> None:
        with udp() as peer:
            transport, protocol = await endpoint(remote_addr=peer.getsockname())
            assert transport._address == peer.getsockname()
            await ended(transport, protocol)

    run(main())


def test_its_repr_tells_what_it_does(loop: Any, run: Any) -> None:
    def shown(transport: Any) -> str:
        return re.sub(r"fd=\d+", "fd=N", repr(transport))

    async def main() -> None:
        transport, protocol = await endpoint()
        await until(lambda: "read=polling" in repr(transport))
        assert f"fd={transport._sock_fd} " in repr(transport)
        assert shown(transport) == ("<_SelectorDatagramTransport fd=N read=polling write=<idle, bufsize=0>>")
        transport.pause_reading()
        assert shown(transport) == "<_SelectorDatagramTransport fd=N read=idle write=<idle, bufsize=0>>"
        transport.close()
        assert shown(transport) == (
            "<_SelectorDatagramTransport closing fd=N read=idle write=<idle, bufsize=0>>"
        )
        await soon(protocol.lost)
        await kernel_asked()
        assert shown(transport) == "<_SelectorDatagramTransport closed fd=N>"

    run(main())


def test_pausing_and_resuming_may_be_said_twice(loop: Any, run: Any, asyncio_log: Any) -> None:
    loop.set_debug(True)

    async def main() -> None:
        transport, protocol = await endpoint()
        await until(transport.is_reading)
        for _ in range(2):
            transport.pause_reading()
            assert not transport.is_reading()
        for _ in range(2):
            transport.resume_reading()
            assert transport.is_reading()
        transport.close()
        transport.resume_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        await soon(protocol.lost)

    run(main())
    paused = [record.msg for record in asyncio_log.records if "reading" in record.msg]
    assert paused == ["%r pauses reading", "%r resumes reading"]


@pytest.mark.parametrize("first", ["close", "abort"])
@pytest.mark.parametrize("second", ["close", "abort"])
def test_it_is_lost_once_and_later(loop: Any, run: Any, first: str, second: str) -> None:
    async def main() -> None:
        transport, protocol = await endpoint()
        assert not transport.is_closing()
        getattr(transport, first)()
        getattr(transport, second)()
        assert transport.is_closing()
        assert not protocol.lost.done()
        assert await soon(protocol.lost) is None
        await kernel_asked()
        getattr(transport, second)()
        await kernel_asked()
        assert protocol.calls == ["connection_made", "connection_lost"]
        assert transport.get_protocol() is None
        assert transport._sock is None

    run(main())


def test_it_may_be_closed_by_the_first_callback(loop: Any, run: Any) -> None:
    class Closing(Datagrams):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.close()

    async def main() -> None:
        before = open_sockets()
        _, protocol = await soon(loop.create_datagram_endpoint(Closing, local_addr=("127.0.0.1", 0)))
        assert await soon(protocol.lost) is None
        await kernel_asked()
        assert open_sockets() == before

    run(main())


@pytest.mark.parametrize("callback", ["connection_made", "connection_lost"])
def test_what_a_callback_raises_is_reported(
    loop: Any, run: Any, loop_errors: list[dict[str, Any]], callback: str
) -> None:
    def fail(*_arguments: Any) -> None:
        raise LookupError("from a callback")

    async def main() -> None:
        protocol = Datagrams()
        setattr(protocol, callback, fail)
        before = open_sockets()
        transport, _ = await soon(
            loop.create_datagram_endpoint(lambda: protocol, local_addr=("127.0.0.1", 0))
        )
        transport.close()
        await until(lambda: open_sockets() == before)

    run(main())
    assert [str(context["exception"]) for context in loop_errors] == ["from a callback"]
    assert loop_errors[0]["message"].startswith("Exception in callback ")


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_what_flow_control_raises_is_reported(
    loop: Any,
    run: Any,
    implementation: Any,
    loop_errors: list[dict[str, Any]],
    method: str,
    tmp_path: Path,
) -> None:
    needs_right_sizes(implementation)

    def fail() -> None:
        raise LookupError("from flow control")

    async def main() -> None:
        with unix(tmp_path / "peer") as peer:
            transport, protocol = await endpoint(family=socket.AF_UNIX, remote_addr=f"{tmp_path}/peer")
            setattr(protocol, method, fail)
            transport.set_write_buffer_limits(high=0)
            while not transport._buffer:
                transport.sendto(b"x")
            while transport._buffer:
                peer.recv(10)
                await kernel_asked()
            await until(lambda: loop_errors)
            await ended(transport, protocol)

    run(main())
    assert [context["message"] for context in loop_errors] == [f"protocol.{method}() failed"]
    assert str(loop_errors[0]["exception"]) == "from flow control"


def test_callbacks_run_in_the_context_of_the_creation(loop: Any, run: Any) -> None:
    variable = contextvars.ContextVar("variable", default="outside")
    seen: list[str] = []

    class Looking(Datagrams):
        def connection_made(self, transport: Any) -> None:
            seen.append(variable.get())
            super().connection_made(transport)

        def datagram_received(self, data: bytes, addr: Any) -> None:
            seen.append(variable.get())
            super().datagram_received(data, addr)

    async def main() -> None:
        variable.set("inside")
        transport, protocol = await loop.create_datagram_endpoint(Looking, local_addr=("127.0.0.1", 0))
        variable.set("later")
        with udp() as peer:
            peer.sendto(b"x", transport.get_extra_info("sockname"))
            await protocol.read(1)
        await ended(transport, protocol)

    run(main())
    assert seen == ["inside", "inside"]


def test_an_unclosed_one_warns_and_closes_its_socket(loop: Any, run: Any) -> None:
    async def main() -> Any:
        transport, protocol = await endpoint()
        await until(transport.is_reading)
        transport.pause_reading()
        return protocol

    before = open_sockets()
    with pytest.warns(ResourceWarning, match="unclosed transport <_SelectorDatagramTransport") as found:
        protocol = run(main())
        loop.close()
        protocol.transport = None
        gc.collect()
    assert len(found) == 1
    assert protocol.calls == ["connection_made"]
    assert open_sockets().keys() <= before.keys()


@pytest.mark.rasyncio_only("the registry of asyncio's selector keeps a transport that receives")
def test_one_that_is_paused_and_forgotten_can_be_collected(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, protocol = await endpoint()
        await until(transport.is_reading)
        transport.pause_reading()
        number = transport._sock_fd
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            protocol.transport = None
            del transport
            gc.collect()
        assert number not in open_sockets()

    run(main())


def test_a_receiving_one_needs_nobody_to_hold_it(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, protocol = await endpoint()
        name = transport.get_extra_info("sockname")
        protocol.transport = None
        reference = weakref.ref(transport)
        del transport
        gc.collect()
        with udp() as peer:
            peer.sendto(b"x", name)
            assert await protocol.read(1) == [b"x"]
        transport = reference()
        assert transport is not None
        await ended(transport, protocol)

    run(main())


def test_a_cycle_through_the_protocol_is_found(loop: Any, run: Any) -> None:
    async def main() -> Any:
        transport, protocol = await endpoint()
        protocol.cycle = transport  # type: ignore[attr-defined]
        transport.close()
        await soon(protocol.lost)
        await kernel_asked()
        return weakref.ref(transport), weakref.ref(protocol)

    references = run(main())
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_closing_after_the_loop_was_closed_is_refused(loop: Any, run: Any) -> None:
    transport, protocol = run(endpoint())
    loop.close()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        transport.close()
    assert protocol.calls == ["connection_made"]
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        protocol.transport = None
        del transport
        gc.collect()


@pytest.mark.parametrize(
    ("positional", "named", "complaint"),
    [
        ((), {}, "missing 1 required positional argument: 'data'"),
        ((b"x", None, None), {}, "takes from 2 to 3 positional arguments but 4 were given"),
        ((b"x",), {"to": None}, "got an unexpected keyword argument 'to'"),
        ((b"x",), {"data": b"x"}, "got multiple values for argument 'data'"),
    ],
)
def test_arguments_that_do_not_fit_are_type_errors(
    loop: Any, run: Any, positional: tuple[Any, ...], named: dict[str, Any], complaint: str
) -> None:
    async def main() -> None:
        transport, protocol = await endpoint()
        with pytest.raises(TypeError) as refused:
            transport.sendto(*positional, **named)
        assert str(refused.value) == f"_SelectorDatagramTransport.sendto() {complaint}"
        await ended(transport, protocol)

    run(main())


def test_arguments_may_be_named(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, protocol = await endpoint()
        with udp() as peer:
            transport.sendto(addr=peer.getsockname(), data=b"named")
            assert peer.recv(100) == b"named"
        await ended(transport, protocol)

    run(main())
