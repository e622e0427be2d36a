"""A process that forks while it has a loop: the child is refused the loop, the parent does not notice."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.slow

PARENT = """
    import asyncio, os, signal, socket, sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)


    def refused(use):
        try:
            use()
        except RuntimeError:
            return True
        print("not refused:", use, flush=True)
        return False


    def in_child(work):
        '''Forks, runs `work` in the child, answers whether it was content.'''
        child = os.fork()
        if not child:
            signal.alarm(10)  # Ends a child that a loop keeps.
            code = 1
            try:
                code = 0 if work() else 2
            finally:
                sys.stdout.flush()
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


    async def echo(reader, writer):
        writer.write(await reader.read(100))
        writer.close()


    async def exchange(address):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"parent")
        assert await reader.read(100) == b"parent"
        writer.close()
        await writer.wait_closed()


    async def main(work):
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        ours, peer = socket.socketpair()
        watched = loop.create_future()
        loop.add_reader(ours, lambda: watched.done() or watched.set_result(ours.recv(10)))
        await exchange(address)
        print("child", in_child(lambda: work(loop, ours)))
        peer.send(b"x")
        assert await asyncio.wait_for(watched, 10) == b"x"
        await asyncio.wait_for(exchange(address), 10)
        woken = loop.create_future()
        loop.call_soon_threadsafe(woken.set_result, "woken")
        print(await asyncio.wait_for(woken, 10))
        server.close()
        loop.remove_reader(ours)
        ours.close()
        peer.close()


    def run(work):
        loop = aio.new_event_loop()
        loop.run_until_complete(main(work))
        loop.close()
        print("parent done")
"""

FINE = "child 0\nwoken\nparent done\n"


def ends(result: Any, expected: str) -> None:
    assert (result.stdout, result.stderr, result.returncode) == (expected, "", 0)


def test_a_child_that_only_ends_disturbs_nothing(script: Any) -> None:
    ends(script(PARENT + "    run(lambda loop, sock: True)\n"), FINE)


def test_a_child_has_no_running_loop(script: Any) -> None:
    ends(script(PARENT + "    run(lambda loop, sock: refused(asyncio.get_running_loop))\n"), FINE)


def test_a_child_may_run_a_loop_of_its_own(script: Any) -> None:
    work = """
    def work(loop, sock):
        async def own():
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            async with server:
                await exchange(server.sockets[0].getsockname())

        fresh = aio.new_event_loop()
        fresh.run_until_complete(own())
        fresh.close()
        return True

    run(work)
    """
    ends(script(PARENT + work), FINE)


@pytest.mark.rasyncio_only("asyncio lets the child use, and disturb, the loop of its parent")
@pytest.mark.parametrize(
    "use",
    [
        "loop.call_soon(print)",
        "loop.call_later(1, print)",
        "loop.call_soon_threadsafe(print)",
        "loop.add_reader(sock, print)",
        "loop.remove_reader(sock)",
        "loop.run_forever()",
        "loop.run_until_complete(asyncio.sleep(0))",
        "loop.create_task(asyncio.sleep(0))",
    ],
)
def test_a_child_is_refused_the_loop_of_its_parent(script: Any, use: str) -> None:
    work = f"""
    warnings.simplefilter("ignore", RuntimeWarning)
    run(lambda loop, sock: refused(lambda: {use}))
    """
    ends(script(PARENT + work), FINE)


def test_a_child_that_closes_everything_it_inherited_disturbs_nothing(script: Any) -> None:
    work = """
    def work(loop, sock):
        try:
            loop.close()
        except RuntimeError:
            pass
        sock.close()
        return True

    run(work)
    """
    ends(script(PARENT + work), FINE)


@pytest.mark.rasyncio_only("asyncio lets the child use the loop of its parent")
def test_a_loop_made_before_the_fork_and_not_yet_run_is_refused_as_well(script: Any) -> None:
    work = """
    loop = aio.new_event_loop()
    print("child", in_child(lambda: refused(loop.run_forever) and refused(lambda: loop.call_soon(print))))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    """
    ends(script(PARENT + work), "child 0\n")
