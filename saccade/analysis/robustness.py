"""Robustness of a classifier to corrupted images: the error for each corruption and severity.

Hendrycks & Dietterich, arXiv 1903.12261: the corruption error (CE) is the mean error over five severities, relative to
that of another model, AlexNet in the paper.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from saccade.analysis.corruptions import BENCHMARK, CORRUPTIONS, SEVERITIES, corrupt
from saccade.analysis.inputs import ImageBatches, image_reader, require_one_class
from saccade.analysis.perturbations import wilson
from saccade.analysis.result import to_plain
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError
from saccade.nn.matmul_precision import matmul_precision
from saccade.nn.mode import evaluation_mode


@dataclass(frozen=True)
class Robustness:
    """The errors of a classifier on corrupted images.

    Attributes:
        model: its name.
        corruptions: names of the N corruptions.
        clean: the error on the original images, in [0, 1].
        errors: ``[N, 5]`` by severity.
        images: how many.
        reference: the errors of another model on the same images; None without one.
        note: which images.
    """

    columns: ClassVar[tuple[str, ...]] = ("model", "corruption", "severity", "error", "low", "high")

    model: str
    corruptions: tuple[str, ...]
    clean: float
    errors: np.ndarray
    images: int
    reference: "Robustness | None" = None
    note: str = ""

    @property
    def mean_error(self) -> float:
        """Over corruptions and severities."""
        return float(self.errors.mean())

    @property
    def corruption_error(self) -> np.ndarray | None:
        """``[N]``, the mean error of each corruption over that of the reference; None without one."""
        if self.reference is None:
            return None
        other = self.reference.errors.mean(axis=1)
        return np.divide(self.errors.mean(axis=1), other, out=np.full(len(other), np.nan), where=other > 0)

    def __str__(self) -> str:
        low, high = wilson(round(self.clean * self.images), self.images)
        lines = [
            f"{self.model}: error {self.clean:.1%} ({low:.1%} to {high:.1%}) on clean images, {self.mean_error:.1%} on "
            "corrupted ones",
            self.note,
            "corruption       severity 1      2      3      4      5    mean" + ("      CE" if self.reference else ""),
        ]
        relative = self.corruption_error
        for n, name in enumerate(self.corruptions):
            cells = " ".join(f"{error:>6.1%}" for error in self.errors[n])
            last = "" if relative is None else f" {relative[n]:>7.2f}"
            lines.append(f"{name:<20} {cells}  {self.errors[n].mean():>6.1%}{last}")
        if relative is not None and self.reference is not None:
            lines.append(f"mean corruption error {np.nanmean(relative):.2f} relative to {self.reference.model}")
        return "\n".join(line for line in lines if line)

    def to_dict(self) -> dict[str, Any]:
        relative = self.corruption_error
        return {
            "model": self.model, "note": self.note, "images": self.images, "clean_error": self.clean,
            "mean_error": self.mean_error, "corruptions": list(self.corruptions), "errors": to_plain(self.errors),
            "corruption_error": None if relative is None else to_plain(relative),
            "reference": None if self.reference is None else self.reference.to_dict(),
        }  # fmt: skip

    def rows(self) -> list[tuple[Any, ...]]:
        models = [self] if self.reference is None else [self, self.reference]
        return [
            (m.model, name, severity, float(error), *wilson(round(float(error) * m.images), m.images))
            for m in models
            for name, errors in [("none", [m.clean]), *zip(m.corruptions, m.errors)]
            for severity, error in enumerate(errors, 0 if name == "none" else 1)
        ]


def require_corruptions(names: Sequence[str]) -> None:
    """Raise ConfigError unless there is a corruption of each name."""
    for name in names:
        if name not in CORRUPTIONS:
            raise ConfigError(f"there is no corruption {name!r}: choose {', '.join(CORRUPTIONS)}")


@torch.inference_mode()
def robustness(
    predictor: Predictor,
    images: ImageBatches,
    *,
    corruptions: Sequence[str] | None = None,
    name: str = "",
    seed: int = 0,
    on_images: Callable[[int, int], None] | None = None,
) -> Robustness:
    """Measure a classifier on corrupted images; the corruptions are applied to the model's input, as in ImageNet-C.

    Args:
        predictor: the classifier.
        images: with classes.
        corruptions: names; the fifteen of the benchmark by default.
        name: of the model; its architecture by default.
        seed: of noise; the same for every model.
        on_images: called with (images done, images in all).

    Raises:
        ConfigError: the images have no classes, the model is no classifier, or there is no such corruption.
        DataError: their classes are not the model's.
    """
    names = BENCHMARK if corruptions is None else tuple(corruptions)
    require_corruptions(names)
    require_one_class(predictor, "robustness")
    images.require_targets()
    if images.class_index is None:
        raise ConfigError("robustness is measured on images with classes; images alone have shift and occlusion")
    reader, preprocessing = image_reader(predictor), predictor.preprocess
    wrong = np.zeros((len(names), len(SEVERITIES)))
    clean, done = 0, 0

    def mistakes(inputs: Tensor, targets: Tensor) -> int:
        with evaluation_mode(predictor.model), matmul_precision(predictor.matmul_precision):
            return int((reader(inputs).argmax(dim=-1).cpu() != targets).sum())

    for number, batch in enumerate(images.batches):
        if not isinstance(batch.labels, Tensor) or batch.labels.ndim != 1:
            raise ConfigError("robustness is measured on images of one class each")
        targets = images.class_index[batch.labels]
        inputs = batch.inputs.to(predictor.device)
        levels = preprocessing.levels(inputs).clamp(0, 1)
        clean += mistakes(inputs, targets)
        for row, one in enumerate(names):
            for column, severity in enumerate(SEVERITIES):
                corrupted = corrupt(levels, one, severity, seed=seed * 1_000_003 + number)
                wrong[row, column] += mistakes(preprocessing.standardise(corrupted), targets)
        done += len(batch.names)
        if on_images is not None:
            on_images(done, images.count)
    label = name or predictor.source.architecture
    return Robustness(label, names, clean / done, wrong / done, done, note=images.note)


def in_relation(result: Robustness, reference: Robustness) -> Robustness:
    """A result with the corruption error in relation to a reference on the same images."""
    if (result.corruptions, result.images) != (reference.corruptions, reference.images):
        raise ConfigError("both models must be measured with the same corruptions on the same images")
    return replace(result, reference=reference)
