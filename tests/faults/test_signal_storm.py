"""A thousand signals at a loop with a handler: none disturbs it, and it goes on serving."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.slow

BURST = """
    import asyncio, os, signal

    async def main(loop):
        calls = []
        loop.add_signal_handler(signal.SIGUSR1, calls.append, "usr1")
        for _ in range(COUNT):
            os.kill(os.getpid(), signal.SIGUSR1)
        while not calls:
            await asyncio.sleep(0)
        last = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR2, last.set_result, None)
        os.kill(os.getpid(), signal.SIGUSR2)
        await last
        assert LEAST <= len(calls) <= COUNT, len(calls)
        assert loop.remove_signal_handler(signal.SIGUSR1)

    loop = aio.new_event_loop()
    loop.run_until_complete(main(loop))
    loop.close()
    print("done")
"""


def test_a_burst_while_the_loop_is_busy_is_handled_once_it_turns(script: Any) -> None:
    """Sent by the main thread to itself, each signal is delivered before the next, so none is lost."""
    result = script(BURST.replace("COUNT", "200").replace("LEAST", "200"))
    assert (result.stdout, result.stderr, result.returncode) == ("done\n", "", 0)


@pytest.mark.rasyncio_only("asyncio has room for some 270 signals and complains of each further one")
def test_a_thousand_signals_while_the_loop_is_busy_make_no_noise(script: Any) -> None:
    result = script(BURST.replace("COUNT", "1000").replace("LEAST", "1"))
    assert (result.stdout, result.stderr, result.returncode) == ("done\n", "", 0)


def test_signals_from_outside_do_not_disturb_a_conversation(implementation: Any, script: Any) -> None:
    """A child process fires; the kernel may merge some, but the loop hears the last and loses no data."""
    count = 200 if implementation.is_oracle else 1000
    result = script(
        """
        import asyncio, os, signal, subprocess, sys

        STORM = (
            "import os, signal, sys\\n"
            "for _ in range(int(sys.argv[2])): os.kill(int(sys.argv[1]), signal.SIGUSR1)\\n"
            "os.kill(int(sys.argv[1]), signal.SIGUSR2)"
        )

        async def main(loop):
            calls = []
            served = loop.create_future()

            async def echo(reader, writer):
                while data := await reader.read(100):
                    writer.write(data)
                writer.close()
                await writer.wait_closed()
                served.set_result(None)

            over = loop.create_future()
            loop.add_signal_handler(signal.SIGUSR1, calls.append, "usr1")
            loop.add_signal_handler(signal.SIGUSR2, over.set_result, None)
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            storm = subprocess.Popen([sys.executable, "-c", STORM, str(os.getpid()), sys.argv[1]])
            rounds = 0
            while not over.done() or rounds < 200:
                word = b"%d" % rounds
                writer.write(word)
                assert await reader.readexactly(len(word)) == word
                rounds += 1
            storm.wait()
            writer.close()
            await writer.wait_closed()
            await served
            server.close()
            assert 1 <= len(calls) <= int(sys.argv[1]), len(calls)

        loop = aio.new_event_loop()
        loop.run_until_complete(asyncio.wait_for(main(loop), 30))
        loop.close()
        print("done")
        """,
        str(count),
    )
    assert (result.stdout, result.stderr, result.returncode) == ("done\n", "", 0)


def test_a_signal_wakes_a_loop_that_sleeps_for_ever(script: Any) -> None:
    result = script(
        """
        import os, signal, threading

        loop = aio.new_event_loop()
        loop.add_signal_handler(signal.SIGUSR1, loop.stop)
        loop.call_soon(lambda: threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGUSR1]).start())
        loop.run_forever()
        loop.close()
        print("done")
        """
    )
    assert (result.stdout, result.stderr, result.returncode) == ("done\n", "", 0)
