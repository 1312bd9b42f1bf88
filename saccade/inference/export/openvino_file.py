"""A file of ONNX as one of OpenVINO: ``.xml`` with its weights next to it in ``.bin``."""

import json
from pathlib import Path
from typing import Any

from saccade.deferred import Deferred
from saccade.inference.export.metadata import Metadata
from saccade.inference.export.sessions import OPENVINO_KEY, require

openvino = Deferred("openvino")


def write_openvino(onnx_path: Path, metadata: Metadata, path: Path) -> None:
    """Convert a file of ONNX.

    Args:
        onnx_path: of the file.
        metadata: that travels in the new file.
        path: of the ``.xml`` file; the weights are written next to it.

    Raises:
        ConfigError: OpenVINO is not installed.
    """
    require("openvino")
    save_openvino(openvino.convert_model(str(onnx_path)), metadata, path)


def save_openvino(model: Any, metadata: Metadata, path: Path) -> None:
    """Write a model of OpenVINO with metadata."""
    model.set_rt_info(json.dumps(metadata.properties()), [OPENVINO_KEY])
    openvino.save_model(model, str(path), compress_to_fp16=False)
