"""import rasyncio patches nothing; install() takes asyncio's names over, uninstall() gives them back.

Each test is a program of its own, because what install() does is done to the whole process.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.rasyncio_only(reason="asyncio has nothing to install")

NAMESPACES = """
    import asyncio, importlib, pkgutil, sys

    # All of asyncio is loaded first, so that the import of rasyncio cannot add a submodule.
    for found in pkgutil.iter_modules(asyncio.__path__):
        if not found.name.startswith(("windows", "proactor", "__")):
            importlib.import_module(f"asyncio.{found.name}")
    import _asyncio, concurrent.futures, contextvars, selectors, signal, socket, ssl, threading

    # This package gives its names only when they are asked for.
    concurrent.futures.ThreadPoolExecutor

    # asyncio makes its policy when it first needs one, and asyncio.run() needs one.
    asyncio.set_event_loop(None)

    PACKAGES = "asyncio _asyncio concurrent contextvars selectors signal socket ssl threading".split()
    WATCHED = [name for name in sys.modules if name.split(".")[0] in PACKAGES]

    def namespaces():
        return {(name, key): value for name in WATCHED for key, value in vars(sys.modules[name]).items()}

    def attributes_of_classes():
        return {(name, kind.__qualname__, key): value for name in WATCHED if name.startswith("asyncio")
                for kind in vars(sys.modules[name]).values() if isinstance(kind, type)
                for key, value in vars(kind).items()}

    def differences(before, after):
        return sorted(str(key) for key in {*before, *after}
                      if key not in before or key not in after or before[key] is not after[key])

    names, attributes = namespaces(), attributes_of_classes()

    def changed():
        return differences(names, namespaces()) + differences(attributes, attributes_of_classes())
"""

Program = Callable[[str], str]


@pytest.fixture
def program() -> Program:
    """Runs the text after the preamble above in a fresh interpreter; returns what it printed."""

    def run_program(source: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(NAMESPACES) + textwrap.dedent(source)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run_program


def test_import_changes_nothing_elsewhere(program: Program) -> None:
    assert (
        program("""
        def state():
            hooks = sys.excepthook, sys.unraisablehook, sys.get_asyncgen_hooks()
            return *hooks, signal.getsignal(signal.SIGINT), sys.path[:]
        before = state()
        import rasyncio
        assert state() == before
        print(changed(), threading.active_count())
        """)
        == "[] 1\n"
    )


def test_running_on_our_loop_changes_nothing_elsewhere(program: Program) -> None:
    assert (
        program("""
        import rasyncio

        async def main():
            await asyncio.gather(asyncio.sleep(0), asyncio.to_thread(print, end=""))
            async with asyncio.timeout(1), asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(0))
            print(changed())

        rasyncio.run(main())
        print(changed())
        """)
        == "[]\n[]\n"
    )


def test_a_loop_of_asyncio_still_works_beside_ours(program: Program) -> None:
    assert (
        program("""
        import rasyncio

        async def main():
            kinds = type(asyncio.get_running_loop()), type(asyncio.current_task())
            return tuple(kind.__module__.split(".")[0] for kind in kinds)

        print(asyncio.run(main()))
        print(rasyncio.run(main())[0])
        print(asyncio.run(main()))
        """)
        == "('asyncio', '_asyncio')\nrasyncio\n('asyncio', '_asyncio')\n"
    )


def test_uninstall_gives_back_every_name(program: Program) -> None:
    assert (
        program("""
        import rasyncio
        rasyncio.install()
        assert changed()
        rasyncio.uninstall()
        print(changed())
        """)
        == "[]\n"
    )


def test_install_twice_is_install_once(program: Program) -> None:
    assert (
        program("""
        import rasyncio
        rasyncio.install()
        once = namespaces()
        rasyncio.install()
        print(differences(once, namespaces()))
        rasyncio.uninstall()
        print(changed())
        rasyncio.uninstall()
        print(changed())
        """)
        == "[]\n[]\n[]\n"
    )


def test_uninstall_without_install_does_nothing(program: Program) -> None:
    assert (
        program("""
        import rasyncio
        rasyncio.uninstall()
        print(changed())
        """)
        == "[]\n"
    )


def test_install_works_again_after_uninstall(program: Program) -> None:
    assert (
        program("""
        import rasyncio
        rasyncio.install()
        first = set(changed())
        rasyncio.uninstall()
        rasyncio.install()
        print(first == set(changed()), asyncio.Task is rasyncio.Task)
        rasyncio.uninstall()
        print(changed())
        """)
        == "True True\n[]\n"
    )


def test_a_name_that_somebody_else_patched_meanwhile_is_left_to_them(program: Program) -> None:
    """uninstall must not undo what others did after install."""
    assert (
        program("""
        import rasyncio
        rasyncio.install()
        def theirs():
            pass
        asyncio.run = theirs
        rasyncio.uninstall()
        print(asyncio.run is theirs, asyncio.new_event_loop is names["asyncio", "new_event_loop"])
        """)
        == "True True\n"
    )


def test_installed_names_are_ours(program: Program) -> None:
    assert (
        program("""
        import rasyncio
        rasyncio.install()
        print(asyncio.Future is rasyncio.Future, asyncio.futures.Future is rasyncio.Future)
        print(asyncio.Task is rasyncio.Task, asyncio.tasks.Task is rasyncio.Task)
        print(asyncio.Handle is rasyncio.Handle, asyncio.events.TimerHandle is rasyncio.TimerHandle)
        print(asyncio.run is rasyncio.run, asyncio.runners.Runner is rasyncio.Runner)
        loop = asyncio.new_event_loop()
        print(isinstance(loop, rasyncio.EventLoop))
        loop.close()
        """)
        == "True True\nTrue True\nTrue True\nTrue True\nTrue\n"
    )


def test_every_way_to_run_is_ours_when_installed(program: Program) -> None:
    assert (
        program("""
        import rasyncio
        rasyncio.install()

        async def main():
            return isinstance(asyncio.get_running_loop(), rasyncio.EventLoop)

        print(asyncio.run(main()))
        with asyncio.Runner() as runner:
            print(runner.run(main()))
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        print(asyncio.get_event_loop() is loop, loop.run_until_complete(main()))
        asyncio.set_event_loop(None)
        loop.close()
        """)
        == "True\nTrue\nTrue True\n"
    )


def test_a_name_imported_before_install_still_works_on_our_loop(program: Program) -> None:
    assert (
        program("""
        from asyncio import Future, Task, create_task, current_task, get_running_loop, gather, sleep, wait_for
        import rasyncio
        rasyncio.install()

        async def child():
            await sleep(0)
            return current_task().get_name()

        async def main():
            future = Future()
            get_running_loop().call_soon(future.set_result, "a future of the standard library")
            print(await future)
            print(await gather(create_task(child(), name="one"), Task(child(), name="two")))
            print(await wait_for(child(), 60) is not None)
            print(isinstance(current_task(), Task), isinstance(get_running_loop().create_future(), Future))
            print(asyncio.isfuture(future), isinstance(future, Future))

        asyncio.run(main())
        """)
        == "a future of the standard library\n['one', 'two']\nTrue\nTrue True\nTrue True\n"
    )


def test_a_future_made_through_an_earlier_name_is_none_of_the_installed_class(program: Program) -> None:
    assert (
        program("""
        from asyncio import Future
        import rasyncio
        rasyncio.install()

        async def main():
            future = Future()
            print(asyncio.isfuture(future), isinstance(future, Future), isinstance(future, asyncio.Future))

        asyncio.run(main())
        """)
        == "True True False\n"
    )


def test_all_names_of_asyncio_are_there(program: Program) -> None:
    assert (
        program("""
        import rasyncio, warnings
        # Some names of 3.14 warn when they are looked at.
        warnings.simplefilter("ignore")
        print([name for name in asyncio.__all__ if not hasattr(rasyncio, name)])
        print(sorted(set(asyncio.__all__) - set(rasyncio.__all__)))
        own = {"install", "uninstall", "EventLoop", "EventLoopPolicy"}
        print(set(rasyncio.__all__) - set(asyncio.__all__) <= own)
        print(rasyncio.CancelledError is asyncio.CancelledError)
        """)
        == "[]\n[]\nTrue\nTrue\n"
    )


def test_rasyncio_in_place_of_asyncio_runs_a_program(program: Program) -> None:
    assert (
        program("""
        import rasyncio as aio

        async def worker(queue):
            while True:
                print(await queue.get())
                queue.task_done()

        async def main():
            queue = aio.Queue()
            task = aio.create_task(worker(queue))
            for item in range(3):
                queue.put_nowait(item)
            await queue.join()
            task.cancel()
            try:
                async with aio.timeout(60):
                    await task
            except aio.CancelledError:
                print("cancelled")

        aio.run(main())
        print(changed())
        """)
        == "0\n1\n2\ncancelled\n[]\n"
    )


def test_asyncio_s_own_loop_works_under_install(program: Program) -> None:
    """A program may ask for it by its class."""
    assert (
        program("""
        import os, tempfile
        import rasyncio
        rasyncio.install()

        async def echo(reader, writer):
            writer.write(await reader.readline())
            writer.close()
            await writer.wait_closed()

        async def ask(reader, writer):
            writer.write(b"question\\n")
            answer = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return answer

        async def main(folder):
            loop = asyncio.get_running_loop()
            assert type(loop) is asyncio.SelectorEventLoop, loop
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            assert isinstance(server, asyncio.Server)
            async with server:
                print(await ask(*await asyncio.open_connection(*server.sockets[0].getsockname())))
            path = os.path.join(folder, "path")
            async with await asyncio.start_unix_server(echo, path):
                print(await ask(*await asyncio.open_unix_connection(path)))
            async with asyncio.TaskGroup() as group, asyncio.timeout(60):
                task = group.create_task(asyncio.to_thread(lambda: "in a thread"))
            print(task.result())
            child = await asyncio.create_subprocess_exec("echo", "child", stdout=asyncio.subprocess.PIPE)
            print((await child.communicate())[0])

        with tempfile.TemporaryDirectory() as folder:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(main(folder))
        """)
        == "b'question\\n'\nb'question\\n'\nin a thread\nb'child\\n'\n"
    )
