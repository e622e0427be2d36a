"""TCP transports: when what was written leaves: with asyncio in `write()`, here at the end of the turn."""

from __future__ import annotations

from typing import Any

import pytest
from net_peers import Recorder, kernel_asked, transport_to_peer

pytestmark = pytest.mark.rasyncio_only("asyncio sends in write() itself")


def test_what_a_turn_writes_is_sent_at_its_end(loop: Any, run: Any) -> None:
    async def main() -> None:
        transport, peer = await transport_to_peer(Recorder())
        peer.setblocking(False)
        transport.write(b"one, ")
        transport.write(b"two")
        # On the loopback what is sent can be received at once, so nothing was sent.
        with pytest.raises(BlockingIOError):
            peer.recv(100)
        await kernel_asked()
        assert peer.recv(100) == b"one, two"
        transport.close()
        peer.close()

    run(main())


def test_what_waits_for_the_end_of_the_turn_is_sent_before_a_close(loop: Any, run: Any) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await transport_to_peer(protocol)
        transport.write(b"last words")
        transport.close()
        assert await protocol.lost is None
        assert peer.recv(100) == b"last words"
        assert peer.recv(100) == b""
        peer.close()

    run(main())
