"""One PyTorch thread a process, and the whole suite in several processes."""

import gc
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.notebook_kernel import NotebookKernel

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # before PyTorch is imported; child processes inherit it
    os.environ[variable] = "1"

MAX_PROCESSES = 4  # each needs up to 2 GB of memory


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """`pytest` uses a process for each core; `pytest tests/FILE` runs in its own, as starting others takes longer."""
    whole_suite = config.args_source is config.ArgsSource.TESTPATHS
    return min(os.cpu_count() or 1, MAX_PROCESSES) if whole_suite else 0


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Importing PyTorch and the tests makes objects that stay: no garbage is looked for among them, neither while they
    are made nor in the tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _one_round_of_matmul_precision() -> Iterator[None]:
    """Every run and every loaded model measures the precisions of matrix products; here in one round instead of five,
    and without a choice that the load of the machine could change."""
    from saccade.nn.matmul_precision import MatmulPrecisionChoice, choose_matmul_precision

    def one_round(*args: object, **options: object) -> MatmulPrecisionChoice:
        return MatmulPrecisionChoice("highest", choose_matmul_precision(*args, **options, rounds=1).reason)

    with pytest.MonkeyPatch.context() as patch:
        for module in ("training.resume", "engine.predictor"):
            patch.setattr(f"saccade.{module}.choose_matmul_precision", one_round)
        yield


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first: begun last, one would keep its process busy while the others have nothing left to do."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def notebook_kernel() -> Iterator["NotebookKernel"]:
    """A Jupyter kernel of this process, started by the first notebook."""
    from tests.notebook_kernel import NotebookKernel

    kernel = NotebookKernel()
    yield kernel
    kernel.close()
