"""The pictures of docs/images that no command of Saccade writes itself.

    python -m benchmarks.gallery scenes docs/images/scenes.png
    python -m benchmarks.gallery scenes docs/images/detections.png --model runs/detr
    python -m benchmarks.gallery scenes docs/images/segmentation.png --model runs/masks
    python -m benchmarks.gallery suppression docs/images/suppression.png --model runs/dense
    python -m benchmarks.gallery report docs/images/masked.png --model runs/mae --heading Reconstructions

`scenes` draws test scenes with their boxes and depth, or what a model predicts for them; `suppression` the candidates
of a dense detector above those that non-maximum suppression keeps. `report` takes a screenshot of a run's report with
chromium: of its beginning, or of what follows a heading.
"""

import argparse
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

import saccade
from saccade.data.builtin.scenes import SceneSource
from saccade.data.config import ScenesConfig
from saccade.tasks.dense.drawing import depth_colours
from saccade.tasks.detection.fcos import FcosTask
from saccade.tasks.detection.results import Box, draw_detection

SCENES = 4
SIDE, GAP = 300, 6  # pixels of a scene in the picture, and between two
COLOURS = 128  # of a PNG
# From what follows a heading and its note to the next heading: (x, y, width, height) in the page.
AREA = """heading => {
  let first = document.querySelector('main').firstElementChild;
  if (heading) {
    first = [...document.querySelectorAll('h2')].find(one => one.textContent === heading)?.nextElementSibling;
    while (first?.matches('p.note')) first = first.nextElementSibling;
  }
  if (!first) return null;
  let last = first;
  while (last.nextElementSibling && !(heading && last.nextElementSibling.matches('h2'))) last = last.nextElementSibling;
  const [top, bottom] = [first.getBoundingClientRect(), last.getBoundingClientRect()];
  return [top.left - 10, top.top + scrollY - 10, top.width + 20, bottom.bottom - top.top + 20];
}"""


def scenes_picture(model: str | None) -> Image.Image:
    """Test scenes with their ground truth, or with the predictions of a model."""
    source = SceneSource("test", SCENES, ScenesConfig())
    scenes = [source.scene(number) for number in range(SCENES)]
    if model is not None:
        predictor = saccade.load(model)
        images = [scene.image for scene in scenes]
        return mosaic([[one.draw(image) for one, image in zip(predictor.predict(images), images)]])
    boxes = [tuple(Box(str(o.label), 1.0, o.box) for o in scene.objects) for scene in scenes]
    drawn = [draw_detection(s.image, b, source.classes, scores=False) for s, b in zip(scenes, boxes)]
    depth = [depth_colours(s.depth, float(s.depth.min()), float(s.depth.max())) for s in scenes]
    return mosaic([drawn, depth])


def suppression_picture(model: str) -> Image.Image:
    """The candidates of a dense detector, and those that are left.

    Raises:
        SystemExit: the model is no dense detector.
    """
    predictor = saccade.load(model)
    task = predictor.task
    if not isinstance(task, FcosTask):
        raise SystemExit(f"{model} is no dense detector")
    source = SceneSource("test", SCENES, ScenesConfig())
    images = [source.scene(number).image for number in range(SCENES)]
    rows = []
    for threshold in (1.0, task.nms_iou_threshold):
        predictor.task = FcosTask(task.labels, task.config, threshold=task.threshold, nms_iou_threshold=threshold)
        rows.append([one.draw(image) for one, image in zip(predictor.predict(images), images)])
    return mosaic(rows)


def mosaic(rows: Sequence[Sequence[np.ndarray]]) -> Image.Image:
    """Pictures ``[H, W, 3]`` uint8 in rows, each of the same width."""
    tiles = [[Image.fromarray(one) for one in row] for row in rows]
    tiles = [[one.resize((SIDE, round(SIDE * one.height / one.width))) for one in row] for row in tiles]
    heights = [max(one.height for one in row) for row in tiles]
    columns = max(map(len, tiles))
    picture = Image.new("RGB", (columns * (SIDE + GAP) - GAP, sum(heights) + GAP * (len(rows) - 1)), "white")
    y = 0
    for row, height in zip(tiles, heights):
        for column, one in enumerate(row):
            picture.paste(one, (column * (SIDE + GAP), y))
        y += height + GAP
    return picture


def report_picture(run: Path, heading: str | None, height: int) -> Image.Image:
    """A part of a run's report.

    Args:
        run: its directory.
        heading: of the part; the beginning of the report unless given.
        height: of the picture at most, in pixels of the page.

    Raises:
        SystemExit: the report has no such heading.
    """
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1060, "height": 900})
        page.goto((run / "report.html").resolve().as_uri())
        area = page.evaluate(AREA, heading)
        if area is None:
            raise SystemExit(f"{run / 'report.html'} has no heading {heading!r}")
        x, y, width, whole = area
        clip = {"x": x, "y": y, "width": width, "height": min(whole, height)}
        content = page.screenshot(full_page=True, clip=clip)  # type: ignore[arg-type]
        browser.close()
    return Image.open(io.BytesIO(content)).convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", choices=["scenes", "suppression", "report"])
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", help="a run")
    parser.add_argument("--heading", help="of the part of the report")
    parser.add_argument("--height", type=int, default=980, help="pixels of the page at most")
    options = parser.parse_args()
    if options.model is None and options.picture != "scenes":
        parser.error(f"{options.picture} needs --model")
    if options.picture == "scenes":
        picture = scenes_picture(options.model)
    elif options.picture == "suppression":
        picture = suppression_picture(options.model)
    else:
        picture = report_picture(Path(options.model), options.heading, options.height)
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(options.output, optimize=True)
    print(options.output)


if __name__ == "__main__":
    main()
