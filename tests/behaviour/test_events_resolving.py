"""getaddrinfo and getnameinfo, of literals and of this machine: no name server is asked."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest


def both(loop: Any, *arguments: Any, **options: Any) -> tuple[Any, Any]:
    """What the loop answers and what the socket module answers."""
    return loop.run_until_complete(loop.getaddrinfo(*arguments, **options)), socket.getaddrinfo(
        *arguments, **options
    )


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "0.0.0.0", "::", "192.0.2.7", "2001:db8::7", "::ffff:1.2.3.4", "010.0.0.1"]
)
@pytest.mark.parametrize("port", [0, 80, 65535, 65536, "8080", None])
@pytest.mark.parametrize("kind", [0, socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_literals_resolve_as_in_the_socket_module(loop: Any, host: str, port: Any, kind: int) -> None:
    ours, expected = both(loop, host, port, type=kind)
    assert ours == expected


@pytest.mark.parametrize("family", [socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("kind", [0, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, 77])
@pytest.mark.parametrize("protocol", [0, socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP])
def test_literals_of_all_kinds_resolve_as_in_the_socket_module(
    loop: Any, family: int, kind: int, protocol: int
) -> None:
    options = {"family": family, "type": kind, "proto": protocol}
    try:
        expected = socket.getaddrinfo("127.0.0.1", 80, **options)
    except socket.gaierror as error:
        with pytest.raises(socket.gaierror) as caught:
            loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80, **options))
        assert caught.value.args == error.args
    else:
        assert loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80, **options)) == expected


@pytest.mark.parametrize("family", [socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("flags", [0, socket.AI_PASSIVE, socket.AI_NUMERICHOST, socket.AI_NUMERICSERV])
def test_no_host_means_this_machine(loop: Any, family: int, flags: int) -> None:
    if flags == socket.AI_NUMERICHOST and family == socket.AF_UNSPEC:
        flags |= socket.AI_PASSIVE
    ours, expected = both(loop, None, 80, family=family, type=socket.SOCK_STREAM, flags=flags)
    assert ours == expected


ODD_LITERALS = [
    b"127.0.0.1",
    "127.1",
    "0x7f.1",
    "2130706433",
    "::1%lo",
    "fe80::1%1",
    "127.0.0.1\0.example",
    "",
    "1.2.3.256",
]


@pytest.mark.parametrize("host", ODD_LITERALS)
def test_odd_literals_resolve_as_in_the_socket_module(loop: Any, host: Any) -> None:
    try:
        expected = socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror as error:
        with pytest.raises(socket.gaierror) as caught:
            loop.run_until_complete(
                loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
            )
        assert caught.value.args == error.args
    else:
        ours = loop.run_until_complete(
            loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        )
        assert ours == expected


def test_types_and_protocols_come_as_the_enumerations(loop: Any) -> None:
    [(family, kind, protocol, name, address)] = loop.run_until_complete(
        loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    )
    assert isinstance(family, socket.AddressFamily) and isinstance(kind, socket.SocketKind)
    assert (protocol, name, address) == (socket.IPPROTO_TCP, "", ("127.0.0.1", 80))


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("127.0.0.1", 80), {"family": socket.AF_INET6}),
        (("not an address", 80), {"flags": socket.AI_NUMERICHOST}),
        (("127.0.0.1", "no such service"), {}),
        (("127.0.0.1", 80), {"type": 77}),
        ((None, None), {}),
    ],
)
def test_a_failure_has_the_error_of_the_socket_module(loop: Any, arguments: Any, options: Any) -> None:
    with pytest.raises(socket.gaierror) as expected:
        socket.getaddrinfo(*arguments, **options)
    with pytest.raises(socket.gaierror) as caught:
        loop.run_until_complete(loop.getaddrinfo(*arguments, **options))
    assert caught.value.args == expected.value.args


def outcome(function: Any) -> Any:
    """What a call returned, or the class and arguments of what it raised."""
    try:
        return function()
    except Exception as error:
        return type(error), str(error)


REFUSED_OR_ODD: list[tuple[Any, Any]] = [
    (42, 80),
    (1.5, 80),
    (bytearray(b"127.0.0.1"), 80),
    ("\ud800", 80),
    ("127.0.0.1", "\ud800"),
    ("a" * 70, 80),
    ("a..b", 80),
    (".", 80),
    ("127.0.0.1", 1.5),
    ("127.0.0.1", True),
    ("127.0.0.1", bytearray(b"80")),
    ("127.0.0.1", socket.IPPROTO_TCP),
    ("127.0.0.1", -1),
    ("127.0.0.1", 65536 + 80),
    ("127.0.0.1", 2**31),
    ("127.0.0.1", 2**70),
    ("127.0.0.1", ""),
    ("127.0.0.1", " 80"),
    ("127.0.0.1", "80\0a"),
    ("127.0.0.1", b"80\0a"),
    (b"127.0.0.1\0a", b"80"),
    (None, ""),
    ("", ""),
    ("", 80),
]


@pytest.mark.parametrize(("host", "port"), REFUSED_OR_ODD)
def test_odd_arguments_are_taken_or_refused_as_by_the_socket_module(loop: Any, host: Any, port: Any) -> None:
    expected = outcome(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    question = loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    assert outcome(lambda: loop.run_until_complete(question)) == expected


@pytest.mark.parametrize("option", ["family", "type", "proto", "flags"])
@pytest.mark.parametrize("value", [2**40, -(2**40), 1.5, "1"])
def test_odd_options_are_refused_as_by_the_socket_module(loop: Any, option: str, value: Any) -> None:
    options: Any = {option: value}
    expected = outcome(lambda: socket.getaddrinfo("127.0.0.1", 80, **options))
    question = loop.getaddrinfo("127.0.0.1", 80, **options)
    assert outcome(lambda: loop.run_until_complete(question)) == expected


@pytest.mark.parametrize("kind", [0, socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("flags", [0, socket.AI_CANONNAME, socket.AI_PASSIVE | socket.AI_ADDRCONFIG])
@pytest.mark.parametrize("host", ["localhost", b"localhost", "127.0.0.1", "::1", None])
@pytest.mark.parametrize("port", ["http", b"http", 80])
def test_names_of_this_machine_resolve_as_in_the_socket_module(
    loop: Any, host: Any, port: Any, kind: int, flags: int
) -> None:
    expected = outcome(lambda: socket.getaddrinfo(host, port, type=kind, flags=flags))
    question = loop.getaddrinfo(host, port, type=kind, flags=flags)
    assert outcome(lambda: loop.run_until_complete(question)) == expected


audited: list[tuple[str, tuple[Any, ...]]] = []
listening = threading.Event()


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    if listening.is_set() and event in {"socket.getaddrinfo", "socket.getnameinfo"}:
        audited.append((event, arguments))
        if "refused" in arguments:
            raise PermissionError("by the auditor")


@pytest.fixture(scope="module")
def auditor() -> None:
    """A hook stays for the life of the process."""
    sys.addaudithook(audit)


@pytest.mark.usefixtures("auditor")
def test_auditors_are_told_and_may_refuse(loop: Any) -> None:
    audited.clear()
    listening.set()
    try:
        numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        loop.run_until_complete(loop.getaddrinfo("127.0.0.1", "80", type=socket.SOCK_STREAM))
        loop.run_until_complete(loop.getaddrinfo("localhost", None, family=socket.AF_INET))
        loop.run_until_complete(loop.getnameinfo(("127.0.0.1", 80), numeric))
        with pytest.raises(PermissionError, match="by the auditor"):
            loop.run_until_complete(loop.getaddrinfo("refused", 80))
    finally:
        listening.clear()
    assert audited == [
        ("socket.getaddrinfo", ("127.0.0.1", "80", 0, socket.SOCK_STREAM, 0)),
        ("socket.getaddrinfo", ("localhost", None, socket.AF_INET, 0, 0)),
        ("socket.getnameinfo", (("127.0.0.1", 80),)),
        ("socket.getaddrinfo", ("refused", 80, 0, 0, 0)),
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_debug_mode_tells_of_questions_and_how_long_they_took(loop: Any, host: str, asyncio_log: Any) -> None:
    loop.set_debug(True)
    loop.run_until_complete(loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM))
    loop.slow_callback_duration = 0.0
    loop.run_until_complete(loop.getaddrinfo(host, "80", flags=socket.AI_NUMERICSERV))
    told = [record for record in asyncio_log.records if "ddress info" in record.getMessage()]
    assert [record.levelno for record in told] == [logging.DEBUG] * 3 + [logging.INFO]
    texts = [record.getMessage() for record in told]
    assert texts[0] == f"Get address info {host}:80, type={socket.SOCK_STREAM!r}"
    assert texts[1].startswith(f"Getting address info {host}:80, type={socket.SOCK_STREAM!r} took ")
    assert "ms: [(" in texts[1]
    assert texts[2] == f"Get address info {host}:'80', flags={socket.AI_NUMERICSERV!r}"
    assert texts[3].startswith(f"Getting address info {host}:'80', flags={socket.AI_NUMERICSERV!r} took ")


def test_options_are_keywords(loop: Any) -> None:
    with pytest.raises(TypeError):
        loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80, socket.AF_INET))


@pytest.mark.parametrize("address", [("127.0.0.1", 80), ("::1", 80, 0, 0), ("192.0.2.7", 65535)])
def test_getnameinfo_of_a_literal(loop: Any, address: Any) -> None:
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    assert loop.run_until_complete(loop.getnameinfo(address, flags)) == socket.getnameinfo(address, flags)


ODD_ADDRESSES: list[Any] = [
    ("127.0.0.1", 80, 0, 0),
    ("::1", 80),
    ("::1", 80, 1),
    ("::1", 80, 0xFFFFF, 3),
    ("::1", 80, 0x100000, 1),
    ("::1", 80, -1, 1),
    ("::1", 80, 0, -1),
    ("fe80::1%1", 80),
    ("::1", 2**40),
    ("::1", -5),
    ("::1", 70000),
    ("127.0.0.1", True),
    ("127.0.0.1", "80"),
    ("127.0.0.1\0", 80),
    ("not an address", 80),
    ("", 80),
    (None, 80),
    (b"::1", 80),
    ("::1",),
    ("::1", 80, 0, 0, 0),
    ["::1", 80],
    "127.0.0.1",
]


@pytest.mark.parametrize("address", ODD_ADDRESSES)
def test_odd_addresses_are_taken_or_refused_as_by_the_socket_module(loop: Any, address: Any) -> None:
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    expected = outcome(lambda: socket.getnameinfo(address, flags))
    assert outcome(lambda: loop.run_until_complete(loop.getnameinfo(address, flags))) == expected


@pytest.mark.parametrize("flags", [0, socket.NI_NUMERICHOST, socket.NI_NUMERICSERV, socket.NI_DGRAM])
@pytest.mark.parametrize("address", [("127.0.0.1", 80), ("::1", 80, 0, 0)])
def test_getnameinfo_of_this_machine(loop: Any, address: Any, flags: int) -> None:
    expected = outcome(lambda: socket.getnameinfo(address, flags))
    assert outcome(lambda: loop.run_until_complete(loop.getnameinfo(address, flags))) == expected


@pytest.mark.parametrize("flags", [2**40, "0", 1.5, None])
def test_getnameinfo_refuses_odd_flags(loop: Any, flags: Any) -> None:
    expected = outcome(lambda: socket.getnameinfo(("127.0.0.1", 80), flags))
    question = loop.getnameinfo(("127.0.0.1", 80), flags)
    assert outcome(lambda: loop.run_until_complete(question)) == expected


def test_many_questions_at_once_are_answered(loop: Any) -> None:
    async def main() -> Any:
        return await asyncio.gather(*(loop.getaddrinfo("localhost", port) for port in range(200)))

    assert loop.run_until_complete(main()) == [socket.getaddrinfo("localhost", port) for port in range(200)]


def test_a_closed_loop_answers_nothing(loop: Any, implementation: Any) -> None:
    loop.close()
    other = implementation.new_event_loop()
    try:
        for question in (loop.getaddrinfo("localhost", 80), loop.getnameinfo(("127.0.0.1", 80))):
            with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
                other.run_until_complete(question)
    finally:
        other.close()


@pytest.mark.rasyncio_only(reason="asyncio asks in the default executor, where others can be in the way")
@pytest.mark.parametrize("question", ["getaddrinfo", "getnameinfo"])
def test_a_busy_default_executor_holds_up_no_question(loop: Any, question: str) -> None:
    release = threading.Event()
    arguments: Any = {"getaddrinfo": ("localhost", 80), "getnameinfo": (("127.0.0.1", 80),)}[question]

    async def main() -> None:
        with ThreadPoolExecutor(1) as executor:
            loop.set_default_executor(executor)
            busy = loop.run_in_executor(None, release.wait, 20)
            try:
                assert await getattr(loop, question)(*arguments)
                assert not busy.done()
            finally:
                release.set()
            await busy

    loop.run_until_complete(main())


@pytest.mark.rasyncio_only(reason="asyncio asks in the default executor")
def test_questions_are_answered_after_the_default_executor_was_shut_down(loop: Any) -> None:
    async def main() -> None:
        await loop.shutdown_default_executor()
        assert await loop.getaddrinfo("localhost", 80)
        assert await loop.getnameinfo(("127.0.0.1", 80))

    loop.run_until_complete(main())


def test_a_cancelled_question_is_forgotten(loop: Any) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(loop.getaddrinfo("127.0.0.1", 80))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or task.result()

    loop.run_until_complete(main())


def test_both_are_coroutines(loop: Any) -> None:
    for question in (loop.getaddrinfo("127.0.0.1", 80), loop.getnameinfo(("127.0.0.1", 80))):
        assert asyncio.iscoroutine(question)
        question.close()
