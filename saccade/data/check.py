"""Look at a data set before a long run: broken files, copies across splits, labels that disagree, missing classes; of
images, and of texts."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from saccade.data.samples import DataSplits, ImageSource
from saccade.errors import ImageError

SAMPLE = 2_000  # images that `sample` looks at
AUTO_FULL = 20_000  # up to so many images `auto` looks at all of them
IMBALANCE = 10.0  # the largest class over the smallest from which a warning is due
SHOWN = 8


@dataclass(frozen=True)
class DataReport:
    """What was found. Printable; `errors` stop a run, `warnings` do not.

    Attributes:
        counts: split -> class -> images.
        broken: name -> what is wrong with it.
        leaks: groups of names with the same bytes that lie in more than one split.
        duplicates: groups of names with the same bytes within one split.
        conflicts: groups of names with the same bytes and different labels.
        looked_at: how many images were opened, of how many.
        sizes: how often each (width, height) came, the commonest first.
    """

    name: str
    counts: dict[str, dict[str, int]]
    broken: dict[str, str] = field(default_factory=dict)
    leaks: list[list[str]] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    conflicts: list[list[str]] = field(default_factory=list)
    looked_at: tuple[int, int] = (0, 0)
    sizes: list[tuple[int, int, int]] = field(default_factory=list)  # width, height, images
    things: str = "images"

    @property
    def errors(self) -> list[str]:
        found = []
        if self.broken:
            found.append(f"{len(self.broken)} broken: {_few(self.broken.values())}")
        if self.conflicts:
            found.append(f"{len(self.conflicts)} {self.things} have several labels: {_groups(self.conflicts)}")
        return found

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong that would spoil a run."""
        return not self.errors

    @property
    def warnings(self) -> list[str]:
        found = []
        if self.leaks:
            found.append(f"{len(self.leaks)} {self.things} lie in more than one split: {_groups(self.leaks)}")
        if self.duplicates:
            found.append(f"{len(self.duplicates)} {self.things} are there twice: {_groups(self.duplicates)}")
        train = self.counts["train"]
        largest, smallest = max(train, key=train.__getitem__), min(train, key=train.__getitem__)
        if train[largest] > IMBALANCE * train[smallest]:
            found.append(f"unbalanced: {train[largest]} of {largest}, {train[smallest]} of {smallest}")
        for split, classes in self.counts.items():
            empty = [name for name, count in classes.items() if not count]
            if empty:
                found.append(f"no {self.things} in {split} of {_few(empty)}")
        return found

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "errors": self.errors, "warnings": self.warnings}

    def __str__(self) -> str:
        lines = []
        for split, classes in self.counts.items():
            count, low, high = sum(classes.values()), min(classes.values()), max(classes.values())
            told = f", {len(classes)} classes of {low} to {high}" if len(classes) > 1 else ""
            lines.append(f"{split:<5} {count:>7} {self.things}{told}")
        if self.sizes:
            lines.append("sizes " + ", ".join(f"{w} x {h} ({n})" for w, h, n in self.sizes[:5]))
        lines += [f"error: {text}" for text in self.errors] + [f"warning: {text}" for text in self.warnings]
        done, total = self.looked_at
        lines.append(
            f"looked at {done} of {total} {self.things}: "
            + ("found the above" if self.errors or self.warnings else "all is well")
        )
        return "\n".join(lines)


def check_data(
    splits: DataSplits, *, mode: str = "full", on_image: Callable[[int, int], None] | None = None
) -> DataReport:
    """Open the images and compare their bytes.

    Args:
        splits: the data.
        mode: "full"; "sample", an even sample of 2,000; "auto", full up to 20,000 images.
        on_image: called with (images done, images in all).
    """
    parts = {name: getattr(splits, name) for name in ("train", "val", "test") if getattr(splits, name) is not None}
    work = [(name, source, index) for name, source in parts.items() for index in range(len(source))]
    if mode == "sample" or (mode == "auto" and len(work) > AUTO_FULL):
        stride = max(1, len(work) // SAMPLE)
        chosen = work[::stride]
    else:
        chosen = work
    broken: dict[str, str] = {}
    sizes: Counter[tuple[int, int]] = Counter()
    same: dict[bytes, list[tuple[str, str, int]]] = {}  # hash -> split, name, label
    with ThreadPoolExecutor() as pool:
        results = pool.map(_look, chosen, chunksize=16)
        for done, ((split, source, index), (digest, size, error)) in enumerate(zip(chosen, results), 1):
            name = source.names[index]
            if error:
                broken[name] = error
            if size:
                sizes[size] += 1
            if digest:
                same.setdefault(digest, []).append((split, name, int(source.labels[index])))
            if on_image is not None:
                on_image(done, len(chosen))
    groups = [group for group in same.values() if len(group) > 1]

    def named(wanted: Callable[[list], bool]) -> list[list[str]]:
        return [[f"{split}:{name}" for split, name, _ in group] for group in groups if wanted(group)]

    return DataReport(
        name=splits.name,
        counts={name: _counts(source) for name, source in parts.items()},
        broken=broken,
        leaks=named(lambda g: len({split for split, _, _ in g}) > 1),
        duplicates=named(lambda g: len({split for split, _, _ in g}) == 1),
        conflicts=named(lambda g: len({label for _, _, label in g}) > 1),
        looked_at=(len(chosen), len(work)),
        sizes=[(w, h, n) for (w, h), n in sizes.most_common()],
        things="images" if hasattr(splits.train, "image") else "texts",
    )


def _look(task: tuple[str, ImageSource, int]) -> tuple[bytes, tuple[int, int] | None, str]:
    _, source, index = task
    try:
        data = source.data(index)
    except ImageError as error:
        return b"", None, str(error)
    digest = hashlib.sha256(data).digest()
    if not hasattr(source, "image"):
        return digest, None, ""
    try:
        return digest, source.image(index).size, ""
    except ImageError as error:
        return digest, None, str(error)


def _counts(source: ImageSource) -> dict[str, int]:
    counts = Counter(source.labels.tolist())
    return {name: counts[i] for i, name in enumerate(source.classes or ("all",))}


def _groups(groups: list[list[str]]) -> str:
    return _few(" = ".join(group) for group in groups)


def _few(items: Iterable[str]) -> str:
    items = list(items)
    return ", ".join(items[:SHOWN]) + (f" and {len(items) - SHOWN} more" if len(items) > SHOWN else "")
