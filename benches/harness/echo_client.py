"""The load program of the server rows and the server that is their limit; built with cargo when needed."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

from harness import children
from harness.rows import DEADLINE_SECONDS

BENCHES = Path(__file__).resolve().parent.parent
TARGET = BENCHES.parent / "target" / "echo_client"
BINARY = TARGET / "release" / "echo_client"
SERVER_BINARY = TARGET / "release" / "echo_server"


def build() -> Path:
    """Cargo itself knows whether there is anything to do."""
    manifest = BENCHES / "echo_client" / "Cargo.toml"
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", str(manifest)]
    subprocess.run([*command, "--target-dir", str(TARGET)], check=True, timeout=600)
    return BINARY


def command(
    address: str,
    *,
    connections: int,
    size: int,
    messages: int,
    warm_up: int,
    protocol: str = "tcp",
    answer: int | None = None,
    per_connection: int | None = None,
) -> list[str]:
    options = {
        "--connect": address,
        "--protocol": protocol,
        "--connections": connections,
        "--size": size,
        "--answer": answer,
        "--per-connection": per_connection,
        "--messages": messages,
        "--warm-up": warm_up,
    }
    given = {name: value for name, value in options.items() if value is not None}
    return [str(BINARY), *(str(word) for option in given.items() for word in option)]


def server(kind: str, folder: str, label: str) -> contextlib.AbstractContextManager[children.Child]:
    """The server in Rust: "tcp", "udp", "http", or "unix", whose socket is made in `folder`."""
    word = f"{folder}/socket" if kind == "unix" else kind
    return children.started(label, [str(SERVER_BINARY), word], DEADLINE_SECONDS)
