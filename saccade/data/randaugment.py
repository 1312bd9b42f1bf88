"""RandAugment as timm and DeiT train with it (``rand-m9-mstd0.5-inc1``), on single images.

It is not torchvision's, which applies every operation it draws, at a fixed magnitude, with nearest neighbours and black
borders. Here an operation is applied with probability 0.5, its magnitude is drawn from a normal distribution, geometric
operations use the interpolation of the model's preprocessing, and borders have the mean colour (Cubuk et al., arXiv
1909.13719; Touvron et al., arXiv 2012.12877, table 9).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image, ImageEnhance, ImageOps

from saccade.errors import ConfigError

FORMS = (
    "augmentation.randaugment must look like rand-m9-mstd0.5-inc1 (timm's, magnitude up to 10) or 2x9 (torchvision's, "
    "operations x magnitude up to 30)"
)
MAX_MAGNITUDE = 10.0
PROBABILITY = 0.5  # of applying an operation that was drawn

Fill = int | tuple[int, ...]
# (image, level in [0, 1], sign, resampling filter, fill colour) -> image
Operation = Callable[[Image.Image, float, int, Image.Resampling, Fill], Image.Image]


def _affine(image: Image.Image, matrix: tuple[float, ...], resample: Image.Resampling, fill: Fill) -> Image.Image:
    """(a, b, c, d, e, f): the pixel of the input at (a x + b y + c, d x + e y + f)."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample, fillcolor=fill)


def _posterize(image: Image.Image, bits: int) -> Image.Image:
    """Keep the highest bits of every value; 0 bits give black, which PIL's function rejects since version 12."""
    mask = 256 - 2 ** (8 - bits)
    return image.point([value & mask for value in range(256)] * len(image.getbands()))


def _solarize_add(image: Image.Image, add: int) -> Image.Image:
    """Brighten the darker half of the values."""
    table = [min(255, value + add) if value < 128 else value for value in range(256)]
    return image.point(table * len(image.getbands()))


def _factor(level: float, sign: int) -> float:
    """Factor of an enhancement: 1 has no effect, 0 and 2 are the extremes."""
    return max(0.1, 1 + sign * 0.9 * level)


# Every operation grows stronger with its level (timm's "increasing" set).
OPERATIONS: dict[str, Operation] = {
    "AutoContrast": lambda image, level, sign, resample, fill: ImageOps.autocontrast(image),
    "Equalize": lambda image, level, sign, resample, fill: ImageOps.equalize(image),
    "Invert": lambda image, level, sign, resample, fill: ImageOps.invert(image),
    "Rotate": lambda image, level, sign, resample, fill: image.rotate(sign * level * 30, resample, fillcolor=fill),
    "Posterize": lambda image, level, sign, resample, fill: _posterize(image, 4 - int(level * 4)),
    "Solarize": lambda image, level, sign, resample, fill: ImageOps.solarize(image, 256 - int(level * 256)),
    "SolarizeAdd": lambda image, level, sign, resample, fill: _solarize_add(image, int(level * 110)),
    "Color": lambda image, level, sign, resample, fill: ImageEnhance.Color(image).enhance(_factor(level, sign)),
    "Contrast": lambda image, level, sign, resample, fill: ImageEnhance.Contrast(image).enhance(_factor(level, sign)),
    "Brightness": lambda image, level, sign, resample, fill: ImageEnhance.Brightness(image).enhance(
        _factor(level, sign)
    ),
    "Sharpness": lambda image, level, sign, resample, fill: ImageEnhance.Sharpness(image).enhance(_factor(level, sign)),
    "ShearX": lambda image, level, sign, resample, fill: _affine(
        image, (1, sign * level * 0.3, 0, 0, 1, 0), resample, fill
    ),
    "ShearY": lambda image, level, sign, resample, fill: _affine(
        image, (1, 0, 0, sign * level * 0.3, 1, 0), resample, fill
    ),
    "TranslateX": lambda image, level, sign, resample, fill: _affine(
        image, (1, 0, sign * level * 0.45 * image.width, 0, 1, 0), resample, fill
    ),
    "TranslateY": lambda image, level, sign, resample, fill: _affine(
        image, (1, 0, 0, 0, 1, sign * level * 0.45 * image.height), resample, fill
    ),
}


@dataclass(frozen=True)
class RandAugment:
    """A PIL image, greyscale or RGB -> the image after random operations, drawn with torch's generator.

    Attributes:
        count: number of operations per image, drawn with replacement.
        magnitude: mean of the magnitudes, in [0, 10].
        std: standard deviation of the magnitudes; each is clipped to [0, 10].
        resample: filter of the geometric operations.
        fill: colour outside of the image, 0 to 255.
    """

    count: int
    magnitude: float
    std: float
    resample: Image.Resampling
    fill: Fill

    def __call__(self, image: Image.Image) -> Image.Image:
        operations = list(OPERATIONS.values())
        for index in torch.randint(len(operations), (self.count,)).tolist():
            apply, noise, sign = torch.rand(()).item(), torch.randn(()).item(), torch.rand(()).item()
            if apply < PROBABILITY:
                magnitude = min(max(self.magnitude + self.std * noise, 0.0), MAX_MAGNITUDE)
                image = operations[index](
                    image, magnitude / MAX_MAGNITUDE, 1 if sign < 0.5 else -1, self.resample, self.fill
                )
        return image


def parse_timm(text: str) -> tuple[int, float, float]:
    """ "rand-m9-mstd0.5-inc1" -> (2 operations, mean magnitude 9, standard deviation 0.5).

    ``n`` is the number of operations (2), ``m`` the magnitude, ``mstd`` its standard deviation (0), and ``inc1`` must
    be given: only the operations that grow stronger with the magnitude are available.
    """
    match = re.fullmatch(r"rand((?:-(?:n\d+|m\d+(?:\.\d+)?|mstd\d+(?:\.\d+)?|inc1))+)", text)
    parts = dict(re.findall(r"-(n|mstd|m|inc)([\d.]+)", match[1])) if match else {}
    if "m" not in parts or "inc" not in parts or float(parts["m"]) > MAX_MAGNITUDE:
        raise ConfigError(f"{FORMS}, not {text!r}")
    return int(parts.get("n", 2)), float(parts["m"]), float(parts.get("mstd", 0.0))
