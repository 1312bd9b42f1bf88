"""Options of a multi-label run. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from saccade.config_io import Part, Positive


@dataclass(frozen=True)
class MultiLabelConfig:
    """Options of multi-label classification."""

    label_smoothing: Part = 0.0  # targets are moved from 0 and 1 towards 0.5 by this fraction, in [0, 1)
    class_weights: Literal["none", "balanced"] = "none"  # balanced: a positive counts negatives / positives times
    max_weight: Positive = 20.0  # largest weight of a positive with class_weights: balanced
    thresholds: Literal["f1", "half"] = "f1"  # of each label: the best F1 on the validation split; or 0.5

    SUMMARY: ClassVar[str] = "any number of labels for an image"
    DATA: ClassVar[str] = (
        "a CSV of file,labels (a;b or a|b) or of file and a column of 0 and 1 for each label, a folder with one "
        "subfolder per label, where an image may be in several, or the categories of COCO, Pascal VOC or YOLO"
    )
    LABELLED: ClassVar[bool] = True  # `saccade pretrain` trains the tasks without labels
    STEPS: ClassVar[int] = 500  # optimizer steps that fresh weights need at least to learn something of use
    ARCHITECTURES: ClassVar[tuple[str, ...]] = ()  # every backbone, as for classification

    @staticmethod
    def default_recipe(data: str | None, model: Mapping[str, Any]) -> str:
        """The recipe for a data path (None: the default data set) and the given fields of the model's config."""
        return "multilabel_finetune" if model.get("init") else "multilabel"
