"""getaddrinfo and getnameinfo, with literals only: no name server is asked."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest


def both(loop: Any, *arguments: Any, **options: Any) -> tuple[Any, Any]:
    """What the loop answers and what the socket module answers."""
    return loop.run_until_complete(loop.getaddrinfo(*arguments, **options)), socket.getaddrinfo(
        *arguments, **options
    )


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "0.0.0.0", "::", "192.0.2.7", "2001:db8::7", "::ffff:1.2.3.4"]
)
@pytest.mark.parametrize("port", [0, 80, 65535, "8080", None])
@pytest.mark.parametrize("kind", [0, socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_literals_resolve_as_in_the_socket_module(loop: Any, host: str, port: Any, kind: int) -> None:
    ours, expected = both(loop, host, port, type=kind)
    assert ours == expected


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


@pytest.mark.parametrize("host", [42, 1.5, object()])
def test_a_host_of_the_wrong_type_is_refused(loop: Any, host: Any) -> None:
    with pytest.raises(TypeError):
        loop.run_until_complete(loop.getaddrinfo(host, 80))


def test_options_are_keywords(loop: Any) -> None:
    with pytest.raises(TypeError):
        loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80, socket.AF_INET))


@pytest.mark.parametrize("address", [("127.0.0.1", 80), ("::1", 80, 0, 0), ("192.0.2.7", 65535)])
def test_getnameinfo_of_a_literal(loop: Any, address: Any) -> None:
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    assert loop.run_until_complete(loop.getnameinfo(address, flags)) == socket.getnameinfo(address, flags)


def test_getnameinfo_wants_an_address_not_a_name(loop: Any) -> None:
    with pytest.raises(OSError):
        loop.run_until_complete(loop.getnameinfo(("not an address", 80)))
    with pytest.raises(TypeError):
        loop.run_until_complete(loop.getnameinfo("127.0.0.1"))


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
