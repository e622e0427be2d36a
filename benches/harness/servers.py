"""Servers that a row's clients talk to, the same for all contestants: each for the time of a `with` block."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness import echo_client
from harness import sink as sink_program

# The tests have the same server.
ECOSYSTEM = Path(__file__).resolve().parent.parent.parent / "tests" / "ecosystem"


class ServerMissing(Exception):
    """The text names the program, or the Debian package, that is not installed."""


@contextlib.contextmanager
def http_server() -> Iterator[str]:
    """A server in Rust that gives each GET request the same response; yields its URL."""
    with tempfile.TemporaryDirectory() as folder, echo_client.server("http", folder, "HTTP server") as server:
        yield f"http://{server.hear_json()['address']}/"
        server.say("stop")
        server.finish()


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """Redis, keeping nothing on disk; yields the path of its Unix socket."""
    program = shutil.which("redis-server")
    if program is None:
        raise ServerMissing("the package redis-server is not installed")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        options = ["--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", folder]
        with subprocess.Popen([program, *options], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                # It says so in its log, which ends early if it fails.
                if not any("ready to accept connections" in line.lower() for line in process.stdout):
                    raise RuntimeError(f"redis-server ended with status {process.wait()}")
                yield path
            finally:
                process.terminate()


@contextlib.contextmanager
def mariadb_server() -> Iterator[str]:
    """MariaDB; yields the path of its Unix socket."""
    if str(ECOSYSTEM) not in sys.path:
        sys.path.insert(0, str(ECOSYSTEM))
    import mariadb

    try:
        mariadb.find_programs()
    except mariadb.ServerMissing as missing:
        raise ServerMissing(str(missing)) from None
    with mariadb.running_server() as server:
        yield str(server.unix_socket)


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """A process that counts what it is sent over TCP; yields its port."""
    command = [sys.executable, sink_program.__file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
