"""A real MariaDB server for one test run or one demo, in a temporary folder, always stopped.

The listening sockets are made here and handed to the server the way systemd does it (``LISTEN_FDS``). So the
port is free by construction, and "is it up?" needs no polling: a client may connect at once, and the server's
greeting arrives as soon as it serves, or the connection breaks if it died.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "mariadb-server"
PROGRAMS = ("mariadb-install-db", "mariadbd")
START_SECONDS = 120
STOP_SECONDS = 30

# Runs in the child before the server: systemd's protocol wants the sockets at 3 and up and the server's own
# process id in the environment, and the kernel is asked (prctl 1, PR_SET_PDEATHSIG) to stop the server even
# when this process is killed before it can.
HAND_OVER_SOCKETS = """
import ctypes, os, signal, sys
sockets = [os.dup(int(number)) for number in sys.argv[1].split(",")]
for place, descriptor in enumerate(sockets, start=3):
    os.dup2(descriptor, place)
    os.set_inheritable(place, True)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
os.environ.update(LISTEN_FDS=str(len(sockets)), LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


class ServerMissing(RuntimeError):
    """The server's package is not installed on this machine."""


class ServerFailed(RuntimeError):
    """The server is installed but did not start; the message holds what it logged."""


@dataclass(frozen=True)
class MariaDB:
    """Where a running server answers. The user has all rights and no password, on this machine only."""

    host: str
    port: int
    unix_socket: str
    user: str

    def address_of(self, database: str) -> str:
        """The address of one database, as ``examples/pages.py --database`` wants it."""
        return f"mysql://{self.user}@{self.host}:{self.port}/{database}"

    def create_database(self, name: str) -> None:
        """Make an empty database, dropping one of that name."""
        import pymysql

        connection = pymysql.connect(host=self.host, port=self.port, user=self.user)
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(f"CREATE OR REPLACE DATABASE `{name}` CHARACTER SET utf8mb4")

    def drop_database(self, name: str) -> None:
        """Remove a database and all that is in it."""
        import pymysql

        connection = pymysql.connect(host=self.host, port=self.port, user=self.user)
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE `{name}`")


def find_programs() -> dict[str, str]:
    """Paths of the server's programs; raises ServerMissing naming the package when one is absent."""
    # Debian keeps the daemon in /usr/sbin, which is not on every user's PATH.
    search_path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    found = {name: shutil.which(name, path=search_path) for name in PROGRAMS}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise ServerMissing(f"the package {PACKAGE} is not installed (no {', '.join(missing)})")
    return {name: path for name, path in found.items() if path is not None}


@contextlib.contextmanager
def running_server() -> Iterator[MariaDB]:
    """Start a server on a free port of 127.0.0.1, give it once it answers, stop it and remove its files."""
    programs = find_programs()
    # The system's own folder for temporary files rather than a test's: a Unix socket's path is short by law.
    with tempfile.TemporaryDirectory(prefix="mariadb-") as folder_name:
        folder = Path(folder_name)
        create_system_tables(programs["mariadb-install-db"], folder)
        with contextlib.ExitStack() as listeners:
            tcp = listeners.enter_context(socket.create_server(("127.0.0.1", 0)))
            unix = listeners.enter_context(socket.socket(socket.AF_UNIX))
            unix.bind(str(folder / "socket"))
            unix.listen()
            port = int(tcp.getsockname()[1])
            server = start_daemon(programs["mariadbd"], folder, tcp, unix)
            # Leaving this block closes our copies, so that a server's death is seen by its clients.
        try:
            wait_for_greeting(port, folder / "log")
            yield MariaDB(host="127.0.0.1", port=port, unix_socket=str(folder / "socket"), user="root")
        finally:
            stop_daemon(server)


def create_system_tables(program: str, folder: Path) -> None:
    """Lay out an empty data folder whose root user needs no password."""
    command = [
        program,
        "--no-defaults",
        f"--datadir={folder / 'data'}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        f"--user={getpass.getuser()}",
    ]
    finished = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    if finished.returncode != 0:
        raise ServerFailed(f"mariadb-install-db ended with {finished.returncode}:\n{finished.stdout}")


def start_daemon(
    program: str, folder: Path, tcp: socket.socket, unix: socket.socket
) -> subprocess.Popen[bytes]:
    """Start the server on the two listening sockets."""
    descriptors = (tcp.fileno(), unix.fileno())
    command = [
        sys.executable,
        "-c",
        HAND_OVER_SOCKETS,
        ",".join(map(str, descriptors)),
        program,
        "--no-defaults",
        f"--datadir={folder / 'data'}",
        # Not bound when the sockets are handed over, but it must not be another server's default.
        f"--port={tcp.getsockname()[1]}",
        f"--socket={folder / 'socket'}",
        f"--pid-file={folder / 'pid'}",
        f"--tmpdir={folder}",
        f"--user={getpass.getuser()}",
        "--skip-name-resolve",
        "--character-set-server=utf8mb4",
        # A throw-away server: nothing has to survive a crash.
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-buffer-pool-size=32M",
        "--max-allowed-packet=64M",
        "--skip-log-bin",
    ]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=descriptors
        )


def wait_for_greeting(port: int, log: Path) -> None:
    """Return when the server sends its handshake; raise ServerFailed with its log when it does not."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS) as client:
            greeting = client.recv(1)
    except OSError as error:
        raise ServerFailed(f"the server does not answer ({error}):\n{log.read_text()}") from error
    if not greeting:
        raise ServerFailed(f"the server closed the connection:\n{log.read_text()}")


def stop_daemon(server: subprocess.Popen[bytes]) -> None:
    """Ask the server to shut down; kill it when it takes too long."""
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
