"""Check depth maps and class masks before training: unreadable maps, maps of another size than their image, empty
maps."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np

from saccade.data.check import AUTO_FULL, SAMPLE, source_channels
from saccade.data.samples import DataSplits
from saccade.data.splits import SPLITS
from saccade.errors import ImageError
from saccade.tasks.dense.sources import DenseSource, Kind

NEAREST, FARTHEST = 0.05, 1000.0  # metres; a median depth outside of them is probably a wrong scale
MAX_SHOWN = 5  # errors of each kind in the printed report


@dataclass(frozen=True)
class MapReport:
    """The result of a check, with a readable `str`; a broken or an empty map is an error.

    Attributes:
        images: split -> images.
        values: split -> class -> pixels; or, of depth, "nearest", "median" and "farthest" in metres.
        holes: split -> fraction of pixels without a value.
        broken: image -> error of reading it or its map.
        empty: images whose mask has no class at all; a depth map without a value is in `broken`.
        warnings: probable problems of the whole data set.
        examined: number of images opened, and total number.
        notes: the layout, the file that names the classes, and files that were skipped.
    """

    images: dict[str, int]
    values: dict[str, dict[str, float]]
    holes: dict[str, float]
    broken: dict[str, str] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    examined: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = list(self.notes)
        for split, count in self.images.items():
            shown = ", ".join(f"{name} {_number(value)}" for name, value in self.values[split].items())
            lines.append(f"{split:<5} {count:>6} images, {self.holes[split]:.1%} of pixels without a value: {shown}")
        lines += [f"warning: {text}" for text in self.warnings]
        lines += [f"error: {text}" for text in list(self.broken.values())[:MAX_SHOWN]]
        lines += [f"error: the mask of {name} has no class" for name in self.empty[:MAX_SHOWN]]
        more = sum(max(0, len(names) - MAX_SHOWN) for names in (self.broken, self.empty))
        lines += [f"… and {more} more errors"] if more else []
        lines += [] if self.errors else ["no errors"]
        done, total = self.examined
        return "\n".join([*lines, *([f"checked a sample of {done} of {total} images"] if done < total else [])])

    @property
    def errors(self) -> int:
        return len(self.broken) + len(self.empty)

    @property
    def ok(self) -> bool:
        """Whether a run may start on this data."""
        return not self.errors


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def check_maps(
    splits: DataSplits, kind: Kind, *, mode: str = "full", on_image: Callable[[int, int], None] | None = None
) -> MapReport:
    """Open images with their maps.

    Args:
        splits: from :func:`saccade.tasks.dense.sources.open_dense`.
        kind: kind of the maps.
        mode: "full"; "sample", an even sample of 2,000; "auto", full up to 20,000 images.
        on_image: called with (images done, total number of images).
    """
    parts = {name: part for name in SPLITS if (part := getattr(splits, name)) is not None}
    total = sum(len(part) for part in parts.values())
    stride = max(1, total // SAMPLE) if mode == "sample" or (mode == "auto" and total > AUTO_FULL) else 1
    to_examine = sum(len(range(0, len(part), stride)) for part in parts.values())
    images = {name: len(part) for name, part in parts.items()}
    report = MapReport(images, {}, {}, examined=(to_examine, total), notes=splits.notes)
    done = 0
    for split, part in parts.items():
        source = cast(DenseSource, part)
        num_pixels, num_valid, medians, extremes = 0, 0, [], []
        counts: Counter[int] = Counter()
        for index in range(0, len(source), stride):
            name, done = source.names[index], done + 1
            if on_image is not None:
                on_image(done, to_examine)
            try:
                _, target = source.with_map(index, source_channels(source))
            except ImageError as error:
                report.broken[name] = str(error)
                continue
            valid = ~np.isnan(target) if kind == "depth" else target >= 0
            num_pixels, num_valid = num_pixels + target.size, num_valid + int(valid.sum())
            if not valid.any():
                report.empty.append(name)
            elif kind == "depth":
                medians.append(float(np.median(target[valid])))
                extremes += [float(target[valid].min()), float(target[valid].max())]
            else:
                counts.update(dict(zip(*(v.tolist() for v in np.unique(target[valid], return_counts=True)))))
        report.holes[split] = 1 - num_valid / max(num_pixels, 1)
        report.values[split] = {}
        if medians:
            median = float(np.median(medians))
            report.values[split] = {"nearest": min(extremes), "median": median, "farthest": max(extremes)}
            if not NEAREST < median < FARTHEST:
                report.warnings.append(
                    f"the median depth of {split} is {median:.4g} m: check data.depth_scale (metres per unit of a PNG)"
                )
        elif counts:
            report.values[split] = {splits.classes[number]: counts[number] for number in sorted(counts)}
            if split == "train" and stride == 1:
                missing = [name for number, name in enumerate(splits.classes) if not counts[number]]
                report.warnings.extend(f"no training pixel of the class {name}" for name in missing)
    return report
