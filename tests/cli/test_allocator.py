"""The command line's process keeps the pages of freed activations."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from saccade.cli.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def step():
    blocks = [np.ones(2**20) for _ in range(6)]  # 8 MiB each, freed together
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_freed_blocks_are_reused_without_page_faults() -> None:
    def faults(way: str) -> int:
        return int(
            subprocess.run([sys.executable, "-c", FAULTS, way], capture_output=True, text=True, check=True).stdout
        )

    assert faults("kept") < 200 < faults("plain")
