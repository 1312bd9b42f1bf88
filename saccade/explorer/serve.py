"""The explorer's process: one address on this machine."""

import socket
from collections.abc import Callable

import uvicorn

from saccade.errors import ConfigError
from saccade.explorer.app import make_app
from saccade.explorer.session import Session

HOST = "127.0.0.1"


def open_socket(port: int) -> socket.socket:
    """A listening socket of this machine alone; port 0 takes a free one.

    Raises:
        ConfigError: the port is taken.
    """
    # With its protocol named, asyncio sets TCP_NODELAY; without, an answer in two writes waits 40 ms for an ACK.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"port {port} of {HOST} cannot be used: {reason}; choose another with --port") from None
    listener.listen()
    return listener


def serve(session: Session, listener: socket.socket, on_start: Callable[[str], None]) -> None:
    """Serve until the process is interrupted.

    Args:
        session: models and images.
        listener: of :func:`open_socket`.
        on_start: is called with the address of the page.
    """
    on_start(f"http://{HOST}:{listener.getsockname()[1]}/")
    uvicorn.Server(configuration(session)).run(sockets=[listener])


def configuration(session: Session) -> uvicorn.Config:
    """The server of a session's application: quiet, without web sockets."""
    return uvicorn.Config(
        make_app(session), log_level="warning", access_log=False, server_header=False, ws="none", lifespan="off"
    )
