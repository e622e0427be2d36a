"""Any `ssl.SSLContext` means to the loop what it means to the standard library."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from net_peers import (
    Recorder,
    connected_pair,
    in_thread,
    kernel_asked,
    soon,
)
from tls_peers import (
    NAME,
    SIDES,
    TlsPeer,
    authority,
    client_context,
    identity,
    limited,
    server_context,
    tls_connection,
)

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


async def talks(protocol: Recorder, transport: asyncio.Transport, peer: TlsPeer) -> None:
    """Both directions work."""
    transport.write(b"ping")
    assert await in_thread(peer.receive, 4) == b"ping"
    peer.send(b"pong")
    assert await protocol.read(4) == b"pong"


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_context_says_which_version_is_spoken(run: Any, side: str, version: Any) -> None:
    async def main() -> None:
        context = limited(client_context() if side == "client" else server_context(), version)
        protocol = Recorder()
        async with tls_connection(protocol, side, ssl=context) as (transport, peer):
            assert transport.get_extra_info("ssl_object").version() == version.name.replace("_", ".")
            assert transport.get_extra_info("cipher") == peer.tls.cipher()
            await talks(protocol, transport, peer)

    run(main())


def test_nothing_is_verified_without_verification(run: Any) -> None:
    async def main() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        protocol = Recorder()
        options: dict[str, Any] = {"ssl": context, "server_hostname": "whatever"}
        async with tls_connection(protocol, **options) as (transport, peer):
            assert transport.get_extra_info("peercert") == {}
            await talks(protocol, transport, peer)

    run(main())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_shows_its_certificate(run: Any, version: Any) -> None:
    async def main() -> None:
        theirs = client_context()
        authority().issue_cert("client.test").configure_cert(theirs)
        ours = limited(server_context(), version)
        ours.verify_mode = ssl.CERT_REQUIRED
        authority().configure_trust(ours)
        protocol = Recorder()
        options = {"ssl": ours, "peer_context": theirs}
        async with tls_connection(protocol, "server", **options) as (transport, peer):
            shown = transport.get_extra_info("peercert")
            assert shown["subjectAltName"] == (("DNS", "client.test"),)
            await talks(protocol, transport, peer)

    run(main())


def test_a_client_without_the_certificate_that_is_asked_for(run: Any, loop_errors: list[Any]) -> None:
    async def main() -> None:
        context = server_context()
        context.verify_mode = ssl.CERT_REQUIRED
        authority().configure_trust(context)
        ours, theirs = connected_pair()
        peer = TlsPeer(theirs, client_context(), server_side=False)
        loop = asyncio.get_running_loop()
        shaking = in_thread(peer.shake_hands)
        with pytest.raises(ssl.SSLError, match=r"(?i)peer did not return a certificate"):
            await loop.connect_accepted_socket(Recorder, ours, ssl=context)
        # In TLS 1.3 the client is through before the server has seen that there is no certificate.
        await shaking
        peer.close()
        await kernel_asked()

    run(main())
    assert loop_errors == []


def test_a_certificate_that_is_asked_for_after_the_handshake(run: Any) -> None:
    """The request comes while the client reads, and its answer has to be written by reading."""

    async def main() -> None:
        ours = limited(client_context(), ssl.TLSVersion.TLSv1_3)
        ours.post_handshake_auth = True
        authority().issue_cert("client.test").configure_cert(ours)
        theirs = server_context()
        theirs.verify_mode = ssl.CERT_OPTIONAL
        theirs.post_handshake_auth = True
        authority().configure_trust(theirs)
        protocol = Recorder()
        async with tls_connection(protocol, ssl=ours, peer_context=theirs) as (transport, peer):
            assert peer.tls.getpeercert() is None
            peer.tls._sslobj.verify_client_post_handshake()  # type: ignore[attr-defined]
            peer.send(b"who are you?")
            assert await protocol.read(12) == b"who are you?"
            transport.write(b"this is me")
            assert await in_thread(peer.receive, 10) == b"this is me"
            certificate = peer.tls.getpeercert()
            assert certificate is not None
            assert certificate["subjectAltName"] == (("DNS", "client.test"),)

    run(main())


def test_the_sni_callback_chooses_the_context(run: Any) -> None:
    async def main() -> None:
        asked: list[Any] = []
        plain, chosen = server_context("plain.test"), server_context()

        def choose(tls: ssl.SSLObject, name: str, context: ssl.SSLContext) -> None:
            asked.append((type(tls), name, context is plain))
            tls.context = chosen

        plain.sni_callback = choose
        protocol = Recorder()
        async with tls_connection(protocol, "server", ssl=plain) as (transport, peer):
            assert asked == [(ssl.SSLObject, NAME, True)]
            assert transport.get_extra_info("sslcontext") is plain
            assert transport.get_extra_info("ssl_object").context is chosen
            await talks(protocol, transport, peer)

    run(main())


def test_an_sni_callback_that_refuses(run: Any, loop_errors: list[Any]) -> None:
    async def main() -> None:
        context = server_context()
        context.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        ours, theirs = connected_pair()
        theirs.sendall(hello())
        loop = asyncio.get_running_loop()
        with pytest.raises(ssl.SSLError, match=r"(?i)callback.failed"):
            await soon(loop.connect_accepted_socket(Recorder, ours, ssl=context))
        theirs.close()
        await kernel_asked()

    run(main())
    assert loop_errors == []


def hello() -> bytes:
    """What a client says first."""
    outgoing = ssl.MemoryBIO()
    tls = client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=NAME)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("side", SIDES)
def test_alpn_settles_a_protocol(run: Any, side: str) -> None:
    async def main() -> None:
        ours, theirs = client_context(), server_context()
        if side == "server":
            ours, theirs = theirs, ours
        ours.set_alpn_protocols(["h2", "http/1.1"])
        theirs.set_alpn_protocols(["http/1.1"])
        async with tls_connection(Recorder(), side, ssl=ours, peer_context=theirs) as (transport, peer):
            assert transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
            assert peer.tls.selected_alpn_protocol() == "http/1.1"

    run(main())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_is_taken_up_again(run: Any, version: Any) -> None:
    """A context whose `wrap_bio` hands the last session on."""

    class Resuming(ssl.SSLContext):
        session: ssl.SSLSession | None = None

        def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
            kwargs["session"] = self.session
            return super().wrap_bio(*args, **kwargs)

    async def main() -> None:
        theirs = server_context()
        ours = Resuming(ssl.PROTOCOL_TLS_CLIENT)
        limited(ours, version)
        authority().configure_trust(ours)
        reused = []
        for _ in range(2):
            protocol = Recorder()
            async with tls_connection(protocol, ssl=ours, peer_context=theirs) as (transport, peer):
                await talks(protocol, transport, peer)
                tls = transport.get_extra_info("ssl_object")
                reused.append((tls.session_reused, peer.tls.session_reused))
                ours.session = tls.session
        assert reused == [(False, False), (True, True)]

    run(main())


def test_a_key_may_be_encrypted(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        from cryptography.hazmat.primitives import serialization

        leaf = identity()
        key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
        locked = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
        (tmp_path / "key").write_bytes(locked)
        (tmp_path / "chain").write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "chain", tmp_path / "key", password=lambda: "secret")
        protocol = Recorder()
        async with tls_connection(protocol, "server", ssl=context) as (transport, peer):
            await talks(protocol, transport, peer)

    run(main())


@pytest.mark.parametrize("side", SIDES)
def test_a_class_of_ones_own_for_the_tls_object(run: Any, side: str) -> None:
    calls: list[str] = []

    class Watched(ssl.SSLObject):
        def do_handshake(self) -> None:
            calls.append("do_handshake")
            super().do_handshake()

        def read(self, len: int = 1024, buffer: Any = None) -> Any:
            calls.append("read")
            return super().read(len, buffer)

        def write(self, data: Any) -> int:
            # Not everything at once.
            calls.append("write")
            return super().write(memoryview(data)[:3])

        def unwrap(self) -> Any:
            calls.append("unwrap")
            return super().unwrap()

    async def main() -> None:
        context = client_context() if side == "client" else server_context()
        context.sslobject_class = Watched
        protocol = Recorder()
        async with tls_connection(protocol, side, ssl=context) as (transport, peer):
            assert type(transport.get_extra_info("ssl_object")) is Watched
            await talks(protocol, transport, peer)
            transport.close()
            assert await in_thread(peer.shut_down) == b""
            await soon(protocol.lost)

    run(main())
    assert set(calls) == {"do_handshake", "read", "write", "unwrap"}
    assert calls.count("write") == 2


def test_what_a_tls_object_raises_ends_the_connection(run: Any, loop_errors: list[Any]) -> None:
    class Broken(ssl.SSLObject):
        def write(self, data: Any) -> int:
            raise ZeroDivisionError

    async def main() -> None:
        context = client_context()
        context.sslobject_class = Broken
        protocol = Recorder()
        async with tls_connection(protocol, ssl=context) as (transport, _):
            transport.write(b"anything")
            assert isinstance(await soon(protocol.lost), ZeroDivisionError)

    run(main())
    assert [report["message"] for report in loop_errors] == ["Fatal error on SSL protocol"]


def test_messages_are_shown_to_who_wants_to_see_them(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        context = client_context()
        context.keylog_filename = str(tmp_path / "keys")
        protocol = Recorder()
        async with tls_connection(protocol, ssl=context) as (transport, peer):
            await talks(protocol, transport, peer)
        assert "CLIENT" in (tmp_path / "keys").read_text()

    run(main())
