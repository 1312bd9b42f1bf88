"""A running server over a small classifier and a model that waits for a signal."""

import asyncio
import io
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import uvicorn
from PIL import Image

from saccade.checkpoints.directory import LoadedModel
from saccade.data.preprocessing import Preprocessing
from saccade.engine.results import Result
from saccade.models.vit import VisionTransformer
from saccade.models.vit_encoder import ViTConfig
from saccade.nn.transformer import BlockConfig
from saccade.serving.app import make_app
from saccade.serving.protocol import BoundedProtocol
from saccade.serving.served_model import Prepared, ServedModel
from saccade.serving.settings import Limits, ServerSettings
from saccade.serving.tracing import Tracing
from saccade.tasks.loading import predictor_of

LABELS = ("ant", "bee", "<b>cat</b>", "dog")


def photograph(seed: int = 0, height: int = 60, width: int = 80) -> bytes:
    """A smooth random image as the bytes of a PNG."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def photographs(folder: Path, count: int) -> Path:
    """A folder of photographs, and of one that is damaged."""
    folder.mkdir()
    for seed in range(count):
        (folder / f"{seed}.png").write_bytes(photograph(seed))
    (folder / "9.png").write_bytes(photograph()[:50])
    return folder


def small_source() -> LoadedModel:
    """A ViT of 32 x 32 pixels: 2 layers, 2 heads, 4 x 4 patches."""
    torch.manual_seed(0)
    config = ViTConfig(BlockConfig(32, 2, 64), 2, image_size=(32, 32), patch_size=(8, 8), num_classes=len(LABELS))
    model = VisionTransformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # fresh weights give even probabilities
            parameter.mul_(3)
    return LoadedModel(model, "vit", LABELS, Preprocessing(size=(32, 32)))


class BlockedModel(ServedModel):
    """The same model, whose batches wait until they are let go."""

    def __init__(self, name: str, gate: threading.Event):
        super().__init__(name, predictor_of(small_source()))
        self.gate, self.batches = gate, []

    def run(self, inputs: Sequence[Prepared]) -> Sequence[Result]:
        self.batches.append(len(inputs))
        self.gate.wait(30)
        return super().run(inputs)


@contextmanager
def running(
    settings: ServerSettings,
    models: Sequence[ServedModel],
    header_seconds: float = 10.0,
    tracing: Tracing | None = None,
) -> Iterator[int]:
    """The port of a server in a thread of this process."""
    protocol = type("Protocol", (BoundedProtocol,), {"header_seconds": header_seconds})
    config = uvicorn.Config(
        make_app(settings, models, tracing), http=protocol, log_level="error", lifespan="on", ws="none"
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    limits = Limits(max_queue=16, max_batch=4, body_bytes=200_000, body_seconds=2.0)
    model = ServedModel("insects", predictor_of(small_source()))
    with running(ServerSettings({"insects": ""}, limits), [model], header_seconds=1.0) as number:
        yield number
