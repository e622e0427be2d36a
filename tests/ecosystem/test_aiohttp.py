"""aiohttp's client and server: on asyncio, on our loop, and under ``python -m rasyncio``."""

from __future__ import annotations

from pathlib import Path

from scenario import Runner

USES = "aiohttp_scenarios"
FAILURES = "aiohttp_failure_scenarios"
PATTERN_SIZE = 251 * 1044


def test_get_gives_what_was_asked_for(runner: Runner) -> None:
    answer = {"path": "/a b", "query": {"x": "1", "y": "zwei"}, "header": "rät", "cookie": "vanilla"}
    moved = {**answer, "path": "/here", "query": {"from": "moved"}}
    assert runner(USES, "get") == [
        [200, "yes", answer],
        [200, "yes", moved],
        [404, "Not Found", "nothing here"],
        [200, ""],
    ]


def test_post_delivers_json_forms_files_and_bytes(runner: Runner) -> None:
    assert runner(USES, "post", size=900_000) == {"equal": True}


def test_a_body_streamed_to_a_slow_reader_holds_the_server_back_and_arrives_whole(runner: Runner) -> None:
    seen = runner(USES, "stream_down", pieces=100)
    assert seen == {"server waited": True, "bytes": 100 * PATTERN_SIZE, "equal": True}


def test_a_body_streamed_to_the_server_arrives_whole(runner: Runner) -> None:
    assert runner(USES, "stream_up", pieces=100) == {"bytes": 100 * PATTERN_SIZE, "equal": True}


def test_a_file_is_sent_whole_and_in_part(runner: Runner, tmp_path: Path) -> None:
    seen = runner(USES, "send_file", folder=str(tmp_path), copies=20)
    assert seen == {"whole": True, "part": [206, True], "missing": 404}


def test_a_websocket_carries_messages_of_all_kinds_and_closes_with_its_code(runner: Runner) -> None:
    assert runner(USES, "websocket", messages=500) == [
        "HÖR ZU",
        {"A": [1]},
        True,
        True,
        ["CLOSE", 4001, "as you wish", 4001],
        [True, 1000],
    ]


def test_a_connection_is_kept_for_the_next_request_unless_told_otherwise(runner: Runner) -> None:
    assert runner(USES, "keep_alive", requests=20) == {"kept": 1, "closed": 20}


def test_many_requests_at_once_are_all_answered_rightly(runner: Runner) -> None:
    seen = runner(USES, "many_at_once", requests=300, connections=50)
    assert seen["right"] == 300
    assert 2 <= seen["at most"] <= 50


def test_a_handler_ends_when_its_client_leaves_in_the_middle(runner: Runner) -> None:
    seen = runner(FAILURES, "client_leaves_in_the_middle")
    assert seen == {"first": True, "handler": "connection lost", "after": "served"}


def test_a_thinking_handler_is_cancelled_when_its_client_leaves(runner: Runner) -> None:
    seen = runner(FAILURES, "client_leaves_while_the_server_thinks")
    assert seen == {"client": True, "handler": "cancelled"}


def test_a_server_that_leaves_in_the_middle_raises_at_the_client(runner: Runner) -> None:
    assert runner(FAILURES, "server_leaves_in_the_middle") == [True, True]


def test_every_kind_of_timeout_ends_a_request(runner: Runner) -> None:
    assert runner(FAILURES, "timeouts") == [
        ["/head", False],
        ["/head", True],
        ["/body", False],
        ["/body", True],
        ["outside", False],
    ]


def test_a_port_where_nothing_listens_refuses_the_request(runner: Runner) -> None:
    assert runner(FAILURES, "nobody_listens") == [["ClientConnectorError", "ConnectionRefusedError"]]


def test_an_http_error_raised_by_a_handler_answers_that_request_only(runner: Runner) -> None:
    assert runner(FAILURES, "handler_raises") == [[200, "good"], [500, "caught"], [200, "good"]]


def test_shutdown_answers_what_is_being_served_and_refuses_the_rest(runner: Runner) -> None:
    seen = runner(FAILURES, "graceful_shutdown")
    assert seen == {"order": ["shutdown", "refused", "answered", "cleanup"], "answer": "finished"}


def test_requests_in_odd_pieces_are_answered_in_order_and_nonsense_is_refused(runner: Runner) -> None:
    assert runner(FAILURES, "raw_requests") == {
        "bodies": ["GET /1 ", "POST /2 hello", "GET /3 "],
        "nonsense": "HTTP/1.0 400 Bad Request",
    }
