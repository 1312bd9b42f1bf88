"""One PyTorch thread a process, and the whole suite in several processes."""

import os

import pytest

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # before PyTorch is imported; child processes inherit it
    os.environ[variable] = "1"

MOST_PROCESSES = 4  # each needs up to 2 GB of memory


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """`pytest` uses a process for each core; `pytest tests/FILE` runs in its own, as starting others takes longer."""
    whole_suite = config.args_source is config.ArgsSource.TESTPATHS
    return min(os.cpu_count() or 1, MOST_PROCESSES) if whole_suite else 0
