"""What a server serves, and its limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from saccade.errors import ConfigError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Limits:
    """What one client, and all of them, can make the server hold.

    Attributes:
        max_queue: inputs of one model that wait for their batch; more are refused with 503.
        max_batch: inputs that go through a model at once.
        max_wait_ms: how long a batch waits for more inputs, in milliseconds.
        timeout: seconds from the arrival of a request to its answer; the header X-Timeout-Ms shortens it.
        body_bytes: of a request; larger ones are refused with 413 while they are read.
        body_seconds: for the whole body of a request.
        stuck_seconds: a batch that takes longer makes `/ready` answer 503.
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
        models: name in addresses -> a run, a model directory or a published file.
        limits: of requests and queues.
        host: the address to listen at.
        token: that every request must carry, as `Authorization: Bearer TOKEN`; "" for none.
        device: where the models run.
        image_size: side in pixels instead of the models' own; None for their own.
        options: of the tasks' predictions.
        json_log: log a JSON object a request instead of a line of text.
    """

    models: Mapping[str, str]
    limits: Limits = field(default_factory=Limits)
    host: str = "127.0.0.1"
    token: str = ""
    device: str = "cpu"
    image_size: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    json_log: bool = False

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
