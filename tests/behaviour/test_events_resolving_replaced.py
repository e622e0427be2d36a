"""Programs that put a resolver of their own in the place of the socket module's, as many test suites do."""

from __future__ import annotations

import _socket
import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

ANSWER = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80))]


def test_the_replacement_is_asked_in_another_thread(loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def resolver(*arguments: Any) -> Any:
        asked.append(arguments)
        assert threading.get_ident() != here
        return ANSWER

    here = threading.get_ident()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    question = loop.getaddrinfo("some.host.invalid", 80, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    assert loop.run_until_complete(question) is ANSWER
    # A literal is no exception.
    assert loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80)) is ANSWER
    assert asked == [
        ("some.host.invalid", 80, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE),
        ("127.0.0.1", 80, 0, 0, 0, 0),
    ]


def test_what_the_replacement_raises_comes_through(loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    error = socket.gaierror(socket.EAI_AGAIN, "of the test")

    def resolver(*_arguments: Any) -> Any:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with pytest.raises(socket.gaierror) as caught:
        loop.run_until_complete(loop.getaddrinfo("some.host.invalid", 80))
    assert caught.value is error


def test_the_builtin_below_can_be_replaced_too(loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_socket, "getaddrinfo", lambda *_arguments: ANSWER)
    assert loop.run_until_complete(loop.getaddrinfo("some.host.invalid", 80)) == ANSWER


def test_getnameinfo_can_be_replaced(loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getnameinfo", lambda address, flags: (address, flags))
    assert loop.run_until_complete(loop.getnameinfo(("1.2.3.4", 80), 3)) == (("1.2.3.4", 80), 3)


def test_a_taken_back_replacement_is_not_asked(loop: Any) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments: ANSWER)
        assert loop.run_until_complete(loop.getaddrinfo("localhost", 81)) is ANSWER
    assert loop.run_until_complete(loop.getaddrinfo("localhost", 81)) == socket.getaddrinfo("localhost", 81)


def test_debug_mode_asks_the_replacement_and_tells_of_it(
    loop: Any, monkeypatch: pytest.MonkeyPatch, asyncio_log: Any
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments: ANSWER)
    loop.set_debug(True)
    assert loop.run_until_complete(loop.getaddrinfo("some.host.invalid", 80)) is ANSWER
    texts = [text for text in asyncio_log.messages if "ddress info" in text]
    assert texts[0] == "Get address info some.host.invalid:80"
    assert texts[1].startswith("Getting address info some.host.invalid:80 took ")
    assert texts[1].endswith(repr(ANSWER))


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A resolver that does not answer before the end of the test; set when it was asked."""
    asked, release = threading.Event(), threading.Event()

    def resolver(*_arguments: Any) -> Any:
        asked.set()
        release.wait(20)
        return ANSWER

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    yield asked
    release.set()


def test_a_cancelled_question_ends_at_once(loop: Any, stuck: threading.Event) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(loop.getaddrinfo("some.host.invalid", 80))
        await asyncio.sleep(0)
        assert await loop.run_in_executor(None, stuck.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop.run_until_complete(main())
    loop.close()


def test_a_loop_is_closed_while_the_resolver_is_asked(loop: Any, stuck: threading.Event) -> None:
    task = loop.create_task(loop.getaddrinfo("some.host.invalid", 80))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert stuck.wait(20)
    task.cancel()
    loop.call_soon(loop.call_soon, loop.stop)
    loop.run_forever()
    loop.close()
    assert task.cancelled()


def test_several_hosts_of_a_server_are_resolved_at_the_same_time(
    loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = threading.Barrier(3)

    def resolver(host: str, port: int, *_arguments: Any) -> Any:
        meeting.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (f"127.0.0.{host[-1]}", port))]

    async def main() -> Any:
        hosts = ["host1", "host2", "127.0.0.9", "host3"]
        server = await loop.create_server(asyncio.Protocol, hosts, 0)
        addresses = [sock.getsockname()[0] for sock in server.sockets]
        server.close()
        await server.wait_closed()
        return addresses

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    # gather() gives the answers in the order of the hosts; asyncio makes a set of them.
    expected = {"127.0.0.1", "127.0.0.2", "127.0.0.9", "127.0.0.3"}
    assert set(loop.run_until_complete(main())) == expected


def test_a_host_of_a_server_that_is_not_found_fails_it(loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolver(host: str, port: int, *_arguments: Any) -> Any:
        if host == "bad":
            raise socket.gaierror(socket.EAI_NONAME, "of the test")
        return ANSWER if host == "good" else []

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with pytest.raises(socket.gaierror, match="of the test"):
        loop.run_until_complete(loop.create_server(asyncio.Protocol, ["good", "bad"], 0))
    with pytest.raises(OSError, match=r"^getaddrinfo\('nothing'\) returned empty list$"):
        loop.run_until_complete(loop.create_server(asyncio.Protocol, ["good", "nothing"], 0))


def test_a_subclass_s_own_getaddrinfo_is_asked(implementation: Any) -> None:
    base: Any = asyncio.SelectorEventLoop if implementation.is_oracle else implementation.module.EventLoop

    class Loop(base):  # type: ignore[misc]
        address: Any = None

        async def getaddrinfo(self, host: Any, port: Any, **_options: Any) -> Any:
            assert (host, port) == ("some.host.invalid", 7)
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", self.address)]

    loop = Loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        loop.address = listener.getsockname()
        connecting = loop.create_connection(asyncio.Protocol, "some.host.invalid", 7)
        transport, _ = loop.run_until_complete(connecting)
        assert transport.get_extra_info("peername") == loop.address
        transport.close()
        loop.call_soon(loop.stop)
        loop.run_forever()
    loop.close()
