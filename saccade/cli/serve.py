"""`saccade serve`: models over HTTP."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from saccade.cli.predict import PredictOptions
from saccade.errors import ConfigError

if TYPE_CHECKING:
    from saccade.serving.settings import Limits


@Parameter(name="*")
@dataclass(frozen=True)
class LimitOptions:
    """Limits of requests."""

    max_queue: int = 64
    """Maximum number of queued inputs of one model; further requests are refused with 503 and Retry-After."""
    max_batch: int = 8
    """Inputs per batch."""
    max_wait_ms: float = 2.0
    """Milliseconds that a batch waits for more inputs."""
    timeout: float = 30.0
    """Seconds until a request times out; the header X-Timeout-Ms shortens this."""
    max_body_mb: int = 20
    """Maximum size of a request body in megabytes; larger ones are refused with 413."""

    def limits(self) -> "Limits":
        from saccade.serving.settings import Limits

        return Limits(
            max_queue=self.max_queue,
            max_batch=self.max_batch,
            max_wait_ms=self.max_wait_ms,
            timeout=self.timeout,
            body_bytes=self.max_body_mb * 2**20,
        )


@Parameter(name="*")
@dataclass(frozen=True)
class TokenOptions:
    """Authentication of clients."""

    token: str = ""
    """Token that clients must send as `Authorization: Bearer TOKEN`; at least 16 characters. Other users of this
    machine can read it in the list of processes: --token-file is safer."""
    token_file: Path | None = None
    """File with the token."""

    def read(self) -> str:
        """The token; "" for none.

        Raises:
            ConfigError: both options, or a file that is empty or cannot be read.
        """
        from saccade.files import read_text

        if self.token_file is None:
            return self.token
        if self.token:
            raise ConfigError("choose --token or --token-file")
        text = read_text(self.token_file, ConfigError, kind="token file").strip()
        if not text:
            raise ConfigError(f"{self.token_file} is empty: it must hold the token")
        return text


@Parameter(name="*")
@dataclass(frozen=True)
class ProcessOptions:
    """Where the models run."""

    workers: int = 1
    """Processes, each with its own copy of the models; a process that dies is replaced."""
    ray: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None
    """Run the workers as replicas of a Ray Serve deployment, on the cluster at HOST:PORT (or auto), or without an
    address on a new one on this machine. Needs the extra `ray`."""
    trace: Annotated[bool, Parameter(negative="")] = False
    """Send a span of OpenTelemetry per request to the collector of OTEL_EXPORTER_OTLP_ENDPOINT. Needs the extra
    `otel`."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"--workers must be at least 1, not {self.workers}")
        if self.ray is not None and len(self.ray) > 1:
            raise ConfigError("--ray takes one address")


def serve(
    models: Annotated[list[str], Parameter(negative="", consume_multiple=True)],
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    process: ProcessOptions | None = None,
    limits: LimitOptions | None = None,
    token: TokenOptions | None = None,
    image_size: int | None = None,
    device: str = "cpu",
    log: Literal["text", "json"] = "text",
    options: PredictOptions | None = None,
) -> None:
    """Serve models over HTTP: JSON at /v1, the Open Inference Protocol at /v2, a page to try them at /.

    Concurrent requests are batched. On SIGTERM or Ctrl-C, requests in flight are completed first. Needs the
    extra `serve`: pip install "saccade[serve]".

    Parameters
    ----------
    models
        Runs, model directories or published files; NAME=MODEL gives one a name in addresses.
    host
        Address to listen on; any but the loopback address requires a token.
    port
        Port to listen on; 0 selects a free one.
    image_size
        Side in pixels, instead of the models' own.
    device
        Device, such as cpu or cuda.
    log
        Format of the log on stderr, one line per request: text or JSON.
    """
    from saccade.serving.settings import ServerSettings

    processes = process or ProcessOptions()
    settings = ServerSettings(
        models=named(models), limits=(limits or LimitOptions()).limits(), host=host,
        token=(token or TokenOptions()).read(), device=device, image_size=image_size,
        options=(options or PredictOptions()).given(), json_log=log == "json",
        traces=processes.trace,
    )  # fmt: skip
    try:
        from saccade.serving.process import serve as serve_models
        from saccade.web import open_socket
    except ImportError as error:
        raise ConfigError(f'saccade serve needs the extra `serve`: pip install "saccade[serve]" ({error})') from None
    if processes.ray is not None:
        from saccade.serving.ray_serve import serve_on_ray

        ready = f"http://{host}:{port}/  {', '.join(settings.models)}  (Ctrl+C ends it)"
        address = next(iter(processes.ray), None)
        serve_on_ray(settings, port, processes.workers, address, lambda: print(ready, flush=True))
        return
    listener = open_socket(host, port)
    address, names = f"http://{host}:{listener.getsockname()[1]}/", ", ".join(settings.models)
    serve_models(
        settings, listener, processes.workers, lambda: print(f"{address}  {names}  (Ctrl+C ends it)", flush=True)
    )


def named(models: list[str]) -> dict[str, str]:
    """Name in addresses -> model: the name before `=`, else that of the file or folder.

    Raises:
        ConfigError: two models of one name, or a name that an address cannot contain.
    """
    import re

    names: dict[str, str] = {}
    for text in models:
        name, equals, path = text.partition("=")
        if not equals or "/" in name:
            name, path = Path(text).stem if Path(text).is_file() else Path(text).name, text
        if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
            raise ConfigError(f"{name!r} cannot be in an address: give the model another name with NAME={path}")
        if name in names:
            raise ConfigError(f"two models are called {name}: give one another name with NAME={path}")
        names[name] = path
    return names
