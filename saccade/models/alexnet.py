"""AlexNet (Krizhevsky et al. 2012), in the one-tower form of arXiv 1404.5997 that torchvision publishes."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import Classifier, FeatureMap, LayerGroups, block_groups
from saccade.nn.patches import require_images

#            out  kernel  stride  padding  pooled after
LAYERS = (
    (         64,     11,      4,       2,  True),
    (        192,      5,      1,       2,  True),
    (        384,      3,      1,       1,  False),
    (        256,      3,      1,       1,  False),
    (        256,      3,      1,       1,  True),
)  # fmt: skip
GRID = (6, 6)  # of the last map, whatever the image
HIDDEN = 4096


@dataclass(frozen=True)
class AlexNetConfig(Config):
    """AlexNet; any image of at least 63 x 63 pixels."""

    image_size: tuple[int, int] = (224, 224)
    in_channels: int = 3
    num_classes: int = 1000
    dropout: float = 0.5


class AlexNet(Classifier):
    """Five convolutions, three of them pooled, and an MLP of three layers."""

    def __init__(self, config: AlexNetConfig):
        super().__init__()
        self.config = config
        widths = [config.in_channels, *(out for out, *_ in LAYERS)]
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[i], out, kernel, stride, padding)
            for i, (out, kernel, stride, padding, _) in enumerate(LAYERS)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.fc1 = nn.Linear(widths[-1] * GRID[0] * GRID[1], HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, HIDDEN)
        self.num_features = HIDDEN
        self.head = nn.Linear(HIDDEN, config.num_classes) if config.num_classes else nn.Identity()

    def embed(self, images: Tensor) -> Tensor:
        """The head's input: ``[B, C, H, W]`` -> ``[B, num_features]``."""
        x = F.adaptive_avg_pool2d(self.feature_maps(images)[-1].features, GRID).flatten(1)
        x = F.relu(self.fc1(self.dropout(x)))
        return F.relu(self.fc2(self.dropout(x)))

    def layer_groups(self) -> LayerGroups:
        return block_groups([], self.convs)[1:]

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The maps after each pooling: strides 8, 16 and 32."""
        require_images(images, self.config.in_channels)
        maps, stride, x = [], 1, images
        for conv, (_, _, conv_stride, _, pooled) in zip(self.convs, LAYERS):
            x, stride = F.relu(conv(x)), stride * conv_stride
            if pooled:
                x, stride = F.max_pool2d(x, 3, 2), stride * 2
                maps.append(FeatureMap(x, (stride, stride)))
        return tuple(maps)


def alexnet_config() -> AlexNetConfig:
    return AlexNetConfig()
