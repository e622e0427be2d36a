"""An echo server over TLS, on asyncio.Protocol and on asyncio's streams; and what its connections cost."""

from __future__ import annotations

import asyncio

from harness.certificates import server_context
from harness.server_rows import ServerRow

from workloads import streams_echo, tcp_echo


async def serve() -> asyncio.Server:
    loop = asyncio.get_running_loop()
    return await loop.create_server(tcp_echo.Echo, "127.0.0.1", 0, ssl=server_context())


async def serve_streams() -> asyncio.Server:
    return await asyncio.start_server(streams_echo.echo, "127.0.0.1", 0, ssl=server_context())


ROWS = [
    ServerRow("tls_echo_1k_x64", "tls", "message", 64, 1024, 60_000, serve, "tls"),
    ServerRow("tls_echo_64k_x16", "tls", "message", 16, 64 * 1024, 8_000, serve, "tls"),
    ServerRow("tls_streams_echo_1k_x64", "streams", "message", 64, 1024, 60_000, serve_streams, "tls"),
    ServerRow("tls_handshake_x16", "handshakes", "connection", 16, 64, 2_000, serve, "tls", per_connection=1),
    ServerRow("tcp_accept_x16", "sockets", "connection", 16, 64, 10_000, tcp_echo.serve, per_connection=1),
]
