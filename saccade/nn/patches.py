"""Patch embedding: split an image into patches and embed each of them linearly (Dosovitskiy et al., arXiv 2010.11929).

B batch, C channels, H x W pixels, p x q patch size, h x w grid of patches, N = h * w, D width of a token.
"""

from typing import NamedTuple

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

Size = tuple[int, int]


class Patches(NamedTuple):
    """Tokens of an image and their grid."""

    tokens: Tensor  # [B, h*w, D], row by row
    grid: Size  # (h, w)
    valid: Tensor | None  # [B, h*w] boolean, False where a patch is padding alone; None: all are image


def patchify(images: Tensor, patch_size: Size) -> Tensor:
    """``[B, C, H, W]`` -> ``[B, h*w, p*q*C]``: the pixels of each patch row by row, channels last as in MAE."""
    require_multiple(images.shape[-2:], patch_size)
    (p, q), (height, width) = patch_size, images.shape[-2:]
    x = images.unflatten(3, (width // q, q)).unflatten(2, (height // p, p))  # [B, C, h, p, w, q]
    return x.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def unpatchify(patches: Tensor, grid: Size, patch_size: Size) -> Tensor:
    """``[B, h*w, p*q*C]`` -> ``[B, C, H, W]``: the inverse of :func:`patchify`."""
    x = patches.unflatten(2, (*patch_size, -1)).unflatten(1, grid)  # [B, h, w, p, q, C]
    return x.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)


def linear_weight(kernel: Tensor) -> Tensor:
    """A convolution's kernel ``[D, C, p, q]`` as the weight ``[D, p*q*C]`` of a ``Linear`` on such rows."""
    return kernel.permute(0, 2, 3, 1).flatten(1)


def conv_kernel(weight: Tensor, patch_size: Size) -> Tensor:
    """The inverse of :func:`linear_weight`: ``[D, p*q*C]`` -> ``[D, C, p, q]``."""
    return weight.unflatten(1, (*patch_size, -1)).permute(0, 3, 1, 2)


def require_multiple(size: tuple[int, ...], patch_size: Size) -> None:
    """Raise an error for an image size that is not a multiple of the patch size; the message gives the nearest valid
    sizes."""
    if all(length % patch == 0 and length > 0 for length, patch in zip(size, patch_size)):
        return
    nearest = []
    for length, patch in zip(size, patch_size):
        below = length // patch * patch
        nearest.append([n for n in dict.fromkeys((below, below + (length % patch > 0) * patch)) if n > 0] or [patch])
    legal = " or ".join(f"{h} x {w}" for h in nearest[0] for w in nearest[1])
    raise ValueError(
        f"an image of {size[0]} x {size[1]} pixels cannot be cut into patches of {patch_size[0]} x {patch_size[1]}: "
        f"resize it to {legal}, or use pad=True"
    )


def valid_patches(valid: Tensor | None, patch_size: Size) -> Tensor | None:
    """Which patches contain any pixel of the image: ``[B, H, W]`` -> ``[B, h*w]`` boolean; None if all do."""
    if valid is None:
        return None
    return F.max_pool2d(valid[:, None].float(), patch_size).flatten(1).bool()


# These decide by sizes and arguments, which torch.fx does not follow: each is one node of a traced graph.
torch.fx.wrap("require_multiple")
torch.fx.wrap("_require_batch")
torch.fx.wrap("valid_patches")


def pad_images(images: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Images ``[C, H_i, W_i]`` of any sizes -> one batch ``[B, C, H, W]``, zeros at the right and the bottom, and
    which pixels are image, ``[B, H, W]`` boolean."""
    height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
    batch = images[0].new_zeros(len(images), images[0].shape[0], height, width)
    valid = torch.zeros(len(images), height, width, dtype=torch.bool, device=batch.device)
    for i, image in enumerate(images):
        batch[i, :, : image.shape[-2], : image.shape[-1]] = image
        valid[i, : image.shape[-2], : image.shape[-1]] = True
    return batch, valid


def require_images(images: Tensor, in_channels: int) -> None:
    """Raise an error unless the input is a batch of images ``[B, in_channels, H, W]`` of floating-point values."""
    _require_batch(images, in_channels)


def _require_batch(images: Tensor, in_channels: int) -> None:
    if images.ndim == 4 and images.shape[1] == in_channels and images.is_floating_point():
        return
    shape = list(images.shape)
    if images.ndim == 3:
        raise ValueError(
            f"a model takes a batch of images [B, {in_channels}, H, W], not one image {shape}: use images[None]"
        )
    if images.ndim != 4:
        raise ValueError(f"a model takes a batch of images [B, {in_channels}, H, W], not a tensor {shape}")
    if images.shape[1] != in_channels:
        last = shape[3] == in_channels
        advice = (
            "its channels are last: use images.permute(0, 3, 1, 2)"
            if last
            else f"build or load the model with in_channels={shape[1]}"
        )
        raise ValueError(f"the model has in_channels={in_channels}, and the images {shape} have {shape[1]}: {advice}")
    raise ValueError(
        f"a model takes normalised images in floating point, not {images.dtype}: predictor.prepare(image) gives them"
    )


class PatchEmbed(nn.Module):
    """Linear embedding of patches, written as a convolution whose stride is its kernel size.

    Args:
        patch_size: (p, q) in pixels.
        in_channels: C.
        embed_dim: D.
        bias: whether the embedding has a bias.
        pad: whether an image whose size is not a multiple of the patch size is padded with zeros at the right and the
            bottom; otherwise it is an error.
        crop: whether rows and columns of pixels beyond the last whole patch are ignored instead.
    """

    def __init__(
        self,
        patch_size: Size,
        in_channels: int,
        embed_dim: int,
        *,
        bias: bool = True,
        pad: bool = False,
        crop: bool = False,
    ):
        super().__init__()
        if pad and crop:
            raise ValueError("an image is padded or cropped to whole patches, not both: choose pad or crop")
        self.patch_size = patch_size
        self.in_channels = in_channels
        self.pad = pad
        self.crop = crop
        self.proj = nn.Conv2d(in_channels, embed_dim, patch_size, stride=patch_size, bias=bias)

    def forward(self, images: Tensor, valid: Tensor | None = None) -> Patches:
        """``[B, C, H, W]``, and for padded batches which pixels are image ``[B, H, W]``, -> :class:`Patches`.

        With ``pad=True`` the result always includes which patches contain part of the image.
        """
        require_images(images, self.in_channels)
        if self.pad:
            if valid is None:
                valid = torch.ones(images.shape[0], *images.shape[-2:], dtype=torch.bool, device=images.device)
            margins = self.margins(images.shape[-2:])
            images, valid = F.pad(images, margins), F.pad(valid, margins)
        elif not self.crop:
            require_multiple(images.shape[-2:], self.patch_size)
        features = self.proj(images)  # [B, D, h, w]
        grid = (features.shape[-2], features.shape[-1])
        return Patches(features.flatten(2).transpose(1, 2), grid, valid_patches(valid, self.patch_size))

    def grid(self, size: tuple[int, ...]) -> Size:
        """(rows, columns) of patches for an image of ``size`` (H, W) pixels."""
        if self.crop:
            return size[0] // self.patch_size[0], size[1] // self.patch_size[1]
        if not self.pad:
            require_multiple(size, self.patch_size)
        return -(-size[0] // self.patch_size[0]), -(-size[1] // self.patch_size[1])

    def margins(self, size: tuple[int, ...]) -> tuple[int, int, int, int]:
        """Pixels to add at (left, right, top, bottom), as ``F.pad`` takes them."""
        return 0, -size[1] % self.patch_size[1], 0, -size[0] % self.patch_size[0]
