"""The two ways to read and write records: OpenSSL called without Python, and Python's own methods."""

from __future__ import annotations

import _ssl
import asyncio
import ctypes
import ssl
from typing import Any

import pytest
from net_peers import Recorder, connected_pair, soon
from tls_peers import NAME, client_context, tls_connection

RASYNCIO_ONLY = pytest.mark.rasyncio_only(reason="asyncio has one way only")


def openssl_is_in_reach() -> bool:
    """Whether the interpreter's `_ssl` uses a shared OpenSSL, or shows its own."""
    file = getattr(_ssl, "__file__", None)
    return (
        file is not None
        and ssl.OPENSSL_VERSION.startswith("OpenSSL ")
        and hasattr(ctypes.CDLL(file), "SSL_read_ex")
    )


def leave_an_error(library: ctypes.PyDLL) -> None:
    if hasattr(library, "ERR_set_error"):
        library.ERR_new()
        library.ERR_set_error(20, 123, None)
    else:
        # Before OpenSSL 3.
        library.ERR_put_error(20, 0, 123, b"elsewhere", 1)


async def path_of_a_connection(context: ssl.SSLContext | None = None) -> str:
    protocol = Recorder()
    async with tls_connection(protocol, ssl=context or client_context()) as (transport, peer):
        transport.write(b"question")
        peer.send(b"answer")
        assert await protocol.read(6) == b"answer"
        path: str = transport._records  # type: ignore[attr-defined]
    return path


@RASYNCIO_ONLY
def test_openssl_is_called_without_python_where_it_can_be(implementation: Any, run: Any) -> None:
    forced = implementation.environment.get("RASYNCIO_TLS")
    expected = forced or ("native" if openssl_is_in_reach() else "python")
    assert run(path_of_a_connection()) == expected


@RASYNCIO_ONLY
def test_who_is_told_of_each_record_is_told(run: Any) -> None:
    told: list[tuple[str, str]] = []

    def note(_connection: Any, direction: str, _version: Any, kind: Any, _type: Any, _data: bytes) -> None:
        told.append((direction, kind.name))

    context = client_context()
    context._msg_callback = note  # type: ignore[attr-defined]
    assert run(path_of_a_connection(context)) == "python"
    assert {direction for direction, _ in told} == {"read", "write"}


@RASYNCIO_ONLY
def test_a_connection_of_a_class_of_its_own_is_asked_by_its_methods(run: Any) -> None:
    asked = []

    class Object(ssl.SSLObject):
        def read(self, *arguments: Any) -> Any:
            asked.append("read")
            return super().read(*arguments)

        def write(self, data: Any) -> int:
            asked.append("write")
            return super().write(data)

    context = client_context()
    context.sslobject_class = Object
    assert run(path_of_a_connection(context)) == "python"
    assert set(asked) == {"read", "write"}


@RASYNCIO_ONLY
def test_a_path_that_is_none_is_refused(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RASYNCIO_TLS", "by hand")

    async def main() -> None:
        ours, theirs = connected_pair()
        with ours, theirs, pytest.raises(ValueError, match="RASYNCIO_TLS must be 'native' or 'python'"):
            loop = asyncio.get_running_loop()
            await soon(
                loop.create_connection(
                    asyncio.Protocol, sock=ours, ssl=client_context(), server_hostname=NAME
                )
            )

    run(main())


@RASYNCIO_ONLY
def test_another_library_s_error_is_not_taken_for_ours(run: Any) -> None:
    """What others leave in OpenSSL's queue of errors, which is one per thread."""
    if not openssl_is_in_reach():
        pytest.skip("nobody else can reach the queue of an OpenSSL that is built in")
    library = ctypes.PyDLL(_ssl.__file__)

    async def main() -> None:
        protocol = Recorder()
        async with tls_connection(protocol) as (transport, peer):
            record = peer.encrypted(b"answer")
            for part in (record[:9], record[9:]):
                leave_an_error(library)
                peer.sock.sendall(part)
                await asyncio.sleep(0)
                transport.write(b"question")
            assert await protocol.read(6) == b"answer"

    run(main())
