"""Check boxes before training: empty, inverted, outside their image, corners in place of a width and height.

One invalid box in thousands can corrupt the loss of a detector.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from saccade.data.check import AUTO_FULL, SAMPLE, source_channels
from saccade.data.images import size_of
from saccade.data.samples import DataSplits
from saccade.data.splits import SPLITS
from saccade.errors import DataError, ImageError
from saccade.files import read_bytes
from saccade.json_io import dump_json, parse_json
from saccade.tasks.detection.box_problems import DESCRIPTIONS, Kind, correction, find_problem
from saccade.tasks.detection.layouts.coco import coco_files
from saccade.tasks.detection.records import Box, RecordSource

MAX_SHOWN = 5  # boxes of each kind in the printed report


@dataclass(frozen=True)
class BoxProblem:
    """An invalid box: `box` is (left, top, right, bottom) as read, `fixed` the probable correction."""

    image: str
    label: str
    kind: Kind
    box: Box
    fixed: Box | None


@dataclass(frozen=True)
class BoxReport:
    """The result of a check; every problem is an error.

    Attributes:
        counts: split -> class -> boxes.
        images: split -> images.
        checked: number of images that were opened.
        problems: invalid boxes.
        broken: image -> error of reading it.
        rewritten: annotations that were corrected.
        notes: notes on the layout.
    """

    counts: dict[str, dict[str, int]]
    images: dict[str, int]
    checked: int
    problems: list[BoxProblem] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    rewritten: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether a run may start on this data."""
        return bool(self.rewritten) or not (self.problems or self.broken)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = list(self.notes)
        for split, counts in self.counts.items():
            total = sum(counts.values())
            listing = ", ".join(f"{n} {name}" for name, n in sorted(counts.items(), key=lambda item: -item[1])[:12])
            lines.append(f"{split:<5} {self.images[split]:>6} images, {total} boxes: {listing}")
        if self.checked < sum(self.images.values()):
            lines.append(f"checked {self.checked} of {sum(self.images.values())} images")
        for kind, description in DESCRIPTIONS.items():
            problems = [p for p in self.problems if p.kind == kind]
            if problems:
                listing = "; ".join(
                    f"{p.image} {p.label} {tuple(round(v, 1) for v in p.box)}" for p in problems[:MAX_SHOWN]
                )
                more = f" and {len(problems) - MAX_SHOWN} more" if len(problems) > MAX_SHOWN else ""
                lines.append(f"error: {len(problems)} x box {description}: {listing}{more}")
        lines += [f"error: {text}" for text in list(self.broken.values())[:MAX_SHOWN]]
        lines.append("errors found" if self.problems or self.broken else "no errors")
        lines += [f"corrected: {path}" for path in self.rewritten]
        return "\n".join(lines)


def check_boxes(
    splits: DataSplits, *, mode: str = "full", on_image: Callable[[int, int], None] | None = None
) -> BoxReport:
    """Compare boxes with the size of their image.

    Args:
        splits: from :func:`saccade.tasks.detection.sources.open_boxes`.
        mode: "full" opens every image, "sample" about 2,000, "auto" all of up to 20,000.
        on_image: called with (images done, total number of images).
    """
    parts = {name: part for name in SPLITS if (part := getattr(splits, name)) is not None}
    counts, problems, broken = {}, [], {}
    total = sum(len(part) for part in parts.values())
    stride = max(1, total // SAMPLE) if mode == "sample" or (mode == "auto" and total > AUTO_FULL) else 1
    work: list[tuple[RecordSource, int]] = []
    for split, source in parts.items():
        if not isinstance(source, RecordSource):
            raise DataError("scenes are generated, so there are no annotations to check")
        counts[split] = dict(Counter(label for record in source.records for label in record.names))
        work += [(source, index) for index in range(len(source))]
    work = work[::stride]
    for done, (source, index) in enumerate(work, 1):
        record, name = source.records[index], source.names[index]
        try:
            height, width = size_of(source.with_boxes(index, source_channels(source)).image)  # as training reads it
        except ImageError as error:
            broken[name] = str(error)
            width = height = 0
        for box, label in zip(record.boxes, record.names) if width else ():
            kind = find_problem(box, width, height)
            if kind is not None:
                problems.append(BoxProblem(name, label, kind, box, correction(box, kind, width, height)))
        if on_image is not None:
            on_image(done, len(work))
    images = {split: len(part) for split, part in parts.items()}
    return BoxReport(counts, images, len(work), problems, broken, notes=splits.notes)


def fix_coco(root: Path, report: BoxReport) -> list[Path]:
    """Rewrite COCO annotations with corrected boxes, without those that cannot be corrected.

    The original of each changed file is saved as `NAME.json.orig` next to it.

    Returns:
        the rewritten files.

    Raises:
        DataError: the folder does not have the layout of COCO.
    """
    files = coco_files(root)
    if not files:
        raise DataError(f"{root} has no COCO annotations: only COCO annotations can be fixed")
    problems = {(Path(p.image).name, p.label, tuple(round(v, 3) for v in p.box)): p for p in report.problems}
    rewritten = []
    for file in files:
        original = read_bytes(file)
        content = parse_json(original, file)
        names = {image["id"]: Path(image["file_name"]).name for image in content["images"]}
        labels = {category["id"]: category["name"] for category in content["categories"]}
        annotations, changed = [], False
        for annotation in content["annotations"]:
            x, y, w, h = annotation["bbox"]
            box = tuple(round(float(v), 3) for v in (x, y, x + w, y + h))
            problem = problems.get(
                (names.get(annotation["image_id"], ""), labels.get(annotation["category_id"], ""), box)
            )
            changed = changed or problem is not None
            if problem is None:
                annotations.append(annotation)
            elif problem.fixed is not None:
                left, top, right, bottom = problem.fixed
                size = (right - left, bottom - top)
                annotations.append({**annotation, "bbox": [left, top, *size], "area": size[0] * size[1]})
        if changed:
            file.with_name(f"{file.name}.orig").write_bytes(original)
            temporary = file.with_name(f".{file.name}.tmp")
            temporary.write_text(dump_json({**content, "annotations": annotations}, indent=None), encoding="utf-8")
            temporary.replace(file)
            rewritten.append(file)
    return rewritten
