"""Stand-alone self-attention: a ResNet whose 3 x 3 convolutions are attention to a window (arXiv 1906.05909).

The window moves with the position, as in a convolution, but its weights depend on the content.
"""

from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import AttentionStreams, FeatureMap, LayerGroups, PooledClassifier, block_groups
from saccade.models.stages import Stages
from saccade.nn.convolution import Bottleneck, ConvNorm
from saccade.nn.patches import require_images
from saccade.nn.windows import LocalAttention

DEPTHS = {26: (1, 2, 4, 1), 38: (2, 3, 5, 2), 50: (3, 4, 6, 3)}


@dataclass(frozen=True)
class LocalResNetConfig(Config):
    """A ResNet with local attention for any image of at least 32 x 32 pixels.

    Attributes:
        depths: blocks of each stage; four stages in the paper.
        width: channels of the stem and in the middle of the first stage's blocks, doubled by each further stage.
        window: side of the window, odd.
        num_heads: number of heads of every attention.
    """

    depths: tuple[int, ...]
    width: int = 64
    window: int = 7
    num_heads: int = 8
    image_size: tuple[int, int] = (224, 224)
    in_channels: int = 3
    num_classes: int = 1000


class LocalResNet(PooledClassifier):
    """A convolutional stem, four stages of bottlenecks with attention in the middle, the mean, a linear head."""

    def __init__(self, config: LocalResNetConfig):
        super().__init__()
        self.config = config
        self.stem = ConvNorm(config.in_channels, config.width, 7, stride=2)

        def attention(in_channels: int, out_channels: int, kernel_size: int, stride: int) -> LocalAttention:
            return LocalAttention(in_channels, out_channels, stride, config.num_heads, config.window)

        def block(stage: int, first: bool, stride: int) -> Bottleneck:
            width = config.width * 2**stage
            in_channels = width * (4 if not first else 2 if stage > 0 else 1)
            return Bottleneck(in_channels, width, stride, spatial=attention)

        self.stages = Stages(config.depths, block)
        self.num_features = config.width * 2 ** (len(config.depths) - 1) * Bottleneck.expansion
        self.head = nn.Linear(self.num_features, config.num_classes) if config.num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def layer_groups(self) -> LayerGroups:
        return block_groups([self.stem], self.stages.blocks())

    def attention_streams(self) -> AttentionStreams:
        """None: each position has keys of its own."""
        return ()

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The maps after each stage: strides 4, 8, 16 and 32."""
        require_images(images, self.config.in_channels)
        return self.stages(F.max_pool2d(self.stem(images), 3, 2, 1), stride=4)


def local_resnet_config(layers: int) -> LocalResNetConfig:
    """The published depths 26, 38 and 50."""
    return LocalResNetConfig(DEPTHS[layers])


# The named models of the catalogue.
local_resnet26_config = partial(local_resnet_config, 26)
local_resnet38_config = partial(local_resnet_config, 38)
local_resnet50_config = partial(local_resnet_config, 50)
