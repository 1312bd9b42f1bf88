"""The logits and targets of a classifier over a split."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from saccade.analysis.inputs import require_one_class
from saccade.engine.evaluation import choose_split, collect_split
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError


@dataclass(frozen=True)
class ClassLogits:
    """``logits [N, K]`` and ``targets [N]`` of a split, numbered as the model's labels.

    Attributes:
        names: of the N images.
        parts: the splits that they come from.
        note: why these, for people.
    """

    logits: Tensor
    targets: Tensor
    names: tuple[str, ...]
    parts: tuple[str, ...]
    note: str


def class_logits(
    predictor: Predictor,
    data: str,
    split: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
    on_inputs: Callable[[int, int], None] | None = None,
) -> ClassLogits:
    """Run a classifier over a split; arguments as for :func:`saccade.engine.evaluation.evaluate`.

    Raises:
        ConfigError: the model does not give one class to an image.
    """
    require_one_class(predictor, "this analysis")
    collected, parts, note = collect_split(predictor, data, predictor.task, split, batch_size, workers, on_inputs)
    logits, targets = collected["logits"], collected["target"]
    described = f"{len(collected)} images of {data}, {'+'.join(parts)} ({note})"
    return ClassLogits(logits, targets, collected.names, tuple(parts), described)


def has_validation(predictor: Predictor, data: str) -> bool:
    """Whether a data set has a validation split."""
    return "val" in choose_split(predictor, data, "all")[1]


def halves(whole: ClassLogits, *, seed: int = 0) -> tuple[ClassLogits, ClassLogits]:
    """Two random halves of a split, for a fit on the one and a measurement on the other.

    Raises:
        ConfigError: there are fewer than two images.
    """
    if len(whole.names) < 2:
        raise ConfigError("two halves need at least two images")
    order = torch.randperm(len(whole.names), generator=torch.Generator().manual_seed(seed))
    parts = []
    for index in order.tensor_split(2):
        names = tuple(whole.names[i] for i in index.tolist())
        note = f"a random half of {whole.note}"
        parts.append(ClassLogits(whole.logits[index], whole.targets[index], names, whole.parts, note))
    return parts[0], parts[1]
