"""BiT: a pre-activation ResNet without batch norm (Kolesnikov et al., arXiv 1912.11370).

Norm and nonlinearity precede each convolution (He et al., arXiv 1603.05027). It uses group norm and standardised
filters, so a result never depends on the other images in the batch. R152x4 is four times as wide.
"""

from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import FeatureMap, LayerGroups, PooledClassifier, block_groups
from saccade.models.stages import Stages
from saccade.nn.convolution import PreActBlock, StdConv2d
from saccade.nn.patches import require_images

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


@dataclass(frozen=True)
class BiTConfig(Config):
    """A BiT ResNet for any image of at least 32 x 32 pixels.

    Attributes:
        depths: blocks of each stage.
        width_factor: factor of every layer's width.
        conv_eps: what standardisation adds to the variance: 1e-10 in Google's code, 1e-8 in timm and Hugging Face.
    """

    depths: tuple[int, ...]
    width_factor: int = 1
    image_size: tuple[int, int] = (224, 224)
    in_channels: int = 3
    num_classes: int = 1000
    conv_eps: float = 1e-8


class BiT(PooledClassifier):
    """Stem, stages, a last norm, the mean over all positions, a linear head."""

    def __init__(self, config: BiTConfig):
        super().__init__()
        self.config = config
        conv = partial(StdConv2d, eps=config.conv_eps)
        norm = partial(nn.GroupNorm, 32)
        root = 64 * config.width_factor
        self.root = conv(config.in_channels, root, 7, 2)

        def block(stage: int, first: bool, stride: int) -> PreActBlock:
            middle = root * 2**stage
            in_channels = middle * (4 if not first else 2 if stage > 0 else 1)
            return PreActBlock((in_channels, middle, middle, 4 * middle), stride, norm, conv, project=first)

        self.stages = Stages(config.depths, block)
        self.num_features = root * 2 ** (len(config.depths) + 1)
        self.norm = norm(self.num_features)
        self.head = nn.Linear(self.num_features, config.num_classes) if config.num_classes else nn.Identity()

    def layer_groups(self) -> LayerGroups:
        return block_groups([self.root], self.stages.blocks(), [self.norm])

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The maps after each stage, the last one normalised: strides 4, 8, 16 and 32."""
        require_images(images, self.config.in_channels)
        *maps, last = self.stages(F.max_pool2d(F.pad(self.root(images), (1, 1, 1, 1)), 3, 2), stride=4)
        return (*maps, FeatureMap(F.relu(self.norm(last.features)), last.stride))


def bit_config(layers: int, width_factor: int) -> BiTConfig:
    """The published sizes: ``bit_config(50, 1)`` is R50x1."""
    return BiTConfig(DEPTHS[layers], width_factor)


# The named models of the catalogue.
bit_r50x1_config = partial(bit_config, 50, width_factor=1)
bit_r50x3_config = partial(bit_config, 50, width_factor=3)
bit_r101x1_config = partial(bit_config, 101, width_factor=1)
bit_r101x3_config = partial(bit_config, 101, width_factor=3)
bit_r152x2_config = partial(bit_config, 152, width_factor=2)
bit_r152x4_config = partial(bit_config, 152, width_factor=4)
