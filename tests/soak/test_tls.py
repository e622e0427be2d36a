"""TLS connections opened and ended by the thousand leave memory, descriptors and objects where they were."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from measuring import MEASURING
from tls_peers import NAME, authority, identity

SCALE = int(os.environ.get("RASYNCIO_SOAK", "1"))
CONNECTIONS = 10_000 * SCALE
OTHERS = 1_000 * SCALE

pytestmark = [pytest.mark.soak, pytest.mark.hang_limit(300 * SCALE)]

MEASURED = (
    MEASURING
    + """
    import ssl

    NAME, FOLDER = sys.argv[3], sys.argv[4]

    accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    accepting.load_cert_chain(FOLDER + "/chain", FOLDER + "/key")
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.load_verify_locations(FOLDER + "/authority")
    strange = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    class Echo(asyncio.Protocol):
        def __init__(self):
            alive.add(self)

        def connection_made(self, transport):
            self.transport = transport
            alive.add(transport)

        def data_received(self, data):
            self.transport.write(data)

    class Question(Echo):
        def __init__(self):
            super().__init__()
            self.lost = asyncio.get_running_loop().create_future()

        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"question")

        def data_received(self, data):
            self.transport.close()

        def connection_lost(self, exc):
            self.lost.set_result(None)

    async def ask(loop, address):
        _, protocol = await loop.create_connection(Question, *address, ssl=trusting, server_hostname=NAME)
        await protocol.lost

    async def abort(loop, address):
        transport, protocol = await loop.create_connection(
            Question, *address, ssl=trusting, server_hostname=NAME
        )
        transport.abort()
        await protocol.lost

    async def refuse(loop, address):
        try:
            await loop.create_connection(Question, *address, ssl=strange, server_hostname=NAME)
        except ssl.SSLCertVerificationError:
            return
        raise AssertionError("trusted a stranger")

    async def cancel(loop, address):
        connecting = loop.create_connection(Question, *address, ssl=trusting, server_hostname=NAME)
        task = asyncio.ensure_future(connecting)
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        try:
            transport, _ = await task
            transport.abort()
        except asyncio.CancelledError:
            pass

    async def upgrade(loop, address):
        # The server speaks TLS from the first byte, which is all the same to an upgrade.
        plain, protocol = await loop.create_connection(asyncio.Protocol, *address)
        transport = await loop.start_tls(plain, Question(), trusting, server_hostname=NAME)
        alive.add(transport)
        transport.close()
        await transport.get_protocol().lost

    async def main(loop, work, count):
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=accepting)
        address = server.sockets[0].getsockname()
        # The server's cache of sessions grows to a fixed size first.
        await measure(work, (loop, address), count)
        server.close()
        await server.wait_closed()

    loop = aio.new_event_loop()
    loop.run_until_complete(main(loop, globals()[sys.argv[1]], int(sys.argv[2])))
    loop.close()
"""
)


@pytest.mark.parametrize(
    ("work", "count"),
    [
        ("ask", CONNECTIONS),
        ("abort", OTHERS),
        ("refuse", OTHERS),
        ("cancel", OTHERS),
        ("upgrade", OTHERS),
    ],
)
def test_tls_connections_leave_everything_where_it_was(
    implementation: Any, script: Any, tmp_path: Path, work: str, count: int
) -> None:
    if implementation.is_oracle:
        # That the test is right is shown by fewer, too.
        count = OTHERS
    leaf = identity()
    (tmp_path / "chain").write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    (tmp_path / "key").write_bytes(leaf.private_key_pem.bytes())
    authority().cert_pem.write_to_path(str(tmp_path / "authority"))
    result = script(MEASURED, work, str(count), NAME, str(tmp_path), timeout=280 * SCALE)
    assert (result.stderr, result.returncode) == ("", 0)
    # 400 bytes kept of each of 10 000 connections would be more; an allocator's slack is not. What asyncio
    # leaves behind goes up and down by more than that, and is not ours to bound.
    left = int(result.stdout)
    assert implementation.is_oracle or left < 4_000_000, f"{count} connections left {left} bytes behind"
