"""Axial-ResNet: every position attends to its column, then to its row (Wang et al., Axial-DeepLab, arXiv 2003.07853).

Two steps reach the whole image, with h + w instead of h w keys for each position.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import AttentionStreams, FeatureMap, LayerGroups, PooledClassifier, block_groups
from saccade.models.stages import Stages
from saccade.nn.convolution import ConvNorm
from saccade.nn.patches import require_images
from saccade.nn.windows import AxialAttention

DEPTHS = {26: (1, 2, 4, 1), 50: (3, 4, 6, 3)}
SIZES = {"s": 32, "m": 48, "l": 64}  # channels after the stem


@dataclass(frozen=True)
class AxialResNetConfig(Config):
    """An Axial-ResNet for any image whose sides are multiples of 32.

    Attributes:
        depths: blocks of each of the four stages.
        width: channels after the stem; the middle of a stage's blocks has 2, 4, 8 and 16 times as many.
        num_heads: of every attention.
        image_size: (H, W) in pixels. The attention's span in each stage is the longer side there, so that at this size
            every position attends to its whole row and column.
        span_size: (H, W) for which the spans were made, if that is another size; image_size by default.
    """

    depths: tuple[int, ...]
    width: int = 32
    num_heads: int = 8
    image_size: tuple[int, int] = (224, 224)
    in_channels: int = 3
    num_classes: int = 1000
    span_size: tuple[int, int] | None = None


class AxialBlock(nn.Module):
    """1 x 1 down, attention along columns, along rows, 1 x 1 up, and a shortcut."""

    expansion = 2

    def __init__(self, in_channels: int, width: int, stride: int, num_heads: int, span: int):
        super().__init__()
        self.stride = stride
        self.down = ConvNorm(in_channels, width, 1)
        self.columns = AxialAttention(width, 2, num_heads, span)
        self.rows = AxialAttention(width, 3, num_heads, span)
        self.up = ConvNorm(width, width * self.expansion, 1, act=None)
        same = stride == 1 and in_channels == width * self.expansion
        self.shortcut = nn.Identity() if same else ConvNorm(in_channels, width * self.expansion, 1, stride, act=None)

    def begin_as_shortcut(self) -> None:
        norm = self.up[1]
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.zeros_(norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        out = self.rows(self.columns(self.down(x)))
        if self.stride > 1:
            out = F.avg_pool2d(out, self.stride)
        return F.relu(self.up(F.relu(out)) + self.shortcut(x))


class AxialResNet(PooledClassifier):
    """A convolutional stem, four stages of axial blocks, the mean over all positions, a linear head."""

    def __init__(self, config: AxialResNetConfig):
        super().__init__()
        self.config = config
        self.stem = ConvNorm(config.in_channels, config.width, 7, stride=2)

        def block(stage: int, first: bool, stride: int) -> AxialBlock:
            width = config.width * 2 ** (stage + 1)
            in_channels = config.width if first and stage == 0 else width if first else 2 * width
            # A block that halves the map still sees it at its full size.
            span = -(-max(config.span_size or config.image_size) // (4 * 2**stage)) * stride
            return AxialBlock(in_channels, width, stride, config.num_heads, span)

        self.stages = Stages(config.depths, block)
        self.num_features = config.width * 2 ** (len(config.depths) + 1)
        self.head = nn.Linear(self.num_features, config.num_classes) if config.num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, AxialBlock):
                module.begin_as_shortcut()

    def layer_groups(self) -> LayerGroups:
        return block_groups([self.stem], self.stages.blocks())

    def size_changes(self, image_size: tuple[int, int]) -> dict[str, Any]:
        """The vectors of relative positions are kept: on a larger map positions further away are hidden."""
        return {"image_size": image_size, "span_size": self.config.span_size or self.config.image_size}

    def attention_streams(self) -> AttentionStreams:
        """None: each position has keys of its own."""
        return ()

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The maps after each stage: strides 4, 8, 16 and 32."""
        require_images(images, self.config.in_channels)
        return self.stages(F.max_pool2d(self.stem(images), 3, 2, 1), stride=4)


def axial_resnet_config(layers: int, size: str) -> AxialResNetConfig:
    """The published sizes, such as ``axial_resnet_config(50, "s")``."""
    return AxialResNetConfig(DEPTHS[layers], SIZES[size])


# The named models of the catalogue.
axial_resnet26_s_config = partial(axial_resnet_config, 26, size="s")
axial_resnet50_s_config = partial(axial_resnet_config, 50, size="s")
axial_resnet50_m_config = partial(axial_resnet_config, 50, size="m")
axial_resnet50_l_config = partial(axial_resnet_config, 50, size="l")
