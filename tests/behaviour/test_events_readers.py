"""add_reader and add_writer on descriptors of the user's own, here pipes and socket pairs."""

from __future__ import annotations

import contextvars
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from turns import Trace, turn


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    with open(reading, "rb", 0) as reader, open(writing, "wb", 0) as writer:
        yield reader.fileno(), writer.fileno()


def run_until(loop: Any, condition: Any) -> None:
    """Turns the loop until the condition holds; each turn blocks in the kernel until something happens."""

    def check() -> None:
        if condition():
            loop.stop()
        else:
            loop.call_later(0.001, check)

    check()
    loop.run_forever()


def test_a_reader_is_called_when_there_is_something_to_read(loop: Any, pipe: Any) -> None:
    reading, writing = pipe
    trace = Trace()

    def read() -> None:
        trace.note(os.read(reading, 100))
        loop.stop()

    assert loop.add_reader(reading, read) is None
    turn(loop, 2)
    assert trace == []
    os.write(writing, b"data")
    loop.run_forever()
    assert trace == [b"data"]
    assert loop.remove_reader(reading) is True


def test_a_reader_is_called_again_as_long_as_there_is_more(loop: Any, pipe: Any) -> None:
    reading, writing = pipe
    trace = Trace()

    def read() -> None:
        trace.note(os.read(reading, 1))
        if len(trace) == 4:
            loop.stop()

    loop.add_reader(reading, read)
    os.write(writing, b"abcd")
    loop.run_forever()
    assert trace == [b"a", b"b", b"c", b"d"]
    loop.remove_reader(reading)


def test_a_reader_is_called_once_a_turn(loop: Any, pipe: Any) -> None:
    reading, writing = pipe
    trace = Trace()
    loop.add_reader(reading, trace.note, "ready")
    os.write(writing, b"unread")
    turn(loop)
    assert trace == ["ready"]
    turn(loop)
    assert trace == ["ready", "ready"]
    loop.remove_reader(reading)


def test_a_reader_gets_its_arguments_and_the_context_of_its_registration(loop: Any, pipe: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    reading, writing = pipe
    trace = Trace()
    token = variable.set("then")
    loop.add_reader(reading, lambda *values: trace.note(*values, variable.get()), 1, "two")
    variable.reset(token)
    os.write(writing, b".")
    turn(loop)
    assert trace == [(1, "two", "then")]
    loop.remove_reader(reading)


def test_the_end_of_the_file_makes_a_reader_ready(loop: Any) -> None:
    reading, writing = os.pipe()
    trace = Trace()

    def read() -> None:
        trace.note(os.read(reading, 100))
        loop.remove_reader(reading)
        loop.stop()

    loop.add_reader(reading, read)
    os.close(writing)
    loop.run_forever()
    os.close(reading)
    assert trace == [b""]


def test_a_writer_is_called_when_there_is_room(loop: Any, pipe: Any) -> None:
    reading, writing = pipe
    trace = Trace()
    filled = 0
    with pytest.raises(BlockingIOError):
        while True:
            filled += os.write(writing, bytes(65536))
    assert loop.add_writer(writing, trace.note, "room") is None
    turn(loop, 2)
    assert trace == []
    while filled:
        filled -= len(os.read(reading, filled))
    turn(loop)
    assert trace == ["room"]
    assert loop.remove_writer(writing) is True


def test_the_end_of_the_other_side_makes_a_writer_ready(loop: Any) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writing, bytes(65536))
    trace = Trace()
    loop.add_writer(writing, lambda: (trace.note("broken"), loop.remove_writer(writing), loop.stop()))
    os.close(reading)
    loop.run_forever()
    os.close(writing)
    assert trace == ["broken"]


def test_one_socket_may_have_a_reader_and_a_writer(loop: Any) -> None:
    ours, theirs = socket.socketpair()
    trace = Trace()
    with ours, theirs:
        loop.add_reader(ours, trace.note, "read")
        loop.add_writer(ours, trace.note, "write")
        turn(loop)
        assert trace == ["write"]
        theirs.send(b".")
        turn(loop)
        assert sorted(trace[1:]) == ["read", "write"]
        trace.clear()
        assert loop.remove_writer(ours) is True
        turn(loop)
        assert trace == ["read"]
        assert loop.remove_reader(ours) is True
        turn(loop)
        assert trace == ["read"]
        assert loop.remove_reader(ours) is False
        assert loop.remove_writer(ours) is False


def test_a_second_reader_replaces_the_first(loop: Any, pipe: Any) -> None:
    reading, writing = pipe
    trace = Trace()
    loop.add_reader(reading, trace.note, "first")
    loop.add_reader(reading, trace.note, "second")
    os.write(writing, b".")
    turn(loop)
    assert trace == ["second"]
    assert loop.remove_reader(reading) is True
    assert loop.remove_reader(reading) is False


def test_a_reader_removed_in_the_turn_it_was_ready_is_not_called(loop: Any) -> None:
    first, first_peer = socket.socketpair()
    second, second_peer = socket.socketpair()
    trace = Trace()
    with first, first_peer, second, second_peer:

        def called(mine: socket.socket, other: socket.socket) -> None:
            trace.note("called")
            loop.remove_reader(mine)
            loop.remove_reader(other)

        loop.add_reader(first, called, first, second)
        loop.add_reader(second, called, second, first)
        first_peer.send(b".")
        second_peer.send(b".")
        turn(loop, 3)
    assert trace == ["called"]


def test_a_reader_may_add_and_remove_itself(loop: Any, pipe: Any) -> None:
    reading, writing = pipe
    trace = Trace()

    def second() -> None:
        trace.note("second")
        loop.remove_reader(reading)
        loop.stop()

    def first() -> None:
        trace.note("first")
        loop.remove_reader(reading)
        loop.add_reader(reading, second)

    loop.add_reader(reading, first)
    os.write(writing, b".")
    loop.run_forever()
    assert trace == ["first", "second"]


def test_ready_descriptors_run_behind_what_was_ready_already_and_before_timers(loop: Any, pipe: Any) -> None:
    reading, writing = pipe
    trace = Trace()
    loop.add_reader(reading, trace.note, "reader")
    os.write(writing, b".")
    loop.call_later(0, trace.note, "timer")
    loop.call_soon(trace.note, "ready")
    turn(loop)
    assert trace == ["ready", "reader", "timer"]
    loop.remove_reader(reading)


def test_a_raising_reader_is_reported_and_stays(loop: Any, pipe: Any, loop_errors: Any) -> None:
    reading, writing = pipe
    loop.add_reader(reading, lambda: 1 / 0)
    os.write(writing, b".")
    turn(loop, 2)
    assert [type(context["exception"]) for context in loop_errors] == [ZeroDivisionError] * 2
    assert loop.remove_reader(reading) is True


def test_readers_do_not_starve_the_rest(loop: Any, pipe: Any) -> None:
    reading, writing = pipe
    trace = Trace()
    loop.add_reader(reading, lambda: None)
    os.write(writing, b".")
    loop.call_later(0.002, trace.note, "timer")
    run_until(loop, lambda: trace == ["timer"])
    loop.remove_reader(reading)


def test_a_file_object_may_be_given_in_place_of_its_number(loop: Any) -> None:
    reading, writing = os.pipe()
    trace = Trace()
    with open(reading, "rb", 0) as reader, open(writing, "wb", 0) as writer:
        loop.add_reader(reader, trace.note, "by object")
        writer.write(b".")
        turn(loop)
        assert trace == ["by object"]
        assert loop.remove_reader(reading) is True


@pytest.mark.parametrize("thing", ["text", None, 1.5, object()])
def test_what_is_no_file_is_refused(loop: Any, thing: Any) -> None:
    for call in (loop.add_reader, loop.add_writer):
        with pytest.raises(ValueError, match="Invalid file object"):
            call(thing, print)
    for remove in (loop.remove_reader, loop.remove_writer):
        with pytest.raises(ValueError, match="Invalid file object"):
            remove(thing)


def test_a_negative_number_is_refused(loop: Any) -> None:
    for call in (loop.add_reader, loop.add_writer):
        with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
            call(-1, print)


def test_a_closed_file_is_refused(loop: Any) -> None:
    reader = socket.socket()
    reader.close()
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        loop.add_reader(reader, print)


def test_a_regular_file_cannot_be_watched(loop: Any, tmp_path: Any) -> None:
    with open(tmp_path / "file", "wb") as file:
        with pytest.raises(PermissionError):
            loop.add_reader(file, print)
        assert loop.remove_reader(file) is False


def test_a_number_that_is_not_open_is_refused(loop: Any) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with pytest.raises(OSError):
        loop.add_reader(reading, print)


def test_the_callback_is_needed(loop: Any, pipe: Any) -> None:
    with pytest.raises(TypeError):
        loop.add_reader(pipe[0])
    with pytest.raises(TypeError):
        loop.add_writer()


def test_a_closed_loop_has_no_readers_to_remove(loop: Any, pipe: Any) -> None:
    loop.add_reader(pipe[0], print)
    loop.close()
    assert loop.remove_reader(pipe[0]) is False
    assert loop.remove_writer(pipe[1]) is False


def test_the_number_of_a_closed_file_may_be_watched_again_under_the_same_number(loop: Any) -> None:
    trace = Trace()
    reading, writing = os.pipe()
    loop.add_reader(reading, trace.note, "old")
    loop.remove_reader(reading)
    os.close(reading)
    os.close(writing)
    again_reading, again_writing = os.pipe()
    assert again_reading == reading
    loop.add_reader(again_reading, trace.note, "new")
    os.write(again_writing, b".")
    turn(loop)
    loop.remove_reader(again_reading)
    os.close(again_reading)
    os.close(again_writing)
    assert trace == ["new"]


def test_many_descriptors_at_once(loop: Any) -> None:
    trace = Trace()
    pairs = [socket.socketpair() for _ in range(100)]
    for number, (ours, theirs) in enumerate(pairs):
        loop.add_reader(ours, trace.note, number)
        theirs.send(b".")
    turn(loop)
    assert sorted(trace) == list(range(100))
    for ours, theirs in pairs:
        loop.remove_reader(ours)
        ours.close()
        theirs.close()
