"""Protocols that raise on a transport of a pipe, or are of the wrong kind, are reported as by asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from net_peers import in_thread, kernel_asked, soon
from net_pipes import PipeRecorder, ended, ends, filled, put, reading_from, take, writing_to

READ_READY = "Exception in callback _UnixReadPipeTransport._read_ready()"


def test_a_protocol_that_raises_at_data_is_reported_and_told_of_more(
    loop: Any, run: Any, loop_errors: list[Any]
) -> None:
    class Failure(Exception):
        pass

    class Raising(PipeRecorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            raise Failure

    async def main() -> None:
        protocol = Raising()
        _, peer = await reading_from("pipe", protocol)
        put(peer, b"one")
        await protocol.read(3)
        put(peer, b"two")
        await protocol.read(6)
        peer.close()
        assert await soon(protocol.lost) is None
        assert protocol.calls[-2:] == ["eof_received", "connection_lost"]

    run(main())
    assert [context["message"] for context in loop_errors] == [READ_READY] * 2
    assert {type(context["exception"]) for context in loop_errors} == {Failure}


@pytest.mark.parametrize("call", ["connection_made", "eof_received", "connection_lost"])
def test_a_protocol_that_raises_elsewhere_is_reported_and_the_pipe_closed_all_the_same(
    loop: Any, run: Any, loop_errors: list[Any], call: str
) -> None:
    class Failure(Exception):
        pass

    class Raising(PipeRecorder):
        pass

    def raising(self: Raising, *arguments: Any) -> None:
        getattr(PipeRecorder, call)(self, *arguments)
        raise Failure

    setattr(Raising, call, raising)

    async def main() -> None:
        protocol = Raising()
        transport, peer = await reading_from("pipe", protocol)
        put(peer, b"hello")
        await protocol.read(5)
        peer.close()
        await soon(protocol.lost)
        await kernel_asked()
        assert protocol.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]
        assert transport.get_extra_info("pipe").closed

    run(main())
    (context,) = loop_errors
    assert isinstance(context["exception"], Failure)
    assert context["message"].startswith("Exception in callback ")


def test_a_protocol_with_a_buffer_of_its_own_is_not_served(
    loop: Any, run: Any, loop_errors: list[Any]
) -> None:
    """asyncio's pipes know `data_received()` only."""

    class Buffered(asyncio.BufferedProtocol):
        def get_buffer(self, sizehint: int) -> Any:
            raise AssertionError("nobody asks for it")

    async def main() -> None:
        ours, peer = ends("pipe")
        transport, _ = await loop.connect_read_pipe(Buffered, ours)
        put(peer, b"hello")
        await kernel_asked()
        assert not transport.is_closing()
        transport.close()
        await kernel_asked()
        peer.close()

    run(main())
    assert loop_errors
    assert {context["message"] for context in loop_errors} == {READ_READY}
    assert {type(context["exception"]) for context in loop_errors} == {AttributeError}


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_passes_through(loop: Any, run: Any, fatal: type[BaseException]) -> None:
    class Fatal(PipeRecorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if len(self.received) == 3:
                raise fatal

    async def connect() -> tuple[Any, Any, Any]:
        protocol = Fatal()
        return protocol, *await reading_from("pipe", protocol)

    protocol, _, peer = run(connect())
    put(peer, b"one")
    with pytest.raises(fatal):
        loop.run_forever()
    put(peer, b"two")
    peer.close()
    run(protocol.lost)
    assert protocol.received == b"onetwo"


@pytest.mark.parametrize("call", ["pause_writing", "resume_writing"])
def test_flow_control_that_raises_is_reported(loop: Any, run: Any, loop_errors: list[Any], call: str) -> None:
    class Failure(Exception):
        pass

    class Raising(PipeRecorder):
        pass

    def raising(self: Raising) -> None:
        getattr(PipeRecorder, call)(self)
        raise Failure

    setattr(Raising, call, raising)

    async def main() -> None:
        protocol = Raising()
        transport, peer = await writing_to("pipe", protocol)
        transport.set_write_buffer_limits(high=0)
        before = filled(transport)
        await in_thread(take, peer, before)
        await soon(protocol.resumed)
        await ended(transport, protocol, peer)
        (context,) = loop_errors
        assert context["message"] == f"protocol.{call}() failed"
        assert isinstance(context["exception"], Failure)
        assert context["transport"] is transport
        assert context["protocol"] is protocol

    run(main())
