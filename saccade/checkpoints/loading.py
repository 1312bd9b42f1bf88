"""Open a model from wherever it comes: a run, a model directory, or a file that another project published."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.models import ViT_B_16_Weights

from saccade.checkpoints.directory import CONFIG, LoadedModel, is_model_dir, read_model_dir, read_vocabulary
from saccade.checkpoints.formats import detect
from saccade.checkpoints.hints import read_hints, told_labels
from saccade.checkpoints.hub import download, is_hub_name
from saccade.checkpoints.mapping import MappingReport, place, to_ours
from saccade.checkpoints.reading import read_tensors
from saccade.errors import CheckpointError
from saccade.models.model import Model
from saccade.models.zoo import build, change_config
from saccade.nn.positions import Resampling, resample_positions

# option of a config -> parameters that a model has with it only
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
    strict: bool = True,
    options: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """Open a model with its preprocessing and labels.

    Args:
        path: a run, a model directory, a Hugging Face folder, a file (.safetensors, .npz, .pth), or `hub:ORG/NAME`.
        num_classes: put a fresh head of this width on it, with labels "0", "1", …
        image_size: (H, W) in pixels; positions are resampled, preprocessing follows.
        strict: refuse a file with tensors that have no place, or a model with parts that have no values.
        options: fields of the model's config that a file cannot tell: ``{"block.num_heads": 4}``.

    Raises:
        CheckpointError: what cannot be read, placed or verified, and what to do.
    """
    path = download(str(path)) if is_hub_name(path) else Path(path)
    if not path.exists():
        raise CheckpointError(f"there is no {path}: give a run, a model directory or a weights file")
    place_of_model = _inside_run(path)
    if place_of_model.is_dir() and is_model_dir(place_of_model):
        loaded = read_model_dir(place_of_model)
        return adapt(loaded, num_classes=num_classes, image_size=image_size, options=options)
    return _load_published(path, num_classes, image_size, strict, options or {})


def _inside_run(path: Path) -> Path:
    """The model directory of a run; the path itself for anything else."""
    if not (path / "config.yaml").is_file():
        return path
    if not (path / "model" / CONFIG).is_file():
        raise CheckpointError(f"the run {path} is not finished, so it has no model yet: saccade train --resume {path}")
    return path / "model"


def _load_published(
    path: Path, num_classes: int | None, image_size: tuple[int, int] | None, strict: bool, options: Mapping[str, Any]
) -> LoadedModel:
    found = read_tensors(path)
    publisher, named = detect(found.tensors)
    hints = read_hints(path, image_size, options)
    shapes = {name: tuple(tensor.shape) for name, tensor in named.items()}
    try:
        config = publisher.infer(shapes, hints)
    except KeyError as error:
        raise CheckpointError(f"{path} looks like {publisher.NAME}, but has no {error.args[0]}") from None
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} looks like {publisher.NAME}, but is not one: {error}") from None
    config = change_config(config, options)
    tensors, unused = to_ours(named, publisher.rules(config))
    preprocessing = publisher.preprocessing(config, hints)
    report = MappingReport(unused=unused, notes=[*found.notes, *hints.notes], format=publisher.NAME)
    usual = publisher.labels(config) if hasattr(publisher, "labels") else None
    model = build(publisher.ARCHITECTURE, config.to_dict())
    place(model, tensors, report, strict=strict)
    loaded = LoadedModel(
        model=model.eval(),
        architecture=publisher.ARCHITECTURE,
        labels=_labels(config.num_classes, told_labels(hints) or usual),
        preprocessing=preprocessing,
        task=publisher.task(config) if hasattr(publisher, "task") else "classification",
        provenance={"source": path.name, "format": publisher.NAME},
        report=report,
        vocabulary=read_vocabulary(path if path.is_dir() else path.parent),
    )
    return adapt(
        loaded,
        num_classes=num_classes,
        image_size=image_size,
        method=getattr(publisher, "RESAMPLING", "bicubic-antialias"),
    )


def adapt(
    loaded: LoadedModel,
    *,
    num_classes: int | None = None,
    image_size: tuple[int, int] | None = None,
    options: Mapping[str, Any] | None = None,
    method: Resampling = "bicubic-antialias",
) -> LoadedModel:
    """The model for another image size, another number of classes, other options; itself where nothing changes.

    Args:
        loaded: stays as it is.
        num_classes: a fresh head of this width, where it is not the width already; 0 for none.
        image_size: (H, W) in pixels; positions are resampled by `method`, preprocessing follows.
        options: other fields of the model's config; another number of a detector's queries makes fresh ones, and an
            optional head that is switched on is a fresh one.
        method: how positions are resampled.
    """
    config = loaded.model.config
    changes: dict[str, Any] = dict(options or {})
    if image_size is not None and tuple(image_size) != tuple(config.image_size):
        changes["image_size"] = tuple(image_size)
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
    for option, parts in OPTIONAL_HEADS.items():
        if getattr(new_config, option, False) and not getattr(config, option, False):
            head = (*head, *(name for name in model.state_dict() if name.startswith(parts)))
    tensors = {name: t for name, t in loaded.model.state_dict().items() if name not in head}
    report = replace(loaded.report, loaded=[], resized={}, new=[], unused=[])
    for name in model.position_names:
        if "image_size" in changes and name in tensors:
            tensors[name] = _resampled(loaded.model, model, name, tensors[name], method, report)
    place(model, tensors, report, fresh=head)
    preprocessing = loaded.preprocessing
    if preprocessing is not None and "image_size" in changes:
        preprocessing = replace(preprocessing, size=new_config.image_size)
    labels = _labels(new_config.num_classes, None) if new_head else loaded.labels
    return replace(loaded, model=model.eval(), preprocessing=preprocessing, labels=labels, report=report)


def _resampled(old: Model, new: Model, name: str, table: Tensor, method: Resampling, report: MappingReport) -> Tensor:
    before, after = old.token_layout(), new.token_layout()
    assert before, f"{name} belongs to no tokens"
    assert after, f"{name} belongs to no tokens"
    old_grid, new_grid = before.grid, after.grid
    if old_grid != new_grid:
        sizes = f"{old_grid[0]} x {old_grid[1]} -> {new_grid[0]} x {new_grid[1]} positions"
        report.resized[name] = f"{sizes}, {method}"
    prefix = table.shape[1] - math.prod(old_grid)
    return resample_positions(table, old_grid, new_grid, prefix, method)


def _labels(count: int, told: tuple[str, ...] | None) -> tuple[str, ...]:
    """Class names as told, those of ImageNet for a thousand classes, else numbers."""
    if told is not None and len(told) == count:
        return told
    if count == 1000:
        return tuple(ViT_B_16_Weights.DEFAULT.meta["categories"])
    return tuple(str(i) for i in range(count))
