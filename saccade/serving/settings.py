"""Settings of a server: its models and limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from saccade.errors import ConfigError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Limits:
    """Limits of requests and queues.

    Attributes:
        max_queue: maximum number of queued inputs of one model; more are refused with 503.
        max_batch: maximum number of inputs in a batch.
        max_wait_ms: how long a batch waits for more inputs, in milliseconds.
        timeout: seconds from the arrival of a request to its response; the header X-Timeout-Ms shortens it.
        body_bytes: maximum size of a request body; larger ones are refused with 413 while they are read.
        body_seconds: time limit for the whole body of a request.
        stuck_seconds: with a batch that takes longer, `/ready` returns 503.
    """

    max_queue: int = 64
    max_batch: int = 8
    max_wait_ms: float = 2.0
    timeout: float = 30.0
    body_bytes: int = 20 * 2**20
    body_seconds: float = 30.0
    stuck_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name in ("max_queue", "max_batch", "timeout", "body_bytes"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.max_wait_ms < 0:
            raise ConfigError(f"max_wait_ms must be at least 0, not {self.max_wait_ms}")


@dataclass(frozen=True)
class ServerSettings:
    """One server.

    Attributes:
        models: name in URLs -> a run, a model directory or a published file.
        limits: limits of requests and queues.
        host: the address to listen on.
        token: token that every request must have, as `Authorization: Bearer TOKEN`; "" for none.
        device: where the models run.
        image_size: side in pixels instead of the models' own; None for their own.
        options: options of the tasks' predictions.
        json_log: log a JSON object per request instead of a line of text.
        traces: send an OpenTelemetry span per request.
    """

    models: Mapping[str, str]
    limits: Limits = field(default_factory=Limits)
    host: str = "127.0.0.1"
    token: str = ""
    device: str = "cpu"
    image_size: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    json_log: bool = False
    traces: bool = False

    def __post_init__(self) -> None:
        if not self.models:
            raise ConfigError("there is no model to serve")
        if self.host not in LOOPBACK and not self.token:
            raise ConfigError(
                f"--host {self.host} opens the server to other machines: give a --token-file whose token clients must "
                "send, or serve at 127.0.0.1"
            )
        if self.token and (len(self.token) < 16 or not self.token.isascii() or not self.token.isprintable()):
            raise ConfigError("a token has at least 16 printable ASCII characters: `openssl rand -hex 32` writes one")
