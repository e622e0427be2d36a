"""aiomysql against a real MariaDB: on asyncio, on our loop, and under ``python -m rasyncio``."""

from __future__ import annotations

import hashlib
from typing import Any

from scenario import Runner

MODULE = "aiomysql_scenarios"
Database = dict[str, Any]


def test_values_of_every_kind_come_back_as_they_went(runner: Runner, database: Database) -> None:
    seen = runner(MODULE, "connect", address=database)
    assert seen == {"mariadb": True, "same values": True, "closed": True}


def test_many_rows_go_in_and_come_out_in_order(runner: Runner, database: Database) -> None:
    seen = runner(MODULE, "insert_and_select", address=database, rows=2000)
    assert seen == {
        "inserted": 2000,
        "last": 2001,
        "columns": ["id", "name", "size"],
        "portions": [700, 700, 601],
        "names": [["item 8"], ["item 9"], ["item 10"]],
        "sums": {"amount": 2001, "total": sum(n * n for n in range(2000)) - 1},
    }


def test_a_transaction_is_seen_by_others_when_committed_only(runner: Runner, database: Database) -> None:
    seen = runner(MODULE, "transactions", address=database)
    assert seen == {
        "before commit": [],
        "after commit": [[1, 100]],
        "inside": [[0]],
        "after rollback": [[1, 100]],
    }


def test_mistakes_raise_what_the_library_promises(runner: Runner, database: Database) -> None:
    seen = runner(MODULE, "errors", address=database)
    syntax, duplicate, no_table, no_database = 1064, 1062, 1146, 1049
    assert seen == {
        "raised": [
            ["ProgrammingError", syntax],
            ["IntegrityError", duplicate],
            ["ProgrammingError", no_table],
            ["OperationalError", no_database],
        ],
        "still usable": [[1]],
    }


def test_a_server_that_is_not_there_refuses_the_connection(runner: Runner, database: Database) -> None:
    cannot_connect = 2003
    assert runner(MODULE, "nobody_listens", address=database) == [cannot_connect, "ConnectionRefusedError"]


def test_a_pool_serves_more_tasks_than_it_has_connections(runner: Runner, database: Database) -> None:
    seen = runner(MODULE, "pool", address=database)
    assert seen["right"] is True
    assert 2 <= seen["most"] <= seen["connections"] <= 5
    assert seen["free"] == seen["size"] <= 5


def test_a_pool_replaces_a_connection_the_server_killed(runner: Runner, database: Database) -> None:
    seen = runner(MODULE, "pool_replaces_the_dead", address=database)
    assert seen == {"another": True, "size": 1}


def test_a_cancelled_query_ends_and_the_pool_stays_usable(runner: Runner, database: Database) -> None:
    seen = runner(MODULE, "cancel_in_a_query", address=database)
    assert seen == {"cancelled": True, "closed": True, "after": [["usable"]]}


def test_a_timeout_ends_a_query_that_does_not_come_back(runner: Runner, database: Database) -> None:
    assert runner(MODULE, "timeout_in_a_query", address=database) == {"timed out": True, "closed": True}


def test_a_connection_killed_in_a_query_raises_lost_connection(runner: Runner, database: Database) -> None:
    lost_connection = 2013
    assert runner(MODULE, "killed_in_a_query", address=database) == ["OperationalError", lost_connection]


def test_large_values_and_streamed_rows_arrive_whole(runner: Runner, database: Database) -> None:
    larger_than_a_packet, rows = 17 * 2**20, 20_000
    streamed = "".join(f"{number}{chr(97 + number % 26) * 100}" for number in range(1, rows + 1))
    seen = runner(MODULE, "large_results", address=database, size=larger_than_a_packet, rows=rows)
    digest = hashlib.sha256(streamed.encode()).hexdigest()[:16]
    assert seen == {"same": True, "made": True, "rows": rows, "digest": digest}


def test_connections_side_by_side_do_not_mix(runner: Runner, database: Database) -> None:
    seen = runner(MODULE, "many_connections", address=database, connections=20, queries=20)
    assert seen == {"each": [20], "total": 400}
