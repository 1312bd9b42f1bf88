"""CLIP's ResNet tower: a stem of three convolutions, blurred strides, attention pooling instead of the final mean.

Radford et al. (arXiv 2103.00020, 2.4), after ResNet-D (He et al., arXiv 1812.01187) and blur-pooling (Zhang, arXiv
1904.11486).

B images, C channels, h x w map, N = 1 + h * w tokens of the pool, E width that comes out.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import FeatureMap, LayerGroups, Model, block_groups
from saccade.models.stages import Stages
from saccade.nn.attention import MultiHeadAttention
from saccade.nn.convolution import ConvNorm
from saccade.nn.patches import require_images
from saccade.nn.positions import resample_positions

POOL_RESAMPLING = "bicubic-antialias"  # of the pool's positions


@dataclass(frozen=True)
class ClipResNetConfig(Config):
    """The tower.

    Attributes:
        depths: blocks of each of the four stages.
        width: channels of the stem; the last map has 32 times as many.
        out_dim: E.
        num_heads: of the attention pool; heads of 64 features in the published ones.
        image_size: (H, W) in pixels, for which the pool's positions are made.
    """

    depths: tuple[int, ...]
    width: int = 64
    out_dim: int = 1024
    num_heads: int = 32
    image_size: tuple[int, int] = (224, 224)
    in_channels: int = 3
    num_classes: int = 0


class BlurredBottleneck(nn.Module):
    """1 x 1, 3 x 3, mean over the stride, 1 x 1: the mean uses the values that a stride would skip."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = ConvNorm(in_channels, width, 1)
        self.conv2 = ConvNorm(width, width, 3)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = ConvNorm(width, width * self.expansion, 1, act=None)
        same = stride == 1 and in_channels == width * self.expansion
        blurred = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(blurred, ConvNorm(in_channels, width * self.expansion, 1, act=None))
        )

    def begin_as_shortcut(self) -> None:
        """With the last norm's factor 0 the branch adds nothing at first."""
        nn.init.zeros_(self.conv3[1].get_parameter("weight"))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv3(self.pool(self.conv2(self.conv1(x)))) + self.shortcut(x))


class AttentionPool2d(nn.Module):
    """Attention pooling: the mean of the map is the query, every position a key: ``[B, C, h, w]`` -> ``[B, E]``.

    Positions are resampled for maps of another size, by timm's method.
    """

    def __init__(self, grid: tuple[int, int], dim: int, num_heads: int, out_dim: int):
        super().__init__()
        self.grid = grid
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + grid[0] * grid[1], dim) * dim**-0.5)
        self.attn = MultiHeadAttention(dim, num_heads, packed=False)
        self.attn.proj = nn.Linear(dim, out_dim)
        for linear in (self.attn.q, self.attn.k, self.attn.v, self.attn.proj):
            nn.init.normal_(linear.weight, std=dim**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        places = features.flatten(2).transpose(1, 2)
        grid = (features.shape[2], features.shape[3])
        positions = resample_positions(self.pos_embed, self.grid, grid, 1, POOL_RESAMPLING)
        tokens = torch.cat((places.mean(dim=1, keepdim=True), places), dim=1) + positions
        return self.attn(tokens[:, :1], tokens)[:, 0]


class ClipResNet(Model):
    """``net(images [B, C, H, W])`` -> ``[B, out_dim]``."""

    position_names = ("pool.pos_embed",)
    head_names = ()

    def __init__(self, config: ClipResNetConfig):
        super().__init__()
        self.config = config
        half = config.width // 2
        self.stem = nn.Sequential(
            ConvNorm(config.in_channels, half, 3, stride=2), ConvNorm(half, half, 3), ConvNorm(half, config.width, 3)
        )
        self.stages = Stages(config.depths, partial(_block, config.width))
        grid = (config.image_size[0] // 32, config.image_size[1] // 32)
        self.num_features = config.out_dim
        self.pool = AttentionPool2d(grid, 32 * config.width, config.num_heads, config.out_dim)
        for module in self.modules():
            if isinstance(module, BlurredBottleneck):
                module.begin_as_shortcut()

    def forward(self, images: Tensor) -> Tensor:
        return self.embed(images)

    def embed(self, images: Tensor) -> Tensor:
        """``[B, C, H, W]`` -> ``[B, out_dim]``."""
        return self.pool(self.feature_maps(images)[-1].features)

    def layer_groups(self) -> LayerGroups:
        return block_groups([self.stem], self.stages.blocks())

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The maps after each stage: strides 4, 8, 16 and 32."""
        require_images(images, self.config.in_channels)
        return self.stages(F.avg_pool2d(self.stem(images), 2), stride=4)


def _block(width: int, stage: int, first: bool, stride: int) -> BlurredBottleneck:
    channels = width * 2**stage
    in_channels = width if first and stage == 0 else channels * 2 if first else channels * 4
    return BlurredBottleneck(in_channels, channels, stride)
