"""Filters of images for the corruptions: lengths in pixels that follow the size of the image.

B images, C channels, H x W pixels.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

REFERENCE = 224  # pixels, of the shorter side for which lengths are defined


def scale_of(x: Tensor) -> float:
    """The factor of lengths in images ``[..., H, W]``: 1 for a shorter side of 224 pixels."""
    return min(x.shape[-2:]) / REFERENCE


def filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """``[B, C, H, W]`` filtered by ``[k, l]`` with odd sides; the margin repeats the edge."""
    margin = (kernel.shape[1] // 2,) * 2 + (kernel.shape[0] // 2,) * 2
    weight = kernel.to(x)[None, None].expand(x.shape[1], 1, -1, -1)
    return F.conv2d(F.pad(x, margin, mode="replicate"), weight, groups=x.shape[1])


def gaussian(x: Tensor, sigma: float, truncate: float = 4.0) -> Tensor:
    """``[B, C, H, W]`` blurred; the margin is mirrored, also where the filter is larger than the image."""
    widths = (0.0, 0.0, sigma, sigma)
    return torch.from_numpy(gaussian_filter(x.cpu().numpy(), widths, mode="reflect", truncate=truncate)).to(x)


def trails(x: Tensor, radius: float, sigma: float, angles: Sequence[float]) -> Tensor:
    """Each image of ``[B, C, H, W]`` with a trail of Gaussian weights of `radius` pixels on either side of its start,
    in its own direction (radians, from the horizontal towards the bottom)."""
    length = max(2, round(2 * radius) + 1)
    steps = torch.arange(length, dtype=torch.float64)
    weights = torch.exp(-0.5 * (steps / max(sigma, 1e-3)) ** 2)
    weights = weights / weights.sum()
    out = []
    for image, angle in zip(x, angles):
        rows, columns = (steps * math.sin(angle)).round().long(), (steps * math.cos(angle)).round().long()
        kernel = torch.zeros(2 * length + 1, 2 * length + 1, dtype=torch.float64)
        kernel.index_put_((length + rows, length + columns), weights, accumulate=True)
        out.append(filtered(image[None], kernel))
    return torch.cat(out)
