"""DeiT with a distillation token (Touvron et al., arXiv 2012.12877).

There is a second learned token next to the class token. It has its own head, which learns a teacher's prediction, while
the class token's head learns the label; afterwards their logits are averaged. DeiT without this token is a plain ViT.

B batch, C channels, H x W pixels, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from saccade.config_io import Config
from saccade.models.model import FeatureMap, LayerGroups, Model
from saccade.models.vit import SIZES, initialise
from saccade.models.vit_encoder import ViTConfig, ViTEncoder
from saccade.nn.positions import Resampling
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import BlockConfig


@dataclass(frozen=True)
class DeiTConfig(Config):
    """A distilled DeiT. The fields are those of :class:`~saccade.models.vit.ViTConfig`."""

    block: BlockConfig
    depth: int = 12
    image_size: tuple[int, int] = (224, 224)
    patch_size: tuple[int, int] = (16, 16)
    in_channels: int = 3
    num_classes: int = 1000
    drop_path: float = 0.0
    position_resampling: Resampling = "bicubic-antialias"

    @property
    def vit(self) -> ViTConfig:
        """The encoder: the distillation token is a second prefix token, with a position like the first."""
        return ViTConfig(
            self.block, self.depth, self.image_size, self.patch_size, self.in_channels, self.num_classes,
            num_registers=1, prefix_positions=2, drop_path=self.drop_path, position_resampling=self.position_resampling,
        )  # fmt: skip


class DeiTLogits(NamedTuple):
    """Logits of the two heads, ``[B, num_classes]`` each."""

    label: Tensor  # of the class token, which learns the label
    teacher: Tensor  # of the distillation token, which learns what the teacher says


class DistilledViT(Model):
    """Two tokens, two heads. ``net(images [B, C, H, W])`` -> their mean logits ``[B, num_classes]``."""

    head_names = ("head.weight", "head.bias", "head_dist.weight", "head_dist.bias")
    position_names = ("encoder.pos_embed.table",)

    def __init__(self, config: DeiTConfig):
        super().__init__()
        self.config = config
        self.encoder = ViTEncoder(config.vit)
        self.num_features = config.block.embed_dim
        self.head = nn.Linear(self.num_features, config.num_classes) if config.num_classes else nn.Identity()
        self.head_dist = nn.Linear(self.num_features, config.num_classes) if config.num_classes else nn.Identity()
        initialise(self)
        assert self.encoder.registers is not None
        nn.init.trunc_normal_(self.encoder.registers, std=0.02)  # the distillation token

    def forward(self, images: Tensor, *, return_both_heads: bool = False) -> Tensor | DeiTLogits:
        """``[B, C, H, W]`` -> logits ``[B, num_classes]``, the mean of both heads; or the logits of each head."""
        logits = self.logits(images)
        return logits if return_both_heads else (logits.label + logits.teacher) / 2

    def logits(self, images: Tensor) -> DeiTLogits:
        """``[B, C, H, W]`` -> the logits of each head, as distillation trains them."""
        tokens = self.encoder(images, leading=2).tokens
        return DeiTLogits(self.head(tokens[:, 0]), self.head_dist(tokens[:, 1]))

    def embed(self, images: Tensor) -> Tensor:
        """The mean of both tokens, ``[B, D]``."""
        return self.encoder(images, leading=2).tokens.mean(dim=1)

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The patches after the last norm, as one map ``[B, D, h, w]``."""
        return (self.encoder(images).patch_map(),)

    def block_maps(self, images: Tensor, blocks: Sequence[int]) -> tuple[FeatureMap, ...]:
        return self.encoder.block_maps(images, blocks)

    def layer_groups(self) -> LayerGroups:
        return self.encoder.layer_groups()

    def token_layout(self, image_size: tuple[int, int] | None = None) -> TokenLayout:
        return self.encoder.token_layout(self.config.image_size if image_size is None else image_size)


def deit_config(size: str) -> DeiTConfig:
    """The published sizes ``"ti"``, ``"s"`` and ``"b"``."""
    embed_dim, depth, mlp_dim, num_heads = SIZES[size]
    return DeiTConfig(BlockConfig(embed_dim, num_heads, mlp_dim), depth)


# The named models of the catalogue.
deit_ti16_config = partial(deit_config, "ti")
deit_s16_config = partial(deit_config, "s")
deit_b16_config = partial(deit_config, "b")
