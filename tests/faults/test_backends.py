"""Which backend a loop gets: what the environment says, what the kernel allows, and which thread runs it."""

from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from net_peers import Recorder, closed, kernel_asked, soon, transport_to_peer
from refusing import REFUSING

# Their numbers are the same on all machines.
SETUP, ENTER, REGISTER = 425, 426, 427

REFUSALS = {
    "an_old_kernel": f"refuse({SETUP}, errno.ENOSYS)",
    "switched_off": f"refuse({SETUP}, errno.EPERM)",
    "too_little_memory": f"refuse({SETUP}, errno.ENOMEM)",
    "a_kernel_without_what_we_need": f"refuse({SETUP}, errno.EINVAL)",
    "rings_that_may_not_be_used": f"refuse({ENTER}, errno.EPERM)",
    "rings_without_buffers": f"refuse({REGISTER}, errno.EPERM)",
}

refusals = pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
only_ours = pytest.mark.rasyncio_only("asyncio has selectors instead")


@only_ours
def test_a_loop_says_which_backend_it_has(loop: Any) -> None:
    assert loop.backend == os.environ["RASYNCIO_BACKEND"]


@only_ours
def test_an_unknown_backend_is_an_error(implementation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RASYNCIO_BACKEND", "kqueue")
    with pytest.raises(ValueError, match="RASYNCIO_BACKEND must be 'epoll' or 'uring', not \"kqueue\""):
        implementation.new_event_loop()


@only_ours
@refusals
def test_a_ring_that_was_asked_for_and_is_refused_is_a_clear_error(script: Any, refusal: str) -> None:
    finished = script(
        REFUSING
        + f"""
    os.environ["RASYNCIO_BACKEND"] = "uring"
    before = os.listdir("/proc/self/fd")
    {refusal}
    try:
        aio.new_event_loop()
    except OSError as error:
        print(errno.errorcode[error.errno], error)
    print(os.listdir("/proc/self/fd") == before)
"""
    )
    name = refusal[:-1].split(".")[-1]
    said, descriptors = finished.stdout.splitlines()
    assert said.startswith(f"{name} [Errno "), said
    assert "RASYNCIO_BACKEND=uring, but the kernel refuses it: " in said
    assert descriptors == "True", "nothing of the attempt is left"
    assert finished.stderr == ""


@only_ours
@refusals
def test_without_rings_a_loop_has_epoll_and_says_nothing(script: Any, refusal: str) -> None:
    finished = script(
        REFUSING
        + f"""
    del os.environ["RASYNCIO_BACKEND"]
    {refusal}

    async def main():
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        print(await reader.read(), asyncio.get_running_loop().backend)
        writer.close()
        server.close()

    aio.run(main())
"""
    )
    assert (finished.stdout, finished.stderr) == ("b'' epoll\n", "")


def test_threads_run_a_loop_one_after_another(loop: Any) -> None:
    async def connect() -> tuple[Recorder, Any, socket.socket]:
        protocol = Recorder()
        return protocol, *await transport_to_peer(protocol)

    async def exchange(number: int) -> None:
        word = b"%d." % number
        peer.sendall(word)
        assert (await protocol.read(len(protocol.received) + len(word))).endswith(word)
        transport.write(word)
        assert await soon(loop.run_in_executor(None, peer.recv, 100)) == word

    def in_thread(work: Any) -> Any:
        with ThreadPoolExecutor(1) as threads:
            return threads.submit(loop.run_until_complete, work).result()

    protocol, transport, peer = in_thread(connect())
    for number in range(5):
        in_thread(exchange(number))
        loop.run_until_complete(exchange(number + 100))
    in_thread(closed(transport, protocol, peer))


def test_a_socket_that_a_stopped_loop_closed_has_ended_for_its_peer(loop: Any) -> None:
    """Nothing of the loop keeps it open, though the loop does not run any more."""

    async def connect_and_close() -> socket.socket:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        peer.sendall(b"x")
        await protocol.read(1)
        transport.abort()
        await protocol.lost
        return peer

    peer = loop.run_until_complete(connect_and_close())
    peer.settimeout(10)
    assert peer.recv(10) == b""
    peer.close()


def ring_descriptor() -> int:
    with os.scandir("/proc/self/fd") as entries:
        (number,) = (int(entry.name) for entry in entries if os.readlink(entry) == "anon_inode:[io_uring]")
    return number


@only_ours
@pytest.mark.skipif(os.environ.get("RASYNCIO_BACKEND") != "uring", reason="there is no ring")
def test_a_ring_that_takes_nothing_to_send_is_replaced(run: Any) -> None:
    """Another file has its number: what it was given goes the usual way, and a new one does the rest."""

    async def main() -> None:
        protocols = [Recorder() for _ in range(6)]
        opened = [await transport_to_peer(protocol) for protocol in protocols]
        await kernel_asked()
        with open(os.devnull) as null:
            os.dup2(null.fileno(), ring_descriptor(), inheritable=False)
        for turn in b"12":
            for transport, _ in opened:
                transport.write(bytes([turn]))
            await kernel_asked()
            assert [peer.recv(10) for _, peer in opened] == [bytes([turn])] * 6
        later = Recorder()
        transport, peer = await transport_to_peer(later)
        assert await soon(asyncio.to_thread(peer.send, b"news")) == 4
        assert await later.read(4) == b"news"
        await closed(transport, later, peer)
        for protocol, (transport, peer) in zip(protocols, opened, strict=True):
            await closed(transport, protocol, peer)

    run(main())


class Aborting(Recorder):
    """Aborts the other connection as soon as its own brings something."""

    other: Any = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.other.abort()


def test_what_came_for_a_connection_that_is_aborted_meanwhile(loop: Any, run: Any) -> None:
    """A ring has taken it: the kernel, which knows of nothing unread, says goodbye instead of resetting."""

    async def main() -> None:
        protocols = Aborting(), Aborting()
        opened = [await transport_to_peer(protocol) for protocol in protocols]
        protocols[0].other, protocols[1].other = opened[1][0], opened[0][0]
        for _, peer in opened:
            peer.sendall(b"x")
        lost = [protocol.lost for protocol in protocols]
        await soon(asyncio.wait(lost, return_when=asyncio.FIRST_COMPLETED))
        # The first of the two in this turn had its data; the other was aborted before.
        (loser,) = (peer for (_, peer), own in zip(opened, protocols, strict=True) if not own.received)
        if getattr(loop, "backend", "") == "uring":
            assert loser.recv(10) == b""
        else:
            with pytest.raises(ConnectionResetError):
                loser.recv(10)
        for protocol, (transport, peer) in zip(protocols, opened, strict=True):
            await closed(transport, protocol, peer)

    run(main)
