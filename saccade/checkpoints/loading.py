"""Open a model from a run, a model directory, or a checkpoint of another project."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from saccade.checkpoints.channels import adapt_tensors, preprocessing_for, require_channels
from saccade.checkpoints.directory import (
    CONFIG,
    OWN_HEADER,
    WEIGHTS,
    LoadedModel,
    is_model_dir,
    max_values,
    read_model_dir,
    read_vocabulary,
)
from saccade.checkpoints.formats import detect
from saccade.checkpoints.hub import download, is_hub_name
from saccade.checkpoints.mapping import MappingReport, place, require_finite_weights, to_ours
from saccade.checkpoints.metadata import class_names, head_task, read_metadata
from saccade.checkpoints.reading import read_tensors
from saccade.data.imagenet import imagenet_names
from saccade.errors import CheckpointError, ConfigError
from saccade.models.catalogue import ZOO
from saccade.models.clip_resnet import POOL_RESAMPLING, AttentionPool2d
from saccade.models.model import Model
from saccade.models.names import name_hint
from saccade.models.zoo import build, change_config
from saccade.nn.positions import LearnedPositions, resample_positions

# option of a config -> parameters that a model has only with this option
OPTIONAL_HEADS = {
    "masks": ("mask_head.", "bbox_attention."),
    "masked_lm": ("word_head.",),
    "next_sentence": ("next_head.",),
}


def load_model(
    path: str | Path,
    *,
    num_classes: int | None = None,
    image_size: tuple[int, int] | None = None,
    in_channels: int | None = None,
    strict: bool = True,
    options: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """Open a model with its preprocessing and labels.

    Args:
        path: a run, a model directory, a Hugging Face folder, a file (.safetensors, .npz, .pth), or `hub:ORG/NAME`.
        num_classes: replace the head by a new one of this width, with labels "0", "1", …
        image_size: (H, W) in pixels; positions are resampled, and preprocessing is adapted.
        in_channels: channels of the images; the first convolution and preprocessing are adapted (:mod:`.channels`).
        strict: raise if the file has tensors that the model does not have, or the model tensors that the file does not.
        options: fields of the model's config that cannot be inferred from a file: ``{"block.num_heads": 4}``.

    Raises:
        CheckpointError: the checkpoint cannot be read, matched or verified; the message states what to do.
    """
    path = download(str(path)) if is_hub_name(path) else Path(path)
    if not path.exists():
        raise CheckpointError(f"there is no {path}: {_advice(str(path))}")
    model_dir = _inside_run(path)
    if path.name == WEIGHTS and is_model_dir(path.parent):
        model_dir = path.parent
    if model_dir.is_dir() and is_model_dir(model_dir):
        loaded = read_model_dir(model_dir)
    else:
        loaded = _load_published(path, image_size, strict, options or {})
        options = None
    return adapt(loaded, num_classes=num_classes, image_size=image_size, in_channels=in_channels, options=options)


def _advice(name: str) -> str:
    """Advice for a path that does not exist."""
    if name in ZOO:
        return f"saccade.create({name!r}) builds this model with fresh weights; load opens trained ones"
    return name_hint(name) or "give a run, a model directory or a weights file"


def _inside_run(path: Path) -> Path:
    """The model directory of a run; any other path unchanged."""
    if not (path / "config.yaml").is_file():
        return path
    if not (path / "model" / CONFIG).is_file():
        raise CheckpointError(
            f"the run {path} is not finished, so it has no model yet: run saccade train --resume {path}"
        )
    return path / "model"


def _load_published(
    path: Path, image_size: tuple[int, int] | None, strict: bool, options: Mapping[str, Any]
) -> LoadedModel:
    content = read_tensors(path)
    if OWN_HEADER in content.metadata:
        raise CheckpointError(
            f"{path} has the weights of a model directory, without its {CONFIG} in the same folder, "
            "which states what they belong to: copy both into one folder, or give the folder that `saccade train` wrote"
        )
    try:
        publisher, theirs = detect(content.tensors)
    except CheckpointError as error:
        folder = path if path.is_dir() else path.parent
        own = content.container == "safetensors" and not (folder / CONFIG).is_file()
        hint = f"; the weights of a model directory open with its {CONFIG} in the same folder" if own else ""
        raise CheckpointError(f"{path}: {error}{hint}") from None
    with _interpreted(path, publisher.NAME):
        metadata = read_metadata(path, image_size, options, content.metadata)
        metadata = replace(metadata, names=frozenset(content.tensors))
        config = publisher.infer({name: tuple(tensor.shape) for name, tensor in theirs.items()}, metadata)
        if hasattr(publisher, "resampling"):
            config = change_config(config, {"position_resampling": publisher.resampling(config, metadata)})
        config = change_config(config, options)
        tensors, unused = to_ours(theirs, publisher.rules(config))
        if hasattr(publisher, "ignored"):
            unused = [name for name in unused if not publisher.ignored(name)]
        preprocessing = publisher.preprocessing(config, metadata)
        task, task_state = head_task(metadata)
        if hasattr(publisher, "task_state"):
            task_state = publisher.task_state(config)
        default_labels = publisher.labels(config) if hasattr(publisher, "labels") else None
        names = class_names(metadata)
    report = MappingReport(unused=unused, notes=[*content.notes, *metadata.notes], format=publisher.NAME)
    if names is not None and len(names) != config.num_classes:
        report.notes.append(
            f"{len(names)} class names next to the file are not used: it has {config.num_classes} outputs"
        )
    try:
        model = build(publisher.ARCHITECTURE, config.to_dict(), max_values(content.tensors))
    except ConfigError as error:
        raise CheckpointError(f"{path} looks like {publisher.NAME}, but is invalid: {error}") from None
    place(model, tensors, report, strict=strict)
    require_finite_weights(model, report, path, strict=strict)
    return LoadedModel(
        model=model.eval(),
        architecture=publisher.ARCHITECTURE,
        labels=_labels(config.num_classes, names or default_labels),
        preprocessing=preprocessing,
        task=publisher.task(config) if hasattr(publisher, "task") else task,
        task_state=task_state,
        provenance={"source": path.name, "format": publisher.NAME},
        report=report,
        vocabulary=read_vocabulary(path if path.is_dir() else path.parent),
    )


@contextmanager
def _interpreted(path: Path, name: str) -> Iterator[None]:
    """Convert errors of unexpected values in a publisher's files, such as a list for a number."""
    try:
        yield
    except KeyError as error:
        raise CheckpointError(f"{path} looks like {name}, but has no {error.args[0]}") from None
    except (ValueError, TypeError, AttributeError, IndexError, ArithmeticError) as error:
        raise CheckpointError(f"{path} looks like {name}, but is invalid: {error}") from None


def adapt(
    loaded: LoadedModel,
    *,
    num_classes: int | None = None,
    image_size: tuple[int, int] | None = None,
    in_channels: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """The model with another image size, number of classes or channels, or other options; itself if nothing changes.

    Args:
        loaded: the model; it is not changed.
        num_classes: a new head of this width, if it differs; 0 for none.
        image_size: (H, W) in pixels; positions are resampled by the model's method, and preprocessing is adapted.
        in_channels: channels of the images; the first convolution and preprocessing are adapted.
        options: other fields of the model's config; if the number of a detector's queries changes, the queries are new,
            and so is an optional head that is added.
    """
    config = loaded.model.config
    changes: dict[str, Any] = dict(options or {})
    if image_size is not None and config.image_size is None:
        raise CheckpointError(f"{loaded.architecture} reads texts: it has no image size")
    if image_size is not None and tuple(image_size) != tuple(config.image_size):
        changes |= loaded.model.size_changes((image_size[0], image_size[1]))
    if in_channels is not None:
        require_channels(in_channels)
        changes["in_channels"] = in_channels
    channels = changes.get("in_channels", config.in_channels)
    if channels == config.in_channels:
        changes.pop("in_channels", None)
    elif config.in_channels is None:
        raise CheckpointError(f"{loaded.architecture} reads texts: it has no in_channels")
    new_head = num_classes is not None and num_classes != config.num_classes
    if new_head:
        changes["num_classes"] = num_classes
    if not changes:
        return loaded
    new_config = change_config(config, changes)
    model = build(loaded.architecture, new_config.to_dict())
    head = model.head_names if new_head else ()
    if getattr(new_config, "num_queries", None) != getattr(config, "num_queries", None):
        head = (*head, "queries")
    if getattr(new_config, "objective", None) != getattr(config, "objective", None):
        head = (*head, "logit_bias")  # of a sigmoid objective alone
    for option, parts in OPTIONAL_HEADS.items():
        if getattr(new_config, option, False) and not getattr(config, option, False):
            head = (*head, *(name for name in model.state_dict() if name.startswith(parts)))
    tensors = {name: t for name, t in loaded.model.state_dict().items() if name not in head}
    report = replace(loaded.report, loaded=[], resized={}, new=[], unused=[])
    for name in model.position_names:
        if "image_size" in changes and name in tensors:
            tensors[name] = _resample(loaded.model, model, name, tensors[name], report)
    if "in_channels" in changes:
        head = (*head, *adapt_tensors(tensors, model.state_dict(), config.in_channels, channels, report))
    place(model, tensors, report, fresh=head)
    preprocessing = loaded.preprocessing
    if preprocessing is not None and "in_channels" in changes:
        preprocessing = preprocessing_for(preprocessing, channels)
    if preprocessing is not None and "image_size" in changes:
        preprocessing = replace(preprocessing, size=new_config.image_size)
    labels = _labels(new_config.num_classes, None) if new_head else loaded.labels
    return replace(loaded, model=model.eval(), preprocessing=preprocessing, labels=labels, report=report)


def _resample(old: Model, new: Model, name: str, table: Tensor, report: MappingReport) -> Tensor:
    positions = old.get_submodule(name.rpartition(".")[0])
    if isinstance(positions, LearnedPositions):
        method = positions.method
    else:  # of a CLIP's ResNet, or of a Perceiver, whose publisher uses this method
        method = POOL_RESAMPLING if isinstance(positions, AttentionPool2d) else "bicubic"
    old_grid, new_grid = _grid(old, name), _grid(new, name)
    if old_grid != new_grid:
        sizes = f"{old_grid[0]} x {old_grid[1]} -> {new_grid[0]} x {new_grid[1]} positions"
        report.resized[name] = f"{sizes}, {method}"
    prefix = table.shape[1] - math.prod(old_grid)
    return resample_positions(table, old_grid, new_grid, prefix, method)


def _grid(model: Model, name: str) -> tuple[int, int]:
    """The rows and columns of a table of positions."""
    positions = model.get_submodule(name.rpartition(".")[0])
    if isinstance(positions, AttentionPool2d):
        return positions.grid
    layout = model.token_layout()
    assert layout, f"{name} is not a table of positions"
    return layout.grid


def _labels(count: int, names: tuple[str, ...] | None) -> tuple[str, ...]:
    """The given class names if there are `count`, else those of ImageNet for a thousand classes, else numbers."""
    if names is not None and len(names) == count:
        return names
    if count == 1000:
        return imagenet_names()
    return tuple(str(i) for i in range(count))
