"""The explorer's process: one address on this machine."""

import socket
from collections.abc import Callable

import uvicorn

from saccade.explorer.app import make_app
from saccade.explorer.session import Session

HOST = "127.0.0.1"


def serve(session: Session, listener: socket.socket, on_start: Callable[[str], None]) -> None:
    """Serve until the process is interrupted.

    Args:
        session: models and images.
        listener: of :func:`saccade.web.open_socket`.
        on_start: called with the URL of the page.
    """
    on_start(f"http://{HOST}:{listener.getsockname()[1]}/")
    uvicorn.Server(configuration(session)).run(sockets=[listener])


def configuration(session: Session) -> uvicorn.Config:
    """The server of a session's application: quiet, without web sockets."""
    return uvicorn.Config(
        make_app(session), log_level="warning", access_log=False, server_header=False, ws="none", lifespan="off"
    )
