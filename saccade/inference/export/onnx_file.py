"""A traced graph as a file of ONNX, with everything that a program needs in its metadata."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch

from saccade.inference.export.metadata import Metadata

OPSET = 18  # the first with antialiased resizing; read by every runtime of the last three years
MODULE = "namespace"  # metadata of a node: the modules that it came from


def write_onnx(program: torch.export.ExportedProgram, names: tuple[str, ...], metadata: Metadata, path: Path) -> None:
    """Write a traced graph.

    Args:
        program: of :func:`saccade.inference.export.graph.trace_graph`.
        names: of its inputs.
        metadata: that travels in the file.
        path: of the file; weights of more than 2 GB are written next to it.
    """
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converted = torch.onnx.export(program, opset_version=OPSET, input_names=names, verbose=False)
    finally:
        logger.setLevel(level)
    assert converted is not None
    name_outputs(converted.model.graph, metadata.outputs)
    converted.model.metadata_props.update(metadata.properties())
    converted.save(str(path))


def name_outputs(graph: Any, names: Sequence[str]) -> None:
    """Name the outputs of an `onnx_ir.Graph`. PyTorch names values by their operations, such as `embedding`, and does
    not look whether an output has the name: those values get others."""
    for node in graph:
        for value in node.outputs:
            if value.name in names:
                value.name = f"{value.name}_inside"
    for value, name in zip(graph.outputs, names, strict=True):
        value.name = name


def layer_outputs(path: Path) -> dict[str, str]:
    """Path of a module -> the value that the last of its nodes computes, in the order of the graph."""
    last: dict[str, str] = {}
    for node in onnx.load(str(path), load_external_data=False).graph.node:
        namespace = next((entry.value for entry in node.metadata_props if entry.key == MODULE), "")
        for part in namespace.split("/")[:-1]:
            module = part.partition(":")[0]
            if module:
                last.pop(module, None)  # so that modules are in the order of their ends
                last[module] = node.output[0]
    return last


def with_outputs(path: Path, values: list[str], out: Path) -> None:
    """Write a copy of a file that returns these values too."""
    model = onnx.load(str(path))
    present = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in values if name not in present)
    onnx.save(model, str(out))
