"""`saccade predict` for depth and segmentation: a map for each image, drawn and as numbers."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from saccade.checkpoints.atomic import write_atomic
from saccade.data.images import read_image
from saccade.data.rle import encode_rle
from saccade.errors import ImageError
from saccade.inference.predictor import Predictor
from saccade.reporting.dense import class_picture, depth_picture, over, with_legend, with_scale_bar
from saccade.reporting.draw import to_png
from saccade.tasks.depth import DepthTask


def predict_dense(predictor: Predictor, paths: Sequence[Path], draw: Path | None, as_json: bool) -> int:
    """Say what every pixel shows; returns the exit code.

    With `draw`, NAME.png is for people, and NAME-depth.npy (metres) or NAME-mask.png (class numbers) for programs.
    """
    failed, rows = 0, []
    if draw is not None:
        draw.mkdir(parents=True, exist_ok=True)
    for path in paths:
        try:
            found = predictor.dense(path)
        except ImageError as error:
            failed += 1
            print(f"saccade: {error}", file=sys.stderr)
            continue
        if isinstance(predictor.about, DepthTask):
            row = depth_row(path, found, predictor.about.unit)
        else:
            row = class_row(path, found, predictor.labels)
        rows.append(row)
        if draw is not None:
            _draw(predictor, path, found, draw)
        if not as_json:
            figures = [f"{name} {value:.3g}" for name, value in row.items() if isinstance(value, float)]
            figures += [f"{entry['label']} {entry['share']:.1%}" for entry in row.get("classes", [])[:5]]
            print(f"{path}: {', '.join(figures)}")
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    return 1 if failed else 0


def depth_row(path: Path, depth: np.ndarray, unit: str) -> dict[str, Any]:
    """The range of one depth map in metres; or of an inverse depth without a unit, whose largest is nearest."""
    low, high, mean = float(depth.min()), float(depth.max()), float(depth.mean())
    ends = {"nearest": low, "farthest": high} if unit else {"nearest (inverse)": high, "farthest (inverse)": low}
    return {"image": str(path), **ends, "mean": mean}


def class_row(path: Path, classes: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """The classes of one image, the largest first, each with its share and its mask as COCO's run lengths."""
    found = [
        {
            "label": label,
            "share": float((classes == number).mean()),
            "segmentation": encode_rle(classes == number),
        }
        for number, label in enumerate(labels)
        if (classes == number).any()
    ]
    return {"image": str(path), "classes": sorted(found, key=lambda row: -row["share"])}


def _draw(predictor: Predictor, path: Path, found: np.ndarray, folder: Path) -> None:
    image = np.asarray(read_image(path))
    if isinstance(predictor.about, DepthTask):
        low, high, unit = float(found.min()), float(found.max()), predictor.about.unit or "(inverse)"
        colours = with_scale_bar(depth_picture(found, low, high), low, high, unit)
        write_atomic(folder / f"{path.stem}.png", to_png(colours))
        with open(folder / f"{path.stem}-depth.npy", "wb") as file:
            np.save(file, found)
        return
    drawn = over(image, class_picture(found, len(predictor.labels)))
    shown = np.unique(found).tolist()
    write_atomic(folder / f"{path.stem}.png", to_png(with_legend(drawn, shown, predictor.labels)))
    Image.fromarray(found.astype(np.uint8)).save(folder / f"{path.stem}-mask.png")
