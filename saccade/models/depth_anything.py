"""Depth Anything V2: a DPT on DINOv2 (Yang et al., arXiv 2406.09414).

It differs from DPT in four places: tapped tokens pass through the encoder's last norm, the class token is left out,
each fusion resizes to the next finer map, so that any number of patches fits, and the head works at the image's size.

B batch, H x W pixels, h x w a map, F features of the decoder.
"""

from dataclasses import dataclass, replace
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.dpt import DPT, DPTConfig, DPTOutput
from saccade.models.dpt_decoder import HEAD_CHANNELS, Readout, resized
from saccade.models.hybrid import HybridViT
from saccade.models.vit import VisionTransformer, dinov2_config


@dataclass(frozen=True)
class DepthAnythingConfig(DPTConfig):
    """A depth estimator; of the options of a DPT, the backbone, taps, channels and features are its own.

    Attributes:
        max_depth: in metres, of a model of metric depth (20 for the published indoor models, 80 for outdoor ones);
            None for the inverse of depth up to scale and shift.
    """

    readout: Readout = "ignore"
    max_depth: float | None = None

    def __post_init__(self) -> None:
        self.check_taps()
        fixed = {"backbone": "vit", "readout": "ignore", "head": "depth", "batch_norm": False, "num_classes": 0}
        for name, value in fixed.items():
            if getattr(self, name) != value:
                raise ValueError(f"{name} must be {value!r} in Depth Anything, not {getattr(self, name)!r}")
        if self.max_depth is not None and not self.max_depth > 0:
            raise ValueError(f"max_depth must be positive metres, not {self.max_depth}")


class DepthAnything(DPT):
    """``net(images [B, C, H, W])`` -> :class:`~saccade.models.dpt.DPTOutput`, for any size that patches tile."""

    head_names = ("head.conv3.weight", "head.conv3.bias")

    def __init__(self, config: DepthAnythingConfig):
        super().__init__(config)
        self.head = DepthHead(config.features, config.max_depth)

    def forward(self, images: Tensor, auxiliary: bool = False) -> DPTOutput:
        """``[B, C, H, W]`` -> metres or inverse depth, ``[B, H, W]``; there is no auxiliary output."""
        maps = [narrow(m.features) for narrow, m in zip(self.narrow, self.feature_maps(images))]
        fused = self.fuse[3](maps[3], size=maps[2].shape[-2:])
        for level in (2, 1):
            fused = self.fuse[level](fused, maps[level], size=maps[level - 1].shape[-2:])
        return DPTOutput(self.head(self.fuse[0](fused, maps[0]), images.shape[-2:]))

    def tapped_tokens(self, backbone: VisionTransformer | HybridViT, taps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(backbone.encoder.norm(tokens) for tokens in taps)


class DepthHead(nn.Module):
    """``[B, F, h, w]`` -> ``[B, H, W]``: metres up to `max_depth`, or with None the inverse of depth, 0 or more."""

    def __init__(self, features: int, max_depth: float | None):
        super().__init__()
        self.max_depth = max_depth
        self.conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        self.conv2 = nn.Conv2d(features // 2, HEAD_CHANNELS, 3, padding=1)
        self.conv3 = nn.Conv2d(HEAD_CHANNELS, 1, 1)
        if max_depth is None:  # below 0 it would stay there behind the ReLU
            assert self.conv3.bias is not None
            nn.init.ones_(self.conv3.bias)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = self.conv3(F.relu(self.conv2(resized(self.conv1(x), size))))[:, 0]
        return F.relu(x) if self.max_depth is None else self.max_depth * x.sigmoid()


# The published sizes.
#             taps             channels                  features
SIZES: dict[str, tuple[tuple[int, ...], tuple[int, int, int, int], int]] = {
    "s":  ((2, 5, 8, 11),    (48, 96, 192, 384),       64),
    "b":  ((2, 5, 8, 11),    (96, 192, 384, 768),      128),
    "l":  ((4, 11, 17, 23),  (256, 512, 1024, 1024),   256),
}  # fmt: skip


def depth_anything_v2_config(size: str) -> DepthAnythingConfig:
    """``depth_anything_v2_config("s")`` has 24,785,089 parameters; ``max_depth`` makes it a model of metres."""
    taps, channels, features = SIZES[size]
    backbone = replace(dinov2_config(size), position_resampling="bicubic")
    return DepthAnythingConfig(backbone, taps=taps, channels=channels, features=features)


# The named models of the catalogue.
depth_anything_v2_s_config = partial(depth_anything_v2_config, "s")
depth_anything_v2_b_config = partial(depth_anything_v2_config, "b")
depth_anything_v2_l_config = partial(depth_anything_v2_config, "l")
