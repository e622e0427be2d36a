"""A chat server on streams, and a few people who talk through it.

The server passes every line on to everybody else in the room. Nobody may hold the others up: who does not
read what is sent to them within a time is put out. One person leaves politely and one just disappears.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

SECONDS_TO_READ = 5.0
SECONDS_FOR_ALL = 30.0


class Room:
    """Who is in, and what is said."""

    def __init__(self) -> None:
        self.members: dict[str, asyncio.StreamWriter] = {}

    async def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first line (the name) to its end."""
        name = (await reader.readline()).decode().strip()
        if not name or name in self.members:
            writer.write(b"! that name cannot be had\n")
            await close(writer)
            return
        self.members[name] = writer
        try:
            await self.tell_all(f"* {name} is here, {len(self.members)} in the room")
            async for line in reader:
                await self.tell_all(f"{name}: {line.decode().rstrip()}", but=name)
        except ConnectionError:
            pass  # the end of a connection, as good as any other
        except ValueError:
            pass  # a line longer than the reader keeps: whoever sends that is put out
        finally:
            del self.members[name]
            await close(writer)
            await self.tell_all(f"* {name} left")

    async def tell_all(self, line: str, but: str = "") -> None:
        others = [writer for name, writer in self.members.items() if name != but]
        await asyncio.gather(*(self.tell(writer, line) for writer in others))

    async def tell(self, writer: asyncio.StreamWriter, line: str) -> None:
        writer.write(line.encode() + b"\n")
        try:
            async with asyncio.timeout(SECONDS_TO_READ):
                await writer.drain()
        except (TimeoutError, ConnectionError):
            writer.transport.abort()


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection whose other end may already be gone."""
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


class Person:
    """One client; keeps and prints what it reads."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.name, self.reader, self.writer = name, reader, writer

    @classmethod
    async def enter(cls, port: int, name: str) -> Person:
        person = cls(name, *await asyncio.open_connection("127.0.0.1", port))
        await person.say(name)
        return person

    async def say(self, line: str) -> None:
        self.writer.write(line.encode() + b"\n")
        await self.writer.drain()

    async def hear(self) -> str:
        line = (await self.reader.readline()).decode().rstrip()
        print(f"{self.name:4} reads  {line or '(the end)'}")
        return line


@asynccontextmanager
async def serving(room: Room) -> AsyncIterator[int]:
    """The server on a free port, until the block ends."""
    async with await asyncio.start_server(room.welcome, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def talk(port: int) -> None:
    """What the people do. Everybody reads a line before the next is said, so the order is fixed."""
    ann = await Person.enter(port, "ann")
    await ann.hear()
    ben = await Person.enter(port, "ben")
    await asyncio.gather(ann.hear(), ben.hear())
    cleo = await Person.enter(port, "cleo")
    for person in (ann, ben, cleo):
        await person.hear()

    impostor = await Person.enter(port, "ann")
    await impostor.hear()
    await impostor.hear()
    await close(impostor.writer)

    await ann.say("good morning")
    await ben.hear()
    await cleo.hear()
    await cleo.say("good morning ann, here is much to read: " + "chatter " * 7_000)
    for person in (ann, ben):
        line = (await person.reader.readline()).decode()
        print(f"{person.name:4} reads  {len(line.split())} words from {line.partition(':')[0]}")

    ben.writer.transport.abort()
    await ann.hear()
    await cleo.hear()
    cleo.writer.write_eof()
    await ann.hear()
    await cleo.hear()
    for person in (ann, cleo):
        await close(person.writer)


async def main() -> None:
    room = Room()
    async with asyncio.timeout(SECONDS_FOR_ALL), serving(room) as port:
        await talk(port)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)
    print("left in the room:", sorted(room.members))


if __name__ == "__main__":
    asyncio.run(main())
