"""Options of a classification run. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from saccade.config_io import Fraction, Part, Positive


@dataclass(frozen=True)
class DistillationConfig:
    """Knowledge distillation from a teacher (Touvron et al., arXiv 2012.12877)."""

    teacher: str = ""  # a checkpoint of any format that has the data's classes; "": none
    kind: Literal["hard", "soft"] = "hard"  # its best class, or all of its probabilities
    alpha: Fraction = 0.5  # weight of the teacher's term in the loss, in [0, 1]
    temperature: Positive = 3.0  # of the soft kind


@dataclass(frozen=True)
class ClassificationConfig:
    """Options of classification."""

    class_weights: Literal["none", "balanced"] = "none"  # balanced: images / (classes x images of the class)
    label_smoothing: Part = 0.0  # fraction of the target spread evenly over all classes
    distillation: DistillationConfig = field(default_factory=DistillationConfig)

    SUMMARY: ClassVar[str] = "the class of an image"
    DATA: ClassVar[str] = 'a folder with one subfolder per class, a CSV of file,label, a zip, tar shards, or "digits"'
    LABELLED: ClassVar[bool] = True  # `saccade pretrain` trains the tasks without labels
    STEPS: ClassVar[int] = 500  # optimizer steps that fresh weights need at least to learn something of use
    ARCHITECTURES: ClassVar[tuple[str, ...]] = ()  # every backbone: those that no other task trains

    @staticmethod
    def default_recipe(data: str | None, model: Mapping[str, Any]) -> str:
        """The recipe for a data path (None: the default data set) and the given fields of the model's config."""
        if model.get("init"):
            return "finetune"
        return "digits" if data in (None, "digits") and "name" not in model else "scratch"
