"""What a run was measured on: figures mean nothing without it."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or "unknown")


def describe() -> dict[str, object]:
    return {
        "python": sys.version,
        "kernel": f"{platform.system()} {platform.release()}",
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "libc": " ".join(platform.libc_ver()),
    }


def load_average() -> float:
    """Of the last minute; well above what the benchmark itself needs, the figures are disturbed."""
    return os.getloadavg()[0]
