"""Datagrams that arrive: who gets them, in which order, and when no more are delivered."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

import pytest
from datagram_peers import Datagrams, ended, endpoint, udp
from net_peers import LOOPBACKS, kernel_asked, soon, until, unused_port

MANY = 40
"""More than are delivered in one turn."""


def flood(peer: socket.socket, transport: Any, first: int = 0, count: int = MANY) -> None:
    for number in range(first, first + count):
        peer.sendto(b"%d" % number, transport.get_extra_info("sockname"))


async def warmed_up(transport: Any, protocol: Datagrams, peer: socket.socket) -> None:
    """Lets a loop that takes several at a time find out that several come."""
    flood(peer, transport)
    await protocol.read(MANY)
    await kernel_asked()
    protocol.received.clear()


class Acting(Datagrams):
    """Does something at the third datagram."""

    action: Callable[[], object] | None = None

    def datagram_received(self, data: bytes, addr: Any) -> None:
        super().datagram_received(data, addr)
        if len(self.received) == 3 and self.action is not None:
            self.action()


async def acting(peer: socket.socket) -> tuple[Any, Acting]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Acting, local_addr=("127.0.0.1", 0))
    await warmed_up(transport, protocol, peer)
    return transport, protocol


def test_datagrams_arrive_in_order_and_apart(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, protocol = await endpoint()
        with udp() as peer:
            expected = [bytes([number]) * number for number in range(100)]
            for data in expected:
                peer.sendto(data, transport.get_extra_info("sockname"))
            assert await protocol.read(100) == expected
            assert {address for _, address in protocol.received} == {peer.getsockname()}
        await ended(transport, protocol)

    run(main())


def test_each_datagram_comes_with_its_own_sender(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, protocol = await endpoint()
        peers = [udp() for _ in range(3)]
        for number in range(30):
            peers[number % 3].sendto(b"%d" % number, transport.get_extra_info("sockname"))
        await protocol.read(30)
        for number, (data, address) in enumerate(protocol.received):
            assert (data, address) == (b"%d" % number, peers[number % 3].getsockname())
        for peer in peers:
            peer.close()
        await ended(transport, protocol)

    run(main())


class Answering(Datagrams):
    """Answers each datagram with what came and from where."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.opened().sendto(b"%s from %d" % (data, addr[1]), addr)
        super().datagram_received(data, addr)


@pytest.mark.parametrize(("family", "host"), LOOPBACKS)
def test_each_of_a_crowd_gets_its_own_answers(loop: Any, run: Any, family: int, host: str) -> None:
    async def main() -> None:
        with contextlib.ExitStack() as opened:
            transport, protocol = await loop.create_datagram_endpoint(Answering, local_addr=(host, 0))
            peers = [opened.enter_context(udp(family, host)) for _ in range(300)]
            for message in (b"first", b"second"):
                for start in range(0, len(peers), MANY):
                    few = peers[start : start + MANY]
                    protocol.received.clear()
                    for peer in few:
                        peer.sendto(message, transport.get_extra_info("sockname"))
                    await protocol.read(len(few))
                    senders = sorted(address for _, address in protocol.received)
                    assert senders == sorted(peer.getsockname() for peer in few)
                    for peer in few:
                        assert peer.recv(100) == b"%s from %d" % (message, peer.getsockname()[1])
            await ended(transport, protocol)

    run(main())


@pytest.mark.parametrize(("family", "host"), LOOPBACKS)
def test_the_largest_datagram_arrives_whole(loop: Any, run: Any, family: int, host: str) -> None:
    # What IP's 16 bits leave for data: IPv6 does not count its own header.
    largest = 65_507 if family == socket.AF_INET else 65_527

    async def main() -> None:
        transport, protocol = await endpoint(local_addr=(host, 0))
        with udp(family, host) as peer:
            for number in range(12):
                data = bytes([number]) * largest
                peer.sendto(data, transport.get_extra_info("sockname"))
                assert (await protocol.read(number + 1))[-1] == data
        await ended(transport, protocol)

    run(main())


def test_senders_of_ipv6_have_four_parts(loop: Any, run: Any) -> None:
    if len(LOOPBACKS) < 2:
        pytest.skip("this machine has no ::1")

    async def main() -> None:
        transport, protocol = await endpoint(local_addr=("::1", 0))
        with udp(socket.AF_INET6, "::1") as peer:
            peer.sendto(b"there", transport.get_extra_info("sockname"))
            await protocol.read(1)
            address = protocol.received[0][1]
            assert address == ("::1", peer.getsockname()[1], 0, 0)
            transport.sendto(b"back", address)
            transport.sendto(b"again", address[:2])
            transport.sendto(b"and again", address[:3])
            assert [peer.recv(100) for _ in range(3)] == [b"back", b"again", b"and again"]
        await ended(transport, protocol)

    run(main())


def test_families_that_only_sockets_know_work_too(loop: Any, run: Any) -> None:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 0)
    sock.bind((0, 0))

    async def main() -> None:
        transport, protocol = await endpoint(sock=sock)
        name = transport.get_extra_info("sockname")
        assert name == sock.getsockname()
        # The kernel acknowledges a request to do nothing (NLMSG_NOOP, NLM_F_REQUEST | NLM_F_ACK).
        request = (16).to_bytes(4, "little") + b"\1\0\5\0" + bytes(8)
        transport.sendto(request, (0, 0))
        await protocol.read(1)
        assert protocol.received[0][1] == (0, 0)
        assert request in protocol.received[0][0]
        await ended(transport, protocol)

    run(main())


def test_nothing_is_received_before_connection_made(loop: Any, run: Any) -> None:
    async def main() -> None:
        sock = udp()
        with udp() as peer:
            peer.sendto(b"early", sock.getsockname())
            transport, protocol = await endpoint(sock=sock)
            await protocol.read(1)
            assert protocol.calls == ["connection_made", "datagram_received"]
            await ended(transport, protocol)

    run(main())


@pytest.mark.parametrize("method", ["close", "abort"])
def test_a_closed_transport_delivers_no_more(loop: Any, run: Any, method: str) -> None:
    async def main() -> None:
        with udp() as peer:
            transport, protocol = await acting(peer)
            protocol.action = getattr(transport, method)
            flood(peer, transport)
            assert await soon(protocol.lost) is None
            assert protocol.data() == [b"0", b"1", b"2"]
            assert protocol.calls[-1] == "connection_lost"

    run(main())


def test_a_paused_transport_holds_everything_back_and_loses_nothing(loop: Any, run: Any) -> None:
    async def main() -> None:
        with udp() as peer:
            transport, protocol = await acting(peer)
            protocol.action = transport.pause_reading
            flood(peer, transport)
            await until(lambda: not transport.is_reading())
            await kernel_asked()
            assert protocol.data() == [b"0", b"1", b"2"]
            transport.resume_reading()
            assert protocol.data() == [b"0", b"1", b"2"], "nobody is called from resume_reading()"
            assert await protocol.read(MANY) == [b"%d" % number for number in range(MANY)]
            await ended(transport, protocol)

    run(main())


def test_a_transport_may_be_closed_while_it_is_paused(loop: Any, run: Any) -> None:
    async def main() -> None:
        with udp() as peer:
            transport, protocol = await acting(peer)
            protocol.action = transport.pause_reading
            flood(peer, transport)
            await until(lambda: not transport.is_reading())
            transport.close()
            transport.resume_reading()
            assert await soon(protocol.lost) is None
            assert protocol.data() == [b"0", b"1", b"2"]

    run(main())


def test_a_new_protocol_gets_the_next_datagram(loop: Any, run: Any) -> None:
    async def main() -> None:
        with udp() as peer:
            transport, protocol = await acting(peer)
            second = Datagrams()
            protocol.action = lambda: transport.set_protocol(second)
            flood(peer, transport)
            assert await second.read(MANY - 3) == [b"%d" % number for number in range(3, MANY)]
            assert protocol.data() == [b"0", b"1", b"2"]
            assert transport.get_protocol() is second
            await ended(transport, second)

    run(main())


def test_a_raising_protocol_is_reported_and_goes_on(
    loop: Any, run: Any, loop_errors: list[dict[str, Any]]
) -> None:
    def fail() -> None:
        raise LookupError("from datagram_received")

    async def main() -> None:
        with udp() as peer:
            transport, protocol = await acting(peer)
            protocol.action = fail
            flood(peer, transport)
            assert await protocol.read(MANY) == [b"%d" % number for number in range(MANY)]
            assert not transport.is_closing()
            await ended(transport, protocol)

    run(main())
    assert [context["message"] for context in loop_errors] == [
        "Exception in callback _SelectorDatagramTransport._read_ready()"
    ]
    assert str(loop_errors[0]["exception"]) == "from datagram_received"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_loses_no_datagram(loop: Any, error: type[BaseException]) -> None:
    def fail() -> None:
        raise error

    with udp() as peer:
        transport, protocol = loop.run_until_complete(acting(peer))
        protocol.action = fail
        flood(peer, transport)
        with pytest.raises(error):
            loop.run_forever()
        assert protocol.data() == [b"0", b"1", b"2"]
        expected = [b"%d" % number for number in range(MANY)]
        assert loop.run_until_complete(protocol.read(MANY)) == expected
        loop.run_until_complete(ended(transport, protocol))


def test_a_stopped_loop_delivers_the_rest_when_it_runs_again(loop: Any) -> None:
    with udp() as peer:
        transport, protocol = loop.run_until_complete(acting(peer))
        protocol.action = loop.stop
        flood(peer, transport)
        loop.run_forever()
        assert protocol.data() == [b"0", b"1", b"2"]
        expected = [b"%d" % number for number in range(MANY)]
        assert loop.run_until_complete(protocol.read(MANY)) == expected
        loop.run_until_complete(ended(transport, protocol))


def test_callbacks_run_between_datagrams_of_a_quiet_socket(loop: Any, run: Any) -> None:
    """One datagram at a time: what it set off is done before the next one comes."""
    order: list[str] = []

    class Ordering(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            order.append("datagram")
            self.loop.call_soon(order.append, "callback")

    async def main() -> None:
        transport, protocol = await loop.create_datagram_endpoint(Ordering, local_addr=("127.0.0.1", 0))
        with udp() as peer:
            flood(peer, transport, count=3)
            await protocol.read(3)
            await kernel_asked()
        await ended(transport, protocol)

    run(main())
    assert order == ["datagram", "callback"] * 3


@pytest.mark.rasyncio_only("asyncio delivers one datagram of a socket in a turn")
def test_a_busy_socket_gets_several_datagrams_delivered_in_a_turn(loop: Any, run: Any) -> None:
    turns: list[int] = []

    class Counting(Datagrams):
        counting = False

        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if not turns or turns[-1] == 0:
                self.loop.call_soon(turns.append, 0)
                turns.append(0)
            turns[-1] += 1

    async def main() -> None:
        transport, protocol = await loop.create_datagram_endpoint(Counting, local_addr=("127.0.0.1", 0))
        with udp() as peer:
            await warmed_up(transport, protocol, peer)
            turns.clear()
            flood(peer, transport, count=64)
            await protocol.read(64)
        await ended(transport, protocol)

    run(main())
    assert max(turns) == 16
    assert sum(turns) == 64


def test_a_refused_datagram_is_told_and_does_not_end_the_transport(loop: Any, run: Any) -> None:
    async def main() -> None:
        port = unused_port()
        transport, protocol = await endpoint(remote_addr=("127.0.0.1", port))
        transport.sendto(b"anybody?")
        await protocol.news(lambda: protocol.errors)
        assert [type(error) for error in protocol.errors] == [ConnectionRefusedError]
        assert not transport.is_closing()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
            late.bind(("127.0.0.1", port))
            transport.sendto(b"now?")
            assert late.recv(100) == b"now?"
            late.sendto(b"yes", transport.get_extra_info("sockname"))
            assert await protocol.read(1) == [b"yes"]
        await ended(transport, protocol)

    run(main())


def test_an_unconnected_endpoint_hears_nothing_of_refusals(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, protocol = await endpoint()
        transport.sendto(b"anybody?", ("127.0.0.1", unused_port()))
        await kernel_asked()
        assert protocol.errors == []
        await ended(transport, protocol)

    run(main())


def test_what_error_received_raises_for_a_refusal_is_reported(
    loop: Any, run: Any, loop_errors: list[dict[str, Any]]
) -> None:
    class Raising(Datagrams):
        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            raise LookupError("from error_received")

    async def main() -> None:
        address = ("127.0.0.1", unused_port())
        transport, protocol = await loop.create_datagram_endpoint(Raising, remote_addr=address)
        transport.sendto(b"anybody?")
        await protocol.news(lambda: protocol.errors)
        await kernel_asked()
        assert not transport.is_closing()
        await ended(transport, protocol)

    run(main())
    assert [context["message"] for context in loop_errors] == [
        "Exception in callback _SelectorDatagramTransport._read_ready()"
    ]
