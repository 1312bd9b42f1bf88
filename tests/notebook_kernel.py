"""A Jupyter kernel in which the tests execute one notebook after the other."""

import gc
import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
from IPython import get_ipython
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from docsite.notebooks import notebook
from saccade.cli.main import main
from tests import page_commands

CELL_SECONDS = 110  # of one cell at most
FIRST_CELL = """
from tests.notebook_kernel import begin
begin({folder!r}, {shorten!r})
"""


@dataclass
class NotebookKernel:
    """A kernel that is started by its first notebook."""

    manager: KernelManager = field(default_factory=lambda: KernelManager(kernel_name="python3"))

    def execute(self, page: Path, folder: Path, *, shorten: str = "as_it_stands") -> list[Any]:
        """Execute the notebook of a page.

        Args:
            page: of docs/.
            folder: where it runs.
            shorten: name of the function of page_commands that its commands go through.

        Returns:
            Its code cells as they were executed.

        Raises:
            nbclient.exceptions.CellExecutionError: a cell or a command fails.
        """
        cells = nbformat.reads(json.dumps(notebook(page)), as_version=4)
        first = FIRST_CELL.format(folder=str(folder), shorten=shorten)
        cells.cells.insert(0, nbformat.v4.new_code_cell(first))
        NotebookClient(cells, km=self.manager, timeout=CELL_SECONDS).execute()
        return [cell for cell in cells.cells[1:] if cell.cell_type == "code"]

    def close(self) -> None:
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=True)


def begin(folder: str, shorten: str) -> None:
    """In the kernel, before each notebook: a folder of its own, and no names of the notebook before it.

    Commands run in the kernel's process, since starting others takes longer, and one that fails is an error.
    """
    os.chdir(folder)
    plt.switch_backend("Agg")
    plt.close("all")
    change: Callable[[list[str]], list[str]] = getattr(page_commands, shorten)
    if not gc.get_freeze_count():
        gc.freeze()  # what imports made stays: no garbage is looked for among it

    def system(line: str) -> None:
        if main(change(shlex.split(line)[1:])) != 0:
            raise RuntimeError(line)

    shell = get_ipython()
    assert shell is not None
    for name in [name for name in shell.user_ns if name not in shell.user_ns_hidden]:
        del shell.user_ns[name]
    shell.system = system
