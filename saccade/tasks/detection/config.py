"""Options of a detection run: costs of the matcher and weights of the loss. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class DetectionConfig:
    """The original's costs and weights.

    Attributes:
        class_cost, box_cost, giou_cost: in the pairing.
        class_weight, box_weight, giou_weight: in the loss.
        no_object: weight of the class of a query that has no object.
        aux: whether every decoder block is asked, not only the last.
        aux_repeats: queries that each object is paired with in earlier blocks; more than one gives the backbone more
            to learn from where images are few (Jia et al., arXiv 2207.13080).
        mask_weight, dice_weight: of masks, in the loss of a detector that has a mask head.
    """

    class_cost: float = 1.0
    box_cost: float = 5.0
    giou_cost: float = 2.0
    class_weight: float = 1.0
    box_weight: float = 5.0
    giou_weight: float = 2.0
    no_object: float = 0.1
    aux: bool = True
    aux_repeats: int = 1
    mask_weight: float = 1.0
    dice_weight: float = 1.0

    SUMMARY: ClassVar[str] = "boxes with classes"
    DATA: ClassVar[str] = 'a folder in the layout of COCO, Pascal VOC or YOLO, or "scenes"'
    LABELLED: ClassVar[bool] = True  # `saccade pretrain` trains the tasks without labels
    ARCHITECTURES: ClassVar[tuple[str, ...]] = ("detr", "yolo")

    @staticmethod
    def default_recipe(data: str | None, model: Mapping[str, Any]) -> str:
        """The recipe for a data path (None: the default data set) and the given fields of the model's config."""
        return "detect"
