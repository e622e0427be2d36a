"""The demo's other database: pages stored in a MariaDB server that the demo starts for both of its runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.py"


@pytest.mark.usefixtures("mariadb_server")
def test_both_runs_store_the_same_in_mariadb(tmp_path: Path) -> None:
    command = [sys.executable, str(DEMO), "--mariadb", "--pages", "80", "--timeout", "2"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("--database mysql://root@127.0.0.1:") == 2
    assert "\nstored rows: 78\n" in finished.stdout
    assert finished.stdout.endswith("\nBoth results are equal.\n")
