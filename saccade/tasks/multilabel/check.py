"""Check images with several labels before training: the images as for every task, and the frequency of each label."""

from dataclasses import dataclass
from typing import Any

from saccade.data.check import DataReport, check_data
from saccade.data.samples import DataSplits


@dataclass(frozen=True)
class MultiLabelReport:
    """The result of a check, with a readable `str`.

    Attributes:
        images: broken files, and files with the same bytes.
        labels: split -> label -> images that have it.
        unlabelled: split -> images without a label.
        warnings: labels that cannot be learned or measured.
    """

    images: DataReport
    labels: dict[str, dict[str, int]]
    unlabelled: dict[str, int]
    warnings: list[str]

    @property
    def ok(self) -> bool:
        """Whether a run may start on this data."""
        return self.images.ok

    def to_dict(self) -> dict[str, Any]:
        own = {"labels": self.labels, "unlabelled": self.unlabelled}
        return {**self.images.to_dict(), **own, "warnings": [*self.images.warnings, *self.warnings]}

    def __str__(self) -> str:
        lines = [str(self.images)]
        for split, counts in self.labels.items():
            common = ", ".join(f"{label} {n}" for label, n in sorted(counts.items(), key=lambda pair: -pair[1])[:12])
            more = f" and {len(counts) - 12} more" if len(counts) > 12 else ""
            lines.append(f"{split:<5} {len(counts)} labels: {common}{more}; {self.unlabelled[split]} without a label")
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])


def check_multilabel(splits: DataSplits, *, mode: str = "full", on_image: Any = None) -> MultiLabelReport:
    """Open images and count their labels.

    Args:
        splits: from :func:`saccade.tasks.multilabel.sources.open_multilabel`.
        mode, on_image: as for :func:`saccade.data.check.check_data`.
    """
    images = check_data(splits, mode=mode, on_image=on_image)
    parts: dict[str, Any] = dict(splits.parts)
    labels = {split: dict(zip(splits.classes, part.targets.sum(0).tolist())) for split, part in parts.items()}
    unlabelled = {split: int((~part.targets.any(1)).sum()) for split, part in parts.items()}
    warnings = []
    for split, counts in labels.items():
        missing = [label for label, count in counts.items() if not count]
        if missing:
            warnings.append(f"no image in {split} of {', '.join(missing[:8])}")
    everywhere = [label for label, count in labels["train"].items() if count == len(splits.train)]
    if everywhere:
        warnings.append(f"every training image has {', '.join(everywhere[:8])}: such labels cannot be learned")
    return MultiLabelReport(images, labels, unlabelled, warnings)
