"""ResNet (He et al., arXiv 1512.03385) and Wide ResNet (Zagoruyko & Komodakis, arXiv 1605.07146).

A block adds its output to its input, which makes a hundred layers trainable. The transformer block uses the same
residual connection.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import FeatureMap, LayerGroups, PooledClassifier, block_groups
from saccade.models.stages import Stages
from saccade.nn.convolution import BasicBlock, Bottleneck, ConvNorm, FrozenBatchNorm2d, conv2d
from saccade.nn.patches import require_images

#            block        depths
VARIANTS: dict[int, tuple[Literal["basic", "bottleneck"], tuple[int, ...]]] = {
    18:  ("basic",      (2, 2, 2, 2)),
    34:  ("basic",      (3, 4, 6, 3)),
    50:  ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}  # fmt: skip


@dataclass(frozen=True)
class ResNetConfig(Config):
    """A ResNet for any image of at least 32 x 32 pixels.

    Attributes:
        block: two 3 x 3 convolutions, or 1 x 1, 3 x 3, 1 x 1.
        depths: blocks of each stage; four stages for ImageNet, three in the ResNets of the paper for CIFAR.
        width_factor: factor of the width in the middle of a bottleneck: 2 in Wide ResNet-50-2; below 1 it is narrower.
        width: channels of the first stage, doubled by each further stage.
        small_images: whether the stem is a 3 x 3 convolution of stride 1 without pooling, for images of about 32 x 32
            pixels.
        frozen_norm: whether batch norms keep the statistics and factors that they were loaded with, as in a detector.
        shortcut: of basic blocks that change the number of channels: "projection", a 1 x 1 convolution (option B of the
            paper), or "padding" with zeros (option A).
        dilated: whether the last stage keeps the map's size and dilates its convolutions ("DC5").
    """

    block: Literal["basic", "bottleneck"]
    depths: tuple[int, ...]
    width_factor: float = 1
    image_size: tuple[int, int] = (224, 224)
    in_channels: int = 3
    num_classes: int = 1000
    width: int = 64
    small_images: bool = False
    frozen_norm: bool = False
    dilated: bool = False
    shortcut: Literal["projection", "padding"] = "projection"

    def __post_init__(self) -> None:
        if self.block == "basic" and self.width_factor != 1:
            raise ValueError("width_factor widens bottlenecks; a basic block has no middle")
        if self.shortcut not in ("projection", "padding"):
            raise ValueError(f"shortcut must be projection or padding, not {self.shortcut!r}")
        if self.block == "bottleneck" and self.shortcut == "padding":
            raise ValueError("shortcut='padding' needs basic blocks")
        if self.block == "basic" and self.dilated:
            raise ValueError("dilated needs bottlenecks")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels in the middle of each stage's blocks."""
        return tuple(self.width * 2**stage for stage in range(len(self.depths)))

    @property
    def expansion(self) -> int:
        return BasicBlock.expansion if self.block == "basic" else Bottleneck.expansion


class ResNet(PooledClassifier):
    """Stem, stages, the mean over all positions, a linear head."""

    def __init__(self, config: ResNetConfig):
        super().__init__()
        self.config = config
        kernel_size, stride = (3, 1) if config.small_images else (7, 2)
        self.norm = FrozenBatchNorm2d if config.frozen_norm else nn.BatchNorm2d
        self.stem = ConvNorm(config.in_channels, config.width, kernel_size, stride, norm=self.norm)
        self.stages = Stages(config.depths, self._block, dilated=config.dilated)
        self.num_features = config.widths[-1] * config.expansion
        self.head = nn.Linear(self.num_features, config.num_classes) if config.num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _block(self, stage: int, first: bool, stride: int) -> nn.Module:
        widths = self.config.widths
        width, outputs = widths[stage], [widths[0], *(width * self.config.expansion for width in widths)]
        in_channels = outputs[stage] if first else outputs[stage + 1]
        if self.config.block == "basic":
            return BasicBlock(in_channels, width, stride, norm=self.norm, pad=self.config.shortcut == "padding")
        far = self.config.dilated and stage == len(widths) - 1 and not first
        middle = int(width * self.config.width_factor)
        spatial = partial(conv2d, dilation=2) if far else None
        return Bottleneck(in_channels, width, stride, norm=self.norm, width=middle, spatial=spatial)

    def layer_groups(self) -> LayerGroups:
        return block_groups([self.stem], self.stages.blocks())

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The maps after each stage: strides 4, 8, 16 and 32; with ``small_images`` 1, 2, 4 and 8."""
        require_images(images, self.config.in_channels)
        if self.config.small_images:
            return self.stages(self.stem(images), stride=1)
        return self.stages(F.max_pool2d(self.stem(images), 3, 2, 1), stride=4)


def resnet_small_config(layers: int) -> ResNetConfig:
    """For 32 x 32 pixels and ten classes: ``resnet_small_config(18)``, 11.2 million parameters."""
    block, depths = VARIANTS[layers]
    return ResNetConfig(block, depths, image_size=(32, 32), num_classes=10, small_images=True)


def resnet_config(layers: int, width_factor: int = 1) -> ResNetConfig:
    """The published depths, such as ``resnet_config(50)``; ``resnet_config(50, 2)`` is Wide ResNet-50-2."""
    block, depths = VARIANTS[layers]
    return ResNetConfig(block, depths, width_factor)


# The named models of the catalogue.
resnet18_config = partial(resnet_config, 18)
resnet18_small_config = partial(resnet_small_config, 18)
resnet34_config = partial(resnet_config, 34)
resnet50_config = partial(resnet_config, 50)
resnet101_config = partial(resnet_config, 101)
resnet152_config = partial(resnet_config, 152)
wide_resnet50_2_config = partial(resnet_config, 50, width_factor=2)
wide_resnet101_2_config = partial(resnet_config, 101, width_factor=2)
