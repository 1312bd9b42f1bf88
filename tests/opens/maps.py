"""Layouts of images with a depth or a class for every pixel."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def write_numbers(image: str, mask: str, classes: bool = True) -> Callable[[Path], Path]:
    """Masks of numbers; `image` and `mask` are paths with {split} and {name}."""

    def write(root: Path) -> Path:
        for split, name in (("train", "a"), ("val", "b")):
            picture(root / image.format(split=split, name=name))
            write_png(root / mask.format(split=split, name=name), numbers())
        if classes:
            written(root / "classes.json", ["sky", "road"])
        return root

    return write


COLOURS = {SKY: (128, 128, 128), ROAD: (128, 64, 128), VOID: (0, 0, 0)}
NAMED = "name,r,g,b\nsky,128,128,128\nroad,128,64,128\nVoid,0,0,0\n"


def coloured() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for number, colour in COLOURS.items():
        mask[numbers() == number] = colour
    return mask


def write_camvid(root: Path) -> Path:
    for split, name in (("train", "a"), ("val", "b")):
        picture(root / split / f"{name}.jpg")
        write_png(root / f"{split}_labels" / f"{name}_L.png", coloured())
    written(root / "class_dict.csv", NAMED)
    return root


def write_colours_txt(root: Path) -> Path:
    for split, name in (("train", "a"), ("val", "b")):
        picture(root / "images" / split / f"{name}.jpg")
        write_png(root / "labels" / split / f"{name}.png", coloured())
    written(root / "label_colors.txt", "128 128 128\tsky\n128 64 128\troad\n0 0 0\tVoid\n")
    return root


def write_voc(root: Path) -> Path:
    """Palette PNG, whose indices are the classes."""
    for split, name in (("train", "a"), ("val", "b")):
        picture(root / "JPEGImages" / f"{name}.jpg")
        mask = Image.fromarray(numbers(0, 1))
        mask.putpalette([0, 0, 0, 128, 0, 0, *[0] * 759, 224, 224, 192])
        (root / "SegmentationClass").mkdir(exist_ok=True)
        mask.save(root / "SegmentationClass" / f"{name}.png")
        written(root / "ImageSets" / "Segmentation" / f"{split}.txt", f"{name}\n")
    written(root / "class_names.txt", "sky\nroad\n")
    return root


def write_voc2012(root: Path) -> Path:
    write_voc(root / "VOC2012")
    (root / "VOC2012" / "class_names.txt").unlink()
    return root


def write_cvat(root: Path) -> Path:
    picture(root / "JPEGImages" / "a.jpg")
    write_png(root / "SegmentationClass" / "a.png", coloured())
    written(root / "ImageSets" / "Segmentation" / "default.txt", "a\n")
    lines = "# label:color_rgb:parts:actions\nVoid:0,0,0::\nroad:128,64,128::\nsky:128,128,128::\n"
    written(root / "labelmap.txt", lines)
    return root


def write_cityscapes(root: Path) -> Path:
    for split, name in (("train", "a"), ("val", "b")):
        picture(root / "leftImg8bit" / split / "bonn" / f"{name}_leftImg8bit.png")
        write_png(root / "gtFine" / split / "bonn" / f"{name}_gtFine_labelIds.png", numbers(23, 7, 0))
        write_png(root / "gtFine" / split / "bonn" / f"{name}_gtFine_color.png", coloured())
    return root


def write_ade20k(root: Path) -> Path:
    for split, name in (("training", "a"), ("validation", "b")):
        picture(root / "images" / split / f"{name}.jpg")
        write_png(root / "annotations" / split / f"{name}.png", numbers(3, 7, 0))
    rows = "".join(f"{n}\t0.1\t{c}\n" for n, c in enumerate(("wall", "building", "sky", "a", "b", "c", "road"), 1))
    written(root / "objectInfo150.txt", f"Idx\tRatio\tName\n{rows}")
    return root


def write_roboflow(root: Path) -> Path:
    for split, name in (("train", "a"), ("valid", "b")):
        picture(root / split / f"{name}.jpg")
        write_png(root / split / f"{name}_mask.png", numbers())
        written(root / split / "_classes.csv", "Pixel Value, Class\n0, sky\n1, road\n")
    return root


def write_black_and_white(root: Path) -> Path:
    mask = np.where(numbers() == ROAD, 255, 0).astype(np.uint8)
    picture(root / "images" / "a.jpg")
    write_png(root / "masks" / "a.png", mask)
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


CITYSCAPES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def masks(
    name: str,
    write: Callable[[Path], Path],
    also: str,
    expected: Any = BOTH,
    classes: tuple[str, ...] = ("sky", "road"),
) -> Layout:
    return Layout("segmentation", name, write, expected, classes, also)


LAYOUTS = [
    masks(
        "a folder for each split",
        write_numbers("{split}/images/{name}.jpg", "{split}/masks/{name}.png"),
        "`labels/`, `annotations/`, `gt/`, `SegmentationClass/` and the like for `masks/`, `image/`, `imgs/`, "
        "`JPEGImages/` for `images/`; 255 and classes named void, ignore or unlabelled are pixels without a class",
    ),
    masks(
        "folders for the splits in both",
        write_numbers("images/{split}/{name}.jpg", "masks/{split}/{name}.png"),
        "folders below, such as one for each city",
    ),
    masks(
        "two folders for each split",
        write_numbers("{split}/{name}.jpg", "{split}annot/{name}.png"),
        "`train_labels/`, `train_masks/`; `train_images/` for `train/`",
    ),
    masks(
        "names with an ending",
        write_numbers("{split}/images/{name}_image.jpg", "{split}/labels/{name}_mask.png"),
        "`_label`, `_gt`, `_seg`, `_L`, `mask_`, …; `_img`, `_sat`, `rgb_`",
        {"train/a_image.jpg": PIXELS, "val/b_image.jpg": PIXELS},
    ),
    masks(
        "0 and 255",
        write_black_and_white,
        "two classes, background and foreground, or those that a file names; split with a seed",
        {"train/a.jpg": {"background": 20 * 79 + 60, "foreground": 40 * 79}},
        ("background", "foreground"),
    ),
    masks(
        "colours, `class_dict.csv`",
        write_camvid,
        "`name,r,g,b`, or `data.class_table` for another file; CamVid and DeepGlobe of Kaggle",
    ),
    masks("colours, `label_colors.txt`", write_colours_txt, "`r g b name` in a line; the original CamVid"),
    masks(
        "Pascal VOC",
        write_voc,
        "a palette whose indices are the classes (LabelMe); a `labels.txt` or `classes.txt` with one name per line",
    ),
    masks(
        "Pascal VOC 2012",
        write_voc2012,
        "its 21 classes in a folder named `VOC2012`",
        {split: {"background": 20 * 79, "aeroplane": 40 * 79, None: 60} for split in BOTH},
        VOC,
    ),
    masks(
        "Pascal VOC of CVAT",
        write_cvat,
        "`name:r,g,b::` in `labelmap.txt`; Datumaro",
        {"train/a.jpg": PIXELS},
        ("road", "sky"),
    ),
    masks(
        "Cityscapes",
        write_cityscapes,
        "the 19 classes of its evaluation; its test images are skipped",
        {split.replace(".jpg", "_leftImg8bit.png"): pixels for split, pixels in BOTH.items()},
        CITYSCAPES,
    ),
    masks(
        "ADE20K",
        write_ade20k,
        "0 is a pixel without a class",
        BOTH,
        ("wall", "building", "sky", "a", "b", "c", "road"),
    ),
    masks("Roboflow", write_roboflow, "`Pixel Value, Class`"),
    depth("PNG of 16 bits", ".png", "times `data.depth_scale`, millimetres by default; 0 and 65,535 are no value"),
    depth("NumPy", ".npy", "metres; NaN, infinity and values up to 0 are no value"),
    depth("PFM", ".pfm", "metres"),
]
