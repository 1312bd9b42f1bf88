"""The model directory: all files needed to use a model, without code.

config.json               architecture and its config, task, labels, preprocessing, provenance
model.safetensors         the weights
fingerprint.safetensors   example inputs and the output for them when the directory was written
vocab.json, merges.txt    the tokenizer of a text model; or tokenizer.json, vocab.txt
README.md, report.html    documentation; not read
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from saccade.checkpoints.atomic import new_directory
from saccade.checkpoints.mapping import MappingReport, place, require_finite_weights
from saccade.checkpoints.reading import read_json, read_tensors
from saccade.checkpoints.upgrade import upgrade, upgrade_fingerprint
from saccade.data.preprocessing import Preprocessing
from saccade.errors import CheckpointError, ConfigError
from saccade.files import is_file, read_bytes
from saccade.models.catalogue import ARCHITECTURES
from saccade.models.model import Model
from saccade.models.zoo import UNBUILDABLE, build
from saccade.nn.mode import evaluation_mode
from saccade.version import __version__

CONFIG, WEIGHTS, FINGERPRINT = "config.json", "model.safetensors", "fingerprint.safetensors"
VOCABULARY = ("vocab.json", "merges.txt", "tokenizer.json", "vocab.txt", "spiece.model")
FORMAT = 1
OWN_HEADER = "saccade"  # in the header of our weights: the version that wrote them
OWN = "own"  # architecture of a model whose code is not ours
FINGERPRINT_TOLERANCE = 1e-3  # of the output's scale: other processors round otherwise, other weights do not agree


@dataclass
class LoadedModel:
    """A model with all data needed to use it.

    Attributes:
        model: the network, in evaluation mode.
        architecture: its name in the catalogue, such as "vit"; `model.config` is its config.
        labels: class names in the order of the logits.
        preprocessing: preprocessing of images; None if the checkpoint does not define it.
        task: name of the task.
        task_state: values that the task derived from its training data, such as the scale of its targets.
        provenance: the origin of the weights, as plain values.
        report: which tensors were loaded, resized, new and unused.
        vocabulary: the files of its tokenizer, by name, if it has one.
    """

    model: Model
    architecture: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing | None
    task: str = "classification"
    provenance: dict[str, Any] = field(default_factory=dict)
    report: MappingReport = field(default_factory=MappingReport)
    vocabulary: dict[str, bytes] = field(default_factory=dict)
    task_state: dict[str, Any] = field(default_factory=dict)


TYPES = {"architecture": str, "task": str, "task_state": dict, "labels": list, "provenance": dict}  # in config.json


def save_own_weights(path: Path, model: nn.Module) -> Path:
    """Write the weights of a user-defined model atomically."""
    with new_directory(path) as folder:
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_file(state, folder / WEIGHTS, {"format": "pt"})
    return path


def save_model_dir(path: str | Path, loaded: LoadedModel) -> Path:
    """Write a model directory atomically; an existing one is replaced.

    Raises:
        CheckpointError: the numbers of labels and logits differ, or the architecture is not in the catalogue.
    """
    path = Path(path)
    if loaded.architecture not in ARCHITECTURES:
        raise CheckpointError(f"a {loaded.architecture} has no file of its own: save the model that it was made of")
    model, config = loaded.model, loaded.model.config
    if len(loaded.labels) != config.num_classes:
        raise CheckpointError(f"{len(loaded.labels)} labels for {config.num_classes} classes")
    content = {
        "saccade": __version__,
        "format": FORMAT,
        "architecture": loaded.architecture,
        "config": config.to_dict(),
        "task": loaded.task,
        **({"task_state": loaded.task_state} if loaded.task_state else {}),
        "labels": list(loaded.labels),
        "preprocessing": None if loaded.preprocessing is None else loaded.preprocessing.to_dict(),
        "provenance": loaded.provenance,
    }
    with new_directory(path) as folder:
        (folder / CONFIG).write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_file(state, folder / WEIGHTS, {"format": "pt", OWN_HEADER: __version__})
        save_file(fingerprint(model), folder / FINGERPRINT)
        for name in VOCABULARY:
            if name in loaded.vocabulary:
                (folder / name).write_bytes(loaded.vocabulary[name])
    return path


def read_model_dir(path: str | Path) -> LoadedModel:
    """Open a model directory and verify that its output is the same as when it was written.

    Raises:
        CheckpointError: a file is missing, damaged or of a later format, or the fingerprint does not match.
    """
    path = Path(path)
    content = read_json(path / CONFIG)
    if content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path / CONFIG} has the format {content.get('format')!r}, this version reads {FORMAT}: update saccade"
        )
    for name, kind in TYPES.items():
        if not isinstance(content.get(name, kind()), kind):
            raise CheckpointError(f"{path / CONFIG} is not a model's config: {name} is {str(content[name])[:80]!r}")
    tensors = read_tensors(path / WEIGHTS).tensors
    try:
        model = build(content["architecture"], content["config"], max_values(tensors))
        preprocessing = content["preprocessing"]
        loaded = LoadedModel(
            model=model,
            architecture=content["architecture"],
            labels=tuple(str(label) for label in content["labels"]),
            preprocessing=None if preprocessing is None else Preprocessing.from_dict(preprocessing),
            task=content["task"],
            provenance=content["provenance"],
            vocabulary=read_vocabulary(path),
            task_state=content.get("task_state", {}),
        )
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise CheckpointError(f"{path / CONFIG} is not a model's config: {error}") from None
    if len(loaded.labels) != model.config.num_classes:
        raise CheckpointError(
            f"{path / CONFIG} has {len(loaded.labels)} labels, and the model {model.config.num_classes} outputs: give "
            "one for each"
        )
    place(model, upgrade(model, tensors), loaded.report)
    require_finite_weights(model, loaded.report, path / WEIGHTS)
    model.eval()
    check_fingerprint(model, path)
    return loaded


def read_vocabulary(folder: Path) -> dict[str, bytes]:
    """The files of a tokenizer in a folder, by name."""
    return {name: read_bytes(folder / name, error=CheckpointError) for name in VOCABULARY if is_file(folder / name)}


def is_model_dir(path: Path) -> bool:
    return (path / WEIGHTS).is_file() and "saccade" in read_json(path / CONFIG)


def max_values(tensors: Mapping[str, Tensor]) -> int:
    """Maximum number of parameters and buffers of a model with these tensors: some are computed, and earlier versions
    stored fewer."""
    return 2 * sum(tensor.numel() for tensor in tensors.values()) + 10**6


@torch.no_grad()
def fingerprint(model: Model) -> dict[str, Tensor]:
    """The model's example inputs and its output for them, on the CPU: ``inputs.0``, ``inputs.1``, …, ``output``."""
    inputs = model.example_inputs()
    return {"output": _output(model, inputs)} | {f"inputs.{i}": tensor.clone() for i, tensor in enumerate(inputs)}


def check_fingerprint(model: Model, path: Path) -> None:
    """Raise CheckpointError unless the model computes the stored output for the stored input."""
    stored = upgrade_fingerprint(model, read_tensors(path / FINGERPRINT).tensors)
    try:
        expected = stored["output"]
        output = _output(model, tuple(stored[f"inputs.{i}"] for i in range(len(stored) - 1)))
    except UNBUILDABLE as error:
        raise CheckpointError(
            f"{path / FINGERPRINT} does not fit the model: {str(error).partition(chr(10))[0]}"
        ) from None
    if output.shape != expected.shape:
        raise CheckpointError(f"{path}: the model's output is {list(output.shape)}, it was {list(expected.shape)}")
    distance = (output - expected).abs().max().item() / max(expected.abs().max().item(), 1e-6)
    if not distance <= FINGERPRINT_TOLERANCE:
        raise CheckpointError(
            f"{path} does not compute what it computed when it was written (off by {distance:.1e} of the output's "
            "scale): its weights, its config or the code of its architecture have changed"
        )


@torch.no_grad()
def _output(model: Model, inputs: tuple[Tensor, ...]) -> Tensor:
    device = next(model.parameters()).device
    with evaluation_mode(model):
        output = model(*(tensor.to(device) for tensor in inputs))
    first = output[0] if isinstance(output, tuple) else output
    return first.float().cpu().contiguous()
