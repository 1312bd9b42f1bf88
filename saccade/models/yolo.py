"""A dense one-stage detector: every location of the feature maps predicts a box (Redmon et al., arXiv 1506.02640).

Without anchors, as in FCOS (Tian et al., arXiv 1904.01355): a location predicts a class and the distances to the four
edges of its box. Many locations predict the same object, so non-maximum suppression is needed, unlike in DETR.

B batch, P locations of all maps, K classes, F features.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.models.backbone import WithBackbone, all_maps, backbone_maps, freeze_unused
from saccade.models.model import FeatureMap, LayerGroups, Model
from saccade.models.resnet import ResNetConfig
from saccade.models.zoo import build
from saccade.nn.convolution import ConvNorm

PRIOR = 0.01  # probability of each class at the start: nearly every location is background


@dataclass(frozen=True)
class YoloConfig(WithBackbone):
    """A one-stage detector.

    Attributes:
        backbone, backbone_config: a model from the catalogue with feature maps.
        levels: number of its last feature maps in use.
        features: F.
        tower: number of 3 x 3 convolutions before each of the two outputs.
    """

    backbone_config: Any
    backbone: str = "resnet"
    levels: int = 2
    features: int = 64
    tower: int = 2
    num_classes: int = 10


class YoloOutput(NamedTuple):
    """The predictions of every location."""

    logits: Tensor  # [B, P, K], of each class by itself
    boxes: Tensor  # [B, P, 4] centre x, centre y, width, height as fractions of the image
    locations: Tensor  # [P, 2] x, y in pixels
    strides: Tensor  # [P] pixels from one location of its map to the next


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
        self.map_strides = [stride[0] for _, stride in maps]
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels, _ in maps)
        self.class_tower = nn.Sequential(*(ConvNorm(width, width, 3) for _ in range(config.tower)))
        self.box_tower = nn.Sequential(*(ConvNorm(width, width, 3) for _ in range(config.tower)))
        self.classes = nn.Conv2d(width, config.num_classes, 3, padding=1)
        self.edges = nn.Conv2d(width, 4, 3, padding=1)
        nn.init.constant_(self.classes.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]
        self._map_sizes: dict[tuple[int, int], list[tuple[int, int]]] = {}  # input size -> sizes of the maps

    def forward(self, images: Tensor, valid: Tensor | None = None) -> YoloOutput:
        """The predictions of every location; boxes are fractions of the part of a padded image that is `valid [B, H,
        W]`, all of it by default."""
        levels: list[tuple[Tensor, Tensor]] = []
        sizes: list[tuple[int, int]] = []
        coarser: Tensor | None = None
        maps = self.backbone.features(images)[-self.config.levels :]
        for lateral, feature_map, stride in reversed(list(zip(self.lateral, maps, self.map_strides))):
            x = lateral(feature_map.features)
            if coarser is not None:  # the top-down path of a feature pyramid
                x = x + F.interpolate(coarser, size=x.shape[-2:])
            coarser = x
            logits = self.classes(self.class_tower(x)).flatten(2).transpose(1, 2)  # [B, p, K]
            edges = F.softplus(self.edges(self.box_tower(x))).flatten(2).transpose(1, 2) * stride  # [B, p, 4] pixels
            levels.append((logits, edges))
            sizes.append((x.shape[-2], x.shape[-1]))
        logits, edges = (torch.cat(parts, dim=1) for parts in zip(*levels[::-1]))
        locations, strides = grid_locations(sizes[::-1], self.map_strides, images.device)
        corners = torch.cat((locations - edges[..., :2], locations + edges[..., 2:]), dim=-1)  # [B, P, 4] pixels
        cxcywh = torch.cat(((corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]), dim=-1)
        return YoloOutput(logits, cxcywh / self._extent(images, valid), locations, strides)

    def locations(self, image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """``[P, 2]`` and ``[P]``: the locations and strides of :class:`YoloOutput` for inputs of (H, W) pixels, on the
        CPU. They follow from the shapes of the maps, which are not computed."""
        if image_size not in self._map_sizes:
            config = self.config.backbone_config
            with torch.device("meta"):
                probe = build(self.config.backbone, config.to_dict()).eval()
                maps = probe.features(torch.empty(1, config.in_channels, *image_size))[-self.config.levels :]
            self._map_sizes[image_size] = [(m.features.shape[-2], m.features.shape[-1]) for m in maps]
        return grid_locations(self._map_sizes[image_size], self.map_strides, torch.device("cpu"))

    def _extent(self, images: Tensor, valid: Tensor | None) -> Tensor:
        """(W, H, W, H) of each image in pixels, ``[B, 1, 4]``."""
        if valid is None:
            return images.new_tensor([images.shape[-1], images.shape[-2]] * 2)[None, None]
        size = torch.stack((valid.any(1).sum(1), valid.any(2).sum(1)), dim=1)
        return size.repeat(1, 2)[:, None].to(images.dtype)

    def freeze_unused(self) -> None:
        freeze_unused(self.backbone, self.config.backbone, lambda *x: all_maps(*x)[-self.config.levels :])

    def layer_groups(self) -> LayerGroups:
        """The backbone's groups; the layers on top belong to the head."""
        return self.backbone.layer_groups()

    def embed(self, images: Tensor) -> Tensor:
        """The backbone's features of the whole image: ``[B, C, H, W]`` -> ``[B, num_features]``."""
        return self.backbone.embed(images)

    def feature_maps(self, images: Tensor) -> tuple[FeatureMap, ...]:
        """The backbone's maps."""
        return self.backbone.feature_maps(images)

    def block_maps(self, images: Tensor, blocks: Sequence[int]) -> tuple[FeatureMap, ...]:
        return self.backbone.block_maps(images, blocks)


def grid_locations(
    sizes: Sequence[tuple[int, int]], strides: Sequence[int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """The centres of all cells of feature maps: x, y in pixels ``[P, 2]``, and the stride of each ``[P]``.

    Args:
        sizes: (height, width) of each map.
        strides: pixels from one cell of it to the next.
        device: device of the result.
    """
    locations, of_map = [], []
    for (height, width), stride in zip(sizes, strides):
        y, x = (torch.arange(n, device=device) * stride + stride / 2 for n in (height, width))
        locations.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1))
        of_map.append(torch.full((height * width,), float(stride), device=device))
    return torch.cat(locations), torch.cat(of_map)


def yolo_small_config() -> YoloConfig:
    """For images of about 128 pixels: locations every 8 and every 16 pixels."""
    return YoloConfig(ResNetConfig("basic", (1, 1, 2), image_size=(128, 128), num_classes=0, width=32))
