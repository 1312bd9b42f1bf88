r"""The screenshots of docs/explorer.md, from a running explorer in chromium.

    python benchmarks/explorer_screenshots.py deit_tiny_patch16_224.pth docs/images
    saccade train numbers --task seq2seq --set data.numbers.train=640 --set data.numbers.limit=1000 --epochs 15 \
        --output runs/numbers
    python benchmarks/explorer_screenshots.py runs/numbers docs/images --text "two hundred and seven"

The photographs are scikit-learn's sample images (flower.jpg and china.jpg, CC BY 2.0).
"""

import argparse
import io
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from sklearn.datasets import load_sample_image

from saccade.explorer.recording import OpenImage, OpenText, encode
from saccade.explorer.serve import HOST, configuration
from saccade.explorer.session import OpenModel, Session
from saccade.tasks.loading import load
from saccade.web import open_socket

WIDE, NARROW = (1400, 900), (390, 844)
# name -> (address, size, colour scheme, point under the pointer as fractions of the image)
Shot = tuple[str, tuple[int, int], str, tuple[float, float] | None]
SHOTS: dict[str, Shot] = {
    "explorer": ("layer=5&head=1", WIDE, "light", (0.57, 0.38)),
    "explorer-change": ("layer=11&head=1&hide=60-64,74-78,88-92,102-106&heads=11.0,11.2", WIDE, "dark", None),
    "explorer-distance": ("tab=distance", (1400, 640), "light", None),
    "explorer-narrow": ("layer=8&show=mean", NARROW, "dark", None),
}

TEXT_SHOTS: dict[str, Shot] = {"explorer-text": ("layer=1&show=mean&query=1", (1280, 760), "light", None)}


def photograph(name: str) -> OpenImage:
    return OpenImage(name, encode(load_sample_image(name)))


def serve(model: str, inputs: Sequence[OpenImage | OpenText]) -> str:
    """The address of an explorer that runs until the process ends."""
    listener = open_socket(HOST, 0)
    session = Session([OpenModel(model, load(model))], inputs, 2**29)
    server = uvicorn.Server(configuration(session))
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    return f"http://{HOST}:{listener.getsockname()[1]}/"


def take(browser: Browser, address: str, shot: Shot, path: Path) -> None:
    state, (width, height), scheme, point = shot
    dark = "dark" if scheme == "dark" else "light"
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=dark)
    context.add_init_script("localStorage.setItem('saccade-hint-closed', 'yes')")
    page = context.new_page()
    page.goto(f"{address}#{state}")
    page.wait_for_selector('body[data-loaded="ready"]', timeout=120_000)
    if point is not None:
        box = page.locator("#marks").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + point[0] * box["width"], box["y"] + point[1] * box["height"])
    page.wait_for_timeout(800)
    content = page.screenshot(full_page=width < 600)
    context.close()
    image = Image.open(io.BytesIO(content)).convert("RGB")
    image.save(path, quality=90, method=6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="of photographs, such as a DeiT-Ti; or of texts")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--text", help="of a model that reads texts, instead of photographs")
    arguments = parser.parse_args()
    photographs = [photograph("flower.jpg"), photograph("china.jpg")]
    address = serve(arguments.model, [OpenText(arguments.text)] if arguments.text else photographs)
    shots = TEXT_SHOTS if arguments.text else SHOTS
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, shot in shots.items():
            path = arguments.folder / f"{name}.webp"
            take(browser, address, shot, path)
            print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main()
