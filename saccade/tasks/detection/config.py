"""Options of a detection run: costs of the matcher and weights of the loss, named as in DETR's official code. Loads no
torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from saccade.config_io import Count, NotNegative


@dataclass(frozen=True)
class DetectionConfig:
    """Costs and weights, by default those of Carion et al. (arXiv 2005.12872).

    The costs, `loss_ce`, `loss_bbox`, `eos_coef` and the `aux` options apply only to DETR; FCOS has `loss_giou`.
    """

    cost_class: NotNegative = 1.0  # of the probability of the target's class, in the matcher
    cost_bbox: NotNegative = 5.0  # of the L1 distance between two boxes
    cost_giou: NotNegative = 2.0  # of the generalised IoU
    loss_ce: NotNegative = 1.0  # weight of the cross-entropy of the classes, in the loss
    loss_bbox: NotNegative = 5.0  # of the L1 distance of matched boxes
    loss_giou: NotNegative = 2.0  # of one minus the generalised IoU of matched boxes
    loss_mask: NotNegative = 1.0  # of the focal loss of masks, with a mask head
    loss_dice: NotNegative = 1.0  # of the Dice loss of masks, with a mask head
    eos_coef: NotNegative = 0.1  # weight of the class "no object" in the cross-entropy, relative to the other classes
    aux_loss: bool = True  # the loss after every decoder layer, not only the last
    aux_repeats: Count = 1  # queries matched to each object in all layers but the last (Jia et al., arXiv 2207.13080)

    multi_scale: bool = False  # in training, shorter sides of 60 to 100 % of the model's size and random crops, as DETR

    SUMMARY: ClassVar[str] = "boxes with classes"
    DATA: ClassVar[str] = 'boxes as COCO, Pascal VOC, CVAT, YOLO, LabelMe, Datumaro, CSV or metadata.jsonl, or "scenes"'
    LABELLED: ClassVar[bool] = True  # `saccade pretrain` trains the tasks without labels
    STEPS: ClassVar[int] = 2000  # optimizer steps that fresh weights need at least to learn something of use
    ARCHITECTURES: ClassVar[tuple[str, ...]] = ("detr", "yolo")

    @staticmethod
    def default_recipe(data: str | None, model: Mapping[str, Any]) -> str:
        """The recipe for a data path (None: the default data set) and the given fields of the model's config."""
        return "detect"
