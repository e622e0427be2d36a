"""The three ways every scenario runs (asyncio is the oracle), and the MariaDB server of the run."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mariadb
import pytest
import scenario

HERE = Path(__file__).resolve().parent
REQUIRE_SERVERS = "RASYNCIO_REQUIRE_SERVERS"


def on_asyncio(module: str, function: str, arguments: dict[str, Any]) -> scenario.Outcome:
    function_itself = getattr(importlib.import_module(module), function)
    return scenario.run(function_itself, arguments, asyncio.SelectorEventLoop)


def on_rasyncio_loop(module: str, function: str, arguments: dict[str, Any]) -> scenario.Outcome:
    import rasyncio

    function_itself = getattr(importlib.import_module(module), function)
    return scenario.run(function_itself, arguments, rasyncio.new_event_loop)


def under_rasyncio(module: str, function: str, arguments: dict[str, Any]) -> scenario.Outcome:
    program = [str(HERE / "scenario.py"), module, function, json.dumps(arguments)]
    command = [sys.executable, "-m", "rasyncio", *program]
    finished = subprocess.run(
        command, capture_output=True, text=True, timeout=2 * scenario.SECONDS, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    return scenario.Outcome(**json.loads(finished.stdout))


WAYS = {"asyncio": on_asyncio, "rasyncio-loop": on_rasyncio_loop, "rasyncio-installed": under_rasyncio}


@pytest.fixture(params=WAYS)
def runner(request: pytest.FixtureRequest) -> scenario.Runner:
    """Each scenario on asyncio, on our loop in this process, and under ``python -m rasyncio`` in another."""
    way: str = request.param

    def run(module: str, function: str, **arguments: object) -> Any:
        outcome = WAYS[way](module, function, arguments)
        assert outcome.complaints == []
        assert outcome.loop.partition(".")[0].lstrip("_") == way.partition("-")[0]
        return outcome.value

    return run


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[mariadb.MariaDB]:
    """One server for the whole run; without its package: a skip, or a failure where servers are required."""
    try:
        mariadb.find_programs()
    except mariadb.ServerMissing as error:
        if os.environ.get(REQUIRE_SERVERS) == "1":
            pytest.fail(f"{error}, and {REQUIRE_SERVERS}=1 allows no skip", pytrace=False)
        pytest.skip(str(error))
    with mariadb.running_server() as server:
        yield server


@pytest.fixture
def database(mariadb_server: mariadb.MariaDB) -> Iterator[dict[str, Any]]:
    """An empty database of the test's own: the arguments aiomysql connects with."""
    mariadb_server.create_database("scenario")
    yield {
        "host": mariadb_server.host,
        "port": mariadb_server.port,
        "user": mariadb_server.user,
        "db": "scenario",
    }
    mariadb_server.drop_database("scenario")
