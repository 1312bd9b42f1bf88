"""Exported files with weights of fewer bits, and whether they still predict the same.

int8    matrix products with weights of 7 bits a channel and inputs of 8 bits, whose range is that of each batch
        (dynamic quantisation of ONNX Runtime); convolutions and products of two activations stay in single precision
bf16    weights of 16 bits; products stay in single precision, since the sums of the preprocessing have to be exact
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from PIL import Image

from saccade.errors import ConfigError
from saccade.inference.backends.backend import Precision
from saccade.inference.backends.onnx_runtime import quantize
from saccade.inference.candidates import difference as largest_difference
from saccade.inference.candidates import judge, quiet_exporters
from saccade.inference.export.graph import ExportGraph
from saccade.inference.export.metadata import Metadata
from saccade.inference.export.parity import alone, inputs_of
from saccade.inference.export.sessions import Session
from saccade.inference.samples import photographs

CALIBRATION_IMAGES = 64
CLASSES = ["probabilities"]  # the results of models whose classes are compared


def calibration_images(channels: int) -> list[Image.Image]:
    """Crops of two photographs, in colour or grey."""
    return [picture.convert("L" if channels == 1 else "RGB") for picture in photographs(CALIBRATION_IMAGES)]


@dataclass(frozen=True)
class PrecisionCheck:
    """Comparison of a file in lower precision with the model.

    Attributes:
        precision: of its weights.
        images: that both ran on.
        error: largest difference of a result, as a fraction of the results' largest value.
        agreement: share of images with the model's class; None where the result has no classes.
        sizes: bytes of the file in single precision, and of this one.
    """

    precision: Precision
    images: int
    error: float
    agreement: float | None
    sizes: tuple[int, int]

    def __str__(self) -> str:
        classes = "" if self.agreement is None else f", {self.agreement:.1%} of their classes are the model's"
        before, after = (size / 1e6 for size in self.sizes)
        return (
            f"{self.precision}: {self.images} images{classes}, largest difference {self.error:.1e} of the scale; "
            f"{before:.1f} -> {after:.1f} MB"
        )


def lower_precision(path: Path, metadata: Metadata) -> None:
    """Change a file of ONNX in place, to the precision of its new metadata.

    Raises:
        ConfigError: it has nothing to quantise.
    """
    if metadata.precision == "int8":
        with quiet_exporters():
            quantize(path, preprocessing_nodes(path)).replace(path)
    else:
        shorten_weights(path)
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, metadata.properties())
    onnx.save(model, str(path))


def preprocessing_nodes(path: Path) -> list[str]:
    """Names of the nodes of the preprocessing, whose sums have to be exact."""
    nodes = onnx.load(str(path), load_external_data=False).graph.node
    names = [node.name for node in nodes if any("preprocessing" in entry.value for entry in node.metadata_props)]
    weights = {node.op_type for node in nodes if node.name not in names}
    if not weights & {"MatMul", "Gemm"}:
        raise ConfigError("int8 is for matrix products, and this model has none")
    return names


def shorten_weights(path: Path) -> None:
    """Weights of two or more dimensions as bfloat16, each behind a cast to single precision."""
    model = onnx.load(str(path))
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        name, shape = weight.name, list(weight.dims)
        values = torch.from_numpy(onnx.numpy_helper.to_array(weight).copy()).bfloat16().view(torch.int16)
        content = values.numpy().tobytes()
        weight.CopyFrom(onnx.helper.make_tensor(f"{name}.bf16", onnx.TensorProto.BFLOAT16, shape, content, raw=True))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.bf16"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, str(path))


def check_precision(
    graph: ExportGraph, session: Session, images: Sequence[Image.Image], precision: Precision, sizes: tuple[int, int]
) -> PrecisionCheck:
    """Run a file on images and compare it with the model.

    Args:
        graph: of the plain model.
        session: the file.
        images: photographs of any size.
        precision: of the file.
        sizes: of the file before and now, in bytes.

    Raises:
        ConfigError: fewer classes stay the same than `saccade.optimize` demands, or the results have none.
    """
    expected, actual, names = [], [], []
    for picture in images:
        results, outputs = alone(graph, picture), session.run(inputs_of(graph, [picture]))
        names = [n for n, value in results.items() if value.is_floating_point() and n not in graph.attention_outputs]
        expected.append([results[name] for name in names])
        actual.append([torch.from_numpy(outputs[name]) for name in names])
    error, agreement = largest_difference(expected, actual)
    check = PrecisionCheck(precision, len(images), error, agreement if names == CLASSES else None, sizes)
    refusal = judge(error, agreement, precision)
    if refusal:
        raise ConfigError(f"the file in {precision} is not written: {refusal} ({check})")
    return check
