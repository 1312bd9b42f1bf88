"""DETR: detection as set prediction (Carion et al., arXiv 2005.12872).

The backbone's last feature map, flattened, passes through a transformer encoder. A fixed number of learned object
queries attend to its output in a decoder, in parallel; a linear layer predicts the class of each (or "no object"), an
MLP its box. No anchors and no non-maximum suppression: queries attend to each other, and a bipartite matching in the
loss assigns each object to one of them.

B batch, H x W pixels, h x w map, Q queries, K classes, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.backbone import WithBackbone, all_maps, backbone_maps, freeze_unused
from saccade.models.detr_masks import BoxAttention, MaskHead
from saccade.models.model import AttentionStreams, FeatureMap, LayerGroups, Model, stacked_groups
from saccade.models.resnet import ResNetConfig, resnet_config
from saccade.models.zoo import build
from saccade.nn.attention import MultiHeadAttention, xavier_uniform, zero_biases
from saccade.nn.masks import padding_mask
from saccade.nn.patches import pad_images
from saccade.nn.positions import GridPositions, sine_positions_masked
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import BlockConfig, Decoder, Encoder

# Where positions are added: the paper's ablation (table 3), from 32.8 to 40.6 AP.
PositionUse = Literal["none", "input", "decoder", "attention"]


@dataclass(frozen=True)
class DETRConfig(WithBackbone):
    """A detector.

    Attributes:
        block: configuration of the encoder's and decoder's blocks.
        backbone: architecture from the catalogue whose last feature map becomes the tokens, and its config.
        encoder_depth, decoder_depth: number of blocks.
        num_queries: number of object queries, and so of predictions per image.
        positions: sinusoids over each image's extent, or learned embeddings of rows and columns (up to 50 each).
        position_use: where they are added: nowhere, once to the input, to the keys of the decoder's attention to the
            map, or to queries and keys of every attention (the original).
        padding: effect of a padded batch on an image. "exact": none, since the backbone processes each image size
            separately; "batched": the backbone processes the padding, whose edge affects features inside the image, as
            in the official code.
        masks: whether there is a mask head (DETRsegm).
    """

    block: BlockConfig
    backbone_config: Any
    backbone: str = "resnet"
    encoder_depth: int = 6
    decoder_depth: int = 6
    num_queries: int = 100
    num_classes: int = 91
    positions: Literal["sine", "learned"] = "sine"
    position_use: PositionUse = "attention"
    padding: Literal["exact", "batched"] = "exact"
    masks: bool = False


class DetrOutput(NamedTuple):
    """Predictions of a detector."""

    logits: Tensor  # [B, Q, K + 1], the last for "no object"
    boxes: Tensor  # [B, Q, 4] centre x, y, width, height as fractions of the image
    aux: tuple["DetrOutput", ...] = ()  # the same after each decoder block but the last
    masks: Tensor | None = None  # [B, Q, H/4, W/4] logits


class BoxHead(nn.Sequential):
    """``[..., D]`` -> ``[..., 4]`` in (0, 1): three layers."""

    def __init__(self, dim: int):
        super().__init__(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 4))

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).sigmoid()


class DETR(Model):
    """``net(images)`` -> :class:`DetrOutput`.

    Images are a list of ``[C, H_i, W_i]`` of any sizes, or a batch ``[B, C, H, W]`` with ``valid [B, H, W]``.
    """

    head_names = ("class_embed.weight", "class_embed.bias")

    def __init__(self, config: DETRConfig):
        super().__init__()
        self.config = config
        dim, heads = config.block.embed_dim, config.block.num_heads
        self.backbone = build(config.backbone, config.backbone_config.to_dict())
        self.num_features = self.backbone.num_features
        maps = backbone_maps(config.backbone, config.backbone_config)
        channels, self.stride = [c for c, _ in maps], maps[-1][1]
        self.input_proj = nn.Conv2d(channels[-1], dim, 1)
        learned = config.positions == "learned" and config.position_use != "none"
        self.pos_embed = GridPositions(50, dim) if learned else None
        self.encoder = Encoder(config.block, config.encoder_depth, positions=True)
        pre_norm = config.block.norm == "pre"
        self.encoder_norm = nn.LayerNorm(dim, config.block.norm_eps) if pre_norm else nn.Identity()
        self.queries = nn.Parameter(torch.randn(config.num_queries, dim))
        self.decoder = Decoder(config.block, config.decoder_depth, positions=True)
        self.decoder_norm = nn.LayerNorm(dim, config.block.norm_eps)
        self.class_embed = nn.Linear(dim, config.num_classes + 1)
        self.bbox_embed = BoxHead(dim)
        xavier_uniform(self.encoder)
        xavier_uniform(self.decoder)
        zero_biases(self, MultiHeadAttention)
        self.bbox_attention = BoxAttention(dim, heads) if config.masks else None
        self.mask_head = MaskHead(dim, heads, channels[-2::-1]) if config.masks else None

    def forward(self, images: Tensor | Sequence[Tensor], valid: Tensor | None = None) -> DetrOutput:
        """The prediction of every query.

        Args:
            images: normalised by the checkpoint's preprocessing.
            valid: which pixels of a padded batch are image, ``[B, H, W]`` boolean; all by default.
        """
        if not isinstance(images, Tensor):
            images, valid = pad_images(list(images))
        return self.predict(*self.maps(images, valid))

    def predict(self, maps: Sequence[Tensor], seen: Tensor | None) -> DetrOutput:
        """The prediction of every query from the backbone's maps; arguments as :meth:`maps` returns them."""
        projected = self.input_proj(maps[-1])  # [B, D, h, w]
        pos = self.positions(projected, seen)
        use, mask = self.config.position_use, None if seen is None else padding_mask(seen.flatten(1))
        tokens, places = projected.flatten(2).transpose(1, 2), pos.flatten(2).transpose(1, 2)  # [B, h*w, D]
        encoded = self.encoder(
            tokens + places if use == "input" else tokens, mask=mask, pos=places if use == "attention" else None
        )
        memory = self.encoder_norm(encoded.tokens)

        queries = self.queries.expand(tokens.shape[0], -1, -1)  # [B, Q, D]
        inside = use in ("decoder", "attention")
        decoded = self.decoder(
            torch.zeros_like(queries) if inside else queries, memory, taps=range(self.config.decoder_depth),
            memory_mask=mask, pos=queries if inside else None, memory_pos=places if inside else None,
        )  # fmt: skip
        states = [self.decoder_norm(tapped) for tapped in decoded.taps]
        outputs = [DetrOutput(self.class_embed(x), self.bbox_embed(x)) for x in states]
        masks = None
        if self.bbox_attention is not None and self.mask_head is not None:
            attention = self.bbox_attention(states[-1], memory, seen).unflatten(-1, projected.shape[-2:])
            masks = self.mask_head(projected, attention, maps[-2::-1])
        return outputs[-1]._replace(aux=tuple(outputs[:-1]), masks=masks)

    def maps(self, images: Tensor, valid: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
        """The backbone's maps ``[B, C_i, h_i, w_i]``, and which positions of the last one are image ``[B, h, w]``."""
        if valid is None:
            return [m.features for m in self.backbone.features(images)], None
        if self.config.padding == "batched":
            maps = [m.features for m in self.backbone.features(images)]
        else:
            maps = self._maps_alone(images, valid)
        return maps, F.interpolate(valid[:, None].float(), size=maps[-1].shape[-2:])[:, 0].bool()

    def _maps_alone(self, images: Tensor, valid: Tensor) -> list[Tensor]:
        """Maps of the images of each size, computed without padding, and padded with zeros into one batch."""
        sizes = list(zip(valid.any(2).sum(1).tolist(), valid.any(1).sum(1).tolist()))
        order, parts = [], []
        for size in dict.fromkeys(sizes):
            rows = [row for row, other in enumerate(sizes) if other == size]
            order += rows
            parts.append([m.features for m in self.backbone.features(images[rows, :, : size[0], : size[1]])])
        back = torch.tensor(order, device=images.device).argsort()
        joined = []
        for level in zip(*parts):
            height, width = (max(part.shape[axis] for part in level) for axis in (-2, -1))
            padded = [F.pad(p, (0, width - p.shape[-1], 0, height - p.shape[-2])) for p in level]
            joined.append(torch.cat(padded)[back])
        return joined

    def positions(self, like: Tensor, seen: Tensor | None) -> Tensor:
        """Positions ``[B, D, h, w]`` for a map ``[B, D, h, w]``, of which `valid` positions are image."""
        if self.config.position_use == "none":
            return torch.zeros_like(like)
        if self.pos_embed is not None:
            return self.pos_embed((like.shape[-2], like.shape[-1])).expand(like.shape[0], -1, -1, -1)
        if seen is None:
            seen = torch.ones(like.shape[0], *like.shape[-2:], dtype=torch.bool, device=like.device)
        return sine_positions_masked(seen, like.shape[1]).to(like.dtype)

    def embed(self, images: Tensor) -> Tensor:
        """Pooled features of the backbone: ``[B, C, H, W]`` -> ``[B, num_features]``."""
        return self.backbone.embed(images)

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The backbone's maps."""
        return self.backbone.feature_maps(images)

    def block_maps(self, images: Tensor, blocks: Sequence[int]) -> tuple[FeatureMap, ...]:
        return self.backbone.block_maps(images, blocks)

    def freeze_unused(self) -> None:
        first = 0 if self.config.masks else -1  # of the maps that are used
        freeze_unused(self.backbone, self.config.backbone, lambda *x: all_maps(*x)[first:])

    def layer_groups(self) -> LayerGroups:
        """The backbone, the encoder, the decoder; layers on the input of each belong to its first block."""
        encoder = stacked_groups((self.input_proj, self.pos_embed), self.encoder, [self.encoder_norm])
        decoder = stacked_groups([self.queries], self.decoder, [self.decoder_norm])
        return [*self.backbone.layer_groups(), *encoder, *decoder]

    def attention_streams(self) -> AttentionStreams:
        """Those of the encoder and the decoder; maps end at the encoder's tokens, whatever the backbone is."""
        own, cross = ("decoder.*", "queries", "queries"), ("decoder.*.cross_attn", "queries", "image")
        return ("encoder.*", "image", "image"), cross, own

    def token_layout(self, image_size: tuple[int, int] | None = None) -> TokenLayout:
        """How the encoder's tokens are arranged over an image."""
        height, width = self.config.image_size if image_size is None else image_size
        return TokenLayout(0, (-(-height // self.stride[0]), -(-width // self.stride[1])), self.stride)


def detr_config(layers: int, dilated: bool = False, masks: bool = False) -> DETRConfig:
    """The published ones: ``detr_config(50)`` has 41,524,768 parameters; ``dilated`` selects DC5, ``masks`` the
    panoptic models."""
    backbone = replace(resnet_config(layers), num_classes=0, frozen_norm=True, dilated=dilated, image_size=(800, 1066))
    block = BlockConfig(256, 8, 2048, norm="post", norm_eps=1e-5, activation="relu", dropout=0.1, attention_dropout=0.1)
    return DETRConfig(block, backbone, num_classes=250 if masks else 91, masks=masks)


def detr_small_config() -> DETRConfig:
    """For images of about 128 pixels and few objects, trained from fresh weights on small data."""
    backbone = ResNetConfig("basic", (1, 1, 2), image_size=(128, 128), num_classes=0, width=32)
    block = BlockConfig(128, 4, 256, norm="pre", norm_eps=1e-5, activation="relu")
    return DETRConfig(block, backbone, encoder_depth=2, decoder_depth=3, num_queries=16, num_classes=10)


# The named models of the catalogue.
detr_r50_config = partial(detr_config, 50)
detr_r50_dc5_config = partial(detr_config, 50, dilated=True)
detr_r101_config = partial(detr_config, 101)
detr_r101_dc5_config = partial(detr_config, 101, dilated=True)
detr_r50_panoptic_config = partial(detr_config, 50, masks=True)
