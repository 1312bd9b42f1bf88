"""Convolution blocks against torchvision's and timm's on the same weights."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet

from saccade.nn.convolution import (
    BasicBlock,
    Bottleneck,
    ConvNorm,
    ConvStem,
    MixerBlock,
    StdConv2d,
    conv2d,
    pad_same,
)


def randomise(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        for name, buffer in module.named_buffers():
            if "running_mean" in name:
                buffer.normal_()
            if "running_var" in name:
                buffer.uniform_(0.5, 2.0)
    return module.eval()


def copy_pair(ours: nn.Sequential, conv: nn.Module, norm: nn.Module) -> None:
    ours[0].load_state_dict(conv.state_dict())
    ours[1].load_state_dict(norm.state_dict())


@pytest.mark.parametrize("stride", [1, 2])
def test_residual_blocks_equal_torchvisions(stride: int) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 16, 9, 12)
    down = nn.Sequential(nn.Conv2d(16, 32, 1, stride, bias=False), nn.BatchNorm2d(32))
    theirs = randomise(resnet.BasicBlock(16, 32, stride, down))
    ours = BasicBlock(16, 32, stride).eval()
    copy_pair(ours.conv1, theirs.conv1, theirs.bn1)
    copy_pair(ours.conv2, theirs.conv2, theirs.bn2)
    copy_pair(ours.shortcut, theirs.downsample[0], theirs.downsample[1])
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)

    down = nn.Sequential(nn.Conv2d(16, 32, 1, stride, bias=False), nn.BatchNorm2d(32))
    theirs = randomise(resnet.Bottleneck(16, 8, stride, down, base_width=128))
    ours = Bottleneck(16, 8, stride, width=16).eval()
    for mine, conv, norm in (("conv1", "conv1", "bn1"), ("conv2", "conv2", "bn2"), ("conv3", "conv3", "bn3")):
        copy_pair(getattr(ours, mine), getattr(theirs, conv), getattr(theirs, norm))
    copy_pair(ours.shortcut, theirs.downsample[0], theirs.downsample[1])
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "padding"), [("StdConv2d", 1), ("StdConv2dSame", "same")])
@pytest.mark.parametrize("stride", [1, 2])
def test_standardised_filters_equal_timms(name: str, padding, stride: int) -> None:
    layers = pytest.importorskip("timm.layers")
    theirs = getattr(layers, name)(6, 8, 3, stride=stride, padding="SAME" if padding == "same" else 1, eps=1e-6)
    ours = StdConv2d(6, 8, 3, stride, same=padding == "same", eps=1e-6)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 6, 13, 10)
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)


def test_same_padding_puts_the_odd_pixel_behind() -> None:
    padded = pad_same(torch.ones(1, 1, 4, 5), (3, 3), (2, 2))
    assert tuple(padded.shape) == (1, 1, 5, 7)
    assert padded[0, 0, -1].tolist() == [0.0] * 7
    assert padded[0, 0, 0].tolist() == [0.0] + [1.0] * 5 + [0.0]


def test_shapes_of_the_other_blocks() -> None:
    images = torch.randn(2, 3, 64, 48)
    assert tuple(ConvStem(3, (8, 16, 32, 64), 96)(images).shape) == (2, 96, 4, 3)
    assert tuple(ConvNorm(3, 8, 5, stride=2)(images).shape) == (2, 8, 32, 24)
    block = MixerBlock(3, 7)
    assert tuple(block(images).shape) == (2, 3, 64, 48)
    assert block.spatial[0].weight.shape == (3, 1, 7, 7)


@pytest.mark.parametrize("channels", [4, 8, 12, 15, 16, 20])
@pytest.mark.parametrize("kind", ["plain", "standardised"])
def test_narrow_shortcuts_learn_in_channels_last(channels: int, kind: str) -> None:
    """oneDNN's own strided 1 x 1 convolution crashes here, or gives a wrong gradient, below 16 channels."""
    torch.manual_seed(0)
    make = conv2d if kind == "plain" else StdConv2d
    conv = make(channels, 16, 1, 2).to(memory_format=torch.channels_last)
    images = torch.randn(8, channels, 47, 48).to(memory_format=torch.channels_last)
    slope = torch.randn(8, 16, 24, 24)
    conv(images).backward(slope)
    exact = make(channels, 16, 1, 2).double()
    exact.load_state_dict(conv.state_dict())
    weight = exact.weight
    if kind == "standardised":
        variance, mean = torch.var_mean(weight, dim=(1, 2, 3), keepdim=True, correction=0)
        weight = (weight - mean) * torch.rsqrt(variance + 1e-5)
    output = torch.einsum("bchw,oc->bohw", images.double()[..., ::2, ::2], weight[..., 0, 0])
    torch.testing.assert_close(conv(images).double(), output, atol=1e-5, rtol=1e-5)
    output.backward(slope.double())
    assert conv.weight.grad is not None
    torch.testing.assert_close(conv.weight.grad.double(), exact.weight.grad, atol=1e-3, rtol=1e-4)
