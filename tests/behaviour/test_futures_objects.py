"""Future as a Python object: repr, private attributes, subclasses, weak references, collection."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import gc
import re
import sys
import weakref
from typing import Any

import pytest
from turns import Trace, turn


@pytest.fixture
def future(loop: Any) -> Any:
    return loop.create_future()


def named(_future: Any) -> None:
    """A callback whose name shows in the representation."""


PLACE = r"at .*test_futures_objects\.py:\d+"


def test_the_representation_of_each_state(loop: Any) -> None:
    future = loop.create_future()
    assert repr(future) == "<Future pending>"
    future.set_result({"a": 1})
    assert repr(future) == "<Future finished result={'a': 1}>"
    future = loop.create_future()
    future.cancel()
    assert repr(future) == "<Future cancelled>"
    future = loop.create_future()
    future.set_exception(ValueError("text"))
    assert repr(future) == "<Future finished exception=ValueError('text')>"
    future.exception()


def test_long_results_are_shortened(future: Any) -> None:
    future.set_result("x" * 1000)
    assert len(repr(future)) < 100
    assert "..." in repr(future)


def test_one_two_and_many_callbacks_are_shown(future: Any) -> None:
    future.add_done_callback(named)
    assert re.fullmatch(rf"<Future pending cb=\[named\(\) {PLACE}\]>", repr(future))
    future.add_done_callback(named)
    assert re.fullmatch(rf"<Future pending cb=\[named\(\) {PLACE}, named\(\) {PLACE}\]>", repr(future))
    for _ in range(8):
        future.add_done_callback(named)
    assert re.fullmatch(
        rf"<Future pending cb=\[named\(\) {PLACE}, <8 more>, named\(\) {PLACE}\]>", repr(future)
    )


def test_a_result_that_refers_to_its_future_is_shown(future: Any) -> None:
    future.set_result([future])
    assert repr(future) == "<Future finished result=[...]>"


def test_a_representation_that_raises_comes_through_as_reprlib_shows_it(future: Any) -> None:
    class Bad:
        def __repr__(self) -> str:
            raise ValueError("no representation")

    future.set_result(Bad())
    assert re.fullmatch(r"<Future finished result=<Bad instance at 0x[0-9a-f]+>>", repr(future))


def test_the_private_attributes_of_each_state(loop: Any) -> None:
    future = loop.create_future()
    assert (future._state, future._result, future._exception, future._log_traceback) == (
        "PENDING",
        None,
        None,
        False,
    )
    assert future._loop is loop
    assert future._source_traceback is None
    assert future._cancel_message is None
    future.set_result(1)
    assert (future._state, future._result, future._exception, future._log_traceback) == (
        "FINISHED",
        1,
        None,
        False,
    )
    future = loop.create_future()
    error = ValueError()
    future.set_exception(error)
    assert (future._state, future._exception, future._log_traceback) == ("FINISHED", error, True)
    future.exception()
    assert future._log_traceback is False
    future = loop.create_future()
    future.cancel("why")
    assert (future._state, future._cancel_message) == ("CANCELLED", "why")


def test_the_traceback_flag_can_be_lowered_only(future: Any) -> None:
    future.set_exception(ValueError())
    with pytest.raises(ValueError, match="_log_traceback can only be set to False"):
        future._log_traceback = True
    future._log_traceback = False
    assert future._log_traceback is False


def test_the_cancel_message_can_be_written(future: Any) -> None:
    future._cancel_message = "written"
    assert future._cancel_message == "written"
    future.cancel()
    assert future._cancel_message is None


def test_make_cancelled_error(future: Any) -> None:
    future.cancel("why")
    error = future._make_cancelled_error()
    assert type(error) is asyncio.CancelledError
    assert error.args == ("why",)


def test_attributes_that_are_read_only(future: Any) -> None:
    for name in ("_state", "_result", "_exception", "_callbacks", "_loop"):
        with pytest.raises(AttributeError):
            setattr(future, name, None)


def test_a_plain_future_takes_attributes_too(future: Any) -> None:
    with pytest.raises(AttributeError):
        future.of_a_library  # noqa: B018
    future.of_a_library = 1
    assert future.of_a_library == 1
    del future.of_a_library
    with pytest.raises(AttributeError):
        future.of_a_library  # noqa: B018


def test_weak_references_die_with_the_future(loop: Any) -> None:
    trace = Trace()
    future = loop.create_future()
    reference = weakref.ref(future, lambda _reference: trace.note("gone"))
    assert reference() is future
    del future
    assert reference() is None
    assert trace == ["gone"]


def test_a_future_in_a_cycle_with_its_result_is_collected(loop: Any) -> None:
    future = loop.create_future()
    future.set_result([future])
    reference = weakref.ref(future)
    del future
    gc.collect()
    assert reference() is None


def test_a_future_in_a_cycle_with_its_callback_is_collected(loop: Any) -> None:
    future = loop.create_future()
    future.add_done_callback(lambda _future, me=future: None)
    future.add_done_callback(lambda _future, me=future: None)
    reference = weakref.ref(future)
    del future
    gc.collect()
    assert reference() is None


def test_a_future_in_a_cycle_with_its_exception_reports_and_is_collected(loop: Any, loop_errors: Any) -> None:
    future = loop.create_future()
    error = ValueError("lost")
    error.future = future  # type: ignore[attr-defined]
    future.set_exception(error)
    reference = weakref.ref(future)
    del future, error
    gc.collect()
    assert [context["message"] for context in loop_errors] == ["Future exception was never retrieved"]
    loop_errors.clear()
    gc.collect()
    assert reference() is None


def test_the_iterator_takes_part_in_collection(loop: Any) -> None:
    future = loop.create_future()
    iterator = iter(future)
    future.set_result([iterator])
    reference = weakref.ref(future)
    del future, iterator
    gc.collect()
    assert reference() is None


def test_hash_and_equality_are_by_identity(loop: Any) -> None:
    first, second = loop.create_future(), loop.create_future()
    assert first != second and first == first
    assert len({first, second, first}) == 2


def test_futures_cannot_be_copied_or_pickled(future: Any) -> None:
    with pytest.raises(TypeError):
        copy.copy(future)
    with pytest.raises(TypeError):
        copy.deepcopy(future)


def test_a_subclass_has_attributes_of_its_own(loop: Any, run: Any, implementation: Any) -> None:
    class Mine(implementation.future_type):  # type: ignore[misc]
        label = "of the class"

        def __init__(self, extra: int, **options: Any) -> None:
            super().__init__(**options)
            self.extra = extra

    future = Mine(5, loop=loop)
    assert (future.extra, future.label) == (5, "of the class")
    future.more = 6
    assert future.more == 6
    assert repr(future) == "<Mine pending>"
    assert isinstance(future, asyncio.Future) and asyncio.isfuture(future)

    async def main() -> Any:
        loop.call_soon(future.set_result, "result")
        return await future

    assert run(main) == "result"


def test_the_overridden_methods_of_a_subclass_are_used(loop: Any, run: Any, implementation: Any) -> None:
    trace = Trace()

    class Mine(implementation.future_type):  # type: ignore[misc]
        def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
            trace.note("add_done_callback")
            super().add_done_callback(callback, context=context)

        def result(self) -> Any:
            trace.note("result")
            return super().result()

        def cancel(self, msg: Any = None) -> bool:
            trace.note("cancel")
            return bool(super().cancel(msg))

    async def main() -> None:
        future = Mine(loop=loop)
        loop.call_soon(future.set_result, 1)
        assert await future == 1
        pending = Mine(loop=loop)
        task = asyncio.ensure_future(wait(pending))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert pending.cancelled()

    async def wait(future: Any) -> None:
        await future

    run(main)
    assert trace.count("add_done_callback") == 2
    assert trace.count("cancel") == 1
    assert "result" in trace


def test_a_subclass_that_forgot_to_initialize_says_so(implementation: Any) -> None:
    class Forgot(implementation.future_type):  # type: ignore[misc]
        def __init__(self) -> None:
            """Does not call the base."""

    future = Forgot()
    uninitialized = (RuntimeError, AttributeError)
    for ask in (future.result, future.exception):
        with pytest.raises(asyncio.InvalidStateError):
            ask()
    for use in (lambda: future.set_result(1), future.get_loop):
        with pytest.raises(uninitialized):
            use()
    with pytest.raises(uninitialized):
        future.add_done_callback(named)


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="3.15 refuses to initialize twice")
def test_initializing_twice_starts_afresh(loop: Any, implementation: Any) -> None:
    future = implementation.future_type(loop=loop)
    future.set_result(1)
    future.__init__(loop=loop)
    assert not future.done()


@pytest.mark.skipif(sys.version_info < (3, 15), reason="refused from 3.15 on")
def test_initializing_twice_is_refused(loop: Any, implementation: Any) -> None:
    class Mine(implementation.future_type):  # type: ignore[misc]
        pass

    work = asyncio.sleep(0)
    task = implementation.task_type(work, loop=loop)
    made: Any
    for made, arguments in (
        (implementation.future_type(loop=loop), ()),
        (Mine(loop=loop), ()),
        (task, (work,)),
    ):
        with pytest.raises(RuntimeError, match=f"{type(made).__qualname__} object is already initialized"):
            made.__init__(*arguments, loop=loop)
    loop.run_until_complete(task)


def test_the_class_is_generic_in_annotations(implementation: Any) -> None:
    assert implementation.future_type[int].__args__ == (int,)


def test_a_subclass_can_be_made_of_the_standard_librarys_future_too(loop: Any, run: Any) -> None:
    class Theirs(asyncio.Future):  # type: ignore[type-arg]
        pass

    async def main() -> Any:
        future = Theirs()
        loop.call_soon(future.set_result, "theirs")
        return await future

    assert run(main) == "theirs"


def test_wrap_future_of_a_concurrent_future(loop: Any, run: Any) -> None:
    async def main() -> Any:
        theirs: concurrent.futures.Future[str] = concurrent.futures.Future()
        ours = asyncio.wrap_future(theirs)
        loop.call_soon(theirs.set_result, "chained")
        return await ours

    assert run(main) == "chained"


def test_wrap_future_leaves_a_future_of_a_loop_as_it_is(loop: Any, future: Any) -> None:
    assert asyncio.wrap_future(future) is future
    assert asyncio.ensure_future(future) is future
    assert asyncio.ensure_future(future, loop=loop) is future


def test_ensure_future_refuses_another_loop(future: Any) -> None:
    other = asyncio.new_event_loop()
    with pytest.raises(ValueError, match="The future belongs to a different loop than the one specified"):
        asyncio.ensure_future(future, loop=other)  # noqa: RUF006
    other.close()


def test_isfuture_looks_for_the_flag_in_the_class(loop: Any) -> None:
    class Duck:
        _asyncio_future_blocking = False

    assert asyncio.isfuture(Duck())
    assert not asyncio.isfuture(Duck)
    assert not asyncio.isfuture(1)
    assert not asyncio.isfuture(loop)


def test_the_loop_is_told_through_call_soon_only(implementation: Any) -> None:
    """A future works on any object that has call_soon; libraries test with such loops."""
    trace = Trace()

    class Loop:
        def call_soon(self, callback: Any, *arguments: Any, context: Any = None) -> None:
            trace.note(callback, arguments)

        def get_debug(self) -> bool:
            return False

    future = implementation.future_type(loop=Loop())
    future.add_done_callback(named)
    future.set_result(1)
    assert trace == [(named, (future,))]


def test_a_future_set_by_another_loops_callback(loop: Any, implementation: Any, run: Any) -> None:
    other = implementation.new_event_loop()
    future = loop.create_future()
    other.call_soon(future.set_result, "from the other")
    turn(other)
    assert run(future) == "from the other"
    other.close()
