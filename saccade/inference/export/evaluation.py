"""The metrics of an exported file, measured as those of a model, from the pixels of the images on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision.transforms.v2.functional as functional
from PIL import Image
from torch import Tensor, nn

from saccade.checkpoints.directory import LoadedModel
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.engine.evaluation import Evaluation, collect_split
from saccade.engine.exported import GraphFunction
from saccade.engine.graph_end import GraphEnd, GraphPart
from saccade.engine.room import TaskRoom
from saccade.engine.task import Task
from saccade.errors import ConfigError
from saccade.inference.export.metadata import Metadata, exported_file, part_file
from saccade.inference.export.sessions import Session, open_session
from saccade.models.zoo import build
from saccade.nn.matmul_precision import MatmulPrecision


@dataclass(frozen=True)
class RawPixels(Preprocessing):
    """Images as they are in their files, ``[C, H, W]`` uint8: the graph prepares them."""

    def __call__(self, image: Image.Image | Tensor) -> Tensor:
        pixels = image if isinstance(image, Tensor) else functional.pil_to_tensor(image)
        if pixels.dtype != torch.uint8:
            raise ConfigError("an exported file reads images of 8 bits, and the data has others")
        return pixels


@dataclass(frozen=True)
class ExportedModel:
    """An exported file in place of a predictor, for :func:`saccade.engine.evaluation.collect_split`.

    Attributes:
        source: of the file's metadata; its model has no weights.
        room, task, labels: of the file's task.
        model: empty.
        device: where batches are.
        matmul_precision: of PyTorch, which computes nothing here.
    """

    source: LoadedModel
    room: TaskRoom
    task: Task
    labels: tuple[str, ...]
    model: nn.Module
    device: torch.device
    matmul_precision: MatmulPrecision


class ExportedSteps:
    """How a file is run on a batch of data, and what is kept of its outputs.

    Args:
        session: of the file.
        end: of its task.
        parts: the model's other graphs, by name.
    """

    def __init__(self, session: Session, end: GraphEnd | GraphPart, parts: Mapping[str, GraphFunction]):
        self.session, self.end, self.parts = session, end, parts

    def eval_step(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Pixels ``[B, C, H, W]``, or the input of a part -> the file's outputs."""
        if isinstance(self.end, GraphPart):
            (name,) = self.end.inputs
            return tensors_of(self.session.run({name: batch.inputs.numpy()}))
        inputs = {"images": batch.inputs.permute(0, 2, 3, 1).to(torch.uint8).contiguous().numpy()}
        if self.end.padded:
            assert isinstance(batch.labels, dict)
            valid = batch.labels["valid"]
            inputs["sizes"] = torch.stack((valid.any(2).sum(1), valid.any(1).sum(1)), dim=1).numpy()
        return tensors_of(self.session.run(inputs))

    def collect(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        return self.end.collect(outputs, batch, self.parts)


def tensors_of(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values) for name, values in arrays.items()}


def evaluate_exported(
    path: str | Path,
    data: str,
    room_of: Callable[[str], TaskRoom],
    *,
    split: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
    options: Mapping[str, Any] | None = None,
    on_inputs: Callable[[int, int], None] | None = None,
) -> tuple[Evaluation, Task]:
    """Measure an exported file on a data set; arguments as for :func:`saccade.engine.evaluation.evaluate`.

    Images go through the graph one at a time, unless it takes padded batches; texts in batches.

    Args:
        path: of the file.
        data: as for training.
        room_of: name of a task -> its room, :func:`saccade.tasks.table.room`.
        split, batch_size, workers, options, on_inputs: as there.

    Returns:
        (the metrics, the task).
    """
    file = exported_file(path)
    if file is None:
        raise ConfigError(f"{path} is no exported file: those end in .onnx or .xml")
    session = open_session(file)
    metadata = Metadata.read(session.properties, file)
    with torch.device("meta"):
        model = build(metadata.architecture, metadata.config)
    pixels = RawPixels.from_dict(metadata.preprocessing) if metadata.reads_images else None
    source = LoadedModel(
        model, metadata.architecture, tuple(metadata.labels), pixels, task=metadata.task,
        provenance=metadata.provenance, task_state=metadata.task_state,
        vocabulary=dict(metadata.exported_task({}).vocabulary),
    )  # fmt: skip
    room = room_of(metadata.task)
    task = room.task(source, options)
    view = ExportedModel(source, room, task, source.labels, nn.Identity(), torch.device("cpu"), "highest")
    end = room.graph_end(source, task) if metadata.reads_images else room.text_parts(source, task)[0]
    size = batch_size if metadata.padded or not metadata.reads_images else 1
    steps = ExportedSteps(session, end, {name: open_session(part_file(file, name)).run for name in metadata.parts})
    collected, splits, note = collect_split(view, data, steps, split, size, workers, on_inputs)
    return Evaluation(task.measure(collected), "+".join(splits), collected, note), task
