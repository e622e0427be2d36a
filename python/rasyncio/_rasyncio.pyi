"""Types of the native part of rasyncio, checked against the binary by tests/typing.

Signatures are those of the running Python's asyncio. `Future`, `Task`, `Handle`, `TimerHandle`, `Server`, the
primitives, queues, streams and transports answer `__class__` with asyncio's class, so `isinstance` finds them
there; to a type checker they are subclasses of it, and what those classes have is not repeated here.
"""

import asyncio
import ssl as tls
import sys
from _socket import _Address
from asyncio import (
    Timeout as Timeout,
)
from asyncio import (
    as_completed as as_completed,
)
from asyncio import (
    create_task as create_task,
)
from asyncio import (
    ensure_future as ensure_future,
)
from asyncio import events, streams, subprocess
from asyncio import (
    gather as gather,
)
from asyncio import (
    run_coroutine_threadsafe as run_coroutine_threadsafe,
)
from asyncio import (
    shield as shield,
)
from asyncio import (
    sleep as sleep,
)
from asyncio import (
    timeout as timeout,
)
from asyncio import (
    timeout_at as timeout_at,
)
from asyncio import (
    to_thread as to_thread,
)
from asyncio import (
    wait as wait,
)
from asyncio import (
    wait_for as wait_for,
)
from asyncio import (
    wrap_future as wrap_future,
)
from asyncio.subprocess import create_subprocess_exec, create_subprocess_shell
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import Context
from os import PathLike
from socket import AddressFamily, SocketKind, socket
from types import CodeType, FrameType, GenericAlias, TracebackType
from typing import IO, Any, Literal, Protocol, Self, TypeAlias, TypeVar, TypeVarTuple, Unpack, final, overload

from _typeshed import (
    FileDescriptorLike,
    ReadableBuffer,
    SupportsRichComparison,
    Unused,
    WriteableBuffer,
)
from typing_extensions import disjoint_base

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "EventLoop",
    "EventLoopPolicy",
    "FlowControlMixin",
    "Future",
    "FutureIter",
    "Handle",
    "LifoQueue",
    "Lock",
    "PriorityQueue",
    "Process",
    "Queue",
    "ReadSubprocessPipeProto",
    "Runner",
    "Semaphore",
    "Server",
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "SubprocessStreamProtocol",
    "Task",
    "TaskGroup",
    "Timeout",
    "TimerHandle",
    "WriteSubprocessPipeProto",
    "_Loop",
    "_LoopBoundMixin",
    "_SSLProtocolTransport",
    "_SelectorDatagramTransport",
    "_SelectorSocketTransport",
    "_UnixReadPipeTransport",
    "_UnixSubprocessTransport",
    "_UnixWritePipeTransport",
    "as_completed",
    "coroutine",
    "create_subprocess_exec",
    "create_subprocess_shell",
    "create_task",
    "ensure_future",
    "gather",
    "install",
    "new_event_loop",
    "open_connection",
    "open_unix_connection",
    "run",
    "run_coroutine_threadsafe",
    "shield",
    "sleep",
    "start_server",
    "start_unix_server",
    "timeout",
    "timeout_at",
    "to_thread",
    "uninstall",
    "wait",
    "wait_for",
    "wrap_future",
]

if sys.version_info >= (3, 12):
    from asyncio import (
        create_eager_task_factory as create_eager_task_factory,
    )
    from asyncio import (
        eager_task_factory as eager_task_factory,
    )

    __all__ += ["create_eager_task_factory", "eager_task_factory"]
if sys.version_info >= (3, 14):
    from asyncio import (
        future_add_to_awaited_by as future_add_to_awaited_by,
    )
    from asyncio import (
        future_discard_from_awaited_by as future_discard_from_awaited_by,
    )

    __all__ += ["future_add_to_awaited_by", "future_discard_from_awaited_by"]

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_Arguments = TypeVarTuple("_Arguments")
_ComparableT = TypeVar("_ComparableT", bound=SupportsRichComparison)
_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)

_AddressInformation: TypeAlias = (
    tuple[Literal[AddressFamily.AF_INET], SocketKind, int, str, tuple[str, int]]
    | tuple[
        Literal[AddressFamily.AF_INET6], SocketKind, int, str, tuple[str, int, int, int] | tuple[int, bytes]
    ]
)
_ErrorContext: TypeAlias = dict[str, Any]
_ExceptionHandler: TypeAlias = Callable[[asyncio.AbstractEventLoop, _ErrorContext], object]
_ProtocolFactory: TypeAlias = Callable[[], asyncio.BaseProtocol]
# None and False: no TLS; True: the default context.
_Tls: TypeAlias = bool | tls.SSLContext | None

if sys.version_info >= (3, 12):
    _TaskCoroutine: TypeAlias = Coroutine[Any, Any, _T]
else:
    _TaskCoroutine: TypeAlias = Generator[Any, None, _T] | Coroutine[Any, Any, _T]

if sys.version_info >= (3, 14):
    _MainCoroutine: TypeAlias = Awaitable[_T]
else:
    _MainCoroutine: TypeAlias = Coroutine[Any, Any, _T]

class _TaskFactory(Protocol):
    def __call__(
        self, loop: asyncio.AbstractEventLoop, coro: _TaskCoroutine[_T], /
    ) -> asyncio.Future[_T]: ...

@disjoint_base
class Future(asyncio.Future[_T]):
    def __class_getitem__(cls, item: Any) -> GenericAlias: ...

@disjoint_base
class Task(asyncio.Task[_T_co]):
    def __class_getitem__(cls, item: Any) -> GenericAlias: ...
    def get_context(self) -> Context: ...

@disjoint_base
class _LoopBoundMixin:
    """What every primitive and queue is; to a type checker they are asyncio's classes instead."""

    _loop: asyncio.AbstractEventLoop | None

@disjoint_base
class Lock(asyncio.Lock):
    def __new__(cls) -> Self: ...

@disjoint_base
class Event(asyncio.Event):
    def __new__(cls) -> Self: ...

@disjoint_base
class Condition(asyncio.Condition):
    def __new__(cls, lock: asyncio.Lock | None = None) -> Self: ...

@disjoint_base
class Semaphore(asyncio.Semaphore):
    def __new__(cls, value: int = 1) -> Self: ...

@disjoint_base
class BoundedSemaphore(asyncio.BoundedSemaphore):
    def __new__(cls, value: int = 1) -> Self: ...

@disjoint_base
class Barrier(asyncio.Barrier):
    def __new__(cls, parties: int) -> Self: ...

@disjoint_base
class Queue(asyncio.Queue[_T]):
    def __new__(cls, maxsize: int = 0) -> Self: ...
    def __class_getitem__(cls, item: Any) -> GenericAlias: ...

class PriorityQueue(asyncio.PriorityQueue[_ComparableT]):
    def __new__(cls, maxsize: int = 0) -> Self: ...

class LifoQueue(asyncio.LifoQueue[_T]):
    def __new__(cls, maxsize: int = 0) -> Self: ...

@disjoint_base
class TaskGroup(asyncio.TaskGroup): ...

@disjoint_base
class FlowControlMixin(streams.FlowControlMixin):
    def __new__(cls, loop: asyncio.AbstractEventLoop | None = None) -> Self: ...
    def eof_received(self) -> None: ...

@disjoint_base
class StreamReaderProtocol(streams.StreamReaderProtocol):
    def __new__(
        cls,
        stream_reader: asyncio.StreamReader | None,
        client_connected_cb: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]
        | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> Self: ...
    def eof_received(self) -> bool: ...

@disjoint_base
class StreamReader(asyncio.StreamReader):
    def __new__(cls, limit: int = 65536, loop: asyncio.AbstractEventLoop | None = None) -> Self: ...

@disjoint_base
class StreamWriter(asyncio.StreamWriter):
    def __new__(
        cls,
        transport: asyncio.WriteTransport,
        protocol: asyncio.BaseProtocol,
        reader: asyncio.StreamReader | None,
        loop: asyncio.AbstractEventLoop,
    ) -> Self: ...
    if sys.version_info >= (3, 13):
        def __del__(self) -> None: ...  # type: ignore[override]
    else:
        def __del__(self) -> None: ...

_ClientConnected: TypeAlias = Callable[[StreamReader, StreamWriter], Awaitable[None] | None]
_Path: TypeAlias = str | PathLike[str]

async def open_connection(
    host: str | None = None, port: int | str | None = None, *, limit: int = 65536, **kwds: Any
) -> tuple[StreamReader, StreamWriter]: ...
async def start_server(
    client_connected_cb: _ClientConnected,
    host: str | Sequence[str] | None = None,
    port: int | str | None = None,
    *,
    limit: int = 65536,
    **kwds: Any,
) -> Server: ...
async def open_unix_connection(
    path: _Path | None = None, *, limit: int = 65536, **kwds: Any
) -> tuple[StreamReader, StreamWriter]: ...
async def start_unix_server(
    client_connected_cb: _ClientConnected, path: _Path | None = None, *, limit: int = 65536, **kwds: Any
) -> Server: ...

@disjoint_base
class SubprocessStreamProtocol(subprocess.SubprocessStreamProtocol):
    def __new__(cls, limit: int, loop: asyncio.AbstractEventLoop) -> Self: ...

@disjoint_base
class Process(subprocess.Process):
    def __init__(
        self,
        transport: asyncio.BaseTransport,
        protocol: asyncio.BaseProtocol,
        loop: asyncio.AbstractEventLoop,
    ) -> None: ...

@disjoint_base
class Handle(asyncio.Handle):
    def __init__(
        self,
        callback: Callable[..., object],
        args: Sequence[Any],
        loop: asyncio.AbstractEventLoop,
        context: Context | None = None,
    ) -> None: ...
    def get_context(self) -> Context: ...

@disjoint_base
class TimerHandle(asyncio.TimerHandle):
    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: Sequence[Any],
        loop: asyncio.AbstractEventLoop,
        context: Context | None = None,
    ) -> None: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __ge__(self, value: asyncio.TimerHandle, /) -> bool: ...
    def __gt__(self, value: asyncio.TimerHandle, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __le__(self, value: asyncio.TimerHandle, /) -> bool: ...
    def __lt__(self, value: asyncio.TimerHandle, /) -> bool: ...

@final
class Server(asyncio.Server):
    """What `EventLoop.create_server()` returns; it cannot be made otherwise."""

@final
class _SelectorSocketTransport(asyncio.Transport):
    """A TCP connection. Named after the class whose `repr()` it shares."""

    max_size: int

@final
class _SelectorDatagramTransport(asyncio.Transport, asyncio.DatagramTransport):
    """A socket of datagrams. Named after the class whose `repr()` it shares."""

@final
class _UnixReadPipeTransport(asyncio.ReadTransport):
    """The reading end of a pipe. Named after the class whose `repr()` it shares."""

    max_size: int

@final
class _UnixWritePipeTransport(asyncio.Transport):
    """The writing end of a pipe. Named after the class whose `repr()` it shares."""

@final
class _UnixSubprocessTransport(asyncio.SubprocessTransport):
    """A child process. Named after the class whose `repr()` it shares."""

@disjoint_base
class WriteSubprocessPipeProto(asyncio.BaseProtocol):
    """The protocol of the pipe to a child's standard input."""

    @property
    def fd(self) -> int: ...
    @property
    def proc(self) -> _UnixSubprocessTransport | None: ...
    @property
    def pipe(self) -> asyncio.BaseTransport | None: ...
    @property
    def disconnected(self) -> bool: ...

@final
class ReadSubprocessPipeProto(WriteSubprocessPipeProto, asyncio.Protocol):
    """The protocol of a pipe from a child's standard output or error."""

@final
class _SSLProtocolTransport(asyncio.Transport):
    """A connection that speaks TLS. Named after asyncio's class, and its protocol besides."""

    def get_read_buffer_limits(self) -> tuple[int, int]: ...
    def get_read_buffer_size(self) -> int: ...
    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def data_received(self, data: bytes | bytearray | memoryview) -> None: ...
    def eof_received(self) -> bool: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...

@final
class FutureIter(Generator[Any, Any, _T_co]):
    """What awaiting a `Future` iterates over."""

    def __await__(self) -> Self: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def close(self) -> None: ...
    def send(self, value: Any) -> Any: ...
    @overload
    def throw(
        self, type: type[BaseException], value: object = None, traceback: TracebackType | None = None
    ) -> Any: ...
    @overload
    def throw(
        self, type: BaseException, value: None = None, traceback: TracebackType | None = None
    ) -> Any: ...

@final
class coroutine(Coroutine[Any, Any, _T_co]):
    """A coroutine written in Rust, as `EventLoop.create_connection()` and the like return them."""

    __name__: str
    __qualname__: str
    @property
    def cr_await(self) -> Any | None: ...
    @property
    def cr_code(self) -> CodeType: ...
    @property
    def cr_frame(self) -> FrameType | None: ...
    @property
    def cr_origin(self) -> tuple[tuple[str, int, str], ...] | None: ...
    @property
    def cr_running(self) -> bool: ...
    @property
    def cr_suspended(self) -> bool: ...
    if sys.version_info >= (3, 15):
        @property
        def cr_state(self) -> str: ...

    def __await__(self) -> Generator[Any, Any, _T_co]: ...
    def close(self) -> None: ...
    def send(self, value: Any) -> Any: ...
    @overload
    def throw(
        self, type: type[BaseException], value: object = None, traceback: TracebackType | None = None
    ) -> Any: ...
    @overload
    def throw(
        self, type: BaseException, value: None = None, traceback: TracebackType | None = None
    ) -> Any: ...

@disjoint_base
class _Loop:
    """The native part of `EventLoop`."""

    def __del__(self) -> None: ...
    @property
    def backend(self) -> str: ...

    # Running
    def run_forever(self) -> None: ...
    def run_until_complete(self, future: _TaskCoroutine[_T] | Awaitable[_T]) -> _T: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...
    def is_running(self) -> bool: ...
    def is_closed(self) -> bool: ...
    async def shutdown_asyncgens(self) -> None: ...
    if sys.version_info >= (3, 12):
        async def shutdown_default_executor(self, timeout: float | None = None) -> None: ...
    else:
        async def shutdown_default_executor(self) -> None: ...

    # Callbacks and timers
    def time(self) -> float: ...
    def call_soon(
        self,
        callback: Callable[[Unpack[_Arguments]], object],
        *args: *_Arguments,
        context: Context | None = None,
    ) -> Handle: ...
    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[_Arguments]], object],
        *args: *_Arguments,
        context: Context | None = None,
    ) -> Handle: ...
    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[_Arguments]], object],
        *args: *_Arguments,
        context: Context | None = None,
    ) -> TimerHandle: ...
    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Arguments]], object],
        *args: *_Arguments,
        context: Context | None = None,
    ) -> TimerHandle: ...

    # Futures and tasks
    def create_future(self) -> Future[Any]: ...
    # The keywords beyond these are the task factory's, from 3.13.3 on.
    if sys.version_info >= (3, 13):
        def create_task(
            self,
            coro: _TaskCoroutine[_T],
            *,
            name: str | None = None,
            context: Context | None = None,
            eager_start: bool | None = None,
            **kwargs: Any,
        ) -> Task[_T]: ...
    else:
        def create_task(
            self, coro: _TaskCoroutine[_T], *, name: str | None = None, context: Context | None = None
        ) -> Task[_T]: ...

    def set_task_factory(self, factory: _TaskFactory | None) -> None: ...
    def get_task_factory(self) -> _TaskFactory | None: ...

    # Threads, names and addresses
    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Arguments]], _T], *args: *_Arguments
    ) -> Future[_T]: ...
    def set_default_executor(self, executor: ThreadPoolExecutor) -> None: ...
    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = ...,
        type: int = ...,
        proto: int = ...,
        flags: int = ...,
    ) -> list[_AddressInformation]: ...
    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int = 0
    ) -> tuple[str, str]: ...

    # Connections and servers
    if sys.version_info >= (3, 12):
        async def create_connection(
            self,
            protocol_factory: Callable[[], _ProtocolT],
            host: str | None = None,
            port: int | str | None = None,
            *,
            ssl: _Tls = None,
            family: int = ...,
            proto: int = ...,
            flags: int = ...,
            sock: socket | None = None,
            local_addr: tuple[str, int] | None = None,
            server_hostname: str | None = None,
            ssl_handshake_timeout: float | None = None,
            ssl_shutdown_timeout: float | None = None,
            happy_eyeballs_delay: float | None = None,
            interleave: int | None = None,
            all_errors: bool = ...,
        ) -> tuple[asyncio.Transport, _ProtocolT]: ...
    else:
        async def create_connection(
            self,
            protocol_factory: Callable[[], _ProtocolT],
            host: str | None = None,
            port: int | str | None = None,
            *,
            ssl: _Tls = None,
            family: int = ...,
            proto: int = ...,
            flags: int = ...,
            sock: socket | None = None,
            local_addr: tuple[str, int] | None = None,
            server_hostname: str | None = None,
            ssl_handshake_timeout: float | None = None,
            ssl_shutdown_timeout: float | None = None,
            happy_eyeballs_delay: float | None = None,
            interleave: int | None = None,
        ) -> tuple[asyncio.Transport, _ProtocolT]: ...

    async def connect_accepted_socket(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        sock: socket,
        *,
        ssl: _Tls = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _ProtocolT]: ...
    if sys.version_info >= (3, 13):
        async def create_server(
            self,
            protocol_factory: _ProtocolFactory,
            host: str | Sequence[str] | None = None,
            port: int | str | None = None,
            *,
            family: int = ...,
            flags: int = ...,
            sock: socket | None = None,
            backlog: int = 100,
            ssl: _Tls = None,
            reuse_address: bool | None = None,
            reuse_port: bool | None = None,
            keep_alive: bool | None = None,
            ssl_handshake_timeout: float | None = None,
            ssl_shutdown_timeout: float | None = None,
            start_serving: bool = True,
        ) -> Server: ...
    else:
        async def create_server(
            self,
            protocol_factory: _ProtocolFactory,
            host: str | Sequence[str] | None = None,
            port: int | str | None = None,
            *,
            family: int = ...,
            flags: int = ...,
            sock: socket | None = None,
            backlog: int = 100,
            ssl: _Tls = None,
            reuse_address: bool | None = None,
            reuse_port: bool | None = None,
            ssl_handshake_timeout: float | None = None,
            ssl_shutdown_timeout: float | None = None,
            start_serving: bool = True,
        ) -> Server: ...

    async def connect_read_pipe(
        self, protocol_factory: Callable[[], _ProtocolT], pipe: Any
    ) -> tuple[asyncio.ReadTransport, _ProtocolT]: ...
    async def connect_write_pipe(
        self, protocol_factory: Callable[[], _ProtocolT], pipe: Any
    ) -> tuple[asyncio.WriteTransport, _ProtocolT]: ...
    async def create_unix_connection(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        path: str | None = None,
        *,
        ssl: _Tls = None,
        sock: socket | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _ProtocolT]: ...
    if sys.version_info >= (3, 13):
        async def create_unix_server(
            self,
            protocol_factory: _ProtocolFactory,
            path: str | PathLike[str] | None = None,
            *,
            sock: socket | None = None,
            backlog: int = 100,
            ssl: _Tls = None,
            ssl_handshake_timeout: float | None = None,
            ssl_shutdown_timeout: float | None = None,
            start_serving: bool = True,
            cleanup_socket: bool = True,
        ) -> Server: ...
    else:
        async def create_unix_server(
            self,
            protocol_factory: _ProtocolFactory,
            path: str | PathLike[str] | None = None,
            *,
            sock: socket | None = None,
            backlog: int = 100,
            ssl: _Tls = None,
            ssl_handshake_timeout: float | None = None,
            ssl_shutdown_timeout: float | None = None,
            start_serving: bool = True,
        ) -> Server: ...

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        local_addr: tuple[str, int] | str | None = None,
        remote_addr: tuple[str, int] | str | None = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: socket | None = None,
    ) -> tuple[_SelectorDatagramTransport, _ProtocolT]: ...
    async def subprocess_shell(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        cmd: bytes | str,
        *,
        stdin: int | IO[Any] | None = -1,
        stdout: int | IO[Any] | None = -1,
        stderr: int | IO[Any] | None = -1,
        universal_newlines: Literal[False] = False,
        shell: Literal[True] = True,
        bufsize: Literal[0] = 0,
        encoding: None = None,
        errors: None = None,
        text: Literal[False] | None = None,
        **kwargs: Any,
    ) -> tuple[asyncio.SubprocessTransport, _ProtocolT]: ...
    async def subprocess_exec(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        program: Any,
        *args: Any,
        stdin: int | IO[Any] | None = -1,
        stdout: int | IO[Any] | None = -1,
        stderr: int | IO[Any] | None = -1,
        universal_newlines: Literal[False] = False,
        shell: Literal[False] = False,
        bufsize: Literal[0] = 0,
        encoding: None = None,
        errors: None = None,
        text: Literal[False] | None = None,
        **kwargs: Any,
    ) -> tuple[asyncio.SubprocessTransport, _ProtocolT]: ...
    async def start_tls(
        self,
        transport: asyncio.WriteTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: tls.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport | None: ...

    # Descriptors and sockets
    def add_reader(
        self, fd: FileDescriptorLike, callback: Callable[[Unpack[_Arguments]], Any], *args: *_Arguments
    ) -> None: ...
    def remove_reader(self, fd: FileDescriptorLike) -> bool: ...
    def add_writer(
        self, fd: FileDescriptorLike, callback: Callable[[Unpack[_Arguments]], Any], *args: *_Arguments
    ) -> None: ...
    def remove_writer(self, fd: FileDescriptorLike) -> bool: ...
    async def sock_accept(self, sock: socket) -> tuple[socket, Any]: ...
    async def sock_connect(self, sock: socket, address: _Address) -> None: ...
    async def sock_recv(self, sock: socket, n: int) -> bytes: ...
    async def sock_recv_into(self, sock: socket, buf: WriteableBuffer) -> int: ...
    async def sock_recvfrom(self, sock: socket, bufsize: int) -> tuple[bytes, Any]: ...
    async def sock_recvfrom_into(
        self, sock: socket, buf: WriteableBuffer, nbytes: int = ...
    ) -> tuple[int, Any]: ...
    async def sock_sendall(self, sock: socket, data: ReadableBuffer) -> None: ...
    async def sock_sendto(self, sock: socket, data: ReadableBuffer, address: _Address) -> int: ...
    async def sock_sendfile(
        self,
        sock: socket,
        file: IO[bytes],
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool | None = True,
    ) -> int: ...
    async def sendfile(
        self,
        transport: asyncio.WriteTransport,
        file: IO[bytes],
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool = True,
    ) -> int: ...

    # Signals
    def add_signal_handler(
        self, sig: int, callback: Callable[[Unpack[_Arguments]], object], *args: *_Arguments
    ) -> None: ...
    def remove_signal_handler(self, sig: int) -> bool: ...

    # Errors and debug mode
    def set_exception_handler(self, handler: _ExceptionHandler | None) -> None: ...
    def get_exception_handler(self) -> _ExceptionHandler | None: ...
    def default_exception_handler(self, context: _ErrorContext) -> None: ...
    def call_exception_handler(self, context: _ErrorContext) -> None: ...
    def get_debug(self) -> bool: ...
    def set_debug(self, enabled: bool) -> None: ...
    @property
    def slow_callback_duration(self) -> float: ...
    @slow_callback_duration.setter
    def slow_callback_duration(self, value: float) -> None: ...

# asyncio takes only thread pools for `set_default_executor()`; its interface leaves that open.
class EventLoop(_Loop, asyncio.AbstractEventLoop):  # type: ignore[misc]
    """rasyncio's event loop."""

if sys.version_info >= (3, 14):
    class EventLoopPolicy(events._BaseDefaultEventLoopPolicy):
        def new_event_loop(self) -> EventLoop: ...

else:
    class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> EventLoop: ...

@disjoint_base
class Runner:
    """Runs several coroutines on one loop, one after the other."""

    def __init__(
        self,
        *,
        debug: bool | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, exc_type: Unused, exc_value: Unused, exc_traceback: Unused) -> None: ...
    def close(self) -> None: ...
    def get_loop(self) -> asyncio.AbstractEventLoop: ...
    def run(self, coro: _MainCoroutine[_T], *, context: Context | None = None) -> _T: ...

def run(
    main: _MainCoroutine[_T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> _T: ...
def new_event_loop() -> EventLoop: ...
def install() -> None: ...
def uninstall() -> None: ...
