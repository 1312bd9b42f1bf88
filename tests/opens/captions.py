"""Layouts of images with captions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.opens.data import Layout, picture, written

CAPTIONS = {"train/a.jpg": ("A red fox, in the snow.", "A fox."), "val/b.jpg": ("An owl.",)}


def pictures(root: Path) -> Path:
    picture(root / "images" / "a.jpg")
    picture(root / "images" / "b.jpg")
    return root


def write_csv(root: Path) -> Path:
    rows = 'a.jpg,"A red fox, in the snow.",train\na.jpg,A fox.,train\nb.jpg,An owl.,val\n'
    written(pictures(root) / "captions.csv", f"image,caption,split\n{rows}")
    return root


def write_jsonl(root: Path) -> Path:
    first = '{"image": "a.jpg", "caption": ["A red fox, in the snow.", "A fox."], "split": "train"}'
    written(pictures(root) / "captions.jsonl", f'{first}\n{{"image": "b.jpg", "caption": "An owl.", "split": "val"}}\n')
    return root


def write_coco(root: Path) -> Path:
    texts = {"train": ("a.jpg", ["A red fox, in the snow.", "A fox."]), "val": ("b.jpg", ["An owl."])}
    for split, (name, captions) in texts.items():
        picture(root / f"{split}2017" / name)
        rows = [{"id": i, "image_id": 7, "caption": caption} for i, caption in enumerate(captions)]
        content = {"images": [{"id": 7, "file_name": name, "width": 80, "height": 60}], "annotations": rows}
        written(root / "annotations" / f"captions_{split}2017.json", content)
    return root


def layout(name: str, write: Callable[[Path], Path], also: str, expected: Any = CAPTIONS) -> Layout:
    return Layout("contrastive", name, write, expected, (), also)


LAYOUTS = [
    layout(
        "CSV, TSV",
        write_csv,
        "columns `image` or `file` and `caption`, `text`, `title` or `sentence`; images next to the table or in "
        "`images/`; any number of lines per image; the table itself as the path",
    ),
    layout("JSONL", write_jsonl, "one caption or a list of them"),
    layout(
        "COCO",
        write_coco,
        "images also in `images/train2017/` or `images/`; one of the files as the path; images without a caption are "
        "skipped with a note",
    ),
]
