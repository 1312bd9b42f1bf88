"""`saccade.export`: a model as one file that other runtimes open, checked against PyTorch before it is kept."""

import base64
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from saccade.checkpoints.atomic import write_atomic
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError
from saccade.files import read_bytes
from saccade.inference.export.graph import ExportGraph, attention_paths, trace_graph
from saccade.inference.export.metadata import SUFFIXES, Metadata
from saccade.inference.export.onnx_file import write_onnx
from saccade.inference.export.openvino_file import write_openvino
from saccade.inference.export.parity import TOLERANCE, Parity, ParityError, check_parity, first_difference, real_images
from saccade.inference.export.sessions import open_session
from saccade.inference.export.torch_file import ProgramSession, write_program
from saccade.nn.mode import evaluation_mode
from saccade.version import __version__

Target = Literal["onnx", "openvino", "torch"]


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: of the file.
        parity: how it compares with PyTorch.
        outputs: names of the graph's outputs.
    """

    path: Path
    parity: Parity
    outputs: tuple[str, ...]

    def __str__(self) -> str:
        size = self.path.stat().st_size / 1e6
        return f"{self.parity}\n{self.path}: {size:.1f} MB, returns {', '.join(self.outputs)}"


def export_predictor(
    predictor: Predictor,
    out: str | Path,
    to: Target,
    *,
    attention: Sequence[int] = (),
    images: Sequence[Path] = (),
    tolerance: float | None = None,
) -> Exported:
    """Write a model with its preprocessing as one file.

    Args:
        predictor: the model.
        out: the file, or a folder for ``model.onnx``.
        to: its format.
        attention: numbers of attentions, in the order of the modules, whose weights the graph returns too.
        images: files or folders of photographs for the comparison; two that scikit-learn brings unless given.
        tolerance: largest difference from PyTorch, as a fraction of an output's scale; that of the format unless given.

    Raises:
        ConfigError: such a model is not exported, or not so.
        ParityError: the file computes something else; it is not kept. The message names the first layer that
            differs.
    """
    path = target_file(out, to)
    source = predictor.source
    if predictor.device.type != "cpu":
        raise ConfigError("a model is exported from the CPU: load it with device='cpu'")
    end = predictor.room.graph_end(source)
    limit = TOLERANCE[to] if tolerance is None else tolerance
    with evaluation_mode(predictor.model), tempfile.TemporaryDirectory() as folder:
        graph = ExportGraph(predictor, end, attention_paths(predictor.model, attention)).eval()
        pictures = real_images(images, predictor.preprocess.channels)
        written = Path(folder) / path.name
        onnx_path = write_files(predictor, graph, to, written)
        session = ProgramSession(written, graph.outputs) if to == "torch" else open_session(written)
        parity = check_parity(graph, predictor, session, pictures, limit)
        if not parity.ok:
            where = first_difference(graph, onnx_path, pictures[0], limit) if onnx_path else "PyTorch traced other code"
            raise ParityError(
                f"{path} is not written: it differs from PyTorch by {parity.largest:.1e} of the scale, more than "
                f"{limit:g}; {where}",
                parity,
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        for file in sorted(Path(folder).glob(f"{written.stem}.*"), key=lambda file: file == written):
            write_atomic(path.with_suffix(file.suffix), read_bytes(file))
    return Exported(path, parity, graph.outputs)


def write_files(predictor: Predictor, graph: ExportGraph, to: Target, path: Path) -> Path | None:
    """Write a file and those beside it; returns the file of ONNX that it is or was converted from, if any."""
    program = trace_graph(graph)
    metadata = metadata_of(predictor, graph)
    if to == "torch":
        write_program(program, metadata, path)
        return None
    onnx_path = path if to == "onnx" else path.parent / "converted" / "model.onnx"
    onnx_path.parent.mkdir(exist_ok=True)
    write_onnx(program, graph.inputs, metadata, onnx_path)
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


def metadata_of(predictor: Predictor, graph: ExportGraph) -> Metadata:
    """What travels in the file."""
    source = predictor.source
    return Metadata(
        version=__version__,
        architecture=source.architecture,
        config=source.model.config.to_dict(),
        task=predictor.task.name,
        labels=list(source.labels),
        preprocessing=predictor.preprocess.to_dict(),
        outputs=list(graph.outputs),
        padded=graph.padded,
        task_state={**source.task_state, **graph.end.state()},
        attention=graph.attention_outputs,
        provenance=source.provenance,
        vocabulary={name: base64.b64encode(content).decode() for name, content in source.vocabulary.items()},
    )
