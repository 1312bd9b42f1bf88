"""Check images with values before training: the images as for every task, and the range of the values."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from saccade.data.check import DataReport, check_data
from saccade.data.samples import DataSplits
from saccade.data.splits import SPLITS

MAX_SHOWN = 5
OUTLIER = 10.0  # standard deviations from the mean of the training values


@dataclass(frozen=True)
class ValueReport:
    """The result of a check, with a readable `str`.

    Attributes:
        images: broken files, and files with the same bytes.
        values: split -> "smallest", "mean", "largest", "std".
        errors: values that training rejects.
        warnings: probable problems of the values.
    """

    images: DataReport
    values: dict[str, dict[str, float]]
    errors: list[str]
    warnings: list[str]

    @property
    def ok(self) -> bool:
        """Whether a run may start on this data."""
        return self.images.ok and not self.errors

    def to_dict(self) -> dict[str, Any]:
        errors, warnings = [*self.images.errors, *self.errors], [*self.images.warnings, *self.warnings]
        return {**self.images.to_dict(), "values": self.values, "errors": errors, "warnings": warnings}

    def __str__(self) -> str:
        lines = [
            f"{split:<5} values from {v['smallest']:.6g} to {v['largest']:.6g}, mean {v['mean']:.6g}, "
            f"standard deviation {v['std']:.6g}"
            for split, v in self.values.items()
        ]
        lines += [f"error: {text}" for text in self.errors]
        lines += [f"warning: {text}" for text in self.warnings]
        return "\n".join([str(self.images), *lines])


def check_values(splits: DataSplits, *, mode: str = "full", on_image: Any = None) -> ValueReport:
    """Open images and check their values.

    Args:
        splits: from :func:`saccade.tasks.regression.sources.open_values`.
        mode, on_image: as for :func:`saccade.data.check.check_data`.
    """
    images = check_data(splits, mode=mode, on_image=on_image)
    parts: dict[str, Any] = {name: part for name in SPLITS if (part := getattr(splits, name)) is not None}
    values = {
        split: {
            "smallest": float(part.values.min()), "mean": float(part.values.mean()),
            "largest": float(part.values.max()), "std": float(part.values.std()),
        }
        for split, part in parts.items()
    }  # fmt: skip
    mean, std = values["train"]["mean"], values["train"]["std"]
    if not std > 0:
        error = f"all {len(splits.train)} training values are {mean:g}: there is nothing to learn"
        return ValueReport(images, values, [error], [])
    far = [n for part in parts.values() for n, v in zip(part.names, np.abs(part.values - mean) / std) if v > OUTLIER]
    warnings = []
    if far:
        shown = ", ".join(far[:MAX_SHOWN])
        warnings.append(f"{len(far)} values are more than {OUTLIER:g} standard deviations from the mean: {shown}")
    return ValueReport(images, values, [], warnings)
