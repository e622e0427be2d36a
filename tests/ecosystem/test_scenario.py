"""The runner of scenarios itself: what a library or a loop complains about must not go unnoticed."""

from __future__ import annotations

import pytest
from scenario import Runner

MODULE = "complaining_scenarios"


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        ("leave_an_exception_unread", "exception was never retrieved"),
        ("leave_a_connection_open", "unclosed"),
        ("raise_in_a_callback", "from a callback"),
        ("forget_to_await", "was never awaited"),
        ("log_a_warning", "something is odd"),
    ],
)
def test_what_goes_wrong_on_the_way_fails_the_test(runner: Runner, function: str, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        runner(MODULE, function)
