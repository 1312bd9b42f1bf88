"""Common corruptions of images: noise, blur, weather, digital; five severities each.

The definitions of Hendrycks & Dietterich, arXiv 1903.12261 (ImageNet-C), which are for 224 x 224 pixels; lengths in
pixels are scaled with the shorter side. Written anew on tensors and seeded, so single pixels differ from the published
files.
Left out are frost, which needs photographs, and glass blur, snow and elastic transform.

B images, C channels, H x W pixels; values in [0, 1].
"""

import io
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saccade.errors import ConfigError

SEVERITIES = (1, 2, 3, 4, 5)
REFERENCE = 224  # pixels, of the shorter side for which lengths are defined


def corrupt(images: Tensor, name: str, severity: int, *, seed: int = 0) -> Tensor:
    """Images ``[B, C, H, W]`` in [0, 1] -> the same, corrupted.

    Args:
        images: on any device.
        name: one of CORRUPTIONS.
        severity: 1 to 5.
        seed: of noise, directions and clouds.

    Raises:
        ConfigError: there is no such corruption or severity.
    """
    if name not in CORRUPTIONS:
        raise ConfigError(f"there is no corruption {name!r}: choose {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ConfigError(f"a severity is 1 to 5, not {severity}")
    generator = torch.Generator().manual_seed(seed)
    return CORRUPTIONS[name](images.float(), severity - 1, generator).clamp(0, 1)


def gaussian_noise(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    scale = (0.08, 0.12, 0.18, 0.26, 0.38)[level]
    return x + scale * torch.randn(x.shape, generator=generator).to(x)


def shot_noise(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Photons that are counted: Poisson."""
    photons = (60, 25, 12, 5, 3)[level]
    return torch.poisson((x.cpu() * photons).clamp(min=0), generator=generator).to(x) / photons


def impulse_noise(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Values that become 0 or 1, each with half of the probability."""
    amount = (0.03, 0.06, 0.09, 0.17, 0.27)[level]
    hit = (torch.rand(x.shape, generator=generator) < amount).to(x.device)
    salt = (torch.rand(x.shape, generator=generator) < 0.5).to(x)
    return torch.where(hit, salt, x)


def defocus_blur(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """A disk, its edge softened by a Gaussian."""
    radius, softness = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[level]
    radius = radius * _scale(x)
    reach = max(1, math.ceil(radius) + 1)
    place = torch.arange(-reach, reach + 1, dtype=torch.float64)
    distance = torch.hypot(*torch.meshgrid(place, place, indexing="ij"))
    kernel = ((radius - distance) / max(softness, 0.1) + 0.5).clamp(0, 1)
    kernel[reach, reach] = max(kernel[reach, reach].item(), 1e-3)
    return _filter(x, kernel / kernel.sum())


def motion_blur(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """A trail of Gaussian weights in one direction, drawn for each image within 45° of the horizontal."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[level]
    scale = _scale(x)
    length = max(2, round(2 * radius * scale) + 1)
    steps = torch.arange(length, dtype=torch.float64)
    weights = torch.exp(-0.5 * (steps / max(sigma * scale, 1e-3)) ** 2)
    weights = weights / weights.sum()
    angles = (torch.rand(len(x), generator=generator, dtype=torch.float64) - 0.5) * math.pi / 2
    out = []
    for image, angle in zip(x, angles.tolist()):
        rows, columns = (steps * math.sin(angle)).round().long(), (steps * math.cos(angle)).round().long()
        kernel = torch.zeros(2 * length + 1, 2 * length + 1, dtype=torch.float64)
        kernel.index_put_((length + rows, length + columns), weights, accumulate=True)
        out.append(_filter(image[None], kernel))
    return torch.cat(out)


def zoom_blur(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """The mean of the image and of several enlarged ones."""
    stop, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[level]
    factors = np.arange(1, stop, step)
    total = x.clone()
    for factor in factors.tolist():
        corners = torch.tensor([[1 / factor, 0.0, 0.0], [0.0, 1 / factor, 0.0]]).to(x)
        grid = F.affine_grid(corners.expand(len(x), -1, -1), list(x.shape), align_corners=False)
        total = total + F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return total / (len(factors) + 1)


def fog(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """A cloud from the diamond-square algorithm, added, with the brightest value kept."""
    strength, decay = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[level]
    height, width = x.shape[-2:]
    clouds = torch.stack([plasma(max(height, width), decay, generator)[:height, :width] for _ in x])[:, None].to(x)
    peak = x.amax(dim=(1, 2, 3), keepdim=True)
    return (x + strength * clouds) * peak / (peak + strength)


def brightness(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """The V of HSV raised: hue and saturation stay."""
    value = x.amax(dim=1, keepdim=True)
    raised = (value + (0.1, 0.2, 0.3, 0.4, 0.5)[level]).clamp(max=1)
    return torch.where(value > 0, x * raised / value.clamp(min=1e-8), raised)


def contrast(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Every channel pulled towards its mean."""
    factor = (0.4, 0.3, 0.2, 0.1, 0.05)[level]
    mean = x.mean(dim=(2, 3), keepdim=True)
    return (x - mean) * factor + mean


def pixelate(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Fewer pixels, enlarged again."""
    factor = (0.6, 0.5, 0.4, 0.3, 0.25)[level]
    size = [max(1, int(length * factor)) for length in x.shape[-2:]]
    return F.interpolate(F.interpolate(x, size=size, mode="area"), size=x.shape[-2:], mode="nearest-exact")


def jpeg(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Encoded and decoded at a low quality."""
    quality = (25, 18, 15, 10, 7)[level]
    if x.shape[1] not in (1, 3):
        raise ConfigError(f"JPEG holds 1 or 3 channels, not {x.shape[1]}")
    out = []
    for pixels in (x.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy():
        buffer = io.BytesIO()
        Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "JPEG", quality=quality)
        decoded = np.asarray(Image.open(buffer))
        out.append(torch.from_numpy(decoded.reshape(pixels.shape).copy()).permute(2, 0, 1))
    return torch.stack(out).to(x) / 255


CORRUPTIONS: Mapping[str, Callable[[Tensor, int, torch.Generator], Tensor]] = {
    "gaussian_noise": gaussian_noise, "shot_noise": shot_noise, "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur, "motion_blur": motion_blur, "zoom_blur": zoom_blur,
    "fog": fog, "brightness": brightness, "contrast": contrast, "pixelate": pixelate, "jpeg": jpeg,
}  # fmt: skip


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


def _scale(x: Tensor) -> float:
    return min(x.shape[-2:]) / REFERENCE


def _filter(x: Tensor, kernel: Tensor) -> Tensor:
    """``[B, C, H, W]`` filtered by ``[k, l]`` with odd sides; the margin repeats the edge."""
    margin = (kernel.shape[1] // 2,) * 2 + (kernel.shape[0] // 2,) * 2
    weight = kernel.to(x)[None, None].expand(x.shape[1], 1, -1, -1)
    return F.conv2d(F.pad(x, margin, mode="replicate"), weight, groups=x.shape[1])
