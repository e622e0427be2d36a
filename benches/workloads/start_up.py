"""Starting and ending: the whole life of a process whose program does nothing."""

from __future__ import annotations

from harness.start_rows import StartRow

ROWS = [StartRow("start_up", "start-up", "process", 20)]
