"""Errors of loader worker processes, raised like those of the training process: complete, in one line."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from saccade.errors import DataError, SaccadeError

CAUGHT = "Caught "  # how PyTorch begins an error of a worker, followed by its traceback
KILLED = "DataLoader worker (pid"


@contextmanager
def worker_errors() -> Iterator[None]:
    """Raise the errors of workers without the traceback that PyTorch prepends.

    PyTorch reports a killed worker from a signal handler, at any point of the loading process.

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
        first = str(error).splitlines()[0].rstrip(". :")
        raise DataError(
            f"{first}: a process that loads data ended, most often because the memory was full. Use fewer (--workers), "
            "or --workers 0"
        ) from None


def end_with_parent(worker: int) -> None:
    """`worker_init_fn` of a loader: workers ignore signals that end a run and are stopped by the training process.

    Ctrl-C, the end of a terminal, `timeout` and schedulers reach every process of a run, but the run still needs the
    batches of its current step. Workers end by the training process's SIGTERM or with the run.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
        threading.Thread(target=_exit_for_parent, args=(os.getppid(),), daemon=True).start()


def _exit_for_parent(parent: int) -> None:
    while signal.sigwaitinfo((signal.SIGTERM,)).si_pid not in (0, parent):
        pass
    os._exit(0)
