"""The server's processes: uvicorn with limits on slow clients, one process or several workers."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import h11
import torch
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.supervisors import Multiprocess

from saccade.serving.app import make_app
from saccade.serving.served_model import ServedModel
from saccade.serving.settings import ServerSettings
from saccade.tasks.loading import load

GRACE = 25  # seconds that requests have to end after SIGTERM
MAX_HEADER = 64 * 2**10  # bytes
MAX_CHUNKS = 65_536  # of a body
MAX_CONNECTIONS = 1000
HEALTH = 30  # seconds in which a worker must react, also while it imports PyTorch
KEEP_ALIVE = 5  # seconds without a request


class BoundedProtocol(H11Protocol):
    """Closes a connection whose header does not arrive, or whose body has too many chunks."""

    header_seconds = 10.0
    timer: asyncio.TimerHandle | None = None
    chunks = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        next_event = self.conn.next_event

        def counted() -> Any:
            event = next_event()
            self.chunks = self.chunks + 1 if isinstance(event, h11.Data) else 0
            if self.chunks > MAX_CHUNKS:
                raise h11.RemoteProtocolError("too many chunks")
            return event

        self.conn.next_event = counted  # type: ignore[method-assign]
        self.timer = self.loop.call_later(self.header_seconds, self.give_up)

    def data_received(self, data: bytes) -> None:
        if self.timer is None and (self.cycle is None or self.cycle.response_complete):
            self.timer = self.loop.call_later(self.header_seconds, self.give_up)
        super().data_received(data)
        if self.timer is not None and self.cycle is not None and not self.cycle.response_complete:
            self.timer.cancel()
            self.timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        super().connection_lost(exc)

    def give_up(self) -> None:
        self.timer = None
        self.transport.close()


class GracefulServer(uvicorn.Server):
    """Completes requests after the first signal, and stops immediately after the second."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(128 + sig)
        super().handle_exit(sig, frame)


def load_app(settings: ServerSettings) -> Starlette:
    """The application, with every model loaded and run once.

    Raises:
        SaccadeError: a model cannot be opened, or has no prediction for a single input.
    """
    models = []
    for name, path in settings.models.items():
        predictor = load(path, device=settings.device, image_size=settings.image_size, options=settings.options)
        models.append(ServedModel(name, predictor))
        models[-1].warm_up()
    return make_app(settings, models)


def worker_app(settings: ServerSettings, threads: int, parent: int) -> Starlette:
    """The application of one of several workers, which ends within a second of its parent process."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    torch.set_num_threads(threads)
    start_log()
    return load_app(settings)


def start_log() -> None:
    """Log one line per request on stderr."""
    log = logging.getLogger("saccade.serving")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)


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
