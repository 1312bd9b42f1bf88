"""Layouts of images with a depth or a class for every pixel."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.opens.data import SIZE, Layout, picture, written

WIDTH, HEIGHT = SIZE
SKY, ROAD, VOID = 0, 1, 255


def numbers(sky: int = SKY, road: int = ROAD, void: int = VOID) -> np.ndarray:
    """The upper third is sky, the rest is road; the first column has no class."""
    mask = np.full((HEIGHT, WIDTH), road, np.uint8)
    mask[: HEIGHT // 3] = sky
    mask[:, 0] = void
    return mask


PIXELS = {"sky": 20 * 79, "road": 40 * 79, None: 60}
BOTH = {"train/a.jpg": PIXELS, "val/b.jpg": PIXELS}


def write_png(path: Path, mask: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
    return path


def write_masks(root: Path) -> Path:
    for split, name in (("train", "a"), ("val", "b")):
        picture(root / split / "images" / f"{name}.jpg")
        write_png(root / split / "masks" / f"{name}.png", numbers())
    written(root / "classes.json", ["sky", "road"])
    return root


def write_depth(suffix: str) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        for split, name in (("train", "a"), ("val", "b")):
            picture(root / split / "images" / f"{name}.jpg")
            metres = np.full((HEIGHT, WIDTH), 2.5, np.float32)
            path = root / split / "depth" / f"{name}{suffix}"
            if suffix == ".png":
                write_png(path, (metres * 1000).astype(np.uint16))
            elif suffix == ".pfm":
                written(path, f"Pf\n{WIDTH} {HEIGHT}\n-1.0\n".encode() + metres.astype("<f4").tobytes())
            else:
                path.parent.mkdir(parents=True)
                np.save(path, metres)
        return root

    return write


def depth(name: str, suffix: str, also: str) -> Layout:
    return Layout("depth", name, write_depth(suffix), {"train/a.jpg": 2.5, "val/b.jpg": 2.5}, (), also)


LAYOUTS = [
    Layout(
        "segmentation",
        "class numbers, 8 bits",
        write_masks,
        BOTH,
        ("sky", "road"),
        "255 and classes named void, ignore or unlabelled are pixels without a class",
    ),
    depth("PNG of 16 bits", ".png", "times `data.depth_scale`, millimetres by default; 0 and 65,535 are no value"),
    depth("NumPy", ".npy", "metres; NaN, infinity and values up to 0 are no value"),
    depth("PFM", ".pfm", "metres"),
]
