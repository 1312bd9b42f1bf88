"""Images with a value for every pixel: a depth map or a class mask beside each image; or scenes of digits.

DATA/train/images/1.jpg    DATA/train/depth/1.png      depth: 16-bit PNG (times data.depth_scale), PFM or .npy in metres
DATA/images/1.jpg          DATA/masks/1.png            masks: a class number a pixel; classes.json names them

The splits train, val and test are folders, or are drawn with a seed. A pixel without a value is NaN in depth (0 in a
PNG) and IGNORE in masks (255, and the number of a class named unlabelled, void or ignore).
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from saccade.data.builtin.scenes import SceneSource, scene_splits
from saccade.data.config import DataConfig
from saccade.data.image_formats import QUARTER_TURNS, open_image, open_regular, stored_orientation
from saccade.data.images import grey_image, is_image_name, read_image, size_of
from saccade.data.samples import DataSplits, ImageSource
from saccade.data.splits import SPLITS, split_indices
from saccade.errors import DataError, ImageError

Kind = Literal["depth", "masks"]
IGNORE = -1  # the target of a pixel without a class
IGNORED_NAMES = ("unlabelled", "unlabeled", "void", "ignore")
MASKS_READ = 32  # when a data set is opened
SUFFIXES = {"depth": (".png", ".pfm", ".npy"), "masks": (".png",)}


class DenseSource(ImageSource, Protocol):
    """Images with a depth map or a class mask; `labels` are all 0."""

    def with_map(self, index: int, channels: int = 3) -> tuple[Image.Image | Tensor, np.ndarray]:
        """The image and its map ``[H, W]``: float32 metres with NaN, or int64 class indices with IGNORE."""
        ...


class DenseFiles:
    """Image files with map files of the same name."""

    def __init__(
        self, root: Path, pairs: Sequence[tuple[Path, Path]], file_classes: tuple[str, ...], scale: float | None
    ):
        self.root, self.pairs, self.scale = root, list(pairs), scale
        self.classes = real_classes(file_classes)
        self.names: Sequence[str] = [path.relative_to(root).as_posix() for path, _ in self.pairs]
        self.labels = np.zeros(len(self.pairs), dtype=np.int64)
        self.num_file_classes, self.class_index = len(file_classes), class_indices(file_classes)

    def __len__(self) -> int:
        return len(self.pairs)

    def image(self, index: int, channels: int = 3) -> Image.Image | Tensor:
        return read_image(self.pairs[index][0], channels=channels)

    def data(self, index: int) -> bytes:
        return self.pairs[index][0].read_bytes()

    def with_map(self, index: int, channels: int = 3) -> tuple[Image.Image | Tensor, np.ndarray]:
        image, path = self.image(index, channels), self.pairs[index][1]
        height, width = size_of(image)
        if self.scale is None:
            target = read_mask(path, self.class_index, self.num_file_classes)
        else:
            target = read_depth(path, self.scale)
        if target.shape != (height, width):
            raise ImageError(
                f"{path} is {target.shape[1]} x {target.shape[0]}, its image {width} x {height}: both must "
                "have the same size"
            )
        if isinstance(image, Tensor):  # arrays and multi-band files are never turned
            return image, target
        # A quarter turn shows in the sizes; otherwise the map may belong to the stored or to the upright image.
        orientation, _ = stored_orientation(self.pairs[index][0])
        if orientation != 1 and (orientation not in QUARTER_TURNS or width == height):
            raise ImageError(
                f"{self.pairs[index][0]} has the EXIF orientation {orientation}, and {path} fits it turned or not: "
                "store the image upright, without an orientation"
            )
        return image, target


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
        return image, scene.depth if self.kind == "depth" else scene.semantic.astype(np.int64)


class RenumberedMasks:
    """Images with class masks under other class indices.

    Args:
        source: images with class masks.
        class_index: the new index of each class, ``[K]`` int64.
    """

    def __init__(self, source: DenseSource, class_index: np.ndarray):
        self.source, self.class_index = source, class_index
        self.names, self.labels, self.classes = source.names, source.labels, source.classes

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


def open_dense(path: str, kind: Kind, config: DataConfig | None = None) -> DataSplits:
    """Open images with maps and split them.

    Args:
        path: "scenes", or a folder.
        kind: which maps.
        config: fractions and seed for splits that the data set does not define; the scale of depths.

    Raises:
        DataError: there is no such folder, an image has no map, or masks have no classes.json.
    """
    config = config or DataConfig()
    if path == "scenes":
        splits = scene_splits(config.scenes)
        parts = [
            DenseScenes(p, kind) if isinstance(p, SceneSource) else None
            for p in (splits.train, splits.val, splits.test)
        ]
        assert parts[0] is not None
        return DataSplits(parts[0], parts[1], parts[2], parts[0].classes, "scenes", splits.fingerprint)
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"there is no folder {path}: give one with images/ and {kind}/, or 'scenes'")
    file_classes = _read_classes(root) if kind == "masks" else ()
    pairs = {split: _pairs(root / split, kind) for split in SPLITS if (root / split / "images").is_dir()}
    if not pairs:
        pairs = _split(_pairs(root, kind), config)
    if not pairs.get("train"):
        raise DataError(f"{path} has no images to train on: images/ and {kind}/ were expected in it, or in train/")
    if len(file_classes) > 1:
        _refuse_masks_of_255(root, [path for _, path in pairs["train"]], file_classes)
    digest = hashlib.sha256(repr({s: [a.name for a, _ in part] for s, part in pairs.items()}).encode())
    scale = config.depth_scale if kind == "depth" else None
    sources = [DenseFiles(root, pairs[s], file_classes, scale) if pairs.get(s) else None for s in SPLITS]
    assert sources[0] is not None
    classes = real_classes(file_classes)
    return DataSplits(sources[0], sources[1], sources[2], classes, root.name, digest.hexdigest())


def _refuse_masks_of_255(root: Path, masks: Sequence[Path], file_classes: Sequence[str]) -> None:
    """Masks of 0 and 255 mean black and white in many tools, but 255 is a pixel without a class here."""
    numbers: set[int] = set()
    for path in masks[:MASKS_READ]:
        try:
            numbers.update(np.unique(_mask_numbers(path)).tolist())
        except ImageError:
            continue  # its own error comes when it is read
    if numbers == {0, 255}:
        raise DataError(
            f"the masks of {root} hold only 0 and 255, and 255 is a pixel without a class: no pixel is of "
            f"{', '.join(file_classes[1:4])}. Store the numbers of the classes, 0 to {len(file_classes) - 1}"
        )


def _read_classes(root: Path) -> tuple[str, ...]:
    file = root / "classes.json"
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
        assert isinstance(names, list)
    except (OSError, ValueError, AssertionError):
        raise DataError(f"{file} must be a JSON list that names the classes in the order of their numbers") from None
    return tuple(str(name) for name in names)


def real_classes(file_classes: Sequence[str]) -> tuple[str, ...]:
    """Without those that stand for pixels of no class."""
    return tuple(name for name in file_classes if name.lower() not in IGNORED_NAMES)


def class_indices(classes: Sequence[str]) -> np.ndarray:
    """``[256]``: the class index of each number in a file, consecutive over the real classes; IGNORE for the others."""
    indices = np.full(256, IGNORE, dtype=np.int64)
    real = [i for i, name in enumerate(classes) if name.lower() not in IGNORED_NAMES]
    indices[real] = np.arange(len(real))
    return indices


def _pairs(folder: Path, kind: Kind) -> list[tuple[Path, Path]]:
    maps = {p.stem: p for p in sorted((folder / kind).glob("*")) if p.suffix.lower() in SUFFIXES[kind]}
    pairs = []
    for image in sorted(p for p in (folder / "images").glob("*") if is_image_name(p.name)):
        if image.stem not in maps:
            raise DataError(f"{image} has no map: {folder / kind}/{image.stem}{SUFFIXES[kind][0]} was expected")
        pairs.append((image, maps[image.stem]))
    return pairs


def _split(pairs: list[tuple[Path, Path]], config: DataConfig) -> dict[str, list[tuple[Path, Path]]]:
    indices = split_indices([""] * len(pairs), config)
    return {split: [pairs[i] for i in sorted(indices[split])] for split in ("test", "val", "train")}


def read_mask(path: Path, class_index: np.ndarray, num_file_classes: int) -> np.ndarray:
    """The class indices of a mask, ``[H, W]`` int64.

    Args:
        path: a PNG of 8 bits with one number for each pixel.
        class_index: the class index of each number in the file, ``[256]``.
        num_file_classes: the file may hold 255 and the numbers below this one.

    Raises:
        ImageError: not such a file, or a number without a class.
    """
    pixels = _mask_numbers(path)
    unknown = sorted(set(np.unique(pixels).tolist()) - {255, *range(num_file_classes)})
    if unknown:
        raise ImageError(f"{path} has the class number {unknown[0]}, but classes.json names {num_file_classes} classes")
    return class_index[pixels]


def _mask_numbers(path: Path) -> np.ndarray:
    """``[H, W]`` uint8."""
    try:
        with open_regular(path, str(path)) as file:
            image = open_image(file, str(path), ("PNG",))
            if image.mode not in ("L", "P", "1"):
                raise ImageError(f"{path} is in mode {image.mode}: a mask must have one 8-bit number for each pixel")
            return np.asarray(image).astype(np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"{path} is not a readable mask: {error}") from None


SATURATED = 2**16 - 1  # stored by some sensors for pixels without a measurement; in millimetres it would be 65 m


def read_depth(path: Path, scale: float) -> np.ndarray:
    """Depth in metres ``[H, W]`` float32, NaN where it is unknown; `scale` is the metres of one step of a PNG.

    Raises:
        ImageError: not a depth map, or a map without a single value.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            depth = np.load(path, allow_pickle=False).astype(np.float32)
        elif suffix == ".pfm":
            depth = _read_pfm(path)
        else:
            with open_regular(path, str(path)) as file:
                pixels = np.asarray(open_image(file, str(path), ("PNG",)))
            depth = np.where(pixels == SATURATED, 0, pixels).astype(np.float32) * np.float32(scale)
    except (OSError, SyntaxError, ValueError, IndexError) as error:
        raise ImageError(f"{path} is not a readable depth map: {error}") from None
    if depth.ndim != 2:
        raise ImageError(f"{path} has the shape {list(depth.shape)}: a depth map has one number for each pixel")
    depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan).astype(np.float32)
    if np.isnan(depth).all():
        raise ImageError(f"{path} has no depth at all: every pixel is 0 or not a number")
    return depth


def _read_pfm(path: Path) -> np.ndarray:
    with open(path, "rb") as file:
        if file.readline().strip() != b"Pf":
            raise ValueError("a PFM of one channel begins with Pf")
        width, height = (int(n) for n in file.readline().split())
        order = "<" if float(file.readline()) < 0 else ">"
        pixels = np.frombuffer(file.read(4 * width * height), f"{order}f4")
    return pixels.reshape(height, width)[::-1].astype(np.float32)  # its rows run upward
