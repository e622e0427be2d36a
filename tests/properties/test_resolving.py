"""Random hosts and ports: answers and errors are those of `socket.getaddrinfo()` and `getnameinfo()`.

A host that may be a name is asked for with AI_NUMERICHOST, so that no name server is.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import rasyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

SCALE = int(os.environ.get("RASYNCIO_SOAK", "1"))

addresses = st.ip_addresses().map(str)
zones = st.sampled_from(["1", "lo", "0", "99", "", "no-such-zone", "1.5"])
like_addresses = st.text("0123456789abcdefxX.:%", min_size=1, max_size=20)
dotted = st.lists(st.integers(0, 2**33).map(str), min_size=1, max_size=5).map(".".join)
names = st.text(max_size=8) | st.sampled_from(["localhost", "ip6-localhost", "a..b", "x" * 70, ".", "\0"])
texts = addresses | st.builds("{}%{}".format, addresses, zones) | like_addresses | dotted | names
hosts = st.none() | texts | texts.map(lambda text: text.encode(errors="surrogatepass"))

services = st.sampled_from(["http", "https", "ssh", "no such service", "", " 80", "+80", "0x50", "80 ", "-1"])
port_texts = st.integers(-10, 2**33).map(str) | services | st.text(max_size=4)
ports = st.none() | st.integers() | st.integers(0, 65535) | port_texts | services.map(str.encode)

families = st.sampled_from([0, socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, 77])
kinds = st.sampled_from([0, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, 77])
protocols = st.sampled_from([0, socket.IPPROTO_TCP, socket.IPPROTO_UDP, 77])
FLAGS = [
    *(socket.AI_PASSIVE, socket.AI_CANONNAME, socket.AI_NUMERICSERV, socket.AI_V4MAPPED, socket.AI_ALL),
    *(socket.AI_ADDRCONFIG, 1 << 20),
]
flag_sets = st.sets(st.sampled_from(FLAGS)).map(sum)


@pytest.fixture(scope="module")
def resolving_loop() -> Iterator[Any]:
    with contextlib.closing(rasyncio.new_event_loop()) as loop:
        yield loop


def outcome(function: Any) -> Any:
    try:
        return function()
    except Exception as error:
        return type(error), str(error)


def needs_no_name_server(host: Any, family: int) -> bool:
    if host is None:
        return True
    if host in {"localhost", b"localhost"}:
        # The file of hosts need not have an IPv6 address for it.
        return family in {0, socket.AF_INET}
    with contextlib.suppress(ValueError, UnicodeDecodeError):
        ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host)
        return True
    return False


SETTINGS = settings(
    max_examples=500 * SCALE,
    deadline=None,
    # A machine that is busy with other tests is no fault of these.
    suppress_health_check=[HealthCheck.too_slow],
)


@SETTINGS
@given(hosts, ports, families, kinds, protocols, flag_sets)
@example("127.1", 80, 0, socket.SOCK_STREAM, 0, 0)
@example("::1.2.3.4", 80, 0, socket.SOCK_STREAM, 0, socket.AI_CANONNAME)
@example("1.2.3.4", 80, socket.AF_INET6, 0, 0, socket.AI_V4MAPPED)
def test_getaddrinfo_answers_as_the_socket_module(
    resolving_loop: Any, host: Any, port: Any, family: int, kind: int, protocol: int, flags: int
) -> None:
    if not needs_no_name_server(host, family):
        flags |= socket.AI_NUMERICHOST
    question = resolving_loop.getaddrinfo(host, port, family=family, type=kind, proto=protocol, flags=flags)
    ours = outcome(lambda: resolving_loop.run_until_complete(question))
    expected = outcome(lambda: socket.getaddrinfo(host, port, family, kind, protocol, flags))
    assert ours == expected
    # Enumerations equal their numbers.
    assert repr(ours) == repr(expected)


pairs = st.tuples(texts, st.integers(-5, 70000))
quadruples = st.tuples(texts, st.integers(), st.integers(-1, 0x100000), st.integers(-1, 2**32))


@SETTINGS
@given(pairs | quadruples)
def test_getnameinfo_answers_as_the_socket_module(resolving_loop: Any, address: Any) -> None:
    numbers = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    ours = outcome(lambda: resolving_loop.run_until_complete(resolving_loop.getnameinfo(address, numbers)))
    assert ours == outcome(lambda: socket.getnameinfo(address, numbers))


@SETTINGS
@given(st.lists(st.sampled_from(["localhost", "127.0.0.1", "::1"]), max_size=20))
def test_lookups_side_by_side_do_not_mix_up_their_answers(resolving_loop: Any, hosts: list[str]) -> None:
    async def main() -> Any:
        questions = [resolving_loop.getaddrinfo(host, port) for port, host in enumerate(hosts)]
        return await asyncio.gather(*questions)

    expected = [socket.getaddrinfo(host, port) for port, host in enumerate(hosts)]
    assert resolving_loop.run_until_complete(main()) == expected
