"""One line about the machine, for the head of every table."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch


def describe() -> str:
    """Processor, cores, torch and the date: "2 cores of Intel Xeon ..., torch 2.15.0, Python 3.11, 2026-11-21"."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if torch.cuda.is_available():
        processor = torch.cuda.get_device_name(0)
    else:
        info = Path("/proc/cpuinfo")
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        processor = f"{cores} core{'s' if cores != 1 else ''} of {names[0] if names else platform.processor()}"
    python = ".".join(platform.python_version_tuple()[:2])
    return f"{processor}, torch {torch.__version__}, Python {python}, {datetime.now(UTC):%Y-%m-%d}"
