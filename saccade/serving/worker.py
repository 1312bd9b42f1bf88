"""The start of one of several workers.

It loads no torch when it is imported: a new process answers its parent's health checks from then on, and would be
replaced again and again if a busy machine needed longer for PyTorch than these checks wait.
"""

import os
import signal
import threading
import time

from starlette.applications import Starlette

from saccade.deferred import Deferred
from saccade.serving.settings import ServerSettings

torch, loading = Deferred("torch"), Deferred("saccade.serving.loading")


def worker_app(settings: ServerSettings, threads: int, parent: int) -> Starlette:
    """The application of one of several workers, which ends within a second of its parent process."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    torch.set_num_threads(threads)
    loading.start_log()
    return loading.load_app(settings)
