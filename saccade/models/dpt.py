"""DPT: a ViT for dense prediction (Ranftl et al., arXiv 2103.13413).

Tokens from four depths of a ViT become maps again, at strides 4, 8, 16 and 32; a convolutional decoder fuses them from
the coarsest to the finest; a head predicts a number (depth) or a class for every pixel.

B batch, H x W pixels, N tokens, D width, C channels, F features of the decoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, ClassVar, Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.backbone import WithBackbone, freeze_unused
from saccade.models.dpt_decoder import Doubled, Fusion, Readout, Reassemble, class_head, depth_head
from saccade.models.hybrid import HybridConfig, HybridViT, StemConfig, hybrid_config
from saccade.models.model import AttentionStreams, FeatureMap, LayerGroups, Model, streams_below
from saccade.models.vit import SIZES, VisionTransformer, vit_config
from saccade.models.zoo import build
from saccade.nn.tokens import TokenLayout
from saccade.nn.transformer import BlockConfig


@dataclass(frozen=True)
class DPTConfig(WithBackbone):
    """A dense predictor.

    Attributes:
        backbone: "vit", or "hybrid", whose first two maps come from its ResNet stem.
        backbone_config: its config, without a head.
        taps: indices of blocks (from 0) whose tokens are used, the shallowest first: four, or two for a hybrid.
        channels: channels of the four reassembled maps, the finest first.
        features: F.
        readout: use of the class token: ignored, added to every patch, or combined with every patch by a linear layer.
        head: "depth" predicts one non-negative number per pixel; "segmentation" a logit for each class.
        batch_norm: whether the decoder's residual units have batch norms (in the published segmentation models).
        num_classes: of a segmentation; 0 for depth.
        auxiliary: whether a segmentation model has a second head, on the second-to-last map, for an auxiliary loss.
    """

    backbone_config: Any
    backbone: Literal["vit", "hybrid"] = "vit"
    taps: tuple[int, ...] = (2, 5, 8, 11)
    channels: tuple[int, int, int, int] = (96, 192, 384, 768)
    features: int = 256
    readout: Readout = "project"
    head: Literal["depth", "segmentation"] = "depth"
    batch_norm: bool = False
    num_classes: int = 0
    auxiliary: bool = False

    ALIASES: ClassVar[dict[str, str]] = {**WithBackbone.ALIASES, "drop_path": "backbone_config.drop_path"}

    def __post_init__(self) -> None:
        if self.head == "depth" and self.num_classes:
            raise ValueError("depth has no classes: num_classes must be 0")
        if self.backbone_config.position_resampling != "bilinear":  # that of both publishers, whatever the ViT is from
            backbone_config = replace(self.backbone_config, position_resampling="bilinear")
            object.__setattr__(self, "backbone_config", backbone_config)
        self.check_taps()

    def check_taps(self) -> None:
        num_taps = 2 if self.backbone == "hybrid" else 4
        if len(self.taps) != num_taps:
            raise ValueError(f"a {self.backbone} backbone gives {num_taps} of the maps: taps must be {num_taps} blocks")


class DPTOutput(NamedTuple):
    """A prediction for every pixel."""

    values: Tensor  # [B, H, W] depth, or [B, K, H, W] logits
    aux: Tensor | None = None  # [B, K, H/4, W/4] logits of the second head, where they are asked for


class DPT(Model):
    """``net(images [B, C, H, W])`` -> :class:`DPTOutput`, for any size that is a multiple of the patch size."""

    head_names = ("head.4.weight", "head.4.bias", "aux_head.4.weight", "aux_head.4.bias")

    def __init__(self, config: DPTConfig):
        super().__init__()
        self.config = config
        backbone = build(config.backbone, config.backbone_config.to_dict())
        assert isinstance(backbone, VisionTransformer | HybridViT)
        self.backbone = backbone
        self.num_features = backbone.num_features
        self.position_names = tuple(f"backbone.{name}" for name in backbone.position_names)
        dim, features = config.backbone_config.block.embed_dim, config.features
        scales = (4, 2, 1, 0.5)[-len(config.taps) :]
        channels = config.channels[-len(config.taps) :]
        self.reassemble = nn.ModuleList(Reassemble(dim, c, s, config.readout) for c, s in zip(channels, scales))
        self.narrow = nn.ModuleList(nn.Conv2d(c, features, 3, padding=1, bias=False) for c in config.channels)
        self.fuse = nn.ModuleList(Fusion(features, config.batch_norm) for _ in config.channels)
        head = depth_head(features) if config.head == "depth" else class_head(features, config.num_classes)
        if config.head == "segmentation":
            head.append(Doubled())
        else:  # a head that starts with less than nothing would stay there behind its last nonlinearity
            last = head[4]
            assert isinstance(last, nn.Conv2d)
            assert last.bias is not None
            nn.init.ones_(last.bias)
        self.head: nn.Module = head
        self.aux_head = class_head(features, config.num_classes) if config.auxiliary else None

    def forward(self, images: Tensor, auxiliary: bool = False) -> DPTOutput:
        """``[B, C, H, W]`` -> a number or logits for every pixel; with `auxiliary` also the second head's."""
        maps = [narrow(m.features) for narrow, m in zip(self.narrow, self.feature_maps(images))]
        fused, before = self.fuse[3](maps[3]), None
        for level in (2, 1, 0):
            before = fused
            fused = self.fuse[level](fused, maps[level])
        pred = self.head(fused)
        if pred.shape[-2:] != images.shape[-2:]:
            pred = F.interpolate(pred, size=images.shape[-2:], mode="bilinear", align_corners=False)
        aux = self.aux_head(before) if self.aux_head is not None and auxiliary else None
        return DPTOutput(pred[:, 0] if self.config.head == "depth" else pred, aux)

    def embed(self, images: Tensor) -> Tensor:
        """The backbone's feature vector of the whole image: ``[B, C, H, W]`` -> ``[B, num_features]``."""
        return self.backbone.embed(images)

    def freeze_unused(self) -> None:
        """Freeze the unused residual unit of the deepest fusion and the backbone after the last tap, which published
        files contain and no output depends on."""
        self.fuse[3].added.requires_grad_(False)
        freeze_unused(self.backbone, self.config.backbone, lambda *x: chain.from_iterable(self._tapped(*x)[:2]))

    def layer_groups(self) -> LayerGroups:
        """The backbone's groups; the decoder belongs to the head."""
        return self.backbone.layer_groups()

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The reassembled maps: strides 4, 8, 16 and 32 with patches of 16 pixels."""
        stem, taps, layout = self._tapped(self.backbone, images)
        maps = [*stem, *(part(tokens, layout) for part, tokens in zip(self.reassemble, taps))]
        return tuple(FeatureMap(m, (images.shape[-2] // m.shape[-2], images.shape[-1] // m.shape[-1])) for m in maps)

    def block_maps(self, images: Tensor, blocks: Sequence[int]) -> tuple[FeatureMap, ...]:
        return self.backbone.block_maps(images, blocks)

    def _tapped(self, backbone: Model, images: Tensor) -> tuple[list[Tensor], tuple[Tensor, ...], TokenLayout]:
        """The first two maps of a hybrid's stem, the tokens of the tapped blocks, and their layout."""
        assert isinstance(backbone, VisionTransformer | HybridViT)
        maps = list(backbone.stem(images)) if isinstance(backbone, HybridViT) else []
        encoded = backbone.encoder(maps[-1].features if maps else images, taps=self.config.taps)
        return [m.features for m in maps[:2]], self.tapped_tokens(backbone, encoded.taps), encoded.layout

    def tapped_tokens(self, backbone: VisionTransformer | HybridViT, taps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What the decoder reads of the tokens ``[B, N, D]`` after each tapped block: here the tokens themselves."""
        return taps

    def attention_streams(self) -> AttentionStreams:
        return streams_below("backbone", self.backbone)

    def token_layout(self, image_size: tuple[int, int] | None = None) -> TokenLayout:
        layout = self.backbone.token_layout(image_size)
        assert layout is not None
        return layout


# Blocks that are tapped and channels of the maps. The published: base, large; the smaller follow base.
#             taps             channels
VARIANTS: dict[str, tuple[tuple[int, ...], tuple[int, int, int, int]]] = {
    "ti": ((2, 5, 8, 11),    (24, 48, 96, 192)),
    "s":  ((2, 5, 8, 11),    (48, 96, 192, 384)),
    "b":  ((2, 5, 8, 11),    (96, 192, 384, 768)),
    "l":  ((5, 11, 17, 23),  (256, 512, 1024, 1024)),
}  # fmt: skip


def dpt_config(size: str, num_classes: int = 0) -> DPTConfig:
    """``dpt_config("l")`` is DPT-Large for depth, 343,030,465 parameters; with classes it is a segmentation model."""
    taps, channels = VARIANTS[size]
    backbone = replace(vit_config(size, 16), image_size=(384, 384), num_classes=0)
    features = 256 if SIZES[size][0] >= 768 else 64
    return _finished(DPTConfig(backbone, "vit", taps, channels, features), num_classes)


def dpt_hybrid_config(num_classes: int = 0) -> DPTConfig:
    """DPT-Hybrid: a ResNet-50's first stages in front of a ViT-B."""
    backbone = replace(hybrid_config("b", (3, 4, 9)), image_size=(384, 384), num_classes=0)
    return _finished(DPTConfig(backbone, "hybrid", (8, 11), (256, 512, 768, 768)), num_classes)


def dpt_small_config(num_classes: int = 0) -> DPTConfig:
    """For images of about 128 pixels, trained from fresh weights."""
    block = BlockConfig(128, 4, 256)
    backbone = replace(vit_config("ti", 16), block=block, depth=4, image_size=(128, 128), num_classes=0)
    return _finished(DPTConfig(backbone, "vit", (0, 1, 2, 3), (32, 48, 64, 96), 48), num_classes)


def dpt_small_hybrid_config(num_classes: int = 0) -> DPTConfig:
    """The same with a small ResNet stem, whose maps locate strokes and edges."""
    backbone = HybridConfig(BlockConfig(128, 4, 256), 4, StemConfig((1, 1, 1), 32), (128, 128), num_classes=0)
    return _finished(DPTConfig(backbone, "hybrid", (1, 3), (128, 256, 64, 96), 32), num_classes)


def _finished(config: DPTConfig, num_classes: int) -> DPTConfig:
    if not num_classes:
        return config
    return replace(config, head="segmentation", batch_norm=True, num_classes=num_classes, auxiliary=True)


# The named models of the catalogue.
dpt_small_seg_config = partial(dpt_small_config, num_classes=11)
dpt_small_hybrid_seg_config = partial(dpt_small_hybrid_config, num_classes=11)
dpt_ti_config = partial(dpt_config, "ti")
dpt_s_config = partial(dpt_config, "s")
dpt_b_config = partial(dpt_config, "b")
dpt_l_config = partial(dpt_config, "l")
dpt_l_seg_config = partial(dpt_config, "l", num_classes=150)
dpt_hybrid_seg_config = partial(dpt_hybrid_config, num_classes=150)
