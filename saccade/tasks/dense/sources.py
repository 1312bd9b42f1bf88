"""Images with a value for every pixel: a depth map or a class mask for each image; or scenes of digits.

Depth is a 16-bit PNG (times data.depth_scale), or PFM or .npy in metres. Masks hold the number or the colour of a class
for each pixel; `class_tables.py` lists the files that name them, `layouts.py` the folders of images and maps. A pixel
without a value is NaN in depth (0 in a PNG) and IGNORE in masks (255, and a class named unlabelled, void or ignore).
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from PIL import Image
from torch import Tensor

from saccade.data.builtin.scenes import SceneSource, scene_splits
from saccade.data.class_names import match_classes
from saccade.data.config import DataConfig
from saccade.data.image_formats import QUARTER_TURNS, stored_orientation
from saccade.data.images import MAX_PIXELS, grey_image, read_image, size_of
from saccade.data.samples import DataSplits, Examination, ImageSource, Source
from saccade.data.splits import SPLITS, split_indices
from saccade.errors import DataError, ImageError
from saccade.files import MAX_IMAGE_BYTES, is_dir, read_bytes
from saccade.tasks.dense.class_tables import (
    CITYSCAPES_IDS,
    IGNORE,
    IGNORED_NAMES,
    VOC_CLASSES,
    ClassTable,
    Colour,
    class_table_file,
    numbered,
    read_class_table,
)
from saccade.tasks.dense.layouts import Kind, Pair, Pairs, find_pairs
from saccade.tasks.dense.maps import WITHOUT_TABLE, MaskReader, first_colour, mask_pixels, read_depth

MASKS_READ = 32  # when a data set is opened
FOREGROUND = ("background", "foreground")  # the classes of masks of 0 and 1, or 0 and 255, that no file names
ReadMap = Callable[[Path], np.ndarray]


class DenseSource(ImageSource, Protocol):
    """Images with a depth map or a class mask; `labels` are all 0."""

    def with_map(self, index: int, channels: int = 3) -> tuple[Image.Image | Tensor, np.ndarray]:
        """The image and its map ``[H, W]``: float32 metres with NaN, or int64 class indices with IGNORE."""
        ...


class DenseFiles:
    """Image files with map files.

    Args:
        root: of the data set.
        pairs: the files.
        classes: of the masks; () for depth.
        read_map: the map of a file, ``[H, W]``.
        max_pixels: larger images are refused; None for Pillow's limit.
    """

    def __init__(
        self,
        root: Path,
        pairs: Sequence[Pair],
        classes: tuple[str, ...],
        read_map: ReadMap,
        max_pixels: int | None = None,
    ):
        self.max_pixels = max_pixels or MAX_PIXELS
        self.pairs, self.classes, self.read_map = list(pairs), classes, read_map
        self.names: Sequence[str] = [pair.image.relative_to(root).as_posix() for pair in self.pairs]
        self.labels = np.zeros(len(self.pairs), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.pairs)

    def image(self, index: int, channels: int = 3) -> Image.Image | Tensor:
        return read_image(self.pairs[index].image, channels=channels, max_pixels=self.max_pixels)

    def data(self, index: int) -> bytes:
        return read_bytes(self.pairs[index].image, error=ImageError, kind="image file", max_bytes=MAX_IMAGE_BYTES)

    def with_map(self, index: int, channels: int = 3) -> tuple[Image.Image | Tensor, np.ndarray]:
        image, path = self.image(index, channels), self.pairs[index].map
        height, width = size_of(image)
        target = self.read_map(path)
        if target.shape != (height, width):
            raise ImageError(
                f"{path} is {target.shape[1]} x {target.shape[0]}, its image {width} x {height}: both must "
                "have the same size"
            )
        if isinstance(image, Tensor):  # arrays and multi-band files are never turned
            return image, target
        # A quarter turn shows in the sizes; otherwise the map may belong to the stored or to the upright image.
        orientation, _ = stored_orientation(self.pairs[index].image)
        if orientation != 1 and (orientation not in QUARTER_TURNS or width == height):
            raise ImageError(
                f"{self.pairs[index].image} has the EXIF orientation {orientation}, and {path} fits it turned or not: "
                "store the image upright, without an orientation"
            )
        return image, target

    def examine(self, index: int, channels: int = 3) -> Examination:
        """As training reads it; a map without a value is no part of the loss."""
        image, target = self.with_map(index, channels)
        labelled = target != IGNORE if target.dtype.kind == "i" else ~np.isnan(target)
        problems = () if labelled.any() else (f"no pixel of {self.pairs[index].map} has a class",)
        return Examination(size_of(image), problems)


class DenseScenes:
    """Scenes of digits with their depth, or with the class of every pixel (0 is the ground)."""

    def __init__(self, source: SceneSource, kind: Kind):
        self.source, self.kind = source, kind
        self.names, self.labels = source.names, source.labels
        self.classes = () if kind == "depth" else ("ground", *source.classes)

    def __len__(self) -> int:
        return len(self.source)

    def image(self, index: int, channels: int = 3) -> Image.Image | Tensor:
        return self.source.image(index, channels)

    def data(self, index: int) -> bytes:
        return self.source.data(index)

    def with_map(self, index: int, channels: int = 3) -> tuple[Image.Image | Tensor, np.ndarray]:
        scene = self.source.scene(index)
        image = grey_image(scene.image, channels, self.names[index])
        return image, scene.depth.copy() if self.kind == "depth" else scene.semantic.astype(np.int64)


class RenumberedMasks:
    """Images with class masks under other class indices.

    Args:
        source: images with class masks.
        classes: the new ones.
        class_index: for each old class its index among the new ones, ``[K]`` int64.
    """

    def __init__(self, source: DenseSource, classes: tuple[str, ...], class_index: np.ndarray):
        self.source, self.classes, self.class_index = source, classes, class_index
        self.names, self.labels = source.names, source.labels

    def __len__(self) -> int:
        return len(self.source)

    def image(self, index: int, channels: int = 3) -> Image.Image | Tensor:
        return self.source.image(index, channels)

    def data(self, index: int) -> bytes:
        return self.source.data(index)

    def with_map(self, index: int, channels: int = 3) -> tuple[Image.Image | Tensor, np.ndarray]:
        image, mask = self.source.with_map(index, channels)
        labelled = mask != IGNORE
        renumbered = np.full_like(mask, IGNORE)
        renumbered[labelled] = self.class_index[mask[labelled]]
        return image, renumbered


def renumbered(splits: DataSplits, labels: tuple[str, ...], name: str) -> DataSplits:
    """The data with masks in a model's classes, matched by their names.

    Args:
        splits: images with class masks.
        labels: the model's, in the order of its outputs.
        name: of the data, for errors.

    Raises:
        UnmatchedClassesError: the data has a class that the model does not have.
    """
    if splits.classes == labels:
        return splits
    match = match_classes(splits.classes, labels, name)
    notes = (*splits.notes, match.note) if match.note else splits.notes

    def part(source: Source | None) -> RenumberedMasks | None:
        return None if source is None else RenumberedMasks(cast(DenseSource, source), labels, match.index)

    train, val, test = part(splits.train), part(splits.val), part(splits.test)
    assert train is not None
    return replace(splits, train=train, val=val, test=test, classes=labels, notes=notes)


def open_dense(path: str, kind: Kind, config: DataConfig | None = None) -> DataSplits:
    """Open images with maps and split them.

    Args:
        path: "scenes", or a folder.
        kind: which maps.
        config: fractions and seed for splits that the data set does not define; the scale of depths; the file that
            names the classes.

    Raises:
        DataError: there is no such folder, an image has no map, or no file names the classes of the masks.
    """
    config = config or DataConfig()
    if path == "scenes":
        splits = scene_splits(config.scenes)
        parts = [
            DenseScenes(p, kind) if isinstance(p, SceneSource) else None
            for p in (splits.train, splits.val, splits.test)
        ]
        assert parts[0] is not None
        return DataSplits(parts[0], parts[1], parts[2], parts[0].classes, "scenes", splits.fingerprint, generated=True)
    root = _below_devkit(Path(path))
    if not is_dir(root):
        raise DataError(f"there is no folder {path}: give one with images/ and {kind}/, or 'scenes'")
    files = find_pairs(root, kind)
    pairs = _split(files.by_split, config)
    if not pairs.get("train"):
        raise DataError(f"{path} has no images to train on: images/ and {kind}/ were expected in it, or in train/")
    notes = [f"read in the layout of {files.layout}", *files.notes]
    classes: tuple[str, ...] = ()
    read_map: ReadMap = partial(read_depth, scale=config.depth_scale, max_pixels=config.max_pixels)
    if kind == "masks":
        read_map = _mask_reader(root, files, [pair.map for pair in pairs["train"]], config, notes)
        classes = read_map.table.classes
    digest = hashlib.sha256(repr({s: [a.name for a, _ in part] for s, part in pairs.items()}).encode())
    sources = [
        DenseFiles(root, pairs[s], classes, read_map, config.max_pixels) if pairs.get(s) else None for s in SPLITS
    ]
    assert sources[0] is not None
    return DataSplits(sources[0], sources[1], sources[2], classes, root.name, digest.hexdigest(), tuple(notes))


def _below_devkit(root: Path) -> Path:
    """`VOCdevkit/VOC2012` for `VOCdevkit`."""
    children = [child for child in root.glob("VOC20*") if child.is_dir()] if is_dir(root) else []
    return children[0] if len(children) == 1 else root


def _split(by_split: dict[str, list[Pair]], config: DataConfig) -> dict[str, list[Pair]]:
    """The splits of the data; where it has none, they are drawn."""
    if "" not in by_split:
        return {split: by_split[split] for split in SPLITS if split in by_split}
    samples = [(split, pair) for split, part in by_split.items() for pair in part]
    indices = split_indices([split for split, _ in samples], config)
    return {split: [samples[i][1] for i in sorted(indices[split])] for split in ("test", "val", "train")}


# ------------------------------------------------------------------------------------------------------------- classes


def _mask_reader(root: Path, pairs: Pairs, masks: Sequence[Path], config: DataConfig, notes: list[str]) -> MaskReader:
    """The reader of the masks of a data set, whose classes a file, the layout or the masks themselves define."""
    numbers, colour, palette = _survey(masks[:MASKS_READ], config.max_pixels)
    file = class_table_file(root, config.class_table)
    if file is not None:
        table = read_class_table(file)
    elif pairs.layout == "Pascal VOC" and re.match(r"VOC20\d\d", root.name):
        table = numbered("Pascal VOC", VOC_CLASSES)
    elif pairs.layout == "Cityscapes":
        ids = dict.fromkeys(range(34), "unlabelled") | CITYSCAPES_IDS
        table = ClassTable("Cityscapes", ids)
    elif colour is not None:
        raise DataError(f"{colour[0]} is a mask of colours, such as {colour[1]}, and {WITHOUT_TABLE}")
    elif numbers in ({0, 1}, {0, 1, 255}, {0, 255}):
        table = numbered("the data set", FOREGROUND)
        notes.append(f"no file names the classes: they are {' and '.join(FOREGROUND)}")
    else:
        raise DataError(
            f"no file names the classes of the masks of {root}, which contain {_shown(numbers)}: put classes.json, a "
            "list of their names in the order of their numbers, into it, or set data.class_table to such a file"
        )
    if file is not None:
        notes.append(f"{len(table.classes)} classes by {file.name}")
    if not table.colours and numbers == {0, 255} and 255 not in table.names and len(table.names) > 1:
        table = _black_and_white(root, table, masks, config.max_pixels, notes)
    return MaskReader(table, palette, config.max_pixels)


def _survey(
    masks: Sequence[Path], max_pixels: int | None
) -> tuple[set[int], tuple[Path, Colour] | None, np.ndarray | None]:
    """The numbers in some masks; the first mask of colours with one of them; the first palette."""
    numbers: set[int] = set()
    colour, first_palette = None, None
    for path in masks:
        try:
            pixels, palette = mask_pixels(path, max_pixels)
        except ImageError:
            continue  # its own error comes when it is read
        if pixels.ndim == 3:
            colour = colour or (path, first_colour(pixels))
        else:
            numbers.update(np.unique(pixels).tolist())
        first_palette = palette if first_palette is None else first_palette
    return numbers, colour, first_palette


def _black_and_white(
    root: Path, table: ClassTable, masks: Sequence[Path], max_pixels: int | None, notes: list[str]
) -> ClassTable:
    """Masks of 0 and 255 alone: 255 is the second of two classes, as many tools write it, not a pixel without one.

    Raises:
        DataError: there are more than two classes.
    """
    if any(name.lower() in IGNORED_NAMES for name in table.names.values()):
        return table
    if 1 in _survey(masks[MASKS_READ:], max_pixels)[0]:
        return table
    if sorted(table.names) != [0, 1]:
        raise DataError(
            f"the masks of {root} hold only 0 and 255, and 255 is a pixel without a class: no pixel is of "
            f"{', '.join(table.classes[1:4])}. Store the numbers of the classes, 0 to {max(table.names)}"
        )
    notes.append(f"the masks hold only 0 and 255: 255 is {table.names[1]}")
    return ClassTable(table.file, {0: table.names[0], 255: table.names[1]})


def _shown(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers)[:12])) + (", …" if len(numbers) > 12 else "")
