"""The helper that starts MariaDB: it must say what is missing, and leave nothing behind."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import mariadb
import pytest


class Trouble(Exception):
    """What goes wrong while the server runs."""


def test_a_missing_server_is_named_by_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mariadb, "PROGRAMS", ("no-such-mariadb-program",))
    with pytest.raises(mariadb.ServerMissing, match=r"mariadb-server is not installed"):
        mariadb.find_programs()


@pytest.mark.usefixtures("mariadb_server")
def test_the_server_is_gone_after_the_block_even_when_it_raises() -> None:
    seen: list[tuple[mariadb.MariaDB, Path, int]] = []

    def trouble_in_the_block() -> None:
        with mariadb.running_server() as server:
            folder = Path(server.unix_socket).parent
            seen.append((server, folder, int((folder / "pid").read_text())))
            raise Trouble

    with pytest.raises(Trouble):
        trouble_in_the_block()
    [(server, folder, process)] = seen
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port))


@pytest.mark.usefixtures("mariadb_server")
def test_a_server_that_dies_at_start_is_reported_with_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mariadb, "create_system_tables", lambda program, folder: None)
    with pytest.raises(mariadb.ServerFailed, match="No such file or directory"), mariadb.running_server():
        pytest.fail("a server without its tables cannot serve")
