"""Every task, a line each: the only list of tasks in the product. Loads no torch; a room is loaded when it is used."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from typing import TYPE_CHECKING, Any

from saccade.errors import ConfigError, OptionError
from saccade.upgrade import TASKS as OLD_TASKS

if TYPE_CHECKING:
    import torch

    from saccade.engine.exported import DecoderMaker
    from saccade.engine.report import TaskReport
    from saccade.engine.room import TaskRoom
    from saccade.engine.setup import TrainingSetup


@dataclass(frozen=True)
class Row:
    """Where the parts of a task are, each as "module:attribute".

    Attributes:
        config: class of its options in a run's config, with its words for `--help`.
        room: object that answers the contract :class:`~saccade.engine.room.TaskRoom`.
        report: object that answers :class:`~saccade.engine.report.TaskReport`.
        decoder: class that answers :class:`~saccade.engine.exported.DecoderMaker`; "" where models of the task are not
            exported. Loads no torch.
    """

    config: str
    room: str
    report: str
    decoder: str = ""


def _row(package: str, config: str, part: str = "", decoder: str = "") -> Row:
    """The row of a task whose files have the usual names, behind `part` where two tasks share a package."""
    base = f"saccade.tasks.{package}"
    decoder = f"{base}.exported:{decoder}" if decoder else ""
    return Row(f"{base}.config:{config}", f"{base}.{part}room:ROOM", f"{base}.{part}report:REPORT", decoder)


TASKS: Mapping[str, Row] = {
    "classification": _row("classification", "ClassificationConfig", decoder="ClassificationDecoder"),
    "multilabel": _row("multilabel", "MultiLabelConfig", decoder="MultiLabelDecoder"),
    "regression": _row("regression", "RegressionConfig", decoder="RegressionDecoder"),
    "detection": _row("detection", "DetectionConfig", decoder="DetectionDecoder"),
    "depth": _row("dense", "DepthConfig", "depth_", decoder="DepthDecoder"),
    "segmentation": _row("dense", "SegmentationConfig", "segmentation_", decoder="SegmentationDecoder"),
    "contrastive": _row("contrastive", "ContrastiveConfig", decoder="EmbeddingDecoder"),
    "seq2seq": _row("seq2seq", "Seq2SeqConfig", decoder="TextDecoder"),
    "masked_image": _row("masked_image", "MaskedImageConfig"),
    "masked_lm": _row("masked_lm", "MaskedLMConfig"),
}


def summaries() -> str:
    """What each task predicts, for `--help`."""
    return "; ".join(f"{name}, {config_class(name).SUMMARY}" for name in TASKS)


def data_layouts(*, labelled: bool | None = None) -> str:
    """The layouts of data that each task opens, for `--help`; of the tasks with labels only, or without, if given."""
    configs = {name: config_class(name) for name in TASKS}
    return ". ".join(f"{n}: {c.DATA}" for n, c in configs.items() if labelled in (None, c.LABELLED)) + "."


def row(name: str) -> Row:
    """The row of a task.

    Raises:
        ConfigError: there is no such task.
    """
    if not isinstance(name, str) or name not in TASKS:
        is_old = isinstance(name, str) and name in OLD_TASKS
        today = f"{OLD_TASKS[name]} is its name today" if is_old else f"there are {', '.join(TASKS)}"
        raise ConfigError(f"there is no task {name!r}; {today}")
    return TASKS[name]


def config_class(name: str) -> type[Any]:
    """The class of a task's options; loads no torch."""
    return _load(row(name).config)


def room(name: str) -> "TaskRoom":
    return _load(row(name).room)


def setup(config: Any, device: "torch.device") -> "TrainingSetup":
    """Data, model and task of a run.

    Raises:
        ConfigError: as :meth:`~saccade.engine.room.TaskRoom.setup`; an option of the model is named as in the run's
            config, ``model.options.depth``.
    """
    try:
        return room(config.task).setup(config, device)
    except OptionError as error:
        first = error.option.partition(".")[0]
        is_nested = any(name.partition(".")[0] == first for name in config.model.options)
        section = "model.options" if is_nested or not hasattr(config.model, first) else "model"
        raise OptionError(f"{section}.{error.option}", error.problem) from error


def report(name: str) -> "TaskReport":
    return _load(row(name).report)


def decoder(name: str) -> "DecoderMaker":
    """What makes results of an exported file's outputs; loads no torch.

    Raises:
        ConfigError: there is no such task, or its models are not exported.
    """
    place = row(name).decoder
    if not place:
        raise ConfigError(f"models of the task {name} are not exported")
    return _load(place)


def task_of(architecture: str) -> str:
    """The task that an architecture is trained for; backbones are trained as classifiers."""
    return next((n for n in TASKS if architecture in config_class(n).ARCHITECTURES), next(iter(TASKS)))


def task_of_model(name: str, architecture: str) -> str:
    """The task of a model of the catalogue: among tasks that share its architecture, the one whose `NAMES` match."""
    named = (n for n in TASKS if fnmatchcase(name, getattr(config_class(n), "NAMES", "")))
    return next(named, task_of(architecture))


def trains(name: str, architecture: str) -> bool:
    """Whether an architecture can be trained for a task; one without architectures of its own takes every backbone.

    Raises:
        ConfigError: there is no such task.
    """
    own = config_class(name).ARCHITECTURES
    return architecture in own if own else task_of(architecture) == next(iter(TASKS))


def pretraining_task(path: str) -> str:
    """The task that learns from data without labels at this path."""
    configs = {name: config_class(name) for name in TASKS}
    return next(name for name, config in configs.items() if not config.LABELLED and config.suits(path))


def _load(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)
