"""Wide ResNet for small images: WRN-28-10 (Zagoruyko & Komodakis, arXiv 1605.07146).

Few layers and many channels, with norm and nonlinearity before each convolution. The stem has no pooling, since images
are only 32 x 32 pixels. (Wide ResNets for large images are those of saccade.models.resnet with a width factor.)
"""

from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import FeatureMap, LayerGroups, PooledClassifier, block_groups
from saccade.models.stages import Stages
from saccade.nn.convolution import PreActBlock, conv2d
from saccade.nn.patches import require_images


@dataclass(frozen=True)
class WideResNetConfig(Config):
    """WRN-n-k for any image of at least 4 x 4 pixels.

    Attributes:
        layers: n, number of convolutions: 6 times the number of blocks in a group, plus 4.
        width_factor: k, factor of the groups' 16, 32 and 64 channels.
    """

    layers: int = 28
    width_factor: int = 10
    image_size: tuple[int, int] = (32, 32)
    in_channels: int = 3
    num_classes: int = 10

    def __post_init__(self) -> None:
        if self.layers < 10 or (self.layers - 4) % 6:
            raise ValueError(f"layers must be 6 n + 4, such as 16, 22, 28 or 40, not {self.layers}")


class WideResNet(PooledClassifier):
    """One convolution, three groups of blocks, a last norm, the mean over all positions, a linear head."""

    def __init__(self, config: WideResNetConfig):
        super().__init__()
        self.config = config
        self.stem = conv2d(config.in_channels, 16, 3)
        widths = (16, *(16 * 2**stage * config.width_factor for stage in range(3)))

        def block(stage: int, first: bool, stride: int) -> PreActBlock:
            in_channels, width = widths[stage if first else stage + 1], widths[stage + 1]
            project = stride != 1 or in_channels != width
            return PreActBlock((in_channels, width, width), stride, nn.BatchNorm2d, conv2d, project)

        self.stages = Stages([(config.layers - 4) // 6] * 3, block)
        self.num_features = widths[-1]
        self.norm = nn.BatchNorm2d(self.num_features)
        self.head = nn.Linear(self.num_features, config.num_classes) if config.num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def layer_groups(self) -> LayerGroups:
        return block_groups([self.stem], self.stages.blocks(), [self.norm])

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The maps after each group, the last one normalised: strides 1, 2 and 4."""
        require_images(images, self.config.in_channels)
        *maps, last = self.stages(self.stem(images), stride=1)
        return (*maps, FeatureMap(F.relu(self.norm(last.features)), last.stride))


def wide_resnet_config(layers: int, width_factor: int) -> WideResNetConfig:
    """WRN-n-k, such as ``wide_resnet_config(28, 10)``."""
    return WideResNetConfig(layers, width_factor)


# The named models of the catalogue.
wrn28_10_config = partial(wide_resnet_config, 28, width_factor=10)
