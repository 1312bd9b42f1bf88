"""The data options of a run: plain dataclasses that are written to `config.yaml`. Imports no torch."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from saccade.config_io import Count, Fraction, Part, Positive, Range, Seed, Side, Size, Strength, build_config

Interval = Annotated[tuple[float, float], Range(0, 1, above=True, ordered=True)]
Repeats = Annotated[int, Range(1, 1000)]
Workers = Annotated[int, Range(0, 1024)]


@dataclass(frozen=True)
class DigitsConfig:
    """scikit-learn's digits as labelled images (`data.path: digits`)."""

    val: Size = 0  # training images, of 1,437, that are held out for validation


@dataclass(frozen=True)
class ScenesConfig:
    """Scenes composed of digits (`data.path: scenes`)."""

    size: tuple[Side, Side] = (128, 128)  # (height, width) in pixels
    digits: tuple[Size, Size] = (1, 8)  # minimum and maximum in a scene
    scale: tuple[Fraction, Fraction] = (0.16, 0.45)  # heights of digits, as fractions of the shorter side
    labels: tuple[Annotated[int, Range(0, 9)], ...] = ()  # which digits there are; (): all ten
    copies: bool = False  # the digits of a scene are copies of one: only their places differ, and none hides another
    plain_captions: bool = False  # training scenes have a second caption, without sizes and colours
    seed: Seed = 0  # of the scenes
    train: Count = 20000  # scenes of an epoch
    val: Size = 100  # scenes of the validation split
    test: Size = 500  # scenes of the test split


@dataclass(frozen=True)
class NumbersConfig:
    """Numbers in words (`data.path: numbers`)."""

    limit: Count = 1_000_000  # exclusive upper bound
    seed: Seed = 0  # of the numbers
    train: Count = 20000  # numbers in the split; the splits are disjoint
    val: Size = 500  # numbers of the validation split
    test: Size = 1000  # numbers of the test split


@dataclass(frozen=True)
class StripsConfig:
    """Handwritten digits in a row (`data.path: strips`), with their reading in words."""

    digits: tuple[Count, Count] = (1, 4)  # minimum and maximum in a strip
    seed: Seed = 0  # of the strips
    train: Count = 20000  # strips of an epoch
    val: Size = 300  # strips of the validation split
    test: Size = 1000  # strips of the test split


@dataclass(frozen=True)
class DataConfig:
    """The data set, its splits, and the handling of broken images."""

    path: str = "digits"  # "digits", a folder of class folders, a CSV, a zip, or tar shards
    val_fraction: Part = 0.1  # held out from train if the data has no val split
    test_fraction: Part = 0.2  # held out first, if the data has no test split
    split_seed: Seed = 0  # of the draw of these fractions
    train_size: Count | None = None  # training inputs that are used, each class in proportion; None: all
    workers: Workers | None = None  # loader processes; None: as many as loading takes time beside the steps
    bad_images: Literal["stop", "skip"] = "stop"  # a broken image stops the run, or the next one replaces it
    sampling: Literal["shuffled", "balanced"] = "shuffled"  # balanced: every class equally often in an epoch
    max_pixels: Count | None = None  # of an image; larger ones are refused. None: 89 million, Pillow's own limit
    depth_scale: Positive = 0.001  # metres per unit of a depth PNG
    class_table: str = ""  # a file that names the classes of masks, and their colours; "": looked for in the data
    digits: DigitsConfig = field(default_factory=DigitsConfig)  # for data.path: digits
    scenes: ScenesConfig = field(default_factory=ScenesConfig)  # for data.path: scenes
    numbers: NumbersConfig = field(default_factory=NumbersConfig)  # for data.path: numbers
    strips: StripsConfig = field(default_factory=StripsConfig)  # for data.path: strips
    check: Literal["auto", "full", "sample", "off"] = "auto"  # check the data before the run; auto: full if small


@dataclass(frozen=True)
class AffineConfig:
    """Random rotation, shift and scaling of a whole batch at once."""

    degrees: Annotated[float, Range(0, 180)] = 0.0  # rotation drawn from [-degrees, degrees]
    translate: Fraction = 0.0  # shift as a fraction of the side, drawn from [-translate, translate]
    scale: Part = 0.0  # size drawn from [1 - scale, 1 + scale]


@dataclass(frozen=True)
class AugmentationConfig:
    """Data augmentation for training: crops and flips by default; recipes set the rest."""

    crop_scale: Interval | None = (0.08, 1.0)  # area of the random resized crop; None: the whole image
    pad_crop: Size = 0  # with where=batch: pixels added on every side before a crop of the image's size
    flip: Fraction = 0.5  # probability of a left-right flip
    randaugment: str = ""  # "rand-m9-mstd0.5-inc1": timm's and DeiT's; "2x9": torchvision's, at 9 of 30; "": none
    color_jitter: Strength = 0.0  # strength of brightness, contrast and saturation changes
    erasing: Fraction = 0.0  # probability of a random rectangle of noise (Zhong et al. 2020)
    mixup: Strength = 0.0  # alpha of the Beta distribution (Zhang et al. 2018); 0: off
    cutmix: Strength = 0.0  # alpha of the Beta distribution (Yun et al. 2019); 0: off
    affine: AffineConfig | None = None
    repeats: Repeats = 1  # repeated augmentation: how often an image appears in a batch (Hoffer et al. 2020)
    where: Literal["image", "batch"] = "image"  # flips, colours, erasing: in the loader, or on the device


def read_data_config(values: dict[str, Any]) -> DataConfig:
    """A config from plain values, as stored in a model directory."""
    return build_config(DataConfig, values, "data.")
