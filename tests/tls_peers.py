"""The other end of the wire for the TLS tests: certificates of this run, a peer that does as it is told.

A `TlsPeer` keeps its cipher text in memory: a test decides when and in which pieces it goes over the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import trustme
from net_peers import BufferedRecorder, Calls, connected_pair, in_thread, soon

NAME = "server.test"
"""The name in the certificate that `server_context` shows."""


@functools.cache
def authority() -> trustme.CA:
    """Who signs every certificate; `client_context` trusts it and nobody else."""
    return trustme.CA()


@functools.cache
def identity(name: str = NAME) -> trustme.LeafCert:
    """A certificate for `name`, with its key."""
    return authority().issue_cert(name)


def server_context(name: str = NAME) -> ssl.SSLContext:
    """A server's context of the standard library that shows a certificate for `name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity(name).configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    """A client's context of the standard library that checks name and authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    return context


def limited(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    """The context, for one version of TLS only."""
    context.minimum_version = context.maximum_version = version
    return context


class TlsPeer:
    """One end of a TLS connection on a blocking socket."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server_side: bool) -> None:
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=server_side,
            server_hostname=None if server_side else NAME,
        )

    def flush(self) -> None:
        """Sends the cipher text that waits."""
        self.sock.sendall(self.outgoing.read())

    def step(self, action: Any, *arguments: Any) -> Any:
        """Runs one action of the TLS object to its end, sending and receiving what it needs."""
        while True:
            try:
                result = action(*arguments)
            except ssl.SSLWantReadError:
                self.flush()
                received = self.sock.recv(1 << 16)
                if not received:
                    raise ConnectionAbortedError("the other end left") from None
                self.incoming.write(received)
            else:
                self.flush()
                return result

    def shake_hands(self) -> None:
        """Shakes hands, or tells the other end why not, hangs up and raises."""
        try:
            self.step(self.tls.do_handshake)
        except BaseException:
            with contextlib.suppress(OSError):
                self.flush()
            self.close()
            raise

    def encrypted(self, data: bytes) -> bytes:
        """The cipher text for `data`, which is not sent."""
        self.tls.write(data)
        return self.outgoing.read()

    def send(self, data: bytes) -> None:
        self.sock.sendall(self.encrypted(data))

    def receive(self, count: int) -> bytes:
        """So many bytes, or fewer when the other end says goodbye before."""
        received = bytearray()
        # ZeroReturn is how a goodbye shows to who said one already.
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while len(received) < count:
                chunk = self.step(self.tls.read, min(count - len(received), 1 << 16))
                if not chunk:
                    break
                received += chunk
        return bytes(received)

    def receive_to_goodbye(self) -> bytes:
        """Everything up to the other end's close_notify; ConnectionAbortedError when that is missing."""
        return self.receive(1 << 62)

    def say_goodbye(self) -> None:
        """Sends close_notify, without waiting for the other end's."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.flush()

    def shut_down(self) -> bytes:
        """Receives to the other end's goodbye and answers it."""
        received = self.receive_to_goodbye()
        self.say_goodbye()
        return received

    def close(self) -> None:
        self.sock.close()


class LendingRecorder(BufferedRecorder):
    """Lends a view: of a bytearray, asyncio's TLS fills a copy when more than one record comes."""

    def get_buffer(self, sizehint: int) -> Any:
        return memoryview(super().get_buffer(sizehint))


SIDES = ["client", "server"]
"""Which end the loop under test is."""


async def tls_transport_to_peer(
    protocol: asyncio.BaseProtocol, side: str = "client", **options: Any
) -> tuple[asyncio.Transport, TlsPeer]:
    """A TLS transport of the loop under test on one end of a connection, and the peer on the other."""
    ours, theirs = connected_pair()
    loop = asyncio.get_running_loop()
    peer_context = options.pop("peer_context", None)
    if side == "client":
        peer = TlsPeer(theirs, peer_context or server_context(), server_side=True)
        options = {"ssl": client_context(), "server_hostname": NAME, **options}
        connecting: Any = loop.create_connection(lambda: protocol, sock=ours, **options)
    else:
        peer = TlsPeer(theirs, peer_context or client_context(), server_side=False)
        options = {"ssl": server_context(), **options}
        connecting = loop.connect_accepted_socket(lambda: protocol, ours, **options)
    transport, _ = (await asyncio.gather(connecting, in_thread(peer.shake_hands)))[0]
    return transport, peer


async def tls_closed(transport: asyncio.Transport, protocol: Calls, peer: TlsPeer) -> None:
    """Ends a connection that a test is done with, so that nothing of it is left."""
    transport.abort()
    await soon(protocol.lost)
    peer.close()


@contextlib.asynccontextmanager
async def tls_connection(
    protocol: Calls, side: str = "client", **options: Any
) -> AsyncIterator[tuple[asyncio.Transport, TlsPeer]]:
    """`tls_transport_to_peer`, with the end that a test needs not look at."""
    transport, peer = await tls_transport_to_peer(protocol, side, **options)
    try:
        yield transport, peer
    finally:
        await tls_closed(transport, protocol, peer)
