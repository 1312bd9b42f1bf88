"""The splits of a data set are a function of its files and the seed: those of published runs never change."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.data.config import DataConfig
from saccade.data.image_folder import open_data, open_unlabelled
from saccade.data.pairs import open_pairs
from saccade.data.samples import DataSplits
from saccade.data.texts import open_texts, open_translations
from saccade.tasks.dense.sources import open_dense
from saccade.tasks.detection.sources import open_boxes

COUNT = 23


def write_images(folder: Path, count: int = COUNT) -> list[str]:
    folder.mkdir(parents=True)
    names = [f"{i:02}.bmp" for i in range(count)]
    for i, name in enumerate(names):
        Image.fromarray(np.full((6, 8, 3), 10 * i, np.uint8)).save(folder / name)
    return names


def class_folders(root: Path) -> str:
    for label, count in (("cat", 11), ("dog", 7), ("owl", 2)):
        write_images(root / label, count)
    return str(root)


def captions(root: Path) -> str:
    names = write_images(root)
    lines = [f"{name},a picture {i}" for i, name in enumerate(names)]
    (root / "captions.csv").write_text("\n".join(["image,caption", *lines, f"{names[3]},again"]))
    return str(root)


def coco(root: Path) -> str:
    names = write_images(root / "images")
    annotation = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 3, 3]} for i in range(COUNT)],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (root / "all.json").write_text(json.dumps(annotation))
    return str(root)


def masks(root: Path) -> str:
    write_images(root / "images")
    (root / "masks").mkdir()
    for i in range(COUNT):
        Image.fromarray(np.full((6, 8), i % 2, np.uint8)).save(root / "masks" / f"{i:02}.png")
    (root / "classes.json").write_text('["ground", "thing"]')
    return str(root)


def pairs(root: Path) -> str:
    root.mkdir()
    (root / "pairs.tsv").write_text("".join(f"one {i % 19}\tun {i}\n" for i in range(COUNT)))
    return str(root / "pairs.tsv")


def lines(root: Path) -> str:
    root.mkdir()
    (root / "poem.txt").write_text("".join(f"line {i}\n" for i in range(COUNT)))
    return str(root / "poem.txt")


def documents(root: Path) -> str:
    root.mkdir()
    (root / "poems.txt").write_text("".join(f"line {i}\n" + "\n" * (i % 2) for i in range(COUNT)))
    return str(root / "poems.txt")


OPEN = {
    "labelled": (class_folders, open_data),
    "unlabelled": (class_folders, open_unlabelled),
    "captions": (captions, open_pairs),
    "boxes": (coco, open_boxes),
    "masks": (masks, lambda path, config: open_dense(path, "masks", config)),
    "translations": (pairs, open_translations),
    "lines": (lines, open_texts),
    "documents": (documents, open_texts),
}


def digest(splits: DataSplits) -> str:
    """Of the names in each split, in their order."""
    names = [None if part is None else list(part.names) for part in (splits.train, splits.val, splits.test)]
    return hashlib.sha256(repr(names).encode()).hexdigest()[:12]


# kind -> digests of the splits of seed 0 and of seed 5 with other fractions, and the fingerprint of seed 0
EXPECTED = {
    "labelled": ("f0ba11f546b4", "23b43405521b", "22f2725c268d"),
    "unlabelled": ("f0ba11f546b4", "23b43405521b", "22f2725c268d"),
    "captions": ("346d49f983ca", "2194e749b8ee", "fd3a61f94c22"),
    "boxes": ("5e14d924b7d9", "8b83cca390df", "04a8514700af"),
    "masks": ("35005be4bca0", "a1ba13d3054c", "3caff1862e35"),
    "translations": ("04c0f508ed2f", "0e1b3e82bb16", "5871e3e7be2a"),
    "lines": ("c4a04805f546", "d00c327b225e", "eb8bd4f84ae6"),
    "documents": ("a297f26cb606", "0c1fea436e20", "af0b167a9124"),
}


@pytest.mark.parametrize("kind", OPEN)
def test_splits_and_fingerprints_stay(kind: str, tmp_path: Path) -> None:
    write, opened = OPEN[kind]
    path = write(tmp_path / "data")
    default = opened(path, DataConfig())
    other = opened(path, DataConfig(split_seed=5, val_fraction=0.25, test_fraction=0.3))
    assert (digest(default), digest(other), default.fingerprint[:12]) == EXPECTED[kind]
    assert default.val is not None
    assert default.test is not None
    names = [name for part in (default.train, default.val, default.test) for name in part.names]
    assert len(set(names)) == len(names)
