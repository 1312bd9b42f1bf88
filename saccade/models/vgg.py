"""VGG (Simonyan & Zisserman, arXiv 1409.1556): a deep network of 3 x 3 convolutions."""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import Classifier, FeatureMap, LayerGroups
from saccade.nn.patches import require_images

WIDTHS = (64, 128, 256, 512, 512)  # of the five stages; a pooling by two ends each
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
GRID = (7, 7)  # of the last map, whatever the image
HIDDEN = 4096


@dataclass(frozen=True)
class VGGConfig(Config):
    """A VGG of any depth, for any image of at least 32 x 32 pixels.

    Attributes:
        depths: number of convolutions in each stage.
        batch_norm: whether each convolution is followed by batch norm.
    """

    depths: tuple[int, ...]
    batch_norm: bool = False
    image_size: tuple[int, int] = (224, 224)
    in_channels: int = 3
    num_classes: int = 1000
    dropout: float = 0.5


class VGG(Classifier):
    """Five stages and an MLP of three layers."""

    def __init__(self, config: VGGConfig):
        super().__init__()
        self.config = config
        widths = (config.in_channels, *WIDTHS)
        self.stages = nn.ModuleList(
            nn.Sequential(*(self._layer(a if i == 0 else b, b) for i in range(depth)))
            for depth, (a, b) in zip(config.depths, pairwise(widths))
        )
        self.dropout = nn.Dropout(config.dropout)
        self.fc1 = nn.Linear(WIDTHS[-1] * GRID[0] * GRID[1], HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, HIDDEN)
        self.num_features = HIDDEN
        self.head = nn.Linear(HIDDEN, config.num_classes) if config.num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _layer(self, in_channels: int, out_channels: int) -> nn.Sequential:
        norm = nn.BatchNorm2d(out_channels) if self.config.batch_norm else nn.Identity()
        return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1), norm, nn.ReLU())

    def embed(self, images: Tensor) -> Tensor:
        """The head's input: ``[B, C, H, W]`` -> ``[B, num_features]``."""
        x = F.adaptive_avg_pool2d(self.feature_maps(images)[-1].features, GRID).flatten(1)
        x = self.dropout(F.relu(self.fc1(x)))
        return self.dropout(F.relu(self.fc2(x)))

    def layer_groups(self) -> LayerGroups:
        """Each convolution with its norm; the MLP belongs to the head."""
        return [[layer] for stage in self.stages for layer in stage.children()]

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The maps after each stage's pooling: strides 2 to 32."""
        require_images(images, self.config.in_channels)
        maps, stride, x = [], 1, images
        for stage in self.stages:
            x, stride = F.max_pool2d(stage(x), 2), 2 * stride
            maps.append(FeatureMap(x, (stride, stride)))
        return tuple(maps)


def vgg_config(layers: int, batch_norm: bool = False) -> VGGConfig:
    """The published depths, such as ``vgg_config(16)``."""
    return VGGConfig(DEPTHS[layers], batch_norm)


# The named models of the catalogue.
vgg11_config = partial(vgg_config, 11)
vgg11_bn_config = partial(vgg_config, 11, batch_norm=True)
vgg13_config = partial(vgg_config, 13)
vgg13_bn_config = partial(vgg_config, 13, batch_norm=True)
vgg16_config = partial(vgg_config, 16)
vgg16_bn_config = partial(vgg_config, 16, batch_norm=True)
vgg19_config = partial(vgg_config, 19)
vgg19_bn_config = partial(vgg_config, 19, batch_norm=True)
