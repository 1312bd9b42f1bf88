"""Every task, a line each: the only list of tasks in the product. Loads no torch; rooms are loaded when they are used."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from saccade.errors import ConfigError

if TYPE_CHECKING:
    from saccade.engine.report import TaskReport
    from saccade.engine.room import TaskRoom


@dataclass(frozen=True)
class Row:
    """Where the parts of a task are.

    Attributes:
        summary: what is predicted, for `--help`.
        data: the layouts of data that it opens, for `--help`.
        config: class of its options in a run's config.
        room: object that answers the contract :class:`~saccade.engine.room.TaskRoom`.
        report: object that answers :class:`~saccade.engine.report.TaskReport`.
        labelled: whether it learns from targets that people gave; `saccade pretrain` trains the others.
    """

    summary: str
    data: str
    config: str
    room: str
    report: str
    labelled: bool = True


def _row(summary: str, data: str, package: str, config: str, part: str = "", *, labelled: bool = True) -> Row:
    """The row of a task whose files have the usual names, behind `part` where two tasks share a package."""
    base = f"saccade.tasks.{package}"
    return Row(
        summary, data, f"{base}.config:{config}", f"{base}.{part}room:ROOM", f"{base}.{part}report:REPORT", labelled
    )


TASKS: Mapping[str, Row] = {
    "classification": _row(
        "the class of an image", 'a folder with one folder a class, a CSV of file,label, a zip, tar shards, or "digits"',
        "classification", "ClassificationConfig",
    ),
    "detection": _row(
        "boxes with classes", 'a folder in the layout of COCO, Pascal VOC or YOLO, or "scenes"',
        "detection", "DetectionConfig",
    ),
    "depth": _row(
        "the distance of every pixel", 'a folder of images/ and depth/, or "scenes"', "dense", "DepthConfig", "depth_",
    ),
    "segmentation": _row(
        "the class of every pixel", 'a folder of images/ and masks/, or "scenes"',
        "dense", "SegmentationConfig", "segmentation_",
    ),
    "contrastive": _row(
        "which caption belongs to which image", 'a CSV or JSONL of image,caption, tar shards, or "scenes"',
        "contrastive", "ContrastiveConfig",
    ),
    "seq2seq": _row(
        "a text for a text or an image", 'a TSV, CSV or JSONL of source,target, or "numbers"; images and captions, or "strips"',
        "seq2seq", "Seq2SeqConfig",
    ),
    "masked_image": _row(
        "masked patches of images", 'images at any depth of a folder, a zip, tar shards, or "digits"',
        "masked_image", "MaskedImageConfig", labelled=False,
    ),
    "masked_lm": _row(
        "masked words of texts", 'a text file, a sentence a line, an empty line between documents; or "numbers"',
        "masked_lm", "MaskedLMConfig", labelled=False,
    ),
}  # fmt: skip


def data_help(*, labelled: bool | None = None) -> str:
    """The layouts of data of the tasks, for `--help`; of those with labels only, or without, if given."""
    rows = {name: row for name, row in TASKS.items() if labelled is None or row.labelled == labelled}
    return ". ".join(f"{name}: {row.data}" for name, row in rows.items()) + "."


def row(name: str) -> Row:
    """The row of a task.

    Raises:
        ConfigError: there is no such task.
    """
    if name not in TASKS:
        raise ConfigError(f"there is no task {name!r}; there are {', '.join(TASKS)}")
    return TASKS[name]


def config_class(name: str) -> type[Any]:
    """The class of a task's options; loads no torch."""
    return _load(row(name).config)


def room(name: str) -> "TaskRoom":
    return _load(row(name).room)


def report(name: str) -> "TaskReport":
    return _load(row(name).report)


def task_of(architecture: str) -> str:
    """The task that an architecture is trained for; backbones are trained as classifiers."""
    return next((n for n in TASKS if architecture in config_class(n).ARCHITECTURES), next(iter(TASKS)))


def pretraining_task(path: str) -> str:
    """The task that learns from data without labels at this path."""
    return next(n for n, r in TASKS.items() if not r.labelled and config_class(n).suits(path))


def _load(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)
