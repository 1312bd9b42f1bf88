"""Common corruptions of images: noise, blur, weather, digital; five severities each.

The definitions of Hendrycks & Dietterich, arXiv 1903.12261 (ImageNet-C), which are for 224 x 224 pixels; lengths in
pixels are scaled with the shorter side. This is a seeded reimplementation on tensors, so single pixels differ from the
published files. Frost, which uses photographs of frozen panes, is replaced by rime, whose crystals are synthetic.

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

from saccade.analysis.image_filters import filtered, gaussian, scale_of, trails
from saccade.analysis.weather import fog, rime, snow, spatter
from saccade.errors import ConfigError

SEVERITIES = (1, 2, 3, 4, 5)


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


def speckle_noise(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Noise in proportion to the value."""
    scale = (0.15, 0.2, 0.35, 0.45, 0.6)[level]
    return x + x * scale * torch.randn(x.shape, generator=generator).to(x)


def impulse_noise(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Values that become 0 or 1, each with half of the probability."""
    amount = (0.03, 0.06, 0.09, 0.17, 0.27)[level]
    hit = (torch.rand(x.shape, generator=generator) < amount).to(x.device)
    salt = (torch.rand(x.shape, generator=generator) < 0.5).to(x)
    return torch.where(hit, salt, x)


def gaussian_blur(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    return gaussian(x, (1, 2, 3, 4, 6)[level] * scale_of(x))


def defocus_blur(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """A disk, its edge softened by a Gaussian."""
    radius, softness = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[level]
    radius = radius * scale_of(x)
    reach = max(1, math.ceil(radius) + 1)
    place = torch.arange(-reach, reach + 1, dtype=torch.float64)
    distance = torch.hypot(*torch.meshgrid(place, place, indexing="ij"))
    kernel = ((radius - distance) / max(softness, 0.1) + 0.5).clamp(0, 1)
    kernel[reach, reach] = max(kernel[reach, reach].item(), 1e-3)
    return filtered(x, kernel / kernel.sum())


def glass_blur(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Blurred, each pixel exchanged with a near one, and blurred again.

    The published code exchanges pixels one after the other. Here those that are too far apart to meet are exchanged at
    once, so the order differs and nothing else.
    """
    sigma, reach, times = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[level]
    sigma, reach = sigma * scale_of(x), max(1, round(reach * scale_of(x)))
    blurred = gaussian(x, sigma)
    height, width = x.shape[-2:]
    order = torch.arange(height * width).view(height, width)
    side = 2 * reach + 1
    for _ in range(times):
        for top in range(side):
            for left in range(side):
                rows = torch.arange(reach + top, height - reach, side)
                columns = torch.arange(reach + left, width - reach, side)
                if not len(rows) or not len(columns):
                    continue
                y, x_ = torch.meshgrid(rows, columns, indexing="ij")
                offsets = torch.randint(-reach, reach, (2, *y.shape), generator=generator)
                others = (y + offsets[0], x_ + offsets[1])
                order[y, x_], order[others] = order[others], order[y, x_]
    shuffled = blurred.flatten(2)[..., order.flatten().to(x.device)].view_as(x)
    return gaussian(shuffled, sigma)


def motion_blur(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """A trail of Gaussian weights in one direction, drawn for each image within 45° of the horizontal."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[level]
    angles = (torch.rand(len(x), generator=generator, dtype=torch.float64) - 0.5) * math.pi / 2
    return trails(x, radius * scale_of(x), sigma * scale_of(x), angles.tolist())


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


def brightness(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """The V of HSV raised: hue and saturation stay."""
    value = x.amax(dim=1, keepdim=True)
    raised = (value + (0.1, 0.2, 0.3, 0.4, 0.5)[level]).clamp(max=1)
    return torch.where(value > 0, x * raised / value.clamp(min=1e-8), raised)


def saturate(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """The S of HSV multiplied, and raised: hue and value stay; grey pixels of colour images become reddish where it is
    raised, as in the published code. Images of other than three channels have no saturation and stay as they are."""
    factor, offset = ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))[level]
    if x.shape[1] != 3:
        return x
    value = x.amax(dim=1, keepdim=True)
    chroma = value - x.amin(dim=1, keepdim=True)
    saturation = chroma / value.clamp(min=1e-8)
    raised = (saturation * factor + offset).clamp(0, 1)
    distance = (value - x) / chroma.clamp(min=1e-8)  # in [0, 1] from the brightest channel
    red = torch.tensor([0.0, 1.0, 1.0]).to(x)[None, :, None, None]
    return value * (1 - raised * torch.where(chroma > 1e-6, distance, red))


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


def elastic(x: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """A random affine map, then a smooth random displacement of every pixel; the margin is mirrored.

    The published strengths are no scale: 1 and 2 bend the whole image, 3 to 5 wrinkle it.
    """
    strength, sigma, corner = (
        (244 * 2, 244 * 0.7, 244 * 0.1), (244 * 2, 244 * 0.08, 244 * 0.2), (244 * 0.05, 244 * 0.01, 244 * 0.02),
        (244 * 0.07, 244 * 0.01, 244 * 0.02), (244 * 0.12, 244 * 0.01, 244 * 0.02),
    )[level]  # fmt: skip
    scale = scale_of(x)
    # Smoothed noise falls as 1 / sigma, so its factor grows with the square of the scale.
    strength, sigma, corner = strength * scale**2, sigma * scale, corner * scale
    height, width = x.shape[-2:]
    out = []
    for image in x:
        noise = 2 * torch.rand(1, 2, height, width, generator=generator) - 1
        shift = gaussian(noise, sigma, truncate=3)[0] * strength  # in rows and columns
        signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]], dtype=torch.float64)
        middle = torch.tensor([height // 2, width // 2], dtype=torch.float64)
        before = middle + signs * max(min(height, width) // 3, 1)
        after = before + (2 * torch.rand(3, 2, generator=generator, dtype=torch.float64) - 1) * corner
        # [3, 2]: where a pixel of the result comes from; least squares, as moved corners can fall on a line
        matrix = torch.linalg.pinv(homogeneous(after)) @ before
        y, x_ = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        rows, columns = (homogeneous(torch.stack((y + shift[0], x_ + shift[1]), dim=-1).double()) @ matrix).unbind(-1)
        grid = torch.stack((2 * (columns + 0.5) / width - 1, 2 * (rows + 0.5) / height - 1), dim=-1)
        drawn = F.grid_sample(
            image[None], grid[None].to(x), mode="bilinear", padding_mode="reflection", align_corners=False
        )
        out.append(drawn)
    return torch.cat(out)


def homogeneous(points: Tensor) -> Tensor:
    """Points ``[..., 2]`` with a 1 behind each, ``[..., 3]``."""
    return torch.cat((points, torch.ones_like(points[..., :1])), dim=-1)


CORRUPTIONS: Mapping[str, Callable[[Tensor, int, torch.Generator], Tensor]] = {
    "gaussian_noise": gaussian_noise, "shot_noise": shot_noise, "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur, "glass_blur": glass_blur, "motion_blur": motion_blur, "zoom_blur": zoom_blur,
    "snow": snow, "rime": rime, "fog": fog, "brightness": brightness, "contrast": contrast, "elastic": elastic,
    "pixelate": pixelate, "jpeg": jpeg,
    "speckle_noise": speckle_noise, "gaussian_blur": gaussian_blur, "spatter": spatter, "saturate": saturate,
}  # fmt: skip
BENCHMARK = tuple(CORRUPTIONS)[:15]  # over which errors are averaged; the last four are for choosing hyperparameters
