"""The hybrid ViT: a ViT on the last feature map of a ResNet (Dosovitskiy et al., arXiv 2010.11929, 3.1).

The stem is the ResNet of BiT: standardised filters, group norm instead of batch norm, TensorFlow's padding. The ViT
treats its map as an image of many channels and splits it into patches of one position each: the tokens of R50+ViT-B/16
are 16 pixels apart, and each already contains features of its neighbourhood.

B batch, C channels, H x W pixels, D width.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import FeatureMap, LayerGroups, Model
from saccade.models.stages import Stages
from saccade.models.vit import SIZES, VisionTransformer
from saccade.models.vit_encoder import ViTConfig, ViTEncoder
from saccade.nn.convolution import Bottleneck, ConvNorm, StdConv2d, pad_same
from saccade.nn.patches import require_images
from saccade.nn.positions import Resampling
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import BlockConfig


@dataclass(frozen=True)
class StemConfig:
    """The ResNet stem.

    Attributes:
        depths: number of bottlenecks in each stage; () keeps only the first convolution and the pooling.
        width: channels of the first convolution; a stage's output has 4, 8, 16 … times as many.
        norm_eps: epsilon of the group norms: 1e-6 in Google's code, 1e-5 in timm and Hugging Face.
        conv_eps: what standardisation adds to the variance: 1e-10 in Google's code, 1e-8 elsewhere.
    """

    depths: tuple[int, ...] = (3, 4, 9)
    width: int = 64
    norm_eps: float = 1e-5
    conv_eps: float = 1e-8

    @property
    def stride(self) -> int:
        """Pixels between neighbouring positions of the map: 4, doubled by every stage after the first."""
        return 4 * 2 ** max(len(self.depths) - 1, 0)

    @property
    def out_channels(self) -> int:
        return self.width * 2 ** (len(self.depths) + 1) if self.depths else self.width


@dataclass(frozen=True)
class HybridConfig(Config):
    """A hybrid ViT. ``patch_size`` is in positions of the stem's map; the other fields are those of a ViT."""

    block: BlockConfig
    depth: int
    stem: StemConfig = StemConfig()
    image_size: tuple[int, int] = (224, 224)
    patch_size: tuple[int, int] = (1, 1)
    in_channels: int = 3
    num_classes: int = 1000
    pre_logits: int | None = None
    drop_path: float = 0.0
    position_resampling: Resampling = "bicubic-antialias"

    @property
    def vit(self) -> ViTConfig:
        """The ViT after the stem."""
        height, width = self.map_size(self.image_size)
        return ViTConfig(
            self.block, self.depth, (height, width), self.patch_size, self.stem.out_channels, self.num_classes,
            pre_logits=self.pre_logits, drop_path=self.drop_path, position_resampling=self.position_resampling,
        )  # fmt: skip

    def map_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(rows, columns) of the stem's map, rounded up."""
        return -(-image_size[0] // self.stem.stride), -(-image_size[1] // self.stem.stride)


class ResNetStem(nn.Module):
    """``[B, C, H, W]`` -> a map after each stage: strides 4, 8, 16 …"""

    def __init__(self, config: StemConfig, in_channels: int):
        super().__init__()
        conv = partial(StdConv2d, same=True, eps=config.conv_eps)
        norm = partial(nn.GroupNorm, 32, eps=config.norm_eps)
        self.in_channels = in_channels
        self.root = ConvNorm(in_channels, config.width, 7, stride=2, norm=norm, conv=conv)

        def block(stage: int, first: bool, stride: int) -> Bottleneck:
            width = config.width * 2**stage
            in_channels = width * (4 if not first else 2 if stage > 0 else 1)
            return Bottleneck(in_channels, width, stride, norm=norm, conv=conv)

        self.stages = Stages(config.depths, block)

    def forward(self, images: Tensor) -> tuple[FeatureMap, ...]:
        require_images(images, self.in_channels)
        # Padding must not win the maximum; after a ReLU zeros do not.
        x = F.max_pool2d(pad_same(self.root(images), (3, 3), (2, 2)), 3, 2)
        return self.stages(x, stride=4) or (FeatureMap(x, (4, 4)),)


class HybridViT(Model):
    """``net(images [B, C, H, W])`` -> logits ``[B, num_classes]``."""

    head_names = ("vit.head.weight", "vit.head.bias")
    position_names = ("vit.encoder.pos_embed.table",)

    def __init__(self, config: HybridConfig):
        super().__init__()
        self.config = config
        self.stem = ResNetStem(config.stem, config.in_channels)
        self.vit = VisionTransformer(config.vit)
        self.num_features = self.vit.num_features

    @property
    def encoder(self) -> ViTEncoder:
        """The transformer, for analyses of its positions."""
        return self.vit.encoder

    def forward(self, images: Tensor) -> Tensor:
        """``[B, C, H, W]`` -> logits ``[B, num_classes]``."""
        return self.vit(self.stem(images)[-1].features)

    def embed(self, images: Tensor) -> Tensor:
        """What the head sees: ``[B, C, H, W]`` -> ``[B, num_features]``."""
        return self.vit.embed(self.stem(images)[-1].features)

    def layer_groups(self) -> LayerGroups:
        """The whole ResNet is the first group, as in timm."""
        first, *blocks = self.encoder.layer_groups()
        return [[self.stem, *first], *blocks]

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The stem's maps, then the tokens as a map: strides 4, 8, 16 and 16 of R50+ViT-B/16."""
        maps = self.stem(images)
        return (*maps, *_on(maps[-1], self.vit.feature_maps(maps[-1].features)))

    def block_maps(self, images: Tensor, blocks: Sequence[int]) -> tuple[FeatureMap, ...]:
        last = self.stem(images)[-1]
        return _on(last, self.vit.block_maps(last.features, blocks))

    def token_layout(self, image_size: tuple[int, int] | None = None) -> TokenLayout:
        size = self.config.image_size if image_size is None else image_size
        layout = self.vit.token_layout(self.config.map_size(size))
        scale = self.config.stem.stride
        return TokenLayout(layout.num_prefix, layout.grid, (layout.stride[0] * scale, layout.stride[1] * scale))


def _on(stem: FeatureMap, maps: Iterable[FeatureMap]) -> tuple[FeatureMap, ...]:
    """Maps computed from a map of the stem, with their strides in pixels of the image."""
    return tuple(m._replace(stride=(m.stride[0] * stem.stride[0], m.stride[1] * stem.stride[1])) for m in maps)


def hybrid_config(size: str, stem_depths: tuple[int, ...], patch_size: int = 1) -> HybridConfig:
    """A published pair, such as ``hybrid_config("b", (3, 4, 9))`` for R50+ViT-B/16."""
    embed_dim, depth, mlp_dim, num_heads = SIZES[size]
    block = BlockConfig(embed_dim, num_heads, mlp_dim)
    return HybridConfig(block, depth, StemConfig(stem_depths), patch_size=(patch_size, patch_size))


# The named models of the catalogue.
hybrid_r_ti16_config = partial(hybrid_config, "ti", stem_depths=(), patch_size=8)
hybrid_r26_s32_config = partial(hybrid_config, "s", stem_depths=(2, 2, 2, 2))
hybrid_r50_b16_config = partial(hybrid_config, "b", stem_depths=(3, 4, 9))
hybrid_r50_l32_config = partial(hybrid_config, "l", stem_depths=(3, 4, 6, 3))
