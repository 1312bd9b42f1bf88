"""`saccade.export`: a model as one file that other runtimes open, checked against PyTorch before it is kept."""

import base64
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import nn

from saccade.checkpoints.atomic import write_atomic
from saccade.engine.graph_end import GraphPart
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError
from saccade.files import read_bytes
from saccade.inference.backends.backend import Precision
from saccade.inference.export.graph import ExportGraph, attention_paths, trace_graph
from saccade.inference.export.metadata import SUFFIXES, Metadata, part_file
from saccade.inference.export.onnx_file import write_onnx
from saccade.inference.export.openvino_file import write_openvino
from saccade.inference.export.openvino_int8 import write_openvino_int8
from saccade.inference.export.parity import (
    TOLERANCE,
    Parity,
    ParityError,
    ParityRow,
    check_parity,
    first_difference,
    inputs_of,
    real_images,
)
from saccade.inference.export.part import PartGraph, merged_vocabulary, part_rows, trace_part
from saccade.inference.export.precision import (
    PrecisionCheck,
    calibration_images,
    check_precision,
    lower_precision,
    preprocessing_nodes,
)
from saccade.inference.export.sessions import Session, open_session
from saccade.inference.export.torch_file import ProgramSession, write_program
from saccade.inference.rewriting import REWRITES, WITH_WEIGHTS, rewritten
from saccade.nn.attention import Attention
from saccade.nn.mode import evaluation_mode
from saccade.version import __version__

Target = Literal["onnx", "openvino", "torch"]


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: of the file.
        parity: how it compares with PyTorch; in single precision, before weights had fewer bits.
        outputs: names of the graph's outputs.
        precision: what fewer bits change; None for a file in single precision.
    """

    path: Path
    parity: Parity
    outputs: tuple[str, ...]
    precision: PrecisionCheck | None = None

    def __str__(self) -> str:
        size = self.path.stat().st_size / 1e6
        lines = [str(self.parity), *([str(self.precision)] if self.precision else [])]
        return "\n".join([*lines, f"{self.path}: {size:.1f} MB, returns {', '.join(self.outputs)}"])


def export_predictor(
    predictor: Predictor,
    out: str | Path,
    to: Target,
    *,
    attention: Sequence[int] = (),
    images: Sequence[Path] = (),
    tolerance: float | None = None,
    precision: Precision = "f32",
) -> Exported:
    """Write a model with its preprocessing as one file.

    Args:
        predictor: the model.
        out: the file, or a folder for ``model.onnx``.
        to: its format.
        attention: numbers of attentions, in the order of the modules, whose weights the graph returns too.
        images: files or folders of photographs for the comparison, and for that of other precisions; two that
            scikit-learn brings by default.
        tolerance: largest difference from PyTorch, as a fraction of an output's scale; that of the format by default.
        precision: of the weights, "f32", "bf16" or "int8".

    Raises:
        ConfigError: such a model is not exported, or not so, or another precision changes too much.
        ParityError: the file computes something else; it is not kept. The message names the first layer that
            differs.
    """
    path = target_file(out, to)
    source = predictor.source
    if predictor.device.type != "cpu":
        raise ConfigError("a model is exported from the CPU: load it with device='cpu'")
    check_precision_option(precision, to, predictor.reads_images)
    if not predictor.reads_images:
        return export_texts(predictor, path, to, attention, TOLERANCE[to] if tolerance is None else tolerance)
    end = predictor.room.graph_end(source, predictor.task)
    limit = TOLERANCE[to] if tolerance is None else tolerance
    with evaluation_mode(predictor.model), tempfile.TemporaryDirectory() as folder:
        paths = attention_paths(predictor.model, attention)
        plain = ExportGraph(predictor.preprocess, predictor.model, end, paths).eval()
        fewer_steps = rewritten(predictor.model, WITH_WEIGHTS if attention else REWRITES)
        graph = ExportGraph(predictor.preprocess, fewer_steps, end, paths).eval()
        pictures = real_images(images, predictor.preprocess.channels)
        written = Path(folder) / path.name
        program = trace_graph(graph)
        metadata = metadata_of(predictor, end.parts(), graph)
        onnx_path = write_file(program, graph.inputs, metadata, to, written)
        parity = check_parity(plain, opened(written, to, graph.outputs), pictures, limit)
        rows = write_parts(end.parts(), predictor.model, fewer_steps, metadata, to, written)
        parity = Parity((*parity.rows, *rows), limit)
        if not parity.ok:
            where = first_difference(graph, onnx_path, pictures[0], limit) if onnx_path else "PyTorch traced other code"
            raise ParityError(
                f"{path} is not written: it differs from PyTorch by {parity.largest:.1e} of the scale, more than "
                f"{limit:g}; {where}",
                parity,
            )
        check = None
        if precision != "f32":
            assert onnx_path is not None
            crops = pictures if images else calibration_images(predictor.preprocess.channels)
            check = shortened(written, onnx_path, plain, crops, replace(metadata, precision=precision))
        place(written, path)
    return Exported(path, parity, graph.outputs, check)


def check_precision_option(precision: Precision, to: Target, reads_images: bool) -> None:
    """Raise ConfigError for a precision that is none of a format."""
    able = {"onnx": ("f32", "bf16", "int8"), "openvino": ("f32", "bf16", "int8"), "torch": ("f32",)}[to]
    if precision not in able:
        raise ConfigError(f"--to {to} has the precisions {', '.join(able)}, not {precision}")
    if precision != "f32" and not reads_images:
        raise ConfigError(f"{precision} is for models of images")


def shortened(
    written: Path, onnx_path: Path, plain: ExportGraph, pictures: Sequence[Image.Image], metadata: Metadata
) -> PrecisionCheck:
    """Give a file that was written weights of fewer bits, and compare its results with the model's."""
    files = [written, written.with_suffix(".bin")]
    before = sum(file.stat().st_size for file in files if file.exists())
    if written != onnx_path and metadata.precision == "int8":
        inputs = [inputs_of(plain, [picture]) for picture in pictures[::2]]
        pictures = pictures[1::2]  # compared on others than those that the ranges are from
        attention = any(isinstance(module, Attention) for module in plain.modules())
        write_openvino_int8(onnx_path, metadata, written, inputs, preprocessing_nodes(onnx_path), attention)
    else:
        lower_precision(onnx_path, metadata)
        if written != onnx_path:
            write_openvino(onnx_path, metadata, written)
    sizes = before, sum(file.stat().st_size for file in files if file.exists())
    return check_precision(plain, open_session(written, torch.get_num_threads()), pictures, metadata.precision, sizes)


def export_texts(predictor: Predictor, path: Path, to: Target, attention: Sequence[int], tolerance: float) -> Exported:
    """Write a model that reads texts: the first of its parts is the file itself."""
    parts = predictor.room.text_parts(predictor.source, predictor.task)
    if attention:
        raise ConfigError("the weights of attention are exported of models of images")
    with evaluation_mode(predictor.model), tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / path.name
        metadata = metadata_of(predictor, parts)
        rows = write_parts(parts, predictor.model, rewritten(predictor.model, WITH_WEIGHTS), metadata, to, written)
        parity = Parity(rows, tolerance)
        if not parity.ok:
            raise ParityError(
                f"{path} is not written: it differs from PyTorch by {parity.largest:.1e} of the scale, more than "
                f"{tolerance:g}",
                parity,
            )
        place(written, path)
    return Exported(path, parity, parts[0].outputs)


def place(written: Path, path: Path) -> None:
    """Move the files of an export to their place, the model's own last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [file for file in written.parent.iterdir() if file.is_file()]
    for file in sorted(files, key=lambda file: file == written):
        write_atomic(path.with_name(file.name), read_bytes(file))


def write_parts(
    parts: Sequence[GraphPart], plain: nn.Module, fewer_steps: nn.Module, metadata: Metadata, to: Target, path: Path
) -> tuple[ParityRow, ...]:
    """Write the other graphs of a model; returns how each compares with PyTorch."""
    rows: list[ParityRow] = []
    for part in parts:
        graph = PartGraph(part, fewer_steps).eval()
        program = trace_part(graph)
        file = part_file(path, part.name)
        write_file(program, part.inputs, replace(metadata, outputs=list(part.outputs)), to, file)
        rows += part_rows(part, plain, opened(file, to, part.outputs))
    return tuple(rows)


def opened(path: Path, to: Target, outputs: tuple[str, ...]) -> Session:
    """A file that was written, with as many threads as PyTorch has."""
    return ProgramSession(path, outputs) if to == "torch" else open_session(path, torch.get_num_threads())


def write_file(
    program: torch.export.ExportedProgram, inputs: tuple[str, ...], metadata: Metadata, to: Target, path: Path
) -> Path | None:
    """Write a file; returns the file of ONNX that it is or was converted from, if any."""
    if to == "torch":
        write_program(program, metadata, path)
        return None
    onnx_path = path if to == "onnx" else path.parent / "converted" / f"{path.stem}.onnx"
    onnx_path.parent.mkdir(exist_ok=True)
    write_onnx(program, inputs, metadata, onnx_path)
    if to == "openvino":
        write_openvino(onnx_path, metadata, path)
    return onnx_path


def target_file(out: str | Path, to: Target) -> Path:
    """The file to write: `out` itself, or ``model.onnx`` in it where it has no ending.

    Raises:
        ConfigError: its ending is that of another format, or it is a folder that holds other files.
    """
    path, suffix = Path(out), next(suffix for suffix, name in SUFFIXES.items() if name == to)
    if path.suffix == suffix:
        return path
    if path.suffix in SUFFIXES:
        raise ConfigError(f"{path} has the ending of {SUFFIXES[path.suffix]}, and --to is {to}: name it …{suffix}")
    return path / f"model{suffix}"


def metadata_of(predictor: Predictor, parts: Sequence[GraphPart], graph: ExportGraph | None = None) -> Metadata:
    """What travels in the file."""
    source = predictor.source
    preprocessing = {} if graph is None else predictor.preprocess.to_dict()
    state = graph.end.state() if graph else parts[0].state(source.model)
    vocabulary = merged_vocabulary(source.vocabulary, parts)
    return Metadata(
        version=__version__,
        architecture=source.architecture,
        config=source.model.config.to_dict(),
        task=predictor.task.name,
        labels=list(source.labels),
        preprocessing=preprocessing,
        outputs=list(graph.outputs if graph else parts[0].outputs),
        padded=graph is not None and graph.padded,
        task_state={**source.task_state, **state},
        attention=graph.attention_outputs if graph else {},
        provenance=source.provenance,
        vocabulary={name: base64.b64encode(content).decode() for name, content in vocabulary.items()},
        parts=[part.name for part in parts if part.name],
    )
