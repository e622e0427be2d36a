"""Files on their way when something happens: peers that never read or vanish, cancellation, closing."""

from __future__ import annotations

import asyncio
import gc
import io
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import net_peers
import pytest

SIZE = 1_000_000
CONTENT = bytes(index % 251 for index in range(SIZE))


class Counting(io.BytesIO):
    """Something to read that counts how much was asked of it."""

    taken = 0

    def readinto(self, memory: Any) -> int:
        count = super().readinto(memory)
        self.taken += count
        return count


@pytest.fixture(params=["native", "fallback"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "fallback":
        yield Counting(CONTENT)
        return
    (tmp_path / "content").write_bytes(CONTENT)
    with (tmp_path / "content").open("rb") as file:
        yield file


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "content").write_bytes(CONTENT)
    with (tmp_path / "content").open("rb") as file:
        yield file


async def begun(file: Any) -> tuple[Any, Any, Any, asyncio.Task[int]]:
    """A transport whose peer has received a little of the file and then reads no more."""
    loop: Any = asyncio.get_running_loop()
    protocol = net_peers.Recorder()
    transport, peer = await net_peers.transport_to_peer(protocol)
    transport.set_write_buffer_limits(high=50_000)
    sending = loop.create_task(loop.sendfile(transport, file))
    await net_peers.in_thread(net_peers.receive_exactly, peer, 10_000)
    return transport, protocol, peer, sending


def test_a_peer_that_never_reads_costs_no_more_than_the_high_water_mark(run: Any) -> None:
    async def main() -> None:
        file = Counting(CONTENT)
        transport, protocol, peer, sending = await begun(file)
        await net_peers.until(lambda: transport._protocol_paused)
        await net_peers.kernel_asked()
        assert not sending.done()
        # A block is read before it is known that it is too much.
        assert transport.get_write_buffer_size() <= 50_000 + 16_384
        taken = file.taken
        await net_peers.kernel_asked()
        assert file.taken == taken
        sending.cancel()
        await asyncio.wait([sending])
        await net_peers.closed(transport, protocol, peer)

    run(main)


def test_a_file_of_the_kernel_s_costs_no_memory_at_all(run: Any, file: Any) -> None:
    async def main() -> None:
        transport, protocol, peer, sending = await begun(file)
        await net_peers.kernel_asked()
        assert not sending.done()
        assert transport.get_write_buffer_size() == 0
        sending.cancel()
        await asyncio.wait([sending])
        await net_peers.closed(transport, protocol, peer)

    run(main)


def test_a_peer_that_resets_in_the_middle(run: Any, source: Any, asyncio_log: Any) -> None:
    async def main() -> None:
        transport, protocol, peer, sending = await begun(source)
        net_peers.reset(peer)
        with pytest.raises(ConnectionError):
            await net_peers.soon(sending)
        await net_peers.soon(protocol.lost)
        assert protocol.calls.count("connection_lost") == 1
        assert transport.get_protocol() in {protocol, None}
        assert 0 < source.tell() < SIZE

    run(main)


def test_a_peer_that_resets_before_the_file_is_begun(run: Any, file: Any, asyncio_log: Any) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        protocol = net_peers.Recorder()
        transport, peer = await net_peers.transport_to_peer(protocol)
        transport.write(bytes(500_000))
        sending = loop.create_task(loop.sendfile(transport, file))
        await net_peers.in_thread(net_peers.receive_exactly, peer, 10_000)
        assert not sending.done()
        net_peers.reset(peer)
        with pytest.raises(ConnectionError):
            await net_peers.soon(sending)
        await net_peers.soon(protocol.lost)

    run(main)


def test_a_cancelled_file_leaves_the_connection_open(run: Any, source: Any) -> None:
    async def main() -> None:
        transport, protocol, peer, sending = await begun(source)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert transport.get_protocol() is protocol
        assert transport.is_reading()
        peer.send(b"question")
        assert await protocol.read(8) == b"question"
        receiving = asyncio.ensure_future(net_peers.in_thread(net_peers.receive_to_end, peer))
        transport.write(b"answer")
        transport.close()
        assert (await receiving).endswith(b"answer")
        await net_peers.soon(protocol.lost)
        peer.close()

    run(main)


@pytest.mark.rasyncio_only(reason="asyncio refuses every write after such a cancellation")
def test_a_file_cancelled_while_something_else_is_sent_was_not_begun(run: Any, file: Any) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        protocol = net_peers.Recorder()
        transport, peer = await net_peers.transport_to_peer(protocol)
        transport.write(bytes(500_000))
        sending = loop.create_task(loop.sendfile(transport, file))
        await net_peers.in_thread(net_peers.receive_exactly, peer, 10_000)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        receiving = asyncio.ensure_future(net_peers.in_thread(net_peers.receive_to_end, peer))
        transport.write(b"behind")
        transport.close()
        assert await receiving == bytes(490_000) + b"behind"
        assert file.tell() == 0
        await net_peers.soon(protocol.lost)
        peer.close()

    run(main)


@pytest.mark.rasyncio_only(reason="asyncio never ends a sendfile() whose transport is closed meanwhile")
@pytest.mark.parametrize("ending", ["close", "abort"])
def test_a_transport_that_is_closed_in_the_middle_ends_the_file(run: Any, source: Any, ending: str) -> None:
    async def main() -> None:
        transport, protocol, peer, sending = await begun(source)
        receiving = asyncio.ensure_future(net_peers.in_thread(net_peers.receive_to_end, peer))
        getattr(transport, ending)()
        with pytest.raises(ConnectionError, match=r"^Connection (is )?closed by peer$"):
            await net_peers.soon(sending)
        assert await net_peers.soon(protocol.lost) is None
        assert protocol.calls == ["connection_made", "connection_lost"]
        assert CONTENT[10_000:].startswith(await receiving)
        peer.close()

    run(main)


@pytest.mark.rasyncio_only(reason="asyncio leaves the position where it was, against its documentation")
def test_the_position_of_a_cancelled_file_tells_how_much_was_sent(run: Any, source: Any) -> None:
    async def main() -> None:
        transport, protocol, peer, sending = await begun(source)
        sending.cancel()
        await asyncio.wait([sending])
        receiving = asyncio.ensure_future(net_peers.in_thread(net_peers.receive_to_end, peer))
        position = source.tell()
        transport.close()
        # What was given to the transport and not drained yet is not counted.
        assert 10_000 <= position <= 10_000 + len(await receiving)
        await net_peers.soon(protocol.lost)
        peer.close()

    run(main)


@pytest.mark.rasyncio_only(
    reason="asyncio's sendfile() cleans up with a coroutine, which a closed loop cannot run"
)
@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_a_loop_that_is_closed_in_the_middle_keeps_nothing(loop: Any, source: Any, asyncio_log: Any) -> None:
    kept: list[Any] = []

    async def main() -> None:
        transport, protocol, peer, sending = await begun(source)
        if isinstance(source, Counting):
            # Not while a thread of the executor, which outlives the loop, holds what waits for it.
            await net_peers.until(lambda: transport._protocol_paused)
        kept.extend((peer, weakref.ref(sending), weakref.ref(transport)))
        sending.add_done_callback(protocol.calls.append)

    loop.run_until_complete(main())
    loop.close()
    peer, sending, transport = kept
    # What has finalizers takes more than one round.
    for _ in range(3):
        gc.collect()
    assert transport() is None
    assert sending() is None
    peer.close()
