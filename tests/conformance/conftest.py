"""Registers the marker of the test that runs CPython's own tests, which takes a minute and not a moment."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "conformance: runs CPython's own loop tests against rasyncio")
