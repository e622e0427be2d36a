"""Round trips to real servers through the clients that people use."""

from __future__ import annotations

import os

from harness.loop_rows import SERVER, LoopRow
from harness.servers import mariadb_server, redis_server


async def redis_get(operations: int) -> int:
    import redis.asyncio

    async with redis.asyncio.Redis(unix_socket_path=os.environ[SERVER]) as client:
        await client.set("key", b"value")
        for _ in range(operations):
            if await client.get("key") != b"value":
                raise AssertionError("another answer")
    return operations


async def mariadb_select(operations: int) -> int:
    import aiomysql

    connection = await aiomysql.connect(unix_socket=os.environ[SERVER], user="root")
    async with connection.cursor() as cursor:
        for number in range(operations):
            await cursor.execute("SELECT %s", (number,))
            if await cursor.fetchone() != (number,):
                raise AssertionError("another answer")
    await connection.ensure_closed()
    return operations


ROWS = [
    LoopRow(
        "redis_get", "databases", "query", 20_000, redis_get, redis_server, packages=("redis", "hiredis")
    ),
    LoopRow(
        "mariadb_select", "databases", "query", 5_000, mariadb_select, mariadb_server, packages=("aiomysql",)
    ),
]
