"""Other threads: callbacks that one hands in; calls, and reading of small files, in the default executor."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from pathlib import Path

from harness.loop_rows import LoopRow

SIDE_BY_SIDE = 10
FILES = 100
FILE_SIZE = 4096


def nothing() -> None:
    pass


async def call_soon_threadsafe(operations: int) -> int:
    loop = asyncio.get_running_loop()
    all_ran = loop.create_future()

    def hand_in() -> None:
        for _ in range(operations):
            loop.call_soon_threadsafe(nothing)
        loop.call_soon_threadsafe(all_ran.set_result, None)

    thread = threading.Thread(target=hand_in)
    thread.start()
    await all_ran
    thread.join()
    return operations


async def to_thread(operations: int) -> int:
    for _ in range(operations):
        await asyncio.to_thread(nothing)
    return operations


async def run_in_executor(operations: int) -> int:
    loop = asyncio.get_running_loop()
    rounds = max(1, operations // SIDE_BY_SIDE)
    for _ in range(rounds):
        await asyncio.gather(*[loop.run_in_executor(None, nothing) for _ in range(SIDE_BY_SIDE)])
    return rounds * SIDE_BY_SIDE


async def small_files(operations: int) -> int:
    rounds = max(1, operations // FILES)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, str(number)) for number in range(FILES)]
        for file in files:
            file.write_bytes(os.urandom(FILE_SIZE))
        for _ in range(rounds):
            contents = await asyncio.gather(*[asyncio.to_thread(file.read_bytes) for file in files])
            if {len(content) for content in contents} != {FILE_SIZE}:
                raise AssertionError("a file was not read whole")
    return rounds * FILES


ROWS = [
    LoopRow("call_soon_threadsafe", "threads", "callback", 200_000, call_soon_threadsafe),
    LoopRow("to_thread", "threads", "call", 20_000, to_thread),
    LoopRow("run_in_executor_x10", "threads", "call", 30_000, run_in_executor),
    LoopRow("small_files_x100", "files", "file", 10_000, small_files),
]
