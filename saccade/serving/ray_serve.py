"""The same application as a Ray Serve deployment: replicas on a cluster behind Ray's HTTP proxy. The extra `ray`."""

import signal
import threading
from collections.abc import Callable
from types import FrameType

from starlette.applications import Starlette

from saccade.deferred import Deferred
from saccade.errors import ConfigError
from saccade.inference.ray_cluster import start_ray
from saccade.serving.loading import load_app, start_log
from saccade.serving.process import GRACE
from saccade.serving.settings import ServerSettings

ray_serve = Deferred("ray.serve")
NAME = "saccade"  # of the application


class Replica:
    """Holds the application that Ray builds in each replica."""


def replica_app(settings: ServerSettings) -> Starlette:
    """The application of one replica, in its own process."""
    start_log()
    return load_app(settings)


def deploy(settings: ServerSettings, port: int, replicas: int, address: str | None) -> Callable[[], None]:
    """Start the replicas and wait until they answer; returns the function that ends them.

    Args:
        settings: of the server; model paths are opened on every node.
        port: of Ray's proxy.
        replicas: processes with a copy of the models each; one that dies is replaced.
        address: of a cluster: HOST:PORT, or auto; a new local cluster by default.

    Raises:
        ConfigError: Ray Serve is missing, or there is no cluster at the address.
    """
    try:
        _ = ray_serve.deployment
    except ImportError as error:
        raise ConfigError(f"--ray needs the extra `ray`: pip install 'saccade[ray]' ({error})") from None
    ray = start_ray(address)
    ray_serve.start(http_options={"host": settings.host, "port": port})

    def build() -> Starlette:  # Ray calls a function in each replica, and takes any other callable for the application
        return replica_app(settings)

    app = ray_serve.ingress(build)(Replica)
    deployment = ray_serve.deployment(
        app, name=NAME, num_replicas=replicas, max_ongoing_requests=settings.limits.max_queue,
        graceful_shutdown_timeout_s=GRACE,
    )  # fmt: skip
    ray_serve.run(deployment.bind(), name=NAME, route_prefix="/")

    def end() -> None:
        ray_serve.shutdown()
        ray.shutdown()

    return end


def serve_on_ray(
    settings: ServerSettings, port: int, replicas: int, address: str | None, on_start: Callable[[], None]
) -> None:
    """Serve until the process is interrupted or terminated; arguments as for :func:`deploy`."""
    over = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        over.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    end = deploy(settings, port, replicas, address)
    try:
        on_start()
        over.wait()
    finally:
        end()
