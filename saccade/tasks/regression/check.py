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
        conflicts: names of images with the same bytes and different values.
        warnings: probable problems of the values.
    """

    images: DataReport
    values: dict[str, dict[str, float]]
    conflicts: list[list[str]]
    warnings: list[str]

    @property
    def ok(self) -> bool:
        """Whether a run may start on this data."""
        return self.images.ok and not self.conflicts

    def to_dict(self) -> dict[str, Any]:
        own = {"values": self.values, "conflicts": self.conflicts}
        return {**self.images.to_dict(), **own, "warnings": [*self.images.warnings, *self.warnings]}

    def __str__(self) -> str:
        lines = [
            f"{split:<5} values from {v['smallest']:.6g} to {v['largest']:.6g}, mean {v['mean']:.6g}, "
            f"standard deviation {v['std']:.6g}"
            for split, v in self.values.items()
        ]
        lines += [f"error: the same image with different values: {', '.join(g)}" for g in self.conflicts[:MAX_SHOWN]]
        more = len(self.conflicts) - MAX_SHOWN
        lines += [f"… and {more} more such images"] if more > 0 else []
        lines += [f"warning: {text}" for text in self.warnings]
        return "\n".join([str(self.images), *lines])


def check_values(splits: DataSplits, *, mode: str = "full", on_image: Any = None) -> ValueReport:
    """Open images and look at their values.

    Args:
        splits: from :func:`saccade.tasks.regression.sources.open_values`.
        mode, on_image: as for :func:`saccade.data.check.check_data`.
    """
    images = check_data(splits, mode=mode, on_image=on_image)
    parts: dict[str, Any] = {name: part for name in SPLITS if (part := getattr(splits, name)) is not None}
    value_of = {f"{s}:{n}": float(v) for s, part in parts.items() for n, v in zip(part.names, part.values)}
    values = {
        split: {
            "smallest": float(part.values.min()), "mean": float(part.values.mean()),
            "largest": float(part.values.max()), "std": float(part.values.std()),
        }
        for split, part in parts.items()
    }  # fmt: skip
    same = [*images.leaks, *images.duplicates]
    conflicts = [group for group in same if len({value_of[name] for name in group}) > 1]
    mean, std = values["train"]["mean"], values["train"]["std"]
    if not std > 0:
        return ValueReport(images, values, conflicts, ["all training values are the same: there is nothing to learn"])
    far = [n for part in parts.values() for n, v in zip(part.names, np.abs(part.values - mean) / std) if v > OUTLIER]
    warnings = []
    if far:
        shown = ", ".join(far[:MAX_SHOWN])
        warnings.append(f"{len(far)} values are more than {OUTLIER:g} standard deviations from the mean: {shown}")
    return ValueReport(images, values, conflicts, warnings)
