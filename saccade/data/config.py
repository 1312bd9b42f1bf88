"""The data options of a run: plain dataclasses that are written to `config.yaml`. Imports no torch."""

from dataclasses import dataclass, field
from typing import Any, Literal

from saccade.config_io import build_config
from saccade.errors import ConfigError


@dataclass(frozen=True)
class DigitsConfig:
    """scikit-learn's digits as labelled images (`data.path: digits`)."""

    val: int = 0  # training images, of 1,437, that are held out for validation


@dataclass(frozen=True)
class ScenesConfig:
    """Scenes composed of digits (`data.path: scenes`)."""

    size: tuple[int, int] = (128, 128)  # (height, width) in pixels
    digits: tuple[int, int] = (1, 8)  # minimum and maximum in a scene
    scale: tuple[float, float] = (0.16, 0.45)  # heights of digits, as fractions of the shorter side
    plain_captions: bool = False  # training scenes have a second caption, without sizes and colours
    seed: int = 0
    train: int = 20000  # scenes of an epoch
    val: int = 100
    test: int = 500


@dataclass(frozen=True)
class NumbersConfig:
    """Numbers in words (`data.path: numbers`)."""

    limit: int = 1_000_000  # exclusive upper bound
    seed: int = 0
    train: int = 20000  # numbers in the split; the splits are disjoint
    val: int = 500
    test: int = 1000


@dataclass(frozen=True)
class StripsConfig:
    """Handwritten digits in a row (`data.path: strips`), with their reading in words."""

    digits: tuple[int, int] = (1, 4)  # minimum and maximum in a strip
    seed: int = 0
    train: int = 20000  # strips of an epoch
    val: int = 300
    test: int = 1000


@dataclass(frozen=True)
class DataConfig:
    """The data set, its splits, and the handling of broken images."""

    path: str = "digits"  # "digits", a folder of class folders, a CSV, a zip, or tar shards
    val_fraction: float = 0.1  # held out from train if the data has no val split
    test_fraction: float = 0.2  # held out first, if the data has no test split
    split_seed: int = 0
    workers: int | None = None  # loader processes; None: one for each core but one, 0 for data in memory
    bad_images: Literal["stop", "skip"] = "stop"
    sampling: Literal["shuffled", "balanced"] = "shuffled"  # balanced: every class equally often in an epoch
    max_pixels: int | None = None  # of an image; larger ones are refused. None: 89 million, Pillow's own limit
    depth_scale: float = 0.001  # metres per unit of a depth PNG
    class_table: str = ""  # a file that names the classes of masks, and their colours; "": looked for in the data
    digits: DigitsConfig = field(default_factory=DigitsConfig)  # for data.path: digits
    scenes: ScenesConfig = field(default_factory=ScenesConfig)  # for data.path: scenes
    numbers: NumbersConfig = field(default_factory=NumbersConfig)  # for data.path: numbers
    strips: StripsConfig = field(default_factory=StripsConfig)  # for data.path: strips
    check: Literal["auto", "full", "sample", "off"] = "auto"  # check the data before the run; auto: full if small

    def __post_init__(self) -> None:
        if self.max_pixels is not None and self.max_pixels < 1:
            raise ConfigError(f"data.max_pixels must be at least 1, not {self.max_pixels}")


@dataclass(frozen=True)
class AffineConfig:
    """Random rotation, shift and scaling of a whole batch at once."""

    degrees: float = 0.0  # rotation drawn from [-degrees, degrees]
    translate: float = 0.0  # shift as a fraction of the side, drawn from [-translate, translate]
    scale: float = 0.0  # size drawn from [1 - scale, 1 + scale]


@dataclass(frozen=True)
class AugmentationConfig:
    """Data augmentation for training: crops and flips by default; recipes set the rest."""

    crop_scale: tuple[float, float] | None = (0.08, 1.0)  # area of the random resized crop; None: the whole image
    pad_crop: int = 0  # with where=batch: pixels added on every side before a crop of the image's size
    flip: float = 0.5  # probability of a left-right flip
    randaugment: str = ""  # "rand-m9-mstd0.5-inc1": timm's and DeiT's; "2x9": torchvision's, at 9 of 30; "": none
    color_jitter: float = 0.0  # strength of brightness, contrast and saturation changes
    erasing: float = 0.0  # probability of a random rectangle of noise (Zhong et al. 2020)
    mixup: float = 0.0  # alpha of the Beta distribution (Zhang et al. 2018); 0: off
    cutmix: float = 0.0  # alpha of the Beta distribution (Yun et al. 2019); 0: off
    affine: AffineConfig | None = None
    repeats: int = 1  # repeated augmentation: how often an image appears in a batch (Hoffer et al. 2020)
    where: Literal["image", "batch"] = "image"  # flips, colours, erasing: in the loader, or on the device


def read_data_config(values: dict[str, Any]) -> DataConfig:
    """A config from plain values, as stored in a model directory."""
    return build_config(DataConfig, values, "data.")
