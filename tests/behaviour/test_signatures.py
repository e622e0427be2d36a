"""Every public name of the loop, its servers, handles and transports is asyncio's, with asyncio's signature.

What is compared is what this Python's own objects have, so each version is held to its own asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

import rasyncio

# What only ours has.
MORE = {"loop": {"backend"}}

# Parameters that came with a later version: shown on every one, and refused with asyncio's TypeError where asyncio does not have them.
LATER_PARAMETERS = {
    "create_connection": {"all_errors": (3, 12)},
    "create_server": {"keep_alive": (3, 13)},
    "create_unix_server": {"cleanup_socket": (3, 13)},
    "shutdown_default_executor": {"timeout": (3, 12)},
    # Not on 3.13.0 to 3.13.2, which have the minor version that ours is built for.
    "create_task": {"kwargs": (3, 13, 3)},
}


@asynccontextmanager
async def a_loop() -> AsyncIterator[Any]:
    yield asyncio.get_running_loop()


@asynccontextmanager
async def a_handle() -> AsyncIterator[Any]:
    handle = asyncio.get_running_loop().call_soon(print)
    handle.cancel()
    yield handle


@asynccontextmanager
async def a_timer() -> AsyncIterator[Any]:
    timer = asyncio.get_running_loop().call_later(60, print)
    yield timer
    timer.cancel()


@asynccontextmanager
async def a_server() -> AsyncIterator[Any]:
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    yield server
    server.close()


@asynccontextmanager
async def a_connection() -> AsyncIterator[Any]:
    ours, peer = socket.socketpair()
    with peer:
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        yield transport
        transport.close()
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Kind:
    """A kind of object, and how one is made on the running loop."""

    name: str
    make: Callable[[], contextlib.AbstractAsyncContextManager[Any]]


KINDS = [
    Kind("loop", a_loop),
    Kind("handle", a_handle),
    Kind("timer", a_timer),
    Kind("server", a_server),
    Kind("connection", a_connection),
]


@dataclass(frozen=True)
class Face:
    """What is public of an object: each name, and the signature of what can be called."""

    names: set[str]
    signatures: dict[str, inspect.Signature]


def face_of(kind: Kind, new_event_loop: Callable[[], asyncio.AbstractEventLoop]) -> Face:
    async def look() -> Face:
        async with kind.make() as shown:
            names = {name for name in dir(shown) if not name.startswith("_")}
            called = {name: getattr(shown, name) for name in names if callable(getattr(shown, name))}
            return Face(names, {name: inspect.signature(method) for name, method in called.items()})

    loop = new_event_loop()
    try:
        return loop.run_until_complete(look())
    finally:
        loop.close()


@pytest.fixture(params=KINDS, ids=[kind.name for kind in KINDS])
def faces(request: pytest.FixtureRequest) -> Iterator[tuple[str, Face, Face]]:
    """A kind of object: what it shows on asyncio, and on rasyncio."""
    kind: Kind = request.param
    yield kind.name, face_of(kind, asyncio.SelectorEventLoop), face_of(kind, rasyncio.new_event_loop)


def test_every_public_name_is_there_and_no_other(faces: tuple[str, Face, Face]) -> None:
    kind, theirs, ours = faces
    assert ours.names == theirs.names | MORE.get(kind, set())


def test_every_method_has_the_signature_of_asyncio(faces: tuple[str, Face, Face]) -> None:
    _, theirs, ours = faces
    expected = {name: str(signature) for name, signature in theirs.signatures.items()}
    actual = {name: str(known_here(name, ours.signatures[name])) for name in expected}
    assert actual == expected


def known_here(method: str, signature: inspect.Signature) -> inspect.Signature:
    """The signature without the parameters that came with a later version."""
    later = {name for name, since in LATER_PARAMETERS.get(method, {}).items() if sys.version_info < since}
    kept = [parameter for name, parameter in signature.parameters.items() if name not in later]
    return signature.replace(parameters=kept)


def test_every_method_of_the_abstract_loop_is_our_own() -> None:
    loop = rasyncio.EventLoop
    abstract = {name for name, method in vars(asyncio.AbstractEventLoop).items() if callable(method)}
    public = {name for name in abstract if not name.startswith("_")}
    inherited = {name for name in public if getattr(loop, name) is getattr(asyncio.AbstractEventLoop, name)}
    assert inherited == set()


