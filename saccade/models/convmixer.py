"""ConvMixer: patches are all you need? (Trockman & Kolter, arXiv 2201.09792).

A ViT's patches and constant resolution, with convolutions in place of attention and MLP: depthwise convolutions mix
positions, 1 x 1 convolutions mix channels.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import FeatureMap, LayerGroups, PooledClassifier, block_groups
from saccade.nn.convolution import MixerBlock
from saccade.nn.patches import require_images, require_multiple

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}


@dataclass(frozen=True)
class ConvMixerConfig(Config):
    """A ConvMixer for any image whose sides are multiples of the patch size.

    Attributes:
        width: number of channels.
        depth: number of blocks.
        kernel_size: size of the filters, odd.
        patch_size: in pixels.
        activation: GELU; ReLU in the published 768/32.
    """

    width: int
    depth: int
    kernel_size: int = 9
    patch_size: int = 7
    image_size: tuple[int, int] = (224, 224)
    in_channels: int = 3
    num_classes: int = 1000
    activation: Literal["gelu", "relu"] = "gelu"


class ConvMixer(PooledClassifier):
    """Patch embedding, identical blocks, the mean over all positions, a linear head."""

    def __init__(self, config: ConvMixerConfig):
        super().__init__()
        self.config = config
        act, patch = ACTIVATIONS[config.activation], config.patch_size
        self.stem = nn.Sequential(
            nn.Conv2d(config.in_channels, config.width, patch, patch), act(), nn.BatchNorm2d(config.width)
        )
        self.blocks = nn.Sequential(*(MixerBlock(config.width, config.kernel_size, act) for _ in range(config.depth)))
        self.num_features = config.width
        self.head = nn.Linear(config.width, config.num_classes) if config.num_classes else nn.Identity()

    def layer_groups(self) -> LayerGroups:
        return block_groups([self.stem], self.blocks)

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The map after the last block; its stride is the patch size."""
        require_images(images, self.config.in_channels)
        patch = self.config.patch_size
        require_multiple(tuple(images.shape[-2:]), (patch, patch))
        return (FeatureMap(self.blocks(self.stem(images)), (patch, patch)),)


def convmixer_small_config(width: int, depth: int) -> ConvMixerConfig:
    """For 32 x 32 pixels and ten classes: patches of 2 x 2, 5 x 5 filters (appendix D)."""
    return ConvMixerConfig(width, depth, kernel_size=5, patch_size=2, image_size=(32, 32), num_classes=10)


def convmixer_config(width: int, depth: int) -> ConvMixerConfig:
    """The published sizes 768/32 (ReLU, 7 x 7 filters) and 1536/20 (GELU, 9 x 9)."""
    small = width == 768
    return ConvMixerConfig(width, depth, kernel_size=7 if small else 9, activation="relu" if small else "gelu")


# The named models of the catalogue.
convmixer_256_8_config = partial(convmixer_small_config, 256, depth=8)
convmixer_768_32_config = partial(convmixer_config, 768, depth=32)
convmixer_1536_20_config = partial(convmixer_config, 1536, depth=20)
