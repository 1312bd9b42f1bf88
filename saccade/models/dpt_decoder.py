"""The decoder of DPT (Ranftl et al., arXiv 2103.13413): reassembly of tokens into maps, fusion of maps, heads.

B batch, N tokens, D width, C channels, F features of the decoder, K classes.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.nn.tokens import TokenLayout

Readout = Literal["ignore", "add", "project"]

HEAD_CHANNELS = 32  # before the last convolution of a head for depth


class Reassemble(nn.Module):
    """Tokens ``[B, N, D]`` -> a map ``[B, C, s h, s w]`` for a grid h x w of patches.

    Args:
        dim: D.
        channels: C.
        scale: s, 4, 2, 1 or 1/2.
        readout: use of the class token.
    """

    def __init__(self, dim: int, channels: int, scale: float, readout: Readout):
        super().__init__()
        self.how = readout
        self.readout = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU()) if readout == "project" else nn.Identity()
        self.project = nn.Conv2d(dim, channels, 1)
        self.resize: nn.Module = nn.Identity()
        if scale > 1:
            self.resize = nn.ConvTranspose2d(channels, channels, int(scale), int(scale))
        elif scale < 1:
            self.resize = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, tokens: Tensor, layout: TokenLayout) -> Tensor:
        prefix, patches = layout.split(tokens)
        gathered = prefix[:, :1].expand_as(patches)
        if self.how == "project":
            patches = self.readout(torch.cat((patches, gathered), dim=-1))
        elif self.how == "add":
            patches = patches + gathered
        return self.resize(self.project(patches.transpose(1, 2).unflatten(2, layout.grid)))


class ResidualUnit(nn.Module):
    """Two 3 x 3 convolutions, each after its nonlinearity, and a shortcut: ``[B, F, h, w]`` -> the same shape."""

    def __init__(self, features: int, batch_norm: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1, bias=not batch_norm)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1, bias=not batch_norm)
        self.norm1 = nn.BatchNorm2d(features) if batch_norm else nn.Identity()
        self.norm2 = nn.BatchNorm2d(features) if batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(F.relu(x))))))


class Fusion(nn.Module):
    """Add a finer map to the fused map, and double the size."""

    def __init__(self, features: int, batch_norm: bool):
        super().__init__()
        self.added = ResidualUnit(features, batch_norm)  # published with the deepest fusion too, which does not use it
        self.fused = ResidualUnit(features, batch_norm)
        self.out = nn.Conv2d(features, features, 1)

    def forward(self, x: Tensor, finer: Tensor | None = None, size: tuple[int, int] | None = None) -> Tensor:
        """``[B, F, h, w]`` and a map of that size -> ``[B, F, *size]``, or ``[B, F, 2h, 2w]`` without a size."""
        if finer is not None:
            if finer.shape[-2:] != x.shape[-2:]:  # an odd number of patches
                finer = F.interpolate(finer, size=x.shape[-2:], mode="bilinear", align_corners=False)
            x = x + self.added(finer)
        x = self.fused(x)
        return self.out(doubled(x) if size is None else resized(x, size))


class Doubled(nn.Module):
    """Bilinear upsampling by 2, with aligned corners."""

    def forward(self, x: Tensor) -> Tensor:
        return doubled(x)


def doubled(x: Tensor) -> Tensor:
    """Bilinear upsampling by 2, with aligned corners."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Another height and width, bilinear, corners on corners."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def depth_head(features: int) -> nn.Sequential:
    """``[B, F, h, w]`` -> ``[B, 1, 2h, 2w]``, non-negative."""
    half = nn.Conv2d(features, features // 2, 3, padding=1)
    return nn.Sequential(
        half, Doubled(), nn.Conv2d(features // 2, HEAD_CHANNELS, 3, padding=1), nn.ReLU(),
        nn.Conv2d(HEAD_CHANNELS, 1, 1), nn.ReLU(),
    )  # fmt: skip


def class_head(features: int, num_classes: int) -> nn.Sequential:
    """``[B, F, h, w]`` -> ``[B, K, h, w]`` logits."""
    first = nn.Conv2d(features, features, 3, padding=1, bias=False)
    last = nn.Conv2d(features, num_classes, 1)
    return nn.Sequential(first, nn.BatchNorm2d(features), nn.ReLU(), nn.Dropout(0.1), last)
