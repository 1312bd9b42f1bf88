"""Check of an image or text data set before a long run: broken files, duplicates across splits, contradicting labels,
missing classes."""

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from saccade.data.images import size_of, stored_channels
from saccade.data.samples import ComparedSource, DataSplits, Examination, ExaminedSource, Source
from saccade.errors import ImageError

SAMPLE = 2_000  # images that `sample` checks
AUTO_FULL = 20_000  # largest number of images of which `auto` checks all
IMBALANCE = 10.0  # largest ratio of the sizes of two classes without a warning
MAX_SHOWN = 8  # names in one line of the report


@dataclass(frozen=True)
class DataReport:
    """The result of a check, with a readable `str`; `errors` stop a run, `warnings` do not.

    Attributes:
        counts: split -> class -> images.
        broken: name -> error.
        doubtful: name -> annotations that training silently omits or corrects, such as boxes without area.
        leaks: groups of names with the same bytes in more than one split.
        duplicates: groups of names with the same bytes within one split.
        conflicts: groups of names with the same bytes and different labels or values.
        coverage: number of images checked, and total number.
        sizes: (width, height, number of images), the most frequent first.
        things: "images" or "texts".
        targets: kind of target in conflicts: "labels" or "values".
        notes: messages of the reader on recognised and skipped files.
    """

    name: str
    counts: dict[str, dict[str, int]]
    broken: dict[str, str] = field(default_factory=dict)
    doubtful: dict[str, str] = field(default_factory=dict)
    leaks: list[list[str]] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    conflicts: list[list[str]] = field(default_factory=list)
    coverage: tuple[int, int] = (0, 0)
    sizes: list[tuple[int, int, int]] = field(default_factory=list)
    things: str = "images"
    targets: str = "labels"
    notes: tuple[str, ...] = ()

    @property
    def errors(self) -> list[str]:
        errors = []
        if self.broken:
            errors.append(f"{len(self.broken)} broken: {_shortened(self.broken.values())}")
        if self.conflicts:
            errors.append(f"{len(self.conflicts)} {self.things} have several {self.targets}: {_groups(self.conflicts)}")
        return errors

    @property
    def ok(self) -> bool:
        """Whether there are no errors that would invalidate a run."""
        return not self.errors

    @property
    def warnings(self) -> list[str]:
        warnings = []
        if self.doubtful:
            warnings.append(f"{len(self.doubtful)} with doubtful annotations: {_shortened(self.doubtful.values())}")
        if self.leaks:
            warnings.append(f"{len(self.leaks)} {self.things} are in more than one split: {_groups(self.leaks)}")
        if self.duplicates:
            warnings.append(f"{len(self.duplicates)} {self.things} are duplicates: {_groups(self.duplicates)}")
        train = self.counts["train"]
        largest, smallest = max(train, key=train.__getitem__), min(train, key=train.__getitem__)
        if train[largest] > IMBALANCE * train[smallest]:
            warnings.append(f"unbalanced: {train[largest]} of {largest}, {train[smallest]} of {smallest}")
        for split, classes in self.counts.items():
            empty = [name for name, count in classes.items() if not count]
            if empty:
                warnings.append(f"no {self.things} in {split} of {_shortened(empty)}")
        return warnings

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "errors": self.errors, "warnings": self.warnings}

    def __str__(self) -> str:
        lines = list(self.notes)
        for split, classes in self.counts.items():
            count, low, high = sum(classes.values()), min(classes.values()), max(classes.values())
            balance = f", {len(classes)} classes of {low} to {high}" if len(classes) > 1 else ""
            lines.append(f"{split:<5} {count:>7} {self.things}{balance}")
        if (names := list(self.counts["train"])) != ["all"]:
            lines.append(f"classes {_shortened(names)}")
        if self.sizes:
            lines.append("sizes " + ", ".join(f"{w} x {h} ({n})" for w, h, n in self.sizes[:5]))
        lines += [f"error: {text}" for text in self.errors] + [f"warning: {text}" for text in self.warnings]
        done, total = self.coverage
        result = f"{len(self.errors)} errors, {len(self.warnings)} warnings"
        lines.append(f"checked {done} of {total} {self.things}: {result}")
        return "\n".join(lines)


def check_data(
    splits: DataSplits, *, mode: str = "full", on_image: Callable[[int, int], None] | None = None
) -> DataReport:
    """Decode the images, and compare their bytes and labels.

    Args:
        splits: the data.
        mode: "full"; "sample", 2,000 evenly spaced images; "auto", full up to 20,000 images, else a sample.
        on_image: called with (images done, total images).
    """
    channels = source_channels(splits.train)
    notes = splits.notes
    if channels != 3:
        notes += (f"images of {channels} channels: train with --set model.in_channels={channels}",)
    samples = [(name, source, index) for name, source in splits.parts.items() for index in range(len(source))]
    total = len(samples)
    if mode == "sample" or (mode == "auto" and total > AUTO_FULL):
        samples = samples[:: max(1, total // SAMPLE)]
    broken: dict[str, str] = {}
    doubtful: dict[str, str] = {}
    sizes: Counter[tuple[int, int]] = Counter()
    by_digest: dict[bytes, list[tuple[str, str, Hashable]]] = {}  # digest -> split, name, label or other target
    with ThreadPoolExecutor() as pool:
        results = pool.map(partial(_check, channels=channels), samples, chunksize=16)
        for done, ((split, source, index), (digest, result)) in enumerate(zip(samples, results), 1):
            name = source.names[index]
            if isinstance(result, str):
                broken[name] = result
            elif result is not None:
                sizes[result.size[1], result.size[0]] += 1
                if result.problems:
                    doubtful[name] = f"{name}: {'; '.join(result.problems)}"
            if digest:
                by_digest.setdefault(digest, []).append((split, name, _target(source, index)))
            if on_image is not None:
                on_image(done, len(samples))
    groups = [group for group in by_digest.values() if len(group) > 1]

    def names_of(condition: Callable[[list], bool]) -> list[list[str]]:
        return [[f"{split}:{name}" for split, name, _ in group] for group in groups if condition(group)]

    return DataReport(
        name=splits.name,
        counts=_counts(splits.parts),
        broken=broken,
        doubtful=doubtful,
        leaks=names_of(lambda g: len({split for split, _, _ in g}) > 1),
        duplicates=names_of(lambda g: len({split for split, _, _ in g}) == 1),
        conflicts=names_of(lambda g: len({label for _, _, label in g}) > 1),
        coverage=(len(samples), total),
        sizes=[(w, h, n) for (w, h), n in sizes.most_common()],
        targets=splits.train.target_name if isinstance(splits.train, ComparedSource) else "labels",
        things="images" if hasattr(splits.train, "image") else "texts",
        notes=notes,
    )


def source_channels(source: Source) -> int:
    """The number of channels of a source's images, from its first one; 3 if it has no images."""
    if not hasattr(source, "image") or not len(source):
        return 3
    try:
        return stored_channels(source.data(0))
    except ImageError:
        return 3


def _check(sample: tuple[str, Any, int], channels: int) -> tuple[bytes, Examination | str | None]:
    """The digest of the bytes of a sample; and the result of reading it, its error, or None for a text."""
    _, source, index = sample
    try:
        data = source.data(index)
    except ImageError as error:
        return b"", str(error)
    digest = hashlib.sha256(data).digest()
    if not hasattr(source, "image"):
        return digest, None
    try:
        if isinstance(source, ExaminedSource):
            return digest, source.examine(index, channels)
        return digest, Examination(size_of(source.image(index, channels)))
    except ImageError as error:
        return digest, str(error)


def _target(source: Source, index: int) -> Hashable:
    return source.target(index) if isinstance(source, ComparedSource) else int(source.labels[index])


def _counts(parts: Mapping[str, Source]) -> dict[str, dict[str, int]]:
    """Split -> class -> images; "all" if there are no classes (`labels` are 0), or only one."""
    if not any(source.labels.any() for source in parts.values()):
        return {split: {"all": len(source)} for split, source in parts.items()}
    counts = {split: Counter(source.labels.tolist()) for split, source in parts.items()}
    return {split: {name: counts[split][i] for i, name in enumerate(s.classes)} for split, s in parts.items()}


def _groups(groups: list[list[str]]) -> str:
    return _shortened(" = ".join(group) for group in groups)


def _shortened(items: Iterable[str]) -> str:
    items = list(items)
    return ", ".join(items[:MAX_SHOWN]) + (f" and {len(items) - MAX_SHOWN} more" if len(items) > MAX_SHOWN else "")
