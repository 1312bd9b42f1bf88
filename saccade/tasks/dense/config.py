"""Options of runs that predict a value for every pixel. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from saccade.config_io import NotNegative, Positive

DepthLoss = Literal["ssi", "ssitrim", "silog", "l1"]
Alignment = Literal["none", "scale", "scale-shift"]


@dataclass(frozen=True)
class DepthConfig:
    """Options of depth estimation."""

    # "silog": metres, partly invariant to their common scale (Eigen et al., arXiv 1406.2283); "l1": metres;
    # both of these: inverse depth up to scale and shift, for data of unknown scale. "ssitrim": Ranftl et al. (arXiv
    # 1907.01341); "ssi": L1 after a least-squares fit to the ground truth, untrimmed, in the unit of 1 / depth
    loss: DepthLoss = "silog"
    gradient_weight: NotNegative = 0.5  # of the gradient matching term, at four scales, in the ssi and ssitrim losses
    # fitted to the ground truth of each image before it is measured: nothing, a factor, or a factor and a shift of
    # the inverse depth; with the ssi and ssitrim losses always the last
    alignment: Alignment = "none"
    # metres, in evaluation: farther ground truth is not measured, farther predictions are set to it; null: no limit.
    # 10 is usual for NYU Depth v2, 80 for KITTI
    max_depth: Positive | None = None

    SUMMARY: ClassVar[str] = "the distance of every pixel"
    DATA: ClassVar[str] = 'a folder of images/ and depth/, or "scenes"'
    LABELLED: ClassVar[bool] = True  # `saccade pretrain` trains the tasks without labels
    STEPS: ClassVar[int] = 1000  # optimizer steps that fresh weights need at least to learn something of use
    ARCHITECTURES: ClassVar[tuple[str, ...]] = ("dpt", "depth_anything")

    @staticmethod
    def default_recipe(data: str | None, model: Mapping[str, Any]) -> str:
        """The recipe for a data path (None: the default data set) and the given fields of the model's config."""
        return "depth"


@dataclass(frozen=True)
class SegmentationConfig:
    """Options of segmentation."""

    auxiliary_weight: NotNegative = 0.2  # weight of the auxiliary head's loss (Zhao et al., arXiv 1612.01105)

    SUMMARY: ClassVar[str] = "the class of every pixel"
    DATA: ClassVar[str] = 'a folder of images/ and masks/, or "scenes"'
    LABELLED: ClassVar[bool] = True  # `saccade pretrain` trains the tasks without labels
    STEPS: ClassVar[int] = 1000  # optimizer steps that fresh weights need at least to learn something of use
    ARCHITECTURES: ClassVar[tuple[str, ...]] = ("dpt",)
    NAMES: ClassVar[str] = "*_seg"  # of its models in the catalogue; the others of the architecture estimate depth

    @staticmethod
    def default_recipe(data: str | None, model: Mapping[str, Any]) -> str:
        """The recipe for a data path (None: the default data set) and the given fields of the model's config."""
        return "segment"
