"""The load program of the server rows: builds it with cargo when needed and makes its command line."""

from __future__ import annotations

import subprocess
from pathlib import Path

BENCHES = Path(__file__).resolve().parent.parent
TARGET = BENCHES.parent / "target" / "echo_client"
BINARY = TARGET / "release" / "echo_client"


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
