"""Scenes of real digits: scikit-learn's handwritten digits scattered on a canvas, with exact annotations.

A scene is a function of its number, its split and the config, so a data set of scenes has any length and needs no
files. Class, box, mask, depth and caption are exact, since the scene is composed. Training and test scenes consist of
different digits.
"""

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from PIL import Image

from saccade.data.builtin.digits import digits_by_split
from saccade.data.config import ScenesConfig
from saccade.data.images import grey_image
from saccade.data.samples import BoxedImage, BoxTruth, CaptionedImage, DataSplits
from saccade.errors import ConfigError

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS = {
    "red": (214, 62, 50), "orange": (232, 150, 40), "green": (70, 160, 80), "blue": (60, 110, 210),
    "purple": (150, 80, 180), "white": (236, 236, 230),
}  # fmt: skip
SOLID = 0.5  # least coverage with ink of a pixel that belongs to a digit
VISIBLE = 0.5  # least fraction of a digit that is not hidden by others
NEAR, FAR = 1.0, 4.0  # depth in metres of the ground at the lower and at the upper edge
SIZES = (0.36, 0.62)  # of the range of heights: below the first a digit is small, above the second large
KEPT_BYTES = 64 * 2**20  # of composed scenes, in each process that reads a split
SPLIT_NUMBERS = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True)
class SceneObject:
    """One digit of a scene."""

    label: int
    box: tuple[float, float, float, float]  # left, top, right, bottom of the visible part, in pixels
    mask: np.ndarray  # [H, W] boolean, the visible part
    depth: float  # metres
    size: str  # small, medium or large
    colour: str

    def describe(self, plain: bool = False) -> str:
        """ "a small red seven"; "a seven" if `plain`."""
        return f"a {NAMES[self.label]}" if plain else f"a {self.size} {self.colour} {NAMES[self.label]}"


@dataclass(frozen=True)
class Scene:
    """An image and its objects, ordered from the farthest to the nearest.

    Attributes:
        image: ``[H, W, 3]`` uint8.
        objects: the digits.
        semantic: ``[H, W]`` uint8, 0 for the ground, 1 + digit for the pixels of a digit.
        depth: ``[H, W]`` float32 in metres.
        caption: one sentence.
    """

    image: np.ndarray
    objects: tuple[SceneObject, ...]
    semantic: np.ndarray
    depth: np.ndarray
    caption: str


def compose(number: int, split: str, config: ScenesConfig) -> Scene:
    """The scene of an index."""
    random = np.random.default_rng([config.seed, SPLIT_NUMBERS[split], number])
    height, width = config.size
    light = _light(random, height, width)
    canvas = _ground(random, height, width) * light[..., None]
    ground = np.linspace(FAR, NEAR, height, dtype=np.float32)[:, None].repeat(width, axis=1)
    placements = _place(random, split, config)
    depth, owner = ground.copy(), np.full((height, width), -1)
    for index, (ink, where, _, distance, _, colour) in enumerate(placements):
        paint = np.array(COLOURS[colour], np.float32) * np.float32(random.uniform(0.85, 1.1))
        shade = paint * (0.6 + 0.4 * light[where][..., None])
        canvas[where] = canvas[where] * (1 - ink[..., None]) + shade * ink[..., None]
        solid = ink >= SOLID
        owner[where][solid], depth[where][solid] = index, distance
    noise = 4 * random.standard_normal(canvas.shape, dtype=np.float32)
    masks = [owner == index for index in range(len(placements))]
    objects = tuple(
        SceneObject(label, _box(mask), mask, distance, size, colour)
        for mask, (_, _, label, distance, size, colour) in zip(masks, placements)
    )
    semantic = np.zeros((height, width), np.uint8)
    for item in objects:
        semantic[item.mask] = 1 + item.label
    image = (canvas + noise).clip(0, 255).round().astype(np.uint8)
    return Scene(image, objects, semantic, depth, caption(objects))


class _Placement(NamedTuple):
    ink: np.ndarray  # [h, w] in [0, 1]
    where: tuple[slice, slice]  # rows and columns of the ink
    label: int
    depth: float
    size: str
    colour: str


def _place(random: np.random.Generator, split: str, config: ScenesConfig) -> list[_Placement]:
    """The digits of a scene, the farthest first.

    Digits are placed on the ground: the lower its base in the image, the nearer it is. A digit that would hide too much
    of another, or be hidden too much, is placed again, and omitted if there is no room.
    """
    source = digits_by_split()[split]
    height, width = config.size
    low, high = (round(fraction * min(height, width)) for fraction in config.scale)
    num_digits = int(random.integers(config.digits[0], config.digits[1] + 1))
    choices = np.flatnonzero(np.isin(source.labels, config.labels)) if config.labels else np.arange(len(source))
    placements: list[_Placement] = []
    for _ in range(12 * num_digits):
        if len(placements) == num_digits:
            break
        index = int(choices[random.integers(len(choices))])
        digit_height = round(math.exp(random.uniform(math.log(low), math.log(high))))
        angle = random.uniform(-12, 12)  # drawn for a copy too, whose own is not used
        original = placements[0] if config.copies and placements else None
        if original is None:
            ink, label = _render(source.image(index), digit_height, angle), int(source.labels[index])
        else:
            ink, label = original.ink, original.label
        h, w = ink.shape
        if h > height or w > width:
            continue
        top, left = int(random.integers(height - h + 1)), int(random.integers(width - w + 1))
        where = (slice(top, top + h), slice(left, left + w))
        foot = np.flatnonzero((ink >= SOLID).any(axis=1))
        if not len(foot):
            continue
        distance = FAR + (NEAR - FAR) * (top + foot[-1]) / max(height - 1, 1)
        rank = (math.log(digit_height) - math.log(low)) / max(math.log(high) - math.log(low), 1e-9)
        extent = np.zeros((height, width), bool)
        extent[where] = ink > 0
        neighbours = {p.colour for p in placements if (extent[p.where] & (p.ink > 0)).any()}  # in other colours
        size = "small" if rank < SIZES[0] else "medium" if rank < SIZES[1] else "large"
        free = [name for name in COLOURS if name not in neighbours]
        if not free or (original is not None and neighbours):
            continue
        colour = free[int(random.integers(len(free)))]
        if original is not None:
            size, colour = original.size, original.colour
        candidate = _Placement(ink, where, label, distance, size, colour)
        trial = sorted([*placements, candidate], key=lambda p: -p.depth)
        if _all_visible(trial, height, width):
            placements = trial
    return placements


def _all_visible(placements: Sequence[_Placement], height: int, width: int) -> bool:
    """Whether enough of each digit is visible; later ones are in front."""
    occupied = np.zeros((height, width), bool)
    for ink, where, *_ in reversed(placements):
        solid, above = ink >= SOLID, occupied[where]
        if np.count_nonzero(solid & ~above) < VISIBLE * np.count_nonzero(solid):
            return False
        above |= solid
    return True


def _render(digit: Image.Image, digit_height: int, angle: float) -> np.ndarray:
    """The strokes of a digit, enlarged and rotated: ``[h, w]`` in [0, 1], cropped to the ink."""
    pixels = np.pad(np.asarray(digit), 1)
    scale = digit_height / 8
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    large = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).rotate(angle, Image.Resampling.BICUBIC)
    ink = np.clip((np.asarray(large) / 255 - 0.25) / 0.35, 0, 1)  # sharpens the strokes
    rows, columns = np.flatnonzero((ink > 0).any(axis=1)), np.flatnonzero((ink > 0).any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)


def _ground(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A textured plane ``[H, W, 3]``: coarse noise with finer noise on top."""
    base = random.uniform(40, 120, 3).astype(np.float32) + np.linspace(25, -15, height, dtype=np.float32)[:, None, None]
    texture = 26 * _smooth(random, height, width, 4) + 14 * _smooth(random, height, width, 16)
    return base + texture[..., None] * random.uniform(0.6, 1.2, 3).astype(np.float32)


def _light(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Shading ``[H, W]`` around 1."""
    return 1 + 0.22 * _smooth(random, height, width, 2)


def _smooth(random: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """Smooth noise ``[H, W]`` in about [-1, 1]."""
    coarse = random.uniform(-1, 1, (cells + 1, cells + 1)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def _box(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def caption(objects: Sequence[SceneObject], plain: bool = False) -> str:
    """A caption from a small grammar: the largest object, its relation to the next, and the others; if `plain`, without
    sizes and colours."""
    if not objects:
        return "an empty ground"
    first, *rest = sorted(objects, key=lambda t: -t.mask.sum())
    if not rest:
        return first.describe(plain)
    second, *others = rest
    sentence = f"{second.describe(plain)} {relation(second, first)} {first.describe(plain)}"
    return sentence + "".join(f", and {other.describe(plain)}" for other in others)


def relation(one: SceneObject, other: SceneObject) -> str:
    """The spatial relation of one object to another in the image."""
    (l1, t1, r1, b1), (l2, t2, r2, b2) = one.box, other.box
    if min(r1, r2) > max(l1, l2) and min(b1, b2) > max(t1, t2):
        return "behind" if one.depth > other.depth else "in front of"
    across, down = (l1 + r1 - l2 - r2) / 2, (t1 + b1 - t2 - b2) / 2
    if abs(across) >= abs(down):
        return "to the left of" if across < 0 else "to the right of"
    return "above" if down < 0 else "below"


class SceneSource:
    """The scenes of a split as images with boxes, masks and depth; up to 64 MB of them are cached in memory."""

    def __init__(self, split: str, count: int, config: ScenesConfig, *, labelled: bool = False):
        self.split, self.count, self.config = split, count, config
        self._labels = None if labelled else np.zeros(count, dtype=np.int64)
        self.classes = tuple(str(digit) for digit in range(10))
        self.names: Sequence[str] = [f"scenes/{split}/{number}" for number in range(count)]
        self._scenes: dict[int, Scene] = {}
        self._room = KEPT_BYTES

    def __len__(self) -> int:
        return self.count

    @property
    def labels(self) -> np.ndarray:
        if self._labels is None:  # composing them takes as long as composing the images
            first = (self.scene(index).objects[0].label for index in range(self.count))
            self._labels = np.fromiter(first, np.int64, self.count)
        return self._labels

    def scene(self, index: int) -> Scene:
        """The scene of an index, cached for later epochs."""
        scene = self._scenes.get(index)
        if scene is None:
            scene = compose(index, self.split, self.config)
            size = scene.image.nbytes + scene.semantic.nbytes + scene.depth.nbytes
            size += sum(item.mask.nbytes for item in scene.objects)
            if size <= self._room:
                self._room -= size
                self._scenes[index] = scene
        return scene

    def image(self, index: int, channels: int = 3) -> Image.Image:
        return grey_image(self.scene(index).image, channels, self.names[index])

    def data(self, index: int) -> bytes:
        buffer = io.BytesIO()
        self.image(index).save(buffer, "PNG")
        return buffer.getvalue()

    def with_boxes(self, index: int, channels: int = 3) -> BoxedImage:
        scene = self.scene(index)
        image = grey_image(scene.image, channels, self.names[index])
        boxes = np.array([item.box for item in scene.objects], np.float32).reshape(-1, 4)
        labels = np.array([item.label for item in scene.objects], np.int64)
        masks = np.array([item.mask for item in scene.objects], bool).reshape(-1, *scene.semantic.shape)
        areas = masks.sum((1, 2)).astype(np.float64)
        truth = BoxTruth(boxes.astype(np.float64), labels, areas, np.zeros(len(boxes), bool))
        return BoxedImage(image, boxes, labels, masks, truth)

    def captions(self, index: int) -> tuple[str, ...]:
        return self._captions(self.scene(index))

    def with_captions(self, index: int, channels: int = 3) -> CaptionedImage:
        scene = self.scene(index)
        return CaptionedImage(grey_image(scene.image, channels, self.names[index]), self._captions(scene))

    def _captions(self, scene: Scene) -> tuple[str, ...]:
        """The captions of a scene; evaluation uses only the exact one, since a plain one matches many scenes."""
        with_plain = self.config.plain_captions and self.split == "train"
        return (scene.caption, caption(scene.objects, plain=True)) if with_plain else (scene.caption,)


def scene_splits(config: ScenesConfig, *, labelled: bool = False) -> DataSplits:
    """Scenes for training, validation and testing; if `labelled`, with the class of their first digit as label."""
    if not 0 < config.scale[0] <= config.scale[1] <= 1:
        raise ConfigError(f"data.scenes.scale must be two fractions of the side, the smaller first, not {config.scale}")
    if not 0 <= config.digits[0] <= config.digits[1]:
        raise ConfigError(f"data.scenes.digits must be a minimum and a maximum, not {config.digits}")
    train, val, test = (
        SceneSource(name, count, config, labelled=labelled) if count else None
        for name, count in (("train", config.train), ("val", config.val), ("test", config.test))
    )
    if train is None:
        raise ConfigError("data.scenes.train must be at least 1")
    # Without an option that is off, so that runs from before it was there can be resumed.
    options = repr(config).replace("labels=(), ", "")
    fingerprint = hashlib.sha256(options.encode()).hexdigest()
    return DataSplits(train, val, test, train.classes, "scenes", fingerprint, generated=True)


def labelled_scenes(config: ScenesConfig) -> DataSplits:
    """Scenes of one digit each, labelled with its class."""
    return scene_splits(replace(config, digits=(1, 1)), labelled=True)
