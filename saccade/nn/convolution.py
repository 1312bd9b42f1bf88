"""Convolution, the same small filter at every position, and the blocks of convolutional networks and hybrids.

B batch, C channels, H x W positions.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]  # channels -> normalisation
Conv = Callable[[int, int, int, int], nn.Module]  # channels in and out, kernel size, stride -> what mixes places

ONEDNN_BLOCK = 16  # channels that oneDNN computes at once with AVX-512


def conv2d(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A convolution without bias; an odd kernel keeps the size at stride 1."""
    margin = dilation * (kernel_size // 2)
    narrow = kernel_size == 1 and stride > 1 and in_channels < ONEDNN_BLOCK
    kind = PointConv2d if narrow else nn.Conv2d
    return kind(in_channels, out_channels, kernel_size, stride, margin, dilation, bias=False)


class PointConv2d(nn.Conv2d):
    """A strided 1 x 1 convolution, computed with stride 1 at every `stride`-th position; the result is the same.

    With fewer input channels than its block size, oneDNN's backward pass of a strided one writes past its workspace in
    channels-last memory (uxlfoundation/oneDNN issue 6035): the process ends, or the gradient is wrong.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(at_every_position(input, self.stride), self.weight, self.bias)


def at_every_position(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """The positions that a strided 1 x 1 convolution reads: ``[B, C, H, W]`` -> ``[B, C, H / s, W / s]``, rounded
    up."""
    return x[..., :: stride[0], :: stride[1]]


class ConvNorm(nn.Sequential):
    """Convolution without bias, normalisation, nonlinearity: ``[B, C, H, W]`` -> ``[B, C', H / stride, W / stride]``.

    Odd kernels keep the size at stride 1. ``act=None`` leaves the nonlinearity out. ``conv`` builds the spatial layer
    if that is not a plain convolution: a standardised one, or attention.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        norm: Norm = nn.BatchNorm2d,
        act: Callable[[], nn.Module] | None = nn.ReLU,
        conv: Conv = conv2d,
    ):
        layers: list[nn.Module] = [conv(in_channels, out_channels, kernel_size, stride), norm(out_channels)]
        if act is not None:
            layers.append(act())
        super().__init__(*layers)


class FrozenBatchNorm2d(nn.Module):
    """Batch norm with frozen statistics and factors: the few images per step of a detector would spoil the
    statistics."""

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias, mean, variance = (b[:, None, None] for b in self.buffers(recurse=False))
        scale = weight * (variance + self.eps).rsqrt()
        return x * scale + (bias - mean * scale)


class StdConv2d(nn.Conv2d):
    """Convolution whose filters are first standardised to mean 0 and variance 1 (Qiao et al., arXiv 1903.10520).

    With group norm it replaces batch norm in BiT and in the hybrid ViTs' stem. ``same`` pads as TensorFlow does,
    otherwise by half the kernel on each side.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        same: bool = False,
        eps: float = 1e-5,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, 0 if same else kernel_size // 2, bias=False)
        self.same = same
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        weight = (self.weight - mean) * torch.rsqrt(variance + self.eps)
        if self.kernel_size == (1, 1) and self.in_channels < ONEDNN_BLOCK:  # see PointConv2d
            return F.conv2d(at_every_position(x, self.stride), weight, self.bias)
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

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, norm: Norm = nn.BatchNorm2d, *, pad: bool = False
    ):
        super().__init__()
        self.conv1 = ConvNorm(in_channels, channels, 3, stride, norm=norm)
        self.conv2 = ConvNorm(channels, channels, 3, norm=norm, act=None)
        self.shortcut = _shortcut(in_channels, channels, stride, norm)
        if pad and not isinstance(self.shortcut, nn.Identity):
            self.shortcut = PaddedShortcut(channels - in_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(self.conv1(x)) + self.shortcut(x))


class PaddedShortcut(nn.Module):
    """A shortcut without parameters, option A of He et al. (arXiv 1512.03385): every `stride`-th position, with
    channels of zeros added, half of them in front.

    Args:
        extra: number of channels of zeros.
        stride: of both axes.
    """

    def __init__(self, extra: int, stride: int):
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, h, w]`` -> ``[B, C + extra, h / stride, w / stride]``, rounded up."""
        front = self.extra // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, front, self.extra - front))


class Bottleneck(nn.Module):
    """1 x 1 down, 3 x 3, 1 x 1 up, and a shortcut: ResNet-50 and deeper.

    Args:
        in_channels: of the input.
        channels: of the middle; the output has four times as many.
        stride: of the middle, as in torchvision ("v1.5").
        norm: after each convolution.
        width: of the middle where it is not `channels` (Wide ResNet).
        conv: makes each convolution.
        spatial: makes the middle layer if it is not a convolution: attention in a local or axial ResNet.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        norm: Norm = nn.BatchNorm2d,
        width: int | None = None,
        conv: Conv = conv2d,
        spatial: Conv | None = None,
    ):
        super().__init__()
        width = channels if width is None else width
        out_channels = channels * self.expansion
        self.conv1 = ConvNorm(in_channels, width, 1, norm=norm, conv=conv)
        self.conv2 = ConvNorm(width, width, 3, stride, norm=norm, conv=conv if spatial is None else spatial)
        self.conv3 = ConvNorm(width, out_channels, 1, norm=norm, act=None, conv=conv)
        self.shortcut = _shortcut(in_channels, out_channels, stride, norm, conv)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x))


class PreActBlock(nn.Module):
    """Norm and nonlinearity before each convolution, and none on the shortcut (He et al., arXiv 1603.05027).

    Args:
        widths: channels from the input to the output: three for two 3 x 3 convolutions (WRN), four for 1 x 1, 3 x 3,
            1 x 1 (BiT).
        stride: of the first 3 x 3.
        norm: before each nonlinearity.
        conv: makes each convolution.
        project: whether the shortcut has a convolution; its input is the normalised one.
    """

    def __init__(self, widths: tuple[int, ...], stride: int, norm: Norm, conv: Conv, project: bool):
        super().__init__()
        kernels = (3, 3) if len(widths) == 3 else (1, 3, 1)
        steps = (stride, 1) if len(widths) == 3 else (1, stride, 1)
        self.norms = nn.ModuleList(norm(channels) for channels in widths[:-1])
        self.convs = nn.ModuleList(conv(*ends, k, s) for ends, k, s in zip(pairwise(widths), kernels, steps))
        self.shortcut = conv(widths[0], widths[-1], 1, stride) if project else None

    def forward(self, x: Tensor) -> Tensor:
        out, shortcut = x, x
        for index, (norm, conv) in enumerate(zip(self.norms, self.convs)):
            out = F.relu(norm(out))
            if index == 0 and self.shortcut is not None:
                shortcut = self.shortcut(out)
            out = conv(out)
        return out + shortcut


class MixerBlock(nn.Module):
    """A depthwise convolution, then a pointwise convolution that mixes channels: ConvMixer's block.

    ``[B, C, H, W]`` -> ``[B, C, H, W]``; ``kernel_size`` is odd. Each norm follows the nonlinearity.
    """

    def __init__(self, channels: int, kernel_size: int, act: Callable[[], nn.Module] = nn.GELU):
        super().__init__()
        filters = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.spatial = nn.Sequential(filters, act(), nn.BatchNorm2d(channels))
        self.mix = nn.Sequential(nn.Conv2d(channels, channels, 1), act(), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x + self.spatial(x))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels at each position: ``[B, C, H, W]`` -> ``[B, C, H, W]``."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvStem(nn.Sequential):
    """3 x 3 convolutions instead of one large patch (Xiao et al., arXiv 2106.14881).

    ``[B, C, H, W]`` -> ``[B, D, H / s, W / s]`` for ``strides`` (2 each by default) whose product is s; the last is a
    1 x 1 to the tokens' width D.
    """

    def __init__(
        self,
        in_channels: int,
        channels: tuple[int, ...],
        embed_dim: int,
        strides: tuple[int, ...] | None = None,
        norm: Norm = nn.BatchNorm2d,
    ):
        widths = (in_channels, *channels)
        strides = (2,) * len(channels) if strides is None else strides
        stages = [ConvNorm(a, b, 3, stride, norm=norm) for (a, b), stride in zip(pairwise(widths), strides)]
        super().__init__(*stages, nn.Conv2d(widths[-1], embed_dim, 1))


def preferred_memory_format(model: nn.Module) -> torch.memory_format:
    """Memory format of a model's 4-d weights: channels last where most of the work is convolutions.

    It trained small detectors 1.2 times as fast on two cores; for a patch embedding alone it changes nothing.
    """
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    return torch.channels_last if convolutions > 4 else torch.contiguous_format


def _shortcut(in_channels: int, out_channels: int, stride: int, norm: Norm, conv: Conv = conv2d) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return ConvNorm(in_channels, out_channels, 1, stride, norm=norm, act=None, conv=conv)
