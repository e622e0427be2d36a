"""aiohttp's client and server over TLS: on asyncio, on our loop, and under ``python -m rasyncio``."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from aiohttp_tls_scenarios import NAME
from scenario import Runner

USES = "aiohttp_tls_scenarios"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An authority, and what it vouches for: a server and a client."""
    folder: Path = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    for role, name in ("server", NAME), ("client", "client.test"):
        authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(folder / f"{role}.pem")
    return str(folder)


def test_requests_over_tls_know_their_clients_and_share_connections(runner: Runner, folder: str) -> None:
    assert runner(USES, "requests", folder=folder, size=300_000) == {
        "unlike": [],
        "clients": ["client.test"] * 4 + [None] * 4,
        "bytes": [300_000] * 8,
        "connections": 4,
    }


def test_a_long_body_over_tls_holds_the_server_back_and_arrives_whole(runner: Runner, folder: str) -> None:
    seen = runner(USES, "stream", folder=folder, pieces=100)
    assert seen == {"server waited": True, "whole": True, "file": True}


def test_a_websocket_over_tls_carries_its_messages(runner: Runner, folder: str) -> None:
    assert runner(USES, "websocket", folder=folder, messages=300) == [True, True, 1000]


def test_who_is_not_trusted_is_refused_and_the_next_is_served(runner: Runner, folder: str) -> None:
    certificate_error = "ClientConnectorCertificateError"
    assert runner(USES, "refusals", folder=folder) == [certificate_error, certificate_error, False, "served"]
