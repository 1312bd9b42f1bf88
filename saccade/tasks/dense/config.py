"""Options of runs that predict a value for every pixel. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

DepthLoss = Literal["ssi", "silog", "l1"]
Alignment = Literal["none", "scale", "scale-shift"]


@dataclass(frozen=True)
class DepthConfig:
    """How depth is learned and measured.

    Attributes:
        loss: "silog" for metres, up to a part of their common scale (Eigen et al., arXiv 1406.2283); "l1" for metres;
            "ssi" for the inverse of depth up to scale and shift (Ranftl et al., arXiv 1907.01341), for data whose scale
            nobody knows.
        gradient_weight: of the differences between neighbours, at four sizes, in the ssi loss.
        alignment: what is fitted to the truth before measuring: nothing, a factor, or a factor and a shift of the
            inverse depth; with "ssi" always the last.
    """

    loss: DepthLoss = "silog"
    gradient_weight: float = 0.5
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
    """How segmentation is learned: `aux` is the weight of the second head's loss."""

    aux: float = 0.2

    SUMMARY: ClassVar[str] = "the class of every pixel"
    DATA: ClassVar[str] = 'a folder of images/ and masks/, or "scenes"'
    LABELLED: ClassVar[bool] = True  # `saccade pretrain` trains the tasks without labels
    ARCHITECTURES: ClassVar[tuple[str, ...]] = ("dpt",)

    @staticmethod
    def default_recipe(data: str | None, model: Mapping[str, Any]) -> str:
        """The recipe for a data path (None: the default data set) and the given fields of the model's config."""
        return "segment"
