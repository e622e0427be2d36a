"""The private names of asyncio's loops and transports that libraries and test suites use all the same."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest
from datagram_peers import ended, endpoint
from net_peers import PATIENCE, Recorder, closed, soon, transport_to_peer
from tls_peers import server_context, tls_closed, tls_transport_to_peer
from turns import Trace, turn


def test_the_resolution_of_the_clock_is_known(loop: Any) -> None:
    assert loop._clock_resolution == 1e-9


def test_a_timer_within_the_resolution_of_the_clock_is_due(loop: Any) -> None:
    """Suites with a clock of their own set a coarse resolution."""
    now = 100.0
    loop.time = lambda: now
    loop._clock_resolution = 0.5
    assert loop._clock_resolution == 0.5
    trace = Trace()
    loop.call_at(100.4, trace.note, "near")
    loop.call_at(100.6, trace.note, "far")
    turn(loop)
    assert trace == ["near"]
    now = 100.2
    turn(loop)
    assert trace == ["near", "far"]


def test_the_timers_can_be_looked_at(loop: Any) -> None:
    assert not loop._scheduled
    timers = [loop.call_later(delay, print) for delay in (300, 100, 200)]
    assert loop._scheduled[0] is timers[1]
    assert sorted(loop._scheduled) == [timers[1], timers[2], timers[0]]
    timers[1].cancel()
    assert [timer.cancelled() for timer in sorted(loop._scheduled)] == [True, False, False]
    turn(loop)
    assert sorted(loop._scheduled) == [timers[2], timers[0]]
    for timer in timers:
        timer.cancel()


def test_the_timer_of_a_sleep_can_be_looked_at(loop: Any) -> None:
    loop.time = lambda: 100.0
    sleeper = loop.create_task(asyncio.sleep(5))
    turn(loop)
    assert [timer.when() for timer in loop._scheduled] == [105.0]
    sleeper.cancel()
    turn(loop)
    turn(loop)
    assert sleeper.cancelled()


def test_a_loop_says_what_it_is(loop: Any) -> None:
    assert loop._closed is False
    assert loop._debug is loop.get_debug()
    loop.set_debug(not loop.get_debug())
    assert loop._debug is loop.get_debug()
    loop.close()
    assert loop._closed is True
    assert not loop._scheduled


def test_a_loop_that_is_woken_by_hand_sees_what_another_thread_queued(loop: Any, run: Any) -> None:
    """`put_nowait()` from a thread and a kick: unsafe, and what old programs do."""

    async def main() -> object:
        queue: asyncio.Queue[str] = asyncio.Queue()
        asleep = threading.Event()

        def put() -> None:
            asleep.wait(PATIENCE)
            queue.put_nowait("news")
            loop._write_to_self()

        thread = threading.Thread(target=put)
        thread.start()
        loop.call_soon(asleep.set)
        got = await soon(queue.get())
        thread.join()
        return got

    loop.set_debug(False)
    assert run(main()) == "news"


def test_waking_a_closed_loop_does_nothing(loop: Any) -> None:
    loop.close()
    loop._write_to_self()


def test_a_transport_shows_its_socket(run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        inside: Any = transport
        assert inside._sock.getsockname() == transport.get_extra_info("sockname")
        assert inside._sock.fileno() == inside._sock_fd
        assert inside._closing is False
        transport.close()
        assert inside._closing is True
        await closed(transport, protocol, peer)
        assert inside._sock is None

    run(main())


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_server_shows_what_it_was_made_with(loop: Any, run: Any, encrypted: bool) -> None:
    async def main() -> None:
        context = server_context() if encrypted else None
        times: dict[str, Any] = {}
        if encrypted:
            times = {"ssl_handshake_timeout": 7, "ssl_shutdown_timeout": 8.5}
        server = await loop.create_server(Recorder, "127.0.0.1", 0, backlog=5, ssl=context, **times)
        assert server._protocol_factory is Recorder
        assert server._backlog == 5
        assert server._ssl_context is context
        assert server._ssl_handshake_timeout == times.get("ssl_handshake_timeout")
        assert server._ssl_shutdown_timeout == times.get("ssl_shutdown_timeout")
        assert server._serving is True
        server.close()
        assert server._serving is False
        await soon(server.wait_closed())

    run(main())


@pytest.mark.parametrize("kind", ["stream", "datagrams", "tls"])
def test_a_transport_takes_attributes_methods_among_them(run: Any, kind: str) -> None:
    """Test suites put a function of their own in the place of `write()`."""
    name = "sendto" if kind == "datagrams" else "write"

    def replace(transport: Any) -> Any:
        written: list[bytes] = []
        setattr(transport, name, written.append)
        getattr(transport, name)(b"not sent")
        assert written == [b"not sent"]
        transport.itself = transport
        return weakref.ref(transport)

    async def main() -> Any:
        protocol: Any = Recorder()
        if kind == "stream":
            transport, peer = await transport_to_peer(protocol)
            reference = replace(transport)
            await closed(transport, protocol, peer)
        elif kind == "tls":
            transport, tls_peer = await tls_transport_to_peer(protocol)
            reference = replace(transport)
            await tls_closed(transport, protocol, tls_peer)
        else:
            datagrams, protocol = await endpoint()
            reference = replace(datagrams)
            await ended(datagrams, protocol)
        assert protocol.calls == ["connection_made", "connection_lost"]
        protocol.transport = None
        return reference

    reference = run(main())
    gc.collect()
    assert reference() is None
