"""The server's processes: uvicorn with limits on slow clients, one process or several workers."""

import os
import socket
from collections.abc import Callable
from functools import partial
from types import FrameType

import uvicorn
from uvicorn.supervisors import Multiprocess

from saccade.serving.loading import load_app, start_log
from saccade.serving.protocol import BoundedProtocol
from saccade.serving.settings import ServerSettings
from saccade.serving.worker import worker_app

GRACE = 25  # seconds that requests have to end after SIGTERM
MAX_HEADER = 64 * 2**10  # bytes
MAX_CONNECTIONS = 1000
HEALTH = 30  # seconds in which a worker must react
KEEP_ALIVE = 5  # seconds without a request


class GracefulServer(uvicorn.Server):
    """Completes requests after the first signal, and stops immediately after the second."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(128 + sig)
        super().handle_exit(sig, frame)


def serve(settings: ServerSettings, listener: socket.socket, workers: int, on_start: Callable[[], None]) -> None:
    """Serve until the process is interrupted or terminated; requests in flight are completed first.

    Args:
        settings: of the server.
        listener: of :func:`saccade.web.open_socket`.
        workers: number of processes, each with its own copy of the models; a process that dies is replaced.
        on_start: called once models are loaded; immediately if workers load them.
    """
    config = partial(
        uvicorn.Config, http=BoundedProtocol, log_level="warning", access_log=False,
        server_header=False, ws="none", lifespan="on", timeout_graceful_shutdown=GRACE, timeout_keep_alive=KEEP_ALIVE,
        h11_max_incomplete_event_size=MAX_HEADER, limit_concurrency=MAX_CONNECTIONS, timeout_worker_healthcheck=HEALTH,
    )  # fmt: skip
    if workers == 1:
        start_log()
        app = load_app(settings)
        on_start()
        GracefulServer(config(app)).run(sockets=[listener])
        return
    threads = max(1, (os.cpu_count() or 1) // workers)
    on_start()
    factory = partial(worker_app, settings, threads, os.getpid())
    Multiprocess(config(factory, factory=True, workers=workers), sockets=[listener]).run()
