"""Scenes as files in the layout of COCO, for other programs: boxes and masks as JSON, class masks, depth, captions."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from saccade.data.builtin.scenes import Scene, SceneSource
from saccade.data.rle import encode_rle
from saccade.data.samples import DataSplits
from saccade.errors import DataError


def write_scenes(splits: DataSplits, folder: str | Path, *, on_image: Callable[[int, int], None] | None = None) -> Path:
    """Write every split's scenes.

    images/SPLIT/000000.png        the images
    annotations/instances_SPLIT.json    boxes and masks (RLE)
    masks/SPLIT/000000.png         8 bits: 0 ground, 1 + digit
    depth/SPLIT/000000.png         16 bits: millimetres
    captions.csv                   image, caption, split

    Args:
        splits: from :func:`saccade.data.builtin.scenes.scene_splits`.
        folder: must not exist, or be empty.
        on_image: called with (images done, total images).
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not empty: choose another folder")
    parts = splits.parts
    total, done = sum(len(part) for part in parts.values()), 0
    captions = io.StringIO()
    table = csv.writer(captions, lineterminator="\n")
    table.writerow(["image", "caption", "split"])
    (folder / "annotations").mkdir(parents=True)
    for split, source in parts.items():
        assert isinstance(source, SceneSource)
        for kind in ("images", "masks", "depth"):
            (folder / kind / split).mkdir(parents=True)
        content: dict[str, list[Any]] = {"images": [], "annotations": []}
        for number in range(len(source)):
            scene, name = source.scene(number), f"{number:06}.png"
            Image.fromarray(scene.image).save(folder / "images" / split / name)
            Image.fromarray(scene.semantic).save(folder / "masks" / split / name)
            millimetres = (scene.depth * 1000).round().astype(np.uint16)
            Image.fromarray(millimetres).save(folder / "depth" / split / name)
            table.writerow([f"images/{split}/{name}", scene.caption, split])
            _describe(scene, number, name, content)
            done += 1
            if on_image is not None:
                on_image(done, total)
        categories = [{"id": i, "name": label} for i, label in enumerate(source.classes)]
        text = json.dumps({**content, "categories": categories})
        (folder / "annotations" / f"instances_{split}.json").write_text(text)
    (folder / "captions.csv").write_text(captions.getvalue(), encoding="utf-8")
    return folder


def _describe(scene: Scene, number: int, name: str, content: dict[str, list[Any]]) -> None:
    height, width = scene.semantic.shape
    content["images"].append({"id": number, "file_name": name, "height": height, "width": width})
    for item in scene.objects:
        left, top, right, bottom = item.box
        content["annotations"].append({
            "id": len(content["annotations"]) + 1, "image_id": number, "category_id": item.label, "iscrowd": 0,
            "bbox": [left, top, right - left, bottom - top], "area": int(item.mask.sum()),
            "segmentation": encode_rle(item.mask),
        })  # fmt: skip
