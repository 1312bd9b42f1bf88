"""Look at boxes before training: empty, turned round, outside their image, corners where a size belongs.

One box of nonsense in thousands is enough to spoil a detector's loss, and no picture shows it.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from saccade.data.boxes import RecordSource
from saccade.data.images import read_image
from saccade.data.samples import DataSplits
from saccade.errors import DataError, ImageError

Kind = Literal["empty", "negative", "outside", "corners"]
SAID = {
    "empty": "have no area",
    "negative": "have a negative width or height",
    "outside": "reach beyond their image",
    "corners": "look like two corners where left, top, width and height belong",
}
TOLERANCE = 1.0  # pixels beyond an edge that count as rounding
SHOWN = 5

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class BoxProblem:
    """One box that cannot be right; `box` is left, top, right, bottom as it was read, `fixed` what it could be."""

    image: str
    label: str
    kind: Kind
    box: Box
    fixed: Box | None


@dataclass(frozen=True)
class BoxReport:
    """What was found. Printable; any problem is an error."""

    counts: dict[str, dict[str, int]]  # split -> class -> boxes
    images: dict[str, int]  # split -> images
    problems: list[BoxProblem] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = []
        for split, counts in self.counts.items():
            total = sum(counts.values())
            shown = ", ".join(f"{n} {name}" for name, n in sorted(counts.items(), key=lambda item: -item[1])[:12])
            lines.append(f"{split:<5} {self.images[split]:>6} images, {total} boxes: {shown}")
        for kind, words in SAID.items():
            found = [p for p in self.problems if p.kind == kind]
            if found:
                told = "; ".join(f"{p.image} {p.label} {tuple(round(v, 1) for v in p.box)}" for p in found[:SHOWN])
                more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
                lines.append(f"error: {len(found)} boxes {words}: {told}{more}")
        lines += [f"error: {text}" for text in list(self.broken.values())[:SHOWN]]
        lines.append("found the above" if self.problems or self.broken else "all is well")
        return "\n".join(lines)


def check_boxes(splits: DataSplits, *, on_image: Callable[[int, int], None] | None = None) -> BoxReport:
    """Compare every box with its image.

    Args:
        splits: as :func:`saccade.data.boxes.open_boxes` gives them.
        on_image: called with (images done, images in all).
    """
    parts = {name: part for name in ("train", "val", "test") if (part := getattr(splits, name)) is not None}
    counts, problems, broken = {}, [], {}
    total, done = sum(len(part) for part in parts.values()), 0
    for split, source in parts.items():
        if not isinstance(source, RecordSource):
            raise DataError("scenes are composed, so there is nothing to check")
        counter: Counter[str] = Counter()
        for record, name in zip(source.records, source.names):
            try:
                width, height = read_image(record.path).size
            except ImageError as error:
                broken[name] = str(error)
                width, height = record.size or (0, 0)
            counter.update(record.names)
            for box, label in zip(record.boxes, record.names):
                kind = judge(box, width, height)
                if kind is not None:
                    problems.append(BoxProblem(name, label, kind, box, mended(box, kind, width, height)))
            done += 1
            if on_image is not None:
                on_image(done, total)
        counts[split] = dict(counter)
    return BoxReport(counts, {split: len(part) for split, part in parts.items()}, problems, broken)


def judge(box: Box, width: int, height: int) -> Kind | None:
    """What is wrong with a box (left, top, right, bottom) in an image of that size; None for nothing."""
    left, top, right, bottom = box
    if right < left or bottom < top:
        return "negative"
    if right == left or bottom == top:
        return "empty"
    beyond = min(left, top) < -TOLERANCE or right > width + TOLERANCE or bottom > height + TOLERANCE
    if not beyond:
        return None
    # Read as left, top, width, height it leaves the image; read as two corners it would not.
    corner = (right - left, bottom - top)
    inside = left < corner[0] <= width + TOLERANCE and top < corner[1] <= height + TOLERANCE and min(left, top) >= 0
    return "corners" if inside else "outside"


def mended(box: Box, kind: Kind, width: int, height: int) -> Box | None:
    """The box as it was probably meant; None where it cannot be told."""
    left, top, right, bottom = box
    if kind == "corners":
        left, top, right, bottom = left, top, right - left, bottom - top
    elif kind == "negative":
        left, right = sorted((left, right))
        top, bottom = sorted((top, bottom))
    fixed = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    return fixed if fixed[2] > fixed[0] and fixed[3] > fixed[1] else None


def fix_coco(root: Path, report: BoxReport) -> list[Path]:
    """Write COCO annotations again with mended boxes, those that cannot be mended left out.

    What stood there is kept beside it as `NAME.json.orig`.

    Raises:
        DataError: the folder is not in COCO's layout.
    """
    files = [*sorted(root.glob("annotations/*.json")), *sorted(root.glob("*/_annotations.coco.json"))]
    if not files:
        raise DataError(f"{root} has no COCO annotations: boxes of other layouts are only reported")
    wrong = {(Path(p.image).name, p.label, tuple(round(v, 3) for v in p.box)): p for p in report.problems}
    written = []
    for file in files:
        before = file.read_bytes()
        content = json.loads(before)
        names = {image["id"]: Path(image["file_name"]).name for image in content["images"]}
        labels = {category["id"]: category["name"] for category in content["categories"]}
        kept, changed = [], False
        for annotation in content["annotations"]:
            x, y, w, h = annotation["bbox"]
            box = tuple(round(float(v), 3) for v in (x, y, x + w, y + h))
            problem = wrong.get((names.get(annotation["image_id"], ""), labels.get(annotation["category_id"], ""), box))
            changed = changed or problem is not None
            if problem is None:
                kept.append(annotation)
            elif problem.fixed is not None:
                left, top, right, bottom = problem.fixed
                size = (right - left, bottom - top)
                kept.append({**annotation, "bbox": [left, top, *size], "area": size[0] * size[1]})
        if changed:
            file.with_name(f"{file.name}.orig").write_bytes(before)
            temporary = file.with_name(f".{file.name}.tmp")
            temporary.write_text(json.dumps({**content, "annotations": kept}))
            temporary.replace(file)
            written.append(file)
    return written
