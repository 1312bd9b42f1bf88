"""Look at depth maps and class masks before training: unreadable, of another size than their image, without a value."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np

from saccade.data.dense import DenseSource, Kind
from saccade.data.samples import DataSplits
from saccade.errors import ImageError

NEAREST, FARTHEST = 0.05, 1000.0  # metres between which the median of a depth map is believed
SHOWN = 5


@dataclass(frozen=True)
class MapReport:
    """What was found. Printable; a broken or an empty map is an error.

    Attributes:
        images: split -> images.
        values: split -> class -> pixels; or, of depth, "nearest", "median" and "farthest" in metres.
        holes: split -> share of pixels without a value.
        broken: image -> what is wrong with it or its map.
        empty: images whose mask has no class at all; such a depth map is broken.
        warnings: what is probably wrong with the whole.
    """

    images: dict[str, int]
    values: dict[str, dict[str, float]]
    holes: dict[str, float]
    broken: dict[str, str] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = []
        for split, count in self.images.items():
            told = ", ".join(f"{name} {_figure(value)}" for name, value in self.values[split].items())
            lines.append(f"{split:<5} {count:>6} images, {self.holes[split]:.1%} of pixels without a value: {told}")
        lines += [f"warning: {text}" for text in self.warnings]
        lines += [f"error: {text}" for text in list(self.broken.values())[:SHOWN]]
        lines += [f"error: the mask of {name} has no class" for name in self.empty[:SHOWN]]
        more = len(self.broken) + len(self.empty) - 2 * SHOWN
        return "\n".join(
            [*lines, *([f"… and {more} more"] if more > 0 else []), *([] if self.errors else ["no errors"])]
        )

    @property
    def errors(self) -> int:
        return len(self.broken) + len(self.empty)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def check_maps(splits: DataSplits, kind: Kind, on_image: Callable[[int, int], None] | None = None) -> MapReport:
    """Open every image with its map.

    Args:
        splits: of :func:`saccade.data.dense.open_dense`.
        kind: which maps.
        on_image: called with (images done, images in all).
    """
    parts = {name: part for name in ("train", "val", "test") if (part := getattr(splits, name)) is not None}
    total, done = sum(len(part) for part in parts.values()), 0
    report = MapReport({name: len(part) for name, part in parts.items()}, {}, {})
    for split, part in parts.items():
        source = cast(DenseSource, part)
        pixels, known, medians, ends = 0, 0, [], []
        counts: Counter[int] = Counter()
        for index, name in enumerate(source.names):
            done += 1
            if on_image is not None:
                on_image(done, total)
            try:
                _, map_ = source.dense(index)
            except ImageError as error:
                report.broken[name] = str(error)
                continue
            there = ~np.isnan(map_) if kind == "depth" else map_ >= 0
            pixels, known = pixels + map_.size, known + int(there.sum())
            if not there.any():
                report.empty.append(name)
            elif kind == "depth":
                medians.append(float(np.median(map_[there])))
                ends += [float(map_[there].min()), float(map_[there].max())]
            else:
                counts.update(dict(zip(*(v.tolist() for v in np.unique(map_[there], return_counts=True)))))
        report.holes[split] = 1 - known / max(pixels, 1)
        report.values[split] = {}
        if medians:
            middle = float(np.median(medians))
            report.values[split] = {"nearest": min(ends), "median": middle, "farthest": max(ends)}
            if not NEAREST < middle < FARTHEST:
                report.warnings.append(
                    f"the median depth of {split} is {middle:.4g} m: is data.depth_scale right, metres of a PNG's step?"
                )
        elif counts:
            report.values[split] = {splits.classes[number]: counts[number] for number in sorted(counts)}
            if split == "train":
                missing = [name for number, name in enumerate(splits.classes) if not counts[number]]
                report.warnings.extend(f"no pixel to train on is {name}" for name in missing)
    return report
