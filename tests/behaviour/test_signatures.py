"""What is public has asyncio's names, signatures, defaults and documentation, each version those of its own.

What `install()` replaces is compared class by class and function by function, so whatever becomes native is
held to this too; loops, servers, handles, transports are compared as objects: their classes have few names.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import rasyncio
from child_processes import FOREVER
from net_peers import Recorder
from net_pipes import unbuffered
from tls_peers import tls_connection

# What is ours alone, and what asyncio's objects get in `__init__`, so that only its classes lack it.
MORE = {
    "EventLoop": {"backend", "slow_callback_duration"},
    "Condition": {"acquire", "locked", "release"},
    "Process": {"pid", "stderr", "stdin", "stdout"},
    "SubprocessStreamProtocol": {"stderr", "stdin", "stdout"},
    "loop": {"backend"},
}
if sys.version_info < (3, 12):
    # As on later versions.
    MORE |= {name: {"get_context"} for name in ("Handle", "Task", "TimerHandle")}
# The size of asyncio's reads, which is public by the lack of an underscore.
LESS = {"connection": {"max_size"}, "reading pipe": {"max_size"}}
# What asyncio's datagram transports inherit from others and cannot do.
VAIN = {"datagram endpoint": {"can_write_eof", "write", "write_eof", "writelines"}}
# What has another signature on purpose, and why.
OTHER_SIGNATURES = {
    "EventLoop": "our loop asks the kernel itself: there is no selector to choose",
    "Server": "a server is made by its loop",
    "eager_task_factory": "an object to call, of which the interpreter does not show with what",
}

# Parameters that came with a later version: shown on every one, refused with asyncio's TypeError before.
LATER_PARAMETERS: dict[str, dict[str, tuple[int, ...]]] = {
    "create_connection": {"all_errors": (3, 12)},
    "create_server": {"keep_alive": (3, 13)},
    "create_unix_server": {"cleanup_socket": (3, 13)},
    "run": {"loop_factory": (3, 12)},
    "shutdown_default_executor": {"timeout": (3, 12)},
    # Not on 3.13.0 to 3.13.2, which have the minor version that ours is built for.
    "create_task": {"kwargs": (3, 13, 3)},
}

# Of a class written in Python, or of every object: they say nothing of what a program may do with it.
OF_NO_CONCERN = {
    "__final__",
    "__dict__",
    "__dir__",
    "__firstlineno__",
    "__module__",
    "__slots__",
    "__static_attributes__",
    "__weakref__",
}


SPECIAL = {"__aenter__", "__aexit__", "__anext__"}


@dataclass(frozen=True)
class Replaced:
    """A public name that `install()` replaces: what asyncio has there, and what we do."""

    place: str
    theirs: Any
    ours: Any

    @property
    def name(self) -> str:
        return self.place.rpartition(".")[2]


def public_names() -> dict[str, Any]:
    modules = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "asyncio"}
    return {
        f"{module_name}.{name}": value
        for module_name, module in sorted(modules.items())
        for name, value in vars(module).items()
        if not name.startswith("_")
    }


def replaced_by_install() -> list[Replaced]:
    """Each object once, though asyncio has most of them in several places."""
    before = public_names()
    rasyncio.install()
    after = public_names()
    rasyncio.uninstall()
    pairs = {
        (id(before[place]), id(after[place])): Replaced(place, before[place], after[place])
        for place in before
        if after[place] is not before[place]
    }
    return list(pairs.values())


REPLACED = replaced_by_install()
CLASSES = [pair for pair in REPLACED if isinstance(pair.theirs, type)]


def each(pairs: list[Replaced]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("pair", pairs, ids=[pair.place for pair in pairs])


def public(thing: Any) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def signature_of(thing: Any, *, bound: bool) -> inspect.Signature | None:
    """None: it has none, as some functions in C. Unbound, `self` may go by position only: ours does."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return None
    parameters = list(signature.parameters.values())
    if not bound and parameters and parameters[0].name in ("self", "$self"):
        parameters = parameters[1:]
    # Annotations are for the stubs to say.
    parameters = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
    return signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)


def known_here(name: str, signature: inspect.Signature) -> str:
    """The signature without the parameters that came with a later version."""
    later = {name for name, since in LATER_PARAMETERS.get(name, {}).items() if sys.version_info < since}
    kept = [parameter for name, parameter in signature.parameters.items() if name not in later]
    return str(signature.replace(parameters=kept))


def differences(name: str, theirs: Any, ours: Any, *, bound: bool = True) -> list[str]:
    """How a function or class differs in its signature, its defaults, and in being documented."""
    found = []
    expected, actual = signature_of(theirs, bound=bound), signature_of(ours, bound=bound)
    if expected is not None and name not in OTHER_SIGNATURES:
        shown = "none" if actual is None else known_here(name, actual)
        if shown != str(expected):
            found.append(f"{name}: {shown}, not {expected}")
    if theirs.__doc__ and not ours.__doc__:
        found.append(f"{name}: not documented")
    return found


@each(REPLACED)
def test_the_signature_is_asyncios(pair: Replaced) -> None:
    assert differences(pair.name, pair.theirs, pair.ours) == []


@each(CLASSES)
def test_a_class_has_the_public_names_of_asyncios_and_no_other(pair: Replaced) -> None:
    assert public(pair.ours) - MORE.get(pair.name, set()) == public(pair.theirs)


@each(CLASSES)
def test_a_class_can_do_what_asyncios_can(pair: Replaced) -> None:
    special = {name for name in dir(pair.theirs) if name.startswith("__")} - OF_NO_CONCERN
    assert sorted(special - set(dir(pair.ours))) == []


@each(CLASSES)
def test_every_method_of_a_class_has_the_signature_of_asyncios(pair: Replaced) -> None:
    found = []
    for name in public(pair.theirs):
        theirs, ours = getattr(pair.theirs, name), getattr(pair.ours, name)
        assert callable(theirs) == callable(ours), name
        if callable(theirs):
            found += differences(name, theirs, ours, bound=False)
    assert found == []


def test_what_asyncio_has_as_async_def_is_a_coroutine_function() -> None:
    """Frameworks ask for it, and `unittest.mock`."""
    found = {}
    for pair in REPLACED:
        names = public(pair.theirs) | SPECIAL if isinstance(pair.theirs, type) else set()
        things = {pair.place: (pair.theirs, pair.ours)} | {
            f"{pair.place}.{name}": (getattr(pair.theirs, name), getattr(pair.ours, name))
            for name in names
            if hasattr(pair.theirs, name)
        }
        for place, (theirs, ours) in things.items():
            if inspect.iscoroutinefunction(ours) is not inspect.iscoroutinefunction(theirs):
                found[place] = ours
    assert found == {}


@asynccontextmanager
async def a_loop() -> AsyncIterator[Any]:
    yield asyncio.get_running_loop()


@asynccontextmanager
async def a_handle() -> AsyncIterator[Any]:
    handle = asyncio.get_running_loop().call_soon(print)
    handle.cancel()
    yield handle


@asynccontextmanager
async def a_server() -> AsyncIterator[Any]:
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    yield server
    server.close()


@asynccontextmanager
async def closing(transport: Any) -> AsyncIterator[Any]:
    yield transport
    transport.close()
    await asyncio.sleep(0)


@asynccontextmanager
async def a_connection() -> AsyncIterator[Any]:
    ours, peer = socket.socketpair()
    with peer:
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        async with closing(transport):
            yield transport


@asynccontextmanager
async def a_tls_connection() -> AsyncIterator[Any]:
    async with tls_connection(Recorder()) as (transport, _):
        yield transport


@asynccontextmanager
async def a_datagram_endpoint() -> AsyncIterator[Any]:
    create = asyncio.get_running_loop().create_datagram_endpoint
    transport, _ = await create(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    async with closing(transport):
        yield transport


@asynccontextmanager
async def a_reading_pipe() -> AsyncIterator[Any]:
    reading, writing = os.pipe()
    with unbuffered(writing, "wb"):
        connect = asyncio.get_running_loop().connect_read_pipe
        transport, _ = await connect(asyncio.Protocol, unbuffered(reading, "rb"))
        async with closing(transport):
            yield transport


@asynccontextmanager
async def a_writing_pipe() -> AsyncIterator[Any]:
    reading, writing = os.pipe()
    with unbuffered(reading, "rb"):
        connect = asyncio.get_running_loop().connect_write_pipe
        transport, _ = await connect(asyncio.BaseProtocol, unbuffered(writing, "wb"))
        async with closing(transport):
            yield transport


@asynccontextmanager
async def a_child() -> AsyncIterator[Any]:
    start = asyncio.get_running_loop().subprocess_exec
    transport, _ = await start(asyncio.SubprocessProtocol, *FOREVER)
    yield transport
    transport.kill()
    await transport._wait()  # type: ignore[attr-defined]
    transport.close()


@dataclass(frozen=True)
class Face:
    """What is public of an object: each name, and what can be called."""

    names: set[str]
    methods: dict[str, Any]


Maker = Callable[[], contextlib.AbstractAsyncContextManager[Any]]

KINDS: dict[str, Maker] = {
    "loop": a_loop,
    "handle": a_handle,
    "server": a_server,
    "connection": a_connection,
    "TLS connection": a_tls_connection,
    "datagram endpoint": a_datagram_endpoint,
    "reading pipe": a_reading_pipe,
    "writing pipe": a_writing_pipe,
    "child": a_child,
}


def face_of(make: Maker, new_event_loop: Callable[[], asyncio.AbstractEventLoop]) -> Face:
    async def look() -> Face:
        async with make() as shown:
            names = public(shown)
            # asyncio's datagram transports name a method that they do not have.
            members = {name: getattr(shown, name, None) for name in names}
            return Face(names, {name: member for name, member in members.items() if callable(member)})

    loop = new_event_loop()
    try:
        return loop.run_until_complete(look())
    finally:
        loop.close()


@pytest.fixture(params=list(KINDS))
def faces(request: pytest.FixtureRequest) -> Iterator[tuple[str, Face, Face]]:
    """A kind of object: what it shows on asyncio, and on rasyncio."""
    make = KINDS[request.param]
    yield request.param, face_of(make, asyncio.SelectorEventLoop), face_of(make, rasyncio.new_event_loop)


def test_an_object_has_every_public_name_and_no_other(faces: tuple[str, Face, Face]) -> None:
    kind, theirs, ours = faces
    assert ours.names == (theirs.names | MORE.get(kind, set())) - LESS.get(kind, set())


def test_every_method_of_an_object_has_the_signature_of_asyncios(faces: tuple[str, Face, Face]) -> None:
    kind, theirs, ours = faces
    found = []
    for name in set(theirs.methods) - VAIN.get(kind, set()):
        found += differences(name, theirs.methods[name], ours.methods[name])
    assert found == []


def test_every_coroutine_method_of_an_object_is_known_as_one(faces: tuple[str, Face, Face]) -> None:
    kind, theirs, ours = faces
    is_one = inspect.iscoroutinefunction
    names = set(theirs.methods) - VAIN.get(kind, set())
    assert {name for name in names if is_one(theirs.methods[name]) is not is_one(ours.methods[name])} == set()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("Condition", ()), ("Queue", ()), ("TaskGroup", ()), ("Timeout", (None,)), ("Runner", ())],
)
def test_a_mock_of_an_object_has_the_names_of_asyncios(name: str, arguments: tuple[Any, ...]) -> None:
    async def names(kind: Any) -> set[str]:
        return {name for name in dir(kind(*arguments)) if not name.startswith("_")}

    assert asyncio.run(names(getattr(rasyncio, name))) == asyncio.run(names(getattr(asyncio, name)))


@pytest.mark.parametrize(
    ("name", "arguments"), [("TaskGroup", ()), ("Timeout", (None,)), ("Runner", ()), ("StreamReader", ())]
)
def test_an_object_counts_as_one_of_asyncios_class_and_of_a_subclass_as_itself(
    name: str, arguments: tuple[Any, ...], loop: asyncio.AbstractEventLoop
) -> None:
    keywords = {"loop": loop} if name == "StreamReader" else {}
    ours, theirs = getattr(rasyncio, name), getattr(asyncio, name)
    assert isinstance(ours(*arguments, **keywords), ours) and isinstance(ours(*arguments, **keywords), theirs)
    derived = type("Derived", (ours,), {})
    made = derived(*arguments, **keywords)
    assert made.__class__ is derived and isinstance(made, ours) and not isinstance(made, theirs)


def test_every_method_of_the_abstract_loop_is_our_own() -> None:
    abstract = {name for name, method in vars(asyncio.AbstractEventLoop).items() if callable(method)}
    own = {name for name in abstract if not name.startswith("_")}
    inherited = {
        name for name in own if getattr(rasyncio.EventLoop, name) is getattr(asyncio.AbstractEventLoop, name)
    }
    assert inherited == set()
