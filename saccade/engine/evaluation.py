"""Evaluation of a model on data with targets: choice of the split, and matching of the data's classes to the
model's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from saccade.checkpoints.directory import LoadedModel
from saccade.data.batching import default_workers, eval_batches
from saccade.data.class_names import match_classes
from saccade.data.config import DataConfig, read_data_config
from saccade.data.samples import DataSplits, Source, same_data
from saccade.engine.collect import Collected, collect
from saccade.engine.predictor import Predictor
from saccade.engine.results import Metrics
from saccade.engine.room import TaskRoom
from saccade.engine.task import Evaluator, Task
from saccade.errors import ConfigError, DataError
from saccade.nn.matmul_precision import MatmulPrecision, matmul_precision

SPLITS = ("train", "val", "test")
OpenData = Callable[[str, DataConfig], DataSplits]


class EvaluatedModel(Protocol):
    """A model that can be evaluated: a predictor, or another model with its task."""

    @property
    def source(self) -> LoadedModel: ...

    @property
    def room(self) -> TaskRoom: ...

    @property
    def task(self) -> Task: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def model(self) -> nn.Module: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def matmul_precision(self) -> MatmulPrecision: ...


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a split.

    Attributes:
        metrics: the task's metrics, over all classes of the model.
        split: "test", "val", "train", or several joined by "+".
        collected: the collected outputs and targets.
        note: reason for this split, and how the data's classes were matched to the model's, as text.
    """

    metrics: Metrics
    split: str
    collected: Collected
    note: str


def evaluate(
    predictor: Predictor,
    data: str,
    *,
    split: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
    on_inputs: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure a model on a data set.

    Args:
        predictor: the model.
        data: as for training: a folder, a CSV, a zip, shards, "digits".
        split: "train", "val", "test", "all", or "auto": held-out inputs (the data's own test split; for the data that
            the model was trained on, its test or validation split, divided as in training); otherwise all inputs.
        batch_size: inputs per batch.
        workers: loader processes; chosen for the machine by default.
        on_inputs: called with (inputs done, total number of inputs).

    Raises:
        DataError: the data has a class that the model does not have, or one that matches several of the model's.
    """
    collected, parts, note = collect_split(predictor, data, predictor.task, split, batch_size, workers, on_inputs)
    return Evaluation(predictor.task.measure(collected), "+".join(parts), collected, note)


def collect_split(
    predictor: EvaluatedModel,
    data: str,
    evaluator: Evaluator,
    split: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
    on_inputs: Callable[[int, int], None] | None = None,
) -> tuple[Collected, tuple[str, ...], str]:
    """The collected tensors of a split, the names of the splits, and the reason for them; arguments as for
    :func:`evaluate`.

    Class numbers of targets are the model's; if the data spells its classes differently, the note shows how they were
    matched.
    """
    room, task = predictor.room, predictor.task
    splits, parts, note = choose_split(predictor, data, split)
    index, notes = None, [note, *splits.notes]
    if task.class_targets:
        match = match_classes(splits.classes, predictor.labels, data)
        index = torch.from_numpy(match.index)
        notes += [match.note] if match.note else []
    total = sum(len(part) for part in parts.values())
    collected, done = [], 0
    with matmul_precision(predictor.matmul_precision):
        for part in parts.values():
            dataset = room.eval_dataset(part, predictor.source)
            count = default_workers(dataset) if workers is None else workers
            batches = eval_batches(dataset, batch_size, workers=count)
            progress = None if on_inputs is None else lambda n, before=done: on_inputs(before + n, total)
            collected.append(collect(predictor.model, batches, predictor.device, evaluator, on_inputs=progress))
            done += len(part)
    joined = Collected.joined(collected)
    if index is not None:
        numbered = {name: index[joined[name]] for name in task.class_targets if name in joined.tensors}
        joined = Collected({**joined.tensors, **numbered}, joined.names)
    return joined, tuple(parts), "; ".join(notes)


def choose_split(
    predictor: EvaluatedModel, data: str, split: str, open_data: OpenData | None = None
) -> tuple[DataSplits, dict[str, Source], str]:
    """The data, the splits to measure on, and the reason for them; opened by the model's task unless `open_data` is
    given."""
    trained_on = predictor.source.provenance.get("data") or {}
    same_cut = read_data_config(trained_on["config"]) if "config" in trained_on else DataConfig()

    def opened(config: DataConfig) -> DataSplits:
        if open_data is not None:
            return open_data(data, config)
        return predictor.room.open_data(data, config, predictor.source)

    splits = opened(same_cut)
    was_trained_on = same_data(str(trained_on.get("fingerprint")).partition(":")[0], splits.fingerprint)
    if not was_trained_on:
        splits = opened(DataConfig(test_fraction=0.0, val_fraction=0.0, scenes=same_cut.scenes))
    parts = splits.parts
    if split == "all":
        return splits, parts, "all of the data, as requested"
    if split == "auto" and "test" in parts:
        why = "the test split, which was not trained on" if was_trained_on else "the data's own test split"
        return splits, {"test": parts["test"]}, why
    if split == "auto" and was_trained_on and "val" in parts:
        return splits, {"val": parts["val"]}, "the validation split, by which the weights were selected"
    if split == "auto":
        return splits, parts, "all of the data, which has no test split and was not trained on"
    if split not in SPLITS:
        raise ConfigError(f"there is no split {split!r}: choose auto, all, {', '.join(SPLITS)}")
    if split not in parts:
        raise DataError(f"{data} has no {split} split; it has {', '.join(parts)}")
    return splits, {split: parts[split]}, "as requested"
