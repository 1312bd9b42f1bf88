"""The steps of preprocessing, for PIL images and for tensors ``[C, H, W]``, bitwise equal to torchvision's.

torchvision is not imported: its operators import PyTorch's compiler, which takes as long as PyTorch itself, and a
prediction needs neither.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Size = tuple[int, int]  # (H, W) in pixels


def get_size(image: Image.Image | Tensor) -> Size:
    """(H, W) in pixels."""
    return (image.height, image.width) if isinstance(image, Image.Image) else (image.shape[-2], image.shape[-1])


def resize(image: Image.Image | Tensor, size: Sequence[int], interpolation: Interpolation) -> Any:
    """Resize to (H, W) pixels, with antialiasing for smooth interpolations."""
    if get_size(image) == tuple(size):
        return image
    if isinstance(image, Image.Image):
        return image.resize((size[1], size[0]), Image.Resampling[interpolation.upper()])
    smooth = interpolation != "nearest"
    direct = image.dtype in (torch.float32, torch.float64) or (
        image.dtype == torch.uint8 and (not smooth or _resizes_bytes(image, interpolation))
    )
    batch = _as_batch(image if direct else image.float())
    out = F.interpolate(
        batch, list(size), mode=interpolation, align_corners=False if smooth else None, antialias=smooth
    )[0]
    if direct:
        return out
    if image.dtype == torch.uint8 and interpolation in ("bicubic", "lanczos"):
        out = out.clamp_(0, 255)
    return (out if image.is_floating_point() else out.round_()).to(image.dtype)


def _resizes_bytes(image: Tensor, interpolation: Interpolation) -> bool:
    """Whether PyTorch interpolates 8-bit levels natively."""
    if image.device.type != "cpu":
        return False
    return interpolation == "bicubic" or (
        interpolation == "bilinear" and torch.backends.cpu.get_cpu_capability().startswith("AVX")
    )


def _as_batch(image: Tensor) -> Tensor:
    """``[1, C, H, W]``. Interleaved channels are marked as channels last, which is ambiguous for a batch of one."""
    batch = image[None]
    if batch.is_contiguous(memory_format=torch.channels_last) and not batch.is_contiguous():
        return batch.as_strided(batch.shape, (image.numel(), *image.stride()))
    return batch


def crop(image: Image.Image | Tensor, top: int, left: int, height: int, width: int) -> Any:
    """Crop a part that is inside the image."""
    if isinstance(image, Image.Image):
        return image.crop((left, top, left + width, top + height))
    return image[..., top : top + height, left : left + width]


def flip(image: Image.Image | Tensor) -> Any:
    """Flip horizontally."""
    if isinstance(image, Image.Image):
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image.flip(-1)


def center_crop(image: Image.Image | Tensor, size: Sequence[int]) -> Any:
    """Centre crop of an image of at least (H, W) pixels."""
    top, left = (round((length - inner) / 2.0) for length, inner in zip(get_size(image), size))
    return crop(image, top, left, size[0], size[1])


def pad(image: Image.Image | Tensor, size: Size, top: int, left: int, fill: Sequence[float]) -> Any:
    """Pad an image to (H, W) pixels with a value for each channel."""
    height, width = get_size(image)
    if isinstance(image, Image.Image):
        margins = (left, top, size[1] - width - left, size[0] - height - top)
        return ImageOps.expand(image, margins, tuple(int(level) for level in fill))
    values = torch.tensor(fill, device=image.device).to(image.dtype)[:, None, None]
    out = values.expand(image.shape[0], *size).clone()
    out[:, top : top + height, left : left + width] = image
    return out


def to_tensor(image: Image.Image) -> Tensor:
    """``[C, H, W]`` with the image's levels."""
    return torch.from_numpy(np.array(image).reshape(image.height, image.width, -1)).permute(2, 0, 1)


def to_unit(pixels: Tensor) -> Tensor:
    """Convert to float32: integer levels are divided by the largest of their type; float values are not changed."""
    if pixels.is_floating_point():
        return pixels.to(torch.float32)
    largest = 1 if pixels.dtype == torch.bool else torch.iinfo(pixels.dtype).max
    return pixels.to(torch.float32).mul_(1.0 / largest)


def normalize(values: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """``[C, H, W]`` less mean, over std."""
    less, over = (torch.tensor(x, dtype=values.dtype, device=values.device)[:, None, None] for x in (mean, std))
    return values.sub(less).div_(over)
