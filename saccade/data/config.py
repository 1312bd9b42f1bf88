"""What a run says about its data: plain dataclasses that go into `config.yaml`. Loads no torch."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class DigitsConfig:
    """Scikit-learn's digits as labelled images (`data.path: digits`)."""

    val: int = 0  # images of the 1,437 to train on that are held out as the validation split; 0: none


@dataclass(frozen=True)
class ScenesConfig:
    """Scenes that are composed of digits (`data.path: scenes`)."""

    size: tuple[int, int] = (128, 128)  # (height, width) in pixels
    digits: tuple[int, int] = (1, 8)  # fewest and most in a scene
    scale: tuple[float, float] = (0.16, 0.45)  # heights of digits, shares of the shorter side
    plain_captions: bool = False  # scenes to train on have a second caption, without sizes and colours
    seed: int = 0
    train: int = 20000  # scenes of an epoch
    val: int = 100
    test: int = 500


@dataclass(frozen=True)
class NumbersConfig:
    """Numbers in words (`data.path: numbers`)."""

    limit: int = 1_000_000  # they are smaller than this
    seed: int = 0
    train: int = 20000  # different numbers; those of the other splits are others
    val: int = 500
    test: int = 1000


@dataclass(frozen=True)
class StripsConfig:
    """Handwritten digits in a row (`data.path: strips`), to be read as words."""

    digits: tuple[int, int] = (1, 4)  # fewest and most in a strip
    seed: int = 0
    train: int = 20000  # strips of an epoch
    val: int = 300
    test: int = 1000


@dataclass(frozen=True)
class DataConfig:
    """Which images, how they are split, and what happens to broken ones."""

    path: str = "digits"  # "digits", a folder of class folders, a CSV, a zip, or tar shards
    val_fraction: float = 0.1  # cut from train where the data has no val split of its own
    test_fraction: float = 0.2  # cut first, where the data has no test split of its own
    split_seed: int = 0
    workers: int | None = None  # loader processes; None: one for each core but the first, 0 for data in memory
    bad_images: Literal["stop", "skip"] = "stop"
    depth_scale: float = 0.001  # metres of one step of a depth PNG
    digits: DigitsConfig = field(default_factory=DigitsConfig)  # of data.path: digits
    scenes: ScenesConfig = field(default_factory=ScenesConfig)  # of data.path: scenes
    numbers: NumbersConfig = field(default_factory=NumbersConfig)  # of data.path: numbers
    strips: StripsConfig = field(default_factory=StripsConfig)  # of data.path: strips
    check: Literal["auto", "full", "sample", "off"] = "auto"  # look at the data before the run; auto: full if small


@dataclass(frozen=True)
class AffineConfig:
    """Random rotation, shift and scaling of a whole batch at once."""

    degrees: float = 0.0  # rotation drawn from [-degrees, degrees]
    translate: float = 0.0  # shift as a fraction of the side, drawn from [-translate, translate]
    scale: float = 0.0  # size drawn from [1 - scale, 1 + scale]


@dataclass(frozen=True)
class AugmentationConfig:
    """What training adds to an image. By default crops and flips only; a recipe sets the rest."""

    crop_scale: tuple[float, float] | None = (0.08, 1.0)  # area of the random resized crop; None: the whole image
    pad_crop: int = 0  # with where=batch: pixels added on every side before a crop of the image's size
    flip: float = 0.5  # probability of a left-right flip
    randaugment: str = ""  # "2x9": two operations of magnitude 9 (of 30); "": none
    color_jitter: float = 0.0  # strength of brightness, contrast and saturation changes
    erasing: float = 0.0  # probability of a random rectangle of noise (Zhong et al. 2020)
    mixup: float = 0.0  # alpha of the Beta distribution (Zhang et al. 2018); 0: off
    cutmix: float = 0.0  # alpha of the Beta distribution (Yun et al. 2019); 0: off
    affine: AffineConfig | None = None
    repeats: int = 1  # repeated augmentation: how often an image appears in a batch (Hoffer et al. 2020)
    where: Literal["image", "batch"] = "image"  # flips, colours, erasing: one by one in the loader, or on the device


def read_data_config(values: dict[str, Any]) -> DataConfig:
    """A config from plain values, as a model directory has them."""
    kinds: dict[str, type] = {
        "digits": DigitsConfig, "scenes": ScenesConfig, "numbers": NumbersConfig, "strips": StripsConfig,
    }  # fmt: skip
    made = {
        part: kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in (values.get(part) or {}).items()})
        for part, kind in kinds.items()
    }
    return DataConfig(**{**values, **made})
