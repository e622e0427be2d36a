"""Type-check case: mistakes that the stubs must find; where one is not found, its ignore fails as unused."""

import rasyncio


async def answer() -> int:
    return 42


def entry_points() -> None:
    rasyncio.run(answer)  # type: ignore[arg-type]
    rasyncio.run(answer(), True)  # type: ignore[call-arg]
    rasyncio.install(1)  # type: ignore[call-arg]
    print(rasyncio.no_such_name)  # type: ignore[attr-defined]


def scheduling(loop: rasyncio.EventLoop) -> None:
    loop.call_soon(len)  # type: ignore[arg-type]
    loop.call_later("soon", print)  # type: ignore[arg-type]
    loop.call_soon(print, contxt=None)  # type: ignore[call-arg]
    loop.create_task(1)  # type: ignore[arg-type]
    loop.backend = "uring"  # type: ignore[misc]
    loop.create_task(answer()).result().upper()  # type: ignore[attr-defined]
    rasyncio.Future[int]().set_result("text")  # type: ignore[arg-type]


async def network(loop: rasyncio.EventLoop) -> None:
    await loop.create_server(print, "127.0.0.1", 0, backlog="long")  # type: ignore[arg-type]
    await loop.sock_recv(None, 100)  # type: ignore[arg-type]
