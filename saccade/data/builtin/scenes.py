"""Scenes of real digits: scikit-learn's handwritten digits scattered on a canvas, with everything known about them.

A scene is a function of its number, its split and the config, so a data set of them has any length and needs no files.
Class, box, mask, depth and caption are exact, because the scene is composed and not annotated. Training and test scenes
are made of different digits.
"""

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from saccade.data.builtin.digits import digits_by_split
from saccade.data.config import ScenesConfig
from saccade.data.samples import BoxedImage, CaptionedImage, DataSplits
from saccade.errors import ConfigError

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS = {
    "red": (214, 62, 50), "orange": (232, 150, 40), "green": (70, 160, 80), "blue": (60, 110, 210),
    "purple": (150, 80, 180), "white": (236, 236, 230),
}  # fmt: skip
SOLID = 0.5  # a pixel belongs to a digit where at least so much ink covers it
VISIBLE = 0.5  # share of a digit that others must leave to see
NEAR, FAR = 1.0, 4.0  # metres of the ground at the lower and at the upper edge
SIZES = (0.36, 0.62)  # of the range of heights: below the first a digit is small, above the second large
SPLIT_NUMBERS = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True)
class Thing:
    """One digit of a scene."""

    label: int
    box: tuple[float, float, float, float]  # left, top, right, bottom of what is visible, in pixels
    mask: np.ndarray  # [H, W] boolean, what is visible
    depth: float  # metres
    size: str  # small, medium or large
    colour: str

    def words(self, plain: bool = False) -> str:
        """ "a small red seven", or plainly "a seven"."""
        return f"a {NAMES[self.label]}" if plain else f"a {self.size} {self.colour} {NAMES[self.label]}"


@dataclass(frozen=True)
class Scene:
    """A picture and all that is in it, the farthest thing first.

    Attributes:
        image: ``[H, W, 3]`` uint8.
        things: the digits.
        semantic: ``[H, W]`` uint8, 0 for the ground, 1 + digit where one is seen.
        depth: ``[H, W]`` float32 in metres.
        caption: one sentence.
    """

    image: np.ndarray
    things: tuple[Thing, ...]
    semantic: np.ndarray
    depth: np.ndarray
    caption: str


def compose(number: int, split: str, config: ScenesConfig) -> Scene:
    """The scene of a number."""
    random = np.random.default_rng([config.seed, SPLIT_NUMBERS[split], number])
    height, width = config.size
    light = _light(random, height, width)
    canvas = _ground(random, height, width) * light[..., None]
    ground = np.linspace(FAR, NEAR, height, dtype=np.float32)[:, None].repeat(width, axis=1)
    placed = _place(random, split, config)
    depth, owner = ground.copy(), np.full((height, width), -1)
    for index, (ink, where, _, distance, _, colour) in enumerate(placed):
        paint = np.array(COLOURS[colour], np.float32) * np.float32(random.uniform(0.85, 1.1))
        shade = paint * (0.6 + 0.4 * light[where][..., None])
        canvas[where] = canvas[where] * (1 - ink[..., None]) + shade * ink[..., None]
        solid = ink >= SOLID
        owner[where][solid], depth[where][solid] = index, distance
    noise = 4 * random.standard_normal(canvas.shape, dtype=np.float32)
    masks = [owner == index for index in range(len(placed))]
    things = tuple(
        Thing(label, _box(mask), mask, distance, size, colour)
        for mask, (_, _, label, distance, size, colour) in zip(masks, placed)
    )
    semantic = np.zeros((height, width), np.uint8)
    for thing in things:
        semantic[thing.mask] = 1 + thing.label
    image = (canvas + noise).clip(0, 255).round().astype(np.uint8)
    return Scene(image, things, semantic, depth, caption(things))


def _place(random: np.random.Generator, split: str, config: ScenesConfig) -> list[tuple]:
    """(ink [h, w] in [0, 1], its rows and columns, label, depth, size, colour) of each digit, the farthest first.

    A digit stands on the ground: the lower its foot, the nearer it is. One that would hide too much of another, or be
    hidden, is placed anew, and left out where there is no room.
    """
    source = digits_by_split()[split]
    height, width = config.size
    low, high = (round(share * min(height, width)) for share in config.scale)
    wanted = int(random.integers(config.digits[0], config.digits[1] + 1))
    placed: list[tuple] = []
    for _ in range(12 * wanted):
        if len(placed) == wanted:
            break
        index = int(random.integers(len(source)))
        tall = round(math.exp(random.uniform(math.log(low), math.log(high))))
        ink = _inked(source.image(index), tall, random.uniform(-12, 12))
        h, w = ink.shape
        if h > height or w > width:
            continue
        top, left = int(random.integers(height - h + 1)), int(random.integers(width - w + 1))
        where = (slice(top, top + h), slice(left, left + w))
        foot = np.flatnonzero((ink >= SOLID).any(axis=1))
        if not len(foot):
            continue
        distance = FAR + (NEAR - FAR) * (top + foot[-1]) / max(height - 1, 1)
        rank = (math.log(tall) - math.log(low)) / max(math.log(high) - math.log(low), 1e-9)
        whole = np.zeros((height, width), bool)
        whole[where] = ink > 0
        near = {d[5] for d in placed if (whole[d[1]] & (d[0] > 0)).any()}  # neighbours differ, so that edges are seen
        size = "small" if rank < SIZES[0] else "medium" if rank < SIZES[1] else "large"
        free = [name for name in COLOURS if name not in near]
        if not free:
            continue
        colour = free[int(random.integers(len(free)))]
        trial = sorted([*placed, (ink, where, int(source.labels[index]), distance, size, colour)], key=lambda d: -d[3])
        if _all_visible(trial, height, width):
            placed = trial
    return placed


def _all_visible(placed: Sequence[tuple], height: int, width: int) -> bool:
    """Whether enough is seen of each, where later ones stand in front."""
    covered = np.zeros((height, width), bool)
    for ink, where, *_ in reversed(placed):
        solid, above = ink >= SOLID, covered[where]
        if np.count_nonzero(solid & ~above) < VISIBLE * np.count_nonzero(solid):
            return False
        above |= solid
    return True


def _inked(digit: Image.Image, tall: int, angle: float) -> np.ndarray:
    """A digit's strokes, enlarged and turned a little: ``[h, w]`` in [0, 1], cut to the ink."""
    pixels = np.pad(np.asarray(digit), 1)
    scale = tall / 8
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    large = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).rotate(angle, Image.Resampling.BICUBIC)
    ink = np.clip((np.asarray(large) / 255 - 0.25) / 0.35, 0, 1)  # crisp strokes from soft ones
    rows, columns = np.flatnonzero((ink > 0).any(axis=1)), np.flatnonzero((ink > 0).any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)


def _ground(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A textured plane ``[H, W, 3]``: smooth patches of two colours, finer ones on top."""
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


def caption(things: Sequence[Thing], plain: bool = False) -> str:
    """One sentence from a small grammar: the largest thing, how the next stands to it, and what else there is; plainly,
    without sizes and colours."""
    if not things:
        return "an empty ground"
    first, *rest = sorted(things, key=lambda t: -t.mask.sum())
    if not rest:
        return first.words(plain)
    second, *others = rest
    sentence = f"{second.words(plain)} {relation(second, first)} {first.words(plain)}"
    return sentence + "".join(f", and {other.words(plain)}" for other in others)


def relation(one: Thing, other: Thing) -> str:
    """How one thing stands to another in the picture."""
    (l1, t1, r1, b1), (l2, t2, r2, b2) = one.box, other.box
    if min(r1, r2) > max(l1, l2) and min(b1, b2) > max(t1, t2):
        return "behind" if one.depth > other.depth else "in front of"
    across, down = (l1 + r1 - l2 - r2) / 2, (t1 + b1 - t2 - b2) / 2
    if abs(across) >= abs(down):
        return "to the left of" if across < 0 else "to the right of"
    return "above" if down < 0 else "below"


class SceneSource:
    """The scenes of a split as images with boxes, masks and depth."""

    def __init__(self, split: str, count: int, config: ScenesConfig, *, labelled: bool = False):
        self.split, self.count, self.config = split, count, config
        self._labels = None if labelled else np.zeros(count, dtype=np.int64)
        self.classes = tuple(str(digit) for digit in range(10))
        self.names: Sequence[str] = [f"scenes/{split}/{number}" for number in range(count)]

    def __len__(self) -> int:
        return self.count

    @property
    def labels(self) -> np.ndarray:
        if self._labels is None:  # composed when they are asked for: it takes as long as the pictures
            first = (self.scene(index).things[0].label for index in range(self.count))
            self._labels = np.fromiter(first, np.int64, self.count)
        return self._labels

    def scene(self, index: int) -> Scene:
        return compose(index, self.split, self.config)

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self.scene(index).image)

    def data(self, index: int) -> bytes:
        buffer = io.BytesIO()
        self.image(index).save(buffer, "PNG")
        return buffer.getvalue()

    def with_boxes(self, index: int) -> BoxedImage:
        scene = self.scene(index)
        boxes = np.array([thing.box for thing in scene.things], np.float32).reshape(-1, 4)
        labels = np.array([thing.label for thing in scene.things], np.int64)
        masks = np.array([thing.mask for thing in scene.things], bool).reshape(-1, *scene.semantic.shape)
        return BoxedImage(Image.fromarray(scene.image), boxes, labels, masks)

    def captions(self, index: int) -> tuple[str, ...]:
        return self.told(self.scene(index))

    def with_captions(self, index: int) -> CaptionedImage:
        scene = self.scene(index)
        return CaptionedImage(Image.fromarray(scene.image), self.told(scene))

    def told(self, scene: Scene) -> tuple[str, ...]:
        """The captions of a scene; what is measured has the exact one alone, since a plain one fits many scenes."""
        also_plain = self.config.plain_captions and self.split == "train"
        return (scene.caption, caption(scene.things, plain=True)) if also_plain else (scene.caption,)


def scene_splits(config: ScenesConfig, *, labelled: bool = False) -> DataSplits:
    """Scenes to train on, to choose by and to test on; `labelled` by their first digit."""
    if not 0 < config.scale[0] <= config.scale[1] <= 1:
        raise ConfigError(f"data.scenes.scale must be two shares of the side, not {config.scale}")
    if not 0 <= config.digits[0] <= config.digits[1]:
        raise ConfigError(f"data.scenes.digits must be the fewest and the most, not {config.digits}")
    train, val, test = (
        SceneSource(name, count, config, labelled=labelled) if count else None
        for name, count in (("train", config.train), ("val", config.val), ("test", config.test))
    )
    if train is None:
        raise ConfigError("data.scenes.train must be at least 1")
    fingerprint = hashlib.sha256(repr(config).encode()).hexdigest()
    return DataSplits(train, val, test, train.classes, "scenes", fingerprint)


def labelled_scenes(config: ScenesConfig) -> DataSplits:
    """Scenes of one digit each, whose class it is."""
    return scene_splits(replace(config, digits=(1, 1)), labelled=True)
