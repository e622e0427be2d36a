"""connect_write_pipe: the reader goes away, or talks back, in every state of the transport."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from net_peers import MORE_THAN_FITS, kernel_asked, soon
from net_pipes import WITH_AN_END, PipeRecorder, ended, take, writing_to

with_an_end = pytest.mark.parametrize("kind", WITH_AN_END)


@with_an_end
def test_a_reader_that_goes_away_is_noticed_without_a_write(loop: Any, run: Any, kind: str) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to(kind, protocol)
        await kernel_asked()
        assert protocol.calls == ["connection_made"]
        peer.close()
        assert await soon(protocol.lost) is None
        assert transport.is_closing()
        await kernel_asked()
        assert protocol.calls == ["connection_made", "connection_lost"]

    run(main())


@with_an_end
@pytest.mark.parametrize("end", [None, "close", "write_eof"])
def test_a_reader_that_goes_away_with_bytes_unsent_is_a_broken_pipe(
    loop: Any, run: Any, loop_errors: list[Any], kind: str, end: str | None
) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to(kind, protocol)
        transport.write(MORE_THAN_FITS)
        if end is not None:
            getattr(transport, end)()
        await kernel_asked()
        peer.close()
        assert isinstance(await soon(protocol.lost), BrokenPipeError)
        assert transport.get_write_buffer_size() == 0
        await kernel_asked()
        assert protocol.calls == ["connection_made", "pause_writing", "connection_lost"]

    run(main())
    assert loop_errors == []


@with_an_end
def test_a_write_to_nobody_is_a_broken_pipe(loop: Any, run: Any, loop_errors: list[Any], kind: str) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to(kind, protocol)
        peer.close()
        transport.write(b"in vain")
        assert transport.is_closing()
        transport.write(b"in vain")
        assert protocol.calls == ["connection_made"]
        assert isinstance(await soon(protocol.lost), BrokenPipeError)
        await kernel_asked()
        assert protocol.calls == ["connection_made", "connection_lost"]

    run(main())
    assert loop_errors == []


def test_a_terminal_that_hangs_up_shows_at_the_next_write(
    loop: Any, run: Any, loop_errors: list[Any]
) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to("terminal", protocol)
        peer.close()
        await kernel_asked()
        assert protocol.calls == ["connection_made"]
        transport.write(b"in vain")
        error = await soon(protocol.lost)
        assert isinstance(error, OSError)
        assert error.errno == errno.EIO

    run(main())
    assert loop_errors == []


def test_a_reader_that_talks_back_ends_a_socket(loop: Any, run: Any) -> None:
    """Nobody reads here, so asyncio takes whatever there is to read for the end."""

    async def main() -> None:
        protocol = PipeRecorder()
        _, peer = await writing_to("socket", protocol)
        peer.send(b"hello?")
        assert await soon(protocol.lost) is None
        peer.close()

    run(main())


def test_a_fifo_with_unread_data_stays_connected(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = PipeRecorder()
        transport, peer = await writing_to("fifo", protocol)
        transport.write(b"unread")
        await kernel_asked()
        assert not transport.is_closing()
        assert protocol.calls == ["connection_made"]
        assert take(peer, 6) == b"unread"
        await ended(transport, protocol, peer)

    run(main())
