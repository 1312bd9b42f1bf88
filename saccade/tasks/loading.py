"""Open a model of any task."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Never

import torch

from saccade.checkpoints.directory import LoadedModel
from saccade.checkpoints.loading import load_model
from saccade.data.label_file import read_label_file
from saccade.engine.predictor import ImageLike, Predictor, choose_device
from saccade.engine.reading import Reading
from saccade.errors import ConfigError, DataError
from saccade.models.names import argument_error
from saccade.tasks import table
from saccade.upgrade import task_name


def load(
    path: str | Path,
    *,
    num_classes: int | None = None,
    image_size: tuple[int, int] | int | None = None,
    in_channels: int | None = None,
    strict: bool = True,
    device: torch.device | str = "cpu",
    options: Mapping[str, Any] | None = None,
    labels: str | Path | Sequence[str] | None = None,
    **unknown: Never,
) -> Predictor:
    """Open a model directory, a run directory or a published checkpoint, ready to predict.

    A report of loaded, resized, new and unused tensors is printed on stderr, unless a model directory of this package
    is loaded completely.

    Args:
        path: ``runs/NAME``, a model directory, a Hugging Face folder, a file (.safetensors, .npz, .pth), or
            ``hub:ORG/NAME``.
        num_classes: replace the head by a new one of this width.
        image_size: (H, W) in pixels; positions are resampled.
        in_channels: of the images; the first convolution is adapted as by timm, and mean and std of preprocessing.
        strict: raise an error for a file with keys that the model does not have.
        device: where the model runs; ``"auto"`` is a GPU if there is one.
        options: options of the task's predictions, such as ``{"top": 10}`` or ``{"threshold": 0.3}``.
        labels: names of the model's classes instead of its own: a list in the order of its outputs, or a file (see
            :mod:`saccade.data.label_file`).

    Raises:
        DataError: names do not fit the model's outputs.
        CheckpointError: the checkpoint cannot be read, matched or verified; the message states what to do.
        ConfigError: the model's task is unknown, or has no such option.
    """
    if unknown:
        raise argument_error("load", unknown)
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    device = choose_device(device)
    with torch.random.fork_rng(devices=[]):  # layers draw their first weights, which the file's replace
        loaded = load_model(path, num_classes=num_classes, image_size=size, in_channels=in_channels, strict=strict)
    report = loaded.report
    if report.format != "saccade" or report.resized or report.new:
        print(report, file=sys.stderr)
    if labels is not None:
        loaded = replace(loaded, labels=named_outputs(loaded.labels, labels))
    return predictor_of(loaded, device=device, options=options)


def named_outputs(own: tuple[str, ...], labels: str | Path | Sequence[str]) -> tuple[str, ...]:
    """A model's labels with other names, from a file or a list of the same length.

    Raises:
        DataError: the names do not fit the model's outputs.
    """
    if isinstance(labels, str | Path):
        return read_label_file(labels, own)
    if len(labels) != len(own):
        raise DataError(f"{len(labels)} labels for a model of {len(own)} classes: give one for each output")
    return tuple(labels)


def predictor_of(
    source: LoadedModel, *, device: torch.device | str = "cpu", options: Mapping[str, Any] | None = None
) -> Predictor:
    """A loaded model, ready to predict; arguments as for :func:`load`."""
    return Predictor(source, table.room(task_name(source.task, source.architecture)), device=device, options=options)


def read_tokens(predictor: Predictor, value: ImageLike, text: str | None = None) -> Reading:
    """One input of a text model, for :func:`saccade.analysis.token_maps.token_maps`.

    Args:
        predictor: of a model that reads or generates texts.
        value: a text, or an image for an image model.
        text: text in addition to the image, for a CLIP.

    Raises:
        ConfigError: the model takes only images, or a text is missing or not allowed.
    """
    reading = table.report(predictor.task.name).reading(predictor, value, text)
    if reading is None:
        raise ConfigError(f"this {predictor.source.architecture} has no maps of words: use the maps of images")
    return reading
