"""LeNet-5 (LeCun et al. 1998): convolution and pooling twice, then a small MLP.

B batch, H x W pixels.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import Classifier, FeatureMap, LayerGroups, block_groups
from saccade.nn.patches import require_images

Size = tuple[int, int]


@dataclass(frozen=True)
class LeNetConfig(Config):
    """LeNet-5 for grey images; ``image_size`` (H, W) fixes the width of the first linear layer."""

    image_size: Size = (32, 32)
    in_channels: int = 1
    num_classes: int = 10

    def __post_init__(self) -> None:
        if min(self.grid) < 1:
            raise ValueError(f"LeNet needs at least 16 x 16 pixels, not {self.image_size[0]} x {self.image_size[1]}")

    @property
    def grid(self) -> Size:
        """(h, w) after two convolutions of 5 x 5 and two poolings."""
        height, width = (((length - 4) // 2 - 4) // 2 for length in self.image_size)
        return height, width


class LeNet(Classifier):
    """Two convolutions and an MLP of three layers, with ReLU and max pooling, as is common today."""

    def __init__(self, config: LeNetConfig):
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv2d(config.in_channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * config.grid[0] * config.grid[1], 120)
        self.fc2 = nn.Linear(120, 84)
        self.num_features = 84
        self.head = nn.Linear(84, config.num_classes) if config.num_classes else nn.Identity()

    def embed(self, images: Tensor) -> Tensor:
        """The head's input: ``[B, C, H, W]`` -> ``[B, num_features]``."""
        x = self.feature_maps(images)[-1].features.flatten(1)
        return F.relu(self.fc2(F.relu(self.fc1(x))))

    def layer_groups(self) -> LayerGroups:
        return block_groups([self.conv1], [self.conv2])

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """Maps of stride 2 and 4."""
        require_images(images, self.config.in_channels)
        if tuple(images.shape[-2:]) != tuple(self.config.image_size):
            raise ValueError(f"this LeNet takes {self.config.image_size} pixels, not {tuple(images.shape[-2:])}")
        first = F.max_pool2d(F.relu(self.conv1(images)), 2)
        second = F.max_pool2d(F.relu(self.conv2(first)), 2)
        return FeatureMap(first, (2, 2)), FeatureMap(second, (4, 4))


def lenet_config() -> LeNetConfig:
    """LeNet-5 as published: 32 x 32 grey pixels, ten digits."""
    return LeNetConfig()
