"""COCO's captions: `annotations/captions_train2017.json` with images in `train2017/`, `images/train2017/` or `images/`.

The split is part of the file's name.
"""

import os
import re
from pathlib import Path
from typing import Any

from saccade.data.record_types import Record, Records
from saccade.data.splits import SPLIT_NAMES
from saccade.data.storage import FolderStorage
from saccade.errors import DataError
from saccade.files import is_file, open_regular
from saccade.json_io import read_json_file


def caption_files(root: Path) -> list[Path]:
    """The JSON files of a folder, or of its `annotations/`, that contain captions, by name, or by content if there is
    only one file."""
    named = [path for folder in (root / "annotations", root) for path in sorted(folder.glob("*caption*.json"))]
    return named or [path for path in sorted(root.glob("*.json")) if _has_captions(path)]


def _has_captions(path: Path) -> bool:
    with open_regular(path) as file:
        return re.search(rb'"caption"\s*:', file.read(2**16)) is not None


def read_coco_captions(root: Path, files: list[Path]) -> Records:
    """The images of all files with their captions; images without captions are skipped with a note.

    Raises:
        DataError: a file is not of COCO, an annotation has no image or no caption, or an image is missing; the message
            names the file and the annotation.
    """
    rows: list[Record] = []
    notes = ["read in the layout of COCO"]
    for file in files:
        images, annotations = _load(file)
        words = re.findall(r"[a-z]+", file.stem.lower())
        split = next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), "")
        paths: dict[Any, str] = {}
        for annotation in annotations:
            where = f"{file}: annotation {annotation.get('id') if isinstance(annotation, dict) else annotation!r}"
            try:
                number, caption = annotation["image_id"], annotation["caption"]
                name = images[number]
            except (KeyError, TypeError) as error:
                raise DataError(f"{where} has no caption or an image that is not listed: {error!r}") from None
            if not isinstance(caption, str) or not caption.strip():
                raise DataError(f"{where}: its caption is empty or not a text")
            if number not in paths:
                paths[number] = _image(root, file, name, split)
            rows.append(Record(paths[number], {"caption": caption}, split, where))
        if missing := len(images.keys() - paths.keys()):
            notes.append(f"skipped: {missing} images of {file} without a caption")
    storage = FolderStorage(root, sorted({row.file for row in rows}))
    return Records(storage, rows, str(root), notes=tuple(notes))


def _load(file: Path) -> tuple[dict[Any, str], list[Any]]:
    try:
        content = read_json_file(file)
        images = {image["id"]: str(image["file_name"]) for image in content["images"]}
        return images, list(content["annotations"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{file} is not a COCO file of captions: {error!r}") from None


def _image(root: Path, file: Path, name: str, split: str) -> str:
    """The image below the root."""
    name = name.replace("\\", "/")
    subset = file.stem.rsplit("_", 1)[-1]  # train2017
    folders = dict.fromkeys((subset, split, f"{split}2017", f"{split}2014"))
    places = [*(f"images/{folder}/" for folder in folders), *(f"{folder}/" for folder in folders), "images/", ""]
    path = next((f"{place}{name}" for place in places if is_file(root / place / name)), None)
    if path is None:
        shown = ", ".join(place for place in places if place)
        raise DataError(f"{file} names the image {name}, which is not in {shown} of {root}")
    if Path(os.path.realpath(root)) not in Path(os.path.realpath(root / path)).parents:
        raise DataError(f"{file} names the image {name}, which is outside of {root}")
    return path
