"""Options of runs that predict a value for every pixel. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

DepthLoss = Literal["ssi", "silog", "l1"]
Alignment = Literal["none", "scale", "scale-shift"]


@dataclass(frozen=True)
class DepthConfig:
    """How depth is learned and measured."""

    # "silog": metres, partly invariant to their common scale (Eigen et al., arXiv 1406.2283); "l1": metres;
    # "ssi": inverse depth up to scale and shift (Ranftl et al., arXiv 1907.01341), for data of unknown scale
    loss: DepthLoss = "silog"
    gradient_weight: float = 0.5  # of the gradient matching term, at four scales, in the ssi loss
    # fitted to the ground truth of each image before it is measured: nothing, a factor, or a factor and a shift of
    # the inverse depth; with the ssi loss always the last
    alignment: Alignment = "none"

    SUMMARY: ClassVar[str] = "the distance of every pixel"
    DATA: ClassVar[str] = 'a folder of images/ and depth/, or "scenes"'
    LABELLED: ClassVar[bool] = True  # `saccade pretrain` trains the tasks without labels
    ARCHITECTURES: ClassVar[tuple[str, ...]] = ("dpt",)

    @staticmethod
    def default_recipe(data: str | None, model: Mapping[str, Any]) -> str:
        """The recipe for a data path (None: the default data set) and the given fields of the model's config."""
        return "depth"


@dataclass(frozen=True)
class SegmentationConfig:
    """How segmentation is learned."""

    auxiliary_weight: float = 0.2  # weight of the auxiliary head's loss (Zhao et al., arXiv 1612.01105)

    SUMMARY: ClassVar[str] = "the class of every pixel"
    DATA: ClassVar[str] = 'a folder of images/ and masks/, or "scenes"'
    LABELLED: ClassVar[bool] = True  # `saccade pretrain` trains the tasks without labels
    ARCHITECTURES: ClassVar[tuple[str, ...]] = ("dpt",)

    @staticmethod
    def default_recipe(data: str | None, model: Mapping[str, Any]) -> str:
        """The recipe for a data path (None: the default data set) and the given fields of the model's config."""
        return "segment"
