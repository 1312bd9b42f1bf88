"""The metrics of an exported file, measured as those of a model, from the pixels of the images on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision.transforms.v2.functional as functional
from PIL import Image
from torch import Tensor, nn

from saccade.checkpoints.directory import LoadedModel
from saccade.data.preprocessing import Preprocessing
from saccade.data.samples import Batch
from saccade.engine.evaluation import Evaluation, collect_split
from saccade.engine.graph_end import GraphEnd
from saccade.engine.room import TaskRoom
from saccade.engine.task import Task
from saccade.errors import ConfigError
from saccade.inference.export.metadata import Metadata, exported_file
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
    """How a file is run on a batch of data, and what is kept of its outputs."""

    def __init__(self, session: Session, end: GraphEnd):
        self.session, self.end = session, end

    def eval_step(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Pixels ``[B, C, H, W]`` -> the file's outputs."""
        inputs = {"images": batch.inputs.permute(0, 2, 3, 1).to(torch.uint8).contiguous().numpy()}
        if self.end.padded:
            assert isinstance(batch.labels, dict)
            valid = batch.labels["valid"]
            inputs["sizes"] = torch.stack((valid.any(2).sum(1), valid.any(1).sum(1)), dim=1).numpy()
        return {name: torch.from_numpy(values) for name, values in self.session.run(inputs).items()}

    def collect(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        return self.end.collect(outputs, batch)


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

    Images go through the graph one at a time, unless it takes padded batches.

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
    source = LoadedModel(
        model, metadata.architecture, tuple(metadata.labels), RawPixels.from_dict(metadata.preprocessing),
        task=metadata.task, provenance=metadata.provenance, task_state=metadata.task_state,
        vocabulary=dict(metadata.exported_task({}).vocabulary),
    )  # fmt: skip
    room = room_of(metadata.task)
    task = room.task(source, options)
    view = ExportedModel(source, room, task, source.labels, nn.Identity(), torch.device("cpu"), "highest")
    end = room.graph_end(source)
    size = batch_size if end.padded else 1
    collected, parts, note = collect_split(view, data, ExportedSteps(session, end), split, size, workers, on_inputs)
    return Evaluation(task.measure(collected), "+".join(parts), collected, note), task
