"""The metadata of an exported file: labels, task, preprocessing, provenance. Loads no torch."""

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from saccade.engine.exported import ExportedTask, GraphFunction
from saccade.errors import CheckpointError
from saccade.json_io import parse_json

PREFIX = "saccade."  # of the keys in a file's metadata
SUFFIXES = {".onnx": "onnx", ".xml": "openvino", ".pt2": "torch"}  # of exported files -> their format
FORMAT = 1


@dataclass(frozen=True)
class Metadata:
    """What travels in an exported file, each field under its name behind ``saccade.``, as JSON.

    Attributes:
        version: of saccade that wrote it.
        architecture, config: of the model.
        task, task_state, labels: of its predictions.
        preprocessing: that is in the graph, as plain values.
        outputs: names of the graph's outputs, in their order.
        padded: whether the graph takes ``sizes``, (H, W) of each image in a padded batch, in addition to ``images``.
        attention: output of the graph -> path of the attention whose weights it has.
        provenance: the origin of the weights.
        vocabulary: the files of a tokenizer, in base64.
        precision: of the weights: f32, bf16 or int8.
        parts: names of the model's other graphs, whose files are next to this one.
        format: of these fields.
    """

    version: str
    architecture: str
    config: dict[str, Any]
    task: str
    labels: list[str]
    preprocessing: dict[str, Any]
    outputs: list[str]
    padded: bool = False
    task_state: dict[str, Any] = field(default_factory=dict)
    attention: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    vocabulary: dict[str, str] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    precision: Literal["f32", "bf16", "int8"] = "f32"
    format: int = FORMAT

    def properties(self) -> dict[str, str]:
        """The fields as a file's properties: texts by name."""
        return {PREFIX + name: json.dumps(value, ensure_ascii=False) for name, value in asdict(self).items()}

    @classmethod
    def read(cls, properties: Mapping[str, str], path: Path) -> "Metadata":
        """The fields from a file's properties.

        Raises:
            CheckpointError: the file is none of saccade's, or one of a later version.
        """
        if PREFIX + "task" not in properties:
            raise CheckpointError(f"{path} was not written by `saccade export`: it has no labels and no task in it")
        names = {f.name for f in fields(cls)}
        values = {
            name: parse_json(properties[PREFIX + name], str(path), CheckpointError)
            for name in names
            if PREFIX + name in properties
        }
        if values.get("format") != FORMAT:
            raise CheckpointError(f"{path} has the format {values.get('format')}, this version reads {FORMAT}")
        try:
            return cls(**values)
        except TypeError as error:
            raise CheckpointError(f"{path} is not complete: {error}") from None

    @property
    def channels(self) -> int:
        """Of the images: 1 or 3."""
        return int(self.preprocessing["channels"])

    @property
    def reads_images(self) -> bool:
        """Whether the inputs are images; texts otherwise."""
        return bool(self.preprocessing)

    def exported_task(
        self, options: Mapping[str, Any], parts: Mapping[str, GraphFunction] | None = None
    ) -> ExportedTask:
        """What the task's decoder needs."""
        files = {name: base64.b64decode(text) for name, text in self.vocabulary.items()}
        return ExportedTask(tuple(self.labels), self.task_state, options, files, parts or {})


def is_exported(path: str | Path) -> bool:
    """Whether a path has the name of an exported file that runs without torch, or is a folder with one."""
    return exported_file(path) is not None


def exported_file(path: str | Path) -> Path | None:
    """The exported file that a path names: itself, or the ``model.onnx`` or ``model.xml`` in a folder."""
    path = Path(path)
    if path.suffix in SUFFIXES:
        return path
    inside = [path / f"model{suffix}" for suffix in (".onnx", ".xml")]
    return next((file for file in inside if file.is_file()), None)


def part_file(path: Path, name: str) -> Path:
    """The file of a part next to that of the model: ``model.onnx`` -> ``model-text.onnx``."""
    return path.with_name(f"{path.stem}-{name}{path.suffix}") if name else path
