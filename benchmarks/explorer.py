"""The explorer as a person meets it: latency of a hover, size of the page and of an export, memory of the server.

    python benchmarks/explorer.py --model vit_b16

Needs the extras `look` and `test`, and chromium. The weights are random: sizes and times do not depend on them. A hover
is measured in the browser, from the pointer's event to the row on the image, over patches that were not fetched before.
Memory is the resident memory of the server's process (Linux).
"""

import argparse
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uvicorn
from growth import memory
from machine import describe
from playwright.sync_api import Page, sync_playwright
from sklearn.datasets import load_sample_image

import saccade
from saccade.checkpoints.directory import LoadedModel
from saccade.data.preprocessing import Preprocessing
from saccade.explorer.app import page_names
from saccade.explorer.change import Change
from saccade.explorer.export import export_page, page_text
from saccade.explorer.recording import OpenImage, encode
from saccade.explorer.serve import HOST, configuration
from saccade.explorer.session import OpenModel, Session
from saccade.models.catalogue import ZOO
from saccade.tasks.loading import predictor_of
from saccade.web import open_socket

BUDGET = 256 * 2**20  # bytes of recordings and uploads, `saccade look --memory`
IMAGES = 60  # of which recordings are made one after the other

WATCH = """() => {
  window.times = [];
  let start = 0;
  document.getElementById("marks").addEventListener("pointermove", () => { start = performance.now(); }, true);
  new MutationObserver(() => window.times.push(performance.now() - start))
    .observe(document.getElementById("frame"), { attributeFilter: ["data-query"] });
}"""


def session_of(name: str) -> Session:
    """A model of the zoo with random weights, and scikit-learn's photograph of a flower."""
    torch.manual_seed(0)
    model = saccade.create(name).eval()
    size = model.config.image_size
    labels = tuple(f"class {index}" for index in range(model.config.num_classes))
    predictor = predictor_of(LoadedModel(model, ZOO[name], labels, Preprocessing(size=size)))
    flower = load_sample_image("flower.jpg")
    images = [OpenImage(f"flower {n}.jpg", encode(np.roll(flower, 8 * n, axis=1))) for n in range(IMAGES)]
    return Session([OpenModel(name, predictor)], images, BUDGET)


def hover_times(page: Page, grid: tuple[int, int], hovers: int) -> list[float]:
    """Milliseconds from the pointer's event to the row on the image, one after the other."""
    page.evaluate(WATCH)
    box = page.locator("#marks").bounding_box()
    assert box is not None
    rows, columns = grid
    for step in range(hovers):
        row, column = divmod((step * 37) % (rows * columns), columns)
        page.mouse.move(
            box["x"] + (column + 0.5) * box["width"] / columns, box["y"] + (row + 0.5) * box["height"] / rows
        )
        page.wait_for_function("(count) => window.times.length > count", arg=step)
    return page.evaluate("window.times")


def measure(name: str, hovers: int) -> dict[str, Any]:
    session = session_of(name)
    before = memory("VmRSS")
    listener = open_socket(HOST, 0)
    server = uvicorn.Server(configuration(session))
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1400, "height": 900}, bypass_csp=True).new_page()
        start = time.perf_counter()
        page.goto(f"http://{HOST}:{listener.getsockname()[1]}/")
        page.wait_for_selector('body[data-loaded="ready"]', timeout=120_000)
        first = time.perf_counter() - start
        one_image = memory("VmRSS")
        recording = session.recording("0", "0", Change())
        layout = recording.streams[0].keys.layout
        assert layout is not None
        times = hover_times(page, layout.grid, hovers)
        browser.close()
    for key in session.inputs:
        session.recording("0", key, Change())
    all_images = memory("VmRSS")
    server.should_exit = True
    session.inputs = {"0": session.inputs["0"]}  # that is exported
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(export_page(session))
        exported = file.stat().st_size
    return {
        "hover, median": f"{statistics.median(times):.0f} ms",
        "hover, 95th percentile": f"{statistics.quantiles(times, n=20)[-1]:.0f} ms",
        "from the address to the first row": f"{first:.1f} s",
        "recording in memory": f"{recording.nbytes / 1e6:.1f} MB",
        "server: libraries and the model": f"{before / 1e6:.0f} MB",
        "server, one image opened": f"{one_image / 1e6:.0f} MB",
        f"server, {IMAGES} images opened, --memory 256MiB": f"{all_images / 1e6:.0f} MB, {len(session.recordings)} "
        f"recordings of {session.recordings.nbytes / 1e6:.0f} MB",
        "export of one image": f"{exported / 1e6:.2f} MB",
        "the page without images": f"{sum(len(page_text(each).encode()) for each in page_names()) / 1e3:.0f} kB",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vit_b16")
    parser.add_argument("--hovers", type=int, default=60)
    arguments = parser.parse_args()
    print(f"{arguments.model}; {describe()}\n\n| | |\n| --- | --- |")
    for name, value in measure(arguments.model, arguments.hovers).items():
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
