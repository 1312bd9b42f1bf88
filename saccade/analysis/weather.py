"""Weather in images: snow, rime, fog, spatter. See :mod:`saccade.analysis.corruptions`.

B images, C channels, H x W pixels; values in [0, 1].
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import correlate, distance_transform_edt, uniform_filter
from torch import Tensor

from saccade.analysis.image_filters import gaussian, scale_of, trails

GREY = (0.299, 0.587, 0.114)  # of red, green, blue
WATER, MUD = (175 / 255, 238 / 255, 238 / 255), (63 / 255, 42 / 255, 20 / 255)
ICE = (0.86, 0.93, 1.0)
EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])


def fog(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """A cloud from the diamond-square algorithm, added, with the brightest value kept."""
    strength, decay = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[level]
    height, width = x.shape[-2:]
    clouds = torch.stack([plasma(max(height, width), decay, generator)[:height, :width] for _ in x])[:, None].to(x)
    peak = x.amax(dim=(1, 2, 3), keepdim=True)
    return (x + strength * clouds) * peak / (peak + strength)


def snow(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Flakes that fall within 45° of the vertical, and the same from the other side, over a paler image."""
    mean, spread, zoom, threshold, radius, sigma, share = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[level]  # fmt: skip
    scale, (height, width) = scale_of(x), x.shape[-2:]
    grains = max(1.0, zoom * scale)  # pixels of a flake
    small = [max(1, math.ceil(length / grains)) for length in (height, width)]
    noise = mean + spread * torch.randn(len(x), 1, *small, generator=generator)
    flakes = F.interpolate(noise, size=(height, width), mode="bilinear", align_corners=True)
    flakes = torch.where(flakes < threshold, torch.zeros_like(flakes), flakes).clamp(0, 1)
    angles = math.pi / 4 + math.pi / 2 * torch.rand(len(x), generator=generator, dtype=torch.float64)
    falling = trails(flakes, radius * scale, sigma * scale, angles.tolist()).to(x)
    pale = torch.maximum(x, 1.5 * grey(x) + 0.5)
    return share * x + (1 - share) * pale + falling + falling.rot90(2, (2, 3))


def rime(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Ice over the image, in the published proportions of frost; its crystals are ridges of random clouds, drawn for
    want of photographs, so its errors are not those of frost."""
    share, strength = ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[level]
    height, width = x.shape[-2:]
    side = max(height, width)
    layers = []
    for _ in x:
        ridges = torch.zeros(height, width)
        for decay in (1.9, 1.6):
            clouds = plasma(side, decay, generator)[:height, :width]
            ridges = torch.maximum(ridges, 1 - 8 * (clouds - clouds.median()).abs())
        cover = plasma(side, 2.0, generator)[:height, :width]  # where the pane is frozen
        layers.append((0.35 * cover + 0.65 * ridges.clamp(0, 1)).clamp(0, 1))
    ice = torch.stack(layers)[:, None].to(x)
    return share * x + strength * ice * colour(ICE, x)


def spatter(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Drops of water, in the last two severities of mud."""
    mean, spread, sigma, threshold, strength, is_mud = (
        (0.65, 0.3, 4, 0.69, 0.6, False), (0.65, 0.3, 3, 0.68, 0.6, False), (0.65, 0.3, 2, 0.68, 0.5, False),
        (0.65, 0.3, 1, 0.65, 1.5, True), (0.67, 0.4, 1, 0.65, 1.5, True),
    )[level]  # fmt: skip
    scale, (height, width) = scale_of(x), x.shape[-2:]
    noise = mean + spread * torch.randn(len(x), 1, height, width, generator=generator)
    liquid = gaussian(noise, sigma * scale)
    liquid = torch.where(liquid < threshold, torch.zeros_like(liquid), liquid)
    if is_mud:
        cover = gaussian((liquid > threshold).float(), strength * scale)
        cover = torch.where(cover < 0.8, torch.zeros_like(cover), cover).to(x)
        return x * (1 - cover) + colour(MUD, x) * cover
    light = torch.stack([torch.from_numpy(embossed(layer[0].numpy() > 0)) for layer in liquid])[:, None]
    drops = liquid * light
    drops = strength * drops / drops.amax(dim=(2, 3), keepdim=True).clamp(min=1e-8)
    return x + drops.to(x) * colour(WATER, x)


def embossed(inside: np.ndarray) -> np.ndarray:
    """Drops ``[H, W]`` boolean as if lit from one side: the slope of the distance to their rims, ``[H, W]`` float32."""
    rims = inside & ~(np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1) & np.roll(inside, -1, 1))
    distance = np.full(inside.shape, 20.0)
    if rims.any():
        np.minimum(np.asarray(distance_transform_edt(~rims)), 20, out=distance)
    levels = uniform_filter(distance, 3).astype(np.uint8)
    counts = np.bincount(levels.ravel(), minlength=256).cumsum()
    lowest = counts[counts > 0][0]
    equalised = np.round(255 * (counts - lowest) / max(counts[-1] - lowest, 1))[levels]
    return uniform_filter(correlate(equalised, EMBOSS).clip(0, 255), 3).astype(np.float32)


def grey(x: Tensor) -> Tensor:
    """``[B, C, H, W]`` -> ``[B, 1, H, W]``: the luminance of colours, else the mean of the channels."""
    if x.shape[1] != 3:
        return x.mean(dim=1, keepdim=True)
    return (x * torch.tensor(GREY).to(x)[None, :, None, None]).sum(dim=1, keepdim=True)


def colour(values: tuple[float, float, float], x: Tensor) -> Tensor:
    """Red, green, blue as ``[1, C, 1, 1]``: their luminance where images have other than three channels."""
    own = torch.tensor(values).to(x)[None, :, None, None]
    return own if x.shape[1] == 3 else grey(own).expand(1, x.shape[1], 1, 1)


def plasma(size: int, decay: float, generator: torch.Generator) -> Tensor:
    """Clouds in [0, 1] on a torus, ``[n, n]`` with n the next power of two: the diamond-square algorithm.

    The middle of every square, then of every diamond, is the mean of its corners plus noise, which shrinks by `decay`.
    """
    side = 1 << max(1, (size - 1).bit_length())
    field = torch.zeros(side, side, dtype=torch.float64)
    step, noise = side, 1.0
    while step >= 2:
        half = step // 2

        def wobble(mean: Tensor, amount: float = noise) -> Tensor:
            return mean + amount * (2 * torch.rand(mean.shape, generator=generator, dtype=torch.float64) - 1)

        corners = field[::step, ::step]
        pairs = corners + corners.roll(-1, 0)
        field[half::step, half::step] = wobble((pairs + pairs.roll(-1, 1)) / 4)
        middles = field[half::step, half::step]
        across, along = corners + corners.roll(-1, 1), corners + corners.roll(-1, 0)
        field[::step, half::step] = wobble((across + middles + middles.roll(1, 0)) / 4)
        field[half::step, ::step] = wobble((along + middles + middles.roll(1, 1)) / 4)
        step, noise = half, noise / decay
    field = field - field.min()
    return (field / field.max().clamp(min=1e-12)).float()
