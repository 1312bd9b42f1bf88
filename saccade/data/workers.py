"""Errors of a loader's worker processes, as the process that trains raises its own: whole, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from saccade.errors import DataError, SaccadeError

CAUGHT = "Caught "  # how PyTorch begins an error of a worker, followed by its traceback
KILLED = "DataLoader worker (pid"


@contextmanager
def worker_errors() -> Iterator[None]:
    """Raise the errors of workers without the traceback that PyTorch puts in front of them.

    PyTorch reports a killed worker from a signal handler, so at any place of the process that loads.

    Raises:
        SaccadeError: of the worker's own class, with its own text; `DataError` for a worker that was killed.
    """
    try:
        yield
    except SaccadeError as error:
        text = str(error)
        if not text.startswith(CAUGHT):
            raise
        # The traceback ends with "module.Class: text", where the text may have lines of its own.
        marker = f"{type(error).__module__}.{type(error).__qualname__}: "
        raise type(error)(text.rpartition(marker)[2].strip() or text) from None
    except RuntimeError as error:
        if KILLED not in str(error):
            raise
        first = str(error).splitlines()[0].rstrip(".")
        raise DataError(
            f"{first}: a process that loads data ended, most often because the memory was full. Use fewer (--workers), "
            "or --workers 0"
        ) from None
