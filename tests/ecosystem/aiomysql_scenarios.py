"""What programs do with aiomysql, against a real server."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiomysql

Address = dict[str, Any]

# Far longer than any test may take: a query that only ends when it is made to.
ENDLESS_QUERY = "SELECT SLEEP(1000)"


@asynccontextmanager
async def connected(address: Address, **options: Any) -> AsyncIterator[Any]:
    """One connection, closed the polite way."""
    connection = await aiomysql.connect(**address, **options)
    try:
        yield connection
    finally:
        await connection.ensure_closed()


async def fetch(connection: Any, statement: str, values: object = None) -> list[list[Any]]:
    """The rows of one statement."""
    async with connection.cursor() as cursor:
        await cursor.execute(statement, values)
        return [list(row) for row in await cursor.fetchall()]


async def connection_id(connection: Any) -> int:
    [[number]] = await fetch(connection, "SELECT CONNECTION_ID()")
    return int(number)


async def wait_until_running(observer: Any, statement: str) -> None:
    """Come back when the server works on the statement, which only the server can tell."""
    running = "SELECT COUNT(*) FROM information_schema.processlist WHERE info = %s"
    while await fetch(observer, running, statement) == [[0]]:
        await asyncio.sleep(0)


async def wait_until_gone(observer: Any, number: int) -> None:
    """Come back when the server has dropped a connection."""
    connections = "SELECT COUNT(*) FROM information_schema.processlist WHERE id = %s"
    while await fetch(observer, connections, number) != [[0]]:
        await asyncio.sleep(0)


async def connect(address: Address) -> Any:
    """Every kind of value there and back; then the connection is closed."""
    values: list[object] = [None, 7, -(2**40), 1.5, decimal.Decimal("12.50"), "häuser 家 🏠", b"\x00\xff'\\"]
    values += [datetime.date(2026, 2, 28), datetime.datetime(2026, 2, 28, 13, 14, 15)]
    places = ["%s"] * 7 + ["CAST(%s AS DATE)", "CAST(%s AS DATETIME)"]
    async with connected(address, charset="utf8mb4") as connection:
        [row] = await fetch(connection, f"SELECT {', '.join(places)}", values)
        await connection.ping()
        server = connection.get_server_info()
    return {
        "mariadb": "MariaDB" in server,
        "same values": [repr(value) for value in values] == [repr(value) for value in row],
        "closed": connection.closed,
    }


async def insert_and_select(address: Address, rows: int) -> Any:
    """Many rows in with executemany, and out again whole, in portions and through a mapping cursor."""
    async with connected(address, autocommit=True) as connection, connection.cursor() as cursor:
        await cursor.execute(
            "CREATE TABLE item (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(50), size INT)"
        )
        inserted = await cursor.executemany(
            "INSERT INTO item (name, size) VALUES (%s, %s)", [(f"item {n}", n * n) for n in range(rows)]
        )
        await cursor.execute("INSERT INTO item (name, size) VALUES ('last', -1)")
        last = cursor.lastrowid
        await cursor.execute("SELECT id, name, size FROM item ORDER BY id")
        columns = [column[0] for column in cursor.description]
        portions = []
        while portion := await cursor.fetchmany(700):
            portions.append(len(portion))
        names = await fetch(connection, "SELECT name FROM item WHERE size > %s ORDER BY id LIMIT 3", 50)
        async with connection.cursor(aiomysql.DictCursor) as mapping:
            await mapping.execute("SELECT COUNT(*) AS amount, CAST(SUM(size) AS INT) AS total FROM item")
            sums = await mapping.fetchone()
    return {
        "inserted": inserted,
        "last": last,
        "columns": columns,
        "portions": portions,
        "names": names,
        "sums": sums,
    }


async def transactions(address: Address) -> Any:
    """What one connection changes is seen by another after the commit, never after a rollback."""
    seen = {}
    async with connected(address) as writer, connected(address, autocommit=True) as reader:
        await fetch(writer, "CREATE TABLE account (id INT PRIMARY KEY, amount INT) ENGINE=InnoDB")
        await fetch(writer, "INSERT INTO account VALUES (1, 100)")
        seen["before commit"] = await fetch(reader, "SELECT * FROM account")
        await writer.commit()
        seen["after commit"] = await fetch(reader, "SELECT * FROM account")
        await writer.begin()
        await fetch(writer, "UPDATE account SET amount = 0")
        seen["inside"] = await fetch(writer, "SELECT amount FROM account")
        await writer.rollback()
        seen["after rollback"] = await fetch(reader, "SELECT * FROM account")
    return seen


async def errors(address: Address) -> Any:
    """Each mistake as the exception the library promises, on a connection that stays usable."""
    raised = []
    async with connected(address, autocommit=True) as connection:
        await fetch(connection, "CREATE TABLE once (id INT PRIMARY KEY)")
        for statement in ("SELEC 1", "INSERT INTO once VALUES (1), (1)", "SELECT * FROM nowhere"):
            try:
                await fetch(connection, statement)
            except aiomysql.MySQLError as error:
                raised.append([type(error).__name__, error.args[0]])
        still = await fetch(connection, "SELECT 1")
    try:
        await aiomysql.connect(**{**address, "db": "no_such_database"})
    except aiomysql.MySQLError as error:
        raised.append([type(error).__name__, error.args[0]])
    return {"raised": raised, "still usable": still}


async def nobody_listens(address: Address) -> Any:
    """A server that is not there."""
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    try:
        await aiomysql.connect(**{**address, "port": port})
    except aiomysql.OperationalError as error:
        return [error.args[0], type(error.__cause__).__name__]
    return None


async def pool(address: Address) -> Any:
    """More tasks than connections: all are served, and no more connections are made than allowed."""
    used: set[int] = set()
    active = most = 0

    async def ask(number: int) -> int:
        nonlocal active, most
        async with connections.acquire() as connection:
            active += 1
            most = max(most, active)
            used.add(await connection_id(connection))
            [[answer]] = await fetch(connection, "SELECT %s * %s", (number, number))
            active -= 1
            return int(answer)

    async with aiomysql.create_pool(**address, minsize=1, maxsize=5, autocommit=True) as connections:
        answers = await asyncio.gather(*(ask(number) for number in range(200)))
        sizes = {"size": connections.size, "free": connections.freesize}
    return {"right": answers == [n * n for n in range(200)], "most": most, "connections": len(used), **sizes}


async def pool_replaces_the_dead(address: Address) -> Any:
    """A pooled connection that the server has killed is replaced by a new one."""
    async with (
        connected(address, autocommit=True) as observer,
        aiomysql.create_pool(**address, minsize=1, maxsize=1) as connections,
    ):
        async with connections.acquire() as connection:
            first = await connection_id(connection)
        await fetch(observer, f"KILL {first}")
        await wait_until_gone(observer, first)
        async with connections.acquire() as connection:
            second = await connection_id(connection)
        return {"another": second != first, "size": connections.size}


async def cancel_in_a_query(address: Address) -> Any:
    """A cancelled query ends at once, takes its connection with it, and leaves the pool usable."""
    async with (
        connected(address, autocommit=True) as observer,
        aiomysql.create_pool(**address, minsize=1, maxsize=1) as connections,
    ):
        held: list[Any] = []

        async def endless() -> None:
            async with connections.acquire() as connection:
                held.append(connection)
                await fetch(connection, ENDLESS_QUERY)

        task = asyncio.create_task(endless())
        await wait_until_running(observer, ENDLESS_QUERY)
        task.cancel()
        await asyncio.wait([task])
        async with connections.acquire() as connection:
            after = await fetch(connection, "SELECT 'usable'")
        return {"cancelled": task.cancelled(), "closed": held[0].closed, "after": after}


async def timeout_in_a_query(address: Address) -> Any:
    """asyncio.timeout around a query that does not come back."""
    async with connected(address) as connection:
        try:
            async with asyncio.timeout(0.05):
                await fetch(connection, ENDLESS_QUERY)
        except TimeoutError:
            return {"timed out": True, "closed": connection.closed}
    return {"timed out": False}


async def killed_in_a_query(address: Address) -> Any:
    """The server ends the connection while a query runs."""
    async with connected(address, autocommit=True) as observer, connected(address) as victim:
        number = await connection_id(victim)
        task = asyncio.create_task(fetch(victim, ENDLESS_QUERY))
        await wait_until_running(observer, ENDLESS_QUERY)
        await fetch(observer, f"KILL {number}")
        try:
            await task
        except aiomysql.OperationalError as error:
            return [type(error).__name__, error.args[0]]
    return None


async def large_results(address: Address, size: int, rows: int) -> Any:
    """One value larger than a protocol packet, both ways, and many rows streamed rather than collected."""
    text = ("0123456789abcdef" * (size // 16 + 1))[:size]
    async with connected(address) as connection:
        [[back]] = await fetch(connection, "SELECT %s", text)
        [[made]] = await fetch(connection, "SELECT REPEAT('x', %s)", size)
        streamed = hashlib.sha256()
        async with connection.cursor(aiomysql.SSCursor) as cursor:
            await cursor.execute(
                "SELECT seq, REPEAT(CHAR(97 + seq %% 26 USING utf8mb4), 100)"
                f" FROM seq_1_to_{rows} WHERE seq > %s",
                0,
            )
            amount = 0
            async for number, letters in cursor:
                amount += 1
                streamed.update(f"{number}{letters}".encode())
    return {
        "same": back == text,
        "made": made == "x" * size,
        "rows": amount,
        "digest": streamed.hexdigest()[:16],
    }


async def many_connections(address: Address, connections: int, queries: int) -> Any:
    """Connections side by side, each with its own queries and its own table rows."""

    async def one(name: int) -> int:
        async with connected(address, autocommit=True) as connection:
            for number in range(queries):
                await fetch(connection, "INSERT INTO heap VALUES (%s, %s)", (name, number))
            [[amount]] = await fetch(connection, "SELECT COUNT(*) FROM heap WHERE name = %s", name)
            return int(amount)

    async with connected(address, autocommit=True) as connection:
        await fetch(connection, "CREATE TABLE heap (name INT, number INT)")
        amounts = await asyncio.gather(*(one(name) for name in range(connections)))
        [[total]] = await fetch(connection, "SELECT COUNT(*) FROM heap")
    return {"each": sorted(set(amounts)), "total": total}
