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
        summary: what is learned from what, for `--help`.
        config: class of its options in a run's config.
        room: object that answers the contract :class:`~saccade.engine.room.TaskRoom`.
        report: object that answers :class:`~saccade.engine.report.TaskReport`.
        labelled: whether it learns from targets that people gave; `saccade pretrain` trains the others.
    """

    summary: str
    config: str
    room: str
    report: str
    labelled: bool = True


def _row(summary: str, package: str, config: str, part: str = "", *, labelled: bool = True) -> Row:
    """The row of a task whose files have the usual names, behind `part` where two tasks share a package."""
    base = f"saccade.tasks.{package}"
    return Row(summary, f"{base}.config:{config}", f"{base}.{part}room:ROOM", f"{base}.{part}report:REPORT", labelled)


TASKS: Mapping[str, Row] = {
    "classification": _row("the class of an image", "classification", "ClassificationConfig"),
    "detection": _row("boxes with classes", "detection", "DetectionConfig"),
    "depth": _row("the distance of every pixel", "dense", "DepthConfig", "depth_"),
    "segmentation": _row("the class of every pixel", "dense", "SegmentationConfig", "segmentation_"),
    "contrastive": _row("which caption belongs to which image", "contrastive", "ContrastiveConfig"),
    "seq2seq": _row("a text for a text or an image", "seq2seq", "Seq2SeqConfig"),
    "masked_image": _row("masked patches of images", "masked_image", "MaskedImageConfig", labelled=False),
    "masked_lm": _row("hidden words of texts", "masked_lm", "MaskedLMConfig", labelled=False),
}


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
