"""ResNet (He et al., arXiv 1512.03385) and Wide ResNet (Zagoruyko & Komodakis, arXiv 1605.07146).

A block adds what it found to what was there; so a hundred layers can be trained. The transformer's block inherits it.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.model import FeatureMap, PooledClassifier
from saccade.models.stages import Stages
from saccade.nn.convolution import BasicBlock, Bottleneck, ConvNorm

WIDTHS = (64, 128, 256, 512)  # of the four stages
#            block        depths
VARIANTS: dict[int, tuple[Literal["basic", "bottleneck"], tuple[int, ...]]] = {
    18:  ("basic",      (2, 2, 2, 2)),
    34:  ("basic",      (3, 4, 6, 3)),
    50:  ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}  # fmt: skip


@dataclass(frozen=True)
class ResNetConfig:
    """A ResNet for any image of at least 32 x 32 pixels.

    Attributes:
        block: two 3 x 3 convolutions, or 1 x 1, 3 x 3, 1 x 1.
        depths: blocks of each of the four stages.
        width_factor: widens the middle of a bottleneck; 2 in Wide ResNet-50-2.
    """

    block: Literal["basic", "bottleneck"]
    depths: tuple[int, ...]
    width_factor: int = 1
    image_size: tuple[int, int] = (224, 224)
    in_channels: int = 3
    num_classes: int = 1000

    def __post_init__(self) -> None:
        if self.block == "basic" and self.width_factor != 1:
            raise ValueError("width_factor widens bottlenecks; a basic block has no middle")

    @property
    def expansion(self) -> int:
        return BasicBlock.expansion if self.block == "basic" else Bottleneck.expansion

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ResNetConfig":
        return cls(**{**values, "depths": tuple(values["depths"]), "image_size": tuple(values["image_size"])})


class ResNet(PooledClassifier):
    """Stem, four stages, the mean over all places, a linear head."""

    def __init__(self, config: ResNetConfig):
        super().__init__()
        self.config = config
        self.stem = ConvNorm(config.in_channels, WIDTHS[0], 7, stride=2)
        self.stages = Stages(config.depths, self._block)
        self.num_features = WIDTHS[-1] * config.expansion
        self.head = nn.Linear(self.num_features, config.num_classes) if config.num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _block(self, stage: int, first: bool, stride: int) -> nn.Module:
        width, outputs = WIDTHS[stage], [WIDTHS[0], *(width * self.config.expansion for width in WIDTHS)]
        in_channels = outputs[stage] if first else outputs[stage + 1]
        if self.config.block == "basic":
            return BasicBlock(in_channels, width, stride)
        return Bottleneck(in_channels, width, stride, width=width * self.config.width_factor)

    def features(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The maps after each stage: strides 4, 8, 16 and 32."""
        return self.stages(F.max_pool2d(self.stem(images), 3, 2, 1), stride=4)


def resnet_config(layers: int, width_factor: int = 1) -> ResNetConfig:
    """The published depths, such as ``resnet_config(50)``; ``resnet_config(50, 2)`` is Wide ResNet-50-2."""
    block, depths = VARIANTS[layers]
    return ResNetConfig(block, depths, width_factor)
