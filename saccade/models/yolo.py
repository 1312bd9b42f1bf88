"""The classical detector, for contrast: every place of the map is a candidate (Redmon et al., arXiv 1506.02640).

No anchors (Tian et al., FCOS, arXiv 1904.01355): a place says which class it lies in and how far the four edges of the
box are. Thousands of places answer, many of them with the same object; what overlaps is suppressed afterwards. DETR
does without both.

B batch, P places over all maps, K classes, F features.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.backbone import WithBackbone
from saccade.models.model import FeatureMap, Model
from saccade.models.resnet import ResNetConfig
from saccade.models.zoo import backbone_maps, build
from saccade.nn.convolution import ConvNorm

PRIOR = 0.01  # probability of each class at the start: nearly every place is background


@dataclass(frozen=True)
class YoloConfig(WithBackbone):
    """A detector of one stage.

    Attributes:
        backbone, backbone_config: a model of the zoo with feature maps.
        levels: how many of its last maps are looked at.
        features: F.
        tower: 3 x 3 convolutions in front of each of the two answers.
    """

    backbone_config: Any
    backbone: str = "resnet"
    levels: int = 2
    features: int = 64
    tower: int = 2
    num_classes: int = 10


class YoloOutput(NamedTuple):
    """What every place says."""

    logits: Tensor  # [B, P, K], each class by itself
    boxes: Tensor  # [B, P, 4] centre x, y, width, height as shares of the image
    places: Tensor  # [P, 2] x, y of each place, in pixels
    strides: Tensor  # [P] pixels from one place of its map to the next


class Yolo(Model):
    """``net(images [B, C, H, W])`` -> :class:`YoloOutput`."""

    head_names = ("classes.weight", "classes.bias")

    def __init__(self, config: YoloConfig):
        super().__init__()
        self.config = config
        width = config.features
        self.backbone = build(config.backbone, config.backbone_config.to_dict())
        self.num_features = self.backbone.num_features
        maps = backbone_maps(config.backbone, config.backbone_config)[-config.levels :]
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels, _ in maps)
        self.class_tower = nn.Sequential(*(ConvNorm(width, width, 3) for _ in range(config.tower)))
        self.box_tower = nn.Sequential(*(ConvNorm(width, width, 3) for _ in range(config.tower)))
        self.classes = nn.Conv2d(width, config.num_classes, 3, padding=1)
        self.edges = nn.Conv2d(width, 4, 3, padding=1)
        nn.init.constant_(self.classes.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]

    def forward(self, images: Tensor, valid: Tensor | None = None) -> YoloOutput:
        """What every place says; boxes are shares of the part of a padded image that is `valid [B, H, W]`."""
        found = []
        finer: Tensor | None = None
        maps = self.backbone.features(images)[-self.config.levels :]
        for lateral, feature_map in reversed(list(zip(self.lateral, maps))):
            x = lateral(feature_map.features)
            if finer is not None:  # what is coarse tells what is fine of its surroundings
                x = x + F.interpolate(finer, size=x.shape[-2:])
            finer = x
            found.append(self._level(x, feature_map.stride[0]))
        logits, edges, places, strides = (torch.cat(parts, dim=-2) for parts in zip(*found[::-1]))
        strides = strides[:, 0]
        corners = torch.cat((places - edges[..., :2], places + edges[..., 2:]), dim=-1)  # [B, P, 4] pixels
        extent = self._extent(images, valid)
        centred = torch.cat(((corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]), dim=-1)
        return YoloOutput(logits, centred / extent, places, strides)

    def _level(self, x: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One map's logits ``[B, p, K]``, edges ``[B, p, 4]`` in pixels, places ``[p, 2]`` and strides ``[p, 1]``."""
        logits = self.classes(self.class_tower(x)).flatten(2).transpose(1, 2)
        edges = F.softplus(self.edges(self.box_tower(x))).flatten(2).transpose(1, 2) * stride
        y, x_ = (torch.arange(n, device=x.device) * stride + stride / 2 for n in x.shape[-2:])
        places = torch.stack(torch.meshgrid(x_, y, indexing="xy"), dim=-1).flatten(0, 1)
        return logits, edges, places, torch.full((len(places), 1), float(stride), device=x.device)

    def _extent(self, images: Tensor, valid: Tensor | None) -> Tensor:
        """(W, H, W, H) of each image in pixels, ``[B, 1, 4]``."""
        if valid is None:
            return images.new_tensor([images.shape[-1], images.shape[-2]] * 2)[None, None]
        size = torch.stack((valid.any(1).sum(1), valid.any(2).sum(1)), dim=1)
        return size.repeat(1, 2)[:, None].to(images.dtype)

    def embed(self, images: Tensor) -> Tensor:
        """What the backbone sees of the whole image: ``[B, C, H, W]`` -> ``[B, num_features]``."""
        return self.backbone.embed(images)

    def features(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The backbone's maps."""
        return self.backbone.features(images)


def yolo_small_config() -> YoloConfig:
    """For images of about 128 pixels: places every 8 and every 16 pixels."""
    return YoloConfig(ResNetConfig("basic", (1, 1, 2), image_size=(128, 128), num_classes=0, width=32))
