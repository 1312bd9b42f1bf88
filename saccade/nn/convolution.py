"""Convolution: the same small filter at every place. The blocks of the networks before and beside the transformer.

B batch, C channels, H x W places.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]  # channels -> normalisation


class ConvNorm(nn.Sequential):
    """Convolution without bias, normalisation, nonlinearity: ``[B, C, H, W]`` -> ``[B, C', H / stride, W / stride]``.

    Odd kernels keep the size at stride 1. ``act=None`` leaves the nonlinearity out.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        norm: Norm = nn.BatchNorm2d,
        act: Callable[[], nn.Module] | None = nn.ReLU,
    ):
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False),
            norm(out_channels),
        ]
        if act is not None:
            layers.append(act())
        super().__init__(*layers)


class StdConv2d(nn.Conv2d):
    """Convolution whose filters are brought to mean 0 and variance 1 first (Qiao et al., arXiv 1903.10520).

    With group norm it replaces batch norm in BiT and in the hybrid ViTs' stem.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | str = 0,
        bias: bool = False,
        eps: float = 1e-5,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, 0 if padding == "same" else padding, bias=bias)
        self.same = padding == "same"
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        weight = (self.weight - mean) * torch.rsqrt(variance + self.eps)
        if self.same:
            x = pad_same(x, self.kernel_size, self.stride)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


def pad_same(x: Tensor, kernel_size: tuple[int, ...], stride: tuple[int, ...], value: float = 0.0) -> Tensor:
    """Pad as TensorFlow and Flax do for "SAME": output ceil(size / stride), the odd pixel at the right and bottom."""
    margins: list[int] = []
    for length, kernel, step in zip(x.shape[-2:], kernel_size, stride):
        total = max((-(-length // step) - 1) * step + kernel - length, 0)
        margins = [total // 2, total - total // 2, *margins]  # F.pad takes the last axis first
    return F.pad(x, margins, value=value)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al., arXiv 1512.03385): ResNet-18 and -34."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int = 1, norm: Norm = nn.BatchNorm2d):
        super().__init__()
        self.conv1 = ConvNorm(in_channels, channels, 3, stride, norm=norm)
        self.conv2 = ConvNorm(channels, channels, 3, norm=norm, act=None)
        self.shortcut = _shortcut(in_channels, channels, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(self.conv1(x)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1 x 1 down, 3 x 3, 1 x 1 up, and a shortcut: ResNet-50 and deeper; ``width`` widens the middle (Wide ResNet)."""

    expansion = 4

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, norm: Norm = nn.BatchNorm2d, width: int | None = None
    ):
        super().__init__()
        width = channels if width is None else width
        out_channels = channels * self.expansion
        self.conv1 = ConvNorm(in_channels, width, 1, norm=norm)
        self.conv2 = ConvNorm(width, width, 3, stride, norm=norm)  # the stride is here, as in torchvision ("v1.5")
        self.conv3 = ConvNorm(width, out_channels, 1, norm=norm, act=None)
        self.shortcut = _shortcut(in_channels, out_channels, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x))


class DepthwiseBlock(nn.Module):
    """A filter for each channel alone, then a mixture of the channels at each place: ConvMixer's and ConvNeXt's idea.

    ``[B, C, H, W]`` -> ``[B, C, H, W]``; ``kernel_size`` is odd.
    """

    def __init__(self, channels: int, kernel_size: int, norm: Norm = nn.BatchNorm2d):
        super().__init__()
        self.spatial = ConvNorm(channels, channels, kernel_size, groups=channels, norm=norm, act=nn.GELU)
        self.mix = ConvNorm(channels, channels, 1, norm=norm, act=nn.GELU)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x + self.spatial(x))


class ConvStem(nn.Sequential):
    """3 x 3 convolutions of stride 2 instead of one large patch (Xiao et al., arXiv 2106.14881).

    ``[B, C, H, W]`` -> ``[B, D, H / 2^n, W / 2^n]`` for n ``channels``; the last is a 1 x 1 to the tokens' width D.
    """

    def __init__(self, in_channels: int, channels: tuple[int, ...], embed_dim: int, norm: Norm = nn.BatchNorm2d):
        widths = (in_channels, *channels)
        stages = [ConvNorm(a, b, 3, stride=2, norm=norm) for a, b in pairwise(widths)]
        super().__init__(*stages, nn.Conv2d(widths[-1], embed_dim, 1))


def _shortcut(in_channels: int, out_channels: int, stride: int, norm: Norm) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return ConvNorm(in_channels, out_channels, 1, stride, norm=norm, act=None)
