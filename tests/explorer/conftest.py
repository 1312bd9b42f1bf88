"""A running explorer over two small models, and a browser to look at it."""

import io
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.checkpoints.directory import LoadedModel
from saccade.data.preprocessing import Preprocessing
from saccade.explorer.recording import OpenImage
from saccade.explorer.session import OpenModel, Session
from saccade.tasks.loading import predictor_of

LABELS = ("ant", "bee", "cat", "dog")


def photograph(height: int = 60, width: int = 80, seed: int = 0) -> bytes:
    """A smooth random image as the bytes of a PNG."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def small_model(name: str, seed: int = 0) -> OpenModel:
    """A ViT of 32 x 32 pixels with a class token: 3 layers, 3 heads, 4 x 4 patches."""
    from saccade.models.vit import VisionTransformer
    from saccade.models.vit_encoder import ViTConfig
    from saccade.nn.transformer import BlockConfig

    torch.manual_seed(seed)
    config = ViTConfig(BlockConfig(48, 3, 96), 3, image_size=(32, 32), patch_size=(8, 8), num_classes=len(LABELS))
    model = VisionTransformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # fresh weights attend evenly
            parameter.mul_(3)
    source = LoadedModel(model, "vit", LABELS, Preprocessing(size=(32, 32)))
    return OpenModel(name, predictor_of(source))


@pytest.fixture(scope="session")
def session() -> Session:
    images = [OpenImage("first.png", photograph()), OpenImage("second.png", photograph(seed=1))]
    return Session([small_model("one"), small_model("two", seed=1)], images, 2**26)


@dataclass(frozen=True)
class Explorer:
    """A running explorer."""

    address: str
    session: Session


@pytest.fixture(scope="session")
def explorer(session: Session) -> Iterator[Explorer]:
    with running(session) as address:
        yield Explorer(address, session)


@contextmanager
def running(session: Session) -> Iterator[str]:
    """Serve a session in a thread: the address."""
    uvicorn = pytest.importorskip("uvicorn", reason="needs the extra `look`")
    from saccade.explorer.serve import HOST, configuration
    from saccade.web import open_socket

    listener = open_socket(HOST, 0)
    server = uvicorn.Server(configuration(session))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://{HOST}:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@dataclass
class View:
    """A page in the browser, and what went wrong in it."""

    page: Any
    complaints: list[str]
    hosts: set[str]

    def open(self, address: str, ready: str = "ready") -> None:
        self.page.goto(address)
        self.page.wait_for_selector(f'body[data-loaded="{ready}"]', timeout=60_000)

    def show(self, token: int | str) -> None:
        """Wait until the row of a query is on the image."""
        self.page.wait_for_selector(f'#frame[data-query="{token}"]', timeout=20_000)

    def point_at(self, row: int, column: int) -> None:
        """Move the mouse to the middle of a patch of the 4 x 4 grid."""
        box = self.page.locator("#marks").bounding_box()
        self.page.mouse.move(box["x"] + (column + 0.5) * box["width"] / 4, box["y"] + (row + 0.5) * box["height"] / 4)

    def levels(self, overlay: str = "#overlay") -> np.ndarray:
        """An overlay of ``paint=light`` as levels ``[h, w]`` of 255."""
        code = """(overlay) => { const c = document.querySelector(overlay), size = [c.height, c.width];
            return [size, [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data]]; }"""
        size, values = self.page.evaluate(code, overlay)
        return 255 - np.array(values).reshape(*size, 4)[..., 3]


@pytest.fixture
def view(chromium: Any) -> Iterator[View]:
    yield from open_view(chromium)


@pytest.fixture
def narrow_view(chromium: Any) -> Iterator[View]:
    yield from open_view(chromium, viewport={"width": 360, "height": 740}, color_scheme="dark", has_touch=True)


def open_view(browser: Any, **options: Any) -> Iterator[View]:
    context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
    page = context.new_page()
    view = View(page, [], set())
    page.on("console", lambda message: view.complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: view.complaints.append(str(error)))
    page.on("request", lambda request: view.hosts.add(urlsplit(request.url).netloc) if "//" in request.url else None)
    yield view
    context.close()
