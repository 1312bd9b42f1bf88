"""ONNX Runtime (the extra `onnx`), in float32 or with weights and inputs of products in eight bits."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from saccade.deferred import Deferred
from saccade.inference.backends.backend import Backend, Precision, Run
from saccade.inference.rewriting import Part

onnx, onnxruntime, quantization = Deferred("onnx"), Deferred("onnxruntime"), Deferred("onnxruntime.quantization")


def build(part: Part, images: Tensor, precision: Precision) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        program = torch.onnx.export(part, (images,), dynamo=True, verbose=False)
        assert program is not None
        program.save(path)
        if precision == "int8":
            path = quantize(path)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: Tensor) -> list[Tensor]:
        return [torch.from_numpy(out) for out in session.run(None, {name: images.contiguous().numpy()})]

    return run


def quantize(path: Path, excluded: Sequence[str] = ()) -> Path:
    """Dynamic quantisation of matrix products except in some nodes; the result is written next to the file. Weights use
    seven of eight bits: on processors without VNNI the sum of two 8-bit products would overflow 16 bits."""
    result = path.with_name("int8.onnx")
    graph = onnx.load(path).graph
    matrices = {weight.name for weight in graph.initializer if len(weight.dims) == 2}
    others = [node.name for node in graph.node if node.op_type == "MatMul" and node.input[1] not in matrices]
    quantization.quantize_dynamic(
        path, result, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, reduce_range=True,
        nodes_to_exclude=[*others, *excluded], weight_type=quantization.QuantType.QInt8,
        extra_options={"DefaultTensorType": 1},
    )  # fmt: skip
    return result


ONNX_RUNTIME = Backend("onnxruntime", ("onnx", "onnxscript", "onnxruntime"), ("f32", "int8"), False, build)
