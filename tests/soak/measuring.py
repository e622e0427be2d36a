"""What the scripts begin with that do one thing thousands of times and measure what is left behind."""

from __future__ import annotations

MEASURING = """
    import asyncio, gc, os, resource, socket, sys, weakref

    AT_ONCE = 20
    # What a script wants to see gone: its protocols, transports and the like.
    alive = weakref.WeakSet()

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def held():
        gc.collect()
        return len(os.listdir("/proc/self/fd")), len(alive)

    async def rounds(work, arguments, count):
        for _ in range(count // AT_ONCE):
            await asyncio.gather(*(work(*arguments) for _ in range(AT_ONCE)))
        # Whatever the other end still holds of the last ones ends before anything is measured.
        while len(alive):
            await asyncio.sleep(0)
            gc.collect()

    async def measure(work, arguments, count, rounds=rounds, first=1000):
        # The bytes that `count` times leave behind, printed, after the first ones have filled the caches.
        await rounds(work, arguments, first)
        before, memory = held(), resident()
        await rounds(work, arguments, count)
        after, grown = held(), resident() - memory
        assert before == after, (before, after)
        print(grown)
"""
